package klamm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A receiver is a target that answers as a test says.
type receiver struct {
	mu     sync.Mutex
	values []string     // accepted
	calls  atomic.Int64 // attempts
	answer func(value string) error
}

func (r *receiver) Deliver(_ context.Context, events []*event.Event) error {
	r.calls.Add(1)
	value := string(events[0].Record.Value)
	if r.answer != nil {
		if err := r.answer(value); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values = append(r.values, value)
	return nil
}

func (r *receiver) Close() error { return nil }

func (r *receiver) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.values)
}

// refuse is an answer that is final.
func refuse(status int) error {
	return &target.Failure{Status: status, Response: []byte("no"), Final: true, Err: fmt.Errorf("HTTP status %d", status)}
}

type receiverConfig struct{}

func (*receiverConfig) Validate(func(path, problem string)) {}

// A klammd is a front door with klamm's own API and one running pipe.
type klammd struct {
	t       *testing.T
	url     string
	cluster *kafka.Cluster
	pipe    string // and its topic, and its group
	stop    chan struct{}
	ended   chan string // the route of each request that is over
}

func start(t *testing.T, to *receiver, policies ...gate.Policy) *klammd {
	t.Helper()
	brokers := brokertest.Brokers(t)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	name := fmt.Sprintf("%.30s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
	if err := cluster.EnsureTopic(t.Context(), name, 1, nil); err != nil {
		t.Fatal(err)
	}
	runner := run(t, cluster, to, catalog.Pipe{
		Name: name, Topics: []string{name}, Group: name, Start: "earliest", Target: catalog.Target{Kind: "receiver"},
		Delivery: catalog.Delivery{Log: "all", Backoff: catalog.Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond}},
	})
	k := &klammd{t: t, cluster: cluster, pipe: name, stop: make(chan struct{}), ended: make(chan string, 10_000)}
	k.url = fronttest.Start(t, fronttest.Setup{Brokers: brokers, Policies: policies, Dialects: func(g *gate.Gate) []front.Dialect {
		d := klamm.Dialect(klamm.Config{
			Ready: cluster.Ready, Gate: g, Pipes: runner, Version: "v1.2.3", Brokers: cluster.Brokers, Stopping: k.stop,
		})
		for i, route := range d.Routes {
			d.Routes[i].Serve = func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
				defer func() { k.ended <- route.Name }()
				return route.Serve(w, r, who)
			}
		}
		return []front.Dialect{d}
	}}).URL
	return k
}

// run runs pipes until the test ends.
func run(t *testing.T, cluster *kafka.Cluster, to *receiver, pipes ...catalog.Pipe) *pipe.Runner {
	t.Helper()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	runner, err := pipe.New(pipe.Config{
		Cluster: cluster, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()),
		Log: slog.New(slog.DiscardHandler), Grace: 3 * time.Second,
		Kinds: []target.Kind{{
			Name: "receiver", Config: func() target.Config { return &receiverConfig{} },
			Open: func(json.RawMessage, target.Env) (target.Target, error) { return to, nil },
		}},
	}, pipes)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); runner.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return runner
}

func (k *klammd) produce(values ...string) {
	k.t.Helper()
	for _, v := range values {
		if err := k.cluster.Produce(k.t.Context(), &kgo.Record{Topic: k.pipe, Partition: 0, Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
			k.t.Fatal(err)
		}
	}
}

// ask sends a request and returns status, media type and body. PIPE in the path
// stands for the pipe's name.
func (k *klammd) ask(method, path, body string) (int, string, string) {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), method, k.url+"/klamm/v1"+strings.ReplaceAll(path, "PIPE", k.pipe), strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatalf("%s %s: %s %v", method, path, text, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), strings.TrimSpace(string(text))
}

// want asks for a document and decodes it; v may be nil.
func (k *klammd) want(v any, method, path, body string) string {
	k.t.Helper()
	status, media, text := k.ask(method, path, body)
	if status != http.StatusOK {
		k.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(text), v); err != nil || media != "application/json" {
			k.t.Fatalf("%s %s: %s %s: %v", method, path, media, text, err)
		}
	}
	return text
}

func (k *klammd) letters() (ids []string) {
	k.t.Helper()
	var list struct {
		Letters []pipe.Letter `json:"dead_letters"`
	}
	k.want(&list, "GET", "/pipes/PIPE/dead-letters", "")
	for _, l := range list.Letters {
		ids = append(ids, l.ID)
	}
	return ids
}

