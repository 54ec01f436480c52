package rule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExplainNamesTheClauseThatIsMissed takes events that satisfy all clauses of a
// pattern but one.
func TestExplainNamesTheClauseThatIsMissed(t *testing.T) {
	const wanted = 300
	g := generator{rand.New(rand.NewPCG(11, 12))}
	nested, misses := 0, 0
	for tries := 0; misses < wanted; tries++ {
		if tries > 100_000 {
			t.Fatalf("only %d near-misses found", misses)
		}
		text := g.pattern()
		p, err := Compile([]byte(text))
		if err != nil || len(p.alternatives) > 1 || len(p.alternatives[0]) < 2 {
			continue
		}
		reference, _ := refCompile([]byte(text))
		event, missed, ok := g.nearMiss(reference)
		if !ok {
			continue
		}
		misses++
		if strings.Contains(missed, ".") {
			nested++
		}
		e, err := p.Explain([]byte(event))
		if err != nil || e.Matched || e.Apart {
			t.Fatalf("%s on %s: %+v, %v; want a miss", text, event, e, err)
		}
		var named []string
		for _, f := range e.Findings {
			if !f.Satisfied {
				named = append(named, f.Path)
			}
		}
		if !slices.Equal(named, []string{missed}) {
			t.Errorf("%s on %s: %q are named, want %q", text, event, named, missed)
		}
	}
	if nested < wanted/5 {
		t.Errorf("only %d of %d near-misses are nested", nested, misses)
	}
}

// nearMiss makes an event that satisfies all clauses of a pattern but the one at
// a path. It has no arrays.
func (g generator) nearMiss(p refPattern) (event, path string, ok bool) {
	values, root := map[string]string{}, tree{}
	clauses := p[0]
	satisfied := func(path, text string) bool {
		if text == "" {
			text = "{}"
		}
		e, ok := refFlatten([]byte(`{"v":` + text + `}`))
		return ok && refPattern{{"v": clauses[path]}}.matches(e)
	}
	for _, path := range sortedPaths(clauses) {
		matchers := clauses[path]
		text := g.satisfying(matchers[g.IntN(len(matchers))])
		if !satisfied(path, text) {
			return "", "", false
		}
		values[path] = text
	}
	path = g.one(sortedPaths(clauses)...)
	for range 20 {
		if values[path] = g.one(g.scalar(), g.quoted(), g.number(), ""); !satisfied(path, values[path]) {
			for at, text := range values {
				if text != "" {
					root.put(strings.Split(at, "."), text)
				}
			}
			event = root.plain()
			// Paths that are the beginning of another come in each other's way.
			e, ok := refFlatten([]byte(event))
			return event, path, ok && !p.matches(e) && len(e) == root.size()
		}
	}
	return "", "", false
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name, pattern, event string
		want                 Explanation
	}{
		{"a match", `{"a":["x"]}`, `{"a":"x"}`, Explanation{Matched: true, Findings: []Finding{{Path: "a", Clause: `["x"]`, Satisfied: true, Values: []string{`"x"`}}}}},
		{"no value", `{"a":{"b":[{"exists":true}]}}`, `{"a":"x"}`, Explanation{Findings: []Finding{{Path: "a.b", Clause: `[{"exists":true}]`}}}},
		{"values of different elements", `{"p":{"f":["Ann"],"g":["Kim"]}}`, `{"p":[{"f":"Ann"},{"g":"Kim"}]}`, Explanation{Apart: true, Findings: []Finding{
			{Path: "p.f", Clause: `["Ann"]`, Satisfied: true, Values: []string{`"Ann"`}}, {Path: "p.g", Clause: `["Kim"]`, Satisfied: true, Values: []string{`"Kim"`}}}}},
		{"branches", `{"s":["x"],"d":{"$or":[{"a":[1]},{"$or":[{"b":[2]},{"c":[3]}]}]}}`, `{"s":"x","d":{"b":3,"c":2}}`, Explanation{Findings: []Finding{
			{Path: "s", Clause: `["x"]`, Satisfied: true, Values: []string{`"x"`}}, {Branch: "d.$or[0]", Path: "d.a", Clause: `[1]`},
			{Branch: "d.$or[1].$or[0]", Path: "d.b", Clause: `[2]`, Values: []string{"3"}}, {Branch: "d.$or[1].$or[1]", Path: "d.c", Clause: `[3]`, Values: []string{"2"}}}}},
		{"many values", `{"a":[0]}`, `{"a":[1,2,3,4,5,6,7,8,9,10,11,12]}`, Explanation{Findings: []Finding{
			{Path: "a", Clause: `[0]`, Values: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, More: 2}}}},
		{"a long value", `{"a":[0]}`, fmt.Sprintf(`{"a":"%s"}`, strings.Repeat("é", 150)), Explanation{Findings: []Finding{
			{Path: "a", Clause: `[0]`, Values: []string{`"` + strings.Repeat("é", 99) + "..."}}}}},
	} {
		got, err := mustCompile(t, c.pattern).Explain([]byte(c.event))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
