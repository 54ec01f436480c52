package light

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// The subprotocols of a WebSocket. A token that a browser offers beside them, as
// bearer.TOKEN, is for authenticators and is never answered with.
const (
	jsonProtocol = "klamm.v1.json"
	rawProtocol  = "klamm.v1.raw"
)

// The codes that a WebSocket is closed with, beside those of RFC 6455
// (gateway-policies.md 6.3).
const (
	closeTryLater websocket.StatusCode = 1013
	closeExpired  websocket.StatusCode = 4401
	closeDenied   websocket.StatusCode = 4403
	closeThrottle websocket.StatusCode = 4429
)

const (
	// maxMessage is how large a client's message may be.
	maxMessage = 1 << 20
	// maxInFlight is how many records of a client may wait for their
	// acknowledgement.
	maxInFlight = 100
	// maxReplies is how many replies may wait; then the client is not listened to
	// until it has taken some.
	maxReplies = 256
	// drainTime is how long what is in flight may take when klamm stops.
	drainTime = 5 * time.Second
)

// ws serves GET /ws/{topic} and GET /ws: a WebSocket that produces and consumes,
// of one topic or of any (gateway-policies.md 6.3). With klamm.v1.raw each message
// of the client is the value of a record, and what the query asks for, as that of
// a stream does, is sent as the values alone.
func (a *api) ws(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	topic := r.PathValue("topic")
	if err := checkHandshake(w, r); err != nil {
		return err
	}
	if !sameOrigin(w, r) {
		return &gate.Error{Kind: gate.Denied, Message: "pages of this origin may not connect"}
	}
	protocol := protocolOf(r)
	raw := protocol == rawProtocol
	var wanted start
	query := r.URL.Query()
	if raw {
		if topic == "" {
			return invalid("raw messages need a topic: /ws/TOPIC")
		}
		var err error
		if wanted, err = parseStart(query); err != nil {
			return err
		}
	}
	p := &client{api: a, who: who, topic: topic, raw: raw, stopping: front.Stopping(w), wake: make(chan struct{}, 1), credit: newCredit(initialCredit), sources: map[string]*subscription{}}
	p.id, p.userAgent = a.connections.newID(), strings.Clone(r.UserAgent())
	w.Header()[connectionHeader] = []string{p.id}
	held := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(held, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol},
		InsecureSkipVerify: true, // the origin was looked at
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { p.heard(); return true },
		OnPongReceived:     func(context.Context, []byte) { p.heard() },
	})
	if err != nil {
		return nil // Accept has answered
	}
	conn.SetReadLimit(-1) // receive has the limit
	p.conn, p.transport = conn, held.conn
	// The credentials' end is told in a close frame, for which there has to be a
	// connection still.
	p.expires, _ = r.Context().Deadline()
	p.serve(context.WithoutCancel(r.Context()), wanted, raw && subscribes(query))
	return nil
}

