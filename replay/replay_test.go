package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// A house is a cluster with an archive, and processes that carry out replays of it.
type house struct {
	t       *testing.T
	brokers []string
	name    string // of the bus and of the archive
	cluster *kafka.Cluster
	store   *catalog.Store
}

// begin is the time of the first event.
var begin = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

func newHouse(t *testing.T, partitions int32) *house {
	t.Helper()
	h := &house{t: t, brokers: brokertest.Brokers(t), name: fmt.Sprintf("h%x", rand.Uint32())}
	h.cluster, h.store = h.open()
	h.run(h.store.Run)
	for _, topic := range []string{event.BusTopic(h.name), event.ArchiveTopic(h.name)} {
		if err := h.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: partitions}); err != nil {
			t.Fatal(err)
		}
	}
	h.put(catalog.KindBus, h.name, catalog.Bus{})
	h.put(catalog.KindArchive, h.name, catalog.Archive{Bus: h.name})
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

// start starts a process that replays so many events a second.
func (h *house) start(rate int) (stop func()) {
	h.t.Helper()
	cluster, store := h.open()
	r := New(Config{Cluster: cluster, Store: store, Rate: rate, Log: slog.New(slog.DiscardHandler)})
	stopStore := h.run(store.Run)
	stopRunner := h.run(r.Run)
	return func() { stopRunner(); stopStore() }
}

func (h *house) put(kind, name string, body any) {
	h.t.Helper()
	raw, err := json.Marshal(body)
	if err == nil {
		_, err = h.store.Put(h.t.Context(), catalog.Document{Kind: kind, Name: name, Dialect: "aws", By: "test", Body: raw}, catalog.Any)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// archive puts events into the archive, the nth at so many seconds.
func (h *house) archive(n int, at func(n int) int) {
	h.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		e := event.Envelope{ID: strconv.Itoa(i), DetailType: "t", Source: "s", Time: begin.Add(time.Duration(at(i)) * time.Second), Region: "r", Detail: []byte(`{"n":` + strconv.Itoa(i) + `}`)}
		records[i] = &kgo.Record{Topic: event.ArchiveTopic(h.name), Partition: -1, Key: []byte(e.ID), Value: e.Append(nil)}
	}
	for _, r := range h.cluster.Produce(h.t.Context(), records...) {
		if r.Err != nil {
			h.t.Fatal(r.Err)
		}
	}
}

// replay starts a replay of the events between two seconds and returns its name.
func (h *house) replay(from, to int, rules ...string) string {
	h.t.Helper()
	name := fmt.Sprintf("r%x", rand.Uint32())
	at := func(s int) int64 { return begin.Add(time.Duration(s) * time.Second).UnixMilli() }
	h.put(catalog.KindReplay, name, catalog.Replay{Archive: h.name, Bus: h.name, Start: at(from), End: at(to), Rules: rules, State: catalog.ReplayStarting, Began: time.Now().UnixMilli()})
	return name
}

func (h *house) state(name string) catalog.Replay {
	h.t.Helper()
	doc, err := h.store.Get(h.t.Context(), catalog.KindReplay, name)
	if err != nil {
		h.t.Fatal(err)
	}
	b, ok := read(doc)
	if !ok {
		h.t.Fatalf("%s", doc.Body)
	}
	return b
}

// await waits for the end of a replay.
func (h *house) await(name, state string) catalog.Replay {
	h.t.Helper()
	waittest.Until(h.t, name+" has ended", func() bool { b := h.state(name); return !b.Active() })
	b := h.state(name)
	if b.State != state || b.Ended < b.Began {
		h.t.Fatalf("got %+v, want the state %s", b, state)
	}
	return b
}

// cancel does what CancelReplay does.
func (h *house) cancelReplay(name string) {
	h.t.Helper()
	waittest.Until(h.t, "the replay is cancelled", func() bool {
		doc, err := h.store.Get(h.t.Context(), catalog.KindReplay, name)
		if err != nil {
			h.t.Fatal(err)
		}
		b, _ := read(doc)
		b.State = catalog.ReplayCancelling
		doc.Body, _ = json.Marshal(b)
		_, err = h.store.Put(h.t.Context(), doc, doc.Version)
		return err == nil
	})
}

// bus returns the records on the bus by the order in which they were put there: exact
// where it has one partition.
func (h *house) bus() (all []*kgo.Record) {
	h.t.Helper()
	topic, err := h.cluster.Topic(h.t.Context(), event.BusTopic(h.name))
	if err != nil {
		h.t.Fatal(err)
	}
	ranges, err := h.cluster.Ranges(h.t.Context(), topic.Name)
	if err != nil {
		h.t.Fatal(err)
	}
	for p, r := range ranges {
		for offset := r.Start; offset < r.End; {
			records, next, err := h.cluster.Read(h.t.Context(), topic, p, offset, kafka.Limits{Records: 10_000, Bytes: 4 << 20})
			if err != nil {
				h.t.Fatal(err)
			}
			all, offset = append(all, records...), next
		}
	}
	return all
}

// archived commits what the archive's pipe does: that it has all there is on the bus.
func (h *house) archived() {
	h.t.Helper()
	ranges, err := h.cluster.Ranges(h.t.Context(), event.BusTopic(h.name))
	if err != nil {
		h.t.Fatal(err)
	}
	var at []kafka.Commit
	for p, r := range ranges {
		at = append(at, kafka.Commit{TopicPartition: kafka.TopicPartition{Topic: event.BusTopic(h.name), Partition: p}, Offset: r.End})
	}
	if err := h.cluster.CommitOffsets(h.t.Context(), "klamm-bus-"+h.name, at); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) size() (n int64) {
	h.t.Helper()
	ranges, err := h.cluster.Ranges(h.t.Context(), event.BusTopic(h.name))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range ranges {
		n += r.End - r.Start
	}
	return n
}

// count returns how often each event is there, by its number.
func count(t *testing.T, records []*kgo.Record) map[int]int {
	t.Helper()
	counts := map[int]int{}
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Key))
		if err != nil {
			t.Fatal(err)
		}
		counts[n]++
	}
	return counts
}

