package azure1_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/azure1"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A server is the dialect on a real listener and real brokers.
type server struct {
	url     string
	cluster *kafka.Cluster
}

// serve starts the dialect.
func serve(t *testing.T, cfg azure1.Config) server {
	t.Helper()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(cfg)})
	return server{s.URL, s.Cluster}
}

func with(cfg azure1.Config) func(*gate.Gate) []front.Dialect {
	return func(g *gate.Gate) []front.Dialect { return []front.Dialect{azure1.Dialect(g, cfg)} }
}

// masks hide what depends on the brokers and on the clock.
var masks = []fronttest.Mask{
	{Pattern: regexp.MustCompile(`"hostName":"[^"]+","port":\d+,"id":\d+,"rack":(null|"[^"]*")`), Text: `BROKER`},
	{Pattern: regexp.MustCompile(`\[\{BROKER\}(,\{BROKER\})*\]`), Text: `[{BROKER}...]`},
	{Pattern: regexp.MustCompile(`"timestamp":\d{13}\b`), Text: `"timestamp":NOW`},
	{Pattern: regexp.MustCompile(`\{"topics":\[("[^"]*",)*("topic-[^"]*TestTranscripts-sample-client[^"]*")(,"[^"]*")*\]\}`), Text: `{"topics":[...$2...]}`},
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: with(azure1.Config{})}).Transcripts(t, "testdata/transcripts", masks...)
}

func TestTranscriptsOfDelete(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: with(azure1.Config{TopicDelete: true})}).Transcripts(t, "testdata/delete", masks...)
}

