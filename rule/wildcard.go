package rule

import "strings"

// mostComplex is the largest complexity of a wildcard that is accepted; the
// limit of the original is not published.
const mostComplex = 10

// A glob is a wildcard: literal parts with any text between them.
type glob struct{ parts []string }

func compileWildcard(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("wildcard match pattern must be a string")
	}
	var parts []string
	var part strings.Builder
	star := false
	for i := 0; i < len(n.text); i++ {
		switch c := n.text[i]; {
		case c == '*' && star:
			return matcher{}, invalid("Consecutive wildcard characters at pos %d", i)
		case c == '*':
			star = true
			parts = append(parts, part.String())
			part.Reset()
			continue
		case c == '\\':
			if i+1 == len(n.text) || n.text[i+1] != '*' && n.text[i+1] != '\\' {
				return matcher{}, invalid("Invalid escape character at pos %d", i+1)
			}
			i++
			part.WriteByte(n.text[i])
		default:
			part.WriteByte(c)
		}
		star = false
	}
	g := glob{append(parts, part.String())}
	if g.complexity() > mostComplex {
		return matcher{}, invalid("Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character")
	}
	return matcher{kind: isWildcard, glob: g}, nil
}

// match finds each part as early as possible, which leaves the most room for
// the next one.
func (g glob) match(s string) bool {
	first, last := g.parts[0], g.parts[len(g.parts)-1]
	if len(g.parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range g.parts[1 : len(g.parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// complexity is the largest number of beginnings of the wildcard that end in a
// star, or follow one, and that one input can stand at together: for each
// position of the pattern, how many others a text ending there can be at too.
func (g glob) complexity() int {
	// A state is (part, bytes of it matched). After the first star all states
	// whose matched text is a suffix of one another can be held together.
	var texts []string
	for i, part := range g.parts {
		if i == 0 {
			continue
		}
		for n := 0; n <= len(part); n++ {
			texts = append(texts, part[:n])
		}
	}
	if len(texts) > 4096 {
		return mostComplex + 1
	}
	most := 0
	for _, t := range texts {
		together := 0
		for _, o := range texts {
			if strings.HasSuffix(t, o) {
				together++
			}
		}
		most = max(most, together)
	}
	return most
}
