package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/iam"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/transform"
)

// PutEvents is the action of putting events on a bus.
const PutEvents Action = "events:PutEvents"

const (
	// busPartitions is how many partitions the topic of a bus has that does not say.
	busPartitions = 4
	// leastBusMessage is the least max.message.bytes of a bus's topic: an entry of the
	// largest size with its envelope, escaped as badly as it can be without being meant to.
	leastBusMessage = 4 << 20
)

// ErrNoBus says that there is no bus of that name.
var ErrNoBus = errors.New("there is no such event bus")

// A BusesConfig is what Buses works with. All fields but Metrics are required.
type BusesConfig struct {
	Gate    *Gate
	Store   *catalog.Store
	Cluster *kafka.Cluster
	// Account and Region are those of events and of ARNs.
	Account, Region string
	// MaxEntries is how many bytes the entries of one request may have (event-bus.md
	// 3); topics of buses take records that fit it.
	MaxEntries int64
	// Strict makes an entry for a bus that does not exist fail; otherwise it succeeds,
	// and its event is dropped and counted.
	Strict  bool
	Metrics prometheus.Registerer // nil: nobody counts
	Log     *slog.Logger
}

// Buses is the guarded way onto event buses: who may put events on which bus, and the
// topics that they lie in. It is safe for concurrent use.
type Buses struct {
	cfg     BusesConfig
	known   sync.Map // of *busState, by name
	dropped prometheus.Counter
}

// NewBuses returns the buses of a catalog.
func NewBuses(cfg BusesConfig) *Buses {
	b := &Buses{cfg: cfg, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_bus_unknown_bus_events_total", Help: "Events that were taken for buses that do not exist, and dropped.",
	})}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(b.dropped)
	}
	return b
}

// A busState is what has been made of the definition of a bus.
type busState struct {
	version int64
	topic   string
	policy  []*iam.Policy
	order   *transform.Paths // nil: events are in no order
	made    atomic.Bool      // its topics have been asked for
	bus     catalog.Bus
}

// ARN returns the ARN of a bus.
func (b *Buses) ARN(name string) string {
	return "arn:aws:events:" + b.cfg.Region + ":" + b.cfg.Account + ":event-bus/" + name
}

// Name returns the name of a bus that is named so, or by its ARN; empty is the default
// bus. An ARN of another account or region is returned as it is: there is no such bus.
func (b *Buses) Name(name string) string {
	if name == "" {
		return catalog.DefaultBus
	}
	if own, ok := strings.CutPrefix(name, b.ARN("")); ok && own != "" {
		return own
	}
	return name
}

// Get returns a bus by its name. The default bus is made when it is asked for first. The
// errors are ErrNoBus and those of catalog.Store.
func (b *Buses) Get(ctx context.Context, name string) (catalog.Document, catalog.Bus, error) {
	doc, err := b.find(ctx, name)
	if err != nil {
		return doc, catalog.Bus{}, err
	}
	state, err := b.state(doc)
	if err != nil {
		return doc, catalog.Bus{}, err
	}
	return doc, state.bus, nil
}

func (b *Buses) find(ctx context.Context, name string) (catalog.Document, error) {
	if doc, ok := b.cfg.Store.Look(catalog.KindBus, name); ok {
		return doc, nil
	}
	if strings.Contains(name, ":") {
		return catalog.Document{}, fmt.Errorf("%w: %q", ErrNoBus, name)
	}
	doc, err := b.cfg.Store.Get(ctx, catalog.KindBus, name)
	if !errors.Is(err, catalog.ErrNotFound) {
		return doc, err
	}
	if name != catalog.DefaultBus {
		return doc, fmt.Errorf("%w: %q", ErrNoBus, name)
	}
	doc, err = b.cfg.Store.Put(ctx, catalog.Document{Kind: catalog.KindBus, Name: name, Dialect: "aws", By: "klamm", Body: json.RawMessage("{}")}, catalog.Absent)
	if errors.Is(err, catalog.ErrExists) {
		doc, err = b.cfg.Store.Get(ctx, catalog.KindBus, name)
	}
	return doc, err
}

