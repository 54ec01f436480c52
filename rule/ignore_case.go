package rule

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// A letter is one character of an operand that is compared without regard to
// case: the event may have any of its forms there, and SS for a sharp s.
type letter struct{ itself, lower, upper rune }

func letters(operand string) []letter {
	all := make([]letter, 0, len(operand))
	for _, r := range operand {
		all = append(all, letter{r, unicode.ToLower(r), unicode.ToUpper(r)})
	}
	return all
}

func (l letter) is(r rune) bool { return r == l.itself || r == l.lower || r == l.upper }

// takeFirst takes the operand off the beginning of a text. No two forms of a
// letter begin alike, so there is only one way.
func takeFirst(operand []letter, text []byte) (rest []byte, ok bool) {
	for _, l := range operand {
		if l.itself == 'ß' && len(text) > 1 && text[0] == 'S' && text[1] == 'S' {
			text = text[2:]
			continue
		}
		if len(text) > 0 && text[0] < utf8.RuneSelf {
			if !l.is(rune(text[0])) {
				return nil, false
			}
			text = text[1:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		if size == 0 || !l.is(r) {
			return nil, false
		}
		text = text[size:]
	}
	return text, true
}

// endsWith takes the operand off the end of a text.
func endsWith(operand []letter, text []byte) bool {
	for i := len(operand) - 1; i >= 0; i-- {
		if operand[i].itself == 'ß' && bytes.HasSuffix(text, []byte("SS")) {
			text = text[:len(text)-2]
			continue
		}
		r, size := utf8.DecodeLastRune(text)
		if size == 0 || !operand[i].is(r) {
			return false
		}
		text = text[:len(text)-size]
	}
	return true
}

// appendFold appends a text in the one form that all texts have in common which
// some operand matches. Two texts may share it and yet not match each other:
// it is a hint.
func appendFold(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r = unicode.ToLower(unicode.ToUpper(unicode.ToLower(r))); r == 'ß' {
			dst = append(dst, 's', 's')
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		i += size
	}
	return dst
}

func foldedText(operand string) string { return string(appendFold(nil, []byte(operand))) }

func compileFold(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("equals-ignore-case match pattern must be a string")
	}
	operand := letters(n.text)
	return matcher{
		hint: hint{kind: folded, text: foldedText(n.text)},
		test: func(v *scalar) bool {
			if v.kind != '"' {
				return false
			}
			rest, ok := takeFirst(operand, v.text)
			return ok && len(rest) == 0
		},
	}, nil
}

func foldedPrefixMatcher(prefix string) matcher {
	operand := letters(prefix)
	return matcher{
		hint: hint{kind: foldedPrefix, text: foldedText(prefix)},
		test: func(v *scalar) bool {
			if v.kind != '"' {
				return false
			}
			_, ok := takeFirst(operand, v.text)
			return ok
		},
	}
}

func foldedSuffixMatcher(suffix string) matcher {
	operand := letters(suffix)
	return matcher{
		hint: hint{kind: foldedSuffix, text: foldedText(suffix)},
		test: func(v *scalar) bool { return v.kind == '"' && endsWith(operand, v.text) },
	}
}
