package light

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A source is where the records of a stream come from: a subscription, or a
// member of a group. It belongs to one goroutine.
type source struct {
	streams   *gate.Streams
	who       gate.Principal
	topic     string
	group     string
	partition int32 // that is followed; negative: all of them

	subscription *kafka.Subscription // nil: member
	member       *member

	// gate decodes what is framed for a schema registry; nil: nothing is decoded.
	gate *gate.Gate

	until time.Time // limits let nothing more be taken before; zero: none do
}

// open opens what a client wants to start with. An id that it was resumed with
// says to a group what has arrived.
func (a *api) open(ctx context.Context, who gate.Principal, topic string, s start) (*source, error) {
	src := &source{streams: a.streams, who: who, topic: topic, group: s.group, partition: s.partition}
	if s.group == "" {
		var err error
		src.subscription, err = a.streams.Follow(ctx, who, topic, s.partition, s.from)
		return src, err
	}
	live, late, err := a.streams.Join(ctx, who, s.group, topic, kafka.Start{At: s.from.At, Earliest: s.from.Earliest}, s.from.Next)
	if err != nil {
		return nil, err
	}
	src.member = join(live, a.streams.Real(who, topic), late, a.times.commit)
	return src, nil
}

// allowed says whether the caller may still read.
func (s *source) allowed(ctx context.Context) error {
	if s.group != "" {
		return s.streams.MayJoin(ctx, s.who, s.group, s.topic)
	}
	return s.streams.MayFollow(ctx, s.who, s.topic, s.partition)
}

// wake has something to be received when there may be more to take.
func (s *source) wake() <-chan struct{} {
	if s.member != nil {
		return s.member.wake
	}
	return s.subscription.Wake()
}

// take is kafka.Subscription.Take.
func (s *source) take(ctx context.Context, dst []*kafka.Entry, maxBytes int) ([]*kafka.Entry, *kafka.Gap, error) {
	var got []*kafka.Entry
	var gap *kafka.Gap
	var err error
	if s.member != nil {
		got, err = s.member.take(dst, maxBytes)
	} else {
		got, gap, err = s.subscription.Take(ctx, dst, maxBytes)
	}
	if s.gate != nil {
		for i := len(dst); i < len(got); i++ {
			got[i] = got[i].Decoded(func(r *kgo.Record) *kgo.Record { return s.gate.Decoded(ctx, r) })
		}
	}
	return got, gap, err
}

// count counts a record that is sent, for the limits of the caller.
func (s *source) count(r *kgo.Record) {
	if s.streams.Limited(s.who) {
		if wait := s.streams.Sent(s.who, s.topic, s.group, r); wait > 0 {
			s.until = time.Now().Add(wait)
		}
	}
}

// hold waits where limits let nothing be taken, for a second at most, and says
// whether it did.
func (s *source) hold(ctx context.Context) bool {
	if s.until.IsZero() {
		return false
	}
	wait := time.Until(s.until)
	if wait <= 0 {
		s.until = time.Time{}
		return false
	}
	timer := time.NewTimer(min(wait, time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// positions returns where a subscription is, in dst's memory. What a member has
// is known only when its records come.
func (s *source) positions(dst []kafka.Position) []kafka.Position {
	if s.member != nil {
		return s.member.keep(dst)
	}
	return s.subscription.Positions(dst[:0])
}

// close ends the source. What counts as read of a group's records is what was
// committed, if forget is true, and otherwise everything that was delivered.
func (s *source) close(forget bool) {
	if s.member != nil {
		s.member.leave(forget)
		return
	}
	s.subscription.Close()
}

// A member is a consumer group's member behind a source. One goroutine polls
// while the source has nothing, another commits from time to time; leave waits
// for both.
type member struct {
	live  *kafka.Instance
	topic string
	wake  chan struct{}
	more  chan struct{} // filled when there is room for another poll
	end   context.CancelFunc
	done  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	polled bool       // records wait to be taken
	failed error
}

// patience is how long a poll waits; only what has to be done in between depends
// on it.
const patience = 5 * time.Second

func join(live *kafka.Instance, topic string, late []kafka.Commit, commitEvery time.Duration) *member {
	m := &member{live: live, topic: topic, wake: make(chan struct{}, 1), more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	m.end = cancel
	m.more <- struct{}{}
	m.done.Go(func() { m.poll(ctx, late) })
	m.done.Go(func() { m.commit(ctx, commitEvery) })
	return m
}

// poll fetches whenever everything before was taken.
func (m *member) poll(ctx context.Context, late []kafka.Commit) {
	if len(late) > 0 {
		// What was acknowledged is sought before anything is fetched.
		select {
		case <-ctx.Done():
			return
		case <-m.live.Ready():
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.more:
		}
		for polled := false; !polled; {
			var err error
			if len(late) > 0 {
				late, err = m.live.Settle(ctx, late)
			}
			if err == nil {
				polling, cancel := context.WithTimeout(ctx, patience)
				polled, err = m.live.Poll(polling)
				cancel()
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				m.mu.Lock()
				m.failed = err
				m.mu.Unlock()
				break
			}
		}
		m.mu.Lock()
		m.polled = true
		m.mu.Unlock()
		m.poke()
	}
}

func (m *member) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// commit commits what was delivered.
func (m *member) commit(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// What cannot be committed now is committed the next time; the worst
			// is that it comes again.
			_ = m.live.CommitMoved(ctx)
		}
	}
}

// take takes what was polled.
func (m *member) take(dst []*kafka.Entry, maxBytes int) ([]*kafka.Entry, error) {
	m.mu.Lock()
	polled, failed := m.polled, m.failed
	m.mu.Unlock()
	if failed != nil || !polled {
		return dst, failed
	}
	size, had := 0, len(dst)
	m.live.Take(func(r *kgo.Record) bool {
		if size >= maxBytes {
			return false
		}
		size += len(r.Key) + len(r.Value)
		dst = append(dst, &kafka.Entry{Record: r})
		return true
	})
	if len(dst) == had {
		m.mu.Lock()
		m.polled = false
		m.mu.Unlock()
		m.more <- struct{}{} // there is room: it is filled only here, once for each poll
	}
	return dst, nil
}

// deliver counts records as read, for the next commit.
func (m *member) deliver(entries []*kafka.Entry) {
	records := make([]*kgo.Record, len(entries))
	for i, e := range entries {
		records[i] = e.Record
	}
	m.live.Deliver(records)
}

// acknowledge counts a partition's records as read, up to an offset.
func (m *member) acknowledge(partition int32, offset int64) {
	m.live.Deliver([]*kgo.Record{{Topic: m.topic, Partition: partition, Offset: offset}})
}

// keep returns those of some positions whose partitions the member still has.
func (m *member) keep(at []kafka.Position) []kafka.Position {
	have := m.live.Assignment()
	return slices.DeleteFunc(at, func(p kafka.Position) bool {
		return !slices.Contains(have, kafka.TopicPartition{Topic: m.topic, Partition: p.Partition})
	})
}

// leave leaves the group.
func (m *member) leave(forget bool) {
	m.end()
	m.done.Wait()
	if forget {
		m.live.Forget()
	}
	m.live.Close()
}

// gone says whether an error is only that the client has left, or its credentials
// have expired.
func gone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()))
}
