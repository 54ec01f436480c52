package confluent2

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/waittest"
)

// TestInstancesAreReadAsCloudEvents reads what is JSON, what is not, and what is too
// large, in instances of several formats.
func TestInstancesAreReadAsCloudEvents(t *testing.T) {
	t.Parallel()
	const accept = "application/cloudevents-batch+json"
	p := startProxy(t, Config{}, consumerConfig{bad: gate.SkipBad})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, `{"n":1}`, "no json", strings.Repeat("x", 2000), "2")
	for _, format := range []string{"binary", "json"} {
		i := p.create(t, topic+format, format)
		i.subscribe(topic)
		var got []struct {
			ID, Type string
			Data     json.RawMessage
		}
		waittest.Until(t, "four events", func() bool {
			r := p.call(t, "GET", i.path+"/records?max_bytes=1000", accept, "")
			if r.status != http.StatusOK || r.header.Get("Content-Type") != accept {
				t.Fatalf("%s: %d %s %s", format, r.status, r.header.Get("Content-Type"), r.body)
			}
			more := got[:0:0]
			if err := json.Unmarshal([]byte(r.body), &more); err != nil {
				t.Fatalf("%s: %v", r.body, err)
			}
			got = append(got, more...)
			return len(got) >= 4
		})
		want := []struct{ id, kind, data string }{
			{"partition:0/offset:0", "dev.knative.kafka.event", `{"n":1}`},
			{"partition:0/offset:1", "dev.knative.kafka.event", `"no json"`},
			{"partition:0/offset:2", "klamm.record.unreadable", ""},
			{"partition:0/offset:3", "dev.knative.kafka.event", "2"},
		}
		for n, w := range want {
			if g := got[n]; g.ID != w.id || g.Type != w.kind || w.data != "" && string(g.Data) != w.data {
				t.Errorf("%s: event %d is %+v, want %+v", format, n, g, w)
			}
		}
		if !strings.Contains(string(got[2].Data), `"error_code":413`) {
			t.Errorf("a record that is too large: %s", got[2].Data)
		}
	}
	halting := startProxy(t, Config{}, consumerConfig{})
	topic = halting.topic(t, 1)
	halting.put(t, topic, 0, strings.Repeat("x", 2000))
	halted := halting.create(t, topic, "binary")
	halted.subscribe(topic)
	if r := halting.call(t, "GET", halted.path+"/records?max_bytes=1000", accept, ""); r.status != http.StatusRequestEntityTooLarge || r.header.Get("Content-Type") != mediaV2 {
		t.Errorf("a record that is too large: %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	strict := startProxy(t, Config{StrictMediaTypes: true}, consumerConfig{})
	i := strict.create(t, topic+"strict", "binary")
	if r := strict.call(t, "GET", i.path+"/records", accept, ""); r.status != http.StatusNotAcceptable {
		t.Errorf("with strict media types: %d %s", r.status, r.body)
	}
}
