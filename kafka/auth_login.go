package kafka

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/secret"
)

// ErrLogin says that the cluster does not take the credentials that klamm shows, or
// that klamm has none to show.
var ErrLogin = errors.New("login to Kafka failed")

const (
	dialTimeout = 3 * time.Second
	// troubleLasts is how long a failure explains why nobody answers.
	troubleLasts = time.Minute
	// warnBefore is how long before its end a certificate is talked about.
	warnBefore = 30 * 24 * time.Hour
)

// A login is how one cluster is logged in to. It reads what it shows anew for each
// connection. It is safe for concurrent use.
type login struct {
	cfg     Login
	secrets *secret.Store
	region  string
	method  string
	tls     bool
	tokens  *tokens // of OAUTHBEARER; nil for other methods
	warn    func(expires time.Time)
	reach   func(netip.Addr) error // says whether an address may be connected to; nil: all may

	caller   atomic.Pointer[Caller] // whose login it is; nil: klamm's own
	unproven atomic.Bool            // the last attempt has not come to a good end

	tried atomic.Int64 // when that began, in nanoseconds since 1970

	mu       sync.Mutex // guards what follows
	material material
	warned   time.Time // when the end of a certificate was last talked about
	trouble  error
	since    time.Time
}

// material is what TLS needs, and a digest of the texts that it was made of.
type material struct {
	digest [sha256.Size]byte
	own    *tls.Certificate
	ends   time.Time // of own
	roots  *x509.CertPool
}

// newLogin prepares a login. It reads what is on this machine, and returns what is
// wrong with it; what lies behind a network is looked at with the first connection.
func newLogin(ctx context.Context, cfg Login, secrets *secret.Store, region string) (*login, error) {
	l := &login{cfg: cfg, secrets: secrets, region: region, method: cfg.method(), warn: func(time.Time) {}}
	if l.method == authOAuth {
		l.tokens = &tokens{cfg: *cfg.OAuth}
	}
	shown, err := l.shown(ctx)
	if err == nil && l.method == authAuto {
		l.method = authSCRAM512
		if shown.Certificate != "" {
			l.method = authMTLS
		}
	}
	if err == nil {
		err = shown.fits(l.method)
	}
	l.tls = cfg.encrypted(l.method)
	if err == nil && l.tls {
		_, err = l.load(ctx)
	}
	if err == nil && l.method == authOAuth {
		err = l.tokens.check(ctx)
	}
	if l.method != authAuto && errors.Is(err, secret.ErrAway) { // it may answer by the time it is needed
		err = nil
	}
	return l, err
}

// Check reads what the section and those of further clusters name on this machine,
// and returns what is wrong with it. It asks no broker.
func Check(ctx context.Context, cfg Config) []error {
	var problems []error
	if _, err := newLogin(ctx, cfg.login(), cfg.Secrets, cfg.Region); err != nil {
		problems = append(problems, fmt.Errorf("kafka: %w", err))
	}
	for _, f := range cfg.Clusters {
		if _, err := newLogin(ctx, f.login(), cfg.Secrets, cfg.Region); err != nil {
			problems = append(problems, fmt.Errorf("kafka.clusters: %s: %w", f.Name, err))
		}
	}
	for i, m := range cfg.Mapped {
		if _, err := newLogin(ctx, m.login(cfg), cfg.Secrets, cfg.Region); err != nil {
			problems = append(problems, fmt.Errorf("kafka.mapped[%d]: %w", i, err))
		}
	}
	return problems
}

// options are what a client needs to log in.
func (l *login) options() []kgo.Opt {
	opts := []kgo.Opt{kgo.Dialer(l.dialFunc())}
	if m := l.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts
}

// A shown is a secret in one of AWS's formats, or what stands for it.
type shown struct {
	Username           string `json:"username"`
	Password           string `json:"password"`
	Certificate        string `json:"certificate"`
	PrivateKey         string `json:"privateKey"`
	PrivateKeyPassword string `json:"privateKeyPassword"`

	aws *aws.Credentials // nil: there is no access key
}

// errKind says that credentials are of another kind than the method needs.
var errKind = errors.New("these credentials cannot be used")

