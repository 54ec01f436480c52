package confluent2

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A proxy is the dialect on a real listener and real brokers.
type proxy struct {
	url     string
	cluster *kafka.Cluster
	gate    *gate.Gate
	server  *fronttest.Server
}

// startProxy starts the dialect with consumer instances.
func startProxy(t testing.TB, cfg Config, consumers consumerConfig) proxy {
	t.Helper()
	p := proxy{}
	s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect {
		p.gate = g
		return []front.Dialect{withConsumers(g, cfg, consumers)}
	}})
	t.Cleanup(func() {
		if err := p.gate.CloseConsumers(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	p.url, p.cluster, p.server = s.URL, s.Cluster, s
	return p
}

// withConsumers is the dialect with instances of another configuration than the
// file can give them.
func withConsumers(g *gate.Gate, cfg Config, consumers consumerConfig) front.Dialect {
	d := Dialect(g, cfg)
	d.Routes = slices.DeleteFunc(d.Routes, func(r front.Route) bool { return strings.HasPrefix(r.Name, "consumers.") })
	d.Routes = append(d.Routes, consumerRoutes(newAPI(g, cfg), consumers)...)
	return d
}

func TestConsumerTranscripts(t *testing.T) {
	t.Parallel()
	startProxy(t, Config{}, consumerConfig{}).server.Transcripts(t, "testdata/consumers", changing...)
}

// topic creates a topic of its own for a test.
func (p proxy) topic(t testing.TB, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
	p.server.Topic(t, name, partitions)
	return name
}

func (p proxy) put(t testing.TB, topic string, partition int32, values ...string) {
	t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}
	}
	if err := p.cluster.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// numbers are JSON values from a up to, but not including, b.
func numbers(a, b int) (values []string) {
	for ; a < b; a++ {
		values = append(values, fmt.Sprint(a))
	}
	return values
}

// A reply is an answer.
type reply struct {
	status int
	body   string
	header http.Header
}

func (p proxy) call(t testing.TB, method, path, accept, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", mediaV2)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, string(got), resp.Header}
}

// An instance is a consumer instance as a client sees it.
type instance struct {
	proxy
	t      testing.TB
	path   string
	accept string
}

// create makes an instance that begins at the oldest record, commits nothing by
// itself, and has further fields as JSON members.
func (p proxy) create(t testing.TB, group, format string, more ...string) instance {
	t.Helper()
	body := fmt.Sprintf(`{"format":%q,"auto.offset.reset":"earliest","auto.commit.enable":"false","consumer.request.timeout.ms":60000%s}`, format, strings.Join(append([]string{""}, more...), ","))
	r := p.call(t, "POST", "/consumers/"+group, "", body)
	var made struct {
		ID  string `json:"instance_id"`
		URI string `json:"base_uri"`
	}
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || r.status != 200 || !strings.HasPrefix(made.URI, p.url+"/") {
		t.Fatalf("create: %d %s", r.status, r.body)
	}
	return instance{p, t, strings.TrimPrefix(made.URI, p.url), "application/vnd.kafka." + format + ".v2+json"}
}

func (i instance) do(method, what, body string) reply {
	i.t.Helper()
	return i.call(i.t, method, i.path+what, "", body)
}

// must is do for what has to have that answer.
func (i instance) must(want int, method, what, body string) string {
	i.t.Helper()
	r := i.do(method, what, body)
	if r.status != want {
		i.t.Fatalf("%s %s: got %d %s, want %d", method, what, r.status, r.body, want)
	}
	return r.body
}

// fails checks status, code and part of the message of an error.
func (i instance) fails(method, what, body string, status, code int, text string) {
	i.t.Helper()
	refused(i.t, method+" "+what, i.do(method, what, body), status, code, text)
}

func refused(t testing.TB, name string, r reply, status, code int, text string) {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != status || e["error_code"] != float64(code) || len(e) != 2 || !strings.Contains(fmt.Sprint(e["message"]), text) {
		t.Errorf("%s: got %d %s, want %d with code %d and %q", name, r.status, r.body, status, code, text)
	}
}

func (i instance) subscribe(topics ...string) {
	i.t.Helper()
	b, _ := json.Marshal(map[string]any{"topics": topics})
	i.must(204, "POST", "/subscription", string(b))
}

// partitions is a body that names partitions of a topic.
func partitions(topic string, numbers ...int) string {
	list := []map[string]any{}
	for _, n := range numbers {
		list = append(list, map[string]any{"topic": topic, "partition": n})
	}
	b, _ := json.Marshal(map[string]any{"partitions": list})
	return string(b)
}

// A got is a record of an answer.
type got struct {
	Topic     string
	Key       json.RawMessage
	Value     json.RawMessage
	Partition int32
	Offset    int64
	Code      int `json:"error_code"`
	Error     string
	Timestamp int64
	Headers   []map[string]any
}

func (i instance) read(query string) []got {
	i.t.Helper()
	r := i.call(i.t, "GET", i.path+"/records"+query, i.accept, "")
	var records []got
	if err := json.Unmarshal([]byte(r.body), &records); err != nil || r.status != 200 || r.header.Get("Content-Type") != i.accept {
		i.t.Fatalf("read: %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	return records
}

// values reads until it has n values or two minutes have passed.
func (i instance) values(n int, query string) (values []string) {
	i.t.Helper()
	for end := time.Now().Add(2 * time.Minute); len(values) < n; {
		if time.Now().After(end) {
			i.t.Fatalf("got %v, want %d values", values, n)
		}
		for _, r := range i.read(query) {
			values = append(values, string(r.Value))
		}
	}
	return values
}

func (p proxy) committed(t testing.TB, group, topic string) map[int32]int64 {
	t.Helper()
	offsets, err := p.cluster.Admin().FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	at := map[int32]int64{}
	for n, o := range offsets[topic] {
		at[n] = o.At
	}
	return at
}

func TestLifeOfAnInstance(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	r := p.call(t, "POST", "/consumers/g", "", `{"name":"one","format":"JSON","auto.commit.enable":false,"fetch.min.bytes":"1"}`)
	if want := `{"instance_id":"one","base_uri":"` + p.url + `/consumers/g/instances/one"}`; r.status != 200 || r.body != want || r.header.Get("Klamm-Lease") != "300" || r.header.Get("Content-Type") != mediaV2 {
		t.Errorf("create: got %d %s %v, want %s", r.status, r.body, r.header, want)
	}
	for _, c := range []struct {
		name, body   string
		status, code int
		text         string
	}{
		{"taken name", `{"name":"one"}`, 409, 40902, "already exists"},
		{"id wins over name", `{"name":"two","id":"one"}`, 409, 40902, "already exists"},
		{"taken name and bad reset", `{"name":"one","auto.offset.reset":"middle"}`, 409, 40902, "already exists"},
		{"format", `{"format":"csv"}`, 422, 422, "Invalid format type."},
		{"reset", `{"auto.offset.reset":"middle"}`, 422, 42204, "auto.offset.reset"},
		{"timeout", `{"consumer.request.timeout.ms":-1}`, 422, 42204, "timeout"},
		{"isolation", `{"isolation.level":"none"}`, 422, 42204, "isolation.level"},
		{"minimum", `{"fetch.min.bytes":-2}`, 422, 40001, "fetch.min.bytes"},
		{"minimum too high", `{"fetch.min.bytes":10000001}`, 422, 40001, "fetch.min.bytes"},
		{"minimum that is no number", `{"fetch.min.bytes":"x"}`, 400, 400, "Cannot deserialize value of type"},
		{"switch that is none", `{"auto.commit.enable":"maybe"}`, 422, 42204, "enable.auto.commit"},
		{"switch of another type", `{"auto.commit.enable":1}`, 400, 400, "Cannot deserialize value of type"},
		{"unknown field", `{"colour":1}`, 422, 422, "Unrecognized field: colour"},
		{"no JSON", `{`, 400, 400, ""},
		{"an array", `[]`, 400, 400, "Cannot deserialize value of type"},
		{"more than JSON", `{} x`, 400, 400, ""},
		{"a long name", `{"name":"` + strings.Repeat("n", 250) + `"}`, 422, 422, "249"},
	} {
		refused(t, c.name, p.call(t, "POST", "/consumers/g", "", c.body), c.status, c.code, c.text)
	}
	r = p.call(t, "POST", "/consumers/g", "", "")
	if r.status != 200 || !strings.Contains(r.body, `{"instance_id":"rest-consumer-`) {
		t.Errorf("without a body: %d %s", r.status, r.body)
	}
	refused(t, "another group", p.call(t, "DELETE", "/consumers/h/instances/one", "", ""), 404, 40403, "Consumer instance not found.")
	if r := p.call(t, "DELETE", "/consumers/g/instances/one/", "", ""); r.status != 204 || r.body != "" {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	one := instance{p, t, "/consumers/g/instances/one", mediaV2}
	for _, c := range []struct{ method, what string }{{"DELETE", ""}, {"GET", "/records"}, {"POST", "/offsets"}, {"GET", "/offsets"}, {"GET", "/subscription"}, {"GET", "/assignments"}, {"POST", "/positions"}} {
		one.fails(c.method, c.what, "", 404, 40403, "Consumer instance not found.")
	}
	if r := one.call(t, "GET", one.path+"/records", "", ""); r.header.Get("Content-Type") != mediaBinary {
		t.Errorf("error of a read without Accept: %s", r.header.Get("Content-Type"))
	}
	r = p.call(t, "POST", "/consumers/my%20group%2Fx", "", `{"name":"a b"}`)
	if want := `{"instance_id":"a b","base_uri":"` + p.url + `/consumers/my%20group%2Fx/instances/a%20b"}`; r.body != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
	if r := p.call(t, "DELETE", "/consumers/my%20group%2Fx/instances/a%20b", "", ""); r.status != 204 {
		t.Errorf("delete by its URL: %d %s", r.status, r.body)
	}
}

func TestConsumerMediaTypes(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		p := startProxy(t, Config{StrictMediaTypes: strict}, consumerConfig{})
		for _, c := range []struct {
			name, accept, content, want string
			status                      int
		}{
			{"none", "", mediaV2, mediaV2, 200},
			{"any", "*/*", mediaBinary, mediaV2, 200},
			{"embedded", mediaJSON, mediaProtobuf, mediaJSON, 200},
			{"weighted", "text/plain, application/vnd.kafka.avro.v2+json; q=0.9, application/json; q=0.5", mediaV2 + "; charset=utf-8", mediaAvro, 200},
			{"unacceptable", "text/plain", mediaV2, "", 406},
			{"unsupported", "", "text/plain", mediaPlain, 415},
			{"plain JSON", mediaPlain, mediaPlain, map[bool]string{false: mediaPlain}[strict], map[bool]int{false: 200, true: 406}[strict]},
			{"no type", "", "", map[bool]string{false: mediaV2, true: mediaPlain}[strict], map[bool]int{false: 200, true: 415}[strict]},
		} {
			req, err := http.NewRequest("POST", p.url+"/consumers/media", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Accept"], req.Header["Content-Type"] = []string{c.accept}, []string{c.content}
			if c.accept == "" {
				delete(req.Header, "Accept")
			}
			if c.content == "" {
				delete(req.Header, "Content-Type")
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.want {
				t.Errorf("%s, strict %v: got %d %q %s, want %d %q", c.name, strict, resp.StatusCode, resp.Header.Get("Content-Type"), body, c.status, c.want)
			}
			if want := map[bool]string{true: mediaV2}[c.status == 415]; resp.Header.Get("Accept-Post") != want {
				t.Errorf("%s, strict %v: Accept-Post is %q, want %q", c.name, strict, resp.Header.Get("Accept-Post"), want)
			}
		}
	}
}