// last decodes the last of several lines.
func last(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestConform(t *testing.T) {
	to := &receiver{}
	var runner *pipe.Runner
	fronttest.Conform(t, fronttest.Subject{
		Dialects: func(g *gate.Gate) []front.Dialect {
			if runner == nil {
				cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cluster.Close)
				runner = run(t, cluster, to)
			}
			return []front.Dialect{klamm.Dialect(klamm.Config{Gate: g, Pipes: runner})}
		},
		Unknown: "/klamm/v1/nothing",
		Upload:  "POST /klamm/v1/pipes/%.40s/pause",
		Head:    `{"reason":"`,
		Failure: func(status int, header http.Header, body []byte) error {
			var p struct {
				Status        int
				Title, Detail string
			}
			if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Title == "" || p.Detail == "" || header.Get("Content-Type") != "application/problem+json" {
				return fmt.Errorf("%+v, %v", p, err)
			}
			return nil
		},
	})
}

// TestOpenAPIDescribesTheRoutes compares the document with the routes.
func TestOpenAPIDescribesTheRoutes(t *testing.T) {
	k := start(t, &receiver{})
	text := []byte(k.want(nil, "GET", "/openapi.json", ""))
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct {
				Ref string `json:"$ref"`
			}
			Responses map[string]any
		}
		Components map[string]map[string]struct{ Name, In string }
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%q: %v", doc.OpenAPI, err)
	}
	described := map[string]string{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			described[strings.ToUpper(method)+" "+path] = o.OperationID
			if o.Responses["200"] == nil {
				t.Errorf("%s %s has no answer 200", method, path)
			}
			var named []string
			for _, p := range o.Parameters {
				if p := doc.Components["parameters"][p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]]; p.In == "path" {
					named = append(named, "{"+p.Name+"}")
				}
			}
			if diff := cmp.Diff(regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1), named); diff != "" {
				t.Errorf("%s %s: parameters (-path +document):\n%s", method, path, diff)
			}
		}
	}
	served := map[string]string{}
	for _, r := range klamm.Dialect(klamm.Config{}).Routes {
		served[r.Pattern] = r.Name
	}
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("routes and document (-routes +document):\n%s", diff)
	}
	for _, ref := range regexp.MustCompile(`"#/components/(\w+)/(\w+)"`).FindAllSubmatch(text, -1) {
		if _, ok := doc.Components[string(ref[1])][string(ref[2])]; !ok {
			t.Errorf("%s is not there", ref[0])
		}
	}
}

func TestStatus(t *testing.T) {
	k := start(t, &receiver{})
	var s map[string]any
	k.want(&s, "GET", "/status", "")
	if s["ready"] != true || s["version"] != "v1.2.3" || len(s["brokers"].([]any)) == 0 || len(s["problems"].([]any)) != 0 {
		t.Error(s)
	}
}

func TestPauseSeekResume(t *testing.T) {
	to := &receiver{}
	k := start(t, to)
	k.produce("1", "2", "3")
	var s pipe.Status
	eventually(t, "committed", func() bool { k.want(&s, "GET", "/pipes/PIPE", ""); return s.Lag == 0 && to.accepted() == 3 })
	if s.State != pipe.Running || s.Members != 1 || len(s.Partitions) != 1 || s.Partitions[0].Committed != 3 {
		t.Errorf("%+v", s)
	}
	var list struct{ Pipes []pipe.Status }
	if k.want(&list, "GET", "/pipes", ""); len(list.Pipes) != 1 || list.Pipes[0].Pipe != k.pipe {
		t.Errorf("%+v", list)
	}
	if status, _, text := k.ask("POST", "/pipes/PIPE/seek", `{"to":"earliest"}`); status != http.StatusConflict || !strings.Contains(text, "pause it first") {
		t.Errorf("a seek under a running pipe: %d %s", status, text)
	}
	var moved struct{ Moves []pipe.Move }
	want := []pipe.Move{{Topic: k.pipe, From: 3, To: 1, Records: 2}}
	seek := fmt.Sprintf(`{"to":"%s/0=1","dry_run":%%v}`, k.pipe)
	k.want(&moved, "POST", "/pipes/PIPE/seek", fmt.Sprintf(seek, true))
	if diff := cmp.Diff(want, moved.Moves); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	if k.want(&s, "POST", "/pipes/PIPE/pause", `{"reason":" maintenance "}`); s.State != pipe.Paused || s.Reason != "maintenance" {
		t.Errorf("%+v", s)
	}
	k.want(&moved, "POST", "/pipes/PIPE/seek", fmt.Sprintf(seek, false))
	if diff := cmp.Diff(want, moved.Moves); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if to.accepted() != 3 {
		t.Errorf("%d deliveries while paused", to.accepted()-3)
	}
	if k.want(&s, "POST", "/pipes/PIPE/resume", ""); s.State != pipe.Running {
		t.Errorf("%+v", s)
	}
	eventually(t, "the rest again", func() bool { return to.accepted() == 5 })
}

