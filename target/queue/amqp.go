package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// AMQP is an exchange of a broker that speaks AMQP 0-9-1. Messages are
// persistent, and count as delivered when the broker has confirmed them and has
// put them into at least one queue.
type AMQP struct {
	// URL is the broker: amqp://HOST:PORT/VHOST, or amqps:// for TLS.
	URL string `yaml:"url" json:"url"`
	// Exchange is where messages are published; empty is the default exchange,
	// where the routing key is the name of a queue. It must exist.
	Exchange string `yaml:"exchange" json:"exchange,omitempty"`
	// RoutingKey goes with every message; {topic} and {partition} stand for those
	// of the record. The default is {topic}.
	RoutingKey string `yaml:"routing_key" json:"routing_key,omitempty"`
	// Username says with Password who klamm is.
	Username string `yaml:"username" json:"username,omitempty"`
	// Password goes with Username. It is looked up anew for each connection.
	Password secret.Ref `yaml:"password" json:"password,omitzero"`
	// TLS says which certificates are used and trusted.
	TLS *TLS `yaml:"tls" json:"tls,omitempty"`
}

const (
	// maxShort is how long names and header names may be in the protocol.
	maxShort = 255
	// heartbeat is how often both sides say that they are there.
	heartbeat = 10 * time.Second
	// maxReturned is how many messages may have come back that nobody has asked
	// about. Beyond, the connection is made anew.
	maxReturned = 100_000
)

func (c *AMQP) validate(report func(path, problem string)) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || len(c.URL) > maxURL || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Hostname() == "" || u.RawQuery != "" || strings.Count(u.EscapedPath(), "/") > 1:
		report("url", "want amqp://HOST:PORT/VHOST or amqps://HOST:PORT/VHOST")
	case u.User != nil:
		report("url", "credentials do not belong into a URL; use username and password")
	case c.TLS != nil && u.Scheme != "amqps":
		report("tls", "needs a url with amqps://")
	}
	if len(c.Exchange) > maxShort || !plain(c.Exchange) {
		report("exchange", "want the name of an exchange")
	}
	if a := address(c.RoutingKey); len(a) > maxShort || !plain(string(a)) || a.unknown() {
		report("routing_key", "want a routing key such as klamm.{topic}; only {topic} and {partition} have a meaning")
	}
	if (c.Username == "") != c.Password.IsZero() {
		report("username", "username and password go together")
	}
	if c.TLS != nil {
		c.TLS.validate(func(path, problem string) { report("tls."+path, problem) })
	}
}

// An amqpSender has at most one connection, which is made when it is first
// needed and again when it was lost.
type amqpSender struct {
	config *AMQP
	host   string
	vhost  string
	env    target.Env
	key    address

	mu     sync.Mutex // guards what follows
	link   *link      // nil: there is no connection
	dialed chan struct{}
	err    error // of the last attempt to connect
	closed bool
}

// A link is a connection with one channel on which messages are confirmed. Its
// goroutine, watch, ends with the connection.
type link struct {
	conn    *amqp.Connection
	channel *amqp.Channel
	asks    chan ask
	gone    chan struct{} // closed when watch has ended

	// returned counts messages that came back, by id. It is watch's, and may be
	// read once gone is closed.
	returned map[string]int
}

// An ask wants to know whether a message came back.
type ask struct {
	id     string
	answer chan bool // has room for one
}

