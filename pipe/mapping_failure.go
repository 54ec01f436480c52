package pipe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// This file is what follows a failure of an event source mapping
// (event-source-mapping.md 13). It differs from the rules of other pipes: a call that
// has not reached the function is no attempt, a batch is halved at once, and a record
// has an age of its own.

// Why a record is given up without another attempt.
var (
	errPayloadSize = errors.New("the event of this record alone is larger than a function takes")
	errRecordAge   = errors.New("the record is older than MaximumRecordAgeInSeconds")
)

var (
	// failedBackoff is the wait after a function has failed, and missedBackoff after
	// it was not reached.
	failedBackoff = catalog.Backoff{Min: 100 * time.Millisecond, Max: time.Minute}
	missedBackoff = catalog.Backoff{Min: throttledFirst, Max: time.Minute}
	// undeliveredBackoff is the wait after a destination has failed.
	undeliveredBackoff = catalog.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
)

// jitter returns a wait of full jitter after so many failures.
func jitter(b catalog.Backoff, failures int) time.Duration {
	return time.Duration(rand.Float64() * float64(backoff(b, failures, 0)))
}

// failed decides what follows an attempt of a mapping that has failed. Whole says that
// no record of the batch was done.
func (m *mapping) failed(b *batch, err error, whole bool) {
	f := m.flow
	m.trouble(b.part, err)
	if errors.Is(err, errPayloadSize) { // that is no attempt
		if len(b.items) > 1 {
			f.bisect(b)
			return
		}
		b.attempt--
		b.verdict = newVerdict(err, b.attempt)
		f.giveUp(b)
		return
	}
	var call *callError
	if errors.As(err, &call) && call.missed {
		b.attempt--
		b.missed++
		wait := max(jitter(missedBackoff, b.missed), call.After)
		f.log.Warn("the function was not reached", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "again_in", wait, "err", err)
		f.again(b, wait)
		return
	}
	b.missed = 0
	switch {
	case whole && f.def.Delivery.Bisect && len(b.items) > 1:
		f.bisect(b)
	case m.def.Attempts > 0 && b.attempt >= m.def.Attempts:
		b.verdict = newVerdict(err, b.attempt)
		f.giveUp(b)
	default:
		wait := jitter(failedBackoff, b.attempt)
		f.log.Debug("the function has failed", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "attempt", b.attempt, "again_in", wait, "err", err)
		f.again(b, wait)
	}
}

// expire takes records out of a batch that have become too old; false says that none
// are left, and the batch is settled.
func (m *mapping) expire(b *batch) bool {
	if m.def.MaxAge == 0 {
		return true
	}
	f := m.flow
	limit := time.Now().Add(-m.def.MaxAge)
	var kept, old []*item
	for _, it := range b.items {
		if it.Record.Timestamp.Before(limit) {
			old = append(old, it)
		} else {
			kept = append(kept, it)
		}
	}
	if len(old) == 0 {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// What the function has said of them before goes along.
	f.offer(&batch{part: b.part, items: old, verdict: &verdict{err: &expired{b.err}, attempts: b.attempt}})
	b.items = kept
	if len(kept) > 0 {
		f.dispatch()
		return true
	}
	f.unprobe(b)
	f.settled(b)
	return false
}

// An expired is why a record is given up that has become too old; last is what the
// last attempt failed with, nil: there was none.
type expired struct{ last error }

func (e *expired) Error() string { return errRecordAge.Error() }

// Unwrap tells of the last attempt, too.
func (e *expired) Unwrap() []error {
	if e.last == nil {
		return []error{errRecordAge}
	}
	return []error{errRecordAge, e.last}
}

// discard gives up the records of a batch: they go to the destination, if there is
// one, and count as done when they are stored there.
func (m *mapping) discard(b *batch) {
	f, v, n := m.flow, b.verdict, float64(len(b.items))
	if m.destination == nil {
		m.dropped(b, "there is no on-failure destination", v.err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := m.destination.store(ctx, m, b)
	if err == nil {
		m.metrics.stored.Add(n)
		f.metrics.dead.Add(n)
		f.abandoned(b.items)
		f.log.Warn("records given up; the on-failure destination has them", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset,
			"records", len(b.items), "attempts", v.attempts, "err", v.err)
		f.settle(b)
		return
	}
	m.metrics.destinationErrors.Inc()
	if m.def.DropUndelivered {
		m.dropped(b, "the on-failure destination has failed", fmt.Errorf("%w; %w", v.err, err))
		return
	}
	v.tries++
	wait := backoff(undeliveredBackoff, v.tries, rand.Float64())
	f.log.Error("the on-failure destination cannot be reached; its records wait", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "again_in", wait, "err", err)
	f.again(b, wait)
}

// dropped gives up records for good.
func (m *mapping) dropped(b *batch, why string, err error) {
	f, n := m.flow, float64(len(b.items))
	m.metrics.dropped.Add(n)
	f.metrics.dead.Add(n)
	f.abandoned(b.items)
	f.log.Warn("records dropped", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "records", len(b.items), "why", why, "err", err)
	f.settle(b)
}
