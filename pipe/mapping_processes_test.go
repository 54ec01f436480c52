package pipe_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/pipe"
)

// TestMappingWhoseFunctionOneProcessLacks has two processes of which one does not know the
// function, as with a configuration file that has it on the other alone. What it reads
// waits, and both must say so, however well the other gets on.
func TestMappingWhoseFunctionOneProcessLacks(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 2)
	more := func() {
		t.Helper()
		for number := range int32(2) {
			if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Partition: number, Value: []byte("a")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	more()
	var there atomic.Bool
	without := &clerk{answer: func([]string) (function.Outcome, error) {
		if !there.Load() {
			return function.Outcome{}, fmt.Errorf("%w: clerk", function.ErrNotFound)
		}
		return function.Outcome{}, nil
	}}
	runs := []*pipe.Runner{nil, nil}
	says := func(want pipe.MappingResult) {
		t.Helper()
		for i, r := range runs {
			if r != nil {
				eventually(t, fmt.Sprintf("process %d says %v", i, want), func() bool { got, _ := r.Result(catalog.MappingPipe(name)); return got == want })
			}
		}
	}
	gone := pipe.MappingResult{Reason: "FUNCTION_CONFIG_NOT_VALID", Result: "PROBLEM: Function call failed"}
	r, def, _ := without.run(t, c, name, nil)
	runs[0] = r
	says(gone)
	runs[1], _, _ = (&clerk{}).run(t, c, name, nil)
	for i := range 3 {
		if i > 0 {
			more()
		}
		eventually(t, "the other process gets on with its partition", func() bool { return committed(t, c, def.Group, name) == int64(i+1) })
		says(gone)
	}
	there.Store(true)
	eventually(t, "all is committed", func() bool { return committed(t, c, def.Group, name) == 6 })
	says(pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.Processed})
}
