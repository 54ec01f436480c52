package pipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A marked target writes down which definition delivered which record.
type marked struct {
	mu      sync.Mutex
	by      map[string][]int64 // offsets, by the mark of the definition
	holdUp  atomic.Bool        // deliveries wait
	refuse  atomic.Bool        // deliveries fail
	opened  atomic.Int64
	closed  atomic.Int64
	waiting atomic.Int64
}

type mark struct {
	Mark string `json:"mark"`
}

func (*mark) Validate(func(path, problem string)) {}

type markedTarget struct {
	all  *marked
	mark string
}

func (m *markedTarget) Deliver(ctx context.Context, events []*event.Event) error {
	m.all.waiting.Add(1)
	defer m.all.waiting.Add(-1)
	for m.all.holdUp.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if m.all.refuse.Load() && m.mark != "good" {
		return errors.New("not now")
	}
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	for _, e := range events {
		m.all.by[m.mark] = append(m.all.by[m.mark], e.Record.Offset)
	}
	return nil
}

func (m *markedTarget) Close() error {
	m.all.closed.Add(1)
	return nil
}

func (m *marked) of(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.by[name])
}

func (m *marked) kind() target.Kind {
	return target.Kind{Name: "marked", Config: func() target.Config { return &mark{} }, Open: func(raw json.RawMessage, _ target.Env) (target.Target, error) {
		var c mark
		if err := json.Unmarshal(raw, &c); err != nil || c.Mark == "" {
			return nil, errors.New("no mark")
		}
		m.opened.Add(1)
		return &markedTarget{m, c.Mark}, nil
	}}
}

