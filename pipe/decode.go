package pipe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/target"
)

// This file turns keys and values that are framed for a schema registry into the
// JSON that filters and templates see (interface.md 7). Who polls waits for a registry
// a moment only, because nobody can have the partitions meanwhile; a record whose
// schema is not there then is put into its lanes undecided, and its batch decides on
// it when it is its turn. A registry that cannot answer is thus a failed attempt like
// that of a target: it is repeated after a while, others go on, and nothing is
// committed or lost.

// registryPatience is how long the records of one poll wait for registries altogether.
const registryPatience = time.Second

// A decoding is what a pipe has to decode.
type decoding struct {
	schemas    *schema.Client // nil: nothing is decoded
	key, value bool           // somebody looks at it
	body       bool           // the JSON is delivered
	enveloped  bool           // values have a schema of Kafka Connect around them
	style      schema.Style   // which JSON
	until      time.Time      // for how long the poller waits; its own
}

// decodingOf finds out what of records somebody looks at.
func decodingOf(def catalog.Pipe, schemas *schema.Client, fields event.Fields) decoding {
	if def.Execution != nil || def.Bus != nil || def.Envelope != nil {
		return decoding{}
	}
	d := decoding{schemas: schemas, key: fields.Key, value: fields.Value, body: def.Decode == "json" && def.Transform == nil}
	d.value = d.value || def.Decode == "json"
	if c := def.Connector; c != nil {
		d.key, d.value, d.style = c.Key, c.Value, schema.Connect
		d.enveloped = c.Enveloped
		d.body = d.body || c.Enveloped
	}
	looks := func(t catalog.Target) {
		// The placeholders of a target's configuration, and what targets write that
		// make a document of the record.
		if bytes.Contains(t.Config, []byte("<$")) || bytes.Contains(t.Config, []byte(`\u003c$`)) || t.Kind == "log" || t.Kind == "objectstore" {
			d.key, d.value = true, true
		}
	}
	looks(def.Target)
	if def.Enrich != nil {
		looks(def.Enrich.Target)
	}
	return d
}

// begin starts the patience of a poll.
func (d *decoding) begin() { d.until = time.Now().Add(registryPatience) }

// wanted says whether something of a record is to be decoded.
func (d *decoding) wanted(r *kgo.Record) bool {
	return d.enveloped && r.Value != nil || d.key && d.schemas.Frames(r.Key) || d.value && d.schemas.Frames(r.Value)
}

// decode decodes a record that wants it. The error is that of a registry which
// cannot answer now. A value that cannot be decoded at all has the item given up; a
// key stays what it is, since keys are often bytes of another kind.
func (d *decoding) decode(ctx context.Context, it *item) error {
	seen, changed := *it.Record, false
	for _, part := range []struct {
		raw     *[]byte
		looked  bool
		isValue bool
	}{{&seen.Key, d.key, false}, {&seen.Value, d.value, true}} {
		if !part.looked || !d.schemas.Frames(*part.raw) || schema.Framed(*part.raw) && binary.BigEndian.Uint32((*part.raw)[1:]) == 0 {
			continue
		}
		got, err := d.schemas.Decode(ctx, nil, *part.raw, d.style)
		if _, later := schema.Unavailable(err); later {
			return err
		}
		switch {
		case err == nil:
			*part.raw, changed = got.JSON, true
		case part.isValue:
			it.reason, it.unread = target.Permanent(fmt.Errorf("the value cannot be decoded: %w", err)), true
			return nil
		}
	}
	if d.enveloped && seen.Value != nil {
		payload, err := payloadOf(seen.Value)
		if err != nil {
			it.reason, it.unread = target.Permanent(err), true
			return nil
		}
		seen.Value, changed = payload, true
	}
	if !changed {
		return nil
	}
	it.Decoded = &seen
	if d.body {
		it.Body = seen.Value
	}
	if it.part == nil { // later, its size is accounted for already
		it.size += len(seen.Key) + len(seen.Value)
	}
	return nil
}

