package light

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/throttle"
)

// A wsClient is a client of a WebSocket.
type wsClient struct {
	t    *testing.T
	conn *websocket.Conn
	seen []map[string]any
}

func (s *testServer) open(t *testing.T, path string, protocols ...string) *wsClient {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), s.url+path, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &wsClient{t: t, conn: conn}
}

func (c *wsClient) send(format string, args ...any) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *wsClient) read(wait time.Duration) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), wait)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		c.t.Fatalf("%q: %v", data, err)
	}
	return m, nil
}

// until returns the next message of an operation, with an id if one is given.
func (c *wsClient) until(op string, id ...string) map[string]any {
	c.t.Helper()
	for i := 0; ; i++ {
		if i == len(c.seen) {
			m, err := c.read(time.Minute)
			if err != nil {
				c.t.Fatalf("no %s %v in %v: %v", op, id, c.seen, err)
			}
			c.seen = append(c.seen, m)
		}
		if m := c.seen[i]; m["op"] == op && (len(id) == 0 || m["id"] == id[0]) {
			c.seen = append(c.seen[:i:i], c.seen[i+1:]...)
			return m
		}
	}
}

// closed waits for the end of the connection and returns its code.
func (c *wsClient) closed() websocket.StatusCode {
	c.t.Helper()
	for {
		if _, err := c.read(time.Minute); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func TestWebSocketProducesAndConsumes(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 2)
	c := s.open(t, "/ws/"+topic, "bearer.secret", jsonProtocol, rawProtocol)
	if got := c.conn.Subprotocol(); got != jsonProtocol {
		t.Errorf("the subprotocol is %q", got)
	}
	c.send(`{"op":"ping"}`)
	c.until("pong")
	for _, m := range []string{
		`"id":"1","partition":0,"key":"k","value":{ "n": 1 },"headers":{"h":"1","b":{"base64":"/w=="},"none":null}`,
		`"id":"2","partition":0,"key":{ "a": 1 },"value":"text"`,
		`"id":"3","partition":0,"key":null,"value":null,"headers":[{"name":"a","value":"x"},{"name":"a","value":"y"}]`,
		`"id":"4","partition":0,"value":{"base64":"AP8="}`,
	} {
		c.send(`{"op":"produce",%s}`, m)
		id := m[6:7]
		if ack := c.until("ack", id); ack["partition"] != 0.0 || ack["topic"] != topic || fmt.Sprint(ack["offset"]) != fmt.Sprint(int(id[0]-'1')) {
			t.Fatalf("got %v for %s", ack, m)
		}
	}
	records, err := s.cluster.Fetch(t.Context(), topic, 0, 0, kafka.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	type plain struct{ key, value, headers string }
	var got []plain
	for _, r := range records {
		got = append(got, plain{string(r.Key), string(r.Value), fmt.Sprintf("%s", r.Headers)})
		if r.Offset == 2 && (r.Key != nil || r.Value != nil) {
			t.Error("null is not nothing")
		}
	}
	want := []plain{{"k", `{"n":1}`, "[{h 1} {b \xff} {none }]"}, {`{"a":1}`, `"text"`, "[]"}, {"", "", "[{a x} {a y}]"}, {"", "\x00\xff", "[]"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(plain{})); diff != "" {
		t.Error(diff)
	}
	c.send(`{"op":"subscribe","from":"earliest"}`)
	for offset := range 4 {
		r := c.until("record")
		if r["topic"] != topic || r["partition"] != 0.0 || r["offset"] != float64(offset) {
			t.Fatalf("got %v, want offset %d", r, offset)
		}
		if offset == 0 && fmt.Sprintf("%v %v", r["value"], r["key"]) != "map[n:1] k" {
			t.Errorf("got %v", r)
		}
	}
	c.send(`{"op":"produce","id":"9","partition":1,"value":1}`)
	if r := c.until("record"); r["partition"] != 1.0 || r["value"] != 1.0 {
		t.Errorf("got %v", r)
	}
	c.send(`{"op":"unsubscribe","topics":[%q]}`, topic)
	c.send(`{"op":"unsubscribe","topics":[%q]}`, topic)
	if e := c.until("error"); !strings.Contains(fmt.Sprint(e["problem"]), "no subscription") {
		t.Errorf("got %v", e)
	}
}

func TestWebSocketSaysWhatIsWrong(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	c, all := s.open(t, "/ws/"+topic), s.open(t, "/ws")
	for _, test := range []struct {
		name   string
		client *wsClient
		in     string
		op     string
		want   int
	}{
		{"no JSON", c, `{`, "error", 400},
		{"no object", c, `[]`, "error", 400},
		{"no operation", c, `{}`, "error", 400},
		{"a field of another kind", c, `{"op":"credit","n":"many"}`, "error", 400},
		{"credit", c, `{"op":"credit","n":0}`, "error", 400},
		{"another topic", c, `{"op":"produce","id":"x","topic":"other","value":1}`, "nack", 400},
		{"a name that no topic has", all, `{"op":"produce","id":"x","topic":"no/good","value":1}`, "nack", 400},
		{"a path for a name", all, `{"op":"produce","id":"x","topic":"..","value":1}`, "nack", 400},
		{"no topic", all, `{"op":"produce","id":"x","value":1}`, "nack", 400},
		{"no value", c, `{"op":"produce","id":"x"}`, "nack", 400},
		{"no such partition", c, `{"op":"produce","id":"x","value":1,"partition":5}`, "nack", 404},
		{"base64", c, `{"op":"produce","id":"x","value":{"base64":"?"}}`, "nack", 400},
		{"headers", c, `{"op":"produce","id":"x","value":1,"headers":5}`, "nack", 400},
		{"long id", c, `{"op":"produce","id":"` + strings.Repeat("x", 300) + `","value":1}`, "error", 400},
		{"no such topic", all, `{"op":"subscribe","topics":["none"]}`, "error", 404},
		{"from", c, `{"op":"subscribe","from":"x"}`, "error", 400},
		{"ack of nothing", c, `{"op":"ack","partition":0,"offset":0}`, "error", 409},
		{"ack without an offset", c, `{"op":"ack","partition":0}`, "error", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.client.t = t
			test.client.send("%s", test.in)
			m := test.client.until(test.op)
			field := "problem"
			if test.op == "nack" {
				field = "error"
			}
			problem, _ := m[field].(map[string]any)
			if problem["status"] != float64(test.want) || problem["detail"] == "" {
				t.Errorf("got %v, want status %d", m, test.want)
			}
		})
	}
}

func TestWebSocketCredit(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	const count = 300
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprint(i)
	}
	s.write(t, topic, values(texts...)...)
	c := s.open(t, "/ws/"+topic)
	c.send(`{"op":"subscribe","from":0}`)
	next := 0
	expect := func(n int) {
		t.Helper()
		for range n {
			if r := c.until("record"); r["offset"] != float64(next) {
				t.Fatalf("got %v, want offset %d", r, next)
			}
			next++
		}
		// Everything that was sent before the pong has been seen by then.
		c.send(`{"op":"ping"}`)
		c.until("pong")
		if len(c.seen) > 0 {
			t.Fatalf("%d records more than the credit: %v", len(c.seen), c.seen[0])
		}
	}
	expect(initialCredit)
	c.send(`{"op":"ack","partition":0,"offset":%d}`, 9)
	c.send(`{"op":"ack","partition":0,"offset":%d}`, 9)
	expect(10)
	c.send(`{"op":"credit","n":50}`)
	expect(50)
	c.send(`{"op":"ack","partition":0,"offset":%d}`, count)
	expect(count - 160)
}

func TestWebSocketInFlight(t *testing.T) {
	p := &client{}
	for range maxInFlight {
		if !p.begin() {
			t.Fatal("refused too early")
		}
	}
	if p.begin() {
		t.Errorf("more than %d are in flight", maxInFlight)
	}
	p.finish()
	if !p.begin() {
		t.Error("refused though one has ended")
	}
}

func TestWebSocketCloses(t *testing.T) {
	brokers := brokertest.Brokers(t)
	quickly := quick(func(t *times) { t.silent, t.pong = 50*time.Millisecond, 50*time.Millisecond })
	for _, test := range []struct {
		name  string
		times times
		query string
		do    func(*wsClient)
		want  websocket.StatusCode
	}{
		{"binary as JSON", usual, "", func(c *wsClient) { _ = c.conn.Write(t.Context(), websocket.MessageBinary, []byte("x")) }, 1003},
		{"not UTF-8", usual, "", func(c *wsClient) { _ = c.conn.Write(t.Context(), websocket.MessageText, []byte("\xff")) }, 1007},
		{"too large", usual, "", func(c *wsClient) { _ = c.conn.Write(t.Context(), websocket.MessageText, make([]byte, maxMessage+2)) }, 1009},
		{"idle", quick(func(t *times) { t.idle = 50 * time.Millisecond }), "", func(*wsClient) {}, 1000},
		{"old", quick(func(t *times) { t.life = 50 * time.Millisecond; t.silent = 20 * time.Millisecond }), "", func(*wsClient) {}, 1001},
		{"pinged and answering", quick(func(t *times) { t.silent, t.life = 50*time.Millisecond, 500*time.Millisecond }), "", func(*wsClient) {}, 1001},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, brokers, test.times)
			c := s.open(t, "/ws/"+s.topic(t, 1)+test.query)
			test.do(c)
			if got := c.closed(); got != test.want {
				t.Errorf("closed with %d, want %d", got, test.want)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		s := startServer(t, brokers, quickly)
		w := s.dial(t)
		w.send("GET /ws HTTP/1.1\r\nHost: klamm\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
		resp, err := http.ReadResponse(w.in, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		frame := make([]byte, 1)
		for err == nil { // a ping, and then nothing
			_, err = w.in.Read(frame)
		}
		if timeout := interface{ Timeout() bool }(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("a client that answers no ping is kept: %v", err)
		}
	})
	t.Run("when klamm stops", func(t *testing.T) {
		s := startServer(t, brokers, usual)
		topic := s.topic(t, 1)
		c := s.open(t, "/ws/"+topic)
		c.send(`{"op":"produce","id":"1","value":1}`)
		c.until("ack", "1")
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop(t.Context()) }()
		if got := c.closed(); got != 1001 {
			t.Errorf("closed with %d, want 1001", got)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	t.Run("when the caller may not read any more", func(t *testing.T) {
		var shut closable
		s := startServer(t, brokers, quick(func(t *times) { t.recheck = 20 * time.Millisecond }), &shut)
		c := s.open(t, "/ws/"+s.topic(t, 1))
		c.send(`{"op":"subscribe"}`)
		c.send(`{"op":"ping"}`)
		c.until("pong")
		shut.closed.Store(true)
		c.send(`{"op":"produce","id":"1","value":1}`)
		if got := c.closed(); got != closeDenied {
			t.Errorf("closed with %d, want %d", got, closeDenied)
		}
	})
}

func TestWebSocketOrigin(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	own := strings.TrimPrefix(s.url, "http://")
	for _, test := range []struct {
		name, origin string
		want         int
	}{
		{"none", "", 101},
		{"klamm's own", "http://" + own, 101},
		{"another", "http://evil.example", 403},
		{"a page without one", "null", 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := http.Header{}
			if test.origin != "" {
				header.Set("Origin", test.origin)
			}
			conn, resp, err := websocket.Dial(t.Context(), s.url+"/ws", &websocket.DialOptions{HTTPHeader: header})
			if err == nil {
				_ = conn.CloseNow()
			}
			if resp == nil || resp.StatusCode != test.want {
				t.Errorf("got %v, %v; want %d", resp, err, test.want)
			}
		})
	}
	resp, err := http.Get(s.url + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("without an upgrade: %s", resp.Status)
	}
}

func TestWebSocketRaw(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	c := s.open(t, "/ws/"+topic+"?from=earliest", rawProtocol)
	want := []string{"21.5", "\x00\xff", "{ }"}
	for _, v := range want {
		kind := websocket.MessageText
		if v[0] == 0 {
			kind = websocket.MessageBinary
		}
		if err := c.conn.Write(t.Context(), kind, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for range want {
		kind, data, err := c.conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if (kind == websocket.MessageBinary) != (data[0] == 0) {
			t.Errorf("%q came as %s", data, kind)
		}
		got = append(got, string(data))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, resp, err := websocket.Dial(t.Context(), s.url+"/ws", &websocket.DialOptions{Subprotocols: []string{rawProtocol}}); err == nil || resp.StatusCode != 400 {
		t.Errorf("raw without a topic: %v, %v", resp, err)
	}
}

func TestWebSocketSpeaksTheFirstSubprotocolThatItKnows(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	raw := s.open(t, "/ws/"+topic+"?from=earliest", "klamm.v9", rawProtocol, jsonProtocol)
	if got := raw.conn.Subprotocol(); got != rawProtocol {
		t.Errorf("the subprotocol is %q, want %q", got, rawProtocol)
	}
	raw.send(`{"op":"ping"}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, data, err := raw.conn.Read(ctx); err != nil || string(data) != `{"op":"ping"}` {
		t.Errorf("a raw message comes back as %q, %v", data, err)
	}
	c := s.open(t, "/ws/"+topic, jsonProtocol, rawProtocol)
	if got := c.conn.Subprotocol(); got != jsonProtocol {
		t.Errorf("the subprotocol is %q, want %q", got, jsonProtocol)
	}
	c.send(`{"op":"ping"}`)
	c.until("pong")
}

func TestWebSocketOfAnotherVersionIsToldWhichThereIs(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	for _, version := range []string{"", "8", "130"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		if version != "" {
			req.Header.Set("Sec-WebSocket-Version", version)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusUpgradeRequired || resp.Header.Get("Sec-WebSocket-Version") != "13" ||
			!strings.HasPrefix(string(body), `{"error_code":426,`) || resp.Header.Get("Klamm-Connection") != "" {
			t.Errorf("version %q: %d %v %s", version, resp.StatusCode, resp.Header, body)
		}
	}
}

func TestWebSocketOfAGroupCommitsWhatIsAcknowledged(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), quick(func(t *times) { t.commit = 50 * time.Millisecond }))
	topic := s.topic(t, 1)
	s.write(t, topic, values("1", "2", "3")...)
	subscribe := fmt.Sprintf(`{"op":"subscribe","topics":[%q],"from":"earliest","group":%q}`, topic, topic)
	c := s.open(t, "/ws")
	c.send("%s", subscribe)
	for range 3 {
		c.until("record")
	}
	c.send(`{"op":"ack","topic":%q,"partition":0,"offset":1}`, topic)
	within(t, "the acknowledged ones are committed", func() bool {
		at, err := s.cluster.CommittedOffsets(t.Context(), topic, []kafka.TopicPartition{{Topic: topic}})
		return err == nil && len(at) == 1 && at[0].Offset == 2
	})
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	again := s.open(t, "/ws")
	again.send("%s", subscribe)
	if r := again.until("record"); r["value"] != 3.0 {
		t.Errorf("got %v, want what was not acknowledged", r)
	}
}

func TestWebSocketFilters(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	s.write(t, topic, &kgo.Record{Key: []byte("a"), Value: []byte("1")}, &kgo.Record{Key: []byte("b"), Value: []byte("2")}, &kgo.Record{Key: []byte("b"), Value: []byte("3")})
	c := s.open(t, "/ws/"+topic)
	c.send(`{"op":"subscribe","from":"v1:0-0","filter":"key:b","pattern":{"value":[3]}}`)
	if r := c.until("record"); r["value"] != 3.0 {
		t.Errorf("got %v, want 3", r)
	}
}

func TestWebSocketRefusesWhatPoliciesRefuse(t *testing.T) {
	var shut closable
	s := startServer(t, brokertest.Brokers(t), usual, &shut)
	topic := s.topic(t, 1)
	shut.closed.Store(true)
	c := s.open(t, "/ws/"+topic)
	c.send(`{"op":"produce","id":"1","value":1}`)
	if m := c.until("nack", "1"); fmt.Sprint(m["error"].(map[string]any)["status"]) != "403" {
		t.Errorf("got %v", m)
	}
	c.send(`{"op":"subscribe"}`)
	if m := c.until("error"); fmt.Sprint(m["problem"].(map[string]any)["status"]) != "403" {
		t.Errorf("got %v", m)
	}
}

// TestWebSocketClosesForLimits checks that a raw message which is too much for a limit
// closes the connection, and that the reason says when to come again.
func TestWebSocketClosesForLimits(t *testing.T) {
	s := startServerWith(t, func(c *front.Config, cluster *kafka.Cluster) {
		rule := throttle.Rule{Name: "two", Match: throttle.Match{Op: "produce"}, Records: &throttle.Rate{Rate: 0.001, Burst: 2}}
		c.Limits = gate.NewLimits(gate.LimitsConfig{Rules: []throttle.Rule{rule}}, cluster, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	}, brokertest.Brokers(t), usual)
	c := s.open(t, "/ws/"+s.topic(t, 1), rawProtocol)
	for range 4 { // the third goes into debt
		c.send("x")
	}
	_, err := c.read(time.Minute)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != closeThrottle || !strings.Contains(closed.Reason, `"two"; try again in `) {
		t.Errorf("got %v", err)
	}
	json := s.open(t, "/ws/"+s.topic(t, 1))
	json.send(`{"op":"produce","id":"1","value":1}`)
	if m := json.until("nack", "1"); fmt.Sprint(m["error"].(map[string]any)["status"]) != "429" {
		t.Errorf("got %v", m)
	}
}

// TestWebSocketCloseCodes checks the code that ends a raw WebSocket, by what policies say.
func TestWebSocketCloseCodes(t *testing.T) {
	brokers := brokertest.Brokers(t)
	for kind, want := range map[gate.Kind]websocket.StatusCode{
		gate.Denied: 4403, gate.Throttled: 4429, gate.Unavailable: 1013, gate.TooLarge: 1009, gate.Invalid: 1008, gate.Internal: 1011,
	} {
		s := startServer(t, brokers, usual, says{kind})
		c := s.open(t, "/ws/any", rawProtocol)
		c.send("x")
		if got := c.closed(); got != want {
			t.Errorf("%v: closed with %d, want %d", kind, got, want)
		}
	}
}

// says is a policy that refuses everything with an error of a kind.
type says struct{ kind gate.Kind }

func (s says) Check(context.Context, *gate.Call) error {
	return &gate.Error{Kind: s.kind, Message: "no"}
}

func FuzzMessages(f *testing.F) {
	f.Add(`{"op":"produce","id":"7","topic":"t","key":"k","value":{"n":1},"headers":{"h":"1"}}`)
	f.Add(`{"op":"subscribe","topics":["t"],"from":"v1:0-1","filter":["key:*"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m message
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		p := &client{topic: "t"}
		record, err := p.record(&m)
		if err != nil {
			var own *gate.Error
			if !errors.As(err, &own) {
				t.Fatalf("%q: %v is no error for a client", text, err)
			}
			return
		}
		if record.Topic != "t" || record.Value != nil && len(record.Value) > len(text) {
			t.Fatalf("%q became %+v", text, record)
		}
	})
}
