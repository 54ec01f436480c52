package front

import "strings"

// MatchGlob compares bytes with a glob: * stands for any, ? for one, and a
// backslash takes the next byte as it is. It needs no more than the product of
// both lengths: of all stars only the last one is tried again.
func MatchGlob(glob, text string) bool {
	g, t := 0, 0
	star, from := -1, 0
	for t < len(text) {
		literal, width := byte(0), 0
		if g < len(glob) {
			switch {
			case glob[g] == '*':
				star, from = g, t
				g++
				continue
			case glob[g] == '?':
				g, t = g+1, t+1
				continue
			case glob[g] == '\\' && g+1 < len(glob):
				literal, width = glob[g+1], 2
			default:
				literal, width = glob[g], 1
			}
		}
		switch {
		case width > 0 && literal == text[t]:
			g, t = g+width, t+1
		case star >= 0:
			from++
			g, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
