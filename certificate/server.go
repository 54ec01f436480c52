package certificate

import (
	"bytes"
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

	mu       sync.Mutex // guards verdicts
	verdicts map[[sha256.Size]byte]verdict
}

// A state is what was read at one time.
type state struct {
	digest      [sha256.Size]byte // of all files
	certificate tls.Certificate
	clients     *authorities // nil: clients are not asked
	config      *tls.Config
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
	if s.rules, err = ParseRules(s.cfg.PrincipalMappingRules); err != nil {
		return nil, fmt.Errorf("tls: principal_mapping_rules: %w", err)
	}
	_, err = s.load(ctx)
	return s, err
}

// Run reads the files again whenever they change, until ctx ends. What cannot be
// used is logged and leaves everything as it is.
func (s *Server) Run(ctx context.Context) {
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
				s.log.Info("TLS files read again", "certificate", s.cfg.Certificate)
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
	chain, err := read(s.cfg.Certificate)
	if err != nil {
		return false, fmt.Errorf("tls: %w", err)
	}
	var key, roots []byte
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
	lists, err := s.readLists(read)
	if err != nil {
		return false, err
	}
	old, digest := s.state.Load(), [sha256.Size]byte(h.Sum(nil))
	if old != nil && old.digest == digest {
		return false, nil
	}
	next := &state{digest: digest}
	if next.certificate, err = s.identity(ctx, chain, key); err != nil {
		return false, fmt.Errorf("tls: %s: %w", s.cfg.Certificate, err)
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
	next.config = s.configOf(next, cas)
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

func (s *Server) identity(ctx context.Context, chain, key []byte) (tls.Certificate, error) {
	password, err := s.password(ctx, s.cfg.Password)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPassword, err := s.password(ctx, s.cfg.KeyPassword)
	if err != nil {
		return tls.Certificate{}, err
	}
	if key != nil {
		return identityPEM(chain, key, keyPassword)
	}
	return identity(chain, s.cfg.Alias, password, keyPassword)
}

func (s *Server) password(ctx context.Context, ref secret.Ref) (string, error) {
	if ref.IsZero() {
		return "", nil
	}
	return s.secret(ctx, ref)
}

// configOf makes the configuration of connections that begin now. Sessions are
// bound to it: none outlives a change of who is trusted.
func (s *Server) configOf(st *state, cas []*x509.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{st.certificate}, NextProtos: []string{"h2", "http/1.1"}}
	if s.cfg.Min == "1.3" {
		c.MinVersion = tls.VersionTLS13
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

// TLS returns the configuration for a listener.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.state.Load().config, nil
		},
	}
}

// Expires is when the served certificate ends.
func (s *Server) Expires() time.Time { return s.state.Load().certificate.Leaf.NotAfter }

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
	if cs == nil || len(cs.PeerCertificates) == 0 || s.check(cs.PeerCertificates) != nil {
		return Client{}, false
	}
	leaf := cs.PeerCertificates[0]
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
