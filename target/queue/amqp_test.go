package queue

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A rabbit is as much of a broker of AMQP 0-9-1 as a publisher sees: the
// greeting, a channel with confirmations, and what becomes of messages.
type rabbit struct {
	t        *testing.T
	listener net.Listener

	mu       sync.Mutex
	conns    map[net.Conn]bool
	all      sync.WaitGroup
	messages []amqpMessage
	logins   []string
	vhosts   []string
	// become says what becomes of a message: "" it is confirmed, "nack", "return",
	// "close" the channel, "cut" the connection.
	become  func(m amqpMessage) string
	stalled chan struct{}
}

type amqpMessage struct {
	Exchange, Key, ID, ContentType, AppID, Body string
	Persistent, Mandatory                       bool
	Headers                                     map[string]string
}

func newRabbit(t *testing.T) *rabbit {
	t.Helper()
	r := &rabbit{t: t, conns: map[net.Conn]bool{}}
	r.listen("127.0.0.1:0")
	t.Cleanup(r.stop)
	return r
}

func (r *rabbit) listen(addr string) {
	r.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.listener = l
	r.all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[conn] = true
			r.mu.Unlock()
			r.all.Go(func() {
				defer func() { _ = conn.Close() }()
				(&peer{rabbit: r, conn: conn, in: bufio.NewReader(conn)}).serve()
			})
		}
	})
}

// stop ends the broker and all connections to it.
func (r *rabbit) stop() {
	_ = r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	clear(r.conns)
	if r.stalled != nil {
		close(r.stalled)
		r.stalled = nil
	}
	r.mu.Unlock()
	r.all.Wait()
}

func (r *rabbit) stall(stalled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stalled {
		r.stalled = make(chan struct{})
	} else {
		close(r.stalled)
		r.stalled = nil
	}
}

func (r *rabbit) fate(become func(m amqpMessage) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.become = become
}

func (r *rabbit) bodies() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		all = append(all, m.Body)
	}
	return all
}

func (r *rabbit) config() Config {
	return Config{AMQP: &AMQP{URL: "amqp://" + r.listener.Addr().String() + "/shop", Exchange: "events", RoutingKey: "k.{topic}", Username: "klamm", Password: secret.Ref{Value: "s3cret"}}}
}

// A peer is one connection to the broker.
type peer struct {
	rabbit *rabbit
	conn   net.Conn
	in     *bufio.Reader
	tag    uint64
	failed error
}

func (p *peer) frame() (kind byte, channel uint16, payload []byte) {
	var head [7]byte
	if _, p.failed = io.ReadFull(p.in, head[:]); p.failed != nil {
		return 0, 0, nil
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	_, p.failed = io.ReadFull(p.in, payload)
	return head[0], binary.BigEndian.Uint16(head[1:]), payload[:len(payload)-1]
}

func (p *peer) write(kind byte, channel uint16, payload []byte) {
	b := append(binary.BigEndian.AppendUint16([]byte{kind}, channel), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[3:], uint32(len(payload)))
	_, _ = p.conn.Write(append(append(b, payload...), 0xce))
}

func (p *peer) method(channel, class, method uint16, args ...any) {
	b := bytes.NewBuffer(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), method))
	for _, a := range args {
		if s, ok := a.(string); ok {
			b.WriteByte(byte(len(s)))
			b.WriteString(s)
			continue
		}
		_ = binary.Write(b, binary.BigEndian, a)
	}
	p.write(1, channel, b.Bytes())
}

// long is a long string.
func long(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }

// short takes a short string off.
func short(b []byte) (string, []byte) { return string(b[1 : 1+b[0]]), b[1+b[0]:] }

