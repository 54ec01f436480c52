package confluent2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

// withRegistry is with, beside a schema registry that can be switched off.
func withRegistry(t *testing.T, cfg confluent2.Config) (dialects func(*gate.Gate) []front.Dialect, down *atomic.Bool) {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	down = new(atomic.Bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fake.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	r, err := schema.OpenHTTP(context.Background(), schema.Config{URL: server.URL}, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return func(g *gate.Gate) []front.Dialect {
		g.UseSchemas(schema.NewClient(r, nil, false))
		return []front.Dialect{confluent2.Dialect(g, cfg)}
	}, down
}

const (
	orderAvro  = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}`
	personJSON = `{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"age":{"type":"integer"}}}`
	pingProto  = "syntax = \"proto3\"; package shop; message Ping { int64 at = 1; string from_host = 2; repeated double laps = 3; }"
)

func mediaOf(format string) string { return "application/vnd.kafka." + format + ".v2+json" }

// quoted is a schema's text as it stands in a request.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestSchemaFormatsThereAndBack(t *testing.T) {
	t.Parallel()
	dialects, _ := withRegistry(t, confluent2.Config{})
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	for _, c := range []struct{ name, schema, in, want, shown string }{
		{"avro", orderAvro, `{"note": {"string": "x"}, "id": 9007199254740993}`, `{"id":9007199254740993,"note":{"string":"x"}}`, `{"id":9007199254740993,"note":"x"}`},
		{"jsonschema", personJSON, `{"name": "Ada", "age": 9007199254740993}`, `{"name":"Ada","age":9007199254740993}`, ``},
		{"protobuf", pingProto, `{"at": "9007199254740993", "from_host": "h", "laps": [0.5]}`, `{"at":"9007199254740993","fromHost":"h","laps":[0.5]}`, `{"at":"9007199254740993","from_host":"h","laps":[0.5]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := eventTopic(t, s)
			status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, fmt.Sprintf(`{"value_schema":%s,"records":[{"value":%s},{"value":%s}]}`, quoted(c.schema), c.in, c.in), "Content-Type: "+mediaOf(c.name))
			var made struct {
				ID  *int `json:"value_schema_id"`
				Key *int `json:"key_schema_id"`
			}
			if err := json.Unmarshal([]byte(answer), &made); err != nil || status != 200 || made.ID == nil || made.Key != nil {
				t.Fatalf("got %d %s", status, answer)
			}
			status, answer, _ = call(t, "POST", s.URL+"/topics/"+topic, fmt.Sprintf(`{"value_schema_id":"%d","records":[{"value":%s}]}`, *made.ID, c.in), "Content-Type: "+mediaOf(c.name))
			if status != 200 || !strings.Contains(answer, fmt.Sprintf(`"value_schema_id":%d`, *made.ID)) {
				t.Fatalf("by its id: got %d %s", status, answer)
			}
			all := stored(t, s, topic)
			if len(all) != 3 {
				t.Fatalf("%d records", len(all))
			}
			for _, r := range all {
				if string(r.Value) != string(all[0].Value) || r.Value[0] != 0 || int(r.Value[4]) != *made.ID {
					t.Errorf("stored %x", r.Value)
				}
			}
			instance := s.URL + "/consumers/g" + topic
			status, answer, _ = call(t, "POST", instance, `{"name":"i","format":"`+c.name+`","auto.offset.reset":"earliest"}`, "Content-Type: application/vnd.kafka.v2+json")
			if status != 200 {
				t.Fatalf("got %d %s", status, answer)
			}
			instance += "/instances/i"
			call(t, "POST", instance+"/assignments", `{"partitions":[{"topic":"`+topic+`","partition":0}]}`, "Content-Type: application/vnd.kafka.v2+json")
			one := `{"topic":"` + topic + `","key":null,"value":` + c.want + `,"partition":0,"offset":0}`
			for end := time.Now().Add(30 * time.Second); ; {
				status, answer, _ = call(t, "GET", instance+"/records", "", "Accept: "+mediaOf(c.name))
				if status != 200 || answer != "[]" || time.Now().After(end) {
					break
				}
			}
			if !strings.HasPrefix(answer, "["+one) {
				t.Errorf("read %d %s, want it to begin with %s", status, answer, one)
			}
			call(t, "DELETE", instance, "", "Content-Type: application/vnd.kafka.v2+json")
			if c.shown == "" {
				c.shown = c.want
			}
			if _, answer, _ = call(t, "GET", s.URL+"/topics/"+topic+"/records?count=1", ""); !strings.Contains(answer, `"value":`+c.shown) {
				t.Errorf("a stateless read shows %s, want %s", answer, c.shown)
			}
			if _, answer, _ = call(t, "GET", s.URL+"/topics/"+topic+"/records?count=1", "", "Accept: "+mediaOf(c.name)); !strings.Contains(answer, `"value":`+c.want) {
				t.Errorf("a stateless read of the format shows %s, want %s", answer, c.want)
			}
		})
	}
}

