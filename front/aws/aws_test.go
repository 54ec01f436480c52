package aws_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/aws"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/replay"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/waittest"
)

const role = "arn:aws:iam::000000000000:role/r"

// A hook is an HTTP endpoint that writes down what it is sent.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

type call struct {
	path, key, body string
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls = append(h.calls, call{r.URL.Path, r.Header.Get("X-Key"), string(body)})
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) taken() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]call(nil), h.calls...)
}

// A server is a klamm with the two control planes and nothing else.
type server struct {
	t       *testing.T
	url     string
	broker  string
	cluster *kafka.Cluster
	store   *catalog.Store
	runner  *pipe.Runner
	api     *aws.API
}

func start(t *testing.T) *server {
	t.Helper()
	return startWith(t, map[string]string{"abc": "http://127.0.0.1:1/base/", "abc/test": "http://127.0.0.1:2"})
}

// startWith starts a server that has the URLs of APIs, and what else is changed of its
// configuration.
func startWith(t *testing.T, apis map[string]string, change ...func(*aws.Config)) *server {
	t.Helper()
	return startOn(t, brokertest.Brokers(t), apis, change...)
}

// startOn is startWith for brokers that other servers may have, too.
func startOn(t *testing.T, brokers []string, apis map[string]string, change ...func(*aws.Config)) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	login := func(l catalog.Login) (*kafka.Cluster, error) {
		return kafka.Open(kafka.Config{Brokers: strings.Split(l.Brokers, ",")}, log)
	}
	var api *aws.API
	loggedIn := func(ctx context.Context, login string, err error) { api.LoggedIn(ctx, login, err) }
	runner, err := pipe.New(pipe.Config{Cluster: cluster, Login: login, Kinds: all.All(), Transport: egress.Transport(), Egress: egress, Secret: secret.Local, LoggedIn: loggedIn, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: log, Grace: 5 * time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store := catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log})
	seal, err := catalog.NewSeal(t.Context(), catalog.Config{}, store, secret.Local)
	if err != nil {
		t.Fatal(err)
	}
	door, bus := gate.New(cluster), aws.BusConfig{Rules: 12, HTTP: aws.RuleHTTPConfig{ExecuteAPI: apis}}.WithDefaults()
	buses := gate.NewBuses(gate.BusesConfig{Gate: door, Store: store, Cluster: cluster, Account: "000000000000", Region: "us-east-1", MaxEntries: bus.Entries, Log: log})
	cfg := aws.Config{Gate: door, Store: store, Seal: seal, Pipes: runner, Buses: buses, Bus: bus, Version: "test", Account: "000000000000", Region: "us-east-1",
		Brokers: func() []string { return brokers }, Egress: egress, Transport: egress.Transport(), Log: log}
	for _, c := range change {
		c(&cfg)
	}
	api = aws.New(cfg)
	definitions := catalog.NewDefinitions(catalog.DefinitionsConfig{Store: store, Compile: catalog.One(api.Compile), Suspends: api.Suspends, Set: runner.Set, Remove: runner.Remove, Log: log})
	var knows atomic.Int32
	known := func() {
		if knows.Add(1) == 2 {
			runner.OpenBuses()
		}
	}
	rules := catalog.NewDefinitions(catalog.DefinitionsConfig{Store: store, Kind: catalog.KindRule, Compile: api.CompileRule, Suspends: api.Suspends, Set: runner.Set, Remove: runner.Remove, Known: known, Log: log})
	archives := catalog.NewDefinitions(catalog.DefinitionsConfig{Store: store, Kind: catalog.KindArchive, Compile: catalog.One(api.CompileArchive), Suspends: api.Suspends, Set: runner.Set, Remove: runner.Remove, Known: known, Log: log})
	replays := replay.New(replay.Config{Cluster: cluster, Store: store, Log: log})
	api.Use(definitions, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { store.Run(ctx) })
	parts.Go(func() { definitions.Run(ctx) })
	parts.Go(func() { rules.Run(ctx) })
	parts.Go(func() { archives.Run(ctx) })
	parts.Go(func() { replays.Run(ctx) })
	parts.Go(func() { runner.Run(ctx) })
	root := front.Dialect{Name: "root", Prefixes: []string{"/"}, Routes: []front.Route{{Name: "root", Pattern: "POST /{$}", Serve: api.Events(func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
		_, err := io.WriteString(w, "somebody else's")
		return err
	})}}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), 500) }}
	s := httptest.NewServer(front.New(front.Config{Dialects: []front.Dialect{api.Pipes(), root}, Anonymous: true, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log}))
	t.Cleanup(func() { s.Close(); cancel(); parts.Wait(); api.Close() })
	return &server{t, s.URL, brokers[0], cluster, store, runner, api}
}

