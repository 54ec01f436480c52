package confluent2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	if err := p.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: name, Partitions: partitions, Replication: 1}); err != nil {
		t.Fatal(err)
	}
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
	body := fmt.Sprintf(`{"format":%q,"auto.offset.reset":"earliest","auto.commit.enable":"false","consumer.request.timeout.ms":5000%s}`, format, strings.Join(append([]string{""}, more...), ","))
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

// values reads until it has n values or half a minute has passed.
func (i instance) values(n int, query string) (values []string) {
	i.t.Helper()
	for end := time.Now().Add(30 * time.Second); len(values) < n; {
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

// eventually tries until it succeeds or the time is over.
func eventually(t testing.TB, within time.Duration, what string, try func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !try(); {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
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
		}
	}
}

func TestFirstReadHasData(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	if err := p.cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Key: []byte(`{"k": 1}`), Value: []byte("[1]")},
		&kgo.Record{Topic: topic, Partition: 0, Value: nil}, &kgo.Record{Topic: topic, Partition: 0, Key: []byte{}, Value: []byte("1.0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":20000`)
	c.subscribe(topic)
	start := time.Now()
	r := p.call(t, "GET", c.path+"/records", mediaJSON, "")
	want := fmt.Sprintf(`[{"topic":%q,"key":{"k": 1},"value":[1],"partition":0,"offset":0},{"topic":%[1]q,"key":null,"value":null,"partition":0,"offset":1},{"topic":%[1]q,"key":null,"value":1.0,"partition":0,"offset":2}]`, topic)
	if r.status != 200 || r.body != want || r.header.Get("Content-Type") != mediaJSON || r.header.Get("Klamm-Lease") != "300" {
		t.Errorf("got %d %s, want %s", r.status, r.body, want)
	}
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("took %s", took)
	}
	refused(t, "binary", p.call(t, "GET", c.path+"/records", "*/*", ""), 406, 40601, "embedded data format")
	if r := p.call(t, "GET", c.path+"/records", "text/plain", ""); r.status != 406 || r.body != "" {
		t.Errorf("text/plain: %d %s", r.status, r.body)
	}
	c.must(204, "DELETE", "", "")
	b := p.create(t, topic+"-b", "binary")
	b.must(204, "POST", "/assignments", partitions(topic, 0))
	if r := p.call(t, "GET", b.path+"/records", "", ""); r.status != 200 || !strings.Contains(r.body, `"key":"eyJrIjogMX0=","value":"WzFd"`) || r.header.Get("Content-Type") != mediaBinary {
		t.Errorf("binary: %d %s", r.status, r.body)
	}
}

func TestAnEmptyReadTakesItsTime(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":2500`)
	c.fails("GET", "/records", "", 406, 40601, "")
	refused(t, "nothing to read", p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 500, "not subscribed")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	c.read("?timeout=1")
	for _, step := range []struct {
		query       string
		least, most time.Duration
	}{{"?timeout=60000", 2450 * time.Millisecond, 10 * time.Second}, {"?timeout=300", 290 * time.Millisecond, 2400 * time.Millisecond}, {"?timeout=0", 2450 * time.Millisecond, 10 * time.Second}} {
		start := time.Now()
		records := c.read(step.query)
		if took := time.Since(start); len(records) != 0 || took < step.least || took > step.most {
			t.Errorf("%s: %d records after %s", step.query, len(records), took)
		}
	}
	for _, query := range []string{"?timeout=soon", "?max_bytes=all", "?timeout=%zz"} {
		refused(t, query, p.call(t, "GET", c.path+"/records"+query, mediaJSON, ""), 404, 404, "")
	}
}

func TestMaxBytes(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, slices.Repeat([]string{strings.Repeat("x", 100)}, 20)...)
	c := p.create(t, topic, "binary")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	at := int64(0)
	for _, step := range []struct{ max, want int }{{350, 3}, {300, 2}, {301, 3}, {150, 1}, {-1, 11}} {
		records := c.read(fmt.Sprintf("?max_bytes=%d", step.max))
		if len(records) != step.want || records[0].Offset != at {
			t.Errorf("max_bytes=%d: got %d records from %v, want %d from %d", step.max, len(records), records, step.want, at)
		}
		at += int64(len(records))
	}
}

