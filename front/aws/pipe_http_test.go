package aws_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// A talker is an HTTP endpoint that answers what answer says to a path and its body, and
// writes down what it is sent.
type talker struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string // by path
	last   http.Header
}

func newTalker(t *testing.T, answer func(path string, nth int) string) *talker {
	h := &talker{bodies: map[string][]string{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bodies[r.URL.Path] = append(h.bodies[r.URL.Path], string(body))
		h.last = r.Header
		_, _ = io.WriteString(w, answer(r.URL.Path, len(h.bodies[r.URL.Path])))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *talker) taken(path string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bodies[path]...)
}

// runs makes a pipe that reads a new topic and returns that.
func (s *server) runs(target string, more m) (topic string) {
	s.t.Helper()
	topic = s.topic()
	if status, _, answer := s.ask("POST", "/v1/pipes/p"+topic, nil, s.create(topic, target, more)); status != 200 {
		s.t.Fatalf("%d %v", status, answer)
	}
	return topic
}

func TestWhatAnEnrichmentAnswersThatIsNoJSON(t *testing.T) {
	s := start(t)
	h := newTalker(t, func(path string, _ int) string {
		if path == "/enrich" {
			return "plain"
		}
		return ""
	})
	enrich := s.destination("e"+s.topic(), h.URL+"/enrich")
	for i, c := range []struct{ template, want string }{
		{"", `"plain"`},
		{`{"json": <aws.pipes.event.json>, "event": <aws.pipes.event>}`, `{"json":"","event":"plain"}`},
		{`"got <aws.pipes.event>"`, `"got plain"`},
	} {
		path := fmt.Sprintf("/out%d", i)
		more := m{"Enrichment": enrich}
		if c.template != "" {
			more["TargetParameters"] = m{"InputTemplate": c.template}
		}
		s.produce(s.runs(s.destination("d"+s.topic(), h.URL+path), more), `{}`)
		eventually(t, "it is delivered", func() bool { return len(h.taken(path)) > 0 })
		if got := h.taken(path)[0]; got != c.want {
			t.Errorf("%s: delivered %s, want %s", c.template, got, c.want)
		}
	}
}

func TestAnAPIDestinationRefusesARecord(t *testing.T) {
	s := start(t)
	h := newTalker(t, func(path string, nth int) string {
		switch {
		case path == "/anything":
			return "[ok"
		case nth == 1:
			return `{"batchItemFailures":"all"}`
		case nth == 2:
			return `{"batchItemFailures":[{"itemIdentifier":"` + path[1:] + `-0-0"}]}`
		}
		return `{"batchItemFailures":[]}`
	})
	topic := s.topic()
	for _, path := range []string{"/" + topic, "/anything"} {
		name := strings.Trim(path, "/")
		if status, _, answer := s.ask("POST", "/v1/pipes/"+name, nil, s.create(topic, s.destination(name+topic, h.URL+path), nil)); status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
	}
	s.produce(topic, `1`, `2`)
	eventually(t, "both records are delivered", func() bool { return len(h.taken("/"+topic)) >= 4 && len(h.taken("/anything")) >= 2 })
	if got := h.taken("/" + topic); got[0] != got[1] || got[1] != got[2] || got[2] == got[3] {
		t.Errorf("called with %q, want the first record three times", got)
	}
	if got := h.taken("/anything"); got[0] == got[1] {
		t.Errorf("called with %q, want each record once", got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, want := range map[string]string{"User-Agent": "klamm/test", "Content-Type": "application/json; charset=utf-8", "Range": "bytes=0-1048575", "X-Key": "s3cret"} {
		if got := h.last.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAPipeToAnAPIAndAQueue(t *testing.T) {
	h := newTalker(t, func(path string, _ int) string {
		if path == "/base/prod/enrich/x" {
			return `{"enriched":true}`
		}
		return ""
	})
	s := startWith(t, map[string]string{"abc": h.URL + "/base/"})
	api := "arn:aws:execute-api:us-east-1:000000000000:abc/prod/POST"
	out := s.topic()
	s.produce(s.runs("arn:aws:sqs:us-east-1:000000000000:"+out, m{"Enrichment": api + "/enrich/*", "EnrichmentParameters": m{"HttpParameters": m{"PathParameterValues": []string{"$.value.p"}}}}), `{"p":"x"}`)
	if got := s.first(out); got != `{"enriched":true}` {
		t.Errorf("the queue has %s", got)
	}
	s.produce(s.runs(api+"/in", m{"TargetParameters": m{"InputTemplate": `{"n": <$.value.n>}`}}), `{"n":7}`)
	eventually(t, "the API is called", func() bool { return len(h.taken("/base/prod/in")) > 0 })
	if got := h.taken("/base/prod/in")[0]; got != `{"n":7}` {
		t.Errorf("the API is sent %s", got)
	}
}

// TestParametersAreTakenFromTheEvent has paths wherever a pipe may have them: they look at
// the event before the template has made another one.
func TestParametersAreTakenFromTheEvent(t *testing.T) {
	s := start(t)
	var mu sync.Mutex
	var got []string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.RequestURI+" "+r.Header.Get("X-Part")+" "+r.Header.Get("$.topic"))
		if strings.HasPrefix(r.URL.Path, "/enrich") {
			_, _ = io.WriteString(w, `{"who":"enriched","n":{"a":[1,2]}}`)
		}
	}))
	t.Cleanup(h.Close)
	name := s.topic()
	params := m{"PathParameterValues": []string{"$.value.who", "a/b"}, "HeaderParameters": m{"X-Part": "$.partition", "$.topic": "literal"}, "QueryStringParameters": m{"$.value.what": "$.value.gone", "$.value.fix": "no", "n": "$.value.n"}}
	output := m{"PathParameterValues": []string{"$.who"}, "HeaderParameters": m{"X-Part": "$.n.a[1]"}, "QueryStringParameters": m{"$.who": "$.n.a"}}
	more := m{"Enrichment": s.destination("e"+name, h.URL+"/enrich/*/*?fix=1"), "EnrichmentParameters": m{"HttpParameters": params, "InputTemplate": `{"other": 1}`},
		"TargetParameters": m{"HttpParameters": output, "InputTemplate": `{"other": 2}`}}
	s.produce(s.runs(s.destination("d"+name, h.URL+"/in/*"), more), `{"who":"k i","what":"w&t","fix":"fix","n":7}`)
	eventually(t, "it is delivered", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= 2 })
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"/enrich/k%20i/a%2Fb?fix=1&n=7&w%26t= 0 literal", "/in/enriched?enriched=%5B1%2C2%5D 2 "}; !slices.Equal(got[:2], want) {
		t.Errorf("called with %q, want %q", got, want)
	}
	for path, want := range map[string]string{"$.value[": "is a path, and this is none", "$.a.": "is a path, and this is none", "x<$.a>": "a constant without"} {
		status, _, answer := s.ask("POST", "/v1/pipes/bad"+name, nil, s.create(name, s.destination(fmt.Sprintf("b%d%s", len(path), name), h.URL), m{"TargetParameters": m{"HttpParameters": m{"QueryStringParameters": m{path: "v"}}}}))
		if status != 400 || !strings.Contains(fmt.Sprint(answer), want) {
			t.Errorf("%s as a name: %d %v, want 400 with %q", path, status, answer, want)
		}
	}
}

