package light

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

func TestStreamsShowDecodedValues(t *testing.T) {
	t.Parallel()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	fake.SeedSchema("s", 1, 7, sr.Schema{Schema: `{"type":"record","name":"R","fields":[{"name":"n","type":["null","long"]}]}`})
	r, err := schema.OpenHTTP(context.Background(), schema.Config{URL: fake.URL()}, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	s := startServerWith(t, func(c *front.Config, cluster *kafka.Cluster) {
		g := gate.New(cluster)
		g.UseSchemas(schema.NewClient(r, nil, false))
		c.Dialects = []front.Dialect{dialect(g, NewConnections(nil), usual)}
	}, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	s.write(t, topic, &kgo.Record{Value: []byte("\x00\x00\x00\x00\x07\x02\x0a")}, &kgo.Record{Value: []byte("\x00\x00\x00\x00\x07\x02\x0c")}, &kgo.Record{Value: []byte("\x00\x00\x00\x00\x09\xff")})
	c := s.listen(t, "/stream/"+topic+"?from=earliest", "")
	defer c.close()
	for _, want := range []string{`"value":{"n":5}`, `"value":{"n":6}`, `"value":{"base64":"AAAAAAn/"}`} {
		if e := c.next(); !strings.Contains(e.data, want) {
			t.Errorf("got %s, want %s in it", e.data, want)
		}
	}
	filtered := s.listen(t, "/stream/"+topic+`?from=earliest&filter=%7B%22value%22%3A%7B%22n%22%3A%5B6%5D%7D%7D`, "")
	defer filtered.close()
	if e := filtered.next(); !strings.Contains(e.data, `"value":{"n":6}`) {
		t.Errorf("the filter lets %s pass", e.data)
	}
	raw := s.listen(t, "/stream/"+topic+"?from=earliest&format=base64", "")
	defer raw.close()
	if e := raw.next(); e.data != "AAAAAAcCCg==" {
		t.Errorf("the bytes themselves are %s", e.data)
	}
}
