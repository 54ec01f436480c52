package rule

// compileExists compiles exists. exists:false looks at no value: whether a path
// has none is for the search to say.
func compileExists(n *node) (matcher, error) {
	switch n.kind {
	case 't':
		return matcher{hint: hint{kind: anyValue}, sure: true, test: func(*scalar) bool { return true }}, nil
	case 'f':
		return matcher{absent: true}, nil
	}
	return matcher{}, invalid("exists match pattern must be either true or false.")
}
