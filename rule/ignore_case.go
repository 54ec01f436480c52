package rule

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

func compileFold(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("equals-ignore-case match pattern must be a string")
	}
	return matcher{kind: isFold, text: n.text}, nil
}

// foldRune takes one character of the operand off the value: itself, its lower
// case or its upper case, and SS for a sharp s.
func foldRune(r rune, s string) (rest string, ok bool) {
	if r == 'ß' && strings.HasPrefix(s, "SS") {
		return s[2:], true
	}
	got, size := utf8.DecodeRuneInString(s)
	if size == 0 || got != r && got != unicode.ToLower(r) && got != unicode.ToUpper(r) {
		return s, false
	}
	return s[size:], true
}

// foldPrefix says whether s begins with the operand, whatever the case.
func foldPrefix(operand, s string) bool {
	_, ok := foldOff(operand, s)
	return ok
}

func foldOff(operand, s string) (rest string, ok bool) {
	for _, r := range operand {
		if s, ok = foldRune(r, s); !ok {
			return s, false
		}
	}
	return s, true
}

func foldAll(operand, s string) bool {
	rest, ok := foldOff(operand, s)
	return ok && rest == ""
}

// foldSuffix says whether s ends with the operand. The operand may be longer or
// shorter in bytes than what it matches, so each beginning that is near enough
// is tried.
func foldSuffix(operand, s string) bool {
	n := utf8.RuneCountInString(operand)
	least, most := n, n+strings.Count(operand, "ß")
	for at, count := len(s), 0; ; count++ {
		if count >= least && foldAll(operand, s[at:]) {
			return true
		}
		if count == most || at == 0 {
			return false
		}
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
}
