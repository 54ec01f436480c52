package scan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendUnescaped appends what s stands for, the text between the quotes of a valid
// JSON string. A surrogate without its other half becomes U+FFFD. The result is
// never longer than s, so dst may be the beginning of s.
func AppendUnescaped(dst, s []byte) []byte {
	for {
		slash := bytes.IndexByte(s, '\\')
		if slash < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:slash]...)
		c := s[slash+1]
		s = s[slash+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := fourHex(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
					pair = utf16.DecodeRune(r, fourHex(s[2:]))
				}
				if r = pair; r != utf8.RuneError {
					s = s[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

func fourHex(s []byte) (r rune) {
	for _, c := range s[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		default:
			r |= rune(c|0x20) - 'a' + 10
		}
	}
	return r
}
