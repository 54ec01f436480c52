package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// NATS is a subject that a stream of NATS JetStream keeps. A message counts as
// delivered when the stream has confirmed it; its Nats-Msg-Id is the delivery id,
// which keeps duplicates out for as long as the stream is configured to.
type NATS struct {
	// Servers are the servers' URLs: nats://HOST:PORT, or tls://HOST:PORT.
	Servers []string `yaml:"servers" json:"servers"`
	// Subject is where messages go; {topic} and {partition} stand for those of the
	// record. A stream must listen to it.
	Subject string `yaml:"subject" json:"subject"`
	// Stream is the stream that must keep the messages, if another one must not.
	Stream string `yaml:"stream" json:"stream,omitempty"`
	// Username says with Password who klamm is.
	Username string `yaml:"username" json:"username,omitempty"`
	// Password goes with Username. It is looked up anew for each connection.
	Password secret.Ref `yaml:"password" json:"password,omitzero"`
	// Token says who klamm is, instead of a name. It is looked up anew for each
	// connection.
	Token secret.Ref `yaml:"token" json:"token,omitzero"`
	// Credentials say who klamm is, as the text of a .creds file.
	Credentials secret.Ref `yaml:"credentials" json:"credentials,omitzero"`
	// TLS says which certificates are used and trusted.
	TLS *TLS `yaml:"tls" json:"tls,omitempty"`
}

const (
	maxServers = 16
	maxSubject = 512
	// natsTogether is how many messages of one delivery wait for their
	// confirmation at the same time.
	natsTogether = 64
	// natsTooLarge is the stream's refusal of a message of that size.
	natsTooLarge jetstream.ErrorCode = 10054
)

func (c *NATS) validate(report func(path, problem string)) {
	if len(c.Servers) == 0 || len(c.Servers) > maxServers {
		report("servers", fmt.Sprintf("want 1 to %d URLs such as nats://HOST:4222", maxServers))
	}
	secure := true
	for i, s := range c.Servers {
		u, err := url.Parse(s)
		at := fmt.Sprintf("servers[%d]", i)
		switch {
		case err != nil || len(s) > maxURL || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			report(at, "want nats://HOST:PORT or tls://HOST:PORT")
		case u.User != nil:
			report(at, "credentials do not belong into a URL; use username and password")
		default:
			secure = secure && u.Scheme == "tls"
		}
	}
	if !subject(address(c.Subject), "topic") {
		report("subject", "want a subject such as orders.{topic}, without spaces and wildcards; only {topic} and {partition} have a meaning")
	}
	if strings.ContainsAny(c.Stream, " .*>/\\") || !plain(c.Stream) || len(c.Stream) > 255 {
		report("stream", "want the name of a stream, without spaces and any of . * > / \\")
	}
	ways := 0
	for _, given := range []bool{c.Username != "" || !c.Password.IsZero(), !c.Token.IsZero(), !c.Credentials.IsZero()} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		report("", "want at most one of username with password, token, and credentials")
	}
	if (c.Username == "") != c.Password.IsZero() {
		report("username", "username and password go together")
	}
	if c.TLS != nil {
		c.TLS.validate(func(path, problem string) { report("tls."+path, problem) })
		if len(c.Servers) > 0 && !secure {
			report("tls", "needs servers with tls://")
		}
	}
}

// subject says whether the address gives good subjects where the topic is good.
func subject(a address, topic string) bool {
	s := strings.NewReplacer("{topic}", topic, "{partition}", "0").Replace(string(a))
	return s != "" && len(a) <= maxSubject && !a.unknown() && goodSubject(s)
}

func goodSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || token == "*" || token == ">" || strings.ContainsAny(token, " \t\r\n\f\x00*>") {
			return false
		}
	}
	return !strings.HasPrefix(s, "$") && !strings.HasPrefix(s, "_INBOX.")
}

type natsSender struct {
	conn    *nats.Conn
	stream  jetstream.JetStream
	subject address
	opts    []jetstream.PublishOpt
}