func newAMQP(c *AMQP, env target.Env) (*amqpSender, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	if err := env.Egress.CheckHost(u.Hostname()); err != nil {
		return nil, err
	}
	s := &amqpSender{config: c, host: u.Hostname(), vhost: strings.TrimPrefix(u.Path, "/"), env: env, key: address(c.RoutingKey)}
	if s.vhost == "" {
		s.vhost = "/"
	}
	if s.key == "" {
		s.key = "{topic}"
	}
	// Secrets that are missing are mistakes; the broker may be away for a while.
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	if _, _, err := s.secrets(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// secrets looks up the password and the certificates.
func (s *amqpSender) secrets(ctx context.Context) (password string, config *tls.Config, err error) {
	if s.config.Username != "" {
		if password, err = s.env.Secret(ctx, s.config.Password); err != nil {
			return "", nil, fmt.Errorf("password: %w", err)
		}
	}
	config, err = s.config.TLS.load(ctx, s.host, s.env.Secret)
	return password, config, err
}

// connected returns the connection, and waits for one to be made if there is
// none. However many wait, one is made.
func (s *amqpSender) connected(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.link != nil && s.link.channel.IsClosed() {
		lost := s.link
		s.link = nil
		go lost.end()
	}
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil, errors.New("the target is closed")
	case s.link != nil:
		l := s.link
		s.mu.Unlock()
		return l, nil
	case s.dialed == nil:
		s.dialed = make(chan struct{})
		go s.connect(s.dialed)
	}
	dialed := s.dialed
	s.mu.Unlock()
	select {
	case <-dialed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return nil, s.err
	}
	return s.link, nil
}

// connect makes a connection. It ends within dialTime and lookupTime.
func (s *amqpSender) connect(dialed chan struct{}) {
	l, err := s.dial()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.link = l
	}
	if s.err = err; err == nil && closed {
		s.err = errors.New("the target is closed")
	}
	s.dialed = nil
	s.mu.Unlock()
	close(dialed)
	if closed && l != nil {
		l.end()
	}
}

func (s *amqpSender) dial() (*link, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	password, secure, err := s.secrets(ctx)
	if err != nil {
		return nil, err
	}
	config := amqp.Config{
		Vhost: s.vhost, Heartbeat: heartbeat, TLSClientConfig: secure, Locale: "en_US",
		Properties: amqp.Table{"connection_name": "klamm " + s.env.Pipe, "product": "klamm"},
		Dial: func(network, to string) (net.Conn, error) {
			conn, err := dialer(s.env.Egress).Dial(network, to)
			if err != nil {
				return nil, err
			}
			// The library takes this back after the greeting.
			if err := conn.SetDeadline(time.Now().Add(dialTime)); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return boundedConn{conn}, nil
		},
	}
	switch {
	case s.config.Username != "":
		config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: s.config.Username, Password: password}}
	case len(secure.Certificates) > 0:
		config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	}
	conn, err := amqp.DialConfig(s.config.URL, config)
	if err != nil {
		return nil, explainAMQP(err)
	}
	l := &link{conn: conn, asks: make(chan ask), gone: make(chan struct{}), returned: map[string]int{}}
	if l.channel, err = conn.Channel(); err == nil {
		go l.watch(l.channel.NotifyReturn(make(chan amqp.Return)))
		err = l.channel.Confirm(false)
	}
	if err != nil {
		l.end()
		return nil, explainAMQP(err)
	}
	return l, nil
}

// watch notes messages that come back. The broker returns a message before it
// confirms it, and the library goes on to the confirmation when the return was
// taken here: who asks after the confirmation has the right answer.
func (l *link) watch(returns <-chan amqp.Return) {
	defer close(l.gone)
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				return
			}
			if l.returned[r.MessageId]++; len(l.returned) > maxReturned {
				go l.end()
			}
		case q := <-l.asks:
			n := l.returned[q.id]
			if q.answer <- n > 0; n > 1 {
				l.returned[q.id] = n - 1
			} else {
				delete(l.returned, q.id)
			}
		}
	}
}

// cameBack says whether a message that is confirmed came back.
func (l *link) cameBack(id string) bool {
	q := ask{id, make(chan bool, 1)}
	select {
	case l.asks <- q:
		return <-q.answer
	case <-l.gone:
		return l.returned[id] > 0
	}
}

// end closes the connection, and does not wait for a broker that hangs.
func (l *link) end() { _ = l.conn.CloseDeadline(time.Now().Add(2 * time.Second)) }

