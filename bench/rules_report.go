package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// A RuleReport is what a measurement of the pattern language found. Its JSON
// form is stable for scripts.
type RuleReport struct {
	Machine Machine      `json:"machine"`
	Runs    int          `json:"runs"`
	Millis  int          `json:"millis"`
	Cases   []RuleCase   `json:"cases"`
	Growth  []RuleGrowth `json:"growth"`
}

// A RuleCase is one kind of patterns in a set of a size.
type RuleCase struct {
	Kind     string `json:"kind"`
	Patterns int    `json:"patterns"`
	// EventBytes is the mean length of the events; 0 where none is matched.
	EventBytes int           `json:"event_bytes"`
	Median     RuleFigures   `json:"median"` // figure by figure
	Runs       []RuleFigures `json:"runs"`
}

// RuleFigures are measured over one stretch of events, or of patterns added.
type RuleFigures struct {
	Events          int64   `json:"events"`
	Seconds         float64 `json:"seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
	NanosPerEvent   float64 `json:"ns_per_event"`
	// CPUNanos is the processor time of one event, user and system; 0 where the
	// system does not tell. On a machine that others use too, it is the
	// steadier figure.
	CPUNanos float64 `json:"cpu_ns_per_event"`
	Allocs   float64 `json:"allocs_per_event"`
	Bytes    float64 `json:"bytes_per_event"` // allocated
	Matches  float64 `json:"matches_per_event"`

	matches, mallocs, allocated int64
	cpu                         time.Duration
}

// join adds what another stretch counted.
func (f *RuleFigures) join(o RuleFigures) {
	f.Events += o.Events
	f.Seconds += o.Seconds
	f.matches, f.mallocs, f.allocated, f.cpu = f.matches+o.matches, f.mallocs+o.mallocs, f.allocated+o.allocated, f.cpu+o.cpu
	f.settle()
}

// settle computes what follows from the counts.
func (f *RuleFigures) settle() {
	n := float64(f.Events)
	f.EventsPerSecond = ratio(n, f.Seconds)
	f.NanosPerEvent = ratio(f.Seconds*1e9, n)
	f.CPUNanos = ratio(float64(f.cpu), n)
	f.Allocs, f.Bytes, f.Matches = ratio(float64(f.mallocs), n), ratio(float64(f.allocated), n), ratio(float64(f.matches), n)
}

func ruleMedians(runs []RuleFigures) RuleFigures {
	of := func(figure func(RuleFigures) float64) float64 { return medianOf(runs, figure) }
	return RuleFigures{
		Events:          int64(of(func(f RuleFigures) float64 { return float64(f.Events) })),
		Seconds:         of(func(f RuleFigures) float64 { return f.Seconds }),
		EventsPerSecond: of(func(f RuleFigures) float64 { return f.EventsPerSecond }),
		NanosPerEvent:   of(func(f RuleFigures) float64 { return f.NanosPerEvent }),
		CPUNanos:        of(func(f RuleFigures) float64 { return f.CPUNanos }),
		Allocs:          of(func(f RuleFigures) float64 { return f.Allocs }),
		Bytes:           of(func(f RuleFigures) float64 { return f.Bytes }),
		Matches:         of(func(f RuleFigures) float64 { return f.Matches }),
	}
}

// addKind is the case that adds patterns instead of matching events.
const addKind = "add a pattern"

// A RuleGrowth says how much longer an event takes with more patterns of a kind.
type RuleGrowth struct {
	Kind string `json:"kind"`
	From int    `json:"from"`
	To   int    `json:"to"`
	// Times is the median of the ratios within the runs.
	Times float64 `json:"times"`
}

// growths compares the cases of somePatterns and mostPatterns, run by run.
func growths(cases []RuleCase) []RuleGrowth {
	all := []RuleGrowth{}
	for _, a := range cases {
		for _, b := range cases {
			if a.Kind != b.Kind || a.Patterns != somePatterns || b.Patterns != mostPatterns {
				continue
			}
			var ratios []float64
			for i := range min(len(a.Runs), len(b.Runs)) {
				ratios = append(ratios, ratio(b.Runs[i].NanosPerEvent, a.Runs[i].NanosPerEvent))
			}
			all = append(all, RuleGrowth{a.Kind, a.Patterns, b.Patterns, median(ratios)})
		}
	}
	return all
}

// WriteTable writes the report for people.
func (r *RuleReport) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d CPUs, of which one is used, %s/%s, %s; medians of %d runs of %d ms\n\n",
		r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go, r.Runs, r.Millis); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "patterns\tin the set\tbytes/event\tevents/s\tns/event\tCPU ns\tallocs/event\tmatches/event\t")
	for _, c := range r.Cases {
		f := c.Median
		if c.Kind != addKind {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t\n", c.Kind, thousands(float64(c.Patterns)), thousands(float64(c.EventBytes)),
				thousands(f.EventsPerSecond), thousands(f.NanosPerEvent), thousands(f.CPUNanos), f.Allocs, f.Matches)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, g := range r.Growth {
		if _, err := fmt.Fprintf(w, "%s: an event takes %.2f times as long with %s patterns as with %s\n",
			g.Kind, g.Times, thousands(float64(g.To)), thousands(float64(g.From))); err != nil {
			return err
		}
	}
	for _, c := range r.Cases {
		if c.Kind != addKind {
			continue
		}
		if _, err := fmt.Fprintf(w, "compile a pattern and add it to a set of %s: %s, %.0f allocations\n",
			thousands(float64(c.Patterns)), micros(c.Median.NanosPerEvent/1000), c.Median.Allocs); err != nil {
			return err
		}
	}
	return nil
}