func TestEventsOfASpanAreReplayedInOrder(t *testing.T) {
	h := newHouse(t, 1)
	// Nothing waits for an archive that no bus fills.
	h.archive(2000, func(n int) int { return (1999 - n) * 6 }) // the latest first
	for range 2 {
		h.start(0)
	}
	name := h.replay(60, 6000, "one", "two")
	b := h.await(name, catalog.ReplayCompleted)
	records := h.bus()
	before := int64(0)
	for _, r := range records {
		at, ok := event.TimeOf(r.Value)
		if !ok || at.Unix() < before {
			t.Fatalf("%s comes behind second %d", r.Value, before)
		}
		before = at.Unix()
		n, _ := strconv.Atoi(string(r.Key))
		want := event.Envelope{ID: strconv.Itoa(n), DetailType: "t", Source: "s", Time: begin.Add(time.Duration(1999-n) * 6 * time.Second), Region: "r", Replay: name, Detail: []byte(`{"n":` + strconv.Itoa(n) + `}`)}
		if string(r.Value) != string(want.Append(nil)) {
			t.Fatalf("got %s, want %s", r.Value, want.Append(nil))
		}
		headers := fmt.Sprintf("%s=%s %s=%s", r.Headers[0].Key, r.Headers[0].Value, r.Headers[1].Key, r.Headers[1].Value)
		if headers != event.HeaderReplay+"="+name+" "+event.HeaderRules+"=one,two" {
			t.Fatalf("got the headers %s", headers)
		}
	}
	if len(records) != 990 || len(count(t, records)) != 990 {
		t.Errorf("got %d records of %d events, want 990", len(records), len(count(t, records)))
	}
	if last, _ := event.TimeOf(records[len(records)-1].Value); b.LastReplayed != last.UnixMilli() || b.Reason != "" {
		t.Errorf("got %+v, want %s for the last", b, last)
	}
}

func TestCancelledHalfWay(t *testing.T) {
	h := newHouse(t, 3)
	h.archive(5000, func(n int) int { return n })
	h.start(500)
	name := h.replay(0, 10_000)
	waittest.Until(h.t, "some are replayed", func() bool { return h.size() > 100 })
	h.cancelReplay(name)
	h.await(name, catalog.ReplayCancelled)
	n := h.size()
	if n == 5000 {
		t.Error("all events were replayed")
	}
	for n, k := range count(t, h.bus()) {
		if k != 1 {
			t.Errorf("event %d was replayed %d times", n, k)
		}
	}
	h.archived()
	h.start(0) // nobody goes on
	again := h.replay(0, 10_000)
	h.await(again, catalog.ReplayCompleted)
	if got := h.size(); got != n+5000 {
		t.Errorf("another replay has put %d events, want all 5000", got-n)
	}
}

