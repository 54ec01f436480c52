package pipe_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
)

// A mapping whose function has no room goes on when it has some again, although the records
// that were to be its probes have become too old meanwhile.
func TestMappingGoesOnBehindProbesThatAreTooOld(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const partitions = 8
	name := topic(t, c, partitions)
	var well, arrived atomic.Bool
	clerk := &clerk{answer: func(values []string) (function.Outcome, error) {
		if !well.Load() {
			return function.Outcome{}, function.ErrThrottled
		}
		for _, v := range values {
			if v == "last" {
				arrived.Store(true)
			}
		}
		return function.Outcome{}, nil
	}}
	_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.MaxAge = time.Second })
	fill := func(value string) {
		for p := range int32(partitions) {
			if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Partition: p, Value: []byte(value)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	written := int64(0)
	eventually(t, "the function counts as down", func() bool {
		fill("v")
		written += partitions
		return sum(t, registry, "klamm_pipe_target_down") == 1
	})
	eventually(t, "all have become too old", func() bool { return committed(t, c, def.Group, name) == written })
	well.Store(true)
	eventually(t, "a record has arrived", func() bool { fill("last"); return arrived.Load() })
}
