package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// readStep is how much one request of a read asks for.
	readStep = 1 << 20
	// readPause is how long a read at the end of the log waits before it looks
	// again. It does not wait in the broker, where it would hold up every other
	// read that shares the connection.
	readPause = 50 * time.Millisecond
)

// Read reads records of one partition from an offset on, without a consumer
// group: at most lim.Records of them and, unless the first is larger, at most
// lim.Bytes of keys and values. Both limits must be above zero. At the end of
// the log it waits for lim.Wait and returns nothing.
//
// It returns also where to go on, which is further than the last record where
// offsets have no record: those of compacted records and of transaction markers.
// The errors are those of Fetch.
func (c *Cluster) Read(ctx context.Context, t Topic, partition int32, offset int64, lim Limits) (records []*kgo.Record, next int64, err error) {
	until := time.Now().Add(lim.Wait)
	ctx, cancel := context.WithTimeout(ctx, lim.Wait+adminTimeout)
	defer cancel()
	next = offset
	for size := 0; ; {
		got, after, end, err := c.fetchOnce(ctx, t, partition, next, min(lim.Bytes, readStep), 0, true, lim.Committed)
		if err != nil {
			if len(records) > 0 {
				return records, next, nil
			}
			return nil, offset, err
		}
		for _, r := range got {
			size += len(r.Key) + len(r.Value)
			if len(records) > 0 && size > lim.Bytes {
				return records, next, nil
			}
			records, next = append(records, r), r.Offset+1
			if len(records) >= lim.Records || size >= lim.Bytes {
				return records, next, nil
			}
		}
		stuck := after <= next && len(got) == 0
		next = max(next, after)
		if len(records) > 0 && (next >= end || stuck) {
			return records, next, nil
		}
		if next < end && !stuck {
			continue
		}
		if !time.Now().Before(until) {
			return nil, next, nil
		}
		select {
		case <-ctx.Done():
			return nil, next, ctx.Err()
		case <-time.After(readPause):
		}
	}
}