func newNATS(c *NATS, env target.Env) (*natsSender, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	opts := []nats.Option{
		nats.Name("klamm " + env.Pipe), nats.SetCustomDialer(natsDialer{dialer(env.Egress)}), nats.Timeout(dialTime),
		// Connecting goes on in the background; without a connection nothing is
		// held back, a delivery fails and the pipe tries again.
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(500 * time.Millisecond),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2), nats.NoEcho(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			env.Log.Debug("nats reports an error", "err", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { env.Log.Debug("the connection to nats ended", "err", err) }),
	}
	for _, s := range c.Servers {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		if err := env.Egress.CheckHost(u.Hostname()); err != nil {
			return nil, err
		}
	}
	if c.TLS != nil {
		// The library puts the host of each server in the place of an empty name.
		config, err := c.TLS.load(ctx, "", env.Secret)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Secure(config))
	}
	login, err := c.login(ctx, env)
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect(strings.Join(c.Servers, ","), append(opts, login...)...)
	if err != nil {
		return nil, err
	}
	s := &natsSender{conn: conn, subject: address(c.Subject)}
	if s.stream, err = jetstream.New(conn); err != nil {
		conn.Close()
		return nil, err
	}
	// Who asks again is the pipe.
	s.opts = []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)}
	if c.Stream != "" {
		s.opts = append(s.opts, jetstream.WithExpectStream(c.Stream))
	}
	return s, nil
}

// login says who klamm is. Secrets must be there from the start.
func (c *NATS) login(ctx context.Context, env target.Env) ([]nats.Option, error) {
	again := func(ref secret.Ref, was string) string {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
		defer cancel()
		now, err := env.Secret(ctx, ref)
		if err != nil {
			env.Log.Warn("a secret cannot be looked up; the one from before is used", "err", err)
			return was
		}
		return now
	}
	switch {
	case c.Username != "":
		password, err := env.Secret(ctx, c.Password)
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		return []nats.Option{nats.UserInfoHandler(func() (string, string) { return c.Username, again(c.Password, password) })}, nil
	case !c.Token.IsZero():
		token, err := env.Secret(ctx, c.Token)
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		return []nats.Option{nats.TokenHandler(func() string { return again(c.Token, token) })}, nil
	case !c.Credentials.IsZero():
		text, err := env.Secret(ctx, c.Credentials)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		return []nats.Option{nats.UserCredentialBytes([]byte(text))}, nil
	}
	return nil, nil
}

// A natsDialer dials as the library asks for it.
type natsDialer struct{ *net.Dialer }

// Dial makes a connection that egress allows.
func (d natsDialer) Dial(network, to string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, to)
	if err != nil {
		return nil, err
	}
	return boundedConn{conn}, nil
}

func (s *natsSender) close() error {
	s.conn.Close()
	return nil
}

func (s *natsSender) send(ctx context.Context, messages []*message) []error {
	errs := make([]error, len(messages))
	turn := make(chan struct{}, natsTogether)
	var all sync.WaitGroup
	for i, m := range messages {
		turn <- struct{}{}
		all.Go(func() {
			errs[i] = s.publish(ctx, m)
			<-turn
		})
	}
	all.Wait()
	return errs
}

// publish sends a message and waits until the stream has it.
func (s *natsSender) publish(ctx context.Context, m *message) error {
	msg := &nats.Msg{Subject: s.subject.of(m.event), Data: m.event.Payload(), Header: nats.Header{}}
	if !goodSubject(msg.Subject) {
		return target.Permanent(errors.New("the topic's name gives no good subject"))
	}
	for _, a := range m.headers(natsHeader) {
		if httpguts.ValidHeaderFieldValue(string(a.value)) {
			msg.Header[a.name] = []string{string(a.value)}
		}
	}
	for _, a := range m.coordinates() {
		msg.Header[http.CanonicalHeaderKey(a.name)] = []string{string(a.value)}
	}
	msg.Header["Content-Type"] = []string{m.contentType()}
	msg.Header[nats.MsgIdHdr] = []string{m.id}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err := s.stream.PublishMsg(ctx, msg, s.opts...)
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrMaxPayload), errors.As(err, &api) && api.ErrorCode == natsTooLarge:
		return target.Permanent(err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no stream listens to the subject %s", msg.Subject)
	default:
		return err
	}
}

// natsHeader leaves out what the server would act upon.
func natsHeader(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && len(name) <= 256 && !strings.HasPrefix(strings.ToLower(name), "nats-") && !strings.EqualFold(name, "Content-Type")
}
