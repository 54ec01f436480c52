package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// An outcome is a target and an enrichment whose outcomes are told to it.
type outcome struct {
	err    error
	answer string
	asked  error
}

func (o *outcome) Deliver(context.Context, []*event.Event) error { return o.err }
func (o *outcome) Close() error                                  { return nil }
func (o *outcome) Invoke(context.Context, []*event.Event) ([]byte, error) {
	return json.RawMessage(o.answer), o.asked
}

// figures are the series of one pipe, without klamm_pipe_; of histograms how much was
// observed.
func figures(t *testing.T, r *prometheus.Registry, pipe string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); len(labels) != 1 || labels[0].GetValue() != pipe {
				continue
			}
			all[f.GetName()[len("klamm_pipe_"):]] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestExecutionsAreCounted(t *testing.T) {
	two := []*event.Event{{Record: &kgo.Record{Key: []byte("k"), Value: []byte("1234")}}, {Record: &kgo.Record{Value: []byte("12345")}}}
	zero := map[string]float64{
		"concurrency": 0, "invocations": 0, "event_count": 0, "event_size": 0, "duration": 0, "execution_throttled": 0, "execution_timeout": 0, "execution_failed": 0, "execution_partially_failed": 0,
		"enrichment_stage_duration": 0, "enrichment_stage_failed": 0, "target_stage_duration": 0, "target_stage_failed": 0, "target_stage_partially_failed": 0, "target_stage_skipped": 0,
	}
	once := map[string]float64{"invocations": 1, "event_count": 2, "event_size": 10, "duration": 1}
	for _, c := range []struct {
		name     string
		in       outcome
		enriches bool
		want     map[string]float64
	}{
		{"delivered", outcome{}, false, map[string]float64{"target_stage_duration": 1}},
		{"failed", outcome{err: errors.New("no")}, false, map[string]float64{"target_stage_duration": 1, "target_stage_failed": 1, "execution_failed": 1}},
		{"a part failed", outcome{err: &target.PartialError{Failed: map[int]error{1: errors.New("no")}}}, false, map[string]float64{"target_stage_duration": 1, "target_stage_partially_failed": 1, "execution_partially_failed": 1}},
		{"no turn", outcome{err: errNoTurn}, false, map[string]float64{"target_stage_duration": 1, "target_stage_failed": 1, "execution_throttled": 1}},
		{"enriched", outcome{answer: `[{"a":1}]`}, true, map[string]float64{"enrichment_stage_duration": 1, "target_stage_duration": 1}},
		{"not enriched", outcome{asked: errors.New("no")}, true, map[string]float64{"enrichment_stage_duration": 1, "enrichment_stage_failed": 1, "execution_failed": 1}},
		{"nothing left", outcome{answer: `[]`}, true, map[string]float64{"enrichment_stage_duration": 1, "target_stage_skipped": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			m := newExecutionMetrics(registry)
			x := &execution{series: &executionSeries{of: m, pipe: "p"}, inner: &c.in, most: mostEvents, enrichTime: executionTime, targetTime: executionTime}
			if c.enriches {
				x.invoker, x.arrays = &c.in, true
			}
			x.series.show()
			if diff := cmp.Diff(zero, figures(t, registry, "p")); diff != "" {
				t.Errorf("before anything has happened (-want +got):\n%s", diff)
			}
			_ = x.Deliver(t.Context(), two)
			want := map[string]float64{}
			for _, all := range []map[string]float64{zero, once, c.want} {
				for name, n := range all {
					want[name] = n
				}
			}
			if diff := cmp.Diff(want, figures(t, registry, "p")); diff != "" {
				t.Errorf("after one execution (-want +got):\n%s", diff)
			}
			if m.forget("p"); len(figures(t, registry, "p")) > 0 {
				t.Error("the series of a pipe that is gone are still there")
			}
		})
	}
}
