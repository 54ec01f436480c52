package light

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// initialCredit is how many records may be sent before the client acknowledges
	// one or grants more; maxCredit bounds what it can have altogether.
	initialCredit = 100
	maxCredit     = 100_000
	// maxSubscriptions bounds the topics of one WebSocket.
	maxSubscriptions = 100
	// messageBytes is how much one subscription of a WebSocket holds.
	messageBytes = 64 << 10
)

// A credit counts how many records may be sent. It is safe for concurrent use.
type credit struct {
	mu    sync.Mutex // guards what follows
	left  int
	total int
	more  chan struct{} // closed when there is more
}

func newCredit(n int) *credit { return &credit{left: n, total: n, more: make(chan struct{})} }

// grant lets n more records be sent, as far as the whole stays in its bounds.
func (c *credit) grant(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, maxCredit-c.total)
	c.total += n
	c.add(n)
}

// give gives back what records that were acknowledged have used.
func (c *credit) give(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(n)
}

// add is for those who have the lock.
func (c *credit) add(n int) {
	if n > 0 {
		c.left += n
		close(c.more)
		c.more = make(chan struct{})
	}
}

// take waits until one more record may be sent.
func (c *credit) take(ctx context.Context) error {
	for {
		c.mu.Lock()
		more := c.more
		if c.left > 0 {
			c.left--
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A subscription sends the records of one topic to a WebSocket. Its goroutine
// ends with close.
type subscription struct {
	client *client
	source *source
	filter filter
	end    context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex        // guards what follows
	sent  map[int32][]int64 // offsets that were sent and not acknowledged, ascending
	ended bool              // by itself
}

// follow begins a subscription.
func (p *client) follow(ctx context.Context, topic string, wanted start) error {
	if s := p.sources[topic]; s != nil {
		if !s.over() {
			return &refusal{http.StatusConflict, "there is a subscription to this topic already"}
		}
		s.close()
		delete(p.sources, topic)
	}
	if len(p.sources) >= maxSubscriptions {
		return &gate.Error{Kind: gate.Throttled, Message: fmt.Sprintf("a connection has at most %d subscriptions", maxSubscriptions)}
	}
	src, err := p.api.open(ctx, p.who, topic, wanted)
	if err != nil {
		return err
	}
	if !p.raw {
		src.gate = p.api.gate
	}
	s := &subscription{client: p, source: src, filter: wanted.filter, sent: map[int32][]int64{}}
	following, end := context.WithCancel(ctx)
	s.end = end
	s.done.Go(func() { s.run(following, ctx) })
	p.sources[topic] = s
	return nil
}

// unsubscribe ends the subscriptions to topics, or all where none is named.
func (p *client) unsubscribe(topics []string) error {
	if len(topics) == 0 {
		for topic := range p.sources {
			topics = append(topics, topic)
		}
	}
	for _, topic := range topics {
		s := p.sources[topic]
		if s == nil {
			return &refusal{http.StatusConflict, fmt.Sprintf("there is no subscription to %.249s", topic)}
		}
		s.close()
		delete(p.sources, topic)
	}
	return nil
}

// close ends a subscription. What of it was not acknowledged comes again for
// another member of the group.
func (s *subscription) close() {
	s.end()
	s.done.Wait()
	// A raw client has no way to acknowledge: what was written counts.
	s.source.close(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	left := 0
	for _, offsets := range s.sent {
		left += len(offsets)
	}
	s.sent = nil
	s.client.credit.give(left)
}

// over says whether a subscription has ended by itself.
func (s *subscription) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// run sends records until ctx ends or the source fails. What it writes it writes
// whole, for as long as the connection lasts: to break off within a message would
// end the connection.
func (s *subscription) run(ctx, connected context.Context) {
	var list []*kafka.Entry
	recheck := time.NewTicker(s.client.api.times.recheck)
	defer recheck.Stop()
	for ctx.Err() == nil {
		if s.source.hold(ctx) {
			continue
		}
		select {
		case <-recheck.C: // it may have been held for long
			if err := s.source.allowed(ctx); err != nil {
				s.fail(ctx, err)
				return
			}
		default:
		}
		got, gap, err := s.source.take(ctx, list[:0], messageBytes)
		if err == nil && gap != nil {
			err = s.tell(connected, gap)
		}
		for _, e := range got {
			if err == nil {
				err = s.forward(ctx, connected, e)
			}
		}
		if err != nil {
			s.fail(ctx, err)
			return
		}
		clear(got)
		if list = got; cap(list) > keptEntries {
			list = nil
		}
		if len(got) == 0 && gap == nil {
			list = nil
			select {
			case <-ctx.Done():
				return
			case <-recheck.C:
				err = s.source.allowed(ctx)
			case <-s.source.wake():
			}
		}
		if err != nil {
			s.fail(ctx, err)
			return
		}
	}
}

// fail ends a subscription that cannot go on. A caller who may not read any more
// loses the connection.
func (s *subscription) fail(ctx context.Context, err error) {
	if gone(ctx, err) || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if s.client.raw || gate.Classify(err) == gate.Denied {
		s.client.refuse(err)
		return
	}
	status, _, text := outcome(err)
	s.client.complain(&refusal{status, fmt.Sprintf("the subscription to %s has ended: %s", s.source.topic, text)})
}

// forward sends a record, as soon as there is credit for it.
func (s *subscription) forward(ctx, connected context.Context, e *kafka.Entry) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p, r := s.client, e.Record
	if !s.filter.passes(r) {
		return nil
	}
	s.source.count(r)
	if p.raw {
		if err := p.send(connected, r.Value, !utf8.Valid(r.Value)); err != nil {
			return err
		}
		if s.source.member != nil {
			s.source.member.acknowledge(r.Partition, r.Offset)
		}
		return nil
	}
	if err := p.credit.take(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.sent[r.Partition] = append(s.sent[r.Partition], r.Offset)
	s.mu.Unlock()
	return p.send(connected, formOf(e, s.source.topic, messageForm, appendRecordMessage), false)
}

func appendRecordMessage(r *kgo.Record) []byte {
	b := make([]byte, 0, 250+len(r.Topic)+len(r.Key)+len(r.Value)*5/4)
	b = append(b, `{"op":"record",`...)
	at := len(b)
	b = front.AppendRead(b, r)
	return append(b[:at], b[at+1:]...) // without the second brace
}

// tell tells of a gap.
func (s *subscription) tell(ctx context.Context, gap *kafka.Gap) error {
	if s.client.raw {
		return nil // there is no way to say it
	}
	return s.client.send(ctx, fmt.Appendf(nil, `{"op":"gap","topic":%q,"partition":%d,"requested":%d,"earliest":%d}`,
		s.source.topic, gap.Partition, gap.Requested, gap.Earliest), false)
}

// acknowledge takes note that the client has what was sent of a partition up to
// an offset. What was not sent cannot be acknowledged.
func (s *subscription) acknowledge(partition int32, offset int64) error {
	s.mu.Lock()
	sent := s.sent[partition]
	n := 0
	for n < len(sent) && sent[n] <= offset {
		n++
	}
	if n > 0 {
		offset = sent[n-1]
		s.sent[partition] = sent[n:]
	}
	s.mu.Unlock()
	if n == 0 {
		return nil // again
	}
	s.client.credit.give(n)
	if s.source.member != nil {
		s.source.member.acknowledge(partition, offset)
	}
	return nil
}
