package tick

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
	"github.com/klamm-gateway/klamm/waittest"
)

// A wall is a clock that tests set. All processes of a house look at the same one.
type wall struct {
	mu  sync.Mutex
	now time.Time
}

func (w *wall) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *wall) move(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// A house is a cluster with processes that fire schedules. The rules of a house have
// names of their own, so that tests share a real cluster.
type house struct {
	t       *testing.T
	brokers []string
	wall    *wall
	name    string
	cluster *kafka.Cluster
	store   *catalog.Store
	next    map[int32]int64 // what of the bus is read next
	seen    []fired
}

// A process is a clock as a klamm of its own has it.
type process struct {
	*Clock
	stop func() // as kill -9 does: nothing is finished
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, brokers: brokertest.Brokers(t), wall: &wall{now: time.Date(2030, 3, 31, 11, 59, 30, 0, time.UTC)}, name: fmt.Sprintf("h%x", rand.Uint32()), next: map[int32]int64{}}
	h.cluster, h.store = h.open()
	h.run(h.store.Run)
	if err := h.cluster.EnsureTopic(t.Context(), event.BusTopic(catalog.DefaultBus), 3, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) open() (*kafka.Cluster, *catalog.Store) {
	h.t.Helper()
	cluster, err := kafka.Open(kafka.Config{Brokers: h.brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(cluster.Close)
	return cluster, catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: slog.New(slog.DiscardHandler)})
}

// run runs something until the test ends, or until it is stopped.
func (h *house) run(what func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { what(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	h.t.Cleanup(stop)
	return stop
}

// start starts a process; change may alter its clock before it runs.
func (h *house) start(change func(*Clock)) *process {
	h.t.Helper()
	cluster, store := h.open()
	c := New(Config{
		Cluster: cluster, Store: store, Account: "000000000000", Region: "us-east-1", Now: h.wall.Now, Log: slog.New(slog.DiscardHandler),
		RuleARN: func(rule string) string { return "arn:aws:events:us-east-1:000000000000:rule/" + rule },
		Ensure:  func(context.Context) error { return nil },
	})
	c.look, c.stagger, c.patient = 10*time.Millisecond, time.Duration(20+rand.IntN(50))*time.Millisecond, 10*time.Minute
	c.gap = 10 * time.Minute
	if change != nil {
		change(c)
	}
	stopStore := h.run(store.Run)
	stopClock := h.run(c.Run)
	return &process{c, func() { stopClock(); stopStore() }}
}

// rule puts a rule whose schedule begins now.
func (h *house) rule(name, when string, state string) string {
	h.t.Helper()
	name = h.name + name
	body, _ := json.Marshal(catalog.Rule{ScheduleExpression: &when, Scheduled: h.wall.Now().UnixMilli(), State: state})
	h.put(name, body)
	return name
}

func (h *house) put(name string, body []byte) {
	h.t.Helper()
	h.t.Cleanup(func() {
		_ = h.store.Delete(context.Background(), catalog.KindRule, catalog.RuleName(catalog.DefaultBus, name), catalog.Any)
	})
	if _, err := h.store.Put(h.t.Context(), catalog.Document{Kind: catalog.KindRule, Name: catalog.RuleName(catalog.DefaultBus, name), Dialect: "aws", By: "test", Body: body}, catalog.Any); err != nil {
		h.t.Fatal(err)
	}
}

// A fired is a tick as it lies in the bus's topic.
type fired struct{ rule, time, id string }

// events returns all that the rules of the house have put on the bus, by time.
func (h *house) events() []fired {
	h.t.Helper()
	topic, err := h.cluster.Topic(h.t.Context(), event.BusTopic(catalog.DefaultBus))
	if err != nil {
		h.t.Fatal(err)
	}
	ranges, err := h.cluster.Ranges(h.t.Context(), topic.Name)
	if err != nil {
		h.t.Fatal(err)
	}
	for p, r := range ranges {
		if _, ok := h.next[p]; !ok {
			h.next[p] = r.Start
		}
		for h.next[p] < r.End {
			records, next, err := h.cluster.Read(h.t.Context(), topic, p, h.next[p], kafka.Limits{Records: 10_000, Bytes: 1 << 20})
			if err != nil {
				h.t.Fatal(err)
			}
			for _, record := range records {
				if f := readTick(h.t, record); strings.HasPrefix(f.rule, h.name) {
					h.seen = append(h.seen, f)
				}
			}
			h.next[p] = next
		}
	}
	slices.SortFunc(h.seen, func(a, b fired) int { return strings.Compare(a.time+a.rule, b.time+b.rule) })
	return h.seen
}

func readTick(t *testing.T, record *kgo.Record) fired {
	t.Helper()
	var e struct {
		Version, ID, Source, Account, Time, Region string
		Type                                       string `json:"detail-type"`
		Resources                                  []string
		Detail                                     json.RawMessage
	}
	if err := json.Unmarshal(record.Value, &e); err != nil {
		t.Fatal(err)
	}
	if e.Source != "aws.events" {
		return fired{}
	}
	rule := string(record.Headers[0].Value)
	want := `{"version":"0","id":"` + e.ID + `","detail-type":"Scheduled Event","source":"aws.events","account":"000000000000","time":"` + e.Time +
		`","region":"us-east-1","resources":["arn:aws:events:us-east-1:000000000000:rule/` + rule + `"],"detail":{}}`
	if string(record.Value) != want || string(record.Key) != e.ID || record.Headers[0].Key != event.HeaderSchedule {
		t.Fatalf("got %s with key %s and headers %v", record.Value, record.Key, record.Headers)
	}
	return fired{rule, e.Time, e.ID}
}

// times returns when a rule has fired, in the order of the ticks.
func (h *house) times(rule string) (times []string) {
	for _, f := range h.events() {
		if f.rule == rule {
			times = append(times, strings.TrimSuffix(strings.TrimPrefix(f.time, "2030-"), "Z"))
		}
	}
	return times
}

// knows waits until a process has read the rules.
func (h *house) knows(p *process) {
	h.t.Helper()
	waittest.Until(h.t, "a process knows the rules", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.known && len(p.dirty) == 0
	})
}

// await waits until a rule has fired at all of these times, and perhaps at others.
func (h *house) await(rule string, want ...string) {
	h.t.Helper()
	var missing []string
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := h.times(rule)
		missing = slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(got, w) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			for _, e := range h.claims() {
				h.t.Logf("the table says of %s: %s", e.Key, e.Value)
			}
			h.t.Fatalf("%s has fired at %v, and not at %v within three minutes; it is %s", rule, got, missing, h.wall.Now())
		}
	}
}

// claims returns what the table has.
func (h *house) claims() []table.Entry {
	t, err := table.Open(h.t.Context(), h.cluster, Topic, table.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer t.Close()
	return t.List(h.name)
}

// fence waits until the processes have seen the clock as it is now: a rule of its own
// fires behind it.
func (h *house) fence(name string) {
	h.t.Helper()
	rule := h.rule(name, "rate(1 minute)", catalog.RuleEnabled)
	h.wall.move(time.Minute)
	waittest.Until(h.t, name+" has fired", func() bool { return len(h.times(rule)) > 0 })
}

// heard waits until a process has heard of all changes of rules: a rule that comes behind
// them is due at once.
func (h *house) heard(name string) {
	h.t.Helper()
	when := "rate(1 minute)"
	body, _ := json.Marshal(catalog.Rule{ScheduleExpression: &when, Scheduled: h.wall.Now().Add(-time.Minute).UnixMilli(), State: catalog.RuleEnabled})
	h.put(h.name+name, body)
	waittest.Until(h.t, name+" has fired", func() bool { return len(h.times(h.name+name)) > 0 })
}

func expectTimes(t *testing.T, rule string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s has fired at %v, want %v", rule, got, want)
	}
}