// fits returns what a method misses.
func (s shown) fits(method string) error {
	password := s.Username != "" || s.Password != ""
	if password && s.Certificate != "" {
		return fmt.Errorf("credentials: %w: there are a certificate and a password, and only one of them can be used", errKind)
	}
	switch method {
	case authMTLS:
		if s.Certificate == "" {
			return fmt.Errorf("credentials: %w: auth mtls needs certificate and privateKey", errKind)
		}
	case authSCRAM256, authSCRAM512, authPlain:
		if s.Username == "" || s.Password == "" {
			return fmt.Errorf("credentials: %w: auth %s needs username and password", errKind, method)
		}
		if strings.ContainsRune(s.Username+s.Password, 0) || len(s.Username) > 1000 || len(s.Password) > 10_000 {
			return fmt.Errorf("credentials: %w: a user name or a password cannot be like this", errKind)
		}
	}
	return nil
}

// shown reads what klamm shows.
func (l *login) shown(ctx context.Context) (s shown, err error) {
	if l.caller.Load() != nil {
		return l.callerShown(), nil
	}
	c := l.cfg.Credentials
	if c == nil {
		return s, nil
	}
	if c.source().places() > 0 {
		text, err := l.read(ctx, c.source())
		if err != nil {
			return s, fmt.Errorf("credentials: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return shown{}, fmt.Errorf("credentials: %w: want JSON with username and password, or with certificate and privateKey", errKind)
		}
		return s, nil
	}
	s.Username = c.Username
	s.Certificate = c.Certificate
	if c.Certificate != "" && !strings.Contains(c.Certificate, "-----BEGIN ") {
		if s.Certificate, err = secret.Local(ctx, secret.Ref{File: c.Certificate}); err != nil {
			return shown{}, fmt.Errorf("credentials.certificate: %w", err)
		}
	}
	var key, session string
	for _, one := range []struct {
		into *string
		from secret.Ref
		path string
	}{{&s.Password, c.Password, "password"}, {&s.PrivateKey, c.Key, "key"}, {&s.PrivateKeyPassword, c.KeyPassword, "key_password"},
		{&key, c.SecretAccessKey, "secret_access_key"}, {&session, c.SessionToken, "session_token"}} {
		if one.from.IsZero() {
			continue
		}
		if *one.into, err = secret.Local(ctx, one.from); err != nil {
			return shown{}, fmt.Errorf("credentials.%s: %w", one.path, err)
		}
	}
	if c.AccessKeyID != "" {
		s.aws = &aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: key, SessionToken: session}
	}
	return s, nil
}

// read reads a text.
func (l *login) read(ctx context.Context, from Source) (string, error) {
	if from.Secret != "" {
		return l.secrets.Get(ctx, from.Secret)
	}
	return secret.Local(ctx, secret.Ref{Env: from.Env, File: from.File, Value: from.Value})
}

// doubt has secrets from afar asked for again when the login before this one came to
// no good end.
func (l *login) doubt() {
	l.tried.Store(time.Now().UnixNano())
	if l.unproven.Swap(true) && l.cfg.Credentials != nil && l.cfg.Credentials.Secret != "" {
		l.secrets.Doubt(l.cfg.Credentials.Secret)
	}
}

// doubtful says whether the last attempt has come to no good end, and should have.
func (l *login) doubtful() bool {
	return l.unproven.Load() && time.Since(time.Unix(0, l.tried.Load())) > time.Second
}

// load returns what TLS needs now.
func (l *login) load(ctx context.Context) (material, error) {
	var roots string
	if l.cfg.RootCA != nil {
		text, err := l.read(ctx, *l.cfg.RootCA)
		if err != nil {
			return material{}, fmt.Errorf("root_ca: %w", err)
		}
		roots = authorities(text)
	}
	var s shown
	if l.method == authMTLS {
		var err error
		if s, err = l.shown(ctx); err == nil {
			err = s.fits(authMTLS)
		}
		if err != nil {
			return material{}, err
		}
	}
	h := sha256.New()
	for _, part := range []string{roots, s.Certificate, s.PrivateKey, s.PrivateKeyPassword} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	digest := [sha256.Size]byte(h.Sum(nil))
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.remind()
	if l.material.digest == digest {
		return l.material, nil
	}
	m := material{digest: digest}
	if roots != "" {
		var err error
		if m.roots, err = certificate.Roots(roots); err != nil {
			return material{}, fmt.Errorf("root_ca: %w", err)
		}
	}
	if l.method == authMTLS {
		own, err := certificate.Identity(s.Certificate, s.PrivateKey, s.PrivateKeyPassword)
		if err != nil {
			return material{}, fmt.Errorf("credentials: %w", err)
		}
		m.own = &own
		if leaf, err := x509.ParseCertificate(own.Certificate[0]); err == nil {
			m.ends = leaf.NotAfter
		}
	}
	l.material = m
	return m, nil
}

