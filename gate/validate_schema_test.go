package gate

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

// registered returns the client of a registry with some schemas; down makes the
// registry answer nothing more.
func registered(t *testing.T) (c *schema.Client, down *atomic.Bool) {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	fake.SeedSchema("orders-value", 1, 1, sr.Schema{Schema: `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}`})
	fake.SeedSchema("orders-value", 2, 2, sr.Schema{Schema: `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"n","type":"int"}]}`})
	fake.SeedSchema("other", 1, 3, sr.Schema{Schema: `"long"`})
	fake.SeedSchema("people-value", 1, 4, sr.Schema{Schema: `{"type":"object","required":["name"]}`, Type: sr.TypeJSON})
	fake.SeedSchema("shop.Named", 1, 5, sr.Schema{Schema: `{"type":"record","name":"shop.Named","fields":[{"name":"id","type":"long"}]}`})
	fake.SeedSchema("unions-value", 1, 6, sr.Schema{Schema: `{"type":"record","name":"U","fields":[{"name":"u","type":["null","string"]}]}`})
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
	return schema.NewClient(r, nil, false), down
}

func framed(id uint32, payload string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, id), payload...)
}

func TestRecordsKeepTheSchemasOfTheRegistry(t *testing.T) {
	c, down := registered(t)
	v, _ := validation(t,
		TopicRule{Match: "orders", Value: &PartRule{Registry: "main", Format: "AVRO", Version: []byte(`"latest"`)}},
		TopicRule{Match: "people", Value: &PartRule{Registry: "main"}},
		TopicRule{Match: "records", Value: &PartRule{Registry: "main", Subject: "record"}},
		TopicRule{Match: "named", Value: &PartRule{Registry: "main", Subject: "orders-value", Version: []byte("1")}},
		TopicRule{Match: "lenient", Value: &PartRule{Registry: "main", OnMissing: "pass", OnRegistryDown: "pass"}},
		TopicRule{Match: "strict", Value: &PartRule{Registry: "main", Subject: "unions-value"}},
		TopicRule{Match: "relaxed", Value: &PartRule{Registry: "main", Subject: "unions-value", Avro: AvroRule{Relaxed: true}}},
		TopicRule{Match: "none", Value: &PartRule{Registry: "main"}},
		TopicRule{Match: "json", Value: &PartRule{Registry: "main", Subject: "orders-value", Format: "JSON"}},
	)
	v.schemas = c
	for _, w := range []struct {
		name, topic string
		in          []byte
		stored      string // empty: as given
		want        string // what is wrong; empty: nothing
	}{
		{"framed", "orders", framed(1, "\x02"), "", ""},
		{"framed, newer", "orders", framed(2, "\x02\x04"), "", ""},
		{"framed, of another subject", "orders", framed(3, "\x02"), "", "# schema the registry has no such schema under its subject"},
		{"framed, unknown", "orders", framed(99, "\x02"), "", "# schema the registry has no such schema under its subject"},
		{"framed, broken", "orders", framed(1, ""), "", "#/id avro the bytes end too early"},
		{"plain becomes Avro", "orders", []byte(`{"id": 1, "n": 2}`), string(framed(2, "\x02\x04")), ""},
		{"plain that does not fit", "orders", []byte(`{"id": "x", "n": 2}`), "", "#/id avro want an integer"},
		{"no JSON", "orders", []byte(`{`), "", "# avro is not JSON"},
		{"none", "orders", nil, "", "# required is missing"},
		{"plain JSON stays", "people", []byte(`{ "name": 1 }`), "", ""},
		{"plain JSON that does not fit", "people", []byte(`{}`), "", "# required name is missing"},
		{"framed JSON", "people", framed(4, `{"name":1}`), "", ""},
		{"framed JSON that does not fit", "people", framed(4, `{}`), "", "# required name is missing"},
		{"by its record", "records", framed(5, "\x02"), "", ""},
		{"by another record", "records", framed(1, "\x02"), "", "# schema the registry has no such schema under its subject"},
		{"plain without a name", "records", []byte(`{"id":1}`), "", "# schema does not begin with the id of a schema, whose name is its subject"},
		{"the version", "named", framed(1, "\x02"), "", ""},
		{"plain of the version", "named", []byte(`{"id":1}`), string(framed(1, "\x02")), ""},
		{"another version", "named", framed(2, "\x02\x04"), "", "# schema does not have version 1 of its subject's schema"},
		{"a union without its branch", "strict", []byte(`{"u":"x"}`), "", `#/u avro want null or an object with one member that names the branch of the union, as in {"string": "x"}`},
		{"a union without its branch, relaxed", "relaxed", []byte(`{"u":"x"}`), string(framed(6, "\x02\x02x")), ""},
		{"missing passes", "lenient", []byte("x"), "", ""},
		{"missing", "none", []byte("x"), "", "# schema the registry has no such schema under its subject"},
		{"another format", "json", framed(1, "\x02"), "", "# schema is AVRO, and must be JSON"},
		{"plain of another format", "json", []byte(`{"id":1}`), "", "# schema has a subject with a schema of AVRO, which must be of JSON"},
	} {
		t.Run(w.name, func(t *testing.T) {
			r := &kgo.Record{Value: w.in}
			got := ""
			if e := v.check(v.of(w.topic), []*kgo.Record{r}, nil); e != nil {
				one := e.Violations[0]
				got = one.Pointer + " " + one.Keyword + " " + one.Detail
			}
			if w.stored == "" {
				w.stored = string(w.in)
			}
			if got != w.want || string(r.Value) != w.stored {
				t.Errorf("got %q and %x, want %q and %x", got, r.Value, w.want, w.stored)
			}
		})
	}
	down.Store(true)
	unknown := []*kgo.Record{{Value: framed(77, "\x02")}}
	e := v.check(v.of("orders"), unknown, nil)
	var unchecked *Error
	if e == nil || !errors.As(e.cause(), &unchecked) || Classify(e.cause()) != Unavailable {
		t.Errorf("a registry that is down: %v", e)
	}
	if e := v.check(v.of("lenient"), unknown, nil); e != nil {
		t.Errorf("a registry that is down, and does not matter: %v", e)
	}
	if e := v.check(v.of("orders"), []*kgo.Record{{Value: framed(1, "\x02")}}, nil); e != nil {
		t.Errorf("what is remembered needs no registry: %v", e)
	}
}

func TestRegistryRulesThatCannotBe(t *testing.T) {
	for name, p := range map[string]PartRule{
		"another registry": {Registry: "b"}, "format": {Registry: "main", Format: "THRIFT"}, "both": {Registry: "main", Type: "string"},
		"version": {Registry: "main", Version: []byte("0")}, "word": {Registry: "main", Version: []byte(`"newest"`)}, "missing": {Registry: "main", OnMissing: "x"},
		"down": {Registry: "main", OnRegistryDown: "x"}, "without": {Format: "AVRO", Type: "string"},
	} {
		var problems []string
		p.Validate(func(path, problem string) { problems = append(problems, path+": "+problem) })
		if len(problems) != 1 {
			t.Errorf("%s: %s", name, strings.Join(problems, "; "))
		}
	}
}
