package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A quick run measures every case, and matching allocates nothing.
func TestRules(t *testing.T) {
	if testing.Short() {
		t.Skip("prepares sets of ten thousand patterns")
	}
	before := runtime.GOMAXPROCS(0)
	r, err := Rules(t.Context(), RuleOptions{Runs: 1, Millis: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("GOMAXPROCS is %d, was %d", got, before)
	}
	seen := map[string]bool{}
	for _, c := range r.Cases {
		seen[c.Kind] = true
		if c.Median.Events == 0 || c.Median.EventsPerSecond <= 0 || len(c.Runs) != 1 {
			t.Errorf("%s, %d patterns: %+v", c.Kind, c.Patterns, c.Median)
		}
		if c.Kind != addKind && c.EventBytes < 700 || c.EventBytes > 900 {
			t.Errorf("%s: events of %d bytes", c.Kind, c.EventBytes)
		}
	}
	for _, k := range ruleKinds() {
		if !seen[k.name] {
			t.Errorf("%s was not measured", k.name)
		}
	}
	if !seen[addKind] || len(r.Growth) != 3 {
		t.Errorf("adding: %v; growth: %+v", seen[addKind], r.Growth)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestRulesEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Rules(ctx, DefaultRules()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRuleOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		in   RuleOptions
		want string
	}{
		{"default", DefaultRules(), ""},
		{"no runs", RuleOptions{Millis: 1}, "--runs 0"},
		{"many runs", RuleOptions{Runs: 101, Millis: 1}, "--runs 101"},
		{"no time", RuleOptions{Runs: 1}, "--millis 0"},
		{"much time", RuleOptions{Runs: 1, Millis: 60_001}, "--millis 60001"},
	} {
		err := c.in.Validate()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestRuleTable(t *testing.T) {
	c := func(kind string, patterns int, nanos ...float64) RuleCase {
		all := RuleCase{Kind: kind, Patterns: patterns, EventBytes: 800}
		for _, n := range nanos {
			all.Runs = append(all.Runs, RuleFigures{Events: 1000, EventsPerSecond: 1e9 / n, NanosPerEvent: n, CPUNanos: n, Matches: 0.25})
		}
		all.Median = ruleMedians(all.Runs)
		return all
	}
	cases := []RuleCase{c("exact", 5, 800, 900, 2000), c("mixed", 100, 1000, 1000, 1000), c("mixed", 10_000, 1500, 1400, 3000), c(addKind, 10_000, 50_000)}
	r := RuleReport{Machine: Machine{CPUs: 2, OS: "linux", Arch: "amd64", Go: "go1.26"}, Runs: 3, Millis: 200, Cases: cases, Growth: growths(cases)}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `2 CPUs, of which one is used, linux/amd64, go1.26; medians of 3 runs of 200 ms

   patterns   in the set   bytes/event    events/s   ns/event   CPU ns   allocs/event   matches/event
      exact            5           800   1,111,111        900      900           0.00            0.25
      mixed          100           800   1,000,000      1,000    1,000           0.00            0.25
      mixed       10,000           800     666,667      1,500    1,500           0.00            0.25

mixed: an event takes 1.50 times as long with 10,000 patterns as with 100
compile a pattern and add it to a set of 10,000: 50.0 µs, 0 allocations
`
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("table differs (-want +got):\n%s", diff)
	}
}

// BenchmarkRules is for profiles; klamm bench rules measures more carefully.
func BenchmarkRules(b *testing.B) {
	for _, k := range ruleKinds() {
		b.Run(k.name, func(b *testing.B) {
			for _, n := range []int{fewPatterns, somePatterns, manyPatterns, mostPatterns} {
				b.Run(fmt.Sprint(n), func(b *testing.B) {
					t, err := matchTrial(k, n, k.events())
					if err != nil {
						b.Fatal(err)
					}
					b.ReportAllocs()
					var ids []int
					for i := 0; b.Loop(); i++ {
						if ids, err = t.set.Match(ids[:0], t.events[i%len(t.events)]); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
