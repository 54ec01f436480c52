package light

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front/fronttest"
)

// A wire is a client that writes its requests byte by byte.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (s *testServer) dial(t *testing.T) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.conn, format, args...); err != nil {
		w.t.Fatal(err)
	}
}

// A reply is an answer whose body has been read.
type reply struct {
	Status     string
	StatusCode int
	Header     http.Header
	Close      bool
}

func (w *wire) answer() reply {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return reply{resp.Status, resp.StatusCode, resp.Header, resp.Close}
}

func TestKeepAliveIsToldWhenAsked(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	for _, test := range []struct{ name, version, header, want string }{
		{"asked", "HTTP/1.1", "Connection: Keep-Alive\r\n", "timeout=75"},
		{"asked by HTTP/1.0", "HTTP/1.0", "Connection: keep-alive\r\n", "timeout=75"},
		{"not asked", "HTTP/1.1", "", ""},
		{"closed", "HTTP/1.1", "Connection: close\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := s.dial(t)
			w.send("POST /p/%s %s\r\nHost: klamm\r\n%sContent-Length: 2\r\n\r\nhi", topic, test.version, test.header)
			resp := w.answer()
			if got := resp.Header.Get("Keep-Alive"); resp.StatusCode != 204 || got != test.want {
				t.Errorf("got %s, Keep-Alive %q; want 204 and %q", resp.Status, got, test.want)
			}
			if test.want == "" {
				return
			}
			w.send("POST /p/%s %s\r\nHost: klamm\r\n%sContent-Length: 2\r\n\r\nho", topic, test.version, test.header)
			if resp := w.answer(); resp.StatusCode != 204 {
				t.Errorf("the second request on the connection: %s", resp.Status)
			}
		})
	}
}

func TestOldClientsAreServed(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	w := s.dial(t)
	w.send("POST /p/%s HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", s.topic(t, 1))
	if resp := w.answer(); resp.StatusCode != 204 || resp.Header.Get("X-Kafka-Offset") != "0" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	if _, err := w.in.ReadByte(); err != io.EOF {
		t.Errorf("the connection of an HTTP/1.0 client that did not ask for more stays open: %v", err)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	w, topic := s.dial(t), s.topic(t, 1)
	const count = 20
	for n := range count {
		w.send("POST /p/%s HTTP/1.1\r\nHost: klamm\r\nContent-Length: 2\r\n\r\n%02d", topic, n)
	}
	for n := range count {
		if resp := w.answer(); resp.StatusCode != 204 || resp.Header.Get("X-Kafka-Offset") != fmt.Sprint(n) {
			t.Fatalf("answer %d: %s %v", n, resp.Status, resp.Header)
		}
	}
}

func TestRefusedDevicesCanSetTheirClock(t *testing.T) {
	var shut closable
	s := startServer(t, brokertest.Brokers(t), usual, &shut)
	topic := s.topic(t, 1)
	shut.closed.Store(true)
	for _, path := range []string{"/p/" + topic, "/p/none/such"} {
		w := s.dial(t)
		w.send("POST %s HTTP/1.1\r\nHost: klamm\r\nContent-Length: 2\r\n\r\nhi", path)
		resp := w.answer()
		if at, err := http.ParseTime(resp.Header.Get("Date")); resp.StatusCode < 400 || err != nil || time.Since(at) > time.Minute {
			t.Errorf("%s: %s with Date %q", path, resp.Status, resp.Header.Get("Date"))
		}
	}
}

func TestOnlyAWelcomeDeviceUploads(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	w := s.dial(t)
	w.send("POST /p/%s HTTP/1.1\r\nHost: klamm\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", topic)
	line, err := w.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v; want 100 Continue", line, err)
	}
	if _, err := w.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	w.send("hi")
	if resp := w.answer(); resp.StatusCode != 204 {
		t.Errorf("got %s", resp.Status)
	}
	closed := fronttest.Start(t, fronttest.Setup{Dialects: dialects, Closed: true, Brokers: s.cluster.Brokers()})
	w = (&testServer{url: closed.URL}).dial(t)
	w.send("POST /p/%s HTTP/1.1\r\nHost: klamm\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", topic)
	if resp := w.answer(); resp.StatusCode != 401 {
		t.Errorf("got %s before the upload, want 401", resp.Status)
	}
}
