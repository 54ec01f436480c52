package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// This file is what follows an attempt at delivering an event of a bus (event-bus.md 8).
// It differs from the rules of other pipes: age counts from intake, the wait is of full
// jitter, an event that waits for long waits elsewhere, and one that is given up goes to
// a dead-letter topic only if the target has one.

// A subscription is what a flow delivers for.
type subscription struct {
	flow   *flow
	sub    *subscriber
	def    catalog.Subscription
	series *ruleSeries
	input  func(dst, envelope []byte, intake time.Time) ([]byte, error) // nil: the event
	rate   *rate.Limiter                                                // shared with others; nil: there is none
}

// busBackoff is the wait between two attempts, before jitter, unless a definition says
// otherwise.
var busBackoff = catalog.Backoff{Min: time.Second, Max: 10 * time.Minute}

// The conditions that end retries.
const (
	outOfAttempts = "MaximumRetryAttempts"
	outOfAge      = "MaximumEventAgeInSeconds"
)

// errTooOld is why an event is given up that could not be tried again.
var errTooOld = errors.New("the target was not there until the event was too old")

// adopt makes a flow that of a subscriber.
func (s *subscriber) adopt(f *flow) error {
	input, err := compileInput(s.def)
	if err != nil {
		f.closeTargets()
		return fmt.Errorf("input: %w", err)
	}
	f.bus = &subscription{flow: f, sub: s, def: *s.def.Bus, series: s.series, input: input, rate: f.runner.rates.of(s.def.Bus.Rate)}
	f.metrics = s.bus.series
	return nil
}

// shape makes an item of an event.
func (s *subscription) shape(r *kgo.Record) *item {
	it := &item{Event: event.Event{Record: r, Document: r.Value}, size: len(r.Key) + len(r.Value) + 256}
	if s.sub.bus.isRetries(r.Topic) {
		it.Record, it.waited = unwaited(r)
		it.ID = it.waited.id
	}
	if it.waited == nil {
		s.series.created()
	}
	if hopsOf(r) > mostHops {
		it.reason = errLoop
		return it
	}
	if s.input != nil {
		body, err := s.input(nil, r.Value, it.Record.Timestamp)
		if err != nil {
			it.reason = fmt.Errorf("input: %w", err)
			return it
		}
		if it.Body = body; body == nil {
			it.Body = json.RawMessage{}
		}
		it.size += len(body)
	}
	it.address = s.flow.locate(it)
	return it
}

// begin has the age of a batch count from intake.
func (s *subscription) begin(b *batch) {
	if b.begun == 0 && len(b.items) > 0 {
		b.begun = b.items[0].Record.Timestamp.UnixNano()
	}
}

// start counts an attempt that begins.
func (s *subscription) start(b *batch, now time.Time) {
	s.begin(b)
	s.series.attempt(b.attempt > 0, now.Sub(time.Unix(0, b.begun)), b.attempt == 0)
}

// delivered counts an attempt that has succeeded.
func (s *subscription) delivered(b *batch, now time.Time, took time.Duration) {
	s.series.delivered(len(b.items), now.Add(took).Sub(time.Unix(0, b.begun)))
}

// failed decides what follows an attempt that has failed. The mutex of the flow is not
// held.
func (s *subscription) failed(b *batch, err error, log func(outcome string, wait time.Duration)) {
	f, d := s.flow, s.flow.def.Delivery
	failure := target.FailureOf(err)
	if failure.Status == 429 {
		s.series.throttled()
	}
	wait := max(jitter(d.Backoff, b.attempt), failure.After)
	condition := ""
	final := failure.Final
	switch age := time.Since(time.Unix(0, b.begun)); {
	case final:
	case d.Attempts > 0 && b.attempt >= d.Attempts:
		if final = true; b.attempt > 1 {
			condition = outOfAttempts
		}
	case d.MaxAge > 0 && age+wait >= d.MaxAge:
		// A last attempt at the end of its time, rather than none for up to 10 minutes.
		if wait = d.MaxAge - age - time.Second; wait < max(failure.After, time.Second) {
			final, condition = true, outOfAge
		}
	}
	if final {
		log(outcomeDead, 0)
		b.verdict = newVerdict(err, b.attempt)
		b.verdict.condition = condition
		f.giveUp(b)
		return
	}
	log(outcomeFailed, wait)
	if wait > patienceHere && s.postpone(b, wait) {
		return
	}
	f.again(b, wait)
}

// aged gives up an event that is too old, whose target is down. The flow's mutex is held.
func (s *subscription) aged(b *batch) {
	err := b.err
	if err == nil {
		err = &target.Failure{Unreachable: true, Err: errTooOld}
	}
	b.verdict = newVerdict(err, b.attempt)
	b.verdict.condition = outOfAge
}

// discard gives up the events of a batch. They count as done when they are in the
// dead-letter topic, if there is one.
func (s *subscription) discard(b *batch) {
	f, v := s.flow, b.verdict
	loop := errors.Is(v.err, errLoop)
	if s.def.DeadLetter != "" {
		if err := s.writeLetters(b.items, v); err != nil {
			s.series.unsent()
			v.tries++
			wait := backoff(catalog.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}, v.tries, 0)
			f.log.Error("dead letters cannot be written; their events wait", "topic", s.def.DeadLetter, "again_in", wait, "err", err)
			f.again(b, wait)
			return
		}
	}
	first := b.items[0].Record
	f.log.Warn("events given up", "topic", first.Topic, "partition", first.Partition, "offset", first.Offset, "records", len(b.items), "attempts", v.attempts, "dead_letter", s.def.DeadLetter, "err", v.err)
	f.metrics.dead.Add(float64(len(b.items)))
	s.series.givenUp(len(b.items), loop, s.def.DeadLetter != "", time.Since(first.Timestamp))
	f.settle(b)
}

// writeLetters writes the dead letters of items. When it returns nil, all are
// acknowledged.
func (s *subscription) writeLetters(items []*item, v *verdict) error {
	f := s.flow
	letters := make([]*kgo.Record, len(items))
	for i, it := range items {
		letters[i] = s.letter(it, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := f.ensureLetterTopic(ctx, s.def.DeadLetter)
	if err == nil {
		err = f.cluster.Produce(ctx, letters...).FirstErr()
	}
	if err != nil {
		f.metrics.letterFailures.Inc()
		return fmt.Errorf("write dead letters: %w", err)
	}
	return nil
}

// letter makes the dead letter of an event: as it was received, and why it is here.
func (s *subscription) letter(it *item, v *verdict) *kgo.Record {
	var headers []kgo.RecordHeader
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(strings.ToValidUTF8(value, "?"))})
		}
	}
	add("RULE_ARN", s.def.RuleARN)
	add("TARGET_ARN", s.def.TargetARN)
	add("ERROR_CODE", errorCode(v.err))
	add("ERROR_MESSAGE", v.err.Error())
	add("EXHAUSTED_RETRY_CONDITION", v.condition)
	add("RETRY_ATTEMPTS", strconv.Itoa(max(v.attempts-1, 0)))
	return &kgo.Record{Topic: s.def.DeadLetter, Partition: -1, Key: it.Record.Key, Value: it.Record.Value, Headers: headers}
}

// errorCode returns the ERROR_CODE of a failure.
func errorCode(err error) string {
	var spoilt *transform.InvalidJSONError
	if errors.As(err, &spoilt) {
		return target.CodeInvalidJSON
	}
	return target.ErrorCode(err)
}