func TestSchemaErrorsWriteNothing(t *testing.T) {
	t.Parallel()
	dialects, down := withRegistry(t, confluent2.Config{})
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	without := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	good := `{"id":1,"note":null}`
	for _, c := range []struct {
		name, in     string
		status, code int
		text         string
	}{
		{"values without a schema", `{"records":[{"value":` + good + `}]}`, 422, 42202, "Request includes values but does not include value schema"},
		{"keys without a schema", `{"value_schema":` + quoted(orderAvro) + `,"records":[{"key":1,"value":` + good + `}]}`, 422, 42201, "Request includes keys but does not include key schema"},
		{"unreadable schema", `{"value_schema":"{\"type\":\"nope\"}","records":[{"value":1}]}`, 422, 42205, "Invalid schema: "},
		{"empty schema", `{"value_schema":"","records":[{"value":1}]}`, 422, 42205, "Invalid schema: it is empty"},
		{"second value does not fit", `{"value_schema":` + quoted(orderAvro) + `,"records":[{"value":` + good + `},{"value":{"id":"x","note":null}}]}`, 400, 400, "Bad Request: records[1].value: id: want an integer"},
		{"null for a record", `{"value_schema":` + quoted(orderAvro) + `,"records":[{"value":null}]}`, 400, 400, "Bad Request: records[0].value: want an object"},
		{"absent for a record", `{"value_schema":` + quoted(orderAvro) + `,"records":[{}]}`, 400, 400, "Bad Request: records[0].value: want an object"},
		{"unknown id", `{"value_schema_id":9999,"records":[{"value":1}]}`, 422, 42207, "Error serializing message. "},
		{"id 0", `{"value_schema_id":0,"records":[{"value":1}]}`, 422, 42207, "Error serializing message. "},
		{"schema and id", `{"value_schema":"\"int\"","value_schema_id":1,"records":[{"value":1}]}`, 400, 400, "Unsupported argument: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := eventTopic(t, s)
			status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, c.in, "Content-Type: "+mediaOf("avro"))
			var said struct {
				Code    int    `json:"error_code"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal([]byte(answer), &said); err != nil || status != c.status || said.Code != c.code || !strings.HasPrefix(said.Message, c.text) {
				t.Errorf("got %d %s, want %d %d %s", status, answer, c.status, c.code, c.text)
			}
			if n := len(stored(t, s, topic)); n != 0 {
				t.Errorf("%d records were written", n)
			}
		})
	}
	topic := eventTopic(t, s)
	if status, answer, _ := call(t, "POST", without.URL+"/topics/"+topic, `{"value_schema":"\"int\"","records":[{"value":1}]}`, "Content-Type: "+mediaOf("avro")); status != 422 || !strings.Contains(answer, "42206") {
		t.Errorf("without a registry: %d %s", status, answer)
	}
	down.Store(true)
	if status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, `{"value_schema":"\"int\"","records":[{"value":1}]}`, "Content-Type: "+mediaOf("avro")); status != 422 || !strings.Contains(answer, "42207") {
		t.Errorf("with a registry that is down: %d %s", status, answer)
	}
}

func TestNullsAndKeysWithSchemas(t *testing.T) {
	t.Parallel()
	dialects, _ := withRegistry(t, confluent2.Config{})
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	topic := eventTopic(t, s)
	for _, body := range []string{
		`{"value_schema":"[\"null\",\"int\"]","key_schema":"\"long\"","records":[{"key":1099511627776,"value":null},{"key":1,"value":{"int":5}}]}`,
		`{"key_schema":"\"long\"","records":[{"key":2}]}`,
		`{"records":[{}]}`,
	} {
		if status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, body, "Content-Type: "+mediaOf("avro")); status != 200 {
			t.Fatalf("%s: %d %s", body, status, answer)
		}
	}
	all := stored(t, s, topic)
	if len(all) != 4 {
		t.Fatalf("%d records", len(all))
	}
	if v := all[0].Value; len(v) != 6 || v[5] != 0 || all[0].Key[4] == v[4] {
		t.Errorf("null of a union is stored as %x, its key as %x", v, all[0].Key)
	}
	if all[2].Value != nil || all[2].Key == nil || all[3].Key != nil || all[3].Value != nil {
		t.Errorf("without a schema null is stored as %x", all[2].Value)
	}
}

func TestUndecodableRecordsAndARegistryThatIsDown(t *testing.T) {
	t.Parallel()
	dialects, _ := withRegistry(t, confluent2.Config{BadRecords: "skip"})
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	topic := eventTopic(t, s)
	results := s.Cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte("plain")}, &kgo.Record{Topic: topic, Value: []byte("\x00\x00\x00\x27\x0fx")})
	if err := results.FirstErr(); err != nil {
		t.Fatal(err)
	}
	status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, `{"value_schema":"\"int\"","records":[{"value":7}]}`, "Content-Type: "+mediaOf("avro"))
	if status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	read := func(name string) (int, string) {
		instance := s.URL + "/consumers/" + topic + name
		call(t, "POST", instance, `{"name":"i","format":"avro","auto.offset.reset":"earliest"}`, "Content-Type: application/vnd.kafka.v2+json")
		instance += "/instances/i"
		call(t, "POST", instance+"/assignments", `{"partitions":[{"topic":"`+topic+`","partition":0}]}`, "Content-Type: application/vnd.kafka.v2+json")
		for end := time.Now().Add(30 * time.Second); ; {
			status, answer, _ := call(t, "GET", instance+"/records", "", "Accept: "+mediaOf("avro"))
			if status != 200 || answer != "[]" || time.Now().After(end) {
				return status, answer
			}
		}
	}
	status, answer = read("up")
	if status != 200 || strings.Count(answer, `"error_code":40801`) != 2 || !strings.Contains(answer, `"value":7`) {
		t.Errorf("got %d %s, want two records passed over", status, answer)
	}
	// Another process knows no schema yet, and cannot ask.
	topic = eventTopic(t, s)
	if status, answer, _ = call(t, "POST", s.URL+"/topics/"+topic, `{"value_schema":"\"long\"","records":[{"value":7}]}`, "Content-Type: "+mediaOf("avro")); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	again, down := withRegistry(t, confluent2.Config{BadRecords: "skip"})
	s = fronttest.Start(t, fronttest.Setup{Dialects: again, Brokers: s.Cluster.Brokers()})
	down.Store(true)
	if status, answer = read("down"); status != 408 || !strings.Contains(answer, "40801") {
		t.Errorf("got %d %s, want the read to fail as long as the registry does", status, answer)
	}
}