func TestCommits(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 3)
	for n := range int32(3) {
		p.put(t, topic, n, numbers(0, 30)...)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/assignments", partitions(topic, 0, 1, 2))
	if body := c.must(200, "GET", "/offsets", partitions(topic, 0, 1, 2)); body != `{"offsets":[]}` {
		t.Errorf("before a commit: %s", body)
	}
	offsets := func(list string, at ...int) string {
		var all []string
		for i := 0; i < len(at); i += 2 {
			all = append(all, fmt.Sprintf(`{"topic":%q,"partition":%d,"offset":%d,"metadata":"m%[2]d"}`, topic, at[i], at[i+1]))
		}
		return `{"` + list + `":[` + strings.Join(all, ",") + `]}`
	}
	if body := c.must(200, "POST", "/offsets", offsets("offsets", 0, 20, 2, 0)); body != "[]" {
		t.Errorf("commit: %s", body)
	}
	if diff := cmp.Diff(map[int32]int64{0: 21, 2: 1}, p.committed(t, topic, topic)); diff != "" {
		t.Error(diff)
	}
	want := fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":21,"metadata":"m0"},{"topic":%[1]q,"partition":2,"offset":1,"metadata":"m2"}]}`, topic)
	if body := c.must(200, "GET", "/offsets", partitions(topic, 0, 1, 2)); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if body := c.must(200, "GET", "/offsets?topic="+topic+"&partition=2&topic="+topic+"&partition=1", ""); !strings.HasPrefix(body, `{"offsets":[{"topic":"`+topic+`","partition":2,"offset":1`) {
		t.Errorf("by query: %s", body)
	}
	c.fails("GET", "/offsets", "", 404, 40402, "Partition not found.")
	c.fails("GET", "/offsets?topic=x", "", 404, 40402, "Partition not found.")
	c.fails("POST", "/offsets", offsets("offsets", 0, -1), 422, 422, "offset")
	c.values(90, "")
	if body := c.must(200, "POST", "/offsets/", ""); body != "[]" {
		t.Errorf("commit of all: %s", body)
	}
	if diff := cmp.Diff(map[int32]int64{0: 30, 1: 30, 2: 30}, p.committed(t, topic, topic)); diff != "" {
		t.Error(diff)
	}
	c.must(200, "POST", "/offsets", offsets("partitions", 1, 3))
	if got := p.committed(t, topic, topic)[1]; got != 4 {
		t.Errorf("partitions instead of offsets: got %d, want 4", got)
	}
}

func TestCommitAsMember(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 5)...)
	c := p.create(t, topic, "json")
	c.subscribe(topic)
	c.values(3, "?max_bytes=4")
	c.must(200, "POST", "/offsets", "")
	if got := p.committed(t, topic, topic)[0]; got != 3 {
		t.Errorf("got %d, want 3: no more than was delivered", got)
	}
	c.must(200, "POST", "/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":0,"metadata":"x"}]}`, topic))
	if want, body := fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":1,"metadata":"x"}]}`, topic), c.must(200, "GET", "/offsets", partitions(topic, 0)); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
}

func TestWhatASuccessorReads(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for _, c := range []struct {
		auto string
		want []string
	}{{"false", append(numbers(0, 6), `"new"`)}, {"true", []string{`"new"`}}} {
		topic := p.topic(t, 1)
		p.put(t, topic, 0, numbers(0, 6)...)
		first := p.create(t, topic, "json", `"auto.commit.enable":`+c.auto)
		first.subscribe(topic)
		first.values(6, "")
		first.must(204, "DELETE", "", "")
		p.put(t, topic, 0, `"new"`)
		second := p.create(t, topic, "json")
		second.subscribe(topic)
		if diff := cmp.Diff(c.want, second.values(len(c.want), "")); diff != "" {
			t.Errorf("auto commit %s: %s", c.auto, diff)
		}
		second.must(204, "DELETE", "", "")
	}
}

