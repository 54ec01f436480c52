package pipe_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// A shop is a schema registry with one schema, which can be away.
type shop struct {
	url      string
	away     atomic.Bool
	requests atomic.Int64
}

func openShop(t *testing.T) *shop {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	fake.SeedSchema("orders-value", 1, 7, sr.Schema{Schema: `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}`})
	fake.SeedSchema("people-value", 1, 8, sr.Schema{Type: sr.TypeJSON, Schema: `{"type":"object","required":["name"]}`})
	s := &shop{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Header.Get("X-Amz-Target") == "AWSGlue.GetSchemaVersion" {
			answerGlue(w, r)
			return
		}
		fake.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func answerGlue(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["SchemaVersionId"] != petID {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"EntityNotFoundException","message":"no such version"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"DataFormat": "PROTOBUF", "Status": "AVAILABLE",
		"SchemaDefinition": `syntax = "proto3"; message Pet { message Toy { string name = 1; } string name = 1; }`})
}

func (s *shop) client(t *testing.T) *schema.Client {
	t.Helper()
	r, err := schema.OpenHTTP(context.Background(), schema.Config{URL: s.url}, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return schema.NewClient(r, nil, false)
}

// glue opens the registry of AWS Glue that the shop is too, with one schema: of a
// Protobuf file with the messages Pet and Pet.Toy.
func (s *shop) glue(t *testing.T) *schema.Client {
	t.Helper()
	g := schema.OpenGlue(schema.Glue{Region: "eu-west-3", Endpoint: s.url}, 0, func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
	}, nil)
	t.Cleanup(g.Close)
	return schema.NewClient(nil, g, false)
}

const (
	petID   = "01020304-0506-0708-090a-0b0c0d0e0f10"
	petRex  = "\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x00\x0a\x03Rex" // {"name":"Rex"}
	petGone = "\x03\x00\x09\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x00"            // of a version that there is not
)

const (
	orderOne   = "\x00\x00\x00\x00\x07\x02\x02\x02x"       // {"id":1,"note":"x"}
	orderTwo   = "\x00\x00\x00\x00\x07\x04\x00"            // {"id":2,"note":null}
	orderTen   = "\x00\x00\x00\x00\x07\x14\x00"            // {"id":10,"note":null}
	orderShort = "\x00\x00\x00\x00\x07"                    // nothing of an order
	orderGone  = "\x00\x00\x00\x00\x63\x02"                // of a schema that there is not
	personGood = "\x00\x00\x00\x00\x08{\"name\": \"Ada\"}" // a person
	personBad  = "\x00\x00\x00\x00\x08{\"nom\": \"Ada\"}"  // not a person
)

// A hook keeps what it is given.
type hook struct {
	mu     sync.Mutex
	bodies []string
}

func (h *hook) Deliver(_ context.Context, events []*event.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		h.bodies = append(h.bodies, string(e.Payload()))
	}
	return nil
}

func (h *hook) Close() error { return nil }

func (h *hook) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.bodies)
}

func (h *hook) run(t *testing.T, c *kafka.Cluster, s *shop, def catalog.Pipe) {
	t.Helper()
	runHook(t, c, h, s.client(t), def)
}

// runHook runs a pipe that delivers to a target of the test's own.
func runHook(t *testing.T, c *kafka.Cluster, to target.Target, schemas *schema.Client, def catalog.Pipe) {
	t.Helper()
	def.Target = catalog.Target{Kind: "hook"}
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pipe.New(pipe.Config{
		Cluster: c, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Grace: 5 * time.Second, Schemas: schemas,
		Kinds: []target.Kind{{Name: "hook", Config: func() target.Config { return &noConfig{} }, Open: func(json.RawMessage, target.Env) (target.Target, error) { return to, nil }}},
	}, []catalog.Pipe{def})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// order is a pipe that reads a topic from its beginning, record by record.
func order(topic string) catalog.Pipe {
	return catalog.Pipe{
		Name: topic[:min(len(topic), 64)], Topics: []string{topic}, Group: "group-" + topic, Start: "earliest",
		Delivery: catalog.Delivery{Order: catalog.OrderPartition, DeadLetter: topic + "-dead", Backoff: catalog.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}},
	}
}

