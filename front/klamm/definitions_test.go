package klamm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/waittest"
)

// defining starts a klamm whose pipes can be changed, with one of the file's.
func defining(t *testing.T, inFile catalog.Pipe) func(method, path, body string, header ...string) (int, string, map[string]any) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	runner, err := pipe.New(pipe.Config{Cluster: cluster, Kinds: all.Kinds(), Transport: egress.Transport(), Egress: egress, Secret: secret.Local, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: log, Grace: 5 * time.Second}, []catalog.Pipe{inFile})
	if err != nil {
		t.Fatal(err)
	}
	store := catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log})
	decode := func(text []byte) (catalog.Pipe, error) {
		p, problems := config.LoadPipe(text, all.Kinds())
		if len(problems) > 0 {
			return p, fmt.Errorf("%w: %s", catalog.ErrInvalid, problems[0].Text)
		}
		return p, nil
	}
	definitions := catalog.NewDefinitions(catalog.DefinitionsConfig{Store: store, InFile: []catalog.Pipe{inFile}, Suspends: func(error) bool { return false }, Set: runner.Set, Remove: runner.Remove, Log: log,
		Compile: catalog.One(func(_ context.Context, d catalog.Document) (catalog.Pipe, error) {
			p, err := decode(d.Body)
			p.Version = d.Version
			return p, err
		})})
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { store.Run(ctx) })
	parts.Go(func() { definitions.Run(ctx) })
	parts.Go(func() { runner.Run(ctx) })
	dialect := klamm.Dialect(klamm.Config{Ready: cluster.Ready, Gate: gate.New(cluster), Pipes: runner, Log: log, Catalog: klamm.Catalog{Store: store, Definitions: definitions, Decode: decode, Raw: config.Raw}})
	dialect.Prefixes = append(dialect.Prefixes, "/")
	s := httptest.NewServer(front.New(front.Config{Dialects: []front.Dialect{dialect}, Anonymous: true, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log}))
	t.Cleanup(func() { s.Close(); cancel(); parts.Wait() })
	return func(method, path, body string, header ...string) (int, string, map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/klamm/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		var answer map[string]any
		_ = json.Unmarshal(text, &answer)
		return resp.StatusCode, resp.Header.Get("ETag"), answer
	}
}

func TestDefinitionsOverHTTP(t *testing.T) {
	own := fmt.Sprintf("f%d", time.Now().UnixNano())
	ask := defining(t, catalog.Pipe{Name: own, Topics: []string{own}, Target: catalog.Target{Kind: "topic", Config: json.RawMessage(`{"name":"out"}`)}})
	name := fmt.Sprintf("d%d", time.Now().UnixNano())
	yaml := "name: " + name + "\ntopics: [in]\ntarget: {topic: {name: out}}\ndelivery: {timeout: 3s}\n"
	if status, _, answer := ask("POST", "/pipes?dry_run=true", yaml); status != 200 || answer["change"] != "create" {
		t.Fatalf("dry run: %d %v", status, answer)
	}
	status, etag, answer := ask("POST", "/pipes", yaml)
	if status != 201 || etag == "" || answer["origin"] != "catalog" {
		t.Fatalf("create: %d %v", status, answer)
	}
	status, second, answer := ask("PUT", "/pipes/"+name, strings.Replace(yaml, "3s", "4s", 1), "If-Match", etag)
	if status != 200 || answer["before"] == nil {
		t.Fatalf("replace: %d %v", status, answer)
	}
	if status, _, answer := ask("PUT", "/pipes/"+name+"?dry_run=true", strings.Replace(yaml, "3s", "4s", 1)); status != 200 || answer["change"] != "none" {
		t.Fatalf("a dry run of the same: %d %v", status, answer)
	}
	// Who reads what is known of pipes that are carried out.
	waittest.Until(t, "the pipe is carried out", func() bool { status, _, _ := ask("GET", "/pipes/"+name, ""); return status == 200 })
	for _, c := range []struct {
		name, method, path, body, header, value string
		want                                    int
		words                                   string
	}{
		{"made twice", "POST", "/pipes", yaml, "", "", 409, name},
		{"an old version", "PUT", "/pipes/" + name, yaml, "If-Match", etag, 409, "changed"},
		{"no version", "PUT", "/pipes/" + name, yaml, "If-Match", "new", 400, "If-Match"},
		{"another name", "PUT", "/pipes/x", yaml, "", "", 400, "name"},
		{"an unknown key", "POST", "/pipes", strings.Replace(yaml, "topics", "topic", 1), "", "", 400, "topic"},
		{"a loop", "POST", "/pipes", strings.Replace(strings.Replace(yaml, "out", "in", 1), name, name+"x", 1), "", "", 400, "very pipe"},
		{"a file", "POST", "/pipes", strings.Replace(yaml, "{topic: {name: out}}", "{log: {file: /tmp/x}}", 1), "", "", 400, "machines"},
		{"any variable", "POST", "/pipes", strings.Replace(yaml, "{topic: {name: out}}", "{webhook: {url: 'http://h/', auth: {bearer: {env: HOME}}}}", 1), "", "", 400, "KLAMM_SECRET_"},
		{"the same readers", "POST", "/pipes", "group: klamm-pipe-" + name + "\n" + strings.Replace(yaml, name, name+"y", 1), "", "", 409, "only one"},
		{"one of the file", "PUT", "/pipes/" + own, strings.Replace(yaml, name, own, 1), "", "", 409, "configuration file"},
		{"to delete one of the file", "DELETE", "/pipes/" + own, "", "", "", 409, "configuration file"},
		{"to delete an old version", "DELETE", "/pipes/" + name, "", "If-Match", etag, 409, "changed"},
		{"to delete what is not there", "DELETE", "/pipes/none", "", "", "", 404, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header, c.value}
			}
			status, _, answer := ask(c.method, c.path, c.body, header...)
			if status != c.want || !strings.Contains(fmt.Sprint(answer["detail"]), c.words) {
				t.Errorf("%d %v, want %d and something about %q", status, answer, c.want, c.words)
			}
		})
	}
	_, _, answer = ask("GET", "/definitions", "")
	origins := map[any]any{}
	for _, d := range answer["definitions"].([]any) {
		one := d.(map[string]any)
		origins[one["pipe"]] = one["origin"]
	}
	if origins[own] != "file" || origins[name] != "catalog" {
		t.Errorf("origins %v", origins)
	}
	_, _, answer = ask("GET", "/definitions?recent=1", "")
	if d := answer["definitions"].([]any); len(d) != 1 || answer["more"] == nil || d[0].(map[string]any)["definition"] != nil || d[0].(map[string]any)["before"] != nil || d[0].(map[string]any)["changed"] == nil {
		t.Errorf("what was changed last: %v", answer)
	}
	if status, _, answer := ask("GET", "/definitions?recent=0", ""); status != 400 || !strings.Contains(fmt.Sprint(answer["detail"]), "recent") {
		t.Errorf("recent=0: %d %v", status, answer)
	}
	if status, etag, answer := ask("GET", "/pipes/"+name+"/definition", ""); status != 200 || etag != second || answer["version"] == nil {
		t.Errorf("definition: %d %s %v", status, etag, answer)
	}
	if status, _, answer := ask("DELETE", "/pipes/"+name, "", "If-Match", second); status != 200 || answer["deleted"] != true {
		t.Errorf("delete: %d %v", status, answer)
	}
	waittest.Until(t, "the pipe is gone", func() bool { status, _, _ := ask("GET", "/pipes/"+name, ""); return status == 404 })
}
