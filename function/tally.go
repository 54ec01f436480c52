package function

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Tally is what a host has done for a function since it knows it.
type Tally struct {
	Function string
	// Invocations were those that there was room for; Errors of them failed, or did not
	// reach the function.
	Invocations, Errors int64
	// Throttled are those that there was no room for.
	Throttled int64
	// P50 and P95 are how long the last invocations took that were answered, from hand-over
	// to answer: half of them at most P50, all but a twentieth at most P95. Both are 0 where
	// none was answered.
	P50, P95 time.Duration
}

// lastTimes is of how many invocations it is remembered how long they took.
const lastTimes = 500

// A tally counts for one function. It is safe for concurrent use.
type tally struct {
	mu    sync.Mutex // guards what follows
	seen  Tally
	times []time.Duration // of the last ones; full, it is a ring
	next  int             // where the next one goes in the ring
}

// add counts an invocation.
func (t *tally) add(out Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var start *StartError
	var unreached *UnreachedError
	switch {
	case errors.Is(err, ErrThrottled):
		t.seen.Throttled++
		return
	case errors.As(err, &start), errors.As(err, &unreached):
		t.seen.Invocations++
		t.seen.Errors++
		return
	case err != nil:
		return // nobody knows what has become of it
	}
	t.seen.Invocations++
	if out.Error != "" {
		t.seen.Errors++
	}
	if len(t.times) < lastTimes {
		t.times = append(t.times, out.Duration)
		return
	}
	t.times[t.next] = out.Duration
	t.next = (t.next + 1) % lastTimes
}

func (t *tally) tell(name string) Tally {
	t.mu.Lock()
	seen, times := t.seen, slices.Clone(t.times)
	t.mu.Unlock()
	seen.Function = name
	if n := len(times); n > 0 {
		slices.Sort(times)
		seen.P50, seen.P95 = times[(n-1)/2], times[(n*19+19)/20-1]
	}
	return seen
}

// Tallies returns what was done for each function that the host knows, by name.
func (h *Host) Tallies() []Tally {
	h.mu.Lock()
	counted := make(map[string]*tally, len(h.functions))
	for name, e := range h.functions {
		counted[name] = e.tally
	}
	h.mu.Unlock()
	all := make([]Tally, 0, len(counted))
	for name, t := range counted {
		all = append(all, t.tell(name))
	}
	slices.SortFunc(all, func(a, b Tally) int { return strings.Compare(a.Function, b.Function) })
	return all
}
