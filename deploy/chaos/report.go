package main

import (
	"fmt"
	"text/tabwriter"
	"time"
)

// report prints the table of what was found, and returns whether the proof holds.
func (r *records) report() bool {
	v := r.ledger.close()
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nevent\thow often\trecords repeated\tmost by one\tits bound\tlongest, until all was delivered\n")
	within := true
	for _, k := range []kind{calm, kill, cooperative, eager, lose, bringBack} {
		var often, sum, most, bound int
		var longest time.Duration
		for i, e := range r.events {
			if e.kind != k || i >= len(v.repeats) {
				continue
			}
			often++
			sum += v.repeats[i]
			if v.repeats[i] > e.bound {
				within = false
				r.say("event %d, %s: %d records were repeated, more than %d", i, k.name, v.repeats[i], e.bound)
			}
			if v.repeats[i] >= most {
				most, bound = v.repeats[i], e.bound
			}
			longest = max(longest, e.took)
		}
		if often > 0 {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.1f s\n", k.name, often, sum, most, bound, longest.Seconds())
		}
	}
	fmt.Fprintf(w, "\nrecords\t%d\t\n", v.records)
	fmt.Fprintf(w, "lost\t%d\tmust be 0\n", v.lost)
	fmt.Fprintf(w, "out of order\t%d\tmust be 0\n", v.disorder)
	fmt.Fprintf(w, "not as written\t%d\tmust be 0\n", v.wrong)
	fmt.Fprintf(w, "repeated although committed\t%d\tmust be 0\n", v.settled)
	bounds := "within the bounds"
	if !within {
		bounds = "beyond a bound"
	}
	fmt.Fprintf(w, "repeated\t%d\t%s\n", v.repeated(), bounds)
	fmt.Fprintf(w, "time\t%.0f s\t\n", time.Since(r.begun).Seconds())
	_ = w.Flush()
	if v.first != "" {
		fmt.Fprintf(r.out, "found first: %s\n", v.first)
	}
	holds := v.holds() && within
	fmt.Fprintf(r.out, "%s\n", outcome(holds))
	return holds
}

func outcome(holds bool) string {
	if holds {
		return "holds"
	}
	return "BROKEN"
}