func TestDeadLetters(t *testing.T) {
	var well atomic.Bool
	to := &receiver{answer: func(string) error {
		if well.Load() {
			return nil
		}
		return refuse(422)
	}}
	k := start(t, to)
	k.produce("1", "2", "3", "4")
	eventually(t, "four letters", func() bool { return len(k.letters()) == 4 })
	var page struct {
		Letters []pipe.Letter `json:"dead_letters"`
		More    bool
	}
	k.want(&page, "GET", "/pipes/PIPE/dead-letters?limit=3", "")
	if len(page.Letters) != 3 || !page.More || page.Letters[1].Offset != 1 || page.Letters[1].Status != 422 {
		t.Errorf("%+v", page)
	}
	k.want(&page, "GET", "/pipes/PIPE/dead-letters?limit=4", "")
	if len(page.Letters) != 4 || page.More {
		t.Errorf("%+v", page)
	}
	var discarded struct{ Discarded int }
	k.want(&discarded, "POST", "/pipes/PIPE/dead-letters/discard", fmt.Sprintf(`{"letters":[%q]}`, page.Letters[3].ID))
	if discarded.Discarded != 1 {
		t.Errorf("%+v", discarded)
	}
	well.Store(true)
	var end struct {
		Finished bool
		pipe.Progress
	}
	status, media, text := k.ask("POST", "/pipes/PIPE/dead-letters/redrive", fmt.Sprintf(`{"letters":[%q]}`, page.Letters[0].ID))
	if last(t, text, &end); status != http.StatusOK || media != "application/x-ndjson" || !end.Finished || end.Delivered != 1 {
		t.Errorf("%d %s %s", status, media, text)
	}
	_, _, text = k.ask("POST", "/pipes/PIPE/dead-letters/redrive", "")
	if last(t, text, &end); !end.Finished || end.Delivered != 2 || end.DeadLettered != 0 {
		t.Error(text)
	}
	if left := k.letters(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	k.want(&discarded, "POST", "/pipes/PIPE/dead-letters/discard", `{"all":true}`)
	if discarded.Discarded != 0 {
		t.Errorf("%+v", discarded)
	}
}

func TestDeliveries(t *testing.T) {
	to := &receiver{}
	var first atomic.Bool
	to.answer = func(value string) error {
		if value == "two" && first.CompareAndSwap(false, true) {
			return &target.Failure{Status: 503, Response: []byte("later"), Err: errors.New("HTTP status 503")}
		}
		return nil
	}
	k := start(t, to)
	k.produce("zero")
	var list struct{ Deliveries []pipe.Delivery }
	logged := func(n int) func() bool {
		return func() bool {
			k.want(&list, "GET", "/deliveries?pipe=PIPE&since=-1h&limit=10", "")
			return len(list.Deliveries) == n && list.Deliveries[0].Outcome == "delivered"
		}
	}
	eventually(t, "the log", logged(1))
	lines, events := k.tail("?pipe="+k.pipe, ""), k.tail("", "text/event-stream")
	k.produce("one", "two")
	eventually(t, "all of the log", logged(3))
	two := list.Deliveries[0]
	if two.Offset != 2 || two.Attempts != 2 {
		t.Errorf("%+v", two)
	}
	if k.want(&list, "GET", "/deliveries?pipe=PIPE&since=2999-01-01T00:00:00Z", ""); len(list.Deliveries) != 0 {
		t.Errorf("%+v", list)
	}
	var one struct {
		ID       string `json:"delivery_id"`
		Attempts []pipe.Attempt
	}
	k.want(&one, "GET", "/deliveries/"+strings.ReplaceAll(two.ID, ":", "%3A"), "")
	if one.ID != two.ID || len(one.Attempts) != 2 || one.Attempts[0].Status != 503 || one.Attempts[0].Response != "later" {
		t.Errorf("%+v", one)
	}
	var p pipe.Progress
	if k.want(&p, "POST", "/deliveries/"+two.ID+"/retry", ""); p.Delivered != 1 || to.accepted() != 4 {
		t.Errorf("%+v, %d accepted", p, to.accepted())
	}
	// The entries of different deliveries may come in another order.
	want := []string{"1#1 delivered", "2#1 delivered", "2#1 failed", "2#2 delivered"}
	if got := attemptsOf(t, k.pipe, lines); !cmp.Equal(got, want) {
		t.Errorf("lines: %q", got)
	}
	if got := attemptsOf(t, k.pipe, events); !cmp.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
}

// attemptsOf reads the next four attempts of a pipe in a tail, which may have
// those of other tests too.
func attemptsOf(t *testing.T, name string, next func() string) (got []string) {
	t.Helper()
	for len(got) < 4 {
		text := strings.TrimPrefix(next(), "data: ")
		if !strings.HasPrefix(text, "{") {
			continue // an event's name, or what separates events
		}
		var l struct {
			Pipe    string
			Offset  int64
			Outcome string
			Attempt pipe.Attempt
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if l.Pipe != name {
			continue
		}
		got = append(got, fmt.Sprintf("%d#%d %s", l.Offset, l.Attempt.Number, l.Outcome))
	}
	slices.Sort(got)
	return got
}

// tail begins to follow the delivery log; the answer gives the next line.
func (k *klammd) tail(query, accept string) func() string {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), "GET", k.url+"/klamm/v1/deliveries/tail"+query, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		k.t.Fatal(resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		k.t.Helper()
		if !lines.Scan() {
			k.t.Fatalf("the stream ends: %v", lines.Err())
		}
		return lines.Text()
	}
}

func TestReplay(t *testing.T) {
	to := &receiver{}
	k := start(t, to)
	from := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	k.produce(`{"n":1}`, `{"n":2}`, `{"n":3}`)
	eventually(t, "delivered", func() bool { return to.accepted() == 3 })
	ask := fmt.Sprintf(`{"from":%q,"to":%q,"where":{"value":{"n":[{"numeric":["<",3]}]}},"rate":1000,"dry_run":%%v}`, from, until)
	if _, _, text := k.ask("POST", "/pipes/PIPE/replay", fmt.Sprintf(ask, true)); text != `{"records":2}` || to.accepted() != 3 {
		t.Errorf("dry run: %s", text)
	}
	var end struct {
		Finished bool
		pipe.Progress
	}
	_, _, text := k.ask("POST", "/pipes/PIPE/replay", fmt.Sprintf(ask, false))
	if last(t, text, &end); !end.Finished || end.Records != 2 || end.Delivered != 2 || end.Total != 3 || to.accepted() != 5 {
		t.Errorf("%s, %d accepted", text, to.accepted())
	}
}

func TestWrongCalls(t *testing.T) {
	k := start(t, &receiver{})
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"a pipe that is not there", "GET", "/pipes/nobody", "", 404, `no such pipe: \"nobody\"`},
		{"its letters", "GET", "/pipes/nobody/dead-letters", "", 404, "no such pipe"},
		{"its redrive", "POST", "/pipes/nobody/dead-letters/redrive", "", 404, "no such pipe"},
		{"its deliveries", "GET", "/deliveries?pipe=nobody", "", 404, "no such pipe"},
		{"its tail", "GET", "/deliveries/tail?pipe=nobody", "", 404, "no such pipe"},
		{"its pause", "POST", "/pipes/nobody/pause", "{}", 404, "no such pipe"},
		{"a delivery that is not there", "GET", "/deliveries/PIPE:PIPE:0:5:x", "", 404, "no such delivery"},
		{"a retry of it", "POST", "/deliveries/PIPE:PIPE:0:5:x/retry", "", 404, "no such delivery"},
		{"a retry of no id", "POST", "/deliveries/x/retry", "", 400, "not a delivery id"},
		{"deliveries of no pipe", "GET", "/deliveries", "", 400, "?pipe="},
		{"a limit of nothing", "GET", "/pipes/PIPE/dead-letters?limit=0", "", 400, "from 1 to 10000"},
		{"a limit too high", "GET", "/deliveries?pipe=PIPE&limit=10001", "", 400, "from 1 to 10000"},
		{"two limits", "GET", "/deliveries?pipe=PIPE&limit=1&limit=2", "", 400, "2 times"},
		{"another parameter", "GET", "/pipes?state=paused", "", 400, `no query parameter \"state\"`},
		{"no time", "GET", "/deliveries?pipe=PIPE&since=yesterday", "", 400, "-15m"},
		{"an unknown member", "POST", "/pipes/PIPE/pause", `{"why":"x"}`, 400, "why"},
		{"a reason too long", "POST", "/pipes/PIPE/pause", `{"reason":"` + long + `"}`, 400, "1024"},
		{"a seek to nowhere", "POST", "/pipes/PIPE/seek", `{"to":"nowhere"}`, 400, `"\"nowhere\" is not where`},
		{"a seek without to", "POST", "/pipes/PIPE/seek", ``, 400, "is not where"},
		{"no letters", "POST", "/pipes/PIPE/dead-letters/redrive", `{"letters":[]}`, 400, "leave it out"},
		{"no letter's id", "POST", "/pipes/PIPE/dead-letters/redrive", `{"letters":["x"]}`, 400, "not the id of a dead letter"},
		{"a discard of nothing", "POST", "/pipes/PIPE/dead-letters/discard", ``, 400, "either letters"},
		{"a discard of both", "POST", "/pipes/PIPE/dead-letters/discard", `{"letters":["0-1"],"all":true}`, 400, "either letters"},
		{"a discard of an empty list", "POST", "/pipes/PIPE/dead-letters/discard", `{"letters":[],"all":true}`, 400, "empty list"},
		{"a replay without times", "POST", "/pipes/PIPE/replay", `{}`, 400, `from`},
		{"a replay back in time", "POST", "/pipes/PIPE/replay", `{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}`, 400, `from must be before to`},
		{"a replay by no pattern", "POST", "/pipes/PIPE/replay", `{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","where":{"value":[]}}`, 400, `where`},
		{"a rate below zero", "POST", "/pipes/PIPE/replay", `{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","rate":-1}`, 400, `rate`},
		{"a body beyond all bounds", "POST", "/pipes/PIPE/pause", `{"reason":"` + strings.Repeat(long, 600) + `"}`, 413, "at most 1048576 bytes"},
		{"another method", "DELETE", "/pipes/PIPE", "", 405, "does not have that method"},
		{"another path", "GET", "/pipe", "", 404, "openapi.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, media, text := k.ask(c.method, c.path, strings.ReplaceAll(c.body, "PIPE", k.pipe))
			if status != c.status || media != "application/problem+json" || !strings.Contains(text, c.want) {
				t.Errorf("%d %s %s, want %d and %s", status, media, text, c.status, c.want)
			}
		})
	}
}