func TestConforms(t *testing.T) {
	t.Parallel()
	fronttest.Conform(t, fronttest.Subject{
		Dialects: with(azure1.Config{}),
		Unknown:  "/v1/metadata/nothing",
		Upload:   "POST /v1/producer/topics/%s",
		Header:   http.Header{"Content-Type": {"application/json"}},
		Head:     `{"records":[{"value":"`,
		Failure: func(status int, header http.Header, body []byte) error {
			var e struct {
				Code    int    `json:"error_code"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(body, &e); err != nil || e.Code != status || e.Message == "" || header.Get("Content-Type") != "application/json" {
				return fmt.Errorf("code %d, message %q, %v", e.Code, e.Message, err)
			}
			return nil
		},
	})
}

// TestEveryOperationIsDescribed compares the OpenAPI document with the routes.
func TestEveryOperationIsDescribed(t *testing.T) {
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string                    `json:"operationId"`
			Responses   map[string]map[string]any `json:"responses"`
			Parameters  []struct{ Name, In string }
		}
	}
	serve(t, azure1.Config{}).must(t, &document, http.MethodGet, "/v1/openapi.json", "")
	if !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Fatalf("the document is of version %q", document.OpenAPI)
	}
	described := map[string]string{}
	for path, operations := range document.Paths {
		for method, o := range operations {
			described[strings.ToUpper(method)+" "+path] = o.OperationID
			if o.Responses["200"] == nil {
				t.Errorf("%s %s has no answer 200", method, path)
			}
			for _, p := range o.Parameters {
				if p.In == "path" && !strings.Contains(path, "{"+p.Name+"}") {
					t.Errorf("%s %s has no {%s}", method, path, p.Name)
				}
			}
		}
	}
	served := map[string]string{}
	for _, r := range azure1.Dialect(nil, azure1.Config{TopicDelete: true}).Routes {
		served[r.Pattern] = r.Name
	}
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("routes and document (-routes +document):\n%s", diff)
	}
}

func topicName(t *testing.T) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
}

// ask sends one request and returns status, body and header.
func (s server) ask(t *testing.T, method, path, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer abc")
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got), resp.Header
}

// must is ask for what has to work; the answer is decoded into v.
func (s server) must(t *testing.T, v any, method, path, body string) http.Header {
	t.Helper()
	status, got, header := s.ask(t, method, path, body)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s %s: %d %s %s", method, path, status, header.Get("Content-Type"), got)
	}
	if err := json.Unmarshal([]byte(got), v); err != nil {
		t.Fatalf("%s %s: %q: %v", method, path, got, err)
	}
	return header
}

const mixed = `{"records":[{"key":"key1","value":"a string"},{"partition":0,"value":5},{"value":3.14},{"value":{"id":1,"name":"x"}},
	{"value":[{"id":1},{"id":2}]},{"value":{"group id":1,"nested":{"servers":[{"server id":1}]}}}]}`

type record struct {
	Key, Value    *string
	Partition     int
	Offset        int64
	Timestamp     int64
	TimestampType string
}

func TestSampleClient(t *testing.T) {
	t.Parallel()
	s, topic := serve(t, azure1.Config{}), topicName(t)
	var said string
	s.must(t, &said, "PUT", "/v1/topics/"+topic, `{"partition_count":1,"replication_factor":1,"topic_properties":{"retention.ms":604800000,"min.insync.replicas":"1","unclean.leader.election.enable":false}}`)
	var listed struct{ Topics []string }
	s.must(t, &listed, "GET", "/v1/metadata/topics", "")
	if !slices.Contains(listed.Topics, topic) {
		t.Errorf("%s is not in %v", topic, listed.Topics)
	}
	settings, err := s.cluster.TopicSettings(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ name, value string }{{"retention.ms", "604800000"}, {"min.insync.replicas", "1"}} {
		i := slices.IndexFunc(settings, func(x kafka.Setting) bool { return x.Name == want.name })
		if i < 0 || settings[i].Value == nil || *settings[i].Value != want.value {
			t.Errorf("%s is not %s", want.name, want.value)
		}
	}
	s.must(t, &said, "POST", "/v1/producer/topics/"+topic, mixed)
	if want := "6 records produced to topic " + topic + "."; said != want {
		t.Errorf("got %q, want %q", said, want)
	}
	var values []string
	offset, counts := "0", []int{}
	for len(counts) < 10 {
		var answer struct{ Records []record }
		start := time.Now()
		next := s.must(t, &answer, "GET", "/v1/consumer/topics/"+topic+"/partitions/0/offsets/"+offset+"?count=2", "")["Nextoffset"][0]
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("offset %s took %s", offset, took)
		}
		counts = append(counts, len(answer.Records))
		for _, r := range answer.Records {
			values = append(values, *r.Value)
			if r.TimestampType != "CreateTime" || time.Since(time.UnixMilli(r.Timestamp)).Abs() > time.Hour || (r.Key != nil) != (r.Offset == 0) {
				t.Errorf("record %+v", r)
			}
		}
		if next == offset || len(answer.Records) == 0 {
			break
		}
		offset = next
	}
	if diff := cmp.Diff([]int{2, 2, 2, 0}, counts); diff != "" || offset != "6" {
		t.Errorf("reads ended at %s: %s", offset, diff)
	}
	if diff := cmp.Diff([]string{"a string", "5", "3.14", `{"id":1,"name":"x"}`, `[{"id":1},{"id":2}]`, `{"group id":1,"nested":{"servers":[{"server id":1}]}}`}, values); diff != "" {
		t.Error(diff)
	}
	var brokers struct{ Brokers []map[string]any }
	s.must(t, &brokers, "GET", "/v1/metadata/brokers", "")
	var all struct {
		Topic      string
		Partitions []map[string]any
	}
	s.must(t, &all, "GET", "/v1/metadata/topics/"+topic+"/partitions", "")
	var one map[string]any
	s.must(t, &one, "GET", "/v1/metadata/topics/"+topic+"/partitions/0", "")
	if diff := cmp.Diff([]map[string]any{one}, all.Partitions); diff != "" || all.Topic != topic {
		t.Errorf("%s: %s", all.Topic, diff)
	}
	leader := one["leader"].(map[string]any)
	if !slices.ContainsFunc(brokers.Brokers, func(b map[string]any) bool { return cmp.Equal(b, leader) }) || len(leader) != 4 || one["latest_offset"] != 6.0 {
		t.Errorf("partition %v of brokers %v", one, brokers)
	}
	s.must(t, &said, "GET", "/v1/status", "")
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	s, topic := serve(t, azure1.Config{}), topicName(t)
	if err := s.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	produce, read := "/v1/producer/topics/"+topic, "/v1/consumer/topics/"+topic+"/partitions/"
	for _, c := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"topic exists", "PUT", "/v1/topics/" + topic, "{}", 400},
		{"topic name", "PUT", "/v1/topics/a%2Fb", "", 400},
		{"no JSON", "PUT", "/v1/topics/new", "{", 400},
		{"no object", "PUT", "/v1/topics/new", "[]", 400},
		{"unknown field", "PUT", "/v1/topics/new", `{"partitions":1}`, 400},
		{"no partitions", "PUT", "/v1/topics/new", `{"partition_count":0}`, 400},
		{"half a partition", "PUT", "/v1/topics/new", `{"partition_count":1.5}`, 400},
		{"a property that is an object", "PUT", "/v1/topics/new", `{"topic_properties":{"a":{}}}`, 400},
		{"delete is switched off", "DELETE", "/v1/topics/" + topic, "", 405},
		{"partitions of no topic", "GET", "/v1/metadata/topics/none-" + topic + "/partitions", "", 404},
		{"no partition", "GET", "/v1/metadata/topics/" + topic + "/partitions/1", "", 404},
		{"partition that is no number", "GET", "/v1/metadata/topics/" + topic + "/partitions/x", "", 400},
		{"no records", "POST", produce, `{"records":[]}`, 400},
		{"records left out", "POST", produce, `{}`, 400},
		{"no body", "POST", produce, "", 400},
		{"no value", "POST", produce, `{"records":[{"key":"a"}]}`, 400},
		{"malformed", "POST", produce, `{"records":[{"value":1}]`, 400},
		{"a header", "POST", produce, `{"records":[{"value":1,"headers":[]}]}`, 400},
		{"negative partition", "POST", produce, `{"records":[{"value":1,"partition":-1}]}`, 400},
		{"missing partition", "POST", produce, `{"records":[{"value":1,"partition":7}]}`, 404},
		{"not UTF-8", "POST", produce, "{\"records\":[{\"value\":\"\xff\"}]}", 400},
		{"beyond the end", "GET", read + "0/offsets/9", "", 400},
		{"offset that is no number", "GET", read + "0/offsets/x", "", 400},
		{"negative offset", "GET", read + "0/offsets/-1", "", 400},
		{"count of none", "GET", read + "0/offsets/0?count=0", "", 400},
		{"count that is no number", "GET", read + "0/offsets/0?count=x", "", 400},
		{"partition that does not exist", "GET", read + "5/offsets/0", "", 404},
		{"topic that does not exist", "GET", "/v1/consumer/topics/none-" + topic + "/partitions/0/offsets/0", "", 404},
		{"path that does not exist", "GET", "/v1/metadata", "", 404},
		{"method that does not exist", "POST", "/v1/metadata/topics", "", 405},
	} {
		status, body, header := s.ask(t, c.method, c.path, c.body)
		var e struct {
			Code    int    `json:"error_code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || status != c.want || e.Code != status || e.Message == "" || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %s, want %d", c.name, status, body, c.want)
		}
	}
	ranges, err := s.cluster.Ranges(t.Context(), topic)
	if err != nil || ranges[0].End != 0 {
		t.Errorf("got %v, %v; want an empty topic", ranges, err)
	}
}

func TestDeleteBySwitch(t *testing.T) {
	t.Parallel()
	s, topic := serve(t, azure1.Config{TopicDelete: true}), topicName(t)
	var said string
	s.must(t, &said, "PUT", "/v1/topics/"+topic, "")
	s.must(t, &said, "DELETE", "/v1/topics/"+topic, "")
	var listed struct{ Topics []string }
	s.must(t, &listed, "GET", "/v1/metadata/topics", "")
	if slices.Contains(listed.Topics, topic) {
		t.Errorf("%s is still there", topic)
	}
	if status, body, _ := s.ask(t, "DELETE", "/v1/topics/"+topic, ""); status != http.StatusNotFound {
		t.Errorf("the second time: got %d %s, want 404", status, body)
	}
}

func TestAnAnswerHoldsSixMebibytes(t *testing.T) {
	t.Parallel()
	s, topic := serve(t, azure1.Config{}), topicName(t)
	if err := s.cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1, Settings: []kafka.Setting{{Name: "max.message.bytes", Value: new("20000000")}}}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{5 << 19, 5 << 19, 5 << 19, 8 << 20, 1} {
		if err := s.cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Value: make([]byte, size)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ from, want, next string }{{"0", "2", "2"}, {"2", "1", "3"}, {"3", "1", "4"}, {"4", "1", "5"}} {
		var answer struct{ Records []record }
		header := s.must(t, &answer, "GET", "/v1/consumer/topics/"+topic+"/partitions/0/offsets/"+c.from+"?count=10", "")
		if got := fmt.Sprint(len(answer.Records)); got != c.want || header.Get("NextOffset") != c.next {
			t.Errorf("from %s: %s records, then %s; want %s, then %s", c.from, got, header.Get("NextOffset"), c.want, c.next)
		}
	}
}
