package rule

import "math"

// numberMatcher is a plain number of a pattern.
func numberMatcher(n number, text string) matcher {
	if n.exact {
		return matcher{
			hint: hint{kind: someNumber, text: string(appendKey(nil, n.key)), span: span{n.key, n.key}}, sure: true,
			test: func(v *scalar) bool { return v.kind == '0' && v.key() == n.key && v.exact() },
		}
	}
	return matcher{
		hint: hint{kind: someInexact, text: text}, sure: true,
		test: func(v *scalar) bool { return v.kind == '0' && string(v.text) == text && !v.exact() },
	}
}

func compileNumeric(n *node) (matcher, error) {
	s, err := parseSpan(n)
	if err != nil {
		return matcher{}, err
	}
	return matcher{
		hint: hint{kind: inRange, span: s}, sure: true,
		test: func(v *scalar) bool { return v.kind == '0' && s.contains(v.key()) && v.exact() },
	}, nil
}

var comparators = map[string]string{"=": "equals", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

func parseSpan(n *node) (span, error) {
	s := span{keyOf(math.Inf(-1)), keyOf(math.Inf(1))}
	if n.kind != '[' {
		return s, invalid("Value of numeric must be an array.")
	}
	if len(n.items) == 0 {
		return s, invalid("Invalid member in numeric match: ]")
	}
	if n.items[0].kind != '"' {
		return s, invalid("Invalid member in numeric match: %s", n.items[0].String())
	}
	first := n.items[0].text
	name, ok := comparators[first]
	if !ok {
		return s, invalid("Unrecognized numeric range operator: %s", first)
	}
	key, err := operand(n.items[1:], name)
	if err != nil {
		return s, err
	}
	rest := n.items[2:]
	if first == "=" {
		s = span{key, key}
	} else {
		s.bound(first, key)
	}
	if (first == ">" || first == ">=") && len(rest) > 0 {
		second := rest[0]
		if second.kind != '"' {
			return s, invalid("Bad value in numeric range: %s", second.String())
		}
		if second.text != "<" && second.text != "<=" {
			return s, invalid("Bad numeric range operator: %s", second.text)
		}
		top, err := operand(rest[1:], second.text)
		if err != nil {
			return s, err
		}
		if key >= top {
			return s, invalid("Bottom must be less than top")
		}
		s.bound(second.text, top)
		rest = rest[2:]
	}
	if len(rest) > 0 {
		return s, invalid("Too many elements in numeric expression")
	}
	return s, nil
}

// bound moves one end of a span.
func (s *span) bound(comparator string, key uint64) {
	switch comparator {
	case "<":
		s.high = key - 1
	case "<=":
		s.high = key
	case ">":
		s.low = key + 1
	case ">=":
		s.low = key
	}
}

// operand reads the number behind a comparator.
func operand(items []*node, comparator string) (uint64, error) {
	if len(items) == 0 || items[0].kind != '0' {
		return 0, invalid("Value of %s must be numeric", comparator)
	}
	n := parseNumber(items[0].text)
	if !n.exact {
		return 0, invalid("Cannot compare number : %s", items[0].text)
	}
	return n.key, nil
}
