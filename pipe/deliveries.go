package pipe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// A Delivery is what the delivery log knows of one record's way to its target;
// for a batch, of the batch, by its first record.
type Delivery struct {
	ID        string    `json:"delivery_id"`
	Pipe      string    `json:"pipe"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Attempts  int       `json:"attempts"` // so far
	Status    int       `json:"status"`   // of the last answer; 0: there was none
	Last      int64     `json:"last_offset"`
	Count     int       `json:"count"`   // records of the batch
	Outcome   string    `json:"outcome"` // delivered, failed (another attempt follows), dead_lettered
	Next      time.Time `json:"next,omitzero"`
	At        time.Time `json:"at"` // of the last attempt
}

// An Attempt is one attempt of a delivery.
type Attempt struct {
	Number   int       `json:"attempt"`
	At       time.Time `json:"at"`
	Status   int       `json:"status"` // of the answer; 0: there was none
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty"` // its beginning, at most 1 KiB
	// TookMillis is the whole attempt; the others are its parts, 0 where a
	// connection was there already or the target does not tell.
	TookMillis    float64   `json:"took_ms"`
	DNSMillis     float64   `json:"dns_ms,omitempty"`
	ConnectMillis float64   `json:"connect_ms,omitempty"`
	TLSMillis     float64   `json:"tls_ms,omitempty"`
	WaitMillis    float64   `json:"wait_ms,omitempty"` // from the end of the request to the first byte of the answer
	Next          time.Time `json:"next,omitzero"`     // of the attempt that follows
}

// A Logged is an attempt together with what was attempted.
type Logged struct {
	Delivery
	Attempt Attempt `json:"attempt"`
}

// add puts an entry to what is known of its delivery.
func (d *Delivery) add(e *entry) {
	if d.ID != "" && e.At.Before(d.At) {
		d.Attempts = max(d.Attempts, e.Number)
		return
	}
	*d = Delivery{
		ID: e.ID, Pipe: e.Pipe, Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Last: e.Last, Count: e.Count,
		Attempts: e.Number, Status: e.Status, Outcome: e.Outcome, Next: e.Next, At: e.At,
	}
}

// Deliveries returns the newest deliveries of a pipe that the log knows, newest
// first: at most limit, none whose last attempt was before since, and with an outcome
// only those whose last attempt had it.
func (r *Runner) Deliveries(ctx context.Context, pipe string, since time.Time, outcome string, limit int) ([]Delivery, error) {
	if outcome != "" && outcome != outcomeDelivered && outcome != outcomeFailed && outcome != outcomeDead {
		return nil, fmt.Errorf("%w: outcome %q: want %s, %s or %s", ErrBadRequest, outcome, outcomeDelivered, outcomeFailed, outcomeDead)
	}
	if _, err := r.definition(pipe); err != nil {
		return nil, err
	}
	found := map[string]*Delivery{}
	err := r.lookBack(ctx, since, nil, func(record *kgo.Record) {
		if len(record.Headers) == 0 || string(record.Headers[0].Value) != pipe {
			return
		}
		for e := range entriesOf(record) {
			if e.At.Before(since) {
				continue
			}
			d := found[e.ID]
			if d == nil {
				d = &Delivery{}
				found[e.ID] = d
			}
			d.add(e)
		}
	}, func() bool { return enoughOf(found, outcome, limit) })
	if err != nil {
		return nil, err
	}
	all := make([]Delivery, 0, len(found))
	for _, d := range found {
		if outcome == "" || d.Outcome == outcome {
			all = append(all, *d)
		}
	}
	slices.SortFunc(all, func(a, b Delivery) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(a.ID, b.ID)) })
	return all[:min(len(all), limit)], nil
}

// enoughOf says whether there are so many deliveries with an outcome; the empty one is
// any.
func enoughOf(found map[string]*Delivery, outcome string, limit int) bool {
	if outcome == "" {
		return len(found) >= limit
	}
	n := 0
	for _, d := range found {
		if d.Outcome == outcome {
			n++
		}
	}
	return n >= limit
}

