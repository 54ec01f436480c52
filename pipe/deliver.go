package pipe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// This file is the only one that interprets a catalog.Delivery: what an attempt
// means, when the next one is made, and when none is.

// A verdict says that a batch is given up, and why.
type verdict struct {
	err      error
	status   int
	response []byte
	attempts int
	// condition is why no further attempt is made, of an event of a bus; empty: none
	// would change anything.
	condition string
	tries     int    // at writing the dead letters
	object    string // of a mapping's object store: where they go; empty: nowhere yet
}

// work delivers batch after batch until there is none.
func (f *flow) work(b *batch) {
	defer f.working.Done()
	for b != nil {
		if b.verdict != nil {
			f.giveUp(b)
		} else {
			f.attempt(b)
		}
		f.mu.Lock()
		f.ended(b.part)
		f.active--
		f.sendWaiting()
		if b = nil; f.active < f.governor.allowed() {
			b = f.next()
		}
		if b != nil {
			f.active++
		}
		f.mu.Unlock()
	}
}

// ended notes that an attempt on a partition is over.
func (f *flow) ended(p *partition) {
	p.underway--
	if p.let && p.underway == 0 {
		select {
		case <-p.quiet:
		default:
			close(p.quiet)
		}
	}
}

// attempt tries to deliver a batch and decides what follows.
func (f *flow) attempt(b *batch) {
	if f.mapping != nil && !f.mapping.expire(b) || f.bus != nil && !f.bus.turn(b) {
		return
	}
	now := time.Now()
	if f.bus != nil {
		f.bus.start(b, now)
	} else if b.attempt == 0 {
		b.begun = now.UnixNano()
	}
	b.attempt++
	if !f.decide(b) {
		return
	}
	ctx := b.part.ctx
	var report *target.Report
	if mode := f.def.Delivery.Log; mode == "all" || mode == "failed" && b.attempt > 1 {
		report = &target.Report{}
		ctx = target.WithReport(ctx, report)
	}
	err := f.deliver(ctx, f.eventsOf(b))
	took := time.Since(now)
	f.metrics.attempt(err, took)

	var partial *target.PartialError
	whole := !errors.As(err, &partial)
	if !whole {
		var done []*item
		var doomed []*batch
		done, doomed, err = f.keepFailed(b, partial)
		f.logAttempt(b, done, outcomeDelivered, now, took, nil, report, 0)
		for _, one := range doomed {
			f.logAttempt(b, one.items, outcomeDead, now, took, one.verdict.err, report, 0)
		}
	}
	b.err = err
	f.attempted(b.items, err, took)
	if err == nil {
		f.succeeded(b, now, took, report)
		return
	}
	f.failed(b, err, whole, now, took, report)
}

// eventsOf returns the events of a batch, marked with the attempt that is about to be
// made.
func (f *flow) eventsOf(b *batch) []*event.Event {
	events := make([]*event.Event, len(b.items))
	for i, it := range b.items {
		it.Attempt = b.attempt
		events[i] = &it.Event
	}
	if first := events[0]; first.ID == "" {
		first.ID = event.DeliveryID(f.def.Name, first.Record)
	}
	return events
}

