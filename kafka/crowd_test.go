package kafka_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestACrowdProduces has many callers produce at once, each of whom waits for an answer
// before the next record: everything is there once, and in each caller's order, whichever
// producer it went by.
func TestACrowdProduces(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic := create(t, c, 3)
	const callers, each = 48, 50
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := range each {
				r := &kgo.Record{Topic: topic, Partition: int32(caller % 3), Key: fmt.Append(nil, caller), Value: fmt.Append(nil, n)} //nolint:gosec // small
				if err := c.Produce(t.Context(), r)[0].Err; err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	next := map[string]int{}
	for p := range int32(3) {
		for offset := int64(0); ; {
			records, err := c.Fetch(t.Context(), topic, p, offset, kafka.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if len(records) == 0 {
				break
			}
			for _, r := range records {
				if want := fmt.Sprint(next[string(r.Key)]); string(r.Value) != want {
					t.Fatalf("caller %s: %s comes where %s should", r.Key, r.Value, want)
				}
				next[string(r.Key)]++
				offset = r.Offset + 1
			}
		}
	}
	if len(next) != callers {
		t.Errorf("records of %d callers, want %d", len(next), callers)
	}
	for caller, n := range next {
		if n != each {
			t.Errorf("%d records of caller %s, want %d", n, caller, each)
		}
	}
}
