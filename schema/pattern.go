package schema

import (
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compilePattern compiles an ECMA 262 pattern with RE2, which takes time in
// proportion to the text whatever the pattern is.
func compilePattern(pattern string) (jsonschema.Regexp, error) {
	r, err := regexp.Compile(translate(pattern))
	if err != nil {
		return nil, err
	}
	return compiled{r, pattern}, nil
}

type compiled struct {
	*regexp.Regexp
	pattern string
}

func (c compiled) String() string { return c.pattern }

// translate writes an ECMA 262 pattern as RE2 wants it: escapes that RE2 spells
// in another way, and "$", which RE2 would also match before a last line feed in
// other modes.
func translate(p string) string {
	if !strings.Contains(p, `\`) {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' || i+1 == len(p) {
			b.WriteByte(p[i])
			continue
		}
		i++
		switch c := p[i]; {
		case c == 'u' && i+4 < len(p) && isHex(p[i+1:i+5]):
			b.WriteString(`\x{` + p[i+1:i+5] + `}`)
			i += 4
		case c == 'u' && strings.HasPrefix(p[i+1:], "{"):
			b.WriteString(`\x`)
		case c == 'c' && i+1 < len(p) && isLetter(p[i+1]):
			b.WriteString(`\x` + string("01"[p[i+1]>>4&1]) + string("0123456789abcdef"[p[i+1]&15]))
			i++
		case c == '0':
			b.WriteString(`\x00`)
		case c == '/':
			b.WriteByte('/')
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
