package kafka_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// noise is a value that no compression makes smaller.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return b
}

// A topic can take less than what klamm puts into a batch. Records that share one
// are not refused for it; only those are that are too large themselves.
func TestABatchThatIsTooLargeIsNotTheFaultOfItsRecords(t *testing.T) {
	c := cluster(t)
	const small, records = 1_000, 100
	most := "20000"
	for _, way := range []string{"at once", "by several callers", "one by one"} {
		t.Run(way, func(t *testing.T) {
			topic := fmt.Sprintf("small-%x", noise(8))
			if err := c.EnsureTopic(t.Context(), topic, 1, map[string]*string{"max.message.bytes": &most}); err != nil {
				t.Fatal(err)
			}
			var all []*kgo.Record
			for i := range records {
				size := small
				if i == records/2 {
					size = 30_000
				}
				all = append(all, &kgo.Record{Topic: topic, Partition: -1, Key: fmt.Append(nil, i), Value: noise(size)})
			}
			errs := make([]error, records)
			var sending sync.WaitGroup
			switch way {
			case "at once":
				for i, r := range c.Produce(t.Context(), all...) {
					errs[i] = r.Err
				}
			case "by several callers":
				for i, r := range all {
					sending.Go(func() { errs[i] = c.Produce(t.Context(), r)[0].Err })
				}
			default:
				for i, r := range all {
					sending.Add(1)
					c.Send(t.Context(), r, func(err error) { errs[i] = err; sending.Done() })
				}
			}
			sending.Wait()
			for i, err := range errs {
				if want := i == records/2; want != errors.Is(err, kerr.MessageTooLarge) || !want && err != nil {
					t.Errorf("record %d: %v", i, err)
				}
			}
			got, err := c.Fetch(t.Context(), topic, 0, 0, kafka.Limits{Records: 2 * records, Bytes: 4 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != records-1 {
				t.Errorf("%d records were written, want %d", len(got), records-1)
			}
			for i, r := range got {
				if len(r.Value) != small {
					t.Errorf("record %d has %d bytes", i, len(r.Value))
				}
				if way == "at once" && i > 0 && r.Offset != got[i-1].Offset+1 {
					t.Errorf("offset %d follows %d", r.Offset, got[i-1].Offset)
				}
			}
		})
	}
}
