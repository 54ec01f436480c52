package gate

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestWhatWaitsForBrokersIsBounded fills the room for records that wait for a broker which
// is not there: before all of it is used, calls are refused and told to come again.
func TestWhatWaitsForBrokersIsBounded(t *testing.T) {
	c, err := kafka.Open(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g, registry := New(c), prometheus.NewRegistry()
	g.Protect(NewProtection(Adaptive{}, registry))
	value := make([]byte, 900_000) // shared by all: only its length counts
	send := func() error {
		return g.Send(t.Context(), Anonymous, &kgo.Record{Topic: "t", Partition: -1, Value: value}, func(error) {})
	}
	for n := range 300 {
		err := send()
		if err == nil {
			continue
		}
		var overloaded *Overloaded
		if !errors.As(err, &overloaded) || overloaded.Wait != time.Second || Classify(err) != Unavailable {
			t.Fatalf("after %d: %v", n, err)
		}
		if bytes := n * len(value); bytes < 200<<20 || bytes > 256<<20 {
			t.Errorf("refused after %d bytes", bytes)
		}
		_, err = g.Produce(context.Background(), Anonymous, "t", []*kgo.Record{{Partition: -1, Value: value}})
		if !errors.As(err, &overloaded) {
			t.Errorf("Produce: %v", err)
		}
		if err := g.SendAll(context.Background(), Anonymous, "t", []*kgo.Record{{Partition: -1, Value: value}}, func() { t.Error("done") }); !errors.As(err, &overloaded) {
			t.Errorf("SendAll: %v", err)
		}
		return
	}
	t.Fatal("nothing was refused")
}
