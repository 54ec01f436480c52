// Package auth finds out who is calling: it is the front door's list of
// authentication schemes (gateway-policies.md 1).
//
// New makes a Chain of the schemes that the configuration names, in a fixed order:
// signed requests (sigv4.go, canonical.go, sts.go), bearer tokens (jwt.go, jwks.go,
// graph.go, introspect.go), client certificates (mtls.go, mtls_proxy.go), passwords (basic.go, htpasswd.go), API
// keys (apikey.go, keys.go) and HTTP authorizers (authorizer.go). People who have signed
// in to the web console come with a session instead (session.go, session_oidc.go). Each says that a
// request carries nothing of its kind, that what it carries is bad, which ends the
// matter, or who is calling. Where nobody says anything, the first scheme refuses,
// and its challenge tells the client how to come back.
//
// Everything that is remembered is bounded, and nothing that a caller sends is
// logged but a short hash of it.
package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// An Env is what the schemes are given by who starts them.
type Env struct {
	// Account and Region are klamm's own in names of AWS.
	Account, Region string
	// Cluster keeps the API keys that are made at run time; nil: there are none
	// but those of the file.
	Cluster *kafka.Cluster
	// Secret looks secrets up, and Read reads files.
	Secret secret.Lookup
	Read   func(path string) ([]byte, error)
	// List returns the paths of the files in a directory, and nil for a path that is a file.
	List func(path string) ([]string, error)
	// Links says whose word is taken on where a request comes from.
	Links front.Links
	// Certificate returns the verified client certificate of a request and the
	// caller's name by the rules of its listener; false: there is none. Nil: no
	// listener asks for certificates.
	Certificate func(r *http.Request) (name string, cert *gate.Certificate, digest [sha256.Size]byte, ok bool)
	// Streams says whether the route with a pattern is a stream, whose token may
	// come in the query; nil: none is.
	Streams func(pattern string) bool
	// Groups returns the ids of the groups that policies mention; nil: none.
	Groups func() []string
	// Barred says what is wrong with a request that is denied to everybody, so that
	// nobody has to be asked who makes it: see gate.Authority.Barred. Nil: nothing is.
	Barred func(who gate.Principal, r *gate.Request) error
	// Login asks the brokers whether they take a caller's credential; see
	// gate.Gate.Login. Nil: credentials are not passed on.
	Login func(context.Context, kafka.Caller) error
	// Console is how people sign in to the web console; the zero value has sessions only
	// for those who come with a key or a password.
	Console Console
	// SessionSeed is what sessions are sealed with where Console has no key; empty:
	// something that nobody else knows.
	SessionSeed []byte
	Metrics     prometheus.Registerer // required
	Log         *slog.Logger          // required

	now func() time.Time // nil: time.Now
}

// A scheme is one way to show who is calling.
type scheme struct {
	name string // of the Scheme constants of gate
	// authenticate answers front.ErrNotMine where a request carries nothing of
	// this kind.
	authenticate func(r *http.Request) (gate.Principal, error)
	// challenge is the refusal of a request without any credentials.
	challenge func(r *http.Request) error
	// renew is authenticate for a request that was let in before and still lasts. It
	// trusts nothing that is remembered for longer than half a minute.
	renew func(r *http.Request) (gate.Principal, error)
	taken prometheus.Counter // of requests that were let in
}

// A Chain authenticates requests by the configured schemes. It is safe for
// concurrent use.
type Chain struct {
	env       Env
	anonymous bool
	idle      bool      // nothing is to be done in the background
	all       []*scheme // in the order in which they are asked
	keys      *apiKeys  // nil: none are taken
	tokens    *jwt      // nil: none are taken
	sessions  *sessions
	mint      *mint // of temporary credentials; nil: klamm gives none
	results   *prometheus.CounterVec
	quiet     *rate.Limiter // of log lines about failed logins

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	parts  sync.WaitGroup
}