// payloadOf takes the payload out of what Kafka Connect's JSON converter has put around
// it.
func payloadOf(value []byte) ([]byte, error) {
	var in struct {
		Schema  json.RawMessage `json:"schema"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(value, &in); err != nil || in.Schema == nil || in.Payload == nil {
		return nil, errors.New("the value is not a JSON object of schema and payload, as a converter with schemas.enable=true wants it")
	}
	return in.Payload, nil
}

// decoded decodes an item for the poller; false says that nothing more can be done
// with it now.
func (f *flow) decoded(it *item) bool {
	d := &f.decoding
	if !d.wanted(it.Record) {
		return true
	}
	ctx, cancel := context.WithDeadline(context.Background(), d.until)
	defer cancel()
	it.undecided = d.decode(ctx, it)
	return it.undecided == nil && it.reason == nil
}

// seen returns a record as filters see it, and waits for a registry as long as
// that takes at most.
func (f *flow) seen(r *kgo.Record) *kgo.Record {
	it := item{Event: event.Event{Record: r}}
	if f.decoding.wanted(r) {
		_ = f.decoding.decode(context.Background(), &it) // what cannot be decoded is seen as it is
	}
	return it.Seen()
}

// decide decodes, filters and transforms the undecided items of a batch whose turn it
// is. False says that the batch is not to be delivered now: nothing is left of it, or
// a registry cannot answer.
func (f *flow) decide(b *batch) bool {
	if !slices.ContainsFunc(b.items, func(it *item) bool { return it.undecided != nil }) {
		return true
	}
	ctx, cancel := context.WithTimeout(b.part.ctx, f.def.Delivery.Timeout)
	defer cancel()
	var failed error
	var kept, dropped []*item
	var doomed []*batch
	for _, it := range b.items {
		if it.undecided != nil && failed == nil {
			it.undecided = f.decideOn(ctx, it)
			if failed = it.undecided; failed == nil {
				f.decidedOn(it)
			}
		}
		switch {
		case it.undecided != nil:
			kept = append(kept, it)
		case it.reason != nil:
			doomed = append(doomed, &batch{part: b.part, items: []*item{it}, verdict: &verdict{err: it.reason, attempts: b.attempt}})
		case it.dropped:
			dropped = append(dropped, it)
		default:
			kept = append(kept, it)
		}
	}
	f.metrics.filtered.Add(float64(len(dropped)))
	f.mu.Lock()
	f.finished(dropped)
	f.offer(doomed...)
	b.items = kept
	if len(kept) == 0 {
		f.unprobe(b)
		f.settled(b)
		f.mu.Unlock()
		return false
	}
	f.dispatch()
	f.wakeCommitter()
	f.mu.Unlock()
	if failed != nil {
		f.undecoded(b, failed)
	}
	return failed == nil
}

// decideOn decides on one item.
func (f *flow) decideOn(ctx context.Context, it *item) error {
	if f.mapping != nil {
		return f.mapping.decideOn(ctx, it)
	}
	if err := f.decoding.decode(ctx, it); err != nil || it.reason != nil {
		return err
	}
	passed, _ := f.judge(it, nil)
	it.dropped = !passed
	return nil
}

// undecoded has a batch wait for a registry that cannot answer, or gives it up as the
// pipe's delivery says. A mapping waits without end (event-source-mapping.md 12).
func (f *flow) undecoded(b *batch, err error) {
	failure := &target.Failure{Err: fmt.Errorf("decode the record: %w", err)}
	if refusal, ok := schema.Unavailable(err); ok {
		failure.After = refusal.After
	}
	b.err = failure
	if b.probes != 0 { // the target was not tried
		f.mu.Lock()
		f.govern(b, silent, 0, failure)
		f.mu.Unlock()
	}
	if f.mapping != nil {
		f.mapping.metrics.registryErrors.Inc()
		f.mapping.failed(b, &callError{Failure: *failure, missed: true}, true)
		return
	}
	wait := max(backoff(f.def.Delivery.Backoff, b.attempt, rand.Float64()), failure.After)
	if f.exhausted(b, wait) {
		b.verdict = newVerdict(failure, b.attempt)
		f.giveUp(b)
		return
	}
	f.log.Warn("the schema registry cannot answer; records wait", "topic", b.part.topic, "partition", b.part.number, "offset", b.items[0].Record.Offset, "attempt", b.attempt, "again_in", wait, "err", err)
	f.again(b, wait)
}
