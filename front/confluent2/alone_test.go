package confluent2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/waittest"
)

// The tests of this file begin before all others: they count what the process
// has, take all of its time, or wait long.

func TestExpiredInstancesLeaveNoGoroutines(t *testing.T) {
	p := startProxy(t, Config{}, consumerConfig{idle: 700 * time.Millisecond})
	topic := p.topic(t, 1)
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	for i := range 5 {
		c := p.create(t, fmt.Sprintf("%s-%d", topic, i), "json", `"consumer.request.timeout.ms":10`)
		// Where it has expired before it is called, this machine is slow.
		c.do("POST", "/assignments", partitions(topic, 0))
		p.call(t, "GET", c.path+"/records", c.accept, "")
		s := p.create(t, fmt.Sprintf("%s-%d", topic, i), "json", `"consumer.request.timeout.ms":10`)
		s.do("POST", "/subscription", fmt.Sprintf(`{"topics":[%q]}`, topic))
		p.call(t, "GET", s.path+"/records", s.accept, "")
	}
	waittest.Until(t, "as many goroutines as before", func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= before+2 // the connections of the cluster's own clients
	})
}

func TestNobodyWaitsLongForBrokersThatAreGone(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect { return []front.Dialect{Dialect(g, Config{})} }, Brokers: []string{"127.0.0.1:1"}, ProduceTimeoutMs: 1000})
	var all sync.WaitGroup
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		said                                  string
	}{
		{"a plain record", "POST", "/topics/x", "text/plain", "x", 503, `{"error_code":50003,`},
		{"v2", "POST", "/topics/x", mediaJSON, `{"records":[{"value":1},{"value":2}]}`, 200, `{"offsets":[{"partition":null,"offset":null,"error_code":50003,`},
		{"metadata", "GET", "/topics", "", "", 500, `{"error_code":50003,`},
		{"a read", "GET", "/topics/x/records", "", "", 500, `{"error_code":50003,`},
		{"async", "POST", "/topics/x?async=true", mediaJSON, `{"records":[{"value":1}]}`, 204, ``},
	} {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, c.method, s.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Error(err)
				return
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				return
			}
			defer resp.Body.Close()
			said, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.HasPrefix(string(said), c.said) {
				t.Errorf("%s: got %d %s, want %d %s", c.name, resp.StatusCode, said, c.status, c.said)
			}
		})
	}
	t.Parallel() // only now: the requests wait while other tests run
	all.Wait()
}

func TestManyInstancesAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("makes hundreds of connections")
	}
	n := 100
	if os.Getenv("KLAMM_TEST_MANY") != "" {
		n = 500
	}
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, `"x"`)
	instances := make([]instance, n)
	var all sync.WaitGroup
	places := make(chan struct{}, 50)
	for i := range instances {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			instances[i] = p.create(t, fmt.Sprintf("%s-%d", topic, i), "json", `"consumer.request.timeout.ms":60000`)
			instances[i].subscribe(topic)
			if r := p.call(t, "GET", instances[i].path+"/records", mediaJSON, ""); r.status != 200 || !strings.Contains(r.body, `"x"`) {
				t.Errorf("instance %d: %d %s", i, r.status, r.body)
			}
		})
	}
	all.Wait()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d instances: %d goroutines, %d MiB from the system", n, runtime.NumGoroutine(), m.Sys>>20)
	start := time.Now()
	if err := p.gate.CloseConsumers(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("closed within %s", time.Since(start))
	refused(t, "after the end", p.call(t, "POST", "/consumers/g", "", ""), 503, 50302, "stopping")
}