func TestAConsumerGroupIsOfOneSource(t *testing.T) {
	s := start(t)
	first, second := s.topic(), s.topic()
	source := func(topic string) m {
		return m{"DesiredState": "STOPPED", "SourceParameters": m{"SelfManagedKafkaParameters": m{"TopicName": topic, "ConsumerGroupID": "g" + first}}}
	}
	if status, _, answer := s.ask("POST", "/v1/pipes/p"+first, nil, s.create(first, "arn:klamm:kafka:::topic/out", source(first))); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	status, header, answer := s.ask("POST", "/v1/pipes/p"+second, nil, s.create(second, "arn:klamm:kafka:::topic/out", source(second)))
	if status != 409 || header.Get("X-Amzn-Errortype") != "ConflictException" || answer["resourceId"] != "p"+first || answer["resourceType"] != "pipe" {
		t.Errorf("a second pipe: %d %v", status, answer)
	}
	mapping := catalog.Document{Kind: catalog.KindMapping, Name: "0f2c0000-0000-4000-8000-000000000000", Dialect: "aws", Body: []byte(`{"Mapping":{"SelfManagedKafkaEventSourceConfig":{"ConsumerGroupId":"m` + first + `"}}}`)}
	if _, err := s.store.Put(t.Context(), mapping, catalog.Any); err != nil {
		t.Fatal(err)
	}
	more := source(second)
	more["SourceParameters"].(m)["SelfManagedKafkaParameters"].(m)["ConsumerGroupID"] = "m" + first
	status, _, answer = s.ask("POST", "/v1/pipes/p"+second, nil, s.create(second, "arn:klamm:kafka:::topic/out", more))
	if status != 409 || answer["resourceId"] != mapping.Name || answer["resourceType"] != "event source mapping" {
		t.Errorf("the group of a mapping: %d %v", status, answer)
	}
	if err := s.store.Delete(t.Context(), catalog.KindMapping, mapping.Name, catalog.Any); err != nil {
		t.Error(err)
	}
}

