package light

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/peer"
)

// connect opens a WebSocket and returns its id as well.
func (s *testServer) connect(t *testing.T, path string, protocols ...string) (*wsClient, string) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), s.url+path, &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: http.Header{"User-Agent": {"sensor/1"}}})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &wsClient{t: t, conn: conn}, resp.Header.Get("Klamm-Connection")
}

// manage calls a connection, and returns the status, the name of the error and the body.
func (s *testServer) manage(t *testing.T, method, id, body string) (status int, name, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/@connections/"+id, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Amzn-Errortype"), string(text)
}

// reach goes through what can be done to a connection by a server, which need not be the
// one that has it.
func reach(t *testing.T, s *testServer, c *wsClient, id string) {
	t.Helper()
	for _, m := range []struct {
		body string
		kind websocket.MessageType
	}{{`{"op":"hello"}`, websocket.MessageText}, {"\xff\x00", websocket.MessageBinary}, {"", websocket.MessageText}, {strings.Repeat("a", maxMessage), websocket.MessageText}} {
		if status, name, answer := s.manage(t, "POST", id, m.body); status != http.StatusOK || answer != "" {
			t.Fatalf("POST of %.20q: %d %s %s", m.body, status, name, answer)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		kind, data, err := c.conn.Read(ctx)
		cancel()
		if err != nil || kind != m.kind || !bytes.Equal(data, []byte(m.body)) {
			t.Fatalf("the client reads %v %.20q, %v; want %v %.20q", kind, data, err, m.kind, m.body)
		}
	}
	if status, name, _ := s.manage(t, "POST", id, strings.Repeat("a", maxMessage+1)); status != http.StatusRequestEntityTooLarge || name != "PayloadTooLargeException" {
		t.Errorf("POST of too much: %d %s", status, name)
	}
	status, _, answer := s.manage(t, "GET", id, "")
	var doc struct {
		ConnectedAt, LastActiveAt time.Time
		Identity                  struct{ SourceIP, UserAgent string }
	}
	if err := json.Unmarshal([]byte(answer), &doc); status != http.StatusOK || err != nil {
		t.Fatalf("GET: %d %s, %v", status, answer, err)
	}
	if age := time.Since(doc.ConnectedAt); age < 0 || age > 10*time.Minute || doc.LastActiveAt.Before(doc.ConnectedAt) || doc.Identity.SourceIP != "127.0.0.1" || doc.Identity.UserAgent != "sensor/1" {
		t.Errorf("GET: %s", answer)
	}
	if status, _, answer := s.manage(t, "DELETE", id, ""); status != http.StatusNoContent || answer != "" {
		t.Errorf("DELETE: %d %s", status, answer)
	}
	if code := c.closed(); code != websocket.StatusNormalClosure {
		t.Errorf("closed with %d, want 1000", code)
	}
	for _, method := range []string{"POST", "GET", "DELETE"} {
		if status, name, answer := s.manage(t, method, id, ""); status != http.StatusGone || name != "GoneException" || !strings.HasPrefix(answer, `{"message":`) {
			t.Errorf("%s of what is gone: %d %s %s", method, status, name, answer)
		}
	}
}

func TestConnectionsAreReached(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	c, id := s.connect(t, "/ws", jsonProtocol)
	c.send(`{"op":"connection"}`)
	if m := c.until("connection"); m["id"] != id || id == "" {
		t.Errorf("the client is told %v, and the head of the answer says %q", m, id)
	}
	other, otherID := s.connect(t, "/ws")
	reach(t, s, c, id)
	other.send(`{"op":"ping"}`)
	other.until("pong")
	if err := other.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	within(t, "a client that has left is gone", func() bool {
		status, _, _ := s.manage(t, "POST", otherID, "x")
		return status == http.StatusGone
	})
	for _, id := range []string{"0.", "0", "nobody.x", otherID + "x", strings.ToLower(otherID), "%2e%2e"} {
		if status, _, _ := s.manage(t, "POST", id, "x"); status != http.StatusGone && status != http.StatusNotFound {
			t.Errorf("POST to %q: %d", id, status)
		}
	}
}

// TestConnectionsAreReachedByAnyProcess: the id of a connection says which process has it,
// and those of a process that is no more are gone.
func TestConnectionsAreReachedByAnyProcess(t *testing.T) {
	brokers := brokertest.Brokers(t)
	here, _ := startMember(t, brokers)
	there, leave := startMember(t, brokers)
	c, id := there.connect(t, "/ws")
	within(t, "the processes know each other", func() bool {
		status, _, _ := here.manage(t, "GET", id, "")
		return status == http.StatusOK
	})
	reach(t, here, c, id)
	reader, last := there.connect(t, "/ws")
	reader.conn.CloseRead(t.Context()) // it agrees to be closed
	leave()
	within(t, "the connections of a process that has ended are gone", func() bool {
		status, _, _ := here.manage(t, "POST", last, "x")
		return status == http.StatusGone
	})
}

// startMember starts a server that is one of several, and returns what ends it.
func startMember(t *testing.T, brokers []string) (*testServer, func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peers := peer.New(peer.Config{Cluster: cluster, Listen: listener.Addr(), Log: log})
	server := front.New(front.Config{
		Dialects: []front.Dialect{dialect(gate.New(cluster), NewConnections(peers), usual)}, Anonymous: true, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log,
		Authenticators: []front.Authenticator{confluent2.Forwarded(peers)},
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		peers.Close()
	}
	t.Cleanup(end)
	if err := peers.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := peers.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &testServer{"http://" + listener.Addr().String(), cluster, server.Shutdown}, end
}

// manages is a policy that lets nobody manage connections.
type manages struct{}

func (manages) Check(_ context.Context, c *gate.Call) error {
	if c.Action == gate.ManageConnections && c.Resource.Kind == "route" && strings.HasPrefix(c.Resource.Name[strings.IndexByte(c.Resource.Name, '/'):], "/@connections/") {
		return &gate.Error{Kind: gate.Denied, Message: "not you"}
	}
	return nil
}

func TestConnectionsAreManagedByWhoMay(t *testing.T) {
	s := startServerWith(t, func(c *front.Config, cluster *kafka.Cluster) { c.Gate = gate.New(cluster, manages{}) }, brokertest.Brokers(t), usual)
	c, id := s.connect(t, "/ws")
	for _, method := range []string{"POST", "GET", "DELETE"} {
		if status, _, answer := s.manage(t, method, id, "x"); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", method, status, answer)
		}
	}
	c.send(`{"op":"ping"}`)
	if m := c.until("pong"); len(c.seen) > 0 {
		t.Errorf("the client was sent %v beside %v", c.seen, m)
	}
}