func TestAutoCommitStopsAtWhatWasDelivered(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the automatic commit does")
	}
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 9)...)
	c := p.create(t, topic, "json", `"auto.commit.enable":true`)
	c.subscribe(topic)
	c.values(3, "?max_bytes=4")
	eventually(t, 15*time.Second, "the third record committed", func() bool { return p.committed(t, topic, topic)[0] != 0 })
	if got := p.committed(t, topic, topic)[0]; got != 3 {
		t.Errorf("got %d, want 3", got)
	}
}

func TestSeeks(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for _, member := range []bool{false, true} {
		topic := p.topic(t, 1)
		p.put(t, topic, 0, numbers(0, 50)...)
		last := time.Now().Truncate(time.Millisecond)
		eventually(t, time.Second, "the clock goes on", func() bool { return time.Since(last) > 5*time.Millisecond })
		middle := time.Now()
		p.put(t, topic, 0, numbers(50, 60)...)
		c := p.create(t, topic, "json")
		at := partitions(topic, 0)
		c.fails("POST", "/positions/beginning", at, 409, 40903, "Illegal state: No current assignment for partition "+topic+"-0")
		if member {
			c.subscribe(topic)
		} else {
			c.must(204, "POST", "/assignments", at)
		}
		first := func(n int, query, want string) {
			t.Helper()
			if values := c.values(n, query); values[0] != want {
				t.Errorf("member %v: got %v, want %s first", member, values, want)
			}
		}
		seek := func(list, field string) {
			t.Helper()
			c.must(204, "POST", "/positions", fmt.Sprintf(`{%q:[{"topic":%q,"partition":0,%s}]}`, list, topic, field))
		}
		first(1, "?max_bytes=4", "0")
		seek("offsets", `"offset":40,"metadata":"m"`)
		first(1, "?max_bytes=3", "40")
		seek("offsets", `"offset":"40"`)
		first(1, "?max_bytes=3", "40")
		c.must(204, "POST", "/positions/beginning", at)
		if diff := cmp.Diff(numbers(0, 60), c.values(60, "")); diff != "" {
			t.Errorf("member %v: %s", member, diff)
		}
		seek("timestamps", fmt.Sprintf(`"timestamp":%q`, middle.UTC().Format(time.RFC3339Nano)))
		first(10, "", "50")
		seek("offsets", `"offset":55`)
		c.must(204, "POST", "/positions/end", at)
		if records := c.read("?timeout=300"); len(records) != 0 {
			t.Errorf("member %v: at the end there is %v", member, records)
		}
		seek("timestamps", `"timestamp":"2999-01-01T00:00:00Z"`)
		p.put(t, topic, 0, `"last"`)
		first(1, "", `"last"`)
		c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":0,"offset":-1}]}`, 422, 422, "offset")
		c.fails("POST", "/positions", `{"timestamps":[{"topic":"`+topic+`","partition":0,"timestamp":"yesterday"}]}`, 400, 400, "java.time.Instant")
		c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":1,"offset":0}]}`, 409, 40903, topic+"-1")
		c.must(204, "DELETE", "", "")
	}
}

