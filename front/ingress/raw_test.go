package ingress_test

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/secret"
)

// TestBodiesAreVerifiedAsTheyWereSent sends bodies with an encoding: what is signed and
// written is what came over the wire.
func TestBodiesAreVerifiedAsTheyWereSent(t *testing.T) {
	topic := topicName()
	s := start(t, brokertest.Brokers(t), ingress.Route{Path: "/in/hub", Type: "webhook", Scheme: "github", Topic: topic, Secrets: []secret.Ref{{Value: "hush"}}, Key: "$.id"})
	const plain = `{"id":"7"}`
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed := b.String()
	for _, c := range []struct {
		name, id, encoding, signed, body string
		want                             int
	}{
		{"gzip", "1", "gzip", packed, packed, 202},
		{"an encoding that klamm does not know", "2", "br", "\x0b\x02\x80", "\x0b\x02\x80", 202},
		{"an encoding that the body does not have", "3", "zstd", plain, plain, 202},
		{"a signature of what is inside", "4", "gzip", plain, packed, 401},
	} {
		headers := append(gitHub("hush", topic+c.id, "push", c.signed), "Content-Encoding: "+c.encoding)
		if status, answer, _ := s.post(t, "/in/hub", c.body, headers...); status != c.want {
			t.Errorf("%s: got %d, %s, want %d", c.name, status, answer, c.want)
		}
	}
	got := map[string]string{} // from encodings to key and value
	for _, r := range s.written(t, topic) {
		for _, h := range r.Headers {
			if h.Key == "content-encoding" {
				got[string(h.Value)] = string(r.Key) + "|" + string(r.Value)
			}
		}
	}
	if len(got) != 3 || got["gzip"] != "|"+packed || got["br"] != "|\x0b\x02\x80" || got["zstd"] != "7|"+plain {
		t.Errorf("records: %q", got)
	}
}
