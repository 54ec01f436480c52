package pipe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

// A badRegistry knows the ids 1 to 9, all of the same schema, and fails as its fault says
// until it is mended.
type badRegistry struct {
	fault    func(w http.ResponseWriter, r *http.Request) // nil: none
	mended   atomic.Bool
	failures atomic.Int64 // requests that the fault has answered
	url      string
}

const aCount = `{"schema":"{\"type\":\"record\",\"name\":\"Count\",\"fields\":[{\"name\":\"n\",\"type\":\"long\"}]}"}`

func openBadRegistry(t *testing.T, fault func(http.ResponseWriter, *http.Request)) *badRegistry {
	b := &badRegistry{fault: fault}
	server := httptest.NewServer(b)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *badRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/schemas/ids/")
	switch {
	case b.fault != nil && !b.mended.Load():
		b.failures.Add(1)
		b.fault(w, r)
	case len(id) == 1 && id >= "1":
		_, _ = io.WriteString(w, aCount)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, `{"error_code":40403,"message":"Schema %s not found"}`, id)
	}
}

// framedCount is a record with the number n, framed for a schema.
func framedCount(id uint32, n int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, id)
	return binary.AppendVarint(b, int64(n))
}

// A teller counts what it is delivered, by the record's place.
type teller struct {
	mu  sync.Mutex
	got map[string]string // the body
}

func (c *teller) Deliver(_ context.Context, events []*event.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.got[fmt.Sprint(e.Record.Partition, "-", e.Record.Offset)] = string(e.Payload())
	}
	return nil
}

func (c *teller) Close() error { return nil }

func (c *teller) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// lettersIn counts the records of a topic by their original places.
func lettersIn(t *testing.T, c *kafka.Cluster, topic string) map[string]bool {
	t.Helper()
	places := map[string]bool{}
	ranges, err := c.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for p, span := range ranges {
		for at := span.Start; at < span.End; {
			records, err := c.Fetch(t.Context(), topic, p, at, kafka.Limits{Records: 1000, Wait: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				places[headerOf(r, "klamm.partition")+"-"+headerOf(r, "klamm.offset")] = true
				at = r.Offset + 1
			}
		}
	}
	return places
}

// TestNothingIsLostOnBadRegistries counts: whatever a registry does, each record is
// delivered, or is a dead letter where the pipe is to give up or the record is to blame.
func TestNothingIsLostOnBadRegistries(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	const partitions, records = 3, 150
	for _, w := range []struct {
		name     string
		fault    func(http.ResponseWriter, *http.Request)
		attempts int  // 0: without end
		mends    bool // once it has been asked a few times
		missing  bool // every second record names a schema that there is not
		letters  int
	}{
		{name: "down", fault: answer(503, ""), mends: true},
		{name: "reset", fault: reset, mends: true},
		{name: "silent", fault: hang, mends: true},
		{name: "slow", fault: func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(300 * time.Millisecond):
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, aCount)
		}},
		{name: "a page instead", fault: answer(200, "<html>Welcome</html>"), mends: true},
		{name: "another document instead", fault: answer(200, `{"status":"ok"}`), mends: true},
		{name: "endless", fault: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 5<<20)) }, mends: true},
		{name: "locked out", fault: answer(401, `{"error_code":401,"message":"no"}`), mends: true},
		{name: "no registry", fault: answer(404, "not found"), mends: true},
		{name: "throttled", fault: answer(429, ""), mends: true},
		{name: "redirected", fault: answer(301, ""), mends: true},
		{name: "down for good", fault: answer(503, ""), attempts: 2, letters: records},
		{name: "silent for good", fault: hang, attempts: 2, letters: records},
		{name: "missing ids", missing: true, letters: records / 2},
		{name: "broken schemas", fault: answer(200, `{"schema":"{\"type\":\"nothing\"}"}`), letters: records},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			c, registry := cluster(t), openBadRegistry(t, w.fault)
			name := topic(t, c, partitions)
			var all []*kgo.Record
			for i := range records {
				id := uint32(i%9 + 1)
				if w.missing && i%2 == 1 {
					id = uint32(1000 + i) // each another one
				}
				all = append(all, &kgo.Record{Topic: name, Partition: int32(i / 2 % partitions), Value: framedCount(id, i)})
			}
			if err := c.Produce(t.Context(), all...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			def := order(name)
			def.Decode, def.Delivery.Attempts, def.Delivery.DeadLetter = "json", w.attempts, topic(t, c, 1)
			def.Delivery.Batch = catalog.Batch{Records: 100, Wait: 10 * time.Millisecond}
			told := &teller{got: map[string]string{}}
			runWith(t, c, told, registry.url, def)
			if w.mends {
				eventually(t, "the registry has failed", func() bool { return registry.failures.Load() >= 3 })
				if n := committed(t, c, def.Group, name); n > 0 || told.count() > 0 {
					t.Errorf("%d records are committed and %d delivered without a registry", n, told.count())
				}
				registry.mended.Store(true)
			}
			eventually(t, "all records are done with", func() bool { return committed(t, c, def.Group, name) == records })
			letters := lettersIn(t, c, def.Delivery.DeadLetter)
			if len(letters) != w.letters || told.count() != records-w.letters {
				t.Errorf("%d dead letters and %d delivered, want %d and %d", len(letters), told.count(), w.letters, records-w.letters)
			}
			bodies := map[string]bool{}
			for place, body := range told.got {
				bodies[body] = true
				if letters[place] || !strings.HasPrefix(body, `{"n":`) {
					t.Errorf("%s: %s, a dead letter: %v", place, body, letters[place])
				}
			}
			if len(bodies) != told.count() {
				t.Errorf("%d different records of %d", len(bodies), told.count())
			}
		})
	}
}

func runWith(t *testing.T, c *kafka.Cluster, to *teller, url string, def catalog.Pipe) {
	t.Helper()
	r, err := schema.OpenHTTP(context.Background(), schema.Config{URL: url, Timeout: time.Second}, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	runHook(t, c, to, schema.NewClient(r, nil, false), def)
}

// TestMemoryIsFlatWithoutARegistry lets a pipe wait in front of a backlog, of which only
// a part may be in memory; and asks for more schemas that there are not than are
// remembered.
func TestMemoryIsFlatWithoutARegistry(t *testing.T) {
	const count, size = 48, 512 << 10
	c, registry := cluster(t), openBadRegistry(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	name := topic(t, c, 1)
	pad := bytes.Repeat([]byte("x"), size)
	for i := range count {
		if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Value: framedCount(uint32(i%9+1), i), Headers: []kgo.RecordHeader{{Key: "pad", Value: pad}}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	def := order(name)
	def.Decode, def.Delivery.InFlight = "json", 4
	def.Delivery.DeadLetter = topic(t, c, 1)
	told := &teller{got: map[string]string{}}
	runWith(t, c, told, registry.url, def)
	eventually(t, "the registry was asked", func() bool { return registry.failures.Load() >= 2 })
	before := heap()
	asked := registry.failures.Load()
	eventually(t, "it is asked again and again", func() bool { return registry.failures.Load() >= asked+5 })
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes while the registry is away", grown)
	}
	registry.mended.Store(true)
	eventually(t, "all records are done with", func() bool { return committed(t, c, def.Group, name) == count })
	if told.count() != count {
		t.Errorf("%d of %d records are delivered", told.count(), count)
	}
}
