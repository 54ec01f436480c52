package front

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRoutesHaveSeriesFromTheirFirstRequestOn(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	asked, _ := m.route("v2", "topics"), m.route("v2", "never")
	count := func(name string) int {
		t.Helper()
		n, err := testutil.GatherAndCount(registry, name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count("klamm_front_request_seconds"); n != 0 {
		t.Errorf("%d histograms before a request", n)
	}
	asked(200, time.Millisecond)
	asked(200, time.Millisecond)
	asked(404, time.Millisecond)
	if seconds, total := count("klamm_front_request_seconds"), count("klamm_front_requests_total"); seconds != 1 || total != 2 {
		t.Errorf("%d histograms and %d counters, want 1 and 2", seconds, total)
	}
}