// checkHandshake says what is wrong with a request to open a WebSocket (RFC 6455 4.2.1).
func checkHandshake(w http.ResponseWriter, r *http.Request) error {
	if !r.ProtoAtLeast(1, 1) || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket") {
		if r.ProtoMajor < 2 { // HTTP/2 forbids both fields
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
		}
		return &refusal{http.StatusUpgradeRequired, "this resource is a WebSocket"}
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return &refusal{http.StatusMethodNotAllowed, "a WebSocket is opened with GET"}
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header()["Sec-WebSocket-Version"] = []string{"13"}
		return &refusal{http.StatusUpgradeRequired, "this resource is a WebSocket of version 13"}
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return invalid("Sec-WebSocket-Key must be given once")
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return invalid("Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

// subscribes says whether the query of a raw WebSocket asks for records.
func subscribes(query url.Values) bool {
	for _, name := range []string{"from", "group", "partition", "filter", "pattern"} {
		if query.Has(name) {
			return true
		}
	}
	return false
}

// protocolOf returns the subprotocol of a connection: the first of the client's
// that klamm knows, and JSON where there is none.
func protocolOf(r *http.Request) string {
	for _, v := range r.Header["Sec-Websocket-Protocol"] {
		for token := range strings.SplitSeq(v, ",") {
			switch token = strings.TrimSpace(token); token {
			case jsonProtocol, rawProtocol:
				return token
			}
		}
	}
	return jsonProtocol
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// sameOrigin says whether a request comes from no page, from one that klamm's own
// host has served, or from one of an origin that may call (cors.allow_origins).
func sameOrigin(w http.ResponseWriter, r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return len(origins) == 1 && err == nil && (u.Host != "" && strings.EqualFold(u.Host, r.Host) || front.AllowsOrigin(w, origins[0]))
}

// A client is that of one WebSocket. Goroutines: the handler's own reads what
// it sends; one writes replies; one watches the time; and one for each
// subscription sends records. serve waits for all of them.
type client struct {
	api       *api
	id        string // of the connection: see Connections
	who       gate.Principal
	topic     string // "": any
	raw       bool
	conn      *websocket.Conn
	transport net.Conn // under conn
	stopping  <-chan struct{}
	expires   time.Time // when the credentials do; zero: never
	credit    *credit
	listened  atomic.Int64 // when a frame came last, in Unix nanoseconds
	active    atomic.Int64 // when a message came or went last
	closing   sync.Once

	userAgent string
	began     time.Time
	written   atomic.Int32 // messages of others that are being written
	// push writes a message of somebody else's.
	push func(kind websocket.MessageType, message []byte) error

	mu       sync.Mutex // guards what follows
	replies  [][]byte
	writing  bool // a reply that is not in replies any more
	inFlight int
	wake     chan struct{} // filled when there is a reply to be written

	// What follows belongs to the handler's goroutine.
	sources map[string]*subscription
}

func (p *client) heard() { p.listened.Store(time.Now().UnixNano()) }
func (p *client) moved() { p.active.Store(time.Now().UnixNano()) }

// serve talks to the client until one of both ends it.
func (p *client) serve(ctx context.Context, wanted start, subscribe bool) {
	ctx, cancel := context.WithCancel(ctx)
	var writers sync.WaitGroup
	p.began = time.Now()
	p.heard()
	p.moved()
	p.push = func(kind websocket.MessageType, message []byte) error { return p.write(ctx, kind, message) }
	p.api.connections.add(p)
	defer func() {
		p.api.connections.remove(p.id)
		cancel()
		for _, s := range p.sources {
			s.close()
		}
		writers.Wait()
		_ = p.conn.CloseNow()
	}()
	writers.Go(func() { p.reply(ctx) })
	writers.Go(func() { p.watch(ctx) })
	if subscribe {
		if err := p.follow(ctx, p.topic, wanted); err != nil {
			p.refuse(err)
			return
		}
	}
	for {
		kind, message, err := p.receive(ctx)
		if err != nil {
			if broken(err) {
				p.close(websocket.StatusProtocolError, "this is not what a WebSocket client sends")
			}
			return
		}
		if len(message) > maxMessage {
			p.close(websocket.StatusMessageTooBig, fmt.Sprintf("a message may have %d bytes", maxMessage))
			return
		}
		p.heard()
		p.moved()
		switch {
		case kind == websocket.MessageText && !utf8.Valid(message):
			p.close(websocket.StatusInvalidFramePayloadData, "a text message must be UTF-8")
			return
		case p.raw:
			if !p.produceRaw(ctx, message) {
				return
			}
		case kind == websocket.MessageBinary:
			p.close(websocket.StatusUnsupportedData, "messages are JSON text")
			return
		default:
			p.perform(ctx, message)
		}
		if !p.room(ctx) {
			return
		}
	}
}

// receive returns the next message, of which it reads a byte more than there may be.
func (p *client) receive(ctx context.Context) (websocket.MessageType, []byte, error) {
	kind, r, err := p.conn.Reader(ctx)
	if err != nil {
		return 0, nil, err
	}
	message, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	return kind, message, err
}

// broken says whether an error of reading is what the client has sent, and not that the
// connection has ended or been closed.
func broken(err error) bool {
	var network net.Error
	return websocket.CloseStatus(err) < 0 && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) &&
		!errors.Is(err, context.Canceled) && !errors.As(err, &network)
}

// A hijacked is the writer of an answer that keeps hold of the connection it gives away.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// close closes the connection with a reason, the first time it is called. It
// waits a few seconds for the client to agree.
func (p *client) close(code websocket.StatusCode, reason string) {
	p.closing.Do(func() {
		if len(reason) > 120 { // a frame has room for 123 bytes
			reason = strings.ToValidUTF8(reason[:120], "")
		}
		// conn waits without end for the rest of a frame that the client has begun.
		end := time.AfterFunc(p.api.times.closing, func() { _ = p.transport.Close() })
		defer end.Stop()
		_ = p.conn.Close(code, reason)
	})
}

// refuse closes the connection for an error.
func (p *client) refuse(err error) {
	code := websocket.StatusInternalError
	switch gate.Classify(err) {
	case gate.Denied:
		code = closeDenied
	case gate.Throttled:
		code = closeThrottle
	case gate.Unavailable:
		code = closeTryLater
	case gate.TooLarge:
		code = websocket.StatusMessageTooBig
	case gate.Invalid, gate.NotFound, gate.Unauthenticated, gate.Conflict, gate.Unsupported:
		code = websocket.StatusPolicyViolation
	}
	_, _, message := outcome(err)
	p.close(code, message)
}

// answer queues a reply. It may be called from any goroutine and does not block:
// acknowledgements are bounded by what may be in flight, and the others by room.
func (p *client) answer(message []byte) {
	p.mu.Lock()
	p.replies = append(p.replies, message)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// room waits until there is room for replies.
func (p *client) room(ctx context.Context) bool {
	for {
		p.mu.Lock()
		full := len(p.replies) >= maxReplies
		p.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		if !p.pause(ctx) {
			return false
		}
	}
}

// pause waits a little; false means that the connection has ended.
func (p *client) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(5 * time.Millisecond):
		return true
	}
}

// reply writes replies.
func (p *client) reply(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		replies := p.replies
		p.replies, p.writing = nil, true
		p.mu.Unlock()
		for _, message := range replies {
			if p.write(ctx, websocket.MessageText, message) != nil {
				return
			}
		}
		p.mu.Lock()
		p.writing = false
		p.mu.Unlock()
	}
}

