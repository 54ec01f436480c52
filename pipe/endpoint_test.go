package pipe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// runHooks runs pipes to webhooks until the test ends.
func runHooks(t *testing.T, c *kafka.Cluster, defs ...catalog.Pipe) *prometheus.Registry {
	t.Helper()
	_, registry := startHooks(t, c, defs...)
	return registry
}

// startHooks is runHooks that gives the runner too.
func startHooks(t *testing.T, c *kafka.Cluster, defs ...catalog.Pipe) (*pipe.Runner, *prometheus.Registry) {
	t.Helper()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	r, err := pipe.New(pipe.Config{
		Cluster: c, Kinds: []target.Kind{webhook.Kind()}, Transport: egress.Transport(), Egress: egress,
		Metrics: pipe.NewMetrics(registry), Log: slog.New(slog.DiscardHandler), Grace: 100 * time.Millisecond,
	}, defs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r, registry
}

// sum adds up all series of a metric.
func sum(t *testing.T, r *prometheus.Registry, metric string) (all float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == metric {
			for _, m := range f.GetMetric() {
				all += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return all
}

// hookTo is a pipe that delivers a topic to a URL.
func hookTo(t *testing.T, topic, url string, d catalog.Delivery) catalog.Pipe {
	t.Helper()
	config, err := json.Marshal(webhook.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Pipe{Name: topic, Topics: []string{topic}, Start: "earliest", Target: catalog.Target{Kind: "webhook", Config: config}, Delivery: d}
}

// severed is a listener that cuts every connection off until it is mended.
type severed struct {
	net.Listener
	mended atomic.Bool
}

func (s *severed) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil || s.mended.Load() {
			return c, err
		}
		_ = c.Close()
	}
}

// What one pipe learns of an endpoint that serves nobody, all others know; when it does
// again, all of them go on.
func TestPipesShareWhatTheyKnowOfAnEndpoint(t *testing.T) {
	const pipes, records = 8, 100
	c := cluster(t)
	var mu sync.Mutex
	arrived := map[string]bool{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		arrived[req.Header.Get("Klamm-Delivery-Id")] = true
	}))
	door := &severed{Listener: s.Listener}
	s.Listener = door
	s.Start()
	t.Cleanup(s.Close)
	var defs []catalog.Pipe
	for i := range pipes {
		from := topic(t, c, 1)
		fill(t, c, from, records, records, []byte("1"))
		url := fmt.Sprintf("%s/%d", s.URL, i)
		if i%2 == 1 {
			url += "/<$.key>"
		}
		defs = append(defs, hookTo(t, from, url, catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}}))
	}
	registry := runHooks(t, c, defs...)
	eventually(t, "the target of every pipe counts as down", func() bool { return sum(t, registry, "klamm_pipe_target_down") == pipes })
	door.mended.Store(true)
	eventually(t, "all records of all pipes have arrived", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(arrived) == pipes*records
	})
	eventually(t, "no target counts as down", func() bool { return sum(t, registry, "klamm_pipe_target_down") == 0 })
}

// Addresses that fail, or are slow, get a share of a pipe's connections and no more:
// the others have their records at once.
func TestAilingAddressesHoldUpNobody(t *testing.T) {
	t.Parallel()
	const slow = 10 * time.Second // also beside what is usual on a busy machine
	for _, c := range []struct {
		name    string
		timeout time.Duration
		takes   time.Duration // an attempt at one that is ailing, at least
		ailing  func(w http.ResponseWriter, req *http.Request)
	}{
		{"hang", 3 * time.Second, 3 * time.Second, func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }},
		{"slow", 30 * time.Second, slow, func(_ http.ResponseWriter, req *http.Request) {
			select {
			case <-req.Context().Done():
			case <-time.After(slow):
			}
		}},
		{"fail", 30 * time.Second, 0, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl := cluster(t)
			var mu sync.Mutex
			ended := 0
			healthy := map[string]bool{}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !strings.HasPrefix(req.URL.Path, "/ill") {
					mu.Lock()
					defer mu.Unlock()
					healthy[req.URL.Path] = true
					return
				}
				_, _ = io.Copy(io.Discard, req.Body) // so that the server sees the client go
				c.ailing(w, req)
				mu.Lock()
				ended++
				mu.Unlock()
			}))
			t.Cleanup(s.Close)
			from := topic(t, cl, 1)
			const records = 2_000
			var written []*kgo.Record
			for n := range records {
				key := fmt.Sprintf("well%d", n)
				if n%10 == 0 { // many records each, without an order among them
					key = fmt.Sprintf("ill%d", n/10%4)
				}
				written = append(written, &kgo.Record{Topic: from, Partition: -1, Key: []byte(key), Value: []byte("1")})
			}
			if err := cl.Produce(t.Context(), written...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			const inFlight = 16
			def := hookTo(t, from, s.URL+"/<$.key>", catalog.Delivery{
				InFlight: inFlight, Order: catalog.OrderNone, Timeout: c.timeout, Backoff: catalog.Backoff{Min: 10 * time.Millisecond, Max: time.Second},
			})
			begun := time.Now()
			runHooks(t, cl, def)
			eventually(t, "all that are well have their records", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(healthy) == records*9/10
			})
			mu.Lock()
			defer mu.Unlock()
			if c.takes == 0 {
				return
			}
			// Until they are known they may have all attempts, and then a quarter.
			if rounds := float64(time.Since(begun)) / float64(c.takes); float64(ended) > inFlight+inFlight/2*rounds {
				t.Errorf("%d of those that are ailing had an end, in %.1f times what each takes", ended, rounds)
			}
		})
	}
}

// What is known of a target that is down is not known of the one that a changed
// definition names, nor of a paused pipe.
func TestAnotherTargetIsNotDown(t *testing.T) {
	c := cluster(t)
	from := topic(t, c, 1)
	fill(t, c, from, 20, 20, []byte("1"))
	quickly := catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}}
	r, registry := startHooks(t, c, hookTo(t, from, "http://"+closedPort, quickly))
	is := func(metric string, want float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s %v", metric, want), func() bool { return sum(t, registry, metric) == want })
	}
	is("klamm_pipe_target_down", 1)
	if err := r.Pause(t.Context(), from, ""); err != nil {
		t.Fatal(err)
	}
	is("klamm_pipe_target_down", 0)
	if err := r.Resume(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	is("klamm_pipe_target_down", 1)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	def := hookTo(t, from, s.URL, quickly)
	r.Set(def)
	is("klamm_pipe_target_down", 0)
	is("klamm_pipe_attempts_allowed", float64(def.WithDefaults().Delivery.InFlight))
	eventually(t, "everything committed", func() bool { return committed(t, c, def.WithDefaults().Group, from) == 20 })
}