func (s *amqpSender) close() error {
	s.mu.Lock()
	s.closed = true
	l, dialed := s.link, s.dialed
	s.link = nil
	s.mu.Unlock()
	if l != nil {
		l.end()
	}
	if dialed != nil {
		<-dialed
	}
	return nil
}

// A published message waits for its confirmation.
type published struct {
	at      int
	id      string
	confirm *amqp.DeferredConfirmation
}

func (s *amqpSender) send(ctx context.Context, messages []*message) []error {
	errs := make([]error, len(messages))
	l, err := s.connected(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	// The library may hang in a write for as long as the connection lets it, so
	// that publishing has a goroutine of its own. It ends with the connection.
	type outcome struct {
		waiting []published
		errs    []error
	}
	done := make(chan outcome, 1)
	go func() {
		waiting, errs := s.publish(ctx, l, messages)
		done <- outcome{waiting, errs}
	}()
	select {
	case o := <-done:
		for _, p := range o.waiting {
			o.errs[p.at] = l.confirmed(ctx, p)
		}
		return o.errs
	case <-ctx.Done():
		for i := range errs {
			errs[i] = ctx.Err()
		}
		return errs
	}
}

// publish writes the messages.
func (s *amqpSender) publish(ctx context.Context, l *link, messages []*message) (waiting []published, errs []error) {
	errs = make([]error, len(messages))
	for i, m := range messages {
		key := s.key.of(m.event)
		if ctx.Err() != nil {
			errs[i] = ctx.Err()
			continue
		}
		if len(key) > maxShort {
			errs[i] = target.Permanent(errors.New("the topic's name gives no good routing key"))
			continue
		}
		p := publishing(m)
		confirm, err := l.channel.PublishWithDeferredConfirmWithContext(ctx, s.config.Exchange, key, true, false, p)
		if err != nil {
			errs[i] = explainAMQP(err)
			continue
		}
		waiting = append(waiting, published{i, p.MessageId, confirm})
	}
	return waiting, errs
}

// publishing is a message in the protocol's terms.
func publishing(m *message) amqp.Publishing {
	p := amqp.Publishing{
		Headers: amqp.Table{}, ContentType: m.contentType(), DeliveryMode: amqp.Persistent, MessageId: m.id, AppId: "klamm",
		Timestamp: m.event.Record.Timestamp, Body: m.event.Payload(),
	}
	if len(p.MessageId) > maxShort {
		p.MessageId = identifier(p.MessageId)
	}
	if p.Timestamp.Unix() < 0 {
		p.Timestamp = time.Time{} // the protocol has none before 1970
	}
	for _, a := range m.headers(amqpHeader) {
		p.Headers[a.name] = a.value
		if text := string(a.value); sendable(text) {
			p.Headers[a.name] = text
		}
	}
	for _, a := range m.coordinates() {
		p.Headers[a.name] = string(a.value)
	}
	return p
}

// amqpHeader leaves out what brokers act upon: CC and BCC, which add receivers,
// and everything that begins with x-.
func amqpHeader(name string) bool {
	return name != "" && len(name) <= maxShort && sendable(name) && !strings.EqualFold(name, "CC") && !strings.EqualFold(name, "BCC") && !strings.HasPrefix(strings.ToLower(name), "x-")
}

// confirmed waits until the broker has confirmed a message.
func (l *link) confirmed(ctx context.Context, p published) error {
	select {
	case <-p.confirm.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.cameBack(p.id) {
		return errors.New("no queue takes the message")
	}
	if p.confirm.Acked() {
		return nil
	}
	if l.channel.IsClosed() {
		return errors.New("the connection ended before the message was confirmed")
	}
	return errors.New("the broker could not take the message")
}

// explainAMQP leaves out the broker's own text, except where it names what is
// missing.
func explainAMQP(err error) error {
	var known *amqp.Error
	if errors.As(err, &known) {
		return fmt.Errorf("the broker answers %d %s", known.Code, shown(known.Reason))
	}
	return err
}