func (p *peer) serve() {
	greeting := make([]byte, 8)
	if _, err := io.ReadFull(p.in, greeting); err != nil || string(greeting) != "AMQP\x00\x00\x09\x01" {
		return
	}
	p.method(0, 10, 10, byte(0), byte(9), uint32(0), long("PLAIN"), long("en_US"))
	var m amqpMessage
	var header []byte
	var size uint64
	for {
		kind, channel, payload := p.frame()
		if p.failed != nil {
			return
		}
		switch kind {
		case 1:
			args := payload[4:]
			switch id := [2]uint16{binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])}; id {
			case [2]uint16{10, 11}: // start-ok
				args = args[4+binary.BigEndian.Uint32(args):]
				_, args = short(args)
				p.rabbit.mu.Lock()
				p.rabbit.logins = append(p.rabbit.logins, string(args[4:4+binary.BigEndian.Uint32(args)]))
				p.rabbit.mu.Unlock()
				p.method(0, 10, 30, uint16(16), uint32(4096), uint16(0))
			case [2]uint16{10, 31}: // tune-ok
			case [2]uint16{10, 40}: // open
				vhost, _ := short(args)
				p.rabbit.mu.Lock()
				p.rabbit.vhosts = append(p.rabbit.vhosts, vhost)
				p.rabbit.mu.Unlock()
				p.method(0, 10, 41, "")
			case [2]uint16{20, 10}: // open a channel
				p.method(channel, 20, 11, uint32(0))
				p.tag = 0
			case [2]uint16{85, 10}: // confirm
				p.method(channel, 85, 11)
			case [2]uint16{20, 40}:
				p.method(channel, 20, 41)
			case [2]uint16{10, 50}:
				p.method(0, 10, 51)
				return
			case [2]uint16{60, 40}: // publish
				m = amqpMessage{}
				m.Exchange, args = short(args[2:])
				m.Key, args = short(args)
				m.Mandatory = args[0]&1 != 0
			}
		case 2:
			header = payload
			size = binary.BigEndian.Uint64(payload[4:])
			properties(&m, payload[12:])
		case 3:
			m.Body += string(payload)
		}
		if header != nil && uint64(len(m.Body)) == size {
			if !p.settle(channel, m, header) {
				return
			}
			header = nil
		}
	}
}

// properties reads what a publisher of klamm sets.
func properties(m *amqpMessage, b []byte) {
	flags := binary.BigEndian.Uint16(b)
	b = b[2:]
	if flags&(1<<15) != 0 {
		m.ContentType, b = short(b)
	}
	if flags&(1<<13) != 0 {
		n := binary.BigEndian.Uint32(b)
		m.Headers = table(b[4 : 4+n])
		b = b[4+n:]
	}
	if flags&(1<<12) != 0 {
		m.Persistent, b = b[0] == 2, b[1:]
	}
	if flags&(1<<7) != 0 {
		m.ID, b = short(b)
	}
	if flags&(1<<6) != 0 {
		b = b[8:]
	}
	if flags&(1<<3) != 0 {
		m.AppID, _ = short(b)
	}
}

func table(b []byte) map[string]string {
	all := map[string]string{}
	for len(b) > 0 {
		var name string
		name, b = short(b)
		n := binary.BigEndian.Uint32(b[1:])
		all[name] = string(b[0]) + ":" + string(b[5:5+n])
		b = b[5+n:]
	}
	return all
}

// settle lets a message become what it is to become, and is false when the
// connection ends.
func (p *peer) settle(channel uint16, m amqpMessage, header []byte) bool {
	p.tag++
	r := p.rabbit
	r.mu.Lock()
	stalled := r.stalled
	r.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	r.mu.Lock()
	fate := ""
	if r.become != nil {
		fate = r.become(m)
	}
	if fate == "" {
		r.messages = append(r.messages, m)
	}
	r.mu.Unlock()
	switch fate {
	case "nack":
		p.method(channel, 60, 120, p.tag, byte(0))
	case "return":
		p.method(channel, 60, 50, uint16(312), "NO_ROUTE", m.Exchange, m.Key)
		p.write(2, channel, header)
		p.write(3, channel, []byte(m.Body))
		p.method(channel, 60, 80, p.tag, byte(0))
	case "close":
		p.method(channel, 20, 40, uint16(404), "NOT_FOUND - no exchange", uint16(60), uint16(40))
	case "cut":
		return false
	default:
		p.method(channel, 60, 80, p.tag, byte(0))
	}
	return true
}

func TestAMQP(t *testing.T) {
	r := newRabbit(t)
	targettest.Run(t, targettest.Subject{
		Kind: Kind(), Config: r.config(), Received: r.bodies, Stall: r.stall,
		Fail: func(failing bool) {
			r.fate(func(amqpMessage) string { return map[bool]string{true: "nack"}[failing] })
		},
	})
}

