package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tooLarge says whether a broker has refused a whole batch for its size.
func tooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// sift writes again, each in a batch of its own, what was refused because of the
// batch that it shared: a topic can allow less than klamm puts into one. What is
// refused now is too large itself. The records go to the partitions they had, in
// order, though behind those that were accepted at first.
func (c *Cluster) sift(ctx context.Context, results kgo.ProduceResults) kgo.ProduceResults {
	var refused []int
	for i, r := range results {
		if tooLarge(r.Err) {
			refused = append(refused, i)
		}
	}
	if len(refused) == 0 {
		return results
	}
	records := make([]*kgo.Record, len(refused))
	for n, i := range refused {
		records[n] = results[i].Record
		records[n].Context = nil // kgo's deadline for the first time
	}
	for n, again := range c.produceLarge(ctx, records) {
		results[refused[n]] = again
	}
	return results
}