// write writes a message. A client that does not take it in time loses its
// connection.
func (p *client) write(ctx context.Context, kind websocket.MessageType, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.api.times.blocked)
	defer cancel()
	p.moved()
	return p.conn.Write(ctx, kind, message)
}

// watch pings a client that is silent, and ends the connection when it is time.
func (p *client) watch(ctx context.Context) {
	t := p.api.times
	start := time.Now()
	tick := time.NewTicker(max(min(t.silent, t.pong, t.idle, 4*time.Second)/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.stopping:
			p.drain(ctx)
			return
		case <-tick.C:
		}
		now := time.Now()
		switch {
		case !p.expires.IsZero() && !now.Before(p.expires):
			p.close(closeExpired, "the credentials have expired")
			return
		case now.Sub(start) >= t.life:
			p.close(websocket.StatusGoingAway, "the connection has reached its age; connect again")
			return
		case now.Sub(time.Unix(0, p.active.Load())) >= t.idle:
			p.close(websocket.StatusNormalClosure, "idle")
			return
		case now.Sub(time.Unix(0, p.listened.Load())) >= t.silent:
			if !p.ping(ctx) {
				return
			}
		}
	}
}

// ping asks whether the client is there, and ends the connection if it is not. It
// is false when there is nothing to be watched any more.
func (p *client) ping(ctx context.Context) bool {
	waiting, cancel := context.WithTimeout(ctx, p.api.times.pong)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- p.conn.Ping(waiting) }() // ends with waiting
	select {
	case err := <-answered:
		if err != nil {
			_ = p.conn.CloseNow() // nobody is there to agree
			return false
		}
		p.heard()
		return true
	case <-p.stopping:
		p.drain(ctx)
		return false
	}
}

// drain lets what is in flight be acknowledged, and closes.
func (p *client) drain(ctx context.Context) {
	for end := time.Now().Add(drainTime); time.Now().Before(end) && ctx.Err() == nil; {
		p.mu.Lock()
		busy := p.inFlight > 0 || p.writing || len(p.replies) > 0
		p.mu.Unlock()
		if !busy || !p.pause(ctx) {
			break
		}
	}
	p.close(websocket.StatusGoingAway, "klamm is stopping")
}
