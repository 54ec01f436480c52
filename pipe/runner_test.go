package pipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/waittest"
)

// cluster opens the brokers that KLAMM_TEST_BROKERS names, or an embedded one.
func cluster(t testing.TB) *kafka.Cluster {
	t.Helper()
	brokers := brokertest.Brokers(t)
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A ledger is a target that writes down what it accepts.
type ledger struct {
	mu       sync.Mutex
	accepted []delivered
	answer   func(events []*event.Event) error // nil: accept
}

type delivered struct {
	key       string
	partition int32
	offset    int64
	attempt   int
	batch     int
}

func (l *ledger) Deliver(_ context.Context, events []*event.Event) error {
	var err error
	if l.answer != nil {
		err = l.answer(events)
	}
	var partial *target.PartialError
	if err != nil && !errors.As(err, &partial) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range events {
		if partial == nil || partial.Failed[i] == nil {
			l.accepted = append(l.accepted, delivered{string(e.Record.Key), e.Record.Partition, e.Record.Offset, e.Attempt, len(events)})
		}
	}
	return err
}

func (l *ledger) Close() error { return nil }

func (l *ledger) taken() []delivered {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]delivered(nil), l.accepted...)
}

type noConfig struct{}

func (*noConfig) Validate(func(path, problem string)) {}

// run runs a pipe to the ledger until the returned function is called.
func (l *ledger) run(t testing.TB, c *kafka.Cluster, def catalog.Pipe) (stop func()) {
	t.Helper()
	_, stop = l.start(t, c, def)
	return stop
}

// start is run that gives the runner too.
func (l *ledger) start(t testing.TB, c *kafka.Cluster, def catalog.Pipe) (r *pipe.Runner, stop func()) {
	t.Helper()
	def.Target = catalog.Target{Kind: "ledger"}
	egress, _ := target.NewEgress(nil, true)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := pipe.New(pipe.Config{
		Cluster: c, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: log, Grace: 5 * time.Second,
		Kinds: []target.Kind{{Name: "ledger", Config: func() target.Config { return &noConfig{} }, Open: func(json.RawMessage, target.Env) (target.Target, error) { return l, nil }}},
	}, []catalog.Pipe{def})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return r, stop
}

func topic(t testing.TB, c *kafka.Cluster, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
	if err := c.EnsureTopic(t.Context(), name, partitions, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic can be read", func() bool {
		_, err := c.Ranges(t.Context(), name)
		return err == nil
	})
	return name
}

func fill(t testing.TB, c *kafka.Cluster, topic string, n, keys int, value []byte) {
	t.Helper()
	for at := 0; at < n; at += 1000 {
		var records []*kgo.Record
		for i := at; i < min(at+1000, n); i++ {
			records = append(records, &kgo.Record{Topic: topic, Partition: -1, Key: fmt.Appendf(nil, "k%d", i%keys), Value: value})
		}
		if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
			t.Error(err)
			return
		}
	}
}

var eventually = waittest.Until

// check counts what arrived: everything, and the first acceptances of each key
// in the order of their offsets.
func check(t testing.TB, got []delivered, want int) (repeated int) {
	t.Helper()
	seen := map[[2]int64]bool{}
	last := map[string]int64{}
	for _, d := range got {
		at := [2]int64{int64(d.partition), d.offset}
		if seen[at] {
			repeated++
			continue
		}
		seen[at] = true
		if d.offset < last[d.key] {
			t.Errorf("key %s: offset %d after %d", d.key, d.offset, last[d.key])
		}
		last[d.key] = d.offset
	}
	if len(seen) != want {
		t.Errorf("%d records arrived, want %d", len(seen), want)
	}
	return repeated
}

func committed(t testing.TB, c *kafka.Cluster, group, topic string) (sum int64) {
	t.Helper()
	offsets, err := c.Admin().FetchOffsets(t.Context(), group)
	if err != nil {
		return 0
	}
	for _, o := range offsets[topic] {
		sum += o.At
	}
	return sum
}

// TestNothingIsLostInRebalances lets members come and go while a target refuses
// one call in fifty.
func TestNothingIsLostInRebalances(t *testing.T) {
	const n = 30_000
	c := cluster(t)
	name := topic(t, c, 6)
	l := &ledger{answer: func([]*event.Event) error {
		if rand.IntN(50) == 0 {
			return errors.New("not now")
		}
		return nil
	}}
	for _, batch := range []int{1, 20} {
		t.Run(fmt.Sprint("batches of ", batch), func(t *testing.T) {
			l.accepted = nil
			def := catalog.Pipe{Name: "chaos", Topics: []string{name}, Group: fmt.Sprint(name, batch), Start: "earliest",
				Delivery: catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond}, Batch: catalog.Batch{Records: batch}, InFlight: 16}}
			if batch == 1 {
				go fill(t, c, name, n, 97, []byte("{}"))
			}
			var stops []func()
			for range 6 {
				stops = append(stops, l.run(t, c, def))
				time.Sleep(300 * time.Millisecond)
				if len(stops) == 3 {
					stops[0]()
					stops = stops[1:]
				}
			}
			eventually(t, "everything committed", func() bool { return committed(t, c, def.Group, name) == n })
			t.Logf("%d delivered more than once", check(t, l.taken(), n))
		})
	}
}

