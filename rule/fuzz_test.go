package rule

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/scan"
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

// FuzzSkip compares the quick way over a value with the careful one.
func FuzzSkip(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(5, 6))}
	for i := range 200 {
		text := g.event()
		if i%4 == 0 { // texts and numbers of all lengths
			text = `[` + g.event() + `,"` + strings.Repeat("x", i) + `\"]}",[` + strings.Repeat("-1.25, ", i) + `{"a":"}"}]` + `,` + g.event() + `]`
		}
		f.Add([]byte(text + g.one("", " ", ",1", "}]")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := skip(text, 0)
		if ok && (got < 1 || got > len(text)) {
			t.Fatalf("%q ends at %d", text, got)
		}
		want, valid := scan.Value(text, 0)
		if valid && strings.IndexByte(`"{[`, text[0]) >= 0 && (!ok || got != want) {
			t.Fatalf("%q ends at %d, %v; want %d", text, got, ok, want)
		}
	})
}
