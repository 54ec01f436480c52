package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/waittest"
)

// A running klamm of a test: on the embedded broker, or on the brokers that
// KLAMM_TEST_BROKERS names.
type running struct {
	t    *testing.T
	url  string
	app  *app.App
	log  *testLog
	stop func() // in good order; may be called again
}

// start runs klamm with a configuration file's text until the test ends.
func start(t *testing.T, text, data string) *running {
	t.Helper()
	return startFrom(t, text, data, nil)
}

// startFrom is start for a klamm that reads its configuration again.
func startFrom(t *testing.T, text, data string, from *app.Source) *running {
	t.Helper()
	cfg, problems := config.Load([]byte(text), all.Kinds())
	if len(problems) > 0 {
		t.Fatalf("configuration: %v", problems)
	}
	cfg.Listen = "127.0.0.1:0"
	kept := &testLog{t: t}
	log := slog.New(slog.NewTextHandler(kept, nil))
	ready := make(chan struct{})
	opts := app.Options{Log: log, Source: from, Ready: func(string, []string) { close(ready) }}
	if brokers := os.Getenv("KLAMM_TEST_BROKERS"); brokers != "" {
		cfg.Kafka.Brokers = strings.Split(brokers, ",")
	} else {
		opts.Broker = &broker.Config{Listen: "127.0.0.1:0", Dir: data, Log: log}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, opts)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			log.Error("run", "err", err)
		}
	}()
	r := &running{t: t, url: "http://" + a.Addr(), app: a, log: kept, stop: func() { cancel(); <-done }}
	t.Cleanup(r.stop)
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		t.Fatal("not ready within two minutes")
	}
	return r
}

// A testLog keeps what was logged.
type testLog struct {
	t *testing.T

	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s", b)
	}
	return len(b), nil
}

// produce writes one JSON record with a key.
func (r *running) produce(topic, key, value string) {
	r.t.Helper()
	body := fmt.Sprintf(`{"records":[{"key":%q,"value":%s}]}`, key, value)
	resp, err := http.Post(r.url+"/topics/"+topic, "application/vnd.kafka.json.v2+json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	var answer struct {
		Offsets []struct {
			ErrorCode *int `json:"error_code"`
		}
	}
	if err := json.Unmarshal(said, &answer); err != nil || resp.StatusCode != 200 || len(answer.Offsets) != 1 || answer.Offsets[0].ErrorCode != nil {
		r.t.Fatalf("produce: %d %s", resp.StatusCode, said)
	}
}

// A receiver is a webhook that records what it accepts.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	accepted []call
	status   atomic.Int32 // answered to everything; 0 means 200
	choose   func(c call) int
}

type call struct {
	body   string
	header http.Header
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		c := call{string(body), req.Header}
		status := int(r.status.Load())
		if r.choose != nil {
			status = r.choose(c)
		}
		if status == 0 || status == 200 {
			r.mu.Lock()
			r.accepted = append(r.accepted, c)
			r.mu.Unlock()
			status = 200
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) calls() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

// exchange makes a request with header fields, as NAME: VALUE, and returns the answer and its
// body.
func (r *running) exchange(method, path, body string, fields ...string) (*http.Response, string) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		q.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test's
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(text)
}

// unique makes names that no other test or run on the same cluster uses.
func unique(t *testing.T) string {
	return fmt.Sprintf("%.30s-%d", strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), time.Now().UnixNano())
}

func pipeText(name, topic, url, more string) string {
	return fmt.Sprintf("pipes:\n  - {name: %s, topics: [%s], start: earliest, target: {webhook: {url: %q}}, %s delivery: {backoff: {min: 20ms, max: 200ms}}}\negress: {allow: [127.0.0.0/8]}\n", name, topic, url, more)
}