func TestAMQPMessage(t *testing.T) {
	r := newRabbit(t)
	e := targettest.Event(1, "k", `{"n":1}`)
	e.Record.Headers = []kgo.RecordHeader{
		{Key: "trace", Value: []byte("1")}, {Key: "blob", Value: []byte("\xff")}, {Key: "CC", Value: []byte("others")}, {Key: "bcc", Value: []byte("others")}, {Key: "x-delay", Value: []byte("1")},
		{Key: "klamm-topic", Value: []byte("forged")}, {Key: strings.Repeat("n", 256), Value: []byte("1")},
	}
	if err := started(t, r.config(), "").Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	want := []amqpMessage{{
		Exchange: "events", Key: "k.source", ID: "id-1", ContentType: "application/json", AppID: "klamm", Body: `{"n":1}`, Persistent: true, Mandatory: true,
		Headers: map[string]string{
			"trace": "S:1", "blob": "x:\xff", "klamm-pipe": "S:test", "klamm-topic": "S:source", "klamm-partition": "S:3", "klamm-offset": "S:1", "klamm-delivery-id": "S:id-1", "klamm-key": "S:k",
		},
	}}
	if diff := cmp.Diff(want, r.messages); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(r.logins, []string{"\x00klamm\x00s3cret"}) || !slices.Equal(r.vhosts, []string{"shop"}) {
		t.Errorf("logins %q, vhosts %q", r.logins, r.vhosts)
	}
}

func TestAMQPOutcomes(t *testing.T) {
	r := newRabbit(t)
	tg := started(t, r.config(), "json")
	for _, test := range []struct {
		fate, want string
		failed     int
	}{
		{"nack", "could not take", 1}, {"return", "no queue takes", 1}, {"close", "", 3}, {"cut", "", 3},
	} {
		t.Run(test.fate, func(t *testing.T) {
			r.fate(func(m amqpMessage) string {
				if m.Body == "1" {
					return test.fate
				}
				return ""
			})
			err := tg.Deliver(t.Context(), batch("a", "b", "c", ""))
			var partial *target.PartialError
			if !errors.As(err, &partial) || len(partial.Failed) < test.failed-1 || len(partial.Failed) > test.failed || target.FailureOf(partial.Failed[1]).Final || !strings.Contains(partial.Failed[1].Error(), test.want) {
				t.Fatalf("got %v", err)
			}
			if partial.Failed[0] != nil {
				t.Errorf("the message before it failed: %v", partial.Failed[0])
			}
			r.fate(nil)
			if err := tg.Deliver(t.Context(), batch("a", "b", "c", "")); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
		})
	}
}

func TestAMQPManyThatNobodyTakes(t *testing.T) {
	r := newRabbit(t)
	r.fate(func(m amqpMessage) string { return map[bool]string{true: "return"}[len(m.Body)%2 == 0] })
	var all []*event.Event
	want := 0
	for i := range 3000 {
		e := targettest.Event(int64(i), "", strings.Repeat("x", 1+i%7))
		e.Record.Key = nil
		if len(e.Record.Value)%2 == 0 {
			want++
		}
		all = append(all, e)
	}
	err := started(t, r.config(), "json").Deliver(t.Context(), all)
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != want {
		t.Fatalf("got %v, want %d", err, want)
	}
	for i := range partial.Failed {
		if len(all[i].Record.Value)%2 != 0 {
			t.Fatalf("message %d failed", i)
		}
	}
}

func TestAMQPBrokerComesBack(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	r := newRabbit(t)
	tg := started(t, r.config(), "")
	deliver := func(n int64, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return tg.Deliver(ctx, []*event.Event{targettest.Event(n, "k", "1")})
	}
	if err := deliver(1, time.Minute); err != nil {
		t.Fatal(err)
	}
	at := r.listener.Addr().String()
	r.stop()
	if err := deliver(2, time.Second); err == nil || target.FailureOf(err).Final {
		t.Errorf("without a broker: got %v", err)
	}
	r.listen(at)
	await(t, "the connection", func() bool { return deliver(2, time.Minute) == nil })
	if got := r.bodies(); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
	if err := tg.Close(); err != nil {
		t.Error(err)
	}
	if err := deliver(3, time.Minute); err == nil {
		t.Error("a closed target accepts events")
	}
	r.stop()
	goleak.VerifyNone(t, ignore)
}

func TestAMQPBrokerThatIsNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	c := Config{AMQP: &AMQP{URL: "amqp://" + l.Addr().String()}}
	if err := started(t, c, "").Deliver(t.Context(), batch("a")); err == nil || target.FailureOf(err).Final {
		t.Errorf("got %v", err)
	}
}
