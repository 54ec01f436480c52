package pipe

import (
	"errors"
	"fmt"
	"time"
)

// A lasting is an error of an execution that another attempt would not mend. It is made
// all the same: whether it mends itself is the user's to say.
type lasting struct{ error }

func (e *lasting) Unwrap() error { return e.error }

// lastings are failures of a pipe's executions, one after the other, that another
// attempt would not mend. The flow's mutex guards it.
type lastings struct {
	after time.Duration // for how long the pipe goes on; 0: without end
	since time.Time
	count int
}

// stopLasting stops a pipe whose target has answered nothing else for long enough
// (pipes.md 10). The flow's mutex is held.
func (f *flow) stopLasting(now time.Time, err error) {
	x, ok := f.target.(*execution)
	if !ok || x.lastings.after == 0 {
		return
	}
	l := &x.lastings
	var one *lasting
	if !errors.As(err, &one) {
		l.count = 0
		return
	}
	if l.count++; l.count == 1 {
		l.since = now
	}
	if l.count >= openAfter && now.Sub(l.since) >= l.after && f.consumer != nil {
		f.stopFor(Disabled, fmt.Errorf("nothing but permanent errors since %s, %d of them: %w", l.since.UTC().Format(time.RFC3339), l.count, err))
	}
}
