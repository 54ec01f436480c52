package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// TestTheHistoryKnowsWhatKlammDoes has a record come in at the front door and go out at
// the back, and looks for it in each series of the history that it is counted in.
func TestTheHistoryKnowsWhatKlammDoes(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	topic := fmt.Sprintf("trends-%d", time.Now().UnixNano())
	r := start(t, fmt.Sprintf("egress: {allow: [127.0.0.1/32]}\npipes:\n  - {name: %s, topics: [%s], start: earliest, target: {webhook: {url: %q}}}\n", topic, topic, target.URL), t.TempDir())
	wanted := []string{"requests_2xx", "latency_p95", "records", "bytes", "memory", "goroutines", "read", "delivered"}
	waittest.Until(t, "everything is in the history", func() bool {
		r.produce(topic, "k", `"something"`)
		resp, body := r.exchange("GET", "/klamm/v1/history", "")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		var said struct {
			Series []struct {
				Name   string
				Points []*float64
			}
		}
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, s := range said.Series {
			for _, p := range s.Points {
				seen[s.Name] = seen[s.Name] || p != nil && *p > 0
			}
		}
		for _, name := range wanted {
			if !seen[name] {
				return false
			}
		}
		return true
	})
}