// remind tells once a day of a certificate that is about to end. The caller holds mu.
func (l *login) remind() {
	if ends := l.material.ends; !ends.IsZero() && time.Until(ends) < warnBefore && time.Since(l.warned) > 24*time.Hour {
		l.warned = time.Now()
		l.warn(ends)
	}
}

// authorities takes the certificates out of a secret in AWS's format; any other text
// is them.
func authorities(text string) string {
	var s shown
	if json.Unmarshal([]byte(text), &s) == nil && s.Certificate != "" {
		return s.Certificate
	}
	return text
}

// dialFunc returns how brokers are connected to.
func (l *login) dialFunc() dialFunc {
	if l.tls {
		return l.dial
	}
	return l.dialer().DialContext
}

// dialer connects to addresses that may be reached.
func (l *login) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: dialTimeout}
	if l.reach != nil {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err == nil {
				err = l.reach(at.Addr())
			}
			if err != nil {
				return l.failed(err)
			}
			return nil
		}
	}
	return d
}

// dial makes a connection with TLS. The name that the certificate must have is the
// one that was dialled: for all but the first connection, the broker's own.
func (l *login) dial(ctx context.Context, network, address string) (net.Conn, error) {
	m, err := l.load(ctx)
	if err != nil {
		return nil, l.failed(fmt.Errorf("%w: %w", ErrLogin, err))
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: m.roots}
	if m.own != nil {
		// Also to a server that does not name our authority: it will say so.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.own, nil }
	}
	dialer := &tls.Dialer{NetDialer: l.dialer(), Config: cfg}
	dialing, cancel := context.WithTimeout(ctx, 3*dialTimeout)
	defer cancel()
	conn, err := dialer.DialContext(dialing, network, address)
	if err != nil {
		return nil, l.failed(explainTLS(address, err))
	}
	return &watched{Conn: conn, login: l, address: address}, nil
}

// explainTLS says what is wrong when a handshake fails.
func explainTLS(address string, err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return err
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return fmt.Errorf("TLS with %s: the server does not speak TLS on this port: %w", address, err)
	}
	return fmt.Errorf("TLS with %s: %w", address, err)
}

// watched is a connection whose server may still refuse the certificate: with TLS
// 1.3 it does so when the handshake is over.
type watched struct {
	net.Conn
	login   *login
	address string
	read    atomic.Bool
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err == nil && !w.read.Load() {
		w.read.Store(true)
		if w.login.mechanism() == nil {
			w.login.succeeded()
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		_ = w.login.failed(fmt.Errorf("%w: TLS with %s: the server refuses klamm's certificate: %w", ErrLogin, w.address, err))
	}
	return n, err
}

// failed keeps in mind why nobody answers, and returns it.
func (l *login) failed(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble, l.since = err, time.Now()
	return err
}

// succeeded forgets it.
func (l *login) succeeded() {
	l.unproven.Store(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = nil
}

// cause returns why nobody answers, if that is known.
func (l *login) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble != nil && time.Since(l.since) < troubleLasts {
		return l.trouble
	}
	if l.doubtful() { // some brokers hang up instead of an answer
		return fmt.Errorf("%w: no broker answered to SASL with these credentials", ErrLogin)
	}
	return nil
}

// explain gives an error of a request the reason that logging in has given, where
// the error itself says little.
func (l *login) explain(err error) error {
	if err == nil {
		return nil
	}
	var broker *kerr.Error
	if errors.As(err, &broker) || errors.Is(err, ErrLogin) {
		return err
	}
	if cause := l.cause(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}
