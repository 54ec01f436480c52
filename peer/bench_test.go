package peer_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// BenchmarkRead reads 100 records of 1 KB at a time, from the process that holds the
// instance and through another one in turn, and compares the medians.
func BenchmarkRead(b *testing.B) {
	h := newHouse(b, 2, 0)
	const answers = 150
	topic := fmt.Sprintf("%s-%d", b.Name(), b.N)
	if err := h.cluster.CreateTopic(b.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
		b.Fatal(err)
	}
	value := []byte(`"` + strings.Repeat("x", 1022) + `"`)
	for range answers {
		records := make([]*kgo.Record, 100)
		for i := range records {
			records[i] = &kgo.Record{Topic: topic, Value: value}
		}
		if err := h.cluster.Produce(b.Context(), records...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	c := h.create(h.all[0], topic, "one", earliest)
	c.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
	query := fmt.Sprintf("/records?max_bytes=%d", 100*len(value)+1)
	took := [2][]time.Duration{}
	left := 0
	for n := 0; b.Loop(); n++ { // in turn, so that both see the same machine
		if left--; left < 0 {
			c.must(204, "POST", "/positions/beginning", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
			h.call(h.all[0], "GET", c.path+query, "", "") // fetched records are there from now on
			left = answers - 3
		}
		start := time.Now()
		status, said := h.call(h.all[n%2], "GET", c.path+query, "", "")
		took[n%2] = append(took[n%2], time.Since(start))
		if status != http.StatusOK || len(said) < 100*len(value) {
			b.Fatalf("%d, %d bytes", status, len(said))
		}
	}
	if len(took[1]) > 0 {
		slices.Sort(took[0])
		slices.Sort(took[1])
		direct, forwarded := took[0][len(took[0])/2], took[1][len(took[1])/2]
		b.ReportMetric(float64(direct.Microseconds()), "direct-µs")
		b.ReportMetric(float64(forwarded.Microseconds()), "forwarded-µs")
		b.ReportMetric(float64(forwarded)/float64(direct), "times")
	}
}