func TestSubscriptionsAndAssignments(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 2)
	p.put(t, topic, 0, "1")
	p.put(t, topic, 1, "2")
	c := p.create(t, topic, "json")
	says := func(what, want string) {
		t.Helper()
		if body := c.must(200, "GET", what, ""); body != want {
			t.Errorf("%s: got %s, want %s", what, body, want)
		}
	}
	says("/subscription", `{"topics":[]}`)
	says("/assignments", `{"partitions":[]}`)
	c.fails("POST", "/subscription", "", 422, 422, "must not be null (was null)")
	c.fails("POST", "/subscription", `{"topic":"a"}`, 422, 422, "Unrecognized field: topic")
	c.fails("POST", "/subscription", `{"topics":"a"}`, 400, 400, "Cannot deserialize value of type")
	c.fails("POST", "/subscription", `{"topic_pattern":"("}`, 422, 422, "pattern")
	c.must(204, "POST", "/subscription", "{}")
	c.fails("POST", "/assignments", "", 422, 422, "must not be null (was null)")
	c.fails("POST", "/assignments", `{"partitions":[{"topic":"a"}]}`, 422, 422, "partition")
	c.subscribe(topic)
	says("/subscription", `{"topics":["`+topic+`"]}`)
	says("/assignments", `{"partitions":[]}`)
	c.fails("POST", "/assignments", partitions(topic, 1), 409, 40903, "Illegal state: Subscription to topics, partitions and pattern are mutually exclusive")
	c.values(2, "")
	says("/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0},{"topic":%[1]q,"partition":1}]}`, topic))
	c.must(204, "DELETE", "/subscription", "")
	says("/subscription", `{"topics":[]}`)
	says("/assignments", `{"partitions":[]}`)
	c.must(204, "POST", "/assignments", partitions(topic, 1))
	says("/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":1}]}`, topic))
	c.fails("POST", "/subscription", `{"topics":["`+topic+`"]}`, 409, 40903, "mutually exclusive")
	c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":0,"offset":0}]}`, 409, 40903, topic+"-0")
	if diff := cmp.Diff([]string{"2"}, c.values(1, "")); diff != "" {
		t.Error(diff)
	}
	c.must(204, "POST", "/assignments", partitions("none-"+topic, 0))
	if records := c.read("?timeout=300"); len(records) != 0 {
		t.Errorf("a topic that does not exist has %v", records)
	}
}

func TestPatternSubscription(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	for _, end := range []string{"-a", "-b", "-c1"} {
		if err := p.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic + end, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		p.put(t, topic+end, 0, `"`+end+`"`)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/subscription", `{"topic_pattern":"`+topic+`-[a-z]"}`)
	values := c.values(2, "")
	slices.Sort(values)
	if diff := cmp.Diff([]string{`"-a"`, `"-b"`}, values); diff != "" || len(c.read("?timeout=300")) != 0 {
		t.Error(diff)
	}
	if want, body := fmt.Sprintf(`{"topics":["%s-a","%[1]s-b"]}`, topic), c.must(200, "GET", "/subscription", ""); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if testing.Short() {
		return
	}
	if err := p.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic + "-z", Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	p.put(t, topic+"-z", 0, `"-z"`)
	if diff := cmp.Diff([]string{`"-z"`}, c.values(1, "?timeout=300")); diff != "" {
		t.Error(diff)
	}
}

func TestTwoInstancesShareAGroup(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 4)
	both := []instance{p.create(t, topic, "json", `"consumer.request.timeout.ms":300`), p.create(t, topic, "json", `"consumer.request.timeout.ms":300`)}
	has := func(c instance) int { return strings.Count(c.must(200, "GET", "/assignments", ""), `"topic"`) }
	for _, c := range both {
		c.subscribe(topic)
	}
	eventually(t, 60*time.Second, "both have partitions", func() bool {
		both[0].read("")
		both[1].read("")
		return has(both[0]) == 2 && has(both[1]) == 2
	})
	both[0].must(204, "DELETE", "", "")
	eventually(t, 60*time.Second, "the other has all", func() bool { both[1].read(""); return has(both[1]) == 4 })
}

func TestIdleInstancesExpire(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second
	p := startProxy(t, Config{}, consumerConfig{idle: idle})
	topic := p.topic(t, 1)
	for attempt := 1; !p.expires(t, fmt.Sprintf("%s-%d", topic, attempt), topic, idle); attempt++ {
		if attempt == 5 {
			t.Fatal("this machine stops for seconds, again and again")
		}
	}
}