func TestWithoutPipes(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{klamm.Dialect(klamm.Config{Gate: g})}
	}})
	k := &klammd{t: t, url: s.URL, pipe: "p"}
	if text := k.want(nil, "GET", "/pipes", ""); text != `{"pipes":[]}` {
		t.Error(text)
	}
	for _, path := range []string{"GET /pipes/p", "POST /pipes/p/pause", "POST /pipes/p/resume", "POST /pipes/p/seek", "POST /pipes/p/replay", "GET /pipes/p/dead-letters",
		"POST /pipes/p/dead-letters/redrive", "POST /pipes/p/dead-letters/discard", "GET /deliveries?pipe=p", "GET /deliveries/tail?pipe=p", "GET /deliveries/p:t:0:0:x", "POST /deliveries/p:t:0:0:x/retry"} {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusNotFound {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
}

func TestBrokersThatAreGoneAreNamedAtOnce(t *testing.T) {
	brokers := []string{"127.0.0.1:1"}
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	runner := run(t, cluster, &receiver{}, catalog.Pipe{Name: "p", Topics: []string{"t"}, Target: catalog.Target{Kind: "receiver"}})
	s := fronttest.Start(t, fronttest.Setup{Brokers: brokers, Dialects: func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{klamm.Dialect(klamm.Config{Ready: cluster.Ready, Gate: g, Pipes: runner, Brokers: cluster.Brokers})}
	}})
	k := &klammd{t: t, url: s.URL, pipe: "p"}
	for _, path := range []string{"GET /pipes", "GET /pipes/p", "POST /pipes/p/pause", "POST /pipes/p/resume", "GET /pipes/p/dead-letters", "GET /deliveries?pipe=p", "GET /deliveries/tail"} {
		method, path, _ := strings.Cut(path, " ")
		before := time.Now()
		status, media, text := k.ask(method, path, "")
		if status != http.StatusServiceUnavailable || media != "application/problem+json" || !strings.Contains(text, "127.0.0.1:1") || time.Since(before) > 4*time.Second {
			t.Errorf("%s %s: %d %s after %s", method, path, status, text, time.Since(before))
		}
	}
	var status map[string]any
	if k.want(&status, "GET", "/status", ""); status["ready"] != false || len(status["problems"].([]any)) == 0 {
		t.Error(status)
	}
}

