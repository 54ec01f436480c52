package pipe

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
)

// This file is about events that wait elsewhere for their next attempt: in the topic of
// the bus's retries, which is read like the bus itself.

// The headers that an event has there beside its own.
const (
	headerRetryPipe     = "klamm-retry-pipe"     // the target that it waits for, as the name of its pipe
	headerRetryAttempts = "klamm-retry-attempts" // so far
	headerRetryIntake   = "klamm-retry-intake"   // when it came into the bus, in Unix milliseconds
	headerRetryDue      = "klamm-retry-due"      // when the next attempt is to be made
	headerRetryID       = "klamm-retry-id"       // Klamm-Delivery-Id
)

const (
	// patienceHere is the longest wait in memory, unless the target is down: until it
	// is over no offset behind the event is committed.
	patienceHere = 15 * time.Second
	// retriesRetention is how long events stay in the topic of retries, in
	// milliseconds: longer than any may wait.
	retriesRetention = "259200000"
)

// A waited is what is known of an event that has waited elsewhere.
type waited struct {
	attempts int
	due      time.Time
	id       string
}

// unwaited takes apart what waited returned.
func unwaited(r *kgo.Record) (*kgo.Record, *waited) {
	w := &waited{}
	original := *r
	original.Headers = nil
	for _, h := range r.Headers {
		text := string(h.Value)
		switch h.Key {
		case headerRetryPipe:
		case headerRetryAttempts:
			n, _ := strconv.Atoi(text)
			w.attempts = min(max(n, 0), 1<<20)
		case headerRetryIntake:
			if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 && ms <= r.Timestamp.UnixMilli() {
				original.Timestamp = time.UnixMilli(ms)
			}
		case headerRetryDue:
			if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
				w.due = time.UnixMilli(min(max(ms, 0), r.Timestamp.Add(24*time.Hour).UnixMilli()))
			}
		case headerRetryID:
			w.id = text
		default:
			original.Headers = append(original.Headers, h)
		}
	}
	return &original, w
}

// waiting makes the record of an event that is to wait elsewhere.
func (s *subscription) waiting(it *item, attempts int, due time.Time, id string) *kgo.Record {
	r := it.Record
	headers := slices.Clone(r.Headers)
	add := func(key, value string) {
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(strings.ToValidUTF8(value, "?"))})
	}
	add(headerRetryPipe, s.flow.def.Name)
	add(headerRetryAttempts, strconv.Itoa(attempts))
	add(headerRetryIntake, strconv.FormatInt(r.Timestamp.UnixMilli(), 10))
	add(headerRetryDue, strconv.FormatInt(due.UnixMilli(), 10))
	if id != "" {
		add(headerRetryID, id)
	}
	return &kgo.Record{Topic: s.flow.def.Topics[1], Partition: -1, Key: r.Key, Value: r.Value, Headers: headers}
}

// postpone has a batch wait elsewhere, and says whether it does. It does not where order
// is kept, which it would leave, nor while the target is down: then all wait, and nothing
// is gained.
func (s *subscription) postpone(b *batch, wait time.Duration) bool {
	f := s.flow
	if f.def.Delivery.Order != catalog.OrderNone || len(f.def.Topics) < 2 {
		return false
	}
	f.mu.Lock()
	stays := f.down() || b.part.let
	f.mu.Unlock()
	if stays {
		return false
	}
	due := time.Now().Add(wait)
	records := make([]*kgo.Record, len(b.items))
	for i, it := range b.items {
		records[i] = s.waiting(it, b.attempt, due, it.ID)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f.cluster.Produce(ctx, records...).FirstErr(); err != nil {
		f.log.Warn("events cannot be made to wait in the topic of retries; they wait here", "topic", f.def.Topics[1], "err", err)
		return false
	}
	f.settle(b)
	return true
}

// putWaited takes an event that has waited elsewhere. The flow's mutex is held.
func (f *flow) putWaited(it *item) {
	b := &batch{part: it.part, items: []*item{it}, bytes: it.size, attempt: it.waited.attempts, begun: it.Record.Timestamp.UnixNano(), failed: true}
	if wait := time.Until(it.waited.due); wait > 0 {
		f.rest(b, wait)
		return
	}
	f.offer(b)
}

// ensureRetries makes the topic of the bus's retries, unless it is there.
func (b *bus) ensureRetries(ctx context.Context, topic string) error {
	retention := retriesRetention
	size := strconv.Itoa(letterBytes)
	return b.cluster.EnsureTopic(ctx, topic, -1, map[string]*string{"retention.ms": &retention, "max.message.bytes": &size})
}
