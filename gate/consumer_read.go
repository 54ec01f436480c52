package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
)

// BadRecords says what a read does at a record that it cannot return.
type BadRecords int

// What reads do at a bad record.
const (
	HaltAtBad BadRecords = iota // return what is before it, and from then on a *BadRecord
	SkipBad                     // return it as an entry with its *BadRecord
	FailAtBad                   // fail with a *BadRecord, and return what is before it never; too large is the end of an answer
)

// A BadRecord says why a record cannot be returned.
type BadRecord struct {
	Topic     string
	Partition int32
	Offset    int64
	TooLarge  bool // otherwise its key or value is not what the instance's format wants
	Reason    string
}

func (e *BadRecord) Error() string {
	return fmt.Sprintf("record at topic %s, partition %d, offset %d: %s", e.Topic, e.Partition, e.Offset, e.Reason)
}

// A Reading says how a consumer instance is to be read.
type Reading struct {
	// Timeout is how long to wait for records; zero, and anything longer than
	// the instance's own, stands for that.
	Timeout time.Duration
	// Longer lets Timeout exceed the instance's own.
	Longer bool
	// MaxBytes is what keys and values of an answer stay below; zero stands for
	// 64 MiB, which is also the most.
	MaxBytes int
	Bad      BadRecords
	// Patient reads take their whole time even if they have records.
	Patient bool
	// Check returns why a record cannot be written in the instance's format, or
	// nil.
	Check func(*kgo.Record) error
	// Token makes the answer repeatable: until the next commit or seek the same
	// token gets the same answer. Empty is none.
	Token string
}

// A Delivery is one record of an answer.
type Delivery struct {
	Record *kgo.Record
	Bad    *BadRecord // nil: the record is as it should be
}

const (
	// mostBytes bounds the keys and values of an answer.
	mostBytes = 64 << 20
	// quiet is how long a read waits for more when it has something.
	quiet = 50 * time.Millisecond
	// joining is by how much the first read may outlast its timeout while the
	// group hands out partitions.
	joining = 5 * time.Second
	// matchEvery is how often topics are compared with a pattern.
	matchEvery = 3 * time.Second
	// lookEvery is how often a read looks for topics where there is none yet.
	lookEvery = 500 * time.Millisecond
)

// Read returns records from the instance's positions on and moves these past
// them. Calls of one instance run one after the other. It returns nothing only
// when its time is over, or the process is about to end. An instance without
// subscription or assignment is ErrConsumerIdle. When ctx ends, no position has
// moved.
func (u *Consumer) Read(ctx context.Context, q Reading) ([]Delivery, error) {
	start := time.Now()
	if err := u.take(ctx); err != nil {
		return nil, err
	}
	defer u.give()
	got, err := u.read(ctx, q, start)
	if err == nil {
		return u.who.shownDeliveries(got), nil
	}
	var bad *BadRecord
	if errors.As(err, &bad) && u.who.TopicPrefix != "" {
		err = u.who.shownBad(bad)
	}
	u.c.mu.Lock()
	stopping := errors.Is(u.c.cause, ErrStopping)
	u.c.mu.Unlock()
	// Nothing was read. What a token has got may be written already, and is then found
	// by whoever asks again.
	if stopping && q.Token == "" {
		return nil, nil
	}
	return nil, u.ended(err)
}

// read is Read for whoever has the turn. Positions have moved only if it returns no
// error.
func (u *Consumer) read(call context.Context, q Reading, start time.Time) ([]Delivery, error) {
	ctx, cancel := u.whileHeld(call)
	defer cancel()
	d := u.definition()
	// What another process has given out meanwhile may be committed.
	verify := func() error { return u.gate.consumers.verifyWithTurn(call, u.c) }
	again, ok, err := u.repeat(ctx, d, q.Token)
	if ok && err == nil {
		err = verify()
	}
	if ok || err != nil {
		return again, err
	}
	patience := q.Timeout
	if q.Timeout <= 0 || q.Timeout > d.Config.Timeout && !q.Longer {
		q.Timeout = d.Config.Timeout
	}
	if q.MaxBytes <= 0 || q.MaxBytes > mostBytes {
		q.MaxBytes = mostBytes
	}
	deadline := start.Add(q.Timeout)
	ready, err := u.awaken(ctx, d, deadline)
	if err != nil || !ready {
		return nil, err
	}
	if err := u.limitRead(ctx, d, patience); err != nil {
		return nil, err
	}
	if deadline, err = u.await(ctx, deadline, q.Timeout); err != nil {
		return nil, err
	}
	r := read{live: u.c.live, q: q, minBytes: d.Config.MinBytes, deadline: deadline}
	if err := r.gather(ctx); err != nil {
		return nil, err
	}
	err = u.still(ctx, start, r.records())
	if err == nil {
		err = u.keepBegun(ctx)
	}
	if err == nil {
		err = verify()
	}
	if err == nil {
		err = u.keepAnswer(ctx, q.Token, &r)
	}
	if err != nil {
		r.live.Restore(r.records())
		return nil, err
	}
	r.live.Deliver(r.records())
	u.countRead(d.Group, r.got)
	return r.got, nil
}

