package rule

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func FuzzMatch(f *testing.F) {
	for _, row := range rows(f, "examples.tsv") {
		f.Add([]byte(row[1]), []byte(row[2]))
	}
	f.Add([]byte(`{"a":[{"prefix":"x"}],"$or":[{"b":[1]},{"c":[{"exists":false}]}]}`), []byte(`{"a":["xy"],"b":1}`))
	f.Fuzz(func(t *testing.T, pattern, event []byte) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		want, ok := refMatch(pattern, event)
		got, err := p.Match(event)
		if ok && (err != nil || got != want) {
			t.Fatalf("%s on %s: got %v, %v; want %v", pattern, event, got, err, want)
		}
		if !ok {
			return
		}
		var s Set[string]
		s.Add("x", p)
		s.Add("y", p)
		s.Remove("y")
		ids, err := s.Match(nil, event)
		if err != nil || len(ids) == 1 != want {
			t.Fatalf("%s in a set on %s: got %v, %v; want %v", pattern, event, ids, err, want)
		}
		e, err := p.Explain(event)
		if err != nil || e.Matched != want {
			t.Fatalf("explain %s on %s: got %v, %v; want %v", pattern, event, e, err, want)
		}
	})
}

// FuzzCompileRecord looks for panics, and for answers that change with what the
// pattern does not look at.
func FuzzCompileRecord(f *testing.F) {
	f.Add([]byte(`{"value":{"a":[1]},"key":["k"],"$or":[{"topic":["t"]},{"value":["x"]}]}`), []byte(`{"topic":"t","key":"k","value":{"a":1}}`), 1, 2)
	f.Fuzz(func(t *testing.T, pattern, event []byte, key, value int) {
		p, err := CompileRecord(pattern)
		if err != nil {
			return
		}
		ok, err := p.Match(event, Form(key&3), Form(value&3))
		if err != nil {
			return
		}
		if e, err := p.Explain(event, Form(key&3), Form(value&3)); err != nil || e.Matched != ok {
			t.Fatalf("%s on %s: match %v, but explained %+v, %v", pattern, event, ok, e, err)
		}
	})
}

// TestAgainstReference compares random patterns and events, alone and in a set
// that changes all the time. KLAMM_RULE_PAIRS says how many pairs.
func TestAgainstReference(t *testing.T) {
	pairs := 5_000
	if text := os.Getenv("KLAMM_RULE_PAIRS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("KLAMM_RULE_PAIRS=%q: %v", text, err)
		}
		pairs = n
	}
	const members = 60
	g := generator{rand.New(rand.NewPCG(1, uint64(pairs)))}
	var set Set[int]
	var texts [members]string
	matches, refused := 0, 0
	for done := 0; done < pairs; {
		for range 4 {
			i := g.IntN(members)
			if set.Remove(i) != (texts[i] != "") {
				t.Fatal("a pattern was not where it was put")
			}
			texts[i] = ""
		}
		for i := range texts {
			for texts[i] == "" {
				text := g.pattern()
				p, err := Compile([]byte(text))
				if err != nil {
					refused++
					continue
				}
				texts[i] = text
				set.Add(i, p)
			}
		}
		event := g.event()
		got, err := set.Match(nil, []byte(event))
		if err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("%s: ids found twice: %v", event, got)
		}
		for i, text := range texts {
			want, ok := refMatch([]byte(text), []byte(event))
			p, err := Compile([]byte(text))
			if err != nil || !ok {
				t.Fatalf("%s on %s: %v, %v", text, event, err, ok)
			}
			if one, err := p.Match([]byte(event)); err != nil || one != want {
				t.Fatalf("%s on %s: got %v, %v; want %v", text, event, one, err, want)
			}
			if slices.Contains(got, i) != want {
				t.Fatalf("%s in a set on %s: got %v, want %v", text, event, !want, want)
			}
			if want {
				matches++
			}
			done++
		}
	}
	if matches < pairs/20 || matches > pairs*19/20 {
		t.Errorf("%d of %d pairs match: they say little", matches, pairs)
	}
	t.Logf("%d pairs, %d of them match; %d patterns were refused", pairs, matches, refused)
	for i := range texts {
		set.Remove(i)
	}
	if now := set.now.Load(); set.Len() != 0 || now.machine.root != nil || now.machine.names != nil {
		t.Errorf("an emptied set still holds %+v", now)
	}
}

// A generator makes patterns and events of few names and values, so that they
// often meet.
type generator struct{ *rand.Rand }

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) key() string { return g.one("a", "b", "c", "a.b", "d", "ab", "a-b", "k1", "") }

func (g generator) text() string {
	return g.one("a", "b", "ab", "aba", "abab", "ba", "B", "aB", "", "é", "É", "ß", "SS", "ss", "straße", "STRASSE", "σ", "ς", "Σ", "ı", "I", "i", "K",
		"10.0.0.1", "10.0.0.01", "10.1.2.3", "2001:db8::1", "2001:0DB8:0:0::1", "::", "5", "true", "null", `a\\b`, "a*b", `\"`, `a\u00e9`, `\ud83d\ude00`, "x y")
}

func (g generator) number() string {
	return g.one("0", "-0", "-0.0", "1", "1.0", "10e-1", "2", "3", "3.5", "-1", "-1e0", "100", "1e2", "0.1", "1e-1", "9007199254740993", "9007199254740992", "1e400", "5e-324",
		"37.807807921694092", "37.80780792169409", "1e22", "1e23", "123456789012345678")
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
		return `{"wildcard":"` + g.one("*", "a*", "*a", "*b*", "a*b", `a\\*b`, "*a*b", "ab*", "*ab*", "a", "*S*", "*ba*b*") + `"}`
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
		return `{"cidr":"` + g.one("10.0.0.0/8", "10.0.0.0/30", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::/127") + `"}`
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
