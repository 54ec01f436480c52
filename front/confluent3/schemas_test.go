package confluent3_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

const orderAvro = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}`

// withRegistry serves with a schema registry that has a few schemas.
func withRegistry(t *testing.T) func(*gate.Gate) []front.Dialect {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	fake.SeedSchema("mine", 1, 501, sr.Schema{Schema: `"long"`})
	fake.SeedSchema("mine", 2, 502, sr.Schema{Schema: `"string"`})
	r, err := schema.OpenHTTP(context.Background(), schema.Config{URL: fake.URL()}, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return func(g *gate.Gate) []front.Dialect {
		g.UseSchemas(schema.NewClient(r, nil, false))
		return []front.Dialect{confluent3.Dialect(g, confluent3.Config{})}
	}
}

func TestProduceWithSchemas(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: withRegistry(t)})
	c := newClient(t, s)
	topic := fmt.Sprintf("schemas-%d", time.Now().UnixNano())
	s.Topic(t, topic, 1)
	quoted, err := json.Marshal(orderAvro)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		name, in string
		code     int
		want     string // in the answer
	}{
		{"avro", `{"value":{"type":"AVRO","schema":` + string(quoted) + `,"data":{"id":7,"note":null}}}`, 200, `"value":{"type":"AVRO","subject":"` + topic + `-value","schema_id":`},
		{"newest", `{"value":{"data":{"id":7,"note":{"string":"x"}}}}`, 200, `"subject":"` + topic + `-value"`},
		{"json schema and a plain key", `{"key":{"type":"STRING","data":"k"},"value":{"type":"JSONSCHEMA","subject":"people","schema":"{\"type\":\"object\"}","data":{ "a": 1 }}}`, 200, `"key":{"type":"STRING","size":1},"value":{"type":"JSONSCHEMA","subject":"people","schema_id":`},
		{"protobuf by its record", `{"key":{"type":"PROTOBUF","subject_name_strategy":"RECORD_NAME","schema":"syntax = \"proto3\"; package p; message Key { int64 n = 1; }","data":{"n":"5"}}}`, 200, `"key":{"type":"PROTOBUF","subject":"p.Key","schema_id":`},
		{"version of a subject", `{"value":{"subject":"mine","schema_version":1,"data":5}}`, 200, `"subject":"mine","schema_id":501,"schema_version":1,"size":6}`},
		{"id of a subject", `{"value":{"subject":"mine","schema_id":502,"data":"x"}}`, 200, `"subject":"mine","schema_id":502,"schema_version":2,"size":7}`},
		{"newest of a subject", `{"value":{"subject":"mine","data":"x"}}`, 200, `"schema_version":2`},
		{"id of another subject", `{"value":{"schema_id":501,"data":5}}`, 422, `Error: 42207 : Error serializing message. `},
		{"unknown id", `{"value":{"schema_id":999,"data":5}}`, 422, `Error: 42207 : Error serializing message. `},
		{"unknown subject", `{"value":{"subject":"nobody","data":5}}`, 422, `Error: 42207 : Error serializing message. `},
		{"unreadable", `{"value":{"type":"AVRO","schema":"{}","data":5}}`, 422, `Error: 42205 : Invalid schema: `},
		{"strategy without a schema", `{"value":{"subject_name_strategy":"RECORD_NAME","data":5}}`, 400, `Bad Request: `},
		{"does not fit", `{"value":{"data":{"id":"x","note":null}}}`, 400, `Bad Request: id: want an integer`},
		{"null does not fit", `{"value":{"data":null}}`, 400, `Bad Request: want an object`},
	} {
		t.Run(w.name, func(t *testing.T) {
			status, _, answer := c.do("POST", "/topics/"+topic+"/records", w.in)
			var said struct {
				Code int `json:"error_code"`
			}
			if err := json.Unmarshal(bytes.TrimSpace(answer), &said); err != nil || status != 200 || said.Code != w.code || !strings.Contains(string(answer), w.want) {
				t.Errorf("got %d %s, want %d %s", status, answer, w.code, w.want)
			}
		})
	}
	status, _, answer := c.do("POST", "/topics/"+topic+"/records:batch", `{"entries":[{"id":"1","value":{"subject":"mine","schema_id":501,"data":5}},{"id":"2","value":{"subject":"mine","schema_id":501,"data":"x"}}]}`)
	if status != 207 || !strings.Contains(string(answer), `"schema_id":501`) || !strings.Contains(string(answer), `"failures":[{"id":"2","error_code":400`) {
		t.Errorf("batch: got %d %s", status, answer)
	}
}
