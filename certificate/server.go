package certificate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/acme"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	// lookEvery is how often files are compared with what was read.
	lookEvery = 2 * time.Second
	// verdictsKept bounds the clients whose verdict is remembered, and
	// verdictFor is for how long.
	verdictsKept = 10_000
	verdictFor   = 30 * time.Second
)

// Files is how a Server reads: one file, or the names of those in a directory.
type Files struct {
	Read func(path string) ([]byte, error)
	// List returns the paths of the files in a directory, and nil for a path that
	// is a file.
	List func(path string) ([]string, error)
}

// A Server is the TLS side of one listener. It is safe for concurrent use.
type Server struct {
	cfg    Config
	files  Files
	secret secret.Lookup
	log    *slog.Logger
	rules  Rules
	now    func() time.Time
	state  atomic.Pointer[state]

	staples *stapler     // nil: clients are shown none
	acme    *acme.Keeper // nil: no certificate comes by ACME

	mu       sync.Mutex // guards verdicts
	verdicts map[[sha256.Size]byte]verdict
}

// A state is what was read at one time.
type state struct {
	digest  [sha256.Size]byte // of all files
	issued  *tls.Certificate  // by ACME, one of those of config; nil: none yet
	clients *authorities      // nil: clients are not asked
	// config holds the certificates, first the one of clients that ask for no other.
	config *tls.Config
}

// A verdict is what was found about a client's chain.
type verdict struct {
	of    *state
	until time.Time
	err   error
}

// Open reads what cfg names. An error names the file.
func Open(ctx context.Context, cfg Config, files Files, lookup secret.Lookup, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg.normal(), files: files, secret: lookup, log: log, now: time.Now, verdicts: map[[sha256.Size]byte]verdict{}}
	var err error
	if s.rules, err = parseRules(s.cfg.PrincipalMappingRules); err != nil {
		return nil, fmt.Errorf("tls: principal_mapping_rules: %w", err)
	}
	if s.cfg.OCSP != "off" {
		s.staples = newStapler(log, func() time.Time { return s.now() })
	}
	if s.cfg.ACME != nil {
		if s.acme, err = acme.Open(ctx, *s.cfg.ACME, acme.Env{Read: files.Read, Secret: lookup, Log: log}); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	_, err = s.load(ctx)
	return s, err
}

// OpenClients is Open for certificates that clients have shown to somebody else, such as a
// proxy, who has told klamm of them: cfg names no certificate of a server, and nobody can
// listen with what is returned.
func OpenClients(ctx context.Context, cfg Config, files Files, lookup secret.Lookup, log *slog.Logger) (*Server, error) {
	cfg.Certificate, cfg.ACME, cfg.ClientAuth, cfg.OCSP = "", nil, "requested", "off"
	return Open(ctx, cfg, files, lookup, log)
}

// Run reads the files again whenever they change, asks the responders of the
// certificates' authorities about them, and gets and renews the one that comes by ACME,
// until ctx ends. What cannot be used is logged and leaves everything as it is. There
// must be one Run at a time; that counts for a server and the one that it follows, too.
func (s *Server) Run(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	if s.staples != nil {
		beside.Go(func() { s.keepStapled(ctx) })
	}
	if s.acme != nil {
		beside.Go(func() { s.acme.Run(ctx) })
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := s.load(ctx)
		switch {
		case err != nil && err.Error() != last:
			s.log.Error("changed TLS files cannot be used; the old ones stay", "err", err)
			last = err.Error()
		case err == nil:
			last = ""
			if changed {
				s.log.Info("TLS files read again", "certificate", cmp.Or(s.cfg.Certificate, s.issuedFor(), s.cfg.ClientCA))
			}
		}
	}
}

