package klamm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A klammd is a front door with klamm's own API and one running pipe.
type klammd struct {
	t       *testing.T
	url     string
	cluster *kafka.Cluster
	pipe    string // and its topic, and its group
	stop    chan struct{}
	ended   chan string // the route of each request that is over
	gate    *gate.Gate  // where ruled has made one
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
			Ready: cluster.Ready, Gate: g, Pipes: runner, Version: "v1.2.3", Brokers: cluster.Brokers, Stopping: k.stop, History: k.history(),
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
			if o.Responses["200"] == nil && o.Responses["204"] == nil && o.Responses["302"] == nil {
				t.Errorf("%s %s has no good answer", method, path)
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
		{"another parameter", "GET", "/pipes?colour=red", "", 400, `no query parameter \"colour\"`},
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
		{"another method", "PATCH", "/pipes/PIPE", "", 405, "does not have that method"},
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