// state returns what is made of a definition, as new as that.
func (b *Buses) state(doc catalog.Document) (*busState, error) {
	before, _ := b.known.Load(doc.Name)
	was, _ := before.(*busState)
	if was != nil && was.version == doc.Version {
		return was, nil
	}
	s := &busState{version: doc.Version, topic: event.BusTopic(doc.Name)}
	if err := json.Unmarshal(doc.Body, &s.bus); err != nil {
		return nil, fmt.Errorf("event bus %q cannot be read: %w", doc.Name, err)
	}
	if s.bus.Policy != "" {
		d, err := iam.Parse([]byte(s.bus.Policy), iam.Resources)
		if err != nil {
			return nil, fmt.Errorf("the policy of event bus %q cannot be read: %w", doc.Name, err)
		}
		s.policy = []*iam.Policy{{Name: "event bus " + doc.Name, Kind: iam.Resources, Document: d}}
	}
	if path := s.bus.Tags[catalog.TagOrderKey]; path != "" {
		s.order = &transform.Paths{}
		if _, err := s.order.Add(path); err != nil {
			return nil, fmt.Errorf("tag %s of event bus %q: %w", catalog.TagOrderKey, doc.Name, err)
		}
	}
	s.made.Store(was != nil && was.made.Load())
	b.known.Store(doc.Name, s)
	return s, nil
}

// CheckBusPolicy says what is wrong with the resource policy of a bus.
func CheckBusPolicy(text string) error {
	_, err := iam.Parse([]byte(text), iam.Resources)
	return err
}

// CheckBusTags says what is wrong with the tags of a bus that klamm itself understands.
func CheckBusTags(tags map[string]string) error {
	if path := tags[catalog.TagOrderKey]; path != "" {
		if _, err := (&transform.Paths{}).Add(path); err != nil {
			return fmt.Errorf("tag %s: %w", catalog.TagOrderKey, err)
		}
	}
	for name, most := range map[string]int64{catalog.TagPartitions: 1000, catalog.TagRetentionHours: 24 * 365 * 100} {
		if text, ok := tags[name]; ok {
			if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 1 || n > most {
				return fmt.Errorf("tag %s: want a number from 1 to %d", name, most)
			}
		}
	}
	return nil
}

// Make makes the topics of a bus, unless they are there: that of its events and the one
// in which they wait for further attempts. The tags have been checked.
func (b *Buses) Make(ctx context.Context, name string, bus catalog.Bus) error {
	partitions, largest := int64(busPartitions), strconv.FormatInt(max(leastBusMessage, 3*b.cfg.MaxEntries), 10)
	if text := bus.Tags[catalog.TagPartitions]; text != "" {
		partitions, _ = strconv.ParseInt(text, 10, 32)
	}
	settings := map[string]*string{"max.message.bytes": &largest}
	if err := b.cfg.Cluster.EnsureTopic(ctx, event.RetryTopic(name), int32(partitions), settings); err != nil {
		return err
	}
	if text := bus.Tags[catalog.TagRetentionHours]; text != "" {
		hours, _ := strconv.ParseInt(text, 10, 64)
		millis := strconv.FormatInt(hours*time.Hour.Milliseconds(), 10)
		settings["retention.ms"] = &millis
	}
	return b.cfg.Cluster.EnsureTopic(ctx, event.BusTopic(name), int32(partitions), settings)
}

// Ensure is Make for a bus that is there already, once in this process.
func (b *Buses) Ensure(ctx context.Context, name string) error {
	doc, err := b.find(ctx, name)
	if err != nil {
		return err
	}
	s, err := b.state(doc)
	if err != nil {
		return err
	}
	return b.ensure(ctx, doc.Name, s)
}

func (b *Buses) ensure(ctx context.Context, name string, s *busState) error {
	if s.made.Load() {
		return nil
	}
	if err := b.Make(ctx, name, s.bus); err != nil {
		return err
	}
	s.made.Store(true)
	return nil
}

// Unmake deletes the topics of a bus that is gone, and the books of who has read it.
func (b *Buses) Unmake(ctx context.Context, name string) error {
	var failed error
	for _, topic := range []string{event.BusTopic(name), event.RetryTopic(name)} {
		if err := b.cfg.Cluster.DeleteTopic(ctx, topic); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			failed = errors.Join(failed, fmt.Errorf("delete topic %s: %w", topic, err))
		}
	}
	b.known.Delete(name)
	return failed
}

// MaxEntries is how many bytes the entries of one request may have.
func (b *Buses) MaxEntries() int64 { return b.cfg.MaxEntries }

// Allow asks whether a caller may put events on a bus. The errors are ErrNoBus, which
// nobody gets who may not know it, a Denial, and those of catalog.Store.
func (b *Buses) Allow(ctx context.Context, who Principal, name string) error {
	s, err := b.opened(ctx, who, name)
	if err == nil && s == nil {
		err = fmt.Errorf("%w: %q", ErrNoBus, name)
	}
	return err
}

