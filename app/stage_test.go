package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/klamm-gateway/klamm/waittest"
)

// staged is a klamm with two stages whose topics have prefixes.
type staged struct {
	*running
	t *testing.T
}

// call makes a request with a JSON body of a media type, and returns the answer to it.
func (s staged) call(method, path, media, body string) (int, string) {
	s.t.Helper()
	var fields []string
	if media != "" {
		fields = append(fields, "Content-Type: "+media)
		if method == "GET" {
			fields = append(fields, "Accept: "+media)
		}
	}
	answer, text := s.exchange(method, path, body, fields...)
	return answer.StatusCode, text
}

// ok is call for a request that must succeed, and whose answer must not show the prefix.
func (s staged) ok(prefix, method, path, media, body string) string {
	s.t.Helper()
	status, text := s.call(method, path, media, body)
	if status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if strings.Contains(text, prefix) {
		s.t.Errorf("%s %s shows the prefix: %s", method, path, text)
	}
	return text
}

const (
	v2     = "application/vnd.kafka.v2+json"
	v2JSON = "application/vnd.kafka.json.v2+json"
)

// TestTopicPrefixHoldsInEveryAPI writes and reads through a stage whose topics have a
// prefix, by each API: callers neither write nor see it, and see nothing of the other
// stage.
func TestTopicPrefixHoldsInEveryAPI(t *testing.T) {
	own := fmt.Sprintf("%x", time.Now().UnixNano())
	prefix := "dev-" + own + "-"
	k := staged{start(t, fmt.Sprintf(`
stages:
  - {name: dev, variables: {p: "%s"}, topic_prefix: "${stage.p}", canary: {percent: 0, variables: {p: "next-%s-"}}}
  - {name: prod, topic_prefix: "prod-%s-"}
`, prefix, own, own), t.TempDir()), t}

	waittest.Until(t, "a record is written by v2", func() bool {
		status, text := k.call("POST", "/dev/topics/orders", v2JSON, `{"records":[{"key":"k","value":{"n":1}}]}`)
		return status == 200 && strings.Contains(text, `"error_code":null`)
	})
	k.ok(prefix, "POST", "/dev/topics/orders/partitions/0", v2JSON, `{"records":[{"value":{"n":2}}]}`)
	var clusters struct {
		Data []struct {
			ID string `json:"cluster_id"`
		}
	}
	if err := json.Unmarshal([]byte(k.ok(prefix, "GET", "/dev/v3/clusters", "", "")), &clusters); err != nil || len(clusters.Data) != 1 {
		t.Fatalf("%v, %v", clusters, err)
	}
	v3 := "/dev/v3/clusters/" + clusters.Data[0].ID
	if text := k.ok(prefix, "POST", v3+"/topics/orders/records", "application/json", `{"partition_id":0,"value":{"type":"JSON","data":{"n":3}}}`); !strings.Contains(text, `"topic_name":"orders"`) {
		t.Errorf("v3 has written to %s", text)
	}
	if text := k.ok(prefix, "GET", v3+"/topics/orders", "", ""); !strings.Contains(text, `"topic_name":"orders"`) {
		t.Errorf("v3 tells %s", text)
	}
	if text := k.ok(prefix, "GET", v3+"/topics", "", ""); strings.Contains(text, "prod-") || !strings.Contains(text, `"topic_name":"orders"`) {
		t.Errorf("v3 lists %s", text)
	}
	k.ok(prefix, "GET", v3+"/topics/orders/configs", "", "")
	k.ok(prefix, "GET", v3+"/topics/orders/partitions", "", "")
	if text := k.ok(prefix, "GET", "/dev/topics", "", ""); strings.TrimSpace(text) != `["orders"]` {
		t.Errorf("the topics are %s", text)
	}
	if text := k.ok(prefix, "GET", "/prod/topics", "", ""); strings.TrimSpace(text) != "[]" {
		t.Errorf("the topics of the other stage are %s", text)
	}
	for _, path := range []string{"/prod/topics/orders", "/dev/topics/" + prefix + "orders", "/prod/topics/orders/records", "/prod/stream/orders"} {
		if status, text := k.call("GET", path, "", ""); status != 404 {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if text := k.ok(prefix, "GET", "/dev/topics/orders/records?offset=earliest", "", ""); strings.Count(text, `"topic":"orders"`) != 3 {
		t.Errorf("a stateless read: %s", text)
	}
	t.Run("consumer", func(t *testing.T) { k.consumer(t, prefix, own) })
	t.Run("events", func(t *testing.T) { k.events(t, prefix) })
	t.Run("websocket", func(t *testing.T) { k.socket(t, prefix) })
	t.Run("canary", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", k.url+"/dev/topics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Klamm-Canary", "always")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close() //nolint:errcheck // a test's
		if text, err := io.ReadAll(answer.Body); err != nil || strings.TrimSpace(string(text)) != "[]" {
			t.Errorf("the canary has %s, %v", text, err)
		}
	})
}

// consumer reads as a member of a group of v2.
func (s staged) consumer(t *testing.T, prefix, group string) {
	s.t = t
	instances := "/dev/consumers/" + group
	var made struct {
		ID   string `json:"instance_id"`
		Base string `json:"base_uri"`
	}
	if err := json.Unmarshal([]byte(s.ok(prefix, "POST", instances, v2, `{"format":"json","auto.offset.reset":"earliest","auto.commit.enable":"false"}`)), &made); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(made.Base, "/dev/consumers/") {
		t.Errorf("the base URI %s does not name the stage", made.Base)
	}
	base := instances + "/instances/" + made.ID
	s.ok(prefix, "POST", base+"/subscription", v2, `{"topics":["orders"]}`)
	if text := s.ok(prefix, "GET", base+"/subscription", v2, ""); !strings.Contains(text, `["orders"]`) {
		t.Errorf("the subscription is %s", text)
	}
	read := 0
	waittest.Until(t, "three records", func() bool {
		text := s.ok(prefix, "GET", base+"/records?timeout=1000", v2JSON, "")
		read += strings.Count(text, `"topic":"orders"`)
		return read >= 3
	})
	s.ok(prefix, "POST", base+"/offsets", v2, `{"offsets":[{"topic":"orders","partition":0,"offset":1}]}`)
	if text := s.ok(prefix, "GET", base+"/offsets", v2, `{"partitions":[{"topic":"orders","partition":0}]}`); !strings.Contains(text, `"topic":"orders","partition":0,"offset":`) {
		t.Errorf("committed is %s", text)
	}
	if text := s.ok(prefix, "GET", base+"/assignments", v2, ""); !strings.Contains(text, `"topic":"orders"`) {
		t.Errorf("the assignments are %s", text)
	}
	s.ok(prefix, "DELETE", base, v2, "")
}

// events reads Server-Sent Events.
func (s staged) events(t *testing.T, prefix string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/dev/stream/orders?from=earliest", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // a test's
	seen := 0
	for lines := bufio.NewScanner(answer.Body); seen < 3 && lines.Scan(); {
		if strings.Contains(lines.Text(), prefix) {
			t.Errorf("an event shows the prefix: %s", lines.Text())
		}
		if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), `"topic":"orders"`) {
			seen++
		}
	}
	if seen != 3 {
		t.Errorf("%d records", seen)
	}
}

// socket writes and reads by a WebSocket.
func (s staged) socket(t *testing.T, prefix string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.url+"/dev/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed
	for _, m := range []string{`{"op":"subscribe","topics":["orders"],"from":"earliest"}`, `{"op":"produce","id":"1","topic":"orders","value":4}`} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	records, acks := 0, 0
	for records < 4 || acks < 1 {
		_, m, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("%d records, %d acknowledgements: %v", records, acks, err)
		}
		text := string(m)
		switch {
		case strings.Contains(text, prefix):
			t.Fatalf("a message shows the prefix: %s", text)
		case strings.Contains(text, `"op":"record"`) && strings.Contains(text, `"topic":"orders"`):
			records++
		case strings.Contains(text, `"op":"ack"`) && strings.Contains(text, `"topic":"orders"`):
			acks++
		default:
			t.Fatalf("got %s", text)
		}
	}
}
