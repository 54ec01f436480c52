package pipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A busWorld is a bus with targets that write down what they accept.
type busWorld struct {
	t       *testing.T
	cluster *kafka.Cluster
	bus     string
	topic   string

	mu      sync.Mutex
	got     map[string]map[string]int             // how often, by target and event
	bodies  map[string]string                     // the last one, by target
	answers map[string]func(e *event.Event) error // by target; nil: accept
	put     int
}

func newBusWorld(t *testing.T, partitions int32) *busWorld {
	c := cluster(t)
	name := topic(t, c, partitions)
	return &busWorld{t: t, cluster: c, bus: name, topic: name, got: map[string]map[string]int{}, bodies: map[string]string{}, answers: map[string]func(*event.Event) error{}}
}

type busTarget struct {
	world *busWorld
	name  string
}

type busTargetConfig struct{ Name string }

func (*busTargetConfig) Validate(func(path, problem string)) {}

func (w *busTarget) Deliver(_ context.Context, events []*event.Event) error {
	b := w.world
	b.mu.Lock()
	answer := b.answers[w.name]
	b.mu.Unlock()
	for _, e := range events {
		if answer != nil {
			if err := answer(e); err != nil {
				return err
			}
		}
		b.mu.Lock()
		if b.got[w.name] == nil {
			b.got[w.name] = map[string]int{}
		}
		b.got[w.name][string(e.Record.Key)]++
		b.bodies[w.name] = string(e.Payload())
		b.mu.Unlock()
	}
	return nil
}

func (w *busTarget) Close() error { return nil }

func (b *busWorld) answer(name string, how func(*event.Event) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[name] = how
}

// has returns how many events a target has got, and how many of them more than once.
func (b *busWorld) has(name string) (events, again int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.got[name] {
		events++
		again += n - 1
	}
	return events, again
}

// process is one process of klamm. Its buses are open.
func (b *busWorld) process(defs ...catalog.Pipe) (r *pipe.Runner, stop func()) {
	r, _, stop = b.processWith(b.cluster, defs...)
	return r, stop
}

func (b *busWorld) processWith(c *kafka.Cluster, defs ...catalog.Pipe) (r *pipe.Runner, registry *prometheus.Registry, stop func()) {
	b.t.Helper()
	return b.processThat(c, nil, defs...)
}

// processThat hears of the latest definitions when caught is called; nil: it has.
func (b *busWorld) processThat(c *kafka.Cluster, caught func(*pipe.Runner), defs ...catalog.Pipe) (r *pipe.Runner, registry *prometheus.Registry, stop func()) {
	b.t.Helper()
	var self *pipe.Runner
	var hear func(context.Context) error
	if caught != nil {
		hear = func(context.Context) error { caught(self); return nil }
	}
	egress, _ := target.NewEgress(nil, true)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	registry = prometheus.NewRegistry()
	r, err := pipe.New(pipe.Config{Cluster: c, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(registry), Log: log, Grace: 5 * time.Second, Caught: hear,
		Kinds: []target.Kind{{Name: "witness", Config: func() target.Config { return &busTargetConfig{} }, Open: func(raw json.RawMessage, _ target.Env) (target.Target, error) {
			var cfg busTargetConfig
			if err := json.Unmarshal(raw, &cfg); err != nil || cfg.Name == "" {
				return nil, errors.New("a witness needs a name")
			}
			return &busTarget{b, cfg.Name}, nil
		}}}}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	self = r
	for _, def := range defs {
		r.Set(def)
	}
	r.OpenBuses()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.t.Cleanup(stop)
	return r, registry, stop
}

// target is a definition of a target of a rule, with an event pattern.
func (b *busWorld) target(rule, id, pattern string) catalog.Pipe {
	return catalog.Pipe{
		Name: catalog.RulePipe(b.bus, rule, id), Topics: []string{b.topic, "klamm.retry." + b.bus},
		Target: catalog.Target{Kind: "witness", Config: json.RawMessage(fmt.Sprintf(`{"Name":%q}`, id))},
		Delivery: catalog.Delivery{
			Attempts: 186, MaxAge: 24 * time.Hour,
		},
		Bus: &catalog.Subscription{Bus: b.bus, Rule: rule, RuleARN: "arn:rule/" + rule, Target: id, TargetARN: "arn:target/" + id, Pattern: json.RawMessage(pattern)},
	}
}

// begin notes where a new target begins.
func (b *busWorld) begin(r *pipe.Runner, def catalog.Pipe, start string) {
	b.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := r.Begin(b.t.Context(), def, start)
		if err == nil {
			return
		}
		if time.Now().After(end) { // a topic that has just been made is not known everywhere
			b.t.Fatal(err)
		}
	}
}