// ask calls and decodes the answer.
func (s *server) ask(method, path string, header http.Header, body any) (int, http.Header, map[string]any) {
	s.t.Helper()
	text, _ := json.Marshal(body)
	if raw, ok := body.(string); ok {
		text = []byte(raw)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	all, _ := io.ReadAll(resp.Body)
	_ = json.Unmarshal(all, &answer)
	return resp.StatusCode, resp.Header, answer
}

// events calls an operation of EventBridge that must work.
func (s *server) events(operation string, body any) map[string]any {
	s.t.Helper()
	status, _, answer := s.ask("POST", "/", http.Header{"X-Amz-Target": {"AWSEvents." + operation}}, body)
	if status != 200 {
		s.t.Fatalf("%s: %d %v", operation, status, answer)
	}
	return answer
}

// state waits for the state of a pipe.
func (s *server) state(name, want string) map[string]any {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, _, answer := s.ask("GET", "/v1/pipes/"+name, nil, nil)
		if status == 200 && answer["CurrentState"] == want {
			return answer
		}
		if time.Now().After(end) {
			s.t.Fatalf("pipe %s is not %s but %v", name, want, answer)
		}
	}
}

type m = map[string]any

// destination makes an API destination and its connection.
func (s *server) destination(name, url string) string {
	s.t.Helper()
	c := s.events("CreateConnection", m{"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": m{"ApiKeyAuthParameters": m{"ApiKeyName": "X-Key", "ApiKeyValue": "s3cret"}}})
	d := s.events("CreateApiDestination", m{"Name": name, "ConnectionArn": c["ConnectionArn"], "InvocationEndpoint": url, "HttpMethod": "POST"})
	return d["ApiDestinationArn"].(string)
}

func (s *server) create(topic, target string, more m) m {
	body := m{"Source": "smk://" + s.broker, "RoleArn": role, "Target": target,
		"SourceParameters": m{"SelfManagedKafkaParameters": m{"TopicName": topic, "StartingPosition": "TRIM_HORIZON", "BatchSize": 1}}}
	for name, value := range more {
		body[name] = value
	}
	return body
}

func (s *server) topic() string {
	s.t.Helper()
	name := fmt.Sprintf("t%d", time.Now().UnixNano())
	if err := s.cluster.EnsureTopic(s.t.Context(), name, 1, nil); err != nil {
		s.t.Fatal(err)
	}
	return name
}

