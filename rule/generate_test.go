package rule

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// A generator makes patterns and events of few names and values, so that they
// often meet.
type generator struct{ *rand.Rand }

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) key() string { return g.one("a", "b", "c", "a.b", "d", "ab", "a-b", "k1", "") }

func (g generator) text() string {
	return g.one("a", "b", "ab", "aba", "abab", "ba", "B", "aB", "", "é", "É", "ß", "SS", "ss", "straße", "STRASSE", "σ", "ς", "Σ", "ı", "I", "i", "K",
		"10.0.0.1", "10.0.0.01", "10.1.2.3", "2001:db8::1", "2001:0DB8:0:0::1", "::", "fe80::1", "::ffff:a00:1", "::ffff:10.0.0.1", "10.0.0.256", "ẞ", "ſ", "\u212a", "İ", "µ", "Μ", "*", `a\\\\*b`, "5", "true", "null", `a\\b`, "a*b", `\"`, `a\u00e9`, `\ud83d\ude00`, "x y")
}

func (g generator) number() string {
	return g.one("0", "-0", "-0.0", "1", "1.0", "10e-1", "2", "3", "3.5", "-1", "-1e0", "100", "1e2", "0.1", "1e-1", "9007199254740993", "9007199254740992", "1e400", "5e-324",
		"37.807807921694092", "37.80780792169409", "1e22", "1e23", "123456789012345678",
		"1.7976931348623157e308", "-1.7976931348623157E+308", "1.8e308", "2.2250738585072014e-308", "4.9e-324", "2e-324", "0.30000000000000004", "0.1e1", "1e-400", "0e400")
}

func (g generator) scalar() string {
	switch g.IntN(8) {
	case 0, 1:
		return g.number()
	case 2:
		return g.one("true", "false", "null")
	}
	return `"` + g.text() + `"`
}

func (g generator) list(n int, one func() string) string {
	items := make([]string, 0, n)
	for range n {
		items = append(items, one())
	}
	return "[" + strings.Join(items, ",") + "]"
}

func (g generator) quoted() string { return `"` + g.text() + `"` }