func TestAnotherProcessGoesOn(t *testing.T) {
	h := newHouse(t, 3)
	h.archive(5000, func(n int) int { return n })
	stops := []func(){h.start(1500), h.start(1500)}
	name := h.replay(0, 10_000)
	for i := range 3 {
		at := h.size()
		waittest.Until(h.t, "it goes on", func() bool { return h.size() > at+300 })
		stops[i%2]()
		stops[i%2] = h.start(1500)
	}
	h.await(name, catalog.ReplayCompleted)
	counts := count(t, h.bus())
	if len(counts) != 5000 {
		t.Errorf("%d events were replayed, want 5000", len(counts))
	}
	twice := 0
	for _, k := range counts {
		twice += k - 1
	}
	t.Logf("%d came twice", twice)
	if most := 3 * 1500 * 2; twice > most {
		t.Errorf("%d events came twice, more than %d", twice, most)
	}
}

func TestNothingThatWasPutBeforeIsMissed(t *testing.T) {
	h := newHouse(t, 2)
	for i := range 10 { // they are on the bus, and not yet in the archive
		if err := h.cluster.Produce(t.Context(), &kgo.Record{Topic: event.BusTopic(h.name), Partition: -1, Key: []byte(strconv.Itoa(i + 100)), Value: []byte("{}")})[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	h.start(0)
	name := h.replay(0, 10)
	waittest.Until(h.t, "the replay waits", func() bool {
		g, err := h.cluster.Group(t.Context(), "klamm-replay-"+name)
		return err == nil && len(g.Members) == 1
	})
	h.archive(5, func(n int) int { return n })
	h.archived()
	h.await(name, catalog.ReplayCompleted)
	if got := h.size(); got != 15 {
		t.Errorf("the bus has %d events, want 10 and 5 replayed", got)
	}
}

func TestWhatIsNoEventIsLeftOut(t *testing.T) {
	h := newHouse(t, 1)
	h.archive(3, func(n int) int { return n })
	replayed, _ := event.AppendReplayed(nil, []byte(`{"time":"2024-03-01T12:00:00Z","region":"r"}`), "before")
	for _, value := range [][]byte{[]byte("nonsense"), replayed, nil} {
		if err := h.cluster.Produce(t.Context(), &kgo.Record{Topic: event.ArchiveTopic(h.name), Partition: -1, Value: value})[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	h.start(0)
	b := h.await(h.replay(0, 10), catalog.ReplayCompleted)
	if h.size() != 3 || !strings.HasPrefix(b.Reason, "1 records") {
		t.Errorf("got %d events and %+v", h.size(), b)
	}
}

func TestAnArchiveThatIsGone(t *testing.T) {
	h := newHouse(t, 1)
	if err := h.store.Delete(t.Context(), catalog.KindArchive, h.name, catalog.Any); err != nil {
		t.Fatal(err)
	}
	h.start(0)
	if b := h.await(h.replay(0, 10), catalog.ReplayFailed); b.Reason != "The archive was deleted." {
		t.Errorf("got %+v", b)
	}
}

func TestWindow(t *testing.T) {
	var w window
	a, b := &part{id: 0}, &part{id: 1}
	put := func(p *part, offset int64, second int) {
		e := event.Envelope{Time: begin.Add(time.Duration(second) * time.Second), Region: "r", Detail: []byte("{}")}
		w.put(p, &kgo.Record{Offset: offset, Value: e.Append(nil)}, begin, begin.Add(time.Hour))
		p.next = offset + 1
	}
	put(a, 5, 61)
	put(a, 6, 3601) // outside
	put(a, 7, 1)
	put(b, 0, 59)
	put(b, 1, 0)
	var order []string
	events := w.pop(10, 1<<20)
	for _, e := range events {
		order = append(order, fmt.Sprintf("%d/%d", e.part.id, e.record.Offset))
	}
	if want := []string{"1/1", "0/7", "1/0", "0/5"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	events[1].reading.done = true
	if got := a.finished(); got != 5 {
		t.Errorf("partition 0 is finished up to %d, want 5", got)
	}
	events[3].reading.done = true
	if got := a.finished(); got != 8 || w.bytes != 0 {
		t.Errorf("partition 0 is finished up to %d, want 8; %d bytes wait", got, w.bytes)
	}
	w.back(events[0])
	w.back(events[1])
	w.drop(b)
	if got := w.pop(2, 1); len(got) != 1 || got[0].part != a {
		t.Errorf("got %v", got)
	}
}