func (s *server) produce(topic string, values ...string) {
	s.t.Helper()
	for _, v := range values {
		if err := s.cluster.Produce(s.t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
}

var eventually = waittest.Until

func TestLifeOfAPipe(t *testing.T) {
	s, h := start(t), newHook(t)
	topic := s.topic()
	name := "orders." + topic
	arn := s.destination(topic, h.URL+"/in")
	status, _, answer := s.ask("POST", "/v1/pipes/"+name, nil, s.create(topic, arn, m{"Tags": m{"a": "1"}}))
	if status != 200 || answer["CurrentState"] != "CREATING" || answer["Arn"] != "arn:aws:pipes:us-east-1:000000000000:pipe/"+name {
		t.Fatalf("create: %d %v", status, answer)
	}
	s.state(name, "RUNNING")
	s.produce(topic, `{"n":1}`)
	eventually(t, "it is delivered", func() bool { return len(h.taken()) == 1 })
	if c := h.taken()[0]; c.key != "s3cret" || c.path != "/in" || !strings.Contains(c.body, `"value":"eyJuIjoxfQ=="`) {
		t.Fatalf("delivered %+v", c)
	}
	if status, _, answer = s.ask("POST", "/v1/pipes/"+name+"/stop", nil, nil); status != 200 || answer["DesiredState"] != "STOPPED" {
		t.Fatalf("stop: %d %v", status, answer)
	}
	s.state(name, "STOPPED")
	s.produce(topic, `{"n":2}`)
	if status, _, answer = s.ask("POST", "/v1/pipes/"+name+"/start", nil, nil); status != 200 || answer["DesiredState"] != "RUNNING" {
		t.Fatalf("start: %d %v", status, answer)
	}
	eventually(t, "the second is delivered", func() bool { return len(h.taken()) == 2 })
	s.state(name, "RUNNING")
	update := m{"RoleArn": role, "TargetParameters": m{"InputTemplate": `{"got":<$.value.n>}`}}
	if status, _, answer = s.ask("PUT", "/v1/pipes/"+name, nil, update); status != 200 || answer["CurrentState"] != "UPDATING" {
		t.Fatalf("update: %d %v", status, answer)
	}
	d := s.state(name, "RUNNING")
	if d["Target"] != arn || d["Tags"].(m)["a"] != "1" || d["SourceParameters"].(m)["SelfManagedKafkaParameters"].(m)["TopicName"] != topic {
		t.Fatalf("described %v", d)
	}
	s.produce(topic, `{"n":3}`)
	eventually(t, "the third is delivered", func() bool { return len(h.taken()) == 3 })
	if c := h.taken()[2]; c.body != `{"got":3}` {
		t.Fatalf("delivered %+v", c)
	}

	s.events("UpdateConnection", m{"Name": topic, "AuthParameters": m{"ApiKeyAuthParameters": m{"ApiKeyValue": "other"}}})
	eventually(t, "the new key is used", func() bool {
		s.produce(topic, `{"n":4}`)
		calls := h.taken()
		return calls[len(calls)-1].key == "other"
	})
	s.events("DeauthorizeConnection", m{"Name": topic})
	eventually(t, "the pipe has stopped", func() bool {
		_, _, d := s.ask("GET", "/v1/pipes/"+name, nil, nil)
		return d["CurrentState"] == "UPDATE_FAILED" && strings.Contains(fmt.Sprint(d["StateReason"]), "not authorized")
	})

	tags := "/tags/" + url.PathEscape("arn:aws:pipes:us-east-1:000000000000:pipe/"+name)
	if status, _, _ = s.ask("POST", tags, nil, m{"tags": m{"b": "2"}}); status != 200 {
		t.Fatalf("tag: %d", status)
	}
	if _, _, answer = s.ask("GET", tags, nil, nil); fmt.Sprint(answer["tags"]) != "map[a:1 b:2]" {
		t.Fatalf("tags: %v", answer)
	}
	if status, _, _ = s.ask("DELETE", tags+"?tagKeys=a&tagKeys=none", nil, nil); status != 200 {
		t.Fatalf("untag: %d", status)
	}
	if status, _, answer = s.ask("DELETE", "/v1/pipes/"+name, nil, nil); status != 200 || answer["DesiredState"] != "DELETED" || answer["CurrentState"] != "DELETING" {
		t.Fatalf("delete: %d %v", status, answer)
	}
	if status, header, answer := s.ask("GET", "/v1/pipes/"+name, nil, nil); status != 404 || header.Get("X-Amzn-Errortype") != "NotFoundException" || !strings.Contains(fmt.Sprint(answer["message"]), name) {
		t.Fatalf("after it was deleted: %d %v", status, answer)
	}
}

// pipes.md 3: a group that klamm has made is deleted with its pipe, and one with a name of
// its own stays.
func TestAGeneratedGroupGoesWithItsPipe(t *testing.T) {
	s := start(t)
	groups := func(prefix string) (n int) {
		all, err := s.cluster.ListGroups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			if strings.HasPrefix(g.ID, prefix) {
				n++
			}
		}
		return n
	}
	deleted := func(group string) (prefix string) {
		topic := s.topic()
		doc := s.create(topic, "arn:klamm:kafka:::topic/"+topic+".out", nil)
		if prefix = "klamm-pipe-" + topic + "-"; group != "" {
			prefix = group + topic
			doc["SourceParameters"].(m)["SelfManagedKafkaParameters"].(m)["ConsumerGroupID"] = prefix
		}
		if status, _, answer := s.ask("POST", "/v1/pipes/"+topic, nil, doc); status != 200 {
			t.Fatalf("create: %d %v", status, answer)
		}
		s.state(topic, "RUNNING")
		s.produce(topic, "{}")
		eventually(t, "there is a group "+prefix, func() bool { return groups(prefix) == 1 })
		if status, _, answer := s.ask("DELETE", "/v1/pipes/"+topic, nil, nil); status != 200 {
			t.Fatalf("delete: %d %v", status, answer)
		}
		return prefix
	}
	own, generated := deleted("own"), deleted("")
	eventually(t, "the group is gone", func() bool { return groups(generated) == 0 })
	if groups(own) != 1 {
		t.Errorf("group %s was not klamm's to delete", own)
	}
}

func TestWhatCannotRunCanBeStopped(t *testing.T) {
	s := start(t)
	topic := s.topic()
	doc := s.create(topic, "arn:klamm:kafka:::topic/out", m{"Source": "arn:klamm:kafka:::cluster/nowhere"})
	if status, _, answer := s.ask("POST", "/v1/pipes/"+topic, nil, doc); status != 200 {
		t.Fatalf("create: %d %v", status, answer)
	}
	s.failed(topic, "CREATE_FAILED", "nowhere")
	if status, _, answer := s.ask("POST", "/v1/pipes/"+topic+"/stop", nil, nil); status != 200 || answer["CurrentState"] != "STOPPING" {
		t.Fatalf("stop: %d %v", status, answer)
	}
	s.failed(topic, "STOPPED", "nowhere")
	if status, _, answer := s.ask("POST", "/v1/pipes/"+topic+"/start", nil, nil); status != 200 || answer["CurrentState"] != "STARTING" {
		t.Fatalf("start: %d %v", status, answer)
	}
	s.failed(topic, "START_FAILED", "nowhere")
}

// What reads from a cluster that is gone does not keep others from being seen.
func TestASourceThatIsGoneHidesNoOtherPipes(t *testing.T) {
	s := start(t)
	topic := s.topic()
	gone := "smk://127.0.0.1:1"
	for name, more := range map[string]m{"gone-stopped-" + topic: {"Source": gone, "DesiredState": "STOPPED"}, "gone-running-" + topic: {"Source": gone}, "here-" + topic: {"DesiredState": "STOPPED"}} {
		if status, _, answer := s.ask("POST", "/v1/pipes/"+name, nil, s.create(topic, "arn:klamm:kafka:::topic/out", more)); status != 200 {
			t.Fatalf("create: %d %v", status, answer)
		}
	}
	s.failed("gone-stopped-"+topic, "STOPPED", "cannot be asked")
	s.failed("gone-running-"+topic, "CREATE_FAILED", "no broker answers")
	s.state("here-"+topic, "STOPPED")
	status, _, answer := s.ask("GET", "/v1/pipes", nil, nil)
	if list, _ := answer["Pipes"].([]any); status != 200 || len(list) < 3 {
		t.Errorf("%d %v", status, answer)
	}
	all, err := s.runner.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, one := range all {
		said[one.Pipe] = one.State + " " + one.Reason
	}
	for name, want := range map[string]string{"gone-stopped-": "paused stopped by its definition; its cluster cannot be asked", "gone-running-": "running its cluster cannot be asked", "here-": "paused stopped by its definition"} {
		if got := said[name+topic]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"gone-stopped-", "here-"} {
		if state, _ := s.runner.Standing(name + topic); state != pipe.Paused {
			t.Errorf("%s is %s", name, state)
		}
	}
}

// failed waits until a pipe is in a state for a reason that has a word in it.
func (s *server) failed(pipe, state, word string) {
	s.t.Helper()
	eventually(s.t, pipe+" is "+state, func() bool {
		_, _, d := s.ask("GET", "/v1/pipes/"+pipe, nil, nil)
		return d["CurrentState"] == state && strings.Contains(fmt.Sprint(d["StateReason"]), word)
	})
}

func TestRefusedPipes(t *testing.T) {
	s := start(t)
	arn := s.destination(fmt.Sprintf("d%d", time.Now().UnixNano()), "http://127.0.0.1:9/x")
	topicTarget := "arn:klamm:kafka:::topic/out"
	source := func(more m) m {
		k := m{"TopicName": "in"}
		for name, value := range more {
			k[name] = value
		}
		return m{"SourceParameters": m{"SelfManagedKafkaParameters": k}}
	}
	for _, c := range []struct {
		name, target string
		more         m
		want         string
	}{
		{"no role", topicTarget, m{"RoleArn": nil}, "roleArn"},
		{"another source", topicTarget, m{"Source": "arn:aws:kinesis:us-east-1:000000000000:stream/s"}, "source"},
		{"no parameters", topicTarget, m{"SourceParameters": m{}}, "sourceParameters"},
		{"a batch of nothing", topicTarget, source(m{"BatchSize": 0}), "batchSize"},
		{"half a record", topicTarget, source(m{"BatchSize": 1.5}), "whole number"},
		{"a long window", topicTarget, source(m{"MaximumBatchingWindowInSeconds": 301}), "maximumBatchingWindowInSeconds"},
		{"no such position", topicTarget, source(m{"StartingPosition": "AT_TIMESTAMP"}), "[TRIM_HORIZON, LATEST]"},
		{"two ways to log in", topicTarget, source(m{"Credentials": m{"BasicAuth": "x", "SaslScram512Auth": "y"}}), "exactly one"},
		{"batches for an API destination", arn, source(m{"BatchSize": 10}), "BatchSize must be 1"},
		{"a loop", "arn:klamm:kafka:::topic/in", source(nil), "topic in is read by this very pipe"},
		{"a function", "arn:aws:lambda:us-east-1:000000000000:function:f", source(m{"BatchSize": 1}), "function:f does not exist"},
		{"a bus", "arn:aws:events:us-east-1:000000000000:event-bus/b", source(m{"BatchSize": 1}), "event-bus/b does not exist"},
		{"a notification topic", "arn:aws:sns:us-east-1:000000000000:q", source(m{"BatchSize": 1}), "no target of this kind"},
		{"no such API", "arn:aws:execute-api:us-east-1:000000000000:none/test/POST/x", source(m{"BatchSize": 1}), "API none has no URL"},
		{"batches for an API", "arn:aws:execute-api:us-east-1:000000000000:abc/test/POST/x", source(m{"BatchSize": 2}), "BatchSize must be 1"},
		{"too large batches for a bus", "arn:aws:events:us-east-1:000000000000:event-bus/default", source(m{"BatchSize": 11}), "BatchSize must be at most 10"},
		{"a third server", topicTarget, source(m{"AdditionalBootstrapServers": []string{"a:1", "b"}}), "additionalBootstrapServers.2.member"},
		{"a wrong way to run a machine", topicTarget, m{"TargetParameters": m{"StepFunctionStateMachineParameters": m{"InvocationType": "LATER"}}}, "stepFunctionStateMachineParameters.invocationType"},
		{"no partition key", topicTarget, m{"TargetParameters": m{"KinesisStreamParameters": m{}}}, "kinesisStreamParameters.partitionKey"},
		{"a long message group", topicTarget, m{"TargetParameters": m{"SqsQueueParameters": m{"MessageGroupId": strings.Repeat("x", 101)}}}, "sqsQueueParameters.messageGroupId"},
		{"a time of logs that is no path", topicTarget, m{"TargetParameters": m{"CloudWatchLogsParameters": m{"Timestamp": "noon"}}}, "cloudWatchLogsParameters.timestamp"},
		{"a number for a text", topicTarget, m{"TargetParameters": m{"SqsQueueParameters": m{"MessageGroupId": 7}}}, "sqsQueueParameters"},
		{"no such destination", "arn:aws:events:us-east-1:000000000000:api-destination/none/1-2", source(m{"BatchSize": 1}), "does not exist"},
		{"a header of its own", arn, m{"TargetParameters": m{"HttpParameters": m{"HeaderParameters": m{"Host": "x"}}}}, "Host"},
		{"a wrong filter", topicTarget, m{"SourceParameters": m{"SelfManagedKafkaParameters": m{"TopicName": "in"}, "FilterCriteria": m{"Filters": []m{{"Pattern": `{"value":{"a":[{"prefix":5}]}}`}}}}},
			"1 validation error detected: sourceParameters.filterCriteria.filters.1.member.pattern: Event pattern is not valid. Reason: prefix match pattern must be a string"},
		{"a long template", topicTarget, m{"TargetParameters": m{"InputTemplate": `"` + strings.Repeat("é", 8191) + `"`}}, "1 validation error detected: Value '***' at 'targetParameters.inputTemplate'"},
		{"a wrong template", topicTarget, m{"TargetParameters": m{"InputTemplate": "{\"a\": <$.value.id}"}}, "template"},
		{"a wrong way to invoke", topicTarget, m{"TargetParameters": m{"LambdaFunctionParameters": m{"InvocationType": "LATER"}}}, "REQUEST_RESPONSE, FIRE_AND_FORGET"},
		{"parameters of two kinds", topicTarget, m{"TargetParameters": m{"LambdaFunctionParameters": m{}, "SqsQueueParameters": m{"MessageGroupId": "g"}}}, "at most one structure"},
		{"a log that is not JSON", topicTarget, m{"LogConfiguration": m{"Level": "INFO", "S3LogDestination": m{"BucketName": "logs", "BucketOwner": "000000000000", "OutputFormat": "w3c"}}}, "only json"},
		{"a wrong log level", topicTarget, m{"LogConfiguration": m{"Level": "LOUD"}}, "logConfiguration.level"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, answer := s.ask("POST", "/v1/pipes/p", nil, s.create("in", c.target, c.more))
			name := header.Get("X-Amzn-Errortype")
			if status != 400 || name != "ValidationException" && name != "SerializationException" || answer["__type"] != name || !strings.Contains(fmt.Sprint(answer), c.want) {
				t.Errorf("%d %s %v, want something about %q", status, name, answer, c.want)
			}
		})
	}
	if status, _, answer := s.ask("POST", "/v1/pipes/no%20spaces", nil, s.create("in", topicTarget, nil)); status != 400 || !strings.Contains(fmt.Sprint(answer), "name") {
		t.Errorf("a wrong name: %d %v", status, answer)
	}
	status, header, answer := s.ask("POST", "/tags/arn:aws:pipes:us-east-1:000000000000:pipe%2Fp", nil, m{"Tags": m{"a": "b"}})
	if status != 400 || !strings.Contains(fmt.Sprint(answer["message"]), "Value null at 'tags' failed to satisfy constraint: Member must not be null") || len(header.Get("X-Amzn-Requestid")) != 36 {
		t.Errorf("no tags: %d %v %v", status, header, answer)
	}
	for _, query := range []string{"Limit=0", "Limit=101", "Limit=x", "NextToken=nonsense", "CurrentState=ASLEEP"} {
		if status, _, _ := s.ask("GET", "/v1/pipes?"+query, nil, nil); status != 400 {
			t.Errorf("%s: %d", query, status)
		}
	}
}

