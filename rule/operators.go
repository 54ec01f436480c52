package rule

// operators lists the operators: a new one is a file and a line here. It is a
// function because anything-but looks others up in it.
func operators() map[string]func(*node) (matcher, error) {
	return map[string]func(*node) (matcher, error){
		"anything-but":       compileAnythingBut,
		"cidr":               compileCIDR,
		"equals-ignore-case": compileFold,
		"exactly":            compileExactly,
		"exists":             compileExists,
		"numeric":            compileNumeric,
		"prefix":             compilePrefix,
		"suffix":             compileSuffix,
		"wildcard":           compileWildcard,
	}
}

// A matcher is one entry of a leaf's array.
type matcher struct {
	source string // as the pattern has it, in compact JSON
	absent bool   // exists:false, which looks at no value; test is nil
	test   func(*scalar) bool
	// hint tells an index which values to try the test on. If sure, they need
	// no test: exactly those values match.
	hint hint
	sure bool
}

// A hint is where an index files a matcher.
type hint struct {
	kind hintKind
	text string
	span span // of a number in a range
}

// The kinds of hints.
type hintKind byte

const (
	anyValue     hintKind = iota // every value
	someLiteral                  // true, false or null: text
	someString                   // text
	someNumber                   // text: appendKey
	someInexact                  // numbers by their source text
	someAddress                  // text: addressKey, a network or one address
	withPrefix                   // strings that begin with text
	withSuffix                   // strings that end with text
	folded                       // strings that are text when folded
	foldedPrefix                 // strings that begin with text when folded
	foldedSuffix                 // strings that end with text when folded
	withPart                     // strings that have text in them; its length is one of partSizes
	inRange                      // numbers in span
)

// compileMatchers compiles a leaf.
func compileMatchers(n *node) ([]matcher, error) {
	if len(n.items) == 0 {
		return nil, invalid("Empty arrays are not allowed")
	}
	all := make([]matcher, 0, len(n.items))
	for _, item := range n.items {
		m, err := compileMatcher(item)
		if err != nil {
			return nil, err
		}
		m.source = item.String()
		all = append(all, m)
	}
	return all, nil
}

func compileMatcher(n *node) (matcher, error) {
	switch n.kind {
	case '"':
		return textMatcher(n.text), nil
	case '0':
		return numberMatcher(parseNumber(n.text), n.text), nil
	case 't', 'f', 'n':
		return literalMatcher(n.text), nil
	case '[':
		return matcher{}, invalid("Match value must be String, number, true, false, or null")
	}
	if len(n.members) == 0 {
		return matcher{}, invalid("Match expression name not found")
	}
	compile, ok := operators()[n.members[0].name]
	if !ok {
		return matcher{}, invalid("Unrecognized match type %s", n.members[0].name)
	}
	m, err := compile(n.members[0].value)
	if err != nil {
		return matcher{}, err
	}
	if len(n.members) > 1 {
		return matcher{}, invalid("Only one key allowed in match expression")
	}
	return m, nil
}