// succeeded settles a batch that was delivered.
func (f *flow) succeeded(b *batch, began time.Time, took time.Duration, report *target.Report) {
	f.countDelivered(len(b.items))
	f.logAttempt(b, b.items, outcomeDelivered, began, took, nil, report, 0)
	switch {
	case f.mapping != nil:
		f.mapping.well(b.part)
	case f.bus != nil:
		f.bus.delivered(b, began, took)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.govern(b, well, took, nil)
	f.settled(b)
}

// failed decides what becomes of a batch after an attempt that has failed. Whole says
// that it did for all of its events; the batch holds only those for which it did.
func (f *flow) failed(b *batch, err error, whole bool, began time.Time, took time.Duration, report *target.Report) {
	failure := target.FailureOf(err)
	f.mu.Lock()
	f.govern(b, signOf(failure), took, err)
	f.mu.Unlock()
	switch {
	case f.mapping != nil:
		f.mapping.failed(b, err, whole)
		return
	case f.bus != nil:
		f.bus.failed(b, err, func(outcome string, wait time.Duration) {
			f.logAttempt(b, b.items, outcome, began, took, err, report, wait)
		})
		return
	}
	wait := max(backoff(f.def.Delivery.Backoff, b.attempt, rand.Float64()), failure.After)
	if failure.Final || f.exhausted(b, wait) {
		f.logAttempt(b, b.items, outcomeDead, began, took, err, report, 0)
		if f.def.Delivery.Bisect && len(b.items) > 1 {
			f.bisect(b)
			return
		}
		b.verdict = newVerdict(err, b.attempt)
		f.giveUp(b)
		return
	}
	f.logAttempt(b, b.items, outcomeFailed, began, took, err, report, wait)
	f.log.Debug("delivery failed", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "attempt", b.attempt, "again_in", wait, "err", err)
	f.failTask(b, failure)
	f.again(b, wait)
}

// deliver enriches the events and calls the target; a panic is a failed attempt
// like any other.
func (f *flow) deliver(ctx context.Context, events []*event.Event) (err error) {
	ctx, end := f.traced(ctx, events)
	defer func() { end(err) }()
	defer func() {
		if p := recover(); p != nil {
			f.log.Error("target panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("the target panicked: %v", p)
		}
	}()
	enriched := events
	if f.enrichment != nil {
		began := time.Now()
		enriched, err = f.enrichment.apply(ctx, events)
		if f.enriched(events, enriched, err, time.Since(began)); err != nil || len(enriched) == 0 {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.def.Delivery.Timeout)
	defer cancel()
	err = f.target.Deliver(ctx, enriched)
	var partial *target.PartialError
	if len(enriched) != len(events) && errors.As(err, &partial) {
		// Which record an event came from is not known any more.
		for _, first := range partial.Failed {
			return fmt.Errorf("a part of the batch was not accepted: %w", first)
		}
	}
	return err
}

// keepFailed settles what a target has accepted of a batch, gives up what another
// attempt would not change, and keeps the rest. The whole batch stays in its
// lanes until that is done too. It returns what was accepted, what is given up, each
// by itself, and the error of the first event that it keeps, nil if there is none.
func (f *flow) keepFailed(b *batch, partial *target.PartialError) (done []*item, doomed []*batch, first error) {
	var kept []*item
	for i, it := range b.items {
		err := partial.Failed[i]
		switch {
		case err == nil:
			done = append(done, it)
		case target.FailureOf(err).Final:
			doomed = append(doomed, &batch{part: b.part, items: []*item{it}, verdict: newVerdict(err, b.attempt)})
		default:
			if first == nil {
				first = err
			}
			kept = append(kept, it)
		}
	}
	f.countDelivered(len(done))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished(done)
	f.offer(doomed...)
	b.items = kept
	f.dispatch()
	f.wakeCommitter()
	return done, doomed, first
}

func (f *flow) countDelivered(n int) {
	f.metrics.delivered.Add(float64(n))
	if f.keeper != nil {
		f.keeper.steps[StageDeliver].out.Add(int64(n))
	}
	if f.tally != nil {
		f.tally.delivered.Add(int64(n))
	}
}

// newVerdict gives up after a failure.
func newVerdict(err error, attempts int) *verdict {
	failure := target.FailureOf(err)
	return &verdict{err: err, status: failure.Status, response: failure.Response, attempts: attempts}
}

// exhausted says whether a batch has had all its attempts, or would be too old
// for the next one.
func (f *flow) exhausted(b *batch, wait time.Duration) bool {
	d := f.def.Delivery
	if d.Attempts > 0 && b.attempt >= d.Attempts {
		return true
	}
	return d.MaxAge > 0 && time.Since(time.Unix(0, b.begun))+wait >= d.MaxAge
}

// backoff returns the wait after a failed attempt, counted from 1: doubled each
// time, never beyond Max, and shortened by up to a half as random (0 to 1) says,
// so that what failed together does not come back together.
func backoff(b catalog.Backoff, attempt int, random float64) time.Duration {
	wait := b.Max
	if shift := attempt - 1; shift < 32 && b.Min<<shift > 0 && b.Min<<shift < b.Max {
		wait = b.Min << shift
	}
	return wait - time.Duration(random*float64(wait)/2)
}

// A rest is the wait of a batch for its next attempt.
type rest struct {
	timer *time.Timer
	until time.Time
}

// again schedules the next attempt. A batch that waits does not count as in
// flight: it holds back its own keys and nothing else.
func (f *flow) again(b *batch, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest(b, wait)
}

// rest is again for a caller that holds the flow's mutex.
func (f *flow) rest(b *batch, wait time.Duration) {
	if b.part.let || f.over {
		return
	}
	f.metrics.waiting.Inc()
	f.resting[b] = rest{time.AfterFunc(wait, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.rouse(b) {
			f.offer(b)
			f.dispatch()
		}
	}), time.Now().Add(wait)}
}

// rouse ends the wait of a batch, and says whether it was waiting. The flow's mutex is
// held.
func (f *flow) rouse(b *batch) bool {
	r, ok := f.resting[b]
	if ok {
		r.timer.Stop()
		delete(f.resting, b)
		f.metrics.waiting.Dec()
	}
	return ok
}

// settle ends a batch and lets those behind it go on.
func (f *flow) settle(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled(b)
}

// settled is settle for a caller that holds the flow's mutex.
func (f *flow) settled(b *batch) {
	f.finished(b.items)
	f.release(b)
	f.dispatch()
}

// bisect halves a batch that would be given up: the record to blame may be alone
// in the end, and the others are delivered. Each half has all attempts of a
// batch; its age goes on.
func (f *flow) bisect(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.part.let {
		return
	}
	middle := len(b.items) / 2
	first, second := f.part(b, b.items[:middle]), f.part(b, b.items[middle:])
	for _, l := range b.lanes {
		halves := make([]*batch, 0, 2+len(l.queue))
		for _, half := range []*batch{first, second} {
			if slices.Contains(half.lanes, l) {
				halves = append(halves, half)
			}
		}
		if len(halves) == 2 {
			second.waiting++
		}
		l.queue = append(halves, l.queue[1:]...)
	}
	f.offer(first)
	if second.waiting == 0 {
		f.offer(second)
	}
	f.dispatch()
}

// part makes a batch of some items of another one. It takes the other's place in
// the order of batches, not in its lanes.
func (f *flow) part(of *batch, items []*item) *batch {
	b := &batch{part: of.part, items: items, age: of.age, begun: of.begun}
	if f.mapping != nil {
		b.attempt = of.attempt - 1 // to be halved is no attempt of a record
	}
	for _, it := range items {
		it.ID = ""
		b.bytes += it.length() + 3
		if l := f.laneOf(it); l != nil && !slices.Contains(b.lanes, l) {
			b.lanes = append(b.lanes, l)
		}
	}
	return b
}