// expires makes an instance that is kept by calls and one that is not. False says
// that the calls came too late because the whole process stood still.
func (p proxy) expires(t *testing.T, group, topic string, after time.Duration) bool {
	t.Helper()
	kept, idle := p.create(t, group+"-kept", "json", `"consumer.request.timeout.ms":100`), p.create(t, group+"-idle", "json", `"consumer.request.timeout.ms":100`)
	last := time.Now()
	for _, c := range []instance{kept, idle} {
		if r := c.do("POST", "/subscription", `{"topics":["`+topic+`"]}`); r.status != 204 {
			return false
		}
		if r := c.call(t, "GET", c.path+"/records", c.accept, ""); r.status != 200 {
			return false
		}
	}
	members := func(group string) int {
		described, err := p.cluster.Group(t.Context(), group)
		if err != nil {
			return 0
		}
		return len(described.Members)
	}
	if n := members(group + "-idle"); n != 1 && time.Since(last) < after {
		t.Errorf("the group has %d members, want 1", n)
	}
	for end := time.Now().Add(after + 2*time.Second); time.Now().Before(end); {
		r := kept.do("GET", "/subscription", "")
		if r.status != 200 && time.Since(last) >= after {
			return false
		}
		last = time.Now()
		if r.status != 200 || r.header.Get("Klamm-Lease") != "2" {
			t.Fatalf("a call did not renew the instance: %d %v", r.status, r.header)
		}
		time.Sleep(200 * time.Millisecond) // a client that calls from time to time
	}
	idle.fails("GET", "/subscription", "", 404, 40403, "Consumer instance not found.")
	if n := members(group + "-kept"); n != 1 && time.Since(last) < after {
		t.Errorf("the kept instance's group has %d members", n)
	}
	eventually(t, 10*time.Second, "the idle member left", func() bool { return members(group+"-idle") == 0 })
	return true
}

func TestDeleteEndsARead(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":60000`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	c.read("?timeout=1")
	read := make(chan reply, 1)
	go func() { read <- c.call(t, "GET", c.path+"/records", mediaJSON, "") }()
	time.Sleep(100 * time.Millisecond) // so that the read is under way; before it is, the result is the same
	c.must(204, "DELETE", "", "")
	select {
	case r := <-read:
		refused(t, "the read", r, 404, 40403, "Consumer instance not found.")
	case <-time.After(10 * time.Second):
		t.Error("the read goes on")
	}
}