// A BusEvent is one event to be put on a bus.
type BusEvent struct {
	// Bus is the name of the bus.
	Bus string
	// Source, DetailType, Resources, Detail and, if it is not zero, Time are set; the
	// rest is made.
	event.Envelope
	// Trace is the trace header, if there is one.
	Trace string
	// Headers are further headers of the record; nil: none.
	Headers []kgo.RecordHeader

	// Err says afterwards why the event has not been put; its ID is set otherwise.
	Err error
}

// Put puts events on their buses, in the order given, and returns when each is
// acknowledged or has failed, which each event then says. The error is one of the whole
// request, of which nothing is written: a Denial for one of the buses, a limit, an
// idempotency key.
func (b *Buses) Put(ctx context.Context, who Principal, events []*BusEvent) error {
	records := make([]*kgo.Record, 0, len(events))
	of := make([]*BusEvent, 0, len(events))
	now := time.Now()
	var name string
	var state *busState
	for i, e := range events {
		if i == 0 || e.Bus != name {
			var err error
			if state, err = b.opened(ctx, who, e.Bus); err != nil {
				return err
			}
			name = e.Bus
		}
		e.ID = event.NewID()
		if state == nil {
			if b.cfg.Strict {
				e.ID, e.Err = "", fmt.Errorf("%w: %q", ErrNoBus, e.Bus)
			} else {
				b.dropped.Inc()
			}
			continue
		}
		records = append(records, b.record(state, e, now))
		of = append(of, e)
	}
	if len(records) == 0 {
		return nil
	}
	results, err := b.cfg.Gate.putRecords(ctx, who, records)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.Err != nil {
			of[i].ID, of[i].Err = "", r.Err
		}
	}
	return nil
}

// opened returns a bus that the caller may put events on; nil: there is none.
func (b *Buses) opened(ctx context.Context, who Principal, name string) (*busState, error) {
	doc, err := b.find(ctx, name)
	if errors.Is(err, ErrNoBus) {
		return nil, b.cfg.Gate.allow(ctx, who, PutEvents, "arn", b.arnOf(name))
	}
	if err != nil {
		return nil, err
	}
	s, err := b.state(doc)
	if err != nil {
		return nil, err
	}
	if g := b.cfg.Gate; g.Guarded() {
		if err := g.check(ctx, &Call{Principal: who, Action: PutEvents, Resource: Resource{Kind: "arn", Name: b.ARN(name)}, Policies: s.policy}); err != nil {
			return nil, err
		}
	}
	return s, b.ensure(ctx, doc.Name, s)
}

// arnOf is the ARN of what may be an ARN already.
func (b *Buses) arnOf(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return b.ARN(name)
}

// record makes the record of an event.
func (b *Buses) record(s *busState, e *BusEvent, now time.Time) *kgo.Record {
	e.Account, e.Region = b.cfg.Account, b.cfg.Region
	if e.Time.IsZero() {
		e.Time = now
	}
	value := e.Append(make([]byte, 0, 256+len(e.Source)+len(e.DetailType)+len(e.Detail)+64*len(e.Resources)))
	r := &kgo.Record{Topic: s.topic, Partition: -1, Key: s.key(e.ID, value), Value: value, Timestamp: now, Headers: e.Headers}
	if e.Trace != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: event.HeaderTrace, Value: []byte(e.Trace)})
	}
	return r
}

// key is by what events stay in order: the text of what the bus's path finds. Events
// that have nothing there are in no order.
func (s *busState) key(id string, envelope []byte) []byte {
	if s.order == nil {
		return []byte(id)
	}
	key := []byte(id)
	_ = s.order.Find(envelope, func(values [][]byte) error {
		if v := values[0]; len(v) > 0 && string(v) != "null" {
			key = transform.AppendText(nil, v)
		}
		return nil
	})
	return key
}

// putRecords writes records that are klamm's own, for a caller who may have them
// written: by the caller's limits, and under the caller's idempotency key.
func (g *Gate) putRecords(ctx context.Context, who Principal, records []*kgo.Record) (kgo.ProduceResults, error) {
	if err := who.visit.produce(ctx, records[0].Topic, false, records...); err != nil {
		return nil, err
	}
	admitted, err := g.protection.write(ctx, g.cluster, &who, records[0].Topic, records)
	if err != nil {
		return nil, err
	}
	if err := who.claim.begin(ctx); err != nil {
		admitted.ended(context.Canceled)
		return nil, err
	}
	g.produced.count(records...)
	g.stamp(&who, records)
	trail := who.trail()
	trail.mark(records)
	trail.sent(records[0].Topic, records, time.Now())
	results := g.cluster.Produce(ctx, records...)
	admitted.wrote(results)
	trail.acknowledged(results)
	who.claim.note(results)
	return results, nil
}
