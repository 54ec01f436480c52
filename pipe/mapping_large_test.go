package pipe_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
)

// A function that answers 413 gets halves, without an attempt that counts and without
// BisectBatchOnFunctionError; a record that is too large alone is given up, and named
// (function-targets.md 1.4).
func TestMappingHalvesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "0", "1", "2", "huge", "4", "5", "6", "7", "8")
	clerk := &clerk{answer: func(values []string) (function.Outcome, error) {
		if len(values) > 2 || slices.Contains(values, "huge") {
			return function.Outcome{}, fmt.Errorf("the function answers 413: %w", function.ErrTooLarge)
		}
		return function.Outcome{}, nil
	}}
	_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts = 1 })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 9 })
	var done []string
	for _, values := range clerk.sent(t) {
		if len(values) <= 2 && !slices.Contains(values, "huge") {
			done = append(done, values...)
		}
	}
	if want := []string{"0", "1", "2", "4", "5", "6", "7", "8"}; !slices.Equal(done, want) {
		t.Errorf("done: %v, want %v, each once and in order", done, want)
	}
	if got := gathered(t, registry, "klamm_esm_dropped_event_count"); got != 1 {
		t.Errorf("%v dropped, want 1", got)
	}
}