// New returns the chain of the schemes that cfg names. Files and secrets are read,
// and an error names the one that cannot be used; nobody is asked over the network
// before a request comes, except for the keys of token issuers, in the background.
// The chain has to be closed.
func New(ctx context.Context, cfg Config, env Env) (*Chain, error) {
	c := newChain(cfg, env)
	if env.Metrics != nil {
		env.Metrics.MustRegister(c.results)
	}
	err := c.addSchemes(ctx, cfg)
	if err == nil {
		c.sessions, err = newSessions(ctx, c)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Check reads the files and secrets that cfg names, as New does, and returns what is
// wrong with them. It asks nobody. Metrics and Cluster of env must be nil.
func Check(ctx context.Context, cfg Config, env Env) error {
	c := newChain(cfg, env)
	c.idle = true
	defer c.Close()
	if err := c.addSchemes(ctx, cfg); err != nil {
		return err
	}
	_, err := newSessions(ctx, c)
	return err
}

func newChain(cfg Config, env Env) *Chain {
	if env.now == nil {
		env.now = time.Now
	}
	c := &Chain{env: env, anonymous: cfg.Anonymous, quiet: rate.NewLimiter(20, 100), results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_auth_total", Help: "Requests that carried credentials, by scheme and result: ok, refused, unavailable; and requests without, by the result missing or anonymous.",
	}, []string{"method", "result"})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *Chain) addSchemes(ctx context.Context, cfg Config) error {
	if cfg.MTLS != nil {
		if err := c.addProxied(ctx, cfg.MTLS); err != nil {
			return err
		}
	}
	if cfg.IAM != nil {
		s, err := newSigV4(ctx, cfg.IAM, c.env)
		if err != nil {
			return err
		}
		if cfg.IAM.STS != nil {
			if err := c.addMint(ctx, cfg.IAM.STS, s); err != nil {
				return err
			}
		}
		c.add(gate.SchemeSigV4, func(r *http.Request) (gate.Principal, error) {
			if !s.mine(r) {
				return gate.Principal{}, front.ErrNotMine
			}
			return s.authenticate(r)
		}, func(r *http.Request) error {
			_, err := s.authenticate(r)
			return err
		}, s.renew)
	}
	if len(cfg.JWT) > 0 {
		j, err := newJWT(ctx, cfg, c)
		if err != nil {
			return err
		}
		c.tokens = j
		c.add(gate.SchemeJWT, j.authenticate, func(r *http.Request) error {
			if _, _, ok := j.find(r); ok { // it is not one of these, and nobody else takes tokens here
				return refuseToken(tokenMalformed)
			}
			return refuseToken("")
		}, j.renew)
	}
	if cfg.Introspect != nil {
		i, err := newIntrospect(ctx, *cfg.Introspect, c.env)
		if err != nil {
			return fmt.Errorf("auth.introspect: %w", err)
		}
		c.add(gate.SchemeIntrospect, i.authenticate, func(*http.Request) error { return refuseToken("") }, i.renew)
	}
	if c.env.Certificate != nil {
		c.add(gate.SchemeMTLS, c.certificate, func(*http.Request) error {
			return &front.Refusal{Kind: gate.Unauthenticated, Message: "a client certificate is required"}
		}, c.certificate)
	}
	if cfg.Basic != nil {
		b, err := newBasic(cfg.Basic, c.env)
		if err != nil {
			return err
		}
		c.add(gate.SchemeBasic, b.authenticate, func(*http.Request) error { return refuseBasic() }, b.authenticate)
	}
	if cfg.APIKeys != nil {
		var err error
		if c.keys, err = newAPIKeys(ctx, cfg.APIKeys, c); err != nil {
			return err
		}
		c.add(gate.SchemeAPIKey, c.keys.authenticate, func(*http.Request) error { return refuseKey() }, c.keys.authenticate)
	}
	for _, a := range cfg.Authorizers {
		one, err := newAuthorizer(ctx, a, c)
		if err != nil {
			return fmt.Errorf("auth.authorizers: %s: %w", a.Name, err)
		}
		c.add(gate.SchemeAuthorizer, one.authenticate, func(*http.Request) error { return refuseUnauthorized() }, one.renew)
	}
	return nil
}

func (c *Chain) add(name string, authenticate func(*http.Request) (gate.Principal, error), challenge func(*http.Request) error, renew func(*http.Request) (gate.Principal, error)) {
	c.all = append(c.all, &scheme{name, authenticate, challenge, renew, c.results.WithLabelValues(name, "ok")})
}

// Close ends what the chain does in the background, within about five seconds.
func (c *Chain) Close() {
	c.cancel()
	c.parts.Wait()
}

// Keys returns the API keys that are made at run time, or nil if keys are not
// taken.
func (c *Chain) Keys() *Keys {
	if c.keys == nil {
		return nil
	}
	return c.keys.made
}

// Authenticate finds out who is calling. Its errors are front.ErrNotMine, where
// callers without credentials are allowed and there are none; front.Refusal; and
// those of a body that had to be read.
func (c *Chain) Authenticate(r *http.Request) (gate.Principal, error) {
	if len(r.Header["Authorization"]) > 1 {
		message := "There is more than one Authorization header."
		return gate.Principal{}, c.refused(r, "", front.RefuseAWS(gate.Invalid, http.StatusBadRequest, "BadRequestException", "message", &message))
	}
	r = c.asOffered(r)
	schemes, anonymous := c.counting(r)
	signedIn := c.sessions != nil && c.sessions.mayCount(r)
	for _, s := range schemes {
		if signedIn && s.name != gate.SchemeSigV4 && s.name != gate.SchemeJWT && s.name != gate.SchemeIntrospect {
			break // what is left is a connection's certificate; the session was begun on purpose
		}
		who, err := s.authenticate(r)
		if errors.Is(err, front.ErrNotMine) {
			continue
		}
		if err == nil {
			who, err = c.complete(r, s, who)
		}
		if err != nil {
			return gate.Principal{}, c.refused(r, s.name, err)
		}
		s.taken.Inc()
		return c.renewable(r, s, who), nil
	}
	if signedIn {
		who, err := c.resume(r, anonymous)
		if err == nil && front.AccessOf(r).Counts(who.Scheme) || err != nil && !errors.Is(err, front.ErrNotMine) {
			return who, err
		}
	}
	if anonymous && (len(schemes) == 0 || r.Header["Authorization"] == nil) {
		c.results.WithLabelValues(gate.SchemeAnonymous, "anonymous").Inc()
		return gate.Principal{}, front.ErrNotMine
	}
	if len(schemes) == 0 { // the configuration has changed meanwhile
		return gate.Principal{}, &front.Refusal{Kind: gate.Unauthenticated, Message: "none of the ways in that there are counts on this route"}
	}
	first := schemes[0]
	c.results.WithLabelValues(first.name, "missing").Inc()
	if fromConsole(r) || r.URL.Path == whoAmI {
		return gate.Principal{}, errSignIn
	}
	return gate.Principal{}, first.challenge(r)
}

// counting returns the schemes that count on the route of a request, in the order in
// which they are asked, and whether callers without credentials are let in there.
func (c *Chain) counting(r *http.Request) (schemes []*scheme, anonymous bool) {
	access := front.AccessOf(r)
	if access == nil || len(access.Schemes) == 0 {
		return c.all, c.anonymous || len(c.all) == 0
	}
	for _, name := range access.Schemes {
		anonymous = anonymous || name == gate.SchemeAnonymous
		for _, s := range c.all {
			if s.name == name {
				schemes = append(schemes, s)
			}
		}
	}
	return schemes, anonymous
}

// complete adds to a caller what comes beside their credentials.
func (c *Chain) complete(r *http.Request, s *scheme, who gate.Principal) (gate.Principal, error) {
	if c.keys != nil && s.name != gate.SchemeAPIKey {
		// A key beside other credentials says no more than whom to count.
		switch key, err := c.keys.authenticate(r); {
		case err == nil:
			who.KeyID, who.KeyName, who.Plans = key.KeyID, key.KeyName, key.Plans
		case !errors.Is(err, front.ErrNotMine):
			return who, err
		}
	}
	if c.env.Certificate != nil && who.Certificate == nil {
		if _, cert, _, ok := c.env.Certificate(r); ok {
			who.Certificate = cert
		}
	}
	return c.passable(r, who), nil
}

// refused counts and logs an outcome that is not good. Nothing of the credentials
// is shown but a hash.
func (c *Chain) refused(r *http.Request, scheme string, err error) error {
	result := "refused"
	var e *front.Refusal
	if !errors.As(err, &e) { // the body could not be read
		return err
	}
	if e.Kind == gate.Unavailable || e.Kind == gate.Internal {
		result = "unavailable"
	}
	c.results.WithLabelValues(scheme, result).Inc()
	if !c.quiet.Allow() {
		return err
	}
	reason := e.Message
	if name := e.Header.Get("X-Amzn-Errortype"); name != "" {
		reason = name // the message may repeat what came with the request
	}
	attrs := []any{"scheme", scheme, "reason", reason, "source", c.env.Links.Source(r), "method", r.Method, "path", r.URL.Path}
	if v := r.Header.Get("Authorization"); v != "" {
		digest := sha256.Sum256([]byte(v))
		attrs = append(attrs, "credential", hex.EncodeToString(digest[:4]))
	}
	c.env.Log.Info("login refused", attrs...)
	return err
}

// validName says whether a text can be a caller's name (gateway-policies.md 1.2).
func validName(name string) bool {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > 249 {
		return false
	}
	for _, c := range name {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

// source is where a request comes from.
func (e Env) source(r *http.Request) netip.Addr { return e.Links.Source(r) }