func TestListsHavePages(t *testing.T) {
	s := start(t)
	prefix := fmt.Sprintf("l%d.", time.Now().UnixNano())
	for i := range 5 {
		body := s.create("in", "arn:klamm:kafka:::topic/out", m{"DesiredState": "STOPPED"})
		if status, _, answer := s.ask("POST", fmt.Sprintf("/v1/pipes/%s%d", prefix, i), nil, body); status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
	}
	var seen []string
	for token := ""; ; {
		_, _, answer := s.ask("GET", "/v1/pipes?Limit=2&NamePrefix="+prefix+token, nil, nil)
		for _, p := range answer["Pipes"].([]any) {
			seen = append(seen, p.(m)["Name"].(string))
		}
		next, ok := answer["NextToken"].(string)
		if !ok {
			break
		}
		token = "&NextToken=" + url.QueryEscape(next)
	}
	if fmt.Sprint(seen) != fmt.Sprintf("[%[1]s0 %[1]s1 %[1]s2 %[1]s3 %[1]s4]", prefix) {
		t.Errorf("seen %v", seen)
	}
}

func TestSecretsOfConnectionsStayHidden(t *testing.T) {
	s := start(t)
	name := fmt.Sprintf("c%d", time.Now().UnixNano())
	params := m{"BasicAuthParameters": m{"Username": "u", "Password": "p4ssword"}, "InvocationHttpParameters": m{"HeaderParameters": []m{{"Key": "X-A", "Value": "shown"}, {"Key": "X-B", "Value": "h1dden", "IsValueSecret": true}}}}
	s.events("CreateConnection", m{"Name": name, "AuthorizationType": "BASIC", "AuthParameters": params})
	d := s.events("DescribeConnection", m{"Name": name})
	text, _ := json.Marshal(d)
	if d["ConnectionState"] != "AUTHORIZED" || strings.Contains(string(text), "p4ssword") || strings.Contains(string(text), "h1dden") || !strings.Contains(string(text), "shown") || !strings.Contains(string(text), `"Username":"u"`) {
		t.Errorf("described %s", text)
	}
	doc, ok := s.store.Look(catalog.KindConnection, name)
	if !ok || strings.Contains(string(doc.Body), "p4ssword") || strings.Contains(string(doc.Body), "h1dden") {
		t.Errorf("stored %s", doc.Body)
	}
	for _, c := range []struct {
		operation string
		body      any
		name      string
		want      string
	}{
		{"CreateConnection", m{"Name": name, "AuthorizationType": "BASIC", "AuthParameters": params}, "ResourceAlreadyExistsException", name},
		{"DescribeConnection", m{"Name": "none"}, "ResourceNotFoundException", "Failed to describe the connection(s). Connection 'none' does not exist."},
		{"DescribeApiDestination", m{"Name": "none"}, "ResourceNotFoundException", "Failed to describe the api-destination(s). An api-destination 'none' does not exist."},
		{"CreateConnection", m{"Name": "b", "AuthorizationType": "BASIC", "AuthParameters": m{}}, "ValidationException", "BasicAuthParameters"},
		{"CreateConnection", `{"Name": 5}`, "SerializationException", "Name"},
		{"PutNothing", m{}, "UnknownOperationException", ""},
	} {
		status, header, answer := s.ask("POST", "/", http.Header{"X-Amz-Target": {"AWSEvents." + c.operation}}, c.body)
		if status != 400 || header.Get("X-Amzn-Errortype") != c.name || answer["__type"] != c.name || !strings.Contains(fmt.Sprint(answer["message"]), c.want) {
			t.Errorf("%s: %d %v, want %s %q", c.operation, status, answer, c.name, c.want)
		}
	}
	s.events("DeleteConnection", m{"Name": name})
	if status, _, _ := s.ask("POST", "/", http.Header{"X-Amz-Target": {"AWSEvents.DescribeConnection"}}, m{"Name": name}); status != 400 {
		t.Errorf("after it was deleted: %d", status)
	}
}
