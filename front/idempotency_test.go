package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestRepeatKey(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"bare", "order-1", "order-1"},
		{"quoted", `"order-1"`, "order-1"},
		{"escapes", `"a\"b\\c"`, `a"b\c`},
		{"quotes inside", `a"b`, `a"b`},
		{"the longest", strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{"too long", strings.Repeat("x", 256), ""},
		{"empty", "", ""},
		{"empty quotes", `""`, ""},
		{"half a quote", `"a`, ""},
		{"only a quote", `"`, ""},
		{"text behind quotes", `"a"b`, ""},
		{"parameters", `"a";b=1; c="x;\"y";d;*e=?0;f=tok/en;g=:YQ==:;h=-1.5;i=@1700000000`, "a"},
		{"parameters of another form", `"a";B=1`, ""},
		{"parameters without a name", `"a";`, ""},
		{"parameters without a value", `"a";b=`, ""},
		{"parameters without a semicolon", `"a" b=1`, ""},
		{"something like parameters, bare", `a;b=1`, "a;b=1"},
		{"another escape", `"a\n"`, ""},
		{"an open escape", `"a\`, ""},
		{"a space", "a b", ""},
		{"not ASCII", "ä", ""},
		{"control", "a\x00", ""},
	} {
		got, err := repeatKey([]string{c.in})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := repeatKey([]string{"a", "a"}); err == nil {
		t.Error("two headers")
	}
}

func FuzzRepeatKey(f *testing.F) {
	f.Add(`"a\"b"`)
	f.Add("bare")
	f.Add(`"a";b="c";d`)
	f.Fuzz(func(t *testing.T, header string) {
		key, err := repeatKey([]string{header})
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := repeatKey([]string{quoted}); again != key || err != nil {
			t.Errorf("%q is %q, and %q is %q, %v", header, key, quoted, again, err)
		}
	})
}

// A writer is a server with two routes that write a record: one reads its body as
// a whole, the other as a stream.
type writer struct {
	url, topic string
	cluster    *kafka.Cluster
	wait       chan struct{}
	served     atomic.Int32
}

func startWriter(t *testing.T, brokers []string, topic string, cfg gate.Idempotency) *writer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	claims := gate.NewClaims(cluster, cfg, prometheus.NewRegistry(), log)
	w := &writer{topic: topic, cluster: cluster, wait: make(chan struct{})}
	s := New(Config{Anonymous: true, Claims: claims, Metrics: NewMetrics(prometheus.NewRegistry()), Log: log, Dialects: []Dialect{w.dialect(gate.New(cluster))}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		claims.Close()
		cluster.Close()
	})
	w.url = "http://" + l.Addr().String()
	return w
}

func (w *writer) dialect(g *gate.Gate) Dialect {
	write := func(rw http.ResponseWriter, r *http.Request, who gate.Principal, text string) error {
		w.served.Add(1)
		if text == "invalid" {
			return &gate.Error{Kind: gate.Invalid, Message: "no"}
		}
		results, err := g.Produce(r.Context(), who, w.topic, []*kgo.Record{{Value: []byte(text), Partition: -1}})
		if err != nil {
			return err
		}
		switch text {
		case "panic":
			panic("oh")
		case "wait":
			<-w.wait
		case "refused":
			return &gate.Error{Kind: gate.NotFound, Message: "no"}
		case "failed":
			return errors.New("no")
		}
		rw.Header()["X-Answer"] = []string{"yes"}
		rw.WriteHeader(http.StatusCreated)
		_, err = fmt.Fprint(rw, results[0].Record.Offset)
		return err
	}
	return Dialect{
		Name: "writer", Prefixes: []string{"/"},
		Routes: []Route{
			{Name: "write", Pattern: "POST /write", Repeat: RepeatOnce, Serve: func(rw http.ResponseWriter, r *http.Request, who gate.Principal) error {
				data, release, err := ReadBody(r)
				if err != nil {
					return err
				}
				defer release()
				return write(rw, r, who, strings.Clone(string(data)))
			}},
			{Name: "stream", Pattern: "POST /stream", Repeat: RepeatBounded, Serve: func(rw http.ResponseWriter, r *http.Request, who gate.Principal) error {
				data, err := io.ReadAll(OpenStream(rw, r, time.Minute))
				if err != nil {
					return err
				}
				return write(rw, r, who, string(data))
			}},
			{Name: "other", Pattern: "POST /other", Serve: func(rw http.ResponseWriter, r *http.Request, who gate.Principal) error {
				return write(rw, r, who, "other")
			}},
		},
		WriteError: func(rw http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusInternalServerError
			var repeat *RepeatError
			switch {
			case errors.As(err, &repeat):
				status = repeat.Status
			case gate.Classify(err) == gate.NotFound:
				status = http.StatusNotFound
			case gate.Classify(err) == gate.Invalid:
				status = http.StatusBadRequest
			}
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, err.Error())
		},
	}
}

// A said is what a writer answered.
type said struct {
	status   int
	body     string
	header   http.Header
	repeated bool
}

func (w *writer) post(t *testing.T, path, key, body string, headers ...string) said {
	t.Helper()
	return w.send(t, t.Context(), path, key, strings.NewReader(body), headers...)
}

func (w *writer) send(t *testing.T, ctx context.Context, path, key string, body io.Reader, headers ...string) said {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return said{body: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return said{resp.StatusCode, string(text), resp.Header, resp.Header.Get("Idempotency-Replayed") == "true"}
}

// written says whether there is a record.
func (w *writer) written(t *testing.T) bool {
	t.Helper()
	ranges, err := w.cluster.Ranges(t.Context(), w.topic)
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatal(err)
	}
	for _, r := range ranges {
		if r.End > r.Start {
			return true
		}
	}
	return false
}

// records counts what was written.
func (w *writer) records(t *testing.T) (n int64) {
	t.Helper()
	all, err := w.cluster.Ranges(t.Context(), w.topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		n += r.End - r.Start
	}
	return n
}

func name() string { return fmt.Sprintf("repeat-%d", rand.Uint64()) }

func TestRequestsAreRepeated(t *testing.T) {
	brokers, topic := brokertest.Brokers(t), name()
	one := startWriter(t, brokers, topic, gate.Idempotency{})
	two := startWriter(t, brokers, topic, gate.Idempotency{})
	k := name()
	first := one.post(t, "/write", `"`+k+`"`, "a")
	if first.status != 201 || first.repeated || first.header.Get("X-Answer") != "yes" {
		t.Fatalf("the first: %+v", first)
	}
	for i, w := range []*writer{two, one, two} {
		again := w.post(t, "/write", k, "a")
		if again.status != first.status || again.body != first.body || !again.repeated || again.header.Get("X-Answer") != "yes" {
			t.Errorf("repetition %d: %+v, want %+v", i, again, first)
		}
	}
	for what, got := range map[string]said{
		"another body":           two.post(t, "/write", k, "b"),
		"another type":           two.post(t, "/write", k, "a", "Content-Type", "text/plain"),
		"another query":          two.post(t, "/write?key=b", k, "a"),
		"another record key":     two.post(t, "/write", k, "a", "X-Kafka-Key", "b"),
		"another event":          two.post(t, "/write", k, "a", "Ce-Id", "b"),
		"a body while none came": two.post(t, "/write", k, ""),
	} {
		if got.status != 422 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if n := one.records(t); n != 1 {
		t.Errorf("%d records", n)
	}
	if got := one.post(t, "/stream", k, "a"); got.status != 201 || got.repeated {
		t.Errorf("another route: %+v", got)
	}
	if got := two.post(t, "/stream", k, "a"); got.status != 201 || !got.repeated {
		t.Errorf("a stream: %+v", got)
	}
	if got := two.send(t, t.Context(), "/stream", k, io.MultiReader(strings.NewReader("a"))); got.status != 400 {
		t.Errorf("a stream of unknown length: %+v", got)
	}
	if got := two.post(t, "/stream", k, strings.Repeat("x", longestRepeated+1)); got.status != 400 {
		t.Errorf("a long stream: %+v", got)
	}
	if got := two.post(t, "/write", "not a key", "a"); got.status != 400 {
		t.Errorf("no key: %+v", got)
	}
	for range 2 {
		if got := two.post(t, "/other", k, "a"); got.status != 201 || got.repeated {
			t.Errorf("a route without keys: %+v", got)
		}
	}
}

func TestWhileTheFirstRuns(t *testing.T) {
	brokers, topic := brokertest.Brokers(t), name()
	one := startWriter(t, brokers, topic, gate.Idempotency{})
	two := startWriter(t, brokers, topic, gate.Idempotency{})
	k := name()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan said, 1)
	go func() { left <- one.send(t, ctx, "/write", k, strings.NewReader("wait")) }()
	// The key is taken before the record is written; the other one would wait too
	// if it came first.
	for end := time.Now().Add(time.Minute); !one.written(t) || two.post(t, "/write", k, "wait").status != 409; {
		if time.Now().After(end) {
			t.Fatal("no 409")
		}
	}
	if got := one.post(t, "/write", k, "wait"); got.status != 409 || got.header.Get("Retry-After") == "" {
		t.Errorf("on the same replica: %+v", got)
	}
	// The client leaves, and asks again.
	leave()
	<-left
	close(one.wait)
	var got said
	for end := time.Now().Add(time.Minute); !got.repeated; got = two.post(t, "/write", k, "wait") {
		if time.Now().After(end) {
			t.Fatalf("afterwards: %+v", got)
		}
	}
	if got.status != 201 || one.records(t) != 1 {
		t.Errorf("afterwards: %+v, %d records", got, one.records(t))
	}
}

func TestWhatMayBeTriedAgain(t *testing.T) {
	w := startWriter(t, brokertest.Brokers(t), name(), gate.Idempotency{Required: true, Scope: []string{"principal"}})
	for _, c := range []struct {
		name, body string
		status     int
		kept       bool
	}{
		{"wrong before anything is done", "invalid", 400, false},
		{"refused by what was done", "refused", 404, true},
		{"failed", "failed", 500, false},
		{"panicked", "panic", 500, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := name()
			for i := range 2 {
				if got := w.post(t, "/write", k, c.body); got.status != c.status || got.repeated != (c.kept && i == 1) {
					t.Errorf("call %d: %+v", i, got)
				}
			}
			want := 201
			if c.kept {
				want = 422
			}
			if got := w.post(t, "/stream", k, "right"); got.status != want {
				t.Errorf("put right, on another route of the scope: %+v, want %d", got, want)
			}
		})
	}
	if got := w.post(t, "/write", "", "a"); got.status != 400 {
		t.Errorf("required and missing: %+v", got)
	}
}

func TestKeysNeedABroker(t *testing.T) {
	w := startWriter(t, []string{"127.0.0.1:1"}, "t", gate.Idempotency{})
	if got := w.post(t, "/write", "k", "a"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %+v", got)
	}
}