// A guard lets nobody act, and nobody look at anything but one pipe.
type guard struct{ seen atomic.Value }

func (g *guard) Check(_ context.Context, c *gate.Call) error {
	if one, _ := g.seen.Load().(string); c.Action == gate.AdminRead && (c.Resource == gate.Resource{Kind: "pipe", Name: one}) {
		return nil
	}
	return &gate.Error{Kind: gate.Denied, Message: "not you"}
}

func TestEveryOperationAsksTheGate(t *testing.T) {
	g := &guard{}
	k := start(t, &receiver{}, g)
	id := k.pipe + ":" + k.pipe + ":0:0:x"
	if text := k.want(nil, "GET", "/pipes", ""); text != `{"pipes":[]}` {
		t.Error(text)
	}
	reads := []string{"GET /pipes/PIPE", "GET /pipes/PIPE/dead-letters", "GET /deliveries?pipe=PIPE", "GET /deliveries/tail?pipe=PIPE", "GET /deliveries/" + id}
	writes := []string{"POST /pipes/PIPE/pause", "POST /pipes/PIPE/resume", "POST /pipes/PIPE/seek", "POST /pipes/PIPE/replay", "POST /pipes/PIPE/dead-letters/redrive",
		"POST /pipes/PIPE/dead-letters/discard", "POST /deliveries/" + id + "/retry", "GET /status"}
	for _, path := range append(reads, writes...) {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusForbidden || !strings.Contains(text, "not you") {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
	g.seen.Store(k.pipe)
	var list struct{ Pipes []pipe.Status }
	if k.want(&list, "GET", "/pipes", ""); len(list.Pipes) != 1 {
		t.Errorf("%+v", list)
	}
	k.want(nil, "GET", "/pipes/PIPE", "")
	for _, path := range writes {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusForbidden {
			t.Errorf("%s %s by one who may look: %d %s", method, path, status, text)
		}
	}
}

// stuck starts a redrive that cannot end, because the target is never well, and
// returns when the answer has begun.
func stuck(t *testing.T) (*klammd, *receiver, *http.Response, context.CancelFunc) {
	t.Helper()
	var later atomic.Bool
	to := &receiver{answer: func(string) error {
		if later.Load() {
			return &target.Failure{Status: 503, Err: errors.New("HTTP status 503")}
		}
		return refuse(422)
	}}
	k := start(t, to)
	k.produce("1")
	eventually(t, "a letter", func() bool { return len(k.letters()) == 1 })
	later.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "POST", k.url+"/klamm/v1/pipes/"+k.pipe+"/dead-letters/redrive", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return k, to, resp, cancel
}

func TestStreamsEndWhenKlammStops(t *testing.T) {
	k, _, resp, _ := stuck(t) //nolint:bodyclose // stuck closes it
	lines := k.tail("", "")
	close(k.stop)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var end struct{ Error string }
	if last(t, strings.TrimSpace(string(text)), &end); !strings.Contains(end.Error, "stopping") {
		t.Errorf("%s", text)
	}
	for !strings.Contains(lines(), "stopping") {
	}
	if len(k.letters()) != 1 {
		t.Error("a letter is lost that was not delivered")
	}
}

func TestAClientThatGoesAwayCancels(t *testing.T) {
	k, to, _, cancel := stuck(t) //nolint:bodyclose // stuck closes it
	before := to.calls.Load()
	eventually(t, "attempts", func() bool { return to.calls.Load() > before })
	cancel()
	for end := time.After(20 * time.Second); ; {
		select {
		case name := <-k.ended:
			if name != "letters.redrive" {
				continue
			}
		case <-end:
			t.Fatal("the redrive goes on")
		}
		break
	}
	if len(k.letters()) != 1 {
		t.Error("a letter is lost that was not delivered")
	}
}
