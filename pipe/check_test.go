package pipe_test

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// What is only tried out leaves no series behind, and those of a pipe that there is stay.
func TestSeriesOfWhatIsTriedOut(t *testing.T) {
	var m marked
	registry := prometheus.NewRegistry()
	there := catalog.Pipe{Name: "there", Topics: []string{"t"}, Group: "g", Target: catalog.Target{Kind: "marked", Config: json.RawMessage(`{"mark":"x"}`)}}
	r, err := pipe.New(pipe.Config{Metrics: pipe.NewMetrics(registry), Log: slog.New(slog.DiscardHandler), Kinds: []target.Kind{m.kind()}}, []catalog.Pipe{there})
	if err != nil {
		t.Fatal(err)
	}
	tried, refused := there, there
	tried.Name, refused.Name = "tried", "refused"
	refused.Target.Config = json.RawMessage(`{}`)
	for _, p := range []catalog.Pipe{there, tried} {
		if err := r.Check(p); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if err := r.Check(refused); err == nil {
		t.Error("a target that cannot be opened is nothing wrong")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() == "pipe" {
					found[l.GetValue()]++
				}
			}
		}
	}
	if found["there"] == 0 || len(found) != 1 {
		t.Errorf("got series of %v, want some of there alone", found)
	}
}
