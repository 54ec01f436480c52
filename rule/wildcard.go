package rule

import "bytes"

// mostComplex is the largest complexity of a wildcard that is accepted; the
// limit of the original is not published.
const mostComplex = 10

// partSizes are the lengths of the pieces by which an index finds wildcards that
// begin and end with a star.
var partSizes = []int{8, 4, 2, 1}

// A glob is a wildcard: literal parts with any text between them.
type glob [][]byte

func compileWildcard(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("wildcard match pattern must be a string")
	}
	g, err := parseGlob(n.text)
	if err != nil {
		return matcher{}, err
	}
	if g.complexity() > mostComplex {
		return matcher{}, invalid("Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character")
	}
	if len(g) == 1 {
		return stringMatcher(string(g[0])), nil
	}
	return matcher{hint: g.hint(), test: func(v *scalar) bool { return v.kind == '"' && g.match(v.text) }}, nil
}

func parseGlob(text string) (glob, error) {
	var g glob
	part, star := []byte{}, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '*' && star:
			return nil, invalid("Consecutive wildcard characters at pos %d", i)
		case c == '*':
			star = true
			g = append(g, part)
			part = []byte{}
			continue
		case c == '\\':
			if i+1 == len(text) || text[i+1] != '*' && text[i+1] != '\\' {
				return nil, invalid("Invalid escape character at pos %d", i+1)
			}
			i++
			part = append(part, text[i])
		default:
			part = append(part, c)
		}
		star = false
	}
	return append(g, part), nil
}

// match finds each part as early as possible, which leaves the most room for
// the next one.
func (g glob) match(s []byte) bool {
	first, last := g[0], g[len(g)-1]
	if len(s) < len(first)+len(last) || !bytes.HasPrefix(s, first) || !bytes.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range g[1 : len(g)-1] {
		i := bytes.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// hint is what every value that matches begins with, ends with or has in it.
func (g glob) hint() hint {
	if first := g[0]; len(first) > 0 {
		return hint{kind: withPrefix, text: string(first)}
	}
	if last := g[len(g)-1]; len(last) > 0 {
		return hint{kind: withSuffix, text: string(last)}
	}
	var longest []byte
	for _, part := range g {
		if len(part) > len(longest) {
			longest = part
		}
	}
	for _, size := range partSizes {
		if len(longest) >= size {
			return hint{kind: withPart, text: string(longest[:size])}
		}
	}
	return hint{kind: withPrefix} // a star alone
}

// complexity is the largest number of places in the wildcard, behind its first
// star, that one input can stand at together. Those are the beginnings of parts
// that are also an end of the text read: in a tree of the beginnings, a place and
// all that its links to shorter ends lead to, each counted once for every part
// that begins so.
func (g glob) complexity() int {
	type way struct {
		from int
		c    byte
	}
	next := map[way]int{}
	parts := []int{len(g) - 1} // by place in the tree: the parts that begin so
	places := make([][]int, len(g))
	for i, part := range g[1:] {
		at := 0
		for _, c := range part {
			to, ok := next[way{at, c}]
			if !ok {
				to = len(parts)
				next[way{at, c}] = to
				parts = append(parts, 0)
			}
			parts[to]++
			at = to
			places[i] = append(places[i], at)
		}
	}
	link, total := make([]int, len(parts)), make([]int, len(parts))
	total[0] = parts[0]
	most := total[0]
	// By length, because a link leads to a shorter beginning.
	for depth := 0; ; depth++ {
		deeper := false
		for i, part := range g[1:] {
			if depth >= len(part) {
				continue
			}
			deeper = true
			at := places[i][depth]
			if total[at] > 0 {
				continue
			}
			if depth > 0 {
				for up := link[places[i][depth-1]]; ; up = link[up] {
					if to, ok := next[way{up, part[depth]}]; ok {
						link[at] = to
						break
					}
					if up == 0 {
						break
					}
				}
			}
			total[at] = parts[at] + total[link[at]]
			if most = max(most, total[at]); most > mostComplex {
				return most
			}
		}
		if !deeper {
			return most
		}
	}
}
