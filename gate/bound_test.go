package gate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
)

func TestRecordsOfOneRequestAreBounded(t *testing.T) {
	g := gate.New(nil)
	g.Bound(2)
	three := []*kgo.Record{{}, {}, {}}
	if _, err := g.Produce(context.Background(), gate.Anonymous, "t", three); !errors.Is(err, gate.ErrTooManyRecords) || gate.Classify(err) != gate.TooLarge {
		t.Errorf("Produce: %v", err)
	}
	if err := g.SendAll(context.Background(), gate.Anonymous, "t", three, func() { t.Error("done") }); !errors.Is(err, gate.ErrTooManyRecords) {
		t.Errorf("SendAll: %v", err)
	}
}

func TestProtectionChanges(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := gate.NewProtection(gate.Adaptive{}, registry)
	limits := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "klamm_adaptive_limit" {
				for _, m := range f.GetMetric() {
					got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
		return got
	}
	if got := limits(); len(got) != 0 {
		t.Errorf("before there is a limit: %v", got)
	}
	p.Change(gate.Adaptive{Produce: 50})
	if got := limits(); len(got) != 1 || got["produce"] != 50 {
		t.Errorf("after a change: %v", got)
	}
	p.Change(gate.Adaptive{Produce: 50, Consume: 20})
	if got := limits(); len(got) != 2 || got["consume"] != 20 {
		t.Errorf("after another: %v", got)
	}
	p.Change(gate.Adaptive{})
	if got := limits(); len(got) != 0 {
		t.Errorf("without: %v", got)
	}
}
