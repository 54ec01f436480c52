package rule

// textMatcher is a plain string of a pattern. One that is an IP address stands
// for that address, however an event spells it.
func textMatcher(text string) matcher {
	address, ok := parseAddress(text)
	if !ok {
		return stringMatcher(text)
	}
	return matcher{
		hint: hint{kind: someAddress, text: addressKey(nil, address, address.BitLen())}, sure: true,
		test: func(v *scalar) bool { a, ok := v.address(); return ok && a == address },
	}
}

// stringMatcher compares bytes.
func stringMatcher(text string) matcher {
	return matcher{
		hint: hint{kind: someString, text: text}, sure: true,
		test: func(v *scalar) bool { return v.kind == '"' && string(v.text) == text },
	}
}

func literalMatcher(text string) matcher {
	kind := text[0]
	return matcher{
		hint: hint{kind: someLiteral, text: text[:1]}, sure: true,
		test: func(v *scalar) bool { return v.kind == kind },
	}
}

// compileExactly compiles "exactly", which differs from a plain string only in
// that an address is text like any other.
func compileExactly(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("exact match pattern must be a string")
	}
	return stringMatcher(n.text), nil
}