func TestALoopIsOneOfKlammsOwnCluster(t *testing.T) {
	s := start(t)
	topic := s.topic()
	elsewhere := m{"Source": "smk://127.0.0.1:1", "DesiredState": "STOPPED"}
	if status, _, answer := s.ask("POST", "/v1/pipes/far"+topic, nil, s.create(topic, "arn:klamm:kafka:::topic/"+topic, elsewhere)); status != 200 {
		t.Errorf("a topic of another cluster: %d %v", status, answer)
	}
	group := "arn:aws:logs:us-east-1:000000000000:log-group:x" + topic
	for name, c := range map[string]struct {
		from, to string
		more     m
	}{
		"a queue":           {topic, "arn:aws:sqs:us-east-1:000000000000:" + topic, nil},
		"a log":             {"klamm.log.x" + topic, group, nil},
		"a log of its runs": {"klamm.log.x" + topic, "arn:klamm:kafka:::topic/out", m{"LogConfiguration": m{"Level": "INFO", "CloudwatchLogsLogDestination": m{"LogGroupArn": group}}}},
		"a bus":             {"klamm.bus.default", "arn:aws:events:us-east-1:000000000000:event-bus/default", nil},
	} {
		if status, _, answer := s.ask("POST", "/v1/pipes/near"+topic, nil, s.create(c.from, c.to, c.more)); status != 400 || !strings.Contains(fmt.Sprint(answer), "is read by this very pipe") {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
}

func TestTheDefaultBatchFitsTheTarget(t *testing.T) {
	s := start(t)
	h := newTalker(t, func(string, int) string { return "" })
	topic := s.topic()
	s.produce(topic, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
	out := s.topic()
	more := m{"SourceParameters": m{"SelfManagedKafkaParameters": m{"TopicName": topic}}, "Target": "arn:aws:events:us-east-1:000000000000:event-bus/default",
		"TargetParameters": m{"InputTemplate": `{"n": <$.offset>}`}, "LogConfiguration": m{"Level": "INFO", "IncludeExecutionData": []string{"ALL"}, "CloudwatchLogsLogDestination": m{"LogGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:" + out}}}
	if status, _, answer := s.ask("POST", "/v1/pipes/p"+topic, nil, s.create(topic, h.URL, more)); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	eventually(t, "two executions are logged", func() bool {
		records, err := s.cluster.Fetch(s.t.Context(), "klamm.log."+out, 0, 0, kafka.Limits{Records: 100, Bytes: 1 << 20})
		n := 0
		for _, r := range records {
			if strings.Contains(string(r.Value), "EXECUTION_SUCCEEDED") {
				n++
			}
		}
		return err == nil && n == 2
	})
}

// TestAnEnrichmentWithMoreThanAQueueTakes first answers eleven events, of which a queue must
// get none, and then ten.
func TestAnEnrichmentWithMoreThanAQueueTakes(t *testing.T) {
	s := start(t)
	h := newTalker(t, func(_ string, nth int) string {
		if nth == 1 {
			return "[1" + strings.Repeat(",1", 10) + "]"
		}
		return "[2" + strings.Repeat(",2", 9) + "]"
	})
	out := s.topic()
	s.produce(s.runs("arn:aws:sqs:us-east-1:000000000000:"+out, m{"Enrichment": s.destination("e"+out, h.URL+"/enrich")}), `{}`)
	if got := s.first(out); got != "2" || len(h.taken("/enrich")) < 2 {
		t.Errorf("the queue has %s, and the enrichment was asked %d times; want 2, and twice", got, len(h.taken("/enrich")))
	}
}
