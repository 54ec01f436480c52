package pipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// elsewhere is a cluster that is not klamm's own.
func elsewhere(t *testing.T) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func connect(t *testing.T, b *broker.Broker) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: b.Addrs()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// logins make clients, and count them.
type logins struct {
	brokers []string
	mu      sync.Mutex
	made    []*kafka.Cluster
	refuse  error
}

func (l *logins) open(catalog.Login) (*kafka.Cluster, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	c, err := kafka.Open(kafka.Config{Brokers: l.brokers}, slog.New(slog.DiscardHandler))
	l.made = append(l.made, c)
	return c, err
}

func (l *logins) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.made)
}

// closed says whether all clients have been closed.
func (l *logins) closed(t *testing.T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.made {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := c.Ranges(ctx, "any")
		cancel()
		if err == nil || ctx.Err() == nil && !isClosed(err) {
			return false
		}
	}
	return true
}

func isClosed(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if err.Error() == "client closed" {
			return true
		}
	}
	return false
}

// far runs no pipes yet: they read from another cluster and deliver to l.
func (l *ledger) far(t *testing.T, own, other *kafka.Cluster, login func(catalog.Login) (*kafka.Cluster, error)) *pipe.Runner {
	t.Helper()
	egress, _ := target.NewEgress(nil, true)
	r, err := pipe.New(pipe.Config{
		Cluster: own, Clusters: map[string]*kafka.Cluster{"other": other}, Login: login, Transport: egress.Transport(), Egress: egress,
		Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Grace: 5 * time.Second,
		Kinds: []target.Kind{{Name: "ledger", Config: func() target.Config { return &noConfig{} }, Open: func(json.RawMessage, target.Env) (target.Target, error) { return l, nil }}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func TestAPipeOfAnotherClusterIsOperatedLikeAnyOther(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*catalog.Pipe)
	}{
		{"one of kafka.clusters", func(p *catalog.Pipe) { p.SourceCluster = "other" }},
		{"by a login of its own", func(p *catalog.Pipe) { p.SourceLogin = &catalog.Login{Brokers: "there", Auth: "plain"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := elsewhere(t)
			own, other, ways := cluster(t), connect(t, b), &logins{brokers: b.Addrs()}
			l := &ledger{answer: func(events []*event.Event) error {
				if string(events[0].Record.Value) == "bad" {
					return target.Permanent(errors.New("not this one"))
				}
				return nil
			}}
			r := l.far(t, own, other, ways.open)
			name := topic(t, other, 2)
			def := quick(name)
			def.Target, def.Delivery.Log = catalog.Target{Kind: "ledger"}, "all"
			c.set(&def)
			began := time.Now().Add(-time.Minute)
			fill(t, other, name, 100, 10, []byte("1"))
			fill(t, other, name, 1, 1, []byte("bad"))
			r.Set(def)
			eventually(t, "everything is delivered but one", func() bool { return len(l.taken()) == 100 })
			eventually(t, "one is given up", func() bool { return len(lettersOf(t, r, def.Name)) == 1 })
			eventually(t, "nothing waits", func() bool {
				s, err := r.Status(t.Context(), def.Name)
				return err == nil && s.Lag == 0 && len(s.Partitions) == 2 && s.Members == 1
			})
			if n, err := own.Ranges(t.Context(), name); err == nil {
				t.Errorf("the topic is in klamm's own cluster, too: %v", n)
			}

			p, err := r.Replay(t.Context(), pipe.Replay{Pipe: def.Name, From: began, To: time.Now().Add(time.Minute)}, nobody)
			if err != nil || p.Delivered != 100 || p.DeadLettered != 1 {
				t.Fatalf("replay: %+v, %v", p, err)
			}
			l.mu.Lock()
			l.answer = nil
			l.mu.Unlock()
			if p, err := r.Redrive(t.Context(), def.Name, nil, nobody); err != nil || p.Delivered != 1 {
				t.Fatalf("redrive: %+v, %v", p, err)
			}
			id := ""
			eventually(t, "the delivery log has an entry", func() bool {
				page, err := r.Deliveries(t.Context(), def.Name, began, "", 1)
				if err == nil && len(page) > 0 {
					id = page[0].ID
				}
				return id != ""
			})
			if p, err := r.Retry(t.Context(), id); err != nil || p.Delivered == 0 {
				t.Fatalf("retry: %+v, %v", p, err)
			}

			if err := r.Pause(t.Context(), def.Name, "test"); err != nil {
				t.Fatal(err)
			}
			before := len(l.taken())
			eventually(t, "the group is moved", func() bool {
				moves, err := r.Seek(t.Context(), def.Name, "earliest", false)
				if err != nil && !errors.Is(err, pipe.ErrNotPaused) {
					t.Fatal(err)
				}
				return err == nil && len(moves) == 2
			})
			if s, err := r.Status(t.Context(), def.Name); err != nil || s.Lag != 101 || s.State != pipe.Paused {
				t.Errorf("after the seek: %+v, %v", s, err)
			}
			if err := r.Resume(t.Context(), def.Name); err != nil {
				t.Fatal(err)
			}
			eventually(t, "everything once more", func() bool { return len(l.taken()) >= before+101 })
			if n := ways.count(); def.SourceLogin != nil && n != 1 || def.SourceLogin == nil && n != 0 {
				t.Errorf("%d clients were made", n)
			}
			r.Remove(def.Name)
			eventually(t, "the client is closed", func() bool { return ways.closed(t) })
		})
	}
}

func TestPipesOfOneLoginShareAClient(t *testing.T) {
	b := elsewhere(t)
	own, other, ways := cluster(t), connect(t, b), &logins{brokers: b.Addrs(), refuse: errors.New("no such secret")}
	l := &ledger{}
	r := l.far(t, own, other, ways.open)
	name := topic(t, other, 1)
	def := quick(name)
	def.Target, def.SourceLogin = catalog.Target{Kind: "ledger"}, &catalog.Login{Brokers: "there", Auth: "scram-512", Credentials: "a"}
	r.Set(def)
	eventually(t, "what is wrong is said", func() bool {
		local, err := r.Local(def.Name)
		return err == nil && local.Err != nil && !local.Running
	})
	ways.mu.Lock()
	ways.refuse = nil
	ways.mu.Unlock()
	second := def
	second.Name, second.Group, second.SourceLogin = def.Name+".b", def.Group+".b", &catalog.Login{Brokers: "there", Auth: "scram-512", Credentials: "a"}
	r.Set(second)
	fill(t, other, name, 10, 1, []byte("1"))
	eventually(t, "both deliver", func() bool { return len(l.taken()) == 20 })
	if n := ways.count(); n != 1 {
		t.Errorf("%d clients for one login", n)
	}
	second.SourceLogin = &catalog.Login{Brokers: "there", Auth: "scram-512", Credentials: "b"}
	r.Set(second)
	eventually(t, "the changed one has its own", func() bool { return ways.count() == 2 })
	fill(t, other, name, 10, 1, []byte("2"))
	eventually(t, "both deliver", func() bool { return len(l.taken()) >= 40 })
	r.Remove(def.Name)
	r.Remove(second.Name)
	eventually(t, "all clients are closed", func() bool { return ways.closed(t) })
}
