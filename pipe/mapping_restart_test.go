package pipe_test

import (
	"testing"

	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/pipe"
)

// A mapping whose function has failed fares no better after a restart until its function
// has done something.
func TestMappingKeepsItsResultOverARestart(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "a")
	failed := pipe.MappingResult{Reason: pipe.UserInitiated, Result: "PROBLEM: Function call failed"}
	t.Run("before", func(t *testing.T) {
		clerk := &clerk{answer: func([]string) (function.Outcome, error) { return unhandled, nil }}
		r, def, _ := clerk.run(t, c, name, nil)
		eventually(t, "that the function has failed is noted", func() bool { got, _ := r.Noted(def.Name); return got == failed })
	})
	t.Run("after", func(t *testing.T) {
		called, well := make(chan struct{}, 10), make(chan struct{})
		clerk := &clerk{answer: func([]string) (function.Outcome, error) {
			called <- struct{}{}
			<-well
			return function.Outcome{}, nil
		}}
		r, def, registry := clerk.run(t, c, name, nil)
		<-called
		eventually(t, "the source has been looked at", func() bool { return sum(t, registry, "klamm_esm_sum_offset_lag") == 1 })
		if got, _ := r.Result(def.Name); got != failed {
			t.Errorf("%+v before the function has done anything, want %+v", got, failed)
		}
		close(well)
		eventually(t, "the result is well", func() bool {
			got, _ := r.Result(def.Name)
			return got == (pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.Processed})
		})
	})
}