func TestConnectorsTakeEnvelopesOff(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	def := order(name)
	def.Connector = &catalog.Connector{Name: "c", Enveloped: true}
	def.Delivery.DeadLetter = topic(t, c, 1)
	write(t, c, name, `{"schema":{"type":"string"},"payload":{"id": 1.0}}`, `{"id":2}`, `{"schema":null,"payload":null}`, `{broken`, `{"payload":"x","schema":null}`)
	h := &hook{}
	runHook(t, c, h, nil, def)
	eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 5 })
	if diff := cmp.Diff([]string{`{"id": 1.0}`, "null", `"x"`}, h.got()); diff != "" {
		t.Error(diff)
	}
}

func TestPipesSeeDecodedValues(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	for _, w := range []struct {
		name   string
		change func(*catalog.Pipe)
		want   []string
	}{
		{"filter and own bytes", func(p *catalog.Pipe) { p.Filter = json.RawMessage(`{"value":{"id":[{"numeric":["<",5]}]}}`) }, []string{orderOne, orderTwo}},
		{"filter and JSON", func(p *catalog.Pipe) {
			p.Filter, p.Decode = json.RawMessage(`{"value":{"note":[{"exists":true}],"id":[1]}}`), "json"
		}, []string{`{"id":1,"note":"x"}`}},
		{"template", func(p *catalog.Pipe) { p.Transform = &transform.Spec{Template: `{"got":<$.value.id>}`} }, []string{`{"got":1}`, `{"got":2}`, `{"got":10}`}},
		{"nothing", func(*catalog.Pipe) {}, []string{orderOne, orderTwo, orderTen}},
	} {
		t.Run(w.name, func(t *testing.T) {
			name := topic(t, c, 1)
			write(t, c, name, orderOne, orderTwo, orderTen)
			def := order(name)
			w.change(&def)
			h := &hook{}
			h.run(t, c, s, def)
			eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 3 })
			if diff := cmp.Diff(w.want, h.got()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPipesKeepWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	name := topic(t, c, 1)
	write(t, c, name, orderGone, orderShort, orderOne, "plain", "\x00\x00\x00\x00\x00number")
	def := order(name)
	def.Decode, def.Delivery.DeadLetter = "json", topic(t, c, 1)
	h := &hook{}
	h.run(t, c, s, def)
	eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 5 })
	if diff := cmp.Diff([]string{`{"id":1,"note":"x"}`, "plain", "\x00\x00\x00\x00\x00number"}, h.got()); diff != "" {
		t.Error(diff)
	}
	letters, err := c.Fetch(t.Context(), def.Delivery.DeadLetter, 0, 0, kafka.Limits{Records: 10, Wait: time.Second})
	if err != nil || len(letters) != 2 {
		t.Fatalf("%d dead letters, %v", len(letters), err)
	}
	reasons := map[string]string{}
	for _, letter := range letters {
		reasons[string(letter.Value)] = headerOf(letter, "klamm.reason")
	}
	for value, want := range map[string]string{orderGone: "40403", orderShort: "id: the bytes end too early"} {
		if !strings.Contains(reasons[value], want) {
			t.Errorf("%x: the reason is %q, want %q in it", value, reasons[value], want)
		}
	}
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func TestPipesWaitForTheRegistry(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	name := topic(t, c, 1)
	write(t, c, name, "before", orderOne, orderTen, orderTwo)
	def := order(name)
	def.Delivery.Order = catalog.OrderNone
	def.Filter = json.RawMessage(`{"value":{"id":[{"numeric":["<",5]}]}}`) // text passes it
	def.Transform = &transform.Spec{Template: `{"got":<$.value.id>}`}
	s.away.Store(true)
	h := &hook{}
	h.run(t, c, s, def)
	eventually(t, "what needs no registry", func() bool { return len(h.got()) == 1 })
	asked := s.requests.Load()
	eventually(t, "the registry is asked again", func() bool { return s.requests.Load() > asked })
	if n := committed(t, c, def.Group, name); n > 1 {
		t.Errorf("%d records are committed while the registry is away", n)
	}
	s.away.Store(false)
	eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 4 })
	got := h.got()[1:]
	slices.Sort(got)
	if diff := cmp.Diff([]string{`{"got":1}`, `{"got":2}`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPipesGiveUpOnTheRegistryWhereTheyAreTold(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	name := topic(t, c, 1)
	write(t, c, name, orderOne)
	def := order(name)
	def.Decode, def.Delivery.Attempts, def.Delivery.DeadLetter = "json", 2, topic(t, c, 1)
	s.away.Store(true)
	h := &hook{}
	h.run(t, c, s, def)
	eventually(t, "given up", func() bool { return committed(t, c, def.Group, name) == 1 })
	letters, err := c.Fetch(t.Context(), def.Delivery.DeadLetter, 0, 0, kafka.Limits{Records: 10, Wait: time.Second})
	if err != nil || len(letters) != 1 || string(letters[0].Value) != orderOne || len(h.got()) != 0 {
		t.Errorf("%d dead letters, %v", len(letters), err)
	}
}

// runDecoding runs a mapping with a schema registry.
func (c *clerk) runDecoding(t *testing.T, cluster *kafka.Cluster, s *shop, name string, change func(*catalog.Envelope)) (catalog.Pipe, *prometheus.Registry) {
	t.Helper()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	def := catalog.Pipe{
		Name: catalog.MappingPipe(name), Topics: []string{name}, Group: "group-" + name, Start: "earliest",
		Delivery: catalog.Delivery{Timeout: time.Minute, Order: catalog.OrderPartition, InFlight: 100, Log: "none", Batch: catalog.Batch{Records: 100, Wait: 50 * time.Millisecond}},
		Envelope: &catalog.Envelope{Mapping: name, Function: "clerk", FunctionARN: "arn:clerk", EventSource: "aws:kafka", Bootstrap: "one:1", Schemas: &catalog.MappingSchemas{URL: s.url, Value: true}},
	}
	change(def.Envelope)
	registry := prometheus.NewRegistry()
	r, err := pipe.New(pipe.Config{
		Cluster: cluster, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(registry), Log: slog.New(slog.DiscardHandler), Grace: 5 * time.Second,
		OpenRegistry: func(m catalog.MappingSchemas) (*schema.Client, func(), error) {
			if _, ok := schema.GlueRegion(m.URL); ok {
				return s.glue(t), func() {}, nil
			}
			return s.client(t), func() {}, nil
		},
		Invoke: func(_ context.Context, _ string, in function.Invocation) (function.Outcome, error) {
			c.mu.Lock()
			c.events = append(c.events, string(in.Payload))
			c.mu.Unlock()
			return function.Outcome{ID: in.ID}, nil
		},
	}, []catalog.Pipe{def})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return def, registry
}

func TestMappingDecodes(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	for _, w := range []struct {
		name   string
		source bool
		want   []string // values, and what is said of them
	}{
		{"json", false, []string{`{"id":1,"note":"x"}`, `{"dataFormat":"AVRO","schemaId":"7"}`, `{"name":"Ada"}`, `{"dataFormat":"JSON","schemaId":"8"}`}},
		{"source", true, []string{"\x02\x02\x02x", `{"dataFormat":"AVRO","schemaId":"7"}`, `{"name": "Ada"}`, `{"dataFormat":"JSON","schemaId":"8"}`}},
	} {
		t.Run(w.name, func(t *testing.T) {
			name, failures := topic(t, c, 1), topic(t, c, 1)
			write(t, c, name, orderOne, orderTen, orderGone, orderShort, "plain", personBad, personGood)
			clerk := &clerk{}
			def, registry := clerk.runDecoding(t, c, s, name, func(e *catalog.Envelope) {
				e.Schemas.Source, e.FailureTopic = w.source, failures
				e.Filters = []json.RawMessage{json.RawMessage(`{"value":{"id":[{"numeric":["<",5]}]}}`), json.RawMessage(`{"value":{"name":[{"exists":true}]}}`)}
			})
			eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 7 })
			var got []string
			for _, payload := range clerk.calls() {
				var e struct {
					Records map[string][]struct {
						Value               string          `json:"value"`
						ValueSchemaMetadata json.RawMessage `json:"valueSchemaMetadata"`
					} `json:"records"`
				}
				if err := json.Unmarshal([]byte(payload), &e); err != nil {
					t.Fatal(err)
				}
				for _, records := range e.Records {
					for _, r := range records {
						value, err := base64.StdEncoding.DecodeString(r.Value)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, string(value), string(r.ValueSchemaMetadata))
					}
				}
			}
			if diff := cmp.Diff(w.want, got); diff != "" {
				t.Error(diff)
			}
			letters, err := c.Fetch(t.Context(), failures, 0, 0, kafka.Limits{Records: 10, Wait: time.Second})
			if err != nil || len(letters) != 4 {
				t.Fatalf("%d messages in the failure topic, %v, want 4", len(letters), err)
			}
			conditions := map[string]int{}
			for _, letter := range letters {
				var said struct {
					RequestContext struct{ Condition string }
				}
				if err := json.Unmarshal(letter.Value, &said); err != nil {
					t.Fatal(err)
				}
				conditions[said.RequestContext.Condition]++
			}
			if diff := cmp.Diff(map[string]int{"SCHEMA_NOT_FOUND": 1, "DESERIALIZATION_ERROR": 3}, conditions); diff != "" {
				t.Error(diff)
			}
			if n := gathered(t, registry, "klamm_esm_deserialization_error_count"); n != 4 {
				t.Errorf("%v errors are counted", n)
			}
		})
	}
}