func TestBadRecords(t *testing.T) {
	t.Parallel()
	for _, mode := range []gate.BadRecords{gate.HaltAtBad, gate.SkipBad, gate.FailAtBad} {
		for _, big := range []bool{false, true} {
			p := startProxy(t, Config{}, consumerConfig{bad: mode})
			topic := p.topic(t, 1)
			spoiled := "{broken"
			if big {
				spoiled = `"` + strings.Repeat("x", 200_000) + `"`
			}
			p.put(t, topic, 0, `{"n":0}`, spoiled, `{"n":2}`)
			c := p.create(t, topic, "json", `"consumer.request.timeout.ms":5000`)
			c.must(204, "POST", "/assignments", partitions(topic, 0))
			name := fmt.Sprintf("mode %d, big %v", mode, big)
			status, code := 408, 40801
			if big {
				status, code = 413, 413
			}
			stopped := func() {
				t.Helper()
				refused(t, name, p.call(t, "GET", c.path+"/records?max_bytes=100000", mediaJSON, ""), status, code, "topic "+topic+", partition 0, offset 1: ")
			}
			switch {
			case mode == gate.SkipBad:
				records := c.read("?max_bytes=100000")
				for len(records) > 0 && len(records) < 3 {
					records = append(records, c.read("?max_bytes=100000")...)
				}
				if len(records) != 3 || records[1].Error == "" || records[1].Code != code || string(records[1].Value) != "null" || records[1].Offset != 1 || string(records[2].Value) != `{"n":2}` {
					t.Errorf("%s: %+v", name, records)
				}
				continue
			case mode == gate.FailAtBad && !big:
				stopped()
				stopped()
			case mode == gate.FailAtBad:
				if records := c.read("?max_bytes=100000"); len(records) != 1 {
					t.Errorf("%s: %+v", name, records)
				}
				for range 2 {
					start := time.Now()
					if records := c.read("?max_bytes=100000"); len(records) != 0 || time.Since(start) > 4*time.Second {
						t.Errorf("%s: %+v after %s", name, records, time.Since(start))
					}
				}
			default:
				if records := c.read("?max_bytes=100000"); len(records) != 1 {
					t.Errorf("%s: %+v", name, records)
				}
				stopped()
				stopped()
			}
			c.must(204, "POST", "/positions", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":2}]}`, topic))
			if diff := cmp.Diff([]string{`{"n":2}`}, c.values(1, "")); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestRepeatedReads(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 30)...)
	c := p.create(t, topic, "json")
	c.subscribe(topic)
	read := func(token string) string {
		req, _ := http.NewRequest("GET", p.url+c.path+"/records?max_bytes=12", nil)
		req.Header.Set("Accept", mediaJSON)
		req.Header.Set("Klamm-Read", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	a, a2, b, b2 := read("a"), read("a"), read("b"), read("b")
	if !strings.HasPrefix(a, `[{"topic"`) || a != a2 || b != b2 || a == b || read("a") != a {
		t.Errorf("got %s, %s, %s, %s", a, a2, b, b2)
	}
	c.must(200, "POST", "/offsets", "")
	if again := read("a"); again == a {
		t.Errorf("after the commit the same: %s", again)
	}
}

func TestFetchMinBytes(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 5)...)
	c := p.create(t, topic, "json", `"fetch.min.bytes":5`, `"consumer.request.timeout.ms":2500`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	start := time.Now()
	if records := c.read(""); len(records) != 5 || time.Since(start) < 2450*time.Millisecond {
		t.Errorf("with no more than the minimum: %d records after %s", len(records), time.Since(start))
	}
	p.put(t, topic, 0, numbers(10, 15)...)
	start = time.Now()
	if records := c.read(""); len(records) < 3 || time.Since(start) > 2400*time.Millisecond { // three are six bytes
		t.Errorf("with more than the minimum: %d records after %s", len(records), time.Since(start))
	}
	patient := startProxy(t, Config{StrictMediaTypes: true}, consumerConfig{})
	topic = patient.topic(t, 1)
	patient.put(t, topic, 0, "1")
	c = patient.create(t, topic, "json", `"consumer.request.timeout.ms":2500`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	start = time.Now()
	if records := c.read(""); len(records) != 1 || time.Since(start) < 2450*time.Millisecond {
		t.Errorf("in strict mode: %d records after %s", len(records), time.Since(start))
	}
}

func TestResetNone(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, "1")
	for _, member := range []bool{false, true} {
		c := p.create(t, topic, "json", `"auto.offset.reset":"none"`, `"consumer.request.timeout.ms":5000`)
		if member {
			c.subscribe(topic)
		} else {
			c.must(204, "POST", "/assignments", partitions(topic, 0))
		}
		refused(t, fmt.Sprint("member ", member), p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 50002, "")
		c.must(204, "DELETE", "", "")
	}
	c := p.create(t, topic, "json", `"auto.offset.reset":"none"`)
	c.must(200, "POST", "/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":500}]}`, topic))
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	refused(t, "beyond the end", p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 50002, "")
}

func TestExtras(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{RecordExtras: true}, consumerConfig{})
	topic := p.topic(t, 1)
	written := time.Now().Add(-time.Second)
	if err := p.cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Value: []byte("1"), Timestamp: written, Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "n"}}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	records := c.read("")
	if diff := cmp.Diff([]map[string]any{{"key": "a", "value": "Yg=="}, {"key": "n", "value": nil}}, records[0].Headers); diff != "" || records[0].Timestamp != written.UnixMilli() {
		t.Errorf("%d: %s", records[0].Timestamp, diff)
	}
}

func TestThereIsALimit(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for i := range 1000 {
		if _, err := p.gate.CreateConsumer(t.Context(), gate.Anonymous, "g", fmt.Sprint(i), gate.ConsumerConfig{Idle: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, "one more", p.call(t, "POST", "/consumers/g", "", ""), 429, 429, "there are 1000 consumer instances already")
}

func FuzzConsumerBodies(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"id":"a","name":"b","format":"JSON","auto.offset.reset":"earliest","auto.commit.enable":"true","fetch.min.bytes":"1","consumer.request.timeout.ms":5}`,
		`{"topics":["a","b"],"topic_pattern":"x"}`, `{"partitions":[{"topic":"a","partition":"0"}]}`, `{"offsets":[{"topic":"a","partition":0,"offset":20,"metadata":"m"}],"timestamps":[{"topic":"a","partition":1,"timestamp":"2024-01-31T10:00:00Z"}]}`,
		`{"topic_name":"t","partitions_count":"3","replication_factor":1}`, `{"offsets":null}`, `{"topics":[nul]}`, `{"partitions":[{"topic":"a","partition":0}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var document any
		valid := json.Unmarshal(b, &document) == nil
		object, _ := document.(map[string]any)
		check := func(what string, err error) {
			t.Helper()
			if err == nil && !valid && !blank(b) {
				t.Errorf("%s accepts %q", what, b)
			}
			if refusal := (*refusal)(nil); err != nil && !errors.As(err, &refusal) {
				t.Errorf("%s: %q: %v is not an answer", what, b, err)
			}
		}
		var cfg gate.ConsumerConfig
		var err error
		for _, profile := range append(profiles, "") {
			h, _ := habitsOf(profile)
			_, cfg, _, err = parseConsumer(bytes.Clone(b), h, false)
			check("create as "+profile, err)
		}
		if err == nil && (cfg.Timeout <= 0 || cfg.Timeout > longestTimeout || cfg.MinBytes < minFetch || cfg.MinBytes > maxFetch || checks[cfg.Format] == nil) {
			t.Errorf("create: %q is %+v", b, cfg)
		}
		created, err := parseTopic(bytes.Clone(b))
		check("create a topic", err)
		if err == nil && (created.Name == "" || created.Partitions < 0 || created.Replication < 0) {
			t.Errorf("create a topic: %q is %+v", b, created)
		}
		s, err := parseSubscription(bytes.Clone(b))
		check("subscribe", err)
		if topics, ok := object["topics"].([]any); ok && err == nil && len(topics) != len(s.topics) {
			t.Errorf("subscribe: %q is %+v", b, s)
		}
		named, err := parsePartitions(bytes.Clone(b))
		check("partitions", err)
		if list, ok := object["partitions"].([]any); ok && err == nil && len(list) != len(named) {
			t.Errorf("partitions: %q is %+v", b, named)
		}
		for _, p := range named {
			if err == nil && (p.Topic == "" || p.Partition < 0) {
				t.Errorf("partitions: %q is %+v", b, named)
			}
		}
		_, err = parsePositions(bytes.Clone(b))
		check("positions", err)
		at, _, err := parseCommit(bytes.Clone(b), habits{})
		check("commit", err)
		for _, o := range at {
			if err == nil && o.Offset < 1 {
				t.Errorf("commit: %q is %+v", b, at)
			}
		}
	})
}

func FuzzParseRead(f *testing.F) {
	for _, s := range []string{"", "timeout=1&max_bytes=2", "timeout=-1", "timeout=x", "max_bytes=99999999999999999999", "%zz", "timeout=9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		timeout, maxBytes, err := parseRead(query, false)
		if err == nil && (timeout < 0 || timeout > longestTimeout || maxBytes < 0) {
			t.Errorf("%q is %s and %d", query, timeout, maxBytes)
		}
	})
}
