package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// batchBytes is how large the batches of ordinary records grow: what a
	// topic takes that was created without a thought. A client puts as many
	// records into a batch as fit and cannot divide it when the broker refuses.
	batchBytes = 1_000_012
	// largeBytes is from where on a record goes alone, with room for its headers
	// and the batch around it.
	largeBytes = batchBytes - 16<<10
)

// isLarge says whether one of the records must not share a batch.
func isLarge(records []*kgo.Record) bool {
	for _, r := range records {
		size := len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += len(h.Key) + len(h.Value) + 10
		}
		if size > largeBytes {
			return true
		}
	}
	return false
}

// produceLarge writes records one after another, each in a batch of its own, by
// a client that is made for it. Only one caller does so at a time: two large
// records that wait for the same partition would become one batch.
func (c *Cluster) produceLarge(ctx context.Context, records []*kgo.Record) kgo.ProduceResults {
	results := make(kgo.ProduceResults, len(records))
	for i, r := range records {
		results[i] = kgo.ProduceResult{Record: r}
	}
	timer := time.NewTimer(c.cfg.Producing.timeout())
	defer timer.Stop()
	var waited error
	select {
	case c.alone <- struct{}{}:
		defer func() { <-c.alone }()
	case <-ctx.Done():
		waited = fmt.Errorf("%w: %w", ErrOverloaded, ctx.Err())
	case <-timer.C:
		waited = fmt.Errorf("%w: other large records are being written", ErrOverloaded)
	}
	for i, r := range records {
		if waited != nil {
			results[i].Err = waited
			continue
		}
		results[i] = c.produceBy(ctx, c.large, []*kgo.Record{r})[0]
	}
	return results
}
