package function

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// What one function does wrong is told of it, is no matter of another, and does not keep
// klamm from ending.
func TestMischiefIsToldAndNobodyElseNotices(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Memory = 512 }) // this test's program, under the race detector
	good, _ := h.Definition("f")
	good.Name = "good"
	h.Set(good)

	var answered, failed atomic.Int64
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := h.Invoke(t.Context(), "good", Invocation{Payload: []byte(`{"n":1}`), Wait: -1})
				if err != nil || out.Error != "" || string(out.Payload) != `{"n":1}` {
					failed.Add(1)
					t.Errorf("the other function: %v, %q %s", err, out.Error, out.Payload)
					return
				}
				answered.Add(1)
			}
		})
	}
	flood := 1024 // MiB
	if testing.Short() {
		flood = 64
	}
	for _, c := range []struct {
		name    string
		order   order
		timeout time.Duration
		want    string // of the answer
	}{
		{"hangs", order{Do: "sleep", N: 3_600_000}, time.Second, "Task timed out after 1.00 seconds"},
		{"ignores SIGTERM", order{Do: "stubborn"}, time.Second, "Task timed out after 1.00 seconds"},
		{"floods its output with a gigabyte", order{Do: "torrent", N: flood}, 10 * time.Minute, "1"},
		{"forks", order{Do: "fork"}, time.Minute, ""},
		{"exits", order{Do: "exit", N: 3}, time.Minute, "exit status 3"},
		{"leaks to its limit", order{Do: "leak", N: 100_000}, 10 * time.Minute, "limit of 512 MiB"},
		{"answers and hangs", order{Do: "linger"}, time.Minute, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := answered.Load()
			def, _ := h.Definition("good")
			def.Name, def.Timeout, def.Revision = "f", c.timeout, c.name
			h.Set(def)
			payload, _ := json.Marshal(c.order)
			var out Outcome
			// With a time limit of a second a slow machine may take longer to begin.
			waittest.Until(t, "the answer", func() (ok bool) {
				var err error
				out, err = h.Invoke(t.Context(), "f", Invocation{Payload: payload, Wait: -1})
				return err == nil && strings.Contains(string(out.Payload), c.want)
			})
			if len(out.Log) > maxLogTail {
				t.Errorf("%d bytes of log", len(out.Log))
			}
			waittest.Until(t, "the other function answers meanwhile", func() bool { return answered.Load() > before || failed.Load() > 0 })
		})
	}
	close(stop)
	others.Wait()
	// One that does not hear SIGTERM while it is idle is ended all the same.
	def, _ := h.Definition("good")
	def.Name, def.Timeout, def.Revision = "f", time.Minute, "deaf"
	h.Set(def)
	var pid int
	out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"Do":"deaf"}`), Wait: -1})
	if err != nil || json.Unmarshal(out.Payload, &pid) != nil || !alive(pid) {
		t.Fatalf("%v, %s", err, out.Payload)
	}
	h.Remove("f")
	waittest.Until(t, "the deaf process is gone", func() bool { return !alive(pid) })
}
