package pipe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

type counter struct{ n *atomic.Int64 }

func (c counter) Deliver(_ context.Context, events []*event.Event) error {
	c.n.Add(int64(len(events)))
	return nil
}

func (counter) Close() error { return nil }

// BenchmarkBus measures how fast events of 1 KB come from a bus to three targets, with no
// other rules and beside 5,000 others that do not match them.
func BenchmarkBus(b *testing.B) {
	for _, others := range []int{0, 5_000} {
		b.Run(fmt.Sprintf("others-%d", others), func(b *testing.B) { benchmarkBus(b, others) })
	}
}

func benchmarkBus(b *testing.B, others int) {
	c := cluster(b)
	name := topic(b, c, 1)
	egress, _ := target.NewEgress(nil, true)
	var delivered atomic.Int64
	r, err := pipe.New(pipe.Config{Cluster: c, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Grace: time.Second,
		Kinds: []target.Kind{{Name: "counter", Config: func() target.Config { return &noConfig{} }, Open: func(json.RawMessage, target.Env) (target.Target, error) { return counter{&delivered}, nil }}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	set := func(rule, pattern string) catalog.Pipe {
		def := catalog.Pipe{Name: catalog.RulePipe(name, rule, "t"), Topics: []string{name, "klamm.retry." + name}, Target: catalog.Target{Kind: "counter", Config: json.RawMessage("{}")},
			Bus: &catalog.Subscription{Bus: name, Rule: rule, Target: "t", Pattern: json.RawMessage(pattern)}}
		r.Set(def)
		return def
	}
	var last catalog.Pipe
	for i := range 3 {
		last = set(fmt.Sprintf("match%d", i), `{"source":["orders"],"detail":{"state":["paid"]}}`)
	}
	for i := range others {
		set(fmt.Sprintf("other%d", i), fmt.Sprintf(`{"source":["orders"],"detail":{"state":["state-%d"],"amount":[{"numeric":[">",%d]}]}}`, i, i))
	}
	r.OpenBuses()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	eventually(b, "the bus runs", func() bool { l, _ := r.Local(last.Name); return l.Running && r.OwnsBus(name, "k") })
	value := fmt.Appendf(nil, `{"version":"0","id":"e","detail-type":"test","source":"orders","account":"000000000000","time":"2026-01-01T00:00:00Z","region":"us-east-1","resources":[],"detail":{"state":"paid","amount":7,"text":"%0800d"}}`, 1)
	b.SetBytes(int64(len(value)))
	b.ResetTimer()
	for at := 0; at < b.N; at += 1_000 {
		records := make([]*kgo.Record, min(1_000, b.N-at))
		for i := range records {
			records[i] = &kgo.Record{Topic: name, Partition: 0, Value: value}
		}
		if err := c.Produce(b.Context(), records...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	for delivered.Load() < int64(3*b.N) {
		time.Sleep(time.Millisecond)
	}
}