// load reads everything and takes it over if it is new and good.
func (s *Server) load(ctx context.Context) (changed bool, err error) {
	h := sha256.New()
	read := func(path string) ([]byte, error) {
		text, err := s.files.Read(path)
		if err == nil {
			fmt.Fprintf(h, "%d:", len(text))
			_, _ = h.Write(text)
		}
		return text, err
	}
	var chain, key, roots []byte
	if s.cfg.Certificate != "" {
		if chain, err = read(s.cfg.Certificate); err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	if s.cfg.Key != "" {
		if key, err = read(s.cfg.Key); err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	if s.cfg.ClientAuth != "none" {
		if roots, err = read(s.cfg.ClientCA); err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	others := make([][2][]byte, len(s.cfg.Certificates)) // chain and key
	for i, p := range s.cfg.Certificates {
		if others[i][0], err = read(p.Certificate); err == nil && p.Key != "" {
			others[i][1], err = read(p.Key)
		}
		if err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	lists, err := s.readLists(read)
	if err != nil {
		return false, err
	}
	issued := s.issuedNow(h)
	old, digest := s.state.Load(), [sha256.Size]byte(h.Sum(nil))
	if old != nil && old.digest == digest {
		return false, nil
	}
	next := &state{digest: digest, issued: issued}
	var served []tls.Certificate
	if s.cfg.Certificate != "" {
		first, err := s.identity(ctx, Pair{s.cfg.Certificate, s.cfg.Key, s.cfg.Password, s.cfg.KeyPassword, s.cfg.Alias}, chain, key)
		if err != nil {
			return false, fmt.Errorf("tls: %s: %w", s.cfg.Certificate, err)
		}
		served = append(served, first)
	}
	if issued != nil {
		served = append(served, *issued)
	}
	for i, p := range s.cfg.Certificates {
		one, err := s.identity(ctx, p, others[i][0], others[i][1])
		if err != nil {
			return false, fmt.Errorf("tls: %s: %w", p.Certificate, err)
		}
		served = append(served, one)
	}
	var cas []*x509.Certificate
	if roots != nil {
		password, err := s.password(ctx, s.cfg.ClientCAPassword)
		if err != nil {
			return false, fmt.Errorf("tls: client_ca_password: %w", err)
		}
		if cas, err = trusted(roots, password); err != nil {
			return false, fmt.Errorf("tls: %s: %w", s.cfg.ClientCA, err)
		}
		next.clients = newAuthorities(cas, lists, s.cfg.CRL.Mode, s.cfg.Depth)
	}
	if next.config = (&tls.Config{MinVersion: tls.VersionTLS12}); s.cfg.Certificate != "" || s.acme != nil {
		next.config = s.configOf(next, served, cas)
	}
	if old != nil {
		if err := next.fresh(s.now()); err != nil {
			return false, err
		}
		next.carry(old)
	}
	s.state.Store(next)
	return true, nil
}

func (s *Server) readLists(read func(string) ([]byte, error)) ([]*x509.RevocationList, error) {
	var all []*x509.RevocationList
	if s.cfg.ClientAuth == "none" || s.cfg.CRL.Mode == "off" {
		return nil, nil
	}
	for _, path := range s.cfg.CRL.Files {
		files, err := s.files.List(path)
		if err != nil {
			return nil, fmt.Errorf("tls: crl: %w", err)
		}
		if files == nil {
			files = []string{path}
		}
		for _, f := range files {
			text, err := read(f)
			if err != nil {
				return nil, fmt.Errorf("tls: crl: %w", err)
			}
			lists, err := revocations(text)
			if err != nil {
				return nil, fmt.Errorf("tls: crl: %s: %w", f, err)
			}
			all = append(all, lists...)
		}
	}
	return all, nil
}

func (s *Server) identity(ctx context.Context, p Pair, chain, key []byte) (tls.Certificate, error) {
	password, err := s.password(ctx, p.Password)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPassword, err := s.password(ctx, p.KeyPassword)
	if err != nil {
		return tls.Certificate{}, err
	}
	if key != nil {
		return identityPEM(chain, key, keyPassword)
	}
	return identity(chain, p.Alias, password, keyPassword)
}

func (s *Server) password(ctx context.Context, ref secret.Ref) (string, error) {
	if ref.IsZero() {
		return "", nil
	}
	return s.secret(ctx, ref)
}

// configOf makes the configuration of connections that begin now. Sessions are
// bound to it: none outlives a change of who is trusted.
func (s *Server) configOf(st *state, served []tls.Certificate, cas []*x509.Certificate) *tls.Config {
	// The one that is served without a name comes first; Go chooses among them by name
	// and by what the client understands.
	c := &tls.Config{Certificates: served, NextProtos: []string{"h2", "http/1.1"}}
	c.MinVersion = s.oldest()
	if s.cfg.Preset == intermediate {
		c.CipherSuites = forwardSecret()
	}
	if st.clients == nil {
		return c
	}
	c.ClientAuth = tls.RequestClientCert
	if s.cfg.ClientAuth == "required" {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	c.ClientCAs = x509.NewCertPool() // names whom clients may choose among
	for _, ca := range cas {
		c.ClientCAs.AddCert(ca)
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 || s.cfg.ClientAuth != "required" {
			return nil
		}
		if err := s.check(cs.PeerCertificates); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		return nil
	}
	return c
}

// oldest is the oldest version of TLS that is spoken.
func (s *Server) oldest() uint16 {
	versions := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	if v, ok := versions[s.cfg.Min]; ok && (v >= tls.VersionTLS12 || s.cfg.Legacy) {
		return v
	}
	if s.cfg.Preset == modern {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// forwardSecret are the ciphers of TLS 1.2 with forward secrecy that authenticate what
// they encrypt; those of TLS 1.3 all do.
func forwardSecret() (ids []uint16) {
	for _, c := range tls.CipherSuites() {
		if strings.HasPrefix(c.Name, "TLS_ECDHE_") && (strings.Contains(c.Name, "_GCM_") || strings.Contains(c.Name, "_POLY1305_")) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// TLS returns the configuration for a listener.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: s.oldest(),
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if s.acme != nil {
				if c, err := s.acme.Greet(hello); c != nil || err != nil {
					return c, err
				}
			}
			st := s.state.Load()
			if s.cfg.StrictSNI && !st.has(hello.ServerName) {
				return nameless, nil
			}
			return st.config, nil
		},
	}
}

// nameless has no certificate for anybody: a handshake by it ends with the alert
// unrecognized_name.
var nameless = &tls.Config{MinVersion: tls.VersionTLS12}

// has says whether a certificate is for a name.
func (st *state) has(name string) bool {
	for _, c := range st.config.Certificates {
		if name != "" && c.Leaf.VerifyHostname(name) == nil {
			return true
		}
	}
	return false
}

// Expires is when the first of the served certificates ends; false: there is none yet.
func (s *Server) Expires() (time.Time, bool) {
	var end time.Time
	for _, c := range s.state.Load().config.Certificates {
		if end.IsZero() || c.Leaf.NotAfter.Before(end) {
			end = c.Leaf.NotAfter
		}
	}
	return end, !end.IsZero()
}

// Fresh returns an error for a certificate that is served and has ended, or whose
// chain does not hold together: it is not what anybody means to change to. The one that
// comes by ACME is not meant: whatever it is, another one is on its way.
func (s *Server) Fresh() error { return s.state.Load().fresh(s.now()) }

func (st *state) fresh(now time.Time) error {
	for _, c := range st.config.Certificates {
		leaf := c.Leaf
		if st.issued != nil && leaf.Equal(st.issued.Leaf) {
			continue
		}
		if now.After(leaf.NotAfter) {
			return fmt.Errorf("tls: the certificate of %s has ended on %s", leaf.Subject, leaf.NotAfter.Format(time.DateTime))
		}
		for _, der := range c.Certificate[1:] {
			above, err := x509.ParseCertificate(der)
			if err == nil {
				err = leaf.CheckSignatureFrom(above)
			}
			if err != nil {
				return fmt.Errorf("tls: the chain of the certificate of %s does not hold together: %w", c.Leaf.Subject, err)
			}
			leaf = above
		}
	}
	return nil
}

// check verifies a client's chain, or remembers that it has.
func (s *Server) check(chain []*x509.Certificate) error {
	st, now := s.state.Load(), s.now()
	if st.clients == nil {
		return errors.New("clients are not asked for certificates")
	}
	h := sha256.New()
	for _, c := range chain {
		_, _ = h.Write(c.Raw)
	}
	digest := [sha256.Size]byte(h.Sum(nil))
	s.mu.Lock()
	v, ok := s.verdicts[digest]
	s.mu.Unlock()
	if ok && v.of == st && now.Before(v.until) {
		return v.err
	}
	v = verdict{of: st, until: now.Add(verdictFor), err: st.clients.verify(chain, now)}
	if end := chain[0].NotAfter; v.err == nil && end.Before(v.until) {
		v.until = end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.verdicts) >= verdictsKept {
		clear(s.verdicts)
	}
	s.verdicts[digest] = v
	return v.err
}

// A Client is a verified client certificate.
type Client struct {
	// Name is what the rules make of the certificate; "" if they make nothing of
	// it.
	Name string
	// Subject and Issuer are in the form of RFC 2253.
	Subject, Issuer string
	Leaf            *x509.Certificate
}

// Client returns the verified certificate of a connection; false means that there is
// none, or none that is trusted now.
func (s *Server) Client(cs *tls.ConnectionState) (Client, bool) {
	if cs == nil {
		return Client{}, false
	}
	return s.ClientOf(cs.PeerCertificates)
}

// ClientOf returns the first certificate of a chain, verified; false means that there is
// none, or none that is trusted now.
func (s *Server) ClientOf(chain []*x509.Certificate) (Client, bool) {
	if len(chain) == 0 || s.check(chain) != nil {
		return Client{}, false
	}
	leaf := chain[0]
	c := Client{Leaf: leaf}
	var err error
	if c.Subject, err = Name(leaf.RawSubject); err != nil {
		return Client{}, false
	}
	if c.Issuer, err = Name(leaf.RawIssuer); err != nil {
		return Client{}, false
	}
	if text, ok := s.nameOf(c); ok {
		c.Name, _ = s.rules.Apply(text)
	}
	return c, true
}

// nameOf is what the rules begin with.
func (s *Server) nameOf(c Client) (string, bool) {
	var names []string
	switch s.cfg.PrincipalFrom {
	case "subject":
		return c.Subject, c.Subject != ""
	case "san.dns":
		names = c.Leaf.DNSNames
	case "san.email":
		names = c.Leaf.EmailAddresses
	case "san.uri", "spiffe":
		for _, u := range c.Leaf.URIs {
			if s.cfg.PrincipalFrom == "san.uri" || strings.EqualFold(u.Scheme, "spiffe") {
				names = append(names, u.String())
			}
		}
	}
	switch i := s.cfg.SANIndex; {
	case i != nil && *i < len(names):
		return names[*i], true
	case i == nil && len(names) == 1:
		return names[0], true
	}
	return "", false
}

// Serial returns a serial number in lower-case hexadecimal bytes with colons.
func Serial(c *x509.Certificate) string {
	b := c.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	var out bytes.Buffer
	for i, v := range b {
		if i > 0 {
			out.WriteByte(':')
		}
		fmt.Fprintf(&out, "%02x", v)
	}
	return out.String()
}