// awaken sees to it that there is an instance to read from; false says that the
// time is over before there was one. The caller has the turn.
func (u *Consumer) awaken(ctx context.Context, d consumerDefinition, deadline time.Time) (bool, error) {
	if len(d.Topics) == 0 && d.Pattern == "" && len(d.Partitions) == 0 {
		return false, ErrConsumerIdle
	}
	if err := u.allowTopics(ctx, append(topicsOf(d.Partitions), d.Topics...)); err != nil {
		return false, err
	}
	cfg := kafka.InstanceConfig{Group: d.Group, ClientID: d.Name, Reset: d.Config.Reset, Committed: d.Config.Committed, AutoCommit: d.Config.AutoCommit, Places: d.Places}
	switch {
	case d.Pattern != "":
		return u.awakenPattern(ctx, d.Pattern, cfg, deadline)
	case u.c.live != nil:
		return true, nil
	case len(d.Topics) > 0:
		return true, u.start(u.cluster().Subscribe(cfg, d.Topics))
	}
	return true, u.awakenAssigned(ctx, d, cfg)
}

// awakenAssigned is awaken for partitions that were assigned by hand.
func (u *Consumer) awakenAssigned(ctx context.Context, d consumerDefinition, cfg kafka.InstanceConfig) error {
	if u.c.from == nil { // taken over
		from, err := u.committed(ctx, d.Group, d.Partitions)
		if err != nil {
			return err
		}
		u.c.from = from
	}
	from, sought := maps.Clone(u.c.from), maps.Clone(u.c.sought)
	if sought == nil {
		sought = map[kafka.TopicPartition]int64{}
	}
	for p, offset := range u.placesOf(d, from) {
		if _, ok := sought[p]; !ok {
			sought[p] = offset
		}
	}
	if d.Config.Reset == kafka.ResetLatest && u.gate.consumers.share != nil {
		if err := u.beginAtEnds(ctx, d, from, sought); err != nil {
			return err
		}
	}
	return u.start(u.cluster().Assign(cfg, d.Partitions, from, sought))
}

// placesOf returns the positions of the places that are good as long as the group
// has committed those offsets.
func (u *Consumer) placesOf(d consumerDefinition, committed map[kafka.TopicPartition]int64) map[kafka.TopicPartition]int64 {
	at := map[kafka.TopicPartition]int64{}
	for _, place := range d.Places {
		have, ok := committed[place.TopicPartition]
		if !ok {
			have = -1
		}
		if have == place.Committed {
			at[place.TopicPartition] = place.Offset
		}
	}
	return at
}

// beginAtEnds puts the present ends of logs into from where reading begins there,
// and keeps them: by the time another process goes on, the end is somewhere else.
func (u *Consumer) beginAtEnds(ctx context.Context, d consumerDefinition, from, sought map[kafka.TopicPartition]int64) error {
	var begun []kafka.Place
	ranges := map[string]map[int32]kafka.Range{}
	for _, p := range d.Partitions {
		_, placed := sought[p]
		if _, ok := from[p]; ok || placed {
			continue
		}
		if ranges[p.Topic] == nil {
			of, err := u.ranges(ctx, p.Topic)
			if err != nil && of == nil {
				of = map[int32]kafka.Range{} // it may not exist yet
			}
			ranges[p.Topic] = of
		}
		if r, ok := ranges[p.Topic][p.Partition]; ok {
			from[p] = r.End
			begun = append(begun, kafka.Place{TopicPartition: p, Offset: r.End, Committed: -1})
		}
	}
	return u.keepPlacesAt(ctx, begun)
}

// keepBegun keeps the places at which a member has begun.
func (u *Consumer) keepBegun(ctx context.Context) error {
	if u.gate.consumers.share == nil {
		return nil
	}
	return u.keepPlacesAt(ctx, u.c.live.Begun())
}

// keepPlacesAt writes places.
func (u *Consumer) keepPlacesAt(ctx context.Context, places []kafka.Place) error {
	return u.define(ctx, func(d consumerDefinition) (consumerDefinition, bool) { return d.placed(places), len(places) > 0 })
}

func (u *Consumer) start(live *kafka.Instance, err error) error {
	if err == nil {
		u.c.from, u.c.sought = nil, nil
		u.c.show(live)
	}
	return err
}

