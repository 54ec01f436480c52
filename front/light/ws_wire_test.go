package light

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/gate"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: klamm\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// shake opens a WebSocket of which the test writes every byte itself.
func (s *testServer) shake(t *testing.T) *wire {
	t.Helper()
	w := s.dial(t)
	w.send(handshake)
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	return w
}

// closed reads the close frame that comes next.
func (w *wire) closed() (code uint16, reason string) {
	w.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(w.in, head); err != nil {
		w.t.Fatalf("no close frame: %v", err)
	}
	if head[0] != 0x88 || head[1] < 2 {
		w.t.Fatalf("got a frame that begins with %x, want one that closes", head)
	}
	payload := make([]byte, head[1])
	if _, err := io.ReadFull(w.in, payload); err != nil {
		w.t.Fatal(err)
	}
	return binary.BigEndian.Uint16(payload), string(payload[2:])
}

func TestWebSocketRefusesFramesThatAreNone(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	for name, frame := range map[string]string{
		"without a mask":         "\x81\x02{}",
		"of a negative length":   "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04",
		"compressed":             "\xc1\x82\x00\x00\x00\x00{}",
		"of an unknown kind":     "\x83\x80\x00\x00\x00\x00",
		"that continue nothing":  "\x80\x80\x00\x00\x00\x00",
		"of a ping in fragments": "\x09\x80\x00\x00\x00\x00",
		"with a close code":      "\x88\x82\x00\x00\x00\x00\x03\xed",
	} {
		t.Run(name, func(t *testing.T) {
			w := s.shake(t)
			w.send("%s", frame)
			if code, reason := w.closed(); code != 1002 {
				t.Errorf("closed with %d %q, want 1002", code, reason)
			}
		})
	}
}

// TestWebSocketEndsThoughAFrameDoesNot checks that a client which announces more than it
// sends, and does not leave, loses its connection.
func TestWebSocketEndsThoughAFrameDoesNot(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), quick(func(t *times) { t.closing = 10 * time.Millisecond }))
	w := s.shake(t)
	w.send("%s", "\x81\xff\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+strings.Repeat("x", maxMessage+1))
	if _, err := io.Copy(io.Discard, w.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays: %v", err)
	}
}

func TestWebSocketSaysHowLargeAMessageMayBe(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	w := s.shake(t)
	w.send("%s", "\x81\xff\x00\x00\x00\x00\x00\x10\x00\x01\x00\x00\x00\x00"+strings.Repeat("x", maxMessage+1))
	if code, reason := w.closed(); code != 1009 || reason != "a message may have 1048576 bytes" {
		t.Errorf("closed with %d %q, want 1009", code, reason)
	}
}

func TestWebSocketHandshakesThatFail(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	const key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for _, test := range []struct {
		name, from, to string
		want           int
	}{
		{"no key", key, "", 400},
		{"a short key", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 400},
		{"no base64", "AAAAAAAAAAAAAAAAAAAAAA==", "?", 400},
		{"two keys", key, key + key, 400},
		{"several versions", "Version: 13", "Version: 13, 8", 426},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 426},
		{"another protocol", "websocket", "h2c", 426},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := s.dial(t)
			w.send("%s", strings.Replace(handshake, test.from, test.to, 1))
			resp, err := http.ReadResponse(w.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != test.want || !strings.HasPrefix(string(body), fmt.Sprintf(`{"error_code":%d,`, test.want)) || resp.Header.Get(connectionHeader) != "" {
				t.Errorf("got %s %v %q, %v; want %d", resp.Status, resp.Header, body, err, test.want)
			}
		})
	}
	t.Run("HEAD", func(t *testing.T) {
		w := s.dial(t)
		w.send("%s", strings.Replace(handshake, "GET", "HEAD", 1))
		resp, err := http.ReadResponse(w.in, &http.Request{Method: http.MethodHead})
		if err != nil || resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != http.MethodGet {
			t.Errorf("got %v, %v; want 405", resp, err)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ws", nil)
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		w := httptest.NewRecorder()
		status, _, _ := outcome((&api{}).ws(w, r, gate.Principal{}))
		if status != http.StatusUpgradeRequired || len(w.Header()) > 0 {
			t.Errorf("got %d with %v, want 426 without fields that HTTP/2 forbids", status, w.Header())
		}
	})
}

// TestWebSocketAnswersEveryRecordByItsID checks that a record of which a field has the wrong
// type is refused by its id, as other records that cannot be written.
func TestWebSocketAnswersEveryRecordByItsID(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	c := s.open(t, "/ws/"+s.topic(t, 1))
	for i, field := range []string{`"partition":0.5`, `"partition":99999999999`, `"topic":5`, `"offset":"x"`} {
		id := fmt.Sprint("r", i)
		c.send(`{"op":"produce",%s,"id":%q,"value":1}`, field, id)
		if m := c.until("nack", id); fmt.Sprint(m["error"].(map[string]any)["status"]) != "400" {
			t.Errorf("%s: got %v, want status 400", field, m)
		}
	}
	c.send(`{"op":"credit","n":"5","id":"x"}`)
	c.until("error")
}
