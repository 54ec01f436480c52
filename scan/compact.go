package scan

// Compact removes the white space between the tokens of valid JSON, in place,
// and returns what is left. Strings and numbers stay as they are. Where there is
// nothing to remove, b itself is returned unchanged.
func Compact(b []byte) []byte {
	i, w := 0, 0
	for i < len(b) {
		switch c := b[i]; c {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end, _, ok := skipString(b, i)
			if !ok {
				end = len(b)
			}
			if w != i {
				copy(b[w:], b[i:end])
			}
			w += end - i
			i = end
		default:
			if w != i {
				b[w] = c
			}
			w++
			i++
		}
	}
	return b[:w]
}