func TestRecordInOverHTTPLeavesAsWebhook(t *testing.T) {
	hook := receive(t)
	topic := unique(t)
	k := start(t, pipeText(topic, topic, hook.URL+"/in", ""), t.TempDir())
	k.produce(topic, "k1", `{"n":1}`)
	waittest.Until(t, "one delivery", func() bool { return len(hook.calls()) == 1 })
	c := hook.calls()[0]
	if c.body != `{"n":1}` {
		t.Errorf("body %q, want the value's bytes", c.body)
	}
	for name, want := range map[string]string{"Klamm-Topic": topic, "Klamm-Offset": "0", "Klamm-Attempt": "1", "Klamm-Key": `"k1"`, "Content-Type": "application/json"} {
		if got := c.header.Get(name); got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
}

func TestNothingIsLostOrReorderedOverRestartsAndFailures(t *testing.T) {
	hook := receive(t)
	topic, data := unique(t), filepath.Join(t.TempDir(), "data")
	var n atomic.Int64
	hook.choose = func(call) int {
		switch n.Add(1) % 10 {
		case 3:
			return 503
		case 7:
			return 500
		}
		return 200
	}
	const keys, each = 20, 15
	text := pipeText(topic, topic, hook.URL, "")
	k := start(t, text, data)
	for i := range each {
		for key := range keys {
			k.produce(topic, fmt.Sprint(key), fmt.Sprintf("[%d,%d]", key, i))
		}
		if i == each/3 || i == 2*each/3 {
			k.stop()
			k = start(t, text, data)
		}
	}
	got := func() map[int][]int {
		first := map[int][]int{}
		seen := map[string]bool{}
		for _, c := range hook.calls() {
			if seen[c.body] {
				continue
			}
			seen[c.body] = true
			var pair [2]int
			if err := json.Unmarshal([]byte(c.body), &pair); err != nil {
				t.Fatalf("body %q: %v", c.body, err)
			}
			first[pair[0]] = append(first[pair[0]], pair[1])
		}
		return first
	}
	waittest.Until(t, "all records", func() bool {
		total := 0
		for _, seq := range got() {
			total += len(seq)
		}
		return total == keys*each
	})
	first := got()
	for _, key := range slices.Sorted(maps.Keys(first)) {
		if !slices.IsSorted(first[key]) {
			t.Errorf("key %d out of order: %v", key, first[key])
		}
	}
	if calls := len(hook.calls()); calls > keys*each {
		t.Errorf("%d deliveries for %d records: a stop in good order repeats nothing", calls, keys*each)
	}
}

func TestPermanentFailureBecomesDeadLetterAndStopsNobody(t *testing.T) {
	hook := receive(t)
	topic := unique(t)
	hook.choose = func(c call) int {
		if c.body == `"poison"` {
			return 400
		}
		return 200
	}
	k := start(t, pipeText(topic, topic, hook.URL, ""), t.TempDir())
	for _, v := range []string{`"a"`, `"poison"`, `"b"`} {
		k.produce(topic, "same", v)
	}
	waittest.Until(t, "the others", func() bool { return len(hook.calls()) == 2 })
	var letters []struct {
		Value   string
		Headers []struct{ Name, Value string }
	}
	waittest.Until(t, "the dead letter", func() bool {
		resp, err := http.Get(k.url + "/topics/klamm.dlq." + topic + "/records?offset=earliest")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode == 200 && json.NewDecoder(resp.Body).Decode(&letters) == nil && len(letters) == 1
	})
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Name] = h.Value
	}
	if letters[0].Value != "poison" || headers["klamm.status"] != "400" || headers["klamm.topic"] != topic || headers["klamm.attempts"] != "1" || headers["klamm.reason"] == "" {
		t.Errorf("dead letter %q %v", letters[0].Value, headers)
	}
}

func TestReadyAndHealthyAndUnknownPaths(t *testing.T) {
	k := start(t, "{}", t.TempDir())
	for path, want := range map[string]int{"/healthy": 200, "/ready": 200, "/metrics": 200, "/klamm/v1/nothing": 404, "/no/such": 404, "/topics//x": 404} {
		resp, err := http.Get(k.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d %s, want %d", path, resp.StatusCode, bytes.TrimSpace(body), want)
		}
	}
}
