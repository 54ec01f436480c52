package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A natsServer is a real one, in this process.
type natsServer struct {
	*server.Server
	t      *testing.T
	opts   *server.Options
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.StreamConfig
}

func newNATSServer(t *testing.T) *natsServer {
	t.Helper()
	s := &natsServer{t: t, opts: &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Username: "klamm", Password: "secret"}}
	s.stream = jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgSize: 100_000}
	s.start()
	t.Cleanup(func() {
		s.conn.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	s.create()
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	var err error
	if s.Server, err = server.NewServer(s.opts); err != nil {
		s.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		s.t.Fatal("the server does not start")
	}
	if s.conn, err = nats.Connect(s.ClientURL(), nats.UserInfo("klamm", "secret"), nats.Timeout(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		s.t.Fatal(err)
	}
}

// create makes the stream. The files of one that was just removed may still be in
// the way.
func (s *natsServer) create() {
	s.t.Helper()
	await(s.t, "the stream", func() bool {
		_, err := s.js.CreateStream(context.Background(), s.stream)
		return err == nil
	})
}

func (s *natsServer) config() Config {
	return Config{NATS: &NATS{Servers: []string{s.ClientURL()}, Subject: "orders.{topic}.{partition}", Stream: "ORDERS", Username: "klamm", Password: secret.Ref{Value: "secret"}}}
}

// messages are those in the stream.
func (s *natsServer) messages() (all []*jetstream.RawStreamMsg) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := s.js.Stream(ctx, "ORDERS")
	if err != nil {
		return nil
	}
	for i := range stream.CachedInfo().State.LastSeq {
		m, err := stream.GetMsg(ctx, i+1)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// A stranger gives each delivery an id that the stream has not seen: the suite
// delivers the same events again and again, and counts all of them.
type stranger struct {
	target.Target
	n *atomic.Int64
}

func (s stranger) Deliver(ctx context.Context, events []*event.Event) error {
	events[0].ID = fmt.Sprint("new-", s.n.Add(1))
	return s.Target.Deliver(ctx, events)
}

func TestNATS(t *testing.T) {
	s := newNATSServer(t)
	var n atomic.Int64
	kind := Kind()
	kind.Open = func(config json.RawMessage, env target.Env) (target.Target, error) {
		tg, err := Kind().Open(config, env)
		return stranger{tg, &n}, err
	}
	remove := func() {
		if err := s.js.DeleteStream(context.Background(), "ORDERS"); err != nil {
			t.Error(err)
		}
	}
	var silent *nats.Subscription
	targettest.Run(t, targettest.Subject{
		Kind: kind, Config: s.config(),
		Received: func() (all []string) {
			for _, m := range s.messages() {
				all = append(all, string(m.Data))
			}
			return all
		},
		Fail: func(failing bool) {
			if failing {
				remove()
			} else {
				s.create()
			}
		},
		// Somebody who listens and says nothing takes the place of the stream.
		Stall: func(stalled bool) {
			if !stalled {
				_ = silent.Unsubscribe()
				s.create()
				return
			}
			remove()
			var err error
			if silent, err = s.conn.SubscribeSync("orders.>"); err != nil {
				t.Error(err)
			}
			_ = s.conn.Flush()
		},
	})
}

func TestNATSMessage(t *testing.T) {
	s := newNATSServer(t)
	tg := started(t, s.config(), "json")
	all := batch("k", "k", "")
	all[0].Record.Headers = []kgo.RecordHeader{
		{Key: "trace", Value: []byte("1")}, {Key: "Nats-Rollup", Value: []byte("all")}, {Key: "nats-expected-stream", Value: []byte("OTHER")}, {Key: "Klamm-Topic", Value: []byte("forged")},
		{Key: "line", Value: []byte("a\r\nNats-Rollup: all")}, {Key: "bad name", Value: []byte("1")},
	}
	for range 3 { // the same ids are the same messages
		if err := tg.Deliver(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	got := s.messages()
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	for _, m := range got {
		if string(m.Data) != "0" {
			continue
		}
		want := nats.Header{
			"Klamm-Pipe": {"test"}, "Klamm-Topic": {"source"}, "Klamm-Partition": {"3"}, "Klamm-Offset": {"0"}, "Klamm-Delivery-Id": {"test:source:3:0:loyw3v28"}, "Klamm-Key": {"k"},
			"Content-Type": {"application/json"}, "Nats-Msg-Id": {"test:source:3:0:loyw3v28"}, "Nats-Expected-Stream": {"ORDERS"}, "trace": {"1"},
		}
		if diff := cmp.Diff(want, m.Header); diff != "" || m.Subject != "orders.source.3" {
			t.Error(m.Subject, diff)
		}
	}
}

func TestNATSRefusals(t *testing.T) {
	s := newNATSServer(t)
	tg := started(t, s.config(), "json")
	all := batch("a", "b", "c")
	all[0].Record.Value = []byte(strings.Repeat("x", 200_000)) // more than the stream takes
	all[1].Record.Value = []byte(strings.Repeat("x", 2<<20))   // more than the server takes
	err := tg.Deliver(t.Context(), all)
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 || !target.FailureOf(partial.Failed[0]).Final || !target.FailureOf(partial.Failed[1]).Final {
		t.Errorf("got %v", err)
	}
	all[2].Record.Topic = "a..b"
	if err := tg.Deliver(t.Context(), all[2:]); !target.FailureOf(err).Final {
		t.Errorf("a bad subject: got %v", err)
	}
	all[2].Record.Topic = "source"
	c := s.config()
	c.NATS.Subject = "nobody.listens"
	if err := started(t, c, "").Deliver(t.Context(), all[2:]); err == nil || target.FailureOf(err).Final || !strings.Contains(err.Error(), "no stream listens") {
		t.Errorf("got %v", err)
	}
	c = s.config()
	c.NATS.Password = secret.Ref{Value: "wrong"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := started(t, c, "").Deliver(ctx, all[2:]); err == nil || target.FailureOf(err).Final {
		t.Errorf("a wrong password: got %v", err)
	}
}

func TestNATSServerComesBack(t *testing.T) {
	s := newNATSServer(t)
	tg := started(t, s.config(), "")
	deliver := func(i int64, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return tg.Deliver(ctx, []*event.Event{targettest.Event(i, "k", "1")})
	}
	if err := deliver(1, time.Minute); err != nil {
		t.Fatal(err)
	}
	s.opts.Port = s.Addr().(*net.TCPAddr).Port
	s.conn.Close()
	s.Shutdown()
	s.WaitForShutdown()
	if err := deliver(2, time.Second); err == nil || target.FailureOf(err).Final {
		t.Errorf("without a server: got %v", err)
	}
	s.start()
	await(t, "the connection", func() bool { return deliver(2, time.Minute) == nil })
	if got := len(s.messages()); got != 2 {
		t.Errorf("%d messages", got)
	}
}
