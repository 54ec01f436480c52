package rule

import (
	"bytes"
	"strings"
)

func compilePrefix(n *node) (matcher, error) {
	return compileAffix(n, "prefix", prefixMatcher, foldedPrefixMatcher)
}

func compileSuffix(n *node) (matcher, error) {
	return compileAffix(n, "suffix", suffixMatcher, foldedSuffixMatcher)
}

func compileAffix(n *node, name string, plain, folded func(string) matcher) (matcher, error) {
	switch n.kind {
	case '"':
		return plain(n.text), nil
	case '{':
		if len(n.members) == 0 {
			return matcher{}, invalid("%s expression name not found", strings.ToUpper(name[:1])+name[1:])
		}
		inner := n.members[0]
		if inner.name != "equals-ignore-case" {
			return matcher{}, invalid("Unsupported %s pattern: %s", name, inner.name)
		}
		if len(n.members) > 1 {
			return matcher{}, invalid("Only one key allowed in match expression")
		}
		if inner.value.kind != '"' {
			return matcher{}, invalid("equals-ignore-case match pattern must be a string")
		}
		return folded(inner.value.text), nil
	}
	return matcher{}, invalid("%s match pattern must be a string", name)
}

func prefixMatcher(prefix string) matcher {
	b := []byte(prefix)
	return matcher{
		hint: hint{kind: withPrefix, text: prefix}, sure: true,
		test: func(v *scalar) bool { return v.kind == '"' && bytes.HasPrefix(v.text, b) },
	}
}

func suffixMatcher(suffix string) matcher {
	b := []byte(suffix)
	return matcher{
		hint: hint{kind: withSuffix, text: suffix}, sure: true,
		test: func(v *scalar) bool { return v.kind == '"' && bytes.HasSuffix(v.text, b) },
	}
}