func TestPartlyAcceptedBatchKeepsTheRest(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{answer: func(events []*event.Event) error {
		failed := map[int]error{}
		for i, e := range events {
			if e.Record.Offset%3 == 0 && e.Attempt < 3 {
				failed[i] = errors.New("not this one")
			}
		}
		if len(failed) == 0 {
			return nil
		}
		return &target.PartialError{Failed: failed}
	}}
	fill(t, c, name, 300, 10, []byte("1")) // no key twice in a batch: what a target accepts out of order is out of order
	def := catalog.Pipe{Name: "partial", Topics: []string{name}, Group: name, Start: "earliest",
		Delivery: catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond}, Batch: catalog.Batch{Records: 10}}}
	l.run(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 300 })
	if repeated := check(t, l.taken(), 300); repeated != 0 {
		t.Errorf("%d records were sent again although they had been accepted", repeated)
	}
}

// BenchmarkFlow measures the engine alone: records of 1 KB to a target that
// accepts at once.
func BenchmarkFlow(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			c := cluster(b)
			name := topic(b, c, 4)
			fill(b, c, name, b.N, 1000, make([]byte, 1000))
			l := &ledger{}
			b.ResetTimer()
			stop := l.run(b, c, catalog.Pipe{Name: "bench", Topics: []string{name}, Group: name, Start: "earliest", Delivery: catalog.Delivery{Batch: catalog.Batch{Records: batch}}})
			eventually(b, "all records", func() bool { return len(l.taken()) >= b.N })
			b.StopTimer()
			stop()
		})
	}
}

func TestBisectFindsTheRecordToBlame(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{answer: func(events []*event.Event) error {
		for _, e := range events {
			if e.Record.Offset%50 == 7 {
				return target.Permanent(errors.New("I do not like one of them"))
			}
		}
		return nil
	}}
	fill(t, c, name, 300, 3, []byte("1"))
	def := catalog.Pipe{Name: "bisect", Topics: []string{name}, Group: name, Start: "earliest",
		Delivery: catalog.Delivery{Bisect: true, DeadLetter: name + "-dead", Batch: catalog.Batch{Records: 16}}}
	l.run(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 300 })
	if repeated := check(t, l.taken(), 294); repeated != 0 {
		t.Errorf("%d records were delivered twice", repeated)
	}
	letters, err := c.Fetch(t.Context(), name+"-dead", 0, 0, kafka.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for p := int32(1); p < 4; p++ {
		more, err := c.Fetch(t.Context(), name+"-dead", p, 0, kafka.Limits{})
		if err != nil {
			break // the topic has fewer partitions
		}
		letters = append(letters, more...)
	}
	if len(letters) != 6 {
		t.Errorf("%d dead letters, want the 6 that the target refuses", len(letters))
	}
}

// A target that is down gets probes only, and everything when it is back.
func TestATargetThatIsDownIsProbed(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 4)
	var down atomic.Bool
	var calls atomic.Int64
	down.Store(true)
	l := &ledger{answer: func([]*event.Event) error {
		calls.Add(1)
		if down.Load() {
			return errors.New("connection refused")
		}
		return nil
	}}
	fill(t, c, name, 2000, 500, []byte("1"))
	l.run(t, c, catalog.Pipe{Name: "down", Topics: []string{name}, Group: name, Start: "earliest", Delivery: catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}}})
	eventually(t, "the first attempts", func() bool { return calls.Load() > 20 })
	before := calls.Load()
	time.Sleep(2 * time.Second)
	if made := calls.Load() - before; made > 64+10 {
		t.Errorf("%d attempts in two seconds at a target that is down", made)
	}
	down.Store(false)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 2000 })
	check(t, l.taken(), 2000)
}

// TestTheLastBatchesOfAllPartitionsAreSent gives a pipe that delivers one batch at a time
// the records of several partitions at once, and then nothing that would wake it.
func TestTheLastBatchesOfAllPartitionsAreSent(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 5)
	fill(t, c, name, 500, 50, []byte("1"))
	l := &ledger{answer: func([]*event.Event) error {
		time.Sleep(2 * time.Millisecond)
		return nil
	}}
	l.run(t, c, catalog.Pipe{Name: "last", Topics: []string{name}, Group: name, Start: "earliest",
		Delivery: catalog.Delivery{InFlight: 1, Batch: catalog.Batch{Records: 1000}}})
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 500 })
	check(t, l.taken(), 500)
}