// send puts n events of a source into the bus, each with headers as "name=value".
func (b *busWorld) send(n int, source string, headers ...string) {
	b.t.Helper()
	for n > 0 {
		some := min(n, 500)
		n -= some
		records := make([]*kgo.Record, some)
		for i := range records {
			b.put++
			id := fmt.Sprintf("event-%d", b.put)
			value := fmt.Sprintf(`{"version":"0","id":%q,"detail-type":"test","source":%q,"account":"000000000000","time":"2026-01-01T00:00:00Z","region":"us-east-1","resources":[],"detail":{"n":%d}}`, id, source, b.put)
			records[i] = &kgo.Record{Topic: b.topic, Partition: -1, Key: []byte(id), Value: []byte(value)}
			for _, h := range headers {
				name, text, _ := strings.Cut(h, "=")
				records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: name, Value: []byte(text)})
			}
		}
		if err := b.cluster.Produce(b.t.Context(), records...).FirstErr(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *busWorld) await(name string, n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("target %s gets %d events", name, n), func() bool { got, _ := b.has(name); return got >= n })
	if got, _ := b.has(name); got > n {
		b.t.Fatalf("target %s has got %d events, want %d", name, got, n)
	}
}

// shared is how far the books of all targets are, over all partitions.
func (b *busWorld) shared() int64 { return committed(b.t, b.cluster, "klamm-bus-"+b.bus, b.topic) }

// own returns what is in the own books of a target about the bus, by partition.
func (b *busWorld) own(def catalog.Pipe) map[kafka.TopicPartition]int64 {
	b.t.Helper()
	group := "klamm-rule-" + def.Bus.Bus + "/" + def.Bus.Rule + "/" + def.Bus.Target
	all, err := b.cluster.OffsetsOf(b.t.Context(), group)
	if err != nil {
		b.t.Fatal(err)
	}
	for at := range all[group] {
		if at.Topic != b.topic {
			delete(all[group], at)
		}
	}
	return all[group]
}