// runner runs no pipes yet, until the returned function is called.
func (m *marked) runner(t testing.TB, c *kafka.Cluster) (r *pipe.Runner, stop func()) {
	t.Helper()
	if m.by == nil {
		m.by = map[string][]int64{}
	}
	egress, _ := target.NewEgress(nil, true)
	r, err := pipe.New(pipe.Config{Cluster: c, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
		Grace: 10 * time.Second, Kinds: []target.Kind{m.kind()}}, nil)
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

func marking(def catalog.Pipe, name string, version int64) catalog.Pipe {
	def.Target = catalog.Target{Kind: "marked", Config: json.RawMessage(fmt.Sprintf(`{"mark":%q}`, name))}
	def.Version = version
	return def
}

func TestPipesComeChangeAndGo(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	m := &marked{}
	r, _ := m.runner(t, c)
	def := quick(name)
	r.Set(marking(def, "one", 1))
	fill(t, c, name, 100, 10, []byte(`{"n":1}`))
	eventually(t, "the first definition delivers", func() bool { return m.of("one") == 100 })

	second := marking(def, "two", 2)
	second.Filter = json.RawMessage(`{"value":{"n":[2]}}`)
	r.Set(second)
	eventually(t, "the second definition runs", func() bool { l, err := r.Local(def.Name); return err == nil && l.Version == 2 && l.Running })
	fill(t, c, name, 50, 10, []byte(`{"n":1}`))
	fill(t, c, name, 50, 10, []byte(`{"n":2}`))
	eventually(t, "everything is committed", func() bool { return committed(t, c, name, name) == 200 })
	if one, two := m.of("one"), m.of("two"); one != 100 || two != 50 {
		t.Fatalf("%d by the first definition and %d by the second, want 100 and 50", one, two)
	}

	wrong := def
	wrong.Target = catalog.Target{Kind: "marked", Config: json.RawMessage(`{}`)}
	wrong.Version = 3
	r.Set(wrong)
	eventually(t, "the wrong definition is told of", func() bool { l, err := r.Local(def.Name); return err == nil && l.Err != nil && l.Running })
	fill(t, c, name, 10, 10, []byte(`{"n":2}`))
	eventually(t, "the definition before goes on", func() bool { return m.of("two") == 60 })

	paused := marking(def, "four", 4)
	paused.Paused = true
	r.Set(paused)
	eventually(t, "it has stopped", func() bool { n, err := r.Members(t.Context(), def.Name); return err == nil && n == 0 })
	if s, err := r.Status(t.Context(), def.Name); err != nil || s.State != pipe.Paused {
		t.Fatalf("status %+v, %v, want paused", s, err)
	}
	fill(t, c, name, 10, 10, []byte(`{"n":1}`))
	paused.Paused, paused.Version = false, 5
	r.Set(paused)
	eventually(t, "it goes on where it was", func() bool { return m.of("four") == 10 })

	r.Remove(def.Name)
	if _, err := r.Status(t.Context(), def.Name); !errors.Is(err, pipe.ErrNoPipe) {
		t.Fatalf("the status of a pipe that is gone: %v", err)
	}
	again := marking(def, "six", 6)
	r.Set(again)
	// Until the one that was removed has stopped, it takes what comes.
	eventually(t, "a pipe of the same name runs", func() bool { l, err := r.Local(def.Name); return err == nil && l.Version == 6 && l.Running })
	fill(t, c, name, 10, 10, []byte(`{"n":1}`))
	eventually(t, "a pipe of the same name goes on where that was", func() bool { return m.of("six") == 10 })
}

// What is stuck is delivered by the definition that comes to its rescue, and what is
// under way is finished by the one before.
func TestAChangeRescuesWhatIsStuck(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	m := &marked{}
	m.refuse.Store(true)
	r, _ := m.runner(t, c)
	def := quick(name)
	r.Set(marking(def, "bad", 1))
	fill(t, c, name, 500, 20, []byte("1"))
	eventually(t, "it is tried", func() bool { return m.opened.Load() == 1 })
	r.Set(marking(def, "good", 2))
	eventually(t, "all is delivered", func() bool { return m.of("good") == 500 })
	m.refuse.Store(false)

	m.holdUp.Store(true)
	fill(t, c, name, 20, 20, []byte("2"))
	eventually(t, "deliveries are under way", func() bool { return m.waiting.Load() > 0 })
	r.Set(marking(def, "better", 3))
	m.holdUp.Store(false)
	eventually(t, "all is committed", func() bool { return committed(t, c, name, name) == 520 })
	if n := m.of("bad"); n != 0 {
		t.Errorf("%d records by a definition that cannot deliver", n)
	}
	if m.of("good")+m.of("better") != 520 {
		t.Errorf("%d and %d records delivered, want 520 in all, each once", m.of("good"), m.of("better"))
	}
}

// Definitions that change all the time, in two processes, lose nothing, and the one
// before does nothing any more when both have taken up the next.
func TestChangesInTwoProcessesLoseNothing(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 4)
	m := &marked{}
	a, _ := m.runner(t, c)
	b, stopB := m.runner(t, c)
	def := quick(name)
	def.Delivery.Batch.Records = 10
	const changes, each = 12, 400
	up := func(r *pipe.Runner, version int64) func() bool {
		return func() bool {
			l, err := r.Local(def.Name)
			return err == nil && l.Running && l.Version == version
		}
	}
	for i := range int64(changes) {
		next := marking(def, fmt.Sprintf("v%d", i), i+1)
		next.Delivery.Batch.Records = 1 + rand.IntN(20)
		a.Set(next)
		b.Set(next)
		if i%4 == 3 {
			eventually(t, "both have taken up the definition", func() bool {
				for _, r := range []*pipe.Runner{a, b} {
					if state, reason := r.State(def.Name); state != pipe.Running {
						t.Fatal(state, reason)
					}
				}
				return up(a, i+1)() && up(b, i+1)()
			})
			before := m.of(fmt.Sprintf("v%d", i-1))
			fill(t, c, name, each, 50, []byte("1"))
			eventually(t, "everything is delivered", func() bool { return committed(t, c, name, name) == (i+1)*each })
			if after := m.of(fmt.Sprintf("v%d", i-1)); after != before {
				t.Fatalf("%d records by the definition before, after it was replaced everywhere", after-before)
			}
			continue
		}
		fill(t, c, name, each, 50, []byte("1"))
	}
	stopB()
	eventually(t, "everything is committed", func() bool { return committed(t, c, name, name) == changes*each })
	if o, cl := m.opened.Load(), m.closed.Load(); o > cl+1 {
		t.Errorf("%d targets were opened and %d closed", o, cl)
	}
}