func (g generator) matcher() string {
	switch g.IntN(14) {
	case 0:
		return fmt.Sprintf(`{"exists":%v}`, g.IntN(3) == 0)
	case 1:
		return `{"prefix":` + g.quoted() + `}`
	case 2:
		return `{"suffix":` + g.quoted() + `}`
	case 3:
		return fmt.Sprintf(`{%q:{"equals-ignore-case":%s}}`, g.one("prefix", "suffix"), g.quoted())
	case 4:
		return `{"equals-ignore-case":` + g.quoted() + `}`
	case 5:
		return `{"wildcard":"` + g.one("*", "a*", "*a", "*b*", "a*b", `a\\*b`, "*a*b", "ab*", "*ab*", "a", "*S*", "*ba*b*", `\\*`, `*\\*`, `\\\\*`, `*\\**`, `\\\\\\*`, "é*", "") + `"}`
	case 6:
		return `{"anything-but":` + g.list(1+g.IntN(3), g.quoted) + `}`
	case 7:
		return `{"anything-but":` + g.one(g.number(), g.quoted(), g.list(2, g.number)) + `}`
	case 8:
		return fmt.Sprintf(`{"anything-but":{%q:%s}}`, g.one("prefix", "suffix", "equals-ignore-case", "wildcard"), g.one(g.quoted(), g.list(2, g.quoted)))
	case 9:
		return `{"numeric":[` + g.one(
			fmt.Sprintf(`%q,%s`, g.one("<", "<=", "=", ">", ">="), g.number()),
			fmt.Sprintf(`%q,%s,%q,%s`, g.one(">", ">="), g.number(), g.one("<", "<="), g.number())) + `]}`
	case 10:
		return `{"cidr":"` + g.one("10.0.0.0/8", "10.0.0.0/30", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::/127", "fe80::/10", "::ffff:0:0/96", "128.0.0.0/1", "10.0.0.0/31", "0::1/64") + `"}`
	case 11:
		return `{"exactly":` + g.quoted() + `}`
	}
	return g.scalar()
}

func (g generator) pattern() string { return g.patternObject(0) }

func (g generator) patternObject(depth int) string {
	var members []string
	for range 1 + g.IntN(3-min(depth, 2)) {
		key := g.key()
		switch n := g.IntN(8); {
		case n == 0 && depth < 3:
			members = append(members, `"$or":`+g.list(2+g.IntN(2), func() string { return g.patternObject(depth + 1) }))
		case n < 4 && depth < 3:
			members = append(members, strconv.Quote(key)+":"+g.patternObject(depth+1))
		default:
			n := 1 + g.IntN(3)
			if g.IntN(12) == 0 {
				n = 12
			}
			members = append(members, strconv.Quote(key)+":"+g.list(n, g.matcher))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (g generator) event() string { return g.eventObject(0) }

func (g generator) eventObject(depth int) string {
	var members []string
	for range g.IntN(6) {
		members = append(members, strconv.Quote(g.key())+g.one(":", " : ")+g.eventValue(depth+1))
	}
	return "{" + strings.Join(members, g.one(",", ", ")) + "}"
}

func (g generator) eventValue(depth int) string {
	switch n := g.IntN(8); {
	case n < 3 && depth < 5:
		return g.eventObject(depth)
	case n < 5 && depth < 6:
		return g.list(g.IntN(4), func() string { return g.eventValue(depth + 1) })
	}
	return g.scalar()
}

// near is an event made for a pattern: it often matches, and otherwise lacks
// little.
func (g generator) near(p refPattern) string {
	return g.nearly(p[g.IntN(len(p))], g.IntN(3) > 0)
}

// nearly is an event with a value for each clause of an alternative, one of
// which may then be changed.
func (g generator) nearly(alternative map[string][]any, spoil bool) string {
	paths := sortedPaths(alternative)
	spoiled := -1
	if spoil && len(paths) > 0 {
		spoiled = g.IntN(len(paths))
	}
	var root tree
	for i, path := range paths {
		matchers := alternative[path]
		text := g.satisfying(matchers[g.IntN(len(matchers))])
		if i == spoiled {
			text = g.one(text, g.scalar(), "", "{}", "[]")
		}
		if text == "" {
			continue
		}
		root.put(strings.Split(path, "."), text)
	}
	return g.object(&root, 0)
}

func sortedPaths(alternative map[string][]any) []string { return slices.Sorted(maps.Keys(alternative)) }

// A tree is an event's object: leaves and objects by name.
type tree struct {
	leaves map[string]string
	below  map[string]*tree
}

func (t *tree) put(path []string, text string) {
	if len(path) == 1 {
		if t.leaves == nil {
			t.leaves = map[string]string{}
		}
		t.leaves[path[0]] = text
		return
	}
	if t.below == nil {
		t.below = map[string]*tree{}
	}
	if t.below[path[0]] == nil {
		t.below[path[0]] = new(tree)
	}
	t.below[path[0]].put(path[1:], text)
}

// size is how many leaves a tree has.
func (t *tree) size() int {
	n := len(t.leaves)
	for _, inner := range t.below {
		n += inner.size()
	}
	return n
}

// plain writes a tree as it is.
func (t *tree) plain() string {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(t.leaves)) {
		members = append(members, strconv.Quote(name)+":"+t.leaves[name])
	}
	for _, name := range slices.Sorted(maps.Keys(t.below)) {
		members = append(members, strconv.Quote(name)+":"+t.below[name].plain())
	}
	return "{" + strings.Join(members, ",") + "}"
}

// object writes a tree with names joined, values in arrays, and elements beside
// the one that is meant.
func (g generator) object(t *tree, depth int) string {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(t.leaves)) {
		text := t.leaves[name]
		switch g.IntN(8) {
		case 0:
			text = "[" + g.scalar() + "," + text + "]"
		case 1:
			text = "[[" + text + "]," + g.scalar() + "]"
		}
		members = append(members, strconv.Quote(name)+":"+text)
	}
	for _, name := range slices.Sorted(maps.Keys(t.below)) {
		inner := t.below[name]
		text := g.object(inner, depth+1)
		switch g.IntN(6) {
		case 0:
			text = "[" + g.apart(inner, depth) + "," + text + "]"
		case 1:
			text = "[" + text + "," + g.scalar() + "," + g.eventObject(4) + "]"
		case 2:
			text = g.apart(inner, depth) // instead
		case 3:
			if rest, ok := strings.CutPrefix(text, `{"`); ok && len(inner.leaves)+len(inner.below) == 1 {
				members = append(members, `"`+name+"."+rest[:len(rest)-1]) // the name joined with the one inside
				continue
			}
		}
		members = append(members, strconv.Quote(name)+":"+text)
	}
	if g.IntN(4) == 0 {
		members = append(members, strconv.Quote(g.key())+":"+g.eventValue(depth+1))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, g.one(",", " ,\n")) + "}"
}

