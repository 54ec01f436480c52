package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A table is what a proof has counted.
type table struct {
	rows []row
}

type row struct {
	name, value, bound string
	broken             bool
}

// tell adds a figure without a bound.
func (t *table) tell(name string, value any) {
	t.rows = append(t.rows, row{name: name, value: fmt.Sprint(value)})
}

// want adds a figure and what it has to be.
func (t *table) want(name string, value any, bound string, holds bool) {
	t.rows = append(t.rows, row{name, fmt.Sprint(value), bound, !holds})
}

// none adds a count of what must not happen.
func (t *table) none(name string, count int) { t.want(name, count, "must be 0", count == 0) }

// print prints the table, and returns whether everything holds.
func (t *table) print(out io.Writer) bool {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w)
	holds := true
	for _, r := range t.rows {
		mark := ""
		if r.broken {
			mark, holds = "BROKEN", false
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.name, r.value, r.bound, mark)
	}
	_ = w.Flush()
	if holds {
		fmt.Fprintln(out, "holds")
	} else {
		fmt.Fprintln(out, "BROKEN")
	}
	return holds
}
