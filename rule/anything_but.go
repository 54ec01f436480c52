package rule

const anythingButForm = "Value of anything-but must be an array or single string/number value."

func compileAnythingBut(n *node) (matcher, error) {
	items := []*node{n}
	switch n.kind {
	case '{':
		return anythingButNested(n)
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
	m := matcher{kind: isAnythingBut}
	for _, item := range items {
		x := matcher{kind: isString, text: item.text} // addresses are compared as text here
		if item.kind == '0' {
			x = matcher{kind: isNumber, number: parseNumber(item.text)}
			if !x.number.exact {
				return matcher{}, invalid("Cannot compare number : %s", item.text)
			}
		}
		m.excluded = append(m.excluded, x)
	}
	return m, nil
}

// anythingButNested compiles the forms with an operator inside.
func anythingButNested(n *node) (matcher, error) {
	if len(n.members) == 0 {
		return matcher{}, invalid("Anything-But expression name not found")
	}
	name, operand := n.members[0].name, n.members[0].value
	switch name {
	case "prefix", "suffix", "equals-ignore-case", "wildcard":
	default:
		return matcher{}, invalid("Unsupported anything-but pattern: %s", name)
	}
	if len(n.members) > 1 {
		return matcher{}, invalid("Only one key allowed in match expression")
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
	m := matcher{kind: isAnythingBut}
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
		x, err := operatorTable()[name](item)
		if err != nil {
			return matcher{}, err
		}
		m.excluded = append(m.excluded, x)
	}
	return m, nil
}
