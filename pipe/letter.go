package pipe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
)

// responseExcerpt is how much of a receiver's answer a dead letter keeps.
const responseExcerpt = 1 << 10

// letterBytes lets every record that could be read be written as a dead letter,
// with its reason.
const letterBytes = 100 << 20

// giveUp writes the dead letters of a batch and settles it. As long as they
// cannot be written the records are not done with: it is tried again without
// end, since the alternative is to lose them.
func (f *flow) giveUp(b *batch) {
	switch {
	case f.mapping != nil:
		f.mapping.discard(b)
		return
	case f.bus != nil:
		f.bus.discard(b)
		return
	}
	v := b.verdict
	if err := f.writeLetters(b.items, v); err != nil {
		v.tries++
		wait := backoff(catalog.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}, v.tries, 0)
		f.log.Error("dead letters cannot be written; their records wait", "topic", f.def.Delivery.DeadLetter, "again_in", wait, "err", err)
		f.again(b, wait)
		return
	}
	f.metrics.dead.Add(float64(len(b.items)))
	f.abandoned(b.items)
	if f.tally != nil {
		f.tally.dead.Add(int64(len(b.items)))
		f.mu.Lock()
		for _, it := range b.items {
			f.tally.died[markOf(it.Record.Topic, it.Record.Partition, it.Record.Offset)] = true
		}
		f.mu.Unlock()
	}
	f.settle(b)
}

// writeLetters writes the dead letters of items. When it returns nil, all are
// acknowledged.
func (f *flow) writeLetters(items []*item, v *verdict) error {
	letters := make([]*kgo.Record, len(items))
	for i, it := range items {
		letters[i] = f.letter(it, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := f.ensureLetterTopic(ctx, f.def.Delivery.DeadLetter)
	if err == nil {
		err = f.cluster.Produce(ctx, letters...).FirstErr()
	}
	if err != nil {
		f.metrics.letterFailures.Inc()
		return fmt.Errorf("write dead letters: %w", err)
	}
	first := items[0].Record
	f.log.Warn("records given up", "topic", first.Topic, "partition", first.Partition, "offset", first.Offset, "records", len(letters),
		"attempts", v.attempts, "dead_letter", f.def.Delivery.DeadLetter, "err", v.err)
	return nil
}

// ensureLetterTopic creates the dead-letter topic before its first use, so that
// it takes records as large as those it has to keep.
func (f *flow) ensureLetterTopic(ctx context.Context, topic string) (err error) {
	if f.lettersReady.Load() {
		return nil
	}
	size := strconv.Itoa(letterBytes)
	if err := f.cluster.EnsureTopic(ctx, topic, -1, map[string]*string{"max.message.bytes": &size}); err != nil {
		return err
	}
	f.lettersReady.Store(true)
	return nil
}

// letter makes the dead letter of an item: the record as it was, and why it is
// here (interface.md 4).
func (f *flow) letter(it *item, v *verdict) *kgo.Record {
	r := it.Record
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+9)
	headers = append(headers, r.Headers...)
	add := func(name, value string) {
		headers = append(headers, kgo.RecordHeader{Key: "klamm." + name, Value: []byte(value)})
	}
	add("pipe", f.def.Name)
	add("topic", r.Topic)
	add("partition", strconv.Itoa(int(r.Partition)))
	add("offset", strconv.FormatInt(r.Offset, 10))
	add("timestamp", strconv.FormatInt(r.Timestamp.UnixMilli(), 10))
	add("attempts", strconv.Itoa(v.attempts))
	add("reason", strings.ToValidUTF8(v.err.Error(), "?"))
	if v.status != 0 {
		add("status", strconv.Itoa(v.status))
	}
	if len(v.response) > 0 {
		headers = append(headers, kgo.RecordHeader{Key: "klamm.response", Value: v.response[:min(len(v.response), responseExcerpt)]})
	}
	if c := f.def.Connector; c != nil && c.Headers {
		headers = append(headers, connectHeaders(c, r, v)...)
	}
	return &kgo.Record{Topic: f.def.Delivery.DeadLetter, Partition: -1, Key: r.Key, Value: r.Value, Headers: headers}
}
