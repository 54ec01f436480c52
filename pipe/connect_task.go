package pipe

import (
	"fmt"

	"github.com/klamm-gateway/klamm/target"
)

// failTask halts a sink connector whose batch has had all its attempts, or fails in a way
// that no attempt mends, as a task of Kafka Connect fails then: nothing is committed or
// given up, and it is read again when the task is restarted. A receiver that says when to
// come back is waited for.
func (f *flow) failTask(b *batch, failure *target.Failure) {
	c := f.def.Connector
	if c == nil || !failure.Halts && (c.Attempts == 0 || b.attempt < c.Attempts || failure.After > 0) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopFor(Halted, fmt.Errorf("topic %s, partition %d, offset %d could not be put in %d attempts: %w", b.part.topic, b.part.number, b.items[0].Record.Offset, b.attempt, b.err))
}