// copied is a process's own connection to the cluster of a test.
func (b *busWorld) copied() *kafka.Cluster {
	b.t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: b.cluster.Brokers()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

const ofOrders = `{"source":["orders"]}`

func TestEventsReachTheTargetsOfTheirRules(t *testing.T) {
	b := newBusWorld(t, 2)
	a, two, other, all := b.target("orders", "a", ofOrders), b.target("orders", "b", ofOrders), b.target("bills", "c", `{"source":["bills"]}`), b.target("all", "d", `{"source":[{"exists":true}]}`)
	scheduled := b.target("nightly", "e", "")
	archive := b.target("", "f", `{"source":[{"exists":true}]}`)
	archive.Name, archive.Bus.Archive = catalog.ArchivePipe("kept-"+b.bus), "kept-"+b.bus
	r, _ := b.process()
	for _, def := range []catalog.Pipe{a, two, other, all, scheduled, archive} {
		b.begin(r, def, "")
		r.Set(def)
	}
	b.send(30, "orders")
	b.send(20, "bills")
	b.send(7, "orders", event.HeaderRules+"=nightly,orders")
	b.send(5, "orders", event.HeaderReplay+"=again")
	b.send(3, "time", event.HeaderSchedule+"=nightly")
	b.send(2, "nobody", event.HeaderRules+"=orders")
	for name, want := range map[string]int{"a": 42, "b": 42, "c": 20, "d": 55, "e": 3, "f": 50} {
		b.await(name, want)
	}
	eventually(t, "all offsets are committed, and own ones are gone", func() bool {
		return b.shared() == 67 && len(b.own(a)) == 0 && len(b.own(all)) == 0
	})
	eventually(t, "an event that no rule matches is shown", func() bool {
		b.send(1, "nobody else", event.HeaderRules+"=orders") // one that comes soon after another is no sample
		got := r.Unmatched(b.bus)
		return len(got) > 0 && strings.Contains(got[len(got)-1].Event, "nobody else")
	})
	if l, err := r.Local(a.Name); err != nil || !l.Running {
		t.Errorf("the target runs: %+v, %v", l, err)
	}
	eventually(t, "its status has no lag", func() bool {
		s, err := r.Status(t.Context(), a.Name)
		return err == nil && s.Lag == 0 && s.State == pipe.Running && s.Members == 1
	})
	if names := r.Names(); len(names) != 0 {
		t.Errorf("names: %v, want none", names)
	}
	r.Remove(a.Name)
	b.send(10, "orders")
	b.await("b", 52)
	look := r.LookAtBus(b.bus, []string{"orders"}, 10)
	if len(look.Rules) != 1 || look.Rules[0].Matched < 10 || look.Rules[0].Succeeded < 42 || len(look.Targets) == 0 || look.Targets[0].Rule != "orders" || look.Targets[0].State != pipe.Running || look.Unmatched == 0 {
		t.Errorf("%+v", look)
	}
	if look := r.LookAtBus(b.bus, nil, 1); len(look.Rules) != 1 || len(look.Targets) != 1 {
		t.Errorf("at most one of each: %+v", look)
	}
	if got, _ := b.has("a"); got != 42 {
		t.Errorf("the target that was removed has %d events, want 42", got)
	}
}

// What was put after a rule's target was made and before anybody read the bus counts as
// matched, once for all targets of the rule, as everything else does.
func TestBusCountsWhatWasPutBeforeItWasRead(t *testing.T) {
	b := newBusWorld(t, 3)
	one, two := b.target("orders", "a", `{"source":["orders"]}`), b.target("orders", "b", `{"source":["orders"]}`)
	maker, stop := b.process()
	for _, def := range []catalog.Pipe{one, two} {
		b.begin(maker, def, "")
	}
	stop()
	b.send(20, "orders")
	b.send(5, "bills")
	r, _ := b.process(one, two)
	b.await("a", 20)
	b.await("b", 20)
	b.send(4, "orders")
	b.await("a", 24)
	eventually(t, "each match is counted once", func() bool {
		look := r.LookAtBus(b.bus, []string{"orders"}, 10)
		return len(look.Rules) == 1 && look.Rules[0].Matched == 24
	})
}

// Two processes keep to the rate of what they call together, and each has that part of it
// which it has of the partitions. To wait for a turn is no attempt.
func TestProcessesShareARate(t *testing.T) {
	b := newBusWorld(t, 4)
	const events, perSecond = 40, 10
	def := b.target("orders", "a", ofOrders)
	def.Bus.Rate = catalog.Rate{Of: "destination", PerSecond: perSecond}
	var mu sync.Mutex
	var at []time.Time
	b.answer("a", func(*event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		return nil
	})
	r, _ := b.process()
	b.begin(r, def, "")
	r.Set(def)
	other, _ := b.process(def)
	eventually(t, "both have partitions", func() bool {
		for _, r := range []*pipe.Runner{r, other} {
			if r.LookAtBus(b.bus, nil, 1).Partitions == 0 {
				return false
			}
		}
		return true
	})
	b.send(events, "orders")
	b.await("a", events)
	mu.Lock()
	defer mu.Unlock()
	// A slow machine bunches some at the end of a wait; with the whole rate for each of
	// the processes it would be half of that.
	if took, least := at[events-1].Sub(at[0]), (events-1)*time.Second/perSecond; took < least*7/10 {
		t.Errorf("%d requests took %s, want about %s", events, took, least)
	}
}

// TestDeadTargetBesideHealthyOnes lets a target be down for long: the offsets of the
// others go on, and neither a restart nor a kill has them get their events once more.
func TestDeadTargetBesideHealthyOnes(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 3)
	dead, well := b.target("r1", "dead", ofOrders), b.target("r2", "well", ofOrders)
	b.answer("dead", func(*event.Event) error { return errors.New("down") })
	r, stop := b.process()
	for _, def := range []catalog.Pipe{dead, well} {
		b.begin(r, def, "")
		r.Set(def)
	}
	b.send(1_000, "orders")
	b.await("well", 1_000)
	eventually(t, "the others' offsets go on", func() bool { return b.shared() == 1_000 && len(b.own(dead)) == 3 })
	stop()
	_, stop = b.process(dead, well)
	b.send(500, "orders")
	b.await("well", 1_500)
	if _, again := b.has("well"); again != 0 {
		t.Errorf("%d events were delivered again to the target that is well", again)
	}
	stop()
	b.answer("dead", nil)
	b.process(dead, well)
	b.await("dead", 1_500)
	eventually(t, "it keeps up again", func() bool { return b.shared() == 1_500 && len(b.own(dead)) == 0 })
	if _, again := b.has("dead"); again != 0 {
		t.Errorf("%d events were delivered twice to the target that was dead", again)
	}
}

// TestKilledProcessesOfABus kills processes that own partitions, under load and with one
// target slow: nothing is lost, and of what keeps up little comes again.
func TestKilledProcessesOfABus(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 4)
	var defs []catalog.Pipe
	for i := range 5 {
		defs = append(defs, b.target(fmt.Sprintf("r%d", i), fmt.Sprintf("t%d", i), ofOrders))
	}
	b.answer("t4", func(*event.Event) error {
		time.Sleep(time.Millisecond) // a slow receiver
		return nil
	})
	r, stop := b.process()
	for _, def := range defs {
		b.begin(r, def, "")
		r.Set(def)
	}
	for range 4 {
		b.send(2_000, "orders")
		severed := b.copied()
		_, _, second := b.processWith(severed, defs...)
		eventually(t, "there are events", func() bool { got, _ := b.has("t0"); return got > 0 })
		severed.Close() // it can say nothing any more, as if it were gone
		second()
	}
	for i := range 5 {
		b.await(fmt.Sprintf("t%d", i), 8_000)
	}
	stop()
	_, again := b.has("t0")
	t.Logf("%d of 8000 events were delivered again to a target that keeps up", again)
}

