package rule

import "slices"

const anythingButForm = "Value of anything-but must be an array or single string/number value."

func compileAnythingBut(n *node) (matcher, error) {
	items := []*node{n}
	switch n.kind {
	case '{':
		return compileAnythingButOperator(n)
	case '[':
		items = n.items
		for _, item := range items {
			if item.kind != '"' && item.kind != '0' {
				return matcher{}, invalid("Inside anything but list, start|null|boolean is not supported.")
			}
			if item.kind != items[0].kind {
				items = nil
				break
			}
		}
		if len(items) == 0 {
			return matcher{}, invalid("Inside anything but list, either all values are number or string, mixed type is not supported")
		}
	case '"', '0':
	default:
		return matcher{}, invalid(anythingButForm)
	}
	if items[0].kind == '"' {
		return anythingButStrings(items), nil
	}
	return anythingButNumbers(items)
}

// anythingButStrings compares addresses as text.
func anythingButStrings(items []*node) matcher {
	if len(items) == 1 {
		text := items[0].text
		return matcher{test: func(v *scalar) bool { return v.kind != '"' || string(v.text) != text }}
	}
	excluded := make(map[string]struct{}, len(items))
	for _, item := range items {
		excluded[item.text] = struct{}{}
	}
	return matcher{test: func(v *scalar) bool {
		if v.kind != '"' {
			return true
		}
		_, out := excluded[string(v.text)]
		return !out
	}}
}

func anythingButNumbers(items []*node) (matcher, error) {
	excluded := make(map[uint64]struct{}, len(items))
	for _, item := range items {
		n := parseNumber(item.text)
		if !n.exact {
			return matcher{}, invalid("Cannot compare number : %s", item.text)
		}
		excluded[n.key] = struct{}{}
	}
	return matcher{test: func(v *scalar) bool {
		if v.kind != '0' {
			return true
		}
		_, out := excluded[v.key()]
		return !out || !v.exact()
	}}, nil
}

// compileAnythingButOperator compiles the forms with an operator inside.
func compileAnythingButOperator(n *node) (matcher, error) {
	if len(n.members) == 0 {
		return matcher{}, invalid("Anything-But expression name not found")
	}
	name, operand := n.members[0].name, n.members[0].value
	switch name {
	case "prefix", "suffix", "equals-ignore-case", "wildcard":
	default:
		return matcher{}, invalid("Unsupported anything-but pattern: %s", name)
	}
	items := []*node{operand}
	switch operand.kind {
	case '[':
		if items = operand.items; len(items) == 0 {
			return matcher{}, invalid("Inside anything-but/%s list, at least one value is needed", name)
		}
	case '{':
		return matcher{}, invalid(anythingButForm)
	}
	var excluded []matcher
	for _, item := range items {
		isAffix := name == "prefix" || name == "suffix"
		switch {
		case item.kind != '"' && isAffix:
			return matcher{}, invalid("prefix/suffix match pattern must be a string")
		case item.kind != '"':
			return matcher{}, invalid("Inside anything-but/%s list, number|start|null|boolean is not supported.", name)
		case isAffix && item.text == "":
			return matcher{}, invalid("Null prefix/suffix not allowed")
		}
		x, err := operators()[name](item)
		if err != nil {
			return matcher{}, err
		}
		excluded = append(excluded, x)
	}
	if len(n.members) > 1 {
		return matcher{}, invalid("Only one key allowed in match expression")
	}
	return matcher{test: func(v *scalar) bool {
		return v.kind != '"' || !slices.ContainsFunc(excluded, func(x matcher) bool { return x.test(v) })
	}}, nil
}
