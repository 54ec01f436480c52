package light

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// startMasking starts a server that masks the values of topics.
func startMasking(t *testing.T, topics string) *testServer {
	t.Helper()
	return startServerWith(t, func(c *front.Config, cluster *kafka.Cluster) {
		g := gate.New(cluster)
		v, err := gate.NewValidation([]gate.TopicRule{{Match: topics, Mask: true}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.Validate(v)
		c.Dialects = []front.Dialect{dialect(g, NewConnections(nil), usual)}
	}, brokertest.Brokers(t), usual)
}

func TestStreamsKeepMaskedValuesBack(t *testing.T) {
	t.Parallel()
	s := startMasking(t, "*")
	topic := s.topic(t, 1)
	s.write(t, topic, &kgo.Record{Key: []byte("k"), Value: []byte(`{"secret":1}`)}, &kgo.Record{Key: []byte("k")})
	for _, format := range []string{"", "&format=text", "&format=cloudevents"} {
		c := s.listen(t, "/stream/"+topic+"?from=earliest&mask=true"+format, "")
		first, second := c.next().data, c.next().data
		c.close()
		if strings.Contains(first, "secret") || !strings.Contains(first, `"key":"k"`) || !strings.Contains(first, `"value":null`) || !strings.Contains(first, `"masked":true`) {
			t.Errorf("%q: a value is sent as %s", format, first)
		}
		if strings.Contains(second, "masked") {
			t.Errorf("%q: a tombstone is sent as %s", format, second)
		}
	}
	c := s.listen(t, "/stream/"+topic+"?from=earliest", "")
	if e := c.next(); !strings.Contains(e.data, "secret") {
		t.Errorf("a program is sent %s", e.data)
	}
	c.close()
	pattern := url.QueryEscape(`{"value":{"secret":[1]}}`)
	for query, want := range map[string]int{"mask=true&pattern=" + pattern: http.StatusForbidden, "mask=true&filter=" + pattern: http.StatusForbidden, "mask=perhaps": http.StatusBadRequest} {
		refused, err := s.tryListen(t.Context(), "/stream/"+topic+"?"+query, "")
		if err != nil {
			t.Fatal(err)
		}
		if refused.resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", query, refused.resp.StatusCode, want)
		}
		refused.close()
	}
}

func TestStreamsKeepDeadLettersOfMaskedTopicsBack(t *testing.T) {
	t.Parallel()
	s := startMasking(t, "patients.*")
	topic := s.topic(t, 1)
	letter := func(from, value string) *kgo.Record {
		return &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "klamm.topic", Value: []byte(from)}}}
	}
	s.write(t, topic, letter("patients.north", `{"secret":1}`), letter("orders", `{"open":1}`))
	c := s.listen(t, "/stream/"+topic+"?from=earliest&mask=true", "")
	if first, second := c.next().data, c.next().data; strings.Contains(first, "secret") || !strings.Contains(first, `"masked":true`) || !strings.Contains(second, "open") || strings.Contains(second, "masked") {
		t.Errorf("sent as %s and %s", first, second)
	}
	c.close()
	c = s.listen(t, "/stream/"+topic+"?from=earliest&mask=true&pattern="+url.QueryEscape(`{"value":{"secret":[{"exists":true}]}}`), "")
	defer c.close()
	s.write(t, topic, letter("orders", `{"secret":2}`)) // it comes after the one that is kept back
	if e := c.next(); !strings.Contains(e.data, `"secret":2`) {
		t.Errorf("a pattern finds out about a masked value: %s", e.data)
	}
}
