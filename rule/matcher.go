package rule

import (
	"net/netip"
	"slices"
	"strings"
)

// The kinds of matchers.
type kind int

const (
	isString  kind = iota // text, or the address if it is one
	isNumber              // number
	isLiteral             // true, false or null: text
	isPrefix
	isSuffix
	isPrefixFold
	isSuffixFold
	isFold
	isWildcard
	isAnythingBut // excluded: none of the inner matchers matches
	isNumeric
	isCIDR
	isPresent
	isAbsent
)

// A matcher is one entry of a leaf's array.
type matcher struct {
	kind     kind
	source   string // as a user would write it, for explanations
	text     string
	address  netip.Addr
	network  netip.Prefix
	number   number
	span     span
	glob     glob
	excluded []matcher
}

func compileMatchers(n *node) ([]matcher, error) {
	if len(n.items) == 0 {
		return nil, invalid("Empty arrays are not allowed")
	}
	var all []matcher
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
		address, _ := parseAddress(n.text)
		return matcher{kind: isString, text: n.text, address: address}, nil
	case '0':
		return matcher{kind: isNumber, number: parseNumber(n.text)}, nil
	case 't', 'f', 'n':
		return matcher{kind: isLiteral, text: n.text}, nil
	case '[':
		return matcher{}, invalid("Match value must be String, number, true, false, or null")
	}
	if len(n.members) == 0 {
		return matcher{}, invalid("Match expression name not found")
	}
	compile, ok := operatorTable()[n.members[0].name]
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

func compileExactly(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("exact match pattern must be a string")
	}
	return matcher{kind: isString, text: n.text}, nil
}

func compilePrefix(n *node) (matcher, error) { return affix(n, "prefix", isPrefix, isPrefixFold) }

func compileSuffix(n *node) (matcher, error) { return affix(n, "suffix", isSuffix, isSuffixFold) }

func affix(n *node, name string, plain, fold kind) (matcher, error) {
	if n.kind == '{' {
		if len(n.members) == 0 {
			return matcher{}, invalid("%s expression name not found", strings.ToUpper(name[:1])+name[1:])
		}
		if inner := n.members[0]; inner.name != "equals-ignore-case" {
			return matcher{}, invalid("Unsupported %s pattern: %s", name, inner.name)
		}
		if len(n.members) > 1 {
			return matcher{}, invalid("Only one key allowed in match expression")
		}
		m, err := compileFold(n.members[0].value)
		m.kind = fold
		return m, err
	}
	if n.kind != '"' {
		return matcher{}, invalid("%s match pattern must be a string", name)
	}
	return matcher{kind: plain, text: n.text}, nil
}

func compileExists(n *node) (matcher, error) {
	switch n.kind {
	case 't':
		return matcher{kind: isPresent}, nil
	case 'f':
		return matcher{kind: isAbsent}, nil
	}
	return matcher{}, invalid("exists match pattern must be either true or false.")
}

// matches says whether a matcher matches one value of an event.
func (m *matcher) matches(v *value) bool {
	switch m.kind {
	case isString:
		if v.kind != '"' {
			return false
		}
		if m.address.IsValid() {
			a, ok := parseAddress(v.string())
			return ok && a == m.address
		}
		return v.string() == m.text
	case isNumber:
		return v.kind == '0' && v.number().equal(m.number)
	case isLiteral:
		return v.kind == m.text[0]
	case isPresent:
		return true
	case isAnythingBut:
		return !slices.ContainsFunc(m.excluded, func(x matcher) bool { return x.matches(v) })
	case isNumeric:
		return v.kind == '0' && m.span.contains(v.number())
	}
	if v.kind != '"' {
		return false
	}
	s := v.string()
	switch m.kind {
	case isPrefix:
		return strings.HasPrefix(s, m.text)
	case isSuffix:
		return strings.HasSuffix(s, m.text)
	case isFold:
		return foldAll(m.text, s)
	case isPrefixFold:
		return foldPrefix(m.text, s)
	case isSuffixFold:
		return foldSuffix(m.text, s)
	case isWildcard:
		return m.glob.match(s)
	case isCIDR:
		a, ok := parseAddress(s)
		return ok && m.network.Contains(a)
	}
	return false
}
