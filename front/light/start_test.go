package light

import (
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestParseID(t *testing.T) {
	for _, test := range []struct {
		name string
		in   string
		want map[int32]int64 // nil: invalid
	}{
		{"one", "v1:0-120", map[int32]int64{0: 120}},
		{"several", "v1:0-120,1-98,17-0", map[int32]int64{0: 120, 1: 98, 17: 0}},
		{"largest", "v1:2147483647-9223372036854775807", map[int32]int64{2147483647: 9223372036854775807}},
		{"partition too large", "v1:2147483648-1", nil},
		{"offset too large", "v1:0-9223372036854775808", nil},
		{"negative", "v1:0--1", nil},
		{"signs", "v1:+0-1", nil},
		{"empty", "v1:", nil},
		{"empty pair", "v1:0-1,", nil},
		{"twice", "v1:0-1,0-2", nil},
		{"another version", "v2:0-1", nil},
		{"none of klamm's", "42", nil},
		{"too long", "v1:" + strings.Repeat("0", maxID), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseID(test.in)
			if diff := cmp.Diff(test.want, got); diff != "" || (err == nil) != (test.want != nil) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("v1:0-120,1-98")
	f.Fuzz(func(t *testing.T, id string) {
		next, err := parseID(id)
		if err != nil {
			return
		}
		var at []kafka.Position
		for p, n := range next {
			if p < 0 || n < 0 {
				t.Fatalf("%q has %d-%d", id, p, n)
			}
			at = append(at, kafka.Position{Partition: p, Next: n})
		}
		again, err := parseID(string(appendID(nil, at)))
		if err != nil || !cmp.Equal(next, again) {
			t.Fatalf("%q became %v, %v", id, again, err)
		}
	})
}

func TestParseStart(t *testing.T) {
	offset := func(n int64) *int64 { return &n }
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name  string
		in    map[string][]string
		want  start
		wrong string // part of the error
	}{
		{"nothing", nil, start{partition: -1}, ""},
		{"latest", map[string][]string{"from": {"latest"}}, start{partition: -1}, ""},
		{"earliest", map[string][]string{"from": {"earliest"}, "partition": {"3"}}, start{partition: 3, from: kafka.From{Earliest: true}}, ""},
		{"offset", map[string][]string{"from": {"42"}}, start{partition: -1, from: kafka.From{Offset: offset(42)}}, ""},
		{"time", map[string][]string{"from": {"2026-01-31T13:00:00 01:00"}}, start{partition: -1, from: kafka.From{At: at}}, ""},
		{"time in lower case", map[string][]string{"from": {"2026-01-31t12:00:00z"}}, start{partition: -1, from: kafka.From{At: at}}, ""},
		{"group", map[string][]string{"group": {"g"}, "from": {"earliest"}}, start{partition: -1, group: "g", from: kafka.From{Earliest: true}}, ""},
		{"another from", map[string][]string{"from": {"tomorrow"}}, start{}, "from must be"},
		{"negative offset", map[string][]string{"from": {"-1"}}, start{}, "from must be"},
		{"partition", map[string][]string{"partition": {"-1"}}, start{}, "partition must be"},
		{"empty group", map[string][]string{"group": {""}}, start{}, "group must be"},
		{"long group", map[string][]string{"group": {strings.Repeat("g", 256)}}, start{}, "group must be"},
		{"group with a partition", map[string][]string{"group": {"g"}, "partition": {"0"}}, start{}, "exclude"},
		{"group with an offset", map[string][]string{"group": {"g"}, "from": {"5"}}, start{}, "from must be"},
		{"filter", map[string][]string{"filter": {"value:x"}}, start{}, "filter must be"},
		{"header filter", map[string][]string{"filter": {"header:x"}}, start{}, "header:NAME=GLOB"},
		{"long filter", map[string][]string{"filter": {"key:" + strings.Repeat("*", maxGlob+1)}}, start{}, "at most"},
		{"many filters", map[string][]string{"filter": make([]string, maxFilters+1)}, start{}, "at most"},
		{"pattern", map[string][]string{"pattern": {`{"value":1}`}}, start{}, "not valid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStart(test.in)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("got %v, want an error with %q", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(start{}, filter{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	record := &kgo.Record{
		Topic: "t", Partition: 2, Key: []byte("sensor/7"), Value: []byte(`{"total": 12, "unit": "C"}`),
		Headers: []kgo.RecordHeader{{Key: "region", Value: []byte("eu-1")}, {Key: "region", Value: []byte("us-2")}, {Key: "none"}},
	}
	for _, test := range []struct {
		name     string
		filters  []string
		patterns []string
		want     bool
	}{
		{"nothing", nil, nil, true},
		{"key", []string{"key:sensor*"}, nil, true},
		{"another key", []string{"key:meter*"}, nil, false},
		{"one of the values of a header", []string{"header:region=us-?"}, nil, true},
		{"another value", []string{"header:region=ap-*"}, nil, false},
		{"with a colon", []string{"header:region:eu*"}, nil, true},
		{"a header without value", []string{"header:none=*"}, nil, false},
		{"all of them", []string{"key:*7", "header:region=ap-*"}, nil, false},
		{"pattern", nil, []string{`{"value":{"total":[{"numeric":[">",10]}]}}`}, true},
		{"pattern as filter", []string{`{"value":{"total":[{"numeric":[">",20]}]}}`}, nil, false},
		{"pattern of coordinates", nil, []string{`{"partition":[2],"headers":{"region":["us-2"]}}`}, true},
		{"pattern and glob", []string{"key:*"}, []string{`{"topic":["u"]}`}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := parseFilter(test.filters, test.patterns)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.passes(record); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
	f, err := parseFilter([]string{"key:*"}, nil)
	if err != nil || f.passes(&kgo.Record{}) {
		t.Errorf("a record without a key passes key:* (%v)", err)
	}
}

func TestMatchGlob(t *testing.T) {
	for _, test := range []struct {
		glob, text string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "any/thing", true}, {"?", "", false}, {"?", "ab", false},
		{"b*", "b1", true}, {"b*", "ab", false}, {"*b", "aab", true}, {"*b", "aba", false}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true}, {"[a]", "[a]", true}, {"**x", "x", true}, {"?*?", "ab", true}, {"?*?", "a", false},
	} {
		if got := front.MatchGlob(test.glob, test.text); got != test.want {
			t.Errorf("%q and %q: got %t, want %t", test.glob, test.text, got, test.want)
		}
	}
	if front.MatchGlob(strings.Repeat("*a", maxGlob/2)+"b", strings.Repeat("a", 32<<10)) {
		t.Error("the hostile glob matches")
	}
}

// FuzzMatchGlob compares with path.Match, which knows the same signs for texts
// without slashes and brackets.
func FuzzMatchGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Fuzz(func(t *testing.T, glob, text string) {
		for _, s := range []string{glob, text} {
			if len(s) > 64 || strings.ContainsAny(s, "/[]") || strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) {
				return
			}
		}
		want, err := path.Match(glob, text)
		if err != nil {
			return
		}
		if got := front.MatchGlob(glob, text); got != want {
			t.Fatalf("%q and %q: got %t, want %t", glob, text, got, want)
		}
	})
}

func TestAppendEvent(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"one line", `{"a":1}`, "event: record\ndata: {\"a\":1}\n\n"},
		{"nothing", "", "event: record\ndata: \n\n"},
		{"every end of line", "a\r\nb\nc\rd", "event: record\ndata: a\ndata: b\ndata: c\ndata: d\n\n"},
		{"empty lines", "\n\r\r\n", "event: record\ndata: \ndata: \ndata: \ndata: \n\n"},
		{"nothing that looks like a field", "a\nid: 5\n\nevent: end", "event: record\ndata: a\ndata: id: 5\ndata: \ndata: event: end\n\n"},
	} {
		if got := string(appendEvent(nil, "record", []byte(test.in))); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