// Pipes and mappings decode what was written with AWS Glue; a mapping that wants the
// source loses the frame, and no byte more.
func TestGlueIsDecoded(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	name := topic(t, c, 1)
	write(t, c, name, petRex)
	def := order(name)
	def.Decode = "json"
	h := &hook{}
	runHook(t, c, h, s.glue(t), def)
	eventually(t, "delivered", func() bool { return len(h.got()) == 1 })
	if got := h.got()[0]; got != `{"name":"Rex"}` {
		t.Errorf("got %s", got)
	}
	for source, want := range map[bool]string{false: `{"name":"Rex"}`, true: "\x00\x0a\x03Rex"} {
		name, failures := topic(t, c, 1), topic(t, c, 1)
		write(t, c, name, petRex, petGone, orderOne)
		clerk := &clerk{}
		def, _ := clerk.runDecoding(t, c, s, name, func(e *catalog.Envelope) {
			e.Schemas.URL, e.Schemas.Source, e.FailureTopic = "arn:aws:glue:eu-west-3:111122223333:registry/zoo", source, failures
		})
		eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 3 })
		if diff := cmp.Diff([][]string{{want}}, clerk.sent(t)); diff != "" {
			t.Errorf("source %t: %s", source, diff)
		}
		if calls := clerk.calls(); len(calls) != 1 || !strings.Contains(calls[0], `"valueSchemaMetadata":{"dataFormat":"PROTOBUF","schemaId":"`+petID+`"}`) {
			t.Errorf("source %t: %s", source, calls)
		}
		var told string
		eventually(t, "both failures are told", func() bool {
			letters, err := c.Fetch(t.Context(), failures, 0, 0, kafka.Limits{Records: 10, Wait: time.Second})
			told = ""
			for _, letter := range letters {
				told += string(letter.Value)
			}
			return err == nil && len(letters) == 2
		})
		if strings.Count(told, "SCHEMA_NOT_FOUND") != 1 || strings.Count(told, "DESERIALIZATION_ERROR") != 1 {
			t.Errorf("source %t: told %s", source, told)
		}
	}
}

func TestMappingWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	c, s := cluster(t), openShop(t)
	name := topic(t, c, 1)
	write(t, c, name, orderOne, orderTwo)
	s.away.Store(true)
	clerk := &clerk{}
	def, registry := clerk.runDecoding(t, c, s, name, func(e *catalog.Envelope) { e.Attempts = 1 })
	eventually(t, "it is counted", func() bool { return gathered(t, registry, "klamm_esm_schema_registry_error_count") > 1 })
	if n := committed(t, c, def.Group, name); n > 0 || len(clerk.calls()) > 0 {
		t.Errorf("%d records are committed and %d calls made while the registry is away", n, len(clerk.calls()))
	}
	s.away.Store(false)
	eventually(t, "all records done", func() bool { return committed(t, c, def.Group, name) == 2 })
	if diff := cmp.Diff([][]string{{`{"id":1,"note":"x"}`, `{"id":2,"note":null}`}}, clerk.sent(t)); diff != "" {
		t.Error(diff)
	}
}