func TestFullTargetReadsForItself(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 2)
	full, well := b.target("r1", "full", ofOrders), b.target("r2", "well", ofOrders)
	var open atomic.Bool
	b.answer("full", func(*event.Event) error {
		if !open.Load() {
			return errors.New("down")
		}
		return nil
	})
	r, _ := b.process()
	for _, def := range []catalog.Pipe{full, well} {
		b.begin(r, def, "")
		r.Set(def)
	}
	const n = 25_000 // more than a flow holds
	b.send(n, "orders")
	b.await("well", n)
	eventually(t, "the others' offsets go on", func() bool { return b.shared() == n && len(b.own(full)) == 2 })
	open.Store(true)
	b.await("full", n)
	eventually(t, "it keeps up again", func() bool { return len(b.own(full)) == 0 })
	if _, again := b.has("full"); again != 0 {
		t.Errorf("%d events were delivered twice", again)
	}
}

// TestNewTargetsMissNothing makes targets under load, by a process that does not read the
// bus: each gets every event that was put after it was made.
func TestNewTargetsMissNothing(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 3)
	first := b.target("r0", "first", ofOrders)
	reader, _ := b.process()
	b.begin(reader, first, "")
	reader.Set(first)
	writer, _ := b.process() // of another process: it has no bus
	want := map[string]int{"first": 0}
	total := 0
	for i := range 8 {
		b.send(300, "orders")
		total += 300
		name := fmt.Sprintf("new%d", i)
		def := b.target("r"+name, name, ofOrders)
		b.begin(writer, def, "")
		before := total
		b.send(200, "orders") // before anybody has heard of it
		total += 200
		reader.Set(def)
		want[name] = -before
	}
	old := b.target("r9", "old", ofOrders)
	b.begin(writer, old, "earliest")
	reader.Set(old)
	want["old"] = 0
	b.send(300, "orders")
	total += 300
	for name, less := range want {
		b.await(name, total+less)
		if _, again := b.has(name); again != 0 {
			t.Errorf("%s: %d events were delivered twice", name, again)
		}
	}
}

// TestTakeOverHearsOfNewTargetsFirst has a target keep up before the next owner of the
// partitions has heard of it: it has no books of its own any more.
func TestTakeOverHearsOfNewTargetsFirst(t *testing.T) {
	b := newBusWorld(t, 3)
	known, late := b.target("r0", "known", ofOrders), b.target("r1", "late", ofOrders)
	r, stop := b.process()
	for _, def := range []catalog.Pipe{known, late} {
		b.begin(r, def, "")
		r.Set(def)
	}
	b.send(30, "orders")
	b.await("late", 30)
	eventually(t, "it keeps up", func() bool { return b.shared() == 30 && len(b.own(late)) == 0 && len(b.own(known)) == 0 })
	stop()
	b.send(30, "orders")
	b.processThat(b.cluster, func(r *pipe.Runner) { r.Set(late) }, known)
	b.await("known", 60)
	b.await("late", 60)
}

// TestChangedRulesLoseNothing changes definitions under load, pauses and resumes.
func TestChangedRulesLoseNothing(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 3)
	def, constant := b.target("r", "changing", ofOrders), b.target("c", "constant", ofOrders)
	r, _ := b.process()
	for _, d := range []catalog.Pipe{def, constant} {
		b.begin(r, d, "")
		r.Set(d)
	}
	for i := range 10 {
		b.send(400, "orders")
		def.Version = int64(i + 1)
		def.Delivery.InFlight = 3 + i
		switch i {
		case 3:
			if err := r.Pause(t.Context(), def.Name, "a test"); err != nil {
				t.Fatal(err)
			}
		case 6:
			if err := r.Resume(t.Context(), def.Name); err != nil {
				t.Fatal(err)
			}
		}
		r.Set(def)
	}
	b.await("constant", 4_000)
	b.await("changing", 4_000)
	sub := *def.Bus
	sub.Input = &catalog.Input{Path: "$.detail.n"}
	def.Bus = &sub
	r.Set(def)
	b.send(1, "orders")
	b.await("changing", 4_001)
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.bodies["changing"]; got != "4001" {
		t.Errorf("the body is %s, want 4001", got)
	}
}