// apart is an array with each leaf of a tree in an element of its own.
func (g generator) apart(t *tree, depth int) string {
	var items []string
	for _, name := range slices.Sorted(maps.Keys(t.leaves)) {
		items = append(items, "{"+strconv.Quote(name)+":"+t.leaves[name]+"}")
	}
	for _, name := range slices.Sorted(maps.Keys(t.below)) {
		items = append(items, "{"+strconv.Quote(name)+":"+g.object(t.below[name], depth+1)+"}")
	}
	return "[" + strings.Join(items, ",") + "]"
}

// satisfying is a value as JSON that a matcher probably matches; empty if there
// should be none.
func (g generator) satisfying(m any) string {
	o, ok := m.(refObject)
	if !ok {
		if n, ok := m.(json.Number); ok && g.IntN(2) == 0 {
			return respelled(n)
		}
		return jsonText(m)
	}
	name, operand := o[0].key, o[0].value
	if nested, ok := operand.(refObject); ok && name != "anything-but" {
		operand = g.recased(nested[0].value.(string))
	}
	switch name {
	case "exists":
		if operand == false {
			return ""
		}
		return g.scalar()
	case "prefix":
		return jsonText(operand.(string) + g.plainText())
	case "suffix":
		return jsonText(g.plainText() + operand.(string))
	case "equals-ignore-case":
		return jsonText(g.recased(operand.(string)))
	case "wildcard":
		return jsonText(g.filled(operand.(string)))
	case "exactly":
		return jsonText(operand)
	case "numeric":
		bounds := operand.([]any)
		n := bounds[1+2*g.IntN(len(bounds)/2)].(json.Number)
		f, _ := n.Float64()
		if math.IsInf(f*1.0000001, 0) {
			return n.String()
		}
		return g.one(n.String(), strconv.FormatFloat(f+1, 'g', -1, 64), strconv.FormatFloat(f-1, 'g', -1, 64), strconv.FormatFloat(f*1.0000001, 'f', -1, 64))
	case "cidr":
		return jsonText(g.one("10.0.0.1", "10.0.0.01", "10.1.2.3", "11.0.0.1", "2001:db8::1", "2001:db8:1::", "2001:0DB8:0:0::1", "::"))
	}
	return g.scalar()
}

// plainText is a text that is not in JSON's spelling.
func (g generator) plainText() string { return g.one("", "a", "b", "ab", "S", "ß", "é", "*", `\`) }

func (g generator) recased(s string) string {
	switch g.IntN(4) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.ToLower(s)
	case 2:
		return strings.ReplaceAll(s, "ß", "SS")
	}
	return s
}

// filled puts texts in place of a wildcard's stars.
func (g generator) filled(wildcard string) string {
	var b strings.Builder
	for i := 0; i < len(wildcard); i++ {
		switch c := wildcard[i]; {
		case c == '*':
			b.WriteString(g.plainText())
		case c == '\\':
			i++
			b.WriteByte(wildcard[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// respelled is a number in another spelling, of the same value if it is exact.
func respelled(n json.Number) string {
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
