package rule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// recordPattern is a filter of few names and values, in which key and value are asked for in
// all forms.
func (g generator) recordPattern(depth int) string {
	var members []string
	for _, name := range []string{"topic", "key", "value"} {
		switch n := g.IntN(6); {
		case n < 2:
			members = append(members, fmt.Sprintf("%q:%s", name, g.list(1+g.IntN(2), g.matcher)))
		case n < 4 && name != "topic":
			members = append(members, fmt.Sprintf("%q:%s", name, g.patternObject(2)))
		}
	}
	if depth < 2 && g.IntN(3) == 0 || len(members) == 0 {
		members = append(members, fmt.Sprintf(`"$or":[%s,{"value":[%s]}]`, g.recordPattern(depth+1), g.matcher()))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + "}"
}

// refRecord says whether one of the alternatives matches a record with keys and values of
// the given forms: what is asked of data that has another form counts as satisfied.
func refRecord(p refPattern, e refEvent, forms map[string]Form, nested map[string]bool) bool {
	var asked refPattern
alternatives:
	for _, alternative := range p {
		rest := map[string][]any{}
		for path, matchers := range alternative {
			name, _, below := strings.Cut(path, ".")
			form, isData := forms[name]
			switch {
			case !isData, form == Text && !below, form == JSON && nested[name] == below:
				rest[path] = matchers
			case form == Missing && !refTakesNothing(matchers, below):
				continue alternatives
			}
		}
		asked = append(asked, rest)
	}
	return asked.matches(e)
}

// refTakesNothing says whether matchers are satisfied where there is no data.
func refTakesNothing(matchers []any, below bool) bool {
	for _, m := range matchers {
		o, ok := m.(refObject)
		if ok && o[0].key == "exists" && o[0].value == false || m == nil && !below {
			return true
		}
	}
	return false
}

// TestFiltersOfRecordsAreAsPlain compares filters with the plain matcher.
func TestFiltersOfRecordsAreAsPlain(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(*pairsSeed, 7))}
	matches := 0
	for range *pairs / 10 {
		text := g.recordPattern(0)
		p, err := CompileRecord([]byte(text))
		if err != nil {
			continue
		}
		reference, _ := refCompile([]byte(text))
		doc, forms, nested := `{"topic":`+g.scalar(), map[string]Form{}, map[string]bool{}
		for _, name := range []string{"key", "value"} {
			forms[name] = Form(g.IntN(4))
			switch forms[name] {
			case JSON:
				value := g.eventValue(3)
				nested[name] = strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[")
				doc += fmt.Sprintf(`,%q: %s`, name, value)
			case Text, Binary:
				doc += fmt.Sprintf(`,%q:"%s"`, name, g.text())
			case Missing:
				doc += g.one("", fmt.Sprintf(`,%q:null`, name))
			}
		}
		doc += "}"
		e, ok := refFlatten([]byte(doc))
		if !ok {
			t.Fatalf("%s is no event", doc)
		}
		want := refRecord(reference, e, forms, nested)
		got, err := p.Match([]byte(doc), forms["key"], forms["value"])
		if err != nil || got != want {
			t.Fatalf("%s on %s with %v: %v, %v; want %v", text, doc, forms, got, err, want)
		}
		x, err := p.Explain([]byte(doc), forms["key"], forms["value"])
		if err != nil || x.Matched != want {
			t.Fatalf("%s on %s with %v is explained with %v, %v; want %v", text, doc, forms, x.Matched, err, want)
		}
		if want {
			matches++
		}
	}
	if matches < *pairs/100 {
		t.Errorf("%d matches of %d: the patterns hardly ever match", matches, *pairs/10)
	}
}