// awakenPattern is awaken for a pattern: what matches it is looked at again from
// time to time.
func (u *Consumer) awakenPattern(ctx context.Context, pattern string, cfg kafka.InstanceConfig, deadline time.Time) (bool, error) {
	for {
		if u.c.live == nil || time.Since(u.c.checked) > matchEvery {
			topics, err := u.match(ctx, pattern)
			if err != nil {
				return false, err
			}
			changed := !slices.Equal(topics, u.c.matched)
			u.c.matched, u.c.checked = topics, time.Now()
			switch {
			case u.c.live != nil && changed:
				u.c.live.SetTopics(topics)
			case u.c.live == nil && len(topics) > 0:
				if err := u.start(u.cluster().Subscribe(cfg, topics)); err != nil {
					return false, err
				}
			}
		}
		if u.c.live != nil {
			return true, nil
		}
		if !time.Now().Before(deadline) {
			return false, nil
		}
		if err := sleep(ctx, min(lookEvery, time.Until(deadline))); err != nil {
			return false, err
		}
	}
}

// await waits for the first partition and says until when to read then.
func (u *Consumer) await(ctx context.Context, deadline time.Time, timeout time.Duration) (time.Time, error) {
	select {
	case <-u.c.live.Ready():
		return deadline, nil
	default:
	}
	if u.c.waited {
		return deadline, nil
	}
	u.c.waited = true
	last := deadline.Add(joining)
	timer := time.NewTimer(time.Until(last))
	defer timer.Stop()
	select {
	case <-u.c.live.Ready():
		later := time.Now().Add(timeout)
		if later.Before(deadline) {
			return deadline, nil
		}
		if later.After(last) {
			return last, nil
		}
		return later, nil
	case <-timer.C:
		return last, nil
	case <-ctx.Done():
		return last, ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A read is one read under way.
type read struct {
	live     *kafka.Instance
	q        Reading
	minBytes int
	deadline time.Time

	got  []Delivery
	size int        // of keys and values
	bad  *BadRecord // at which the read fails
	full bool       // nothing more can be added
}

// gather fills the answer. No position moves.
func (r *read) gather(ctx context.Context) error {
	for last := false; ; {
		r.live.Take(r.take)
		if r.full || r.bad != nil || last {
			break
		}
		hasty := len(r.got) > 0 && r.minBytes < 0 && !r.q.Patient
		wait := time.Until(r.deadline)
		if hasty {
			wait = min(wait, quiet)
		}
		if wait <= 0 || r.minBytes >= 0 && r.size > r.minBytes {
			wait, last = 0, true // what is there already is still added
		}
		polling, cancel := context.WithTimeout(ctx, wait)
		more, err := r.live.Poll(polling)
		cancel()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			r.live.Restore(r.records())
			return err
		}
		if hasty && !more {
			break
		}
	}
	if r.bad != nil {
		r.live.Restore(r.records())
		return r.bad
	}
	return nil
}

func (r *read) records() []*kgo.Record {
	records := make([]*kgo.Record, len(r.got))
	for i, d := range r.got {
		records[i] = d.Record
	}
	return records
}

// take decides on the next record: part of the answer or not.
func (r *read) take(record *kgo.Record) bool {
	n := len(record.Key) + len(record.Value)
	if n >= r.q.MaxBytes {
		return r.spoiled(record, true, fmt.Sprintf("its key and value have %d bytes, and an answer less than %d", n, r.q.MaxBytes))
	}
	if r.size+n >= r.q.MaxBytes {
		r.full = true
		return false
	}
	if err := r.q.Check(record); err != nil {
		if _, later := schema.Unavailable(err); later && r.q.Bad == SkipBad {
			// It is not the record that is bad.
			if r.full = len(r.got) > 0; !r.full {
				r.bad = &BadRecord{record.Topic, record.Partition, record.Offset, false, err.Error()}
			}
			return false
		}
		return r.spoiled(record, false, err.Error())
	}
	r.got = append(r.got, Delivery{Record: record})
	r.size += n
	return true
}

// spoiled decides on a record that cannot be returned.
func (r *read) spoiled(record *kgo.Record, tooLarge bool, reason string) bool {
	bad := &BadRecord{record.Topic, record.Partition, record.Offset, tooLarge, reason}
	switch {
	case r.q.Bad == SkipBad:
		r.got = append(r.got, Delivery{record, bad})
		return true
	case r.q.Bad == FailAtBad && tooLarge:
		r.full = true
	case len(r.got) > 0 && r.q.Bad == HaltAtBad:
		r.full = true
	default:
		r.bad = bad
	}
	return false
}