// Delivery returns a delivery with the attempts that the log has kept, oldest
// first. The error is ErrNoDelivery where it knows nothing of it.
func (r *Runner) Delivery(ctx context.Context, id string) (Delivery, []Attempt, error) {
	partition := logPartition(id)
	quoted := scan.AppendString(nil, id)
	var d Delivery
	var attempts []Attempt
	err := r.lookBack(ctx, time.Time{}, &partition, func(record *kgo.Record) {
		if !bytes.Contains(record.Value, quoted) {
			return
		}
		for e := range entriesOf(record) {
			if e.ID != id {
				continue
			}
			d.add(e)
			if e.Kept {
				attempts = append(attempts, e.Attempt)
			}
		}
	}, func() bool { return false })
	if err != nil {
		return Delivery{}, nil, err
	}
	if d.ID == "" {
		return Delivery{}, nil, fmt.Errorf("%w: %q", ErrNoDelivery, id)
	}
	slices.SortStableFunc(attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
	return d, attempts, nil
}

// stride is how many offsets of each partition lookBack reads first; each time
// it goes further back, twice as many.
const stride = 20_000

// lookBack reads the delivery log from its end backwards, in strides, until
// enough says so, or since or the beginning of the log is reached. A partition
// narrows it down.
func (r *Runner) lookBack(ctx context.Context, since time.Time, only *int32, each func(*kgo.Record), enough func() bool) error {
	t, ranges, err := r.logRanges(ctx)
	if err != nil || ranges == nil {
		return err
	}
	if only != nil {
		ranges = map[int32]kafka.Range{*only: ranges[*only]}
	}
	if !since.IsZero() {
		after, err := r.cfg.Cluster.OffsetsAfter(ctx, DeliveryTopic, since.UnixMilli())
		if err != nil {
			return err
		}
		for p, span := range ranges {
			if o, ok := after[p]; ok {
				span.Start = max(span.Start, o)
				ranges[p] = span
			}
		}
	}
	for step := int64(stride); ; step *= 2 {
		more := false
		for p, span := range ranges {
			piece := kafka.Range{Start: max(span.Start, span.End-step), End: span.End}
			if err := r.scan(ctx, r.cfg.Cluster, t, p, piece, func(record *kgo.Record) bool { each(record); return ctx.Err() == nil }); err != nil {
				return cmp.Or(ctx.Err(), err)
			}
			span.End = piece.Start
			ranges[p] = span
			more = more || span.End > span.Start
		}
		if !more || enough() {
			return ctx.Err()
		}
	}
}

// logRanges returns where the delivery log is; nil if there is none.
func (r *Runner) logRanges(ctx context.Context) (kafka.Topic, map[int32]kafka.Range, error) {
	t, err := r.cfg.Cluster.Topic(ctx, DeliveryTopic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return t, nil, nil
	}
	if err != nil {
		return t, nil, err
	}
	ranges, err := r.cfg.Cluster.Ranges(ctx, DeliveryTopic)
	return t, ranges, err
}

// Tail calls each with every attempt that is logged from now on, of one pipe or,
// with an empty name, of all. It returns the error of each, or that of ctx.
func (r *Runner) Tail(ctx context.Context, pipe string, each func(Logged) error) error {
	if pipe != "" {
		if _, err := r.definition(pipe); err != nil {
			return err
		}
	}
	var at map[int32]int64
	var t kafka.Topic
	for first := true; ctx.Err() == nil; first = false {
		if at == nil {
			topic, ranges, err := r.logRanges(ctx)
			if err != nil {
				return err
			}
			if ranges != nil {
				t, at = topic, map[int32]int64{}
				for p, span := range ranges {
					if at[p] = span.Start; first {
						at[p] = span.End
					}
				}
			}
		}
		for _, p := range slices.Sorted(maps.Keys(at)) {
			records, next, err := r.cfg.Cluster.Read(ctx, t, p, at[p], scanLimits)
			if err != nil {
				return err
			}
			at[p] = next
			for _, record := range records {
				for e := range entriesOf(record) {
					if pipe != "" && e.Pipe != pipe || !e.Kept {
						continue
					}
					var d Delivery
					d.add(e)
					if err := each(Logged{d, e.Attempt}); err != nil {
						return err
					}
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// Retry delivers the records of a delivery once more, with the same delivery id,
// and returns when they are delivered or given up. The pipe's log need not know
// the delivery: its id says where the record is. Of a batch that the log knows,
// all records go.
func (r *Runner) Retry(ctx context.Context, id string) (Progress, error) {
	pipe, topic, partition, offset, ok := parseDeliveryID(id)
	if !ok {
		return Progress{}, fmt.Errorf("%w: %q is not a delivery id", ErrBadRequest, id)
	}
	def, err := r.definition(pipe)
	if err != nil {
		return Progress{}, err
	}
	span := kafka.Range{Start: offset, End: offset + 1}
	if d, _, err := r.Delivery(ctx, id); err == nil {
		span.End = max(span.End, d.Last+1)
	} else if !errors.Is(err, ErrNoDelivery) {
		return Progress{}, err
	}
	defer r.sources.use(def.SourceLogin)()
	source, err := r.source(def)
	if err != nil {
		return Progress{}, err
	}
	t, err := source.Topic(ctx, topic)
	if err != nil {
		return Progress{}, err
	}
	fd, err := r.newFeed(def, true, nil, 0, nil)
	if err != nil {
		return Progress{}, err
	}
	var p Progress
	err = r.scan(ctx, source, t, partition, span, func(record *kgo.Record) bool {
		p.Read++
		if p.Records == 0 && (record.Offset != offset || event.DeliveryID(pipe, record) != id) {
			return false
		}
		p.Records++
		return fd.put(ctx, record)
	})
	if p.Records == 0 && (err == nil || errors.Is(err, errStopped) || errors.Is(err, kerr.OffsetOutOfRange)) {
		err = fmt.Errorf("%w: the record %s/%d at offset %d is not in the topic any more", ErrNoDelivery, topic, partition, offset)
	}
	err = errors.Join(err, fd.end(ctx, r.cfg.Grace, func() {}), r.supersede(ctx, def, fd))
	p.Delivered, p.DeadLettered = fd.tally.delivered.Load(), fd.tally.dead.Load()
	return p, err
}

// parseDeliveryID takes apart what event.DeliveryID has made.
func parseDeliveryID(id string) (pipe, topic string, partition int32, offset int64, ok bool) {
	parts := strings.Split(id, ":")
	if len(parts) != 5 {
		return "", "", 0, 0, false
	}
	p, err := strconv.ParseInt(parts[2], 10, 32)
	o, err2 := strconv.ParseInt(parts[3], 10, 64)
	return parts[0], parts[1], int32(p), o, err == nil && err2 == nil && p >= 0 && o >= 0
}
