package pipe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// Endpoints that are dead, all at the head of the topic and tried without end, do
// not make the pipe take its target for dead: the others get their records at once.
func TestDeadEndpointsHoldUpNobody(t *testing.T) {
	t.Parallel()
	const records, dead = 1_000, 50
	var arrived atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/dead") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		arrived.Add(1)
	}))
	defer s.Close()
	c := cluster(t)
	from := topic(t, c, 1)
	var written []*kgo.Record
	for n := range records {
		key := fmt.Sprintf("alive%d", n)
		if n < dead {
			key = fmt.Sprintf("dead%d", n)
		}
		written = append(written, &kgo.Record{Topic: from, Partition: -1, Key: []byte(key), Value: []byte("1")})
	}
	if err := c.Produce(t.Context(), written...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	hook, err := json.Marshal(webhook.Config{URL: s.URL + "/<$.key>"})
	if err != nil {
		t.Fatal(err)
	}
	def := catalog.Pipe{Name: from, Topics: []string{from}, Start: "earliest", Target: catalog.Target{Kind: "webhook", Config: hook}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := runFaults(ctx, c.Brokers(), []catalog.Pipe{def}, io.Discard); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	eventually(t, "something arrives", func() bool { return arrived.Load() > 0 })
	begun := time.Now()
	eventually(t, "all endpoints that are alive have their records", func() bool { return arrived.Load() == records-dead })
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("that took %s", took)
	}
}
