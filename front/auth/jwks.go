package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// askTime and largestKeySet bound what an issuer says of itself.
	askTime       = 1500 * time.Millisecond
	largestKeySet = 150_000
	// keysKept and keysKeptMost are how long keys are used before they are asked
	// for again; staleKeys is how long they are if nobody answers.
	keysKept     = 5 * time.Minute
	keysKeptMost = time.Hour
	staleKeys    = 24 * time.Hour
	// refreshPause lies between two fetches for the sake of unknown keys, and
	// refreshWait is how long a request waits for one.
	refreshPause = 30 * time.Second
	refreshWait  = 2 * time.Second
	// retryMost is the longest pause between attempts to get any keys at all.
	retryMost = 15 * time.Second
	// keysWithoutID are tried at most for a token that names no key.
	keysWithoutID = 4
)

// A keySet is the keys of one issuer. A goroutine fetches them, before they are too
// old, and when a token names one that is not there.
type keySet struct {
	cfg     Issuer
	env     Env
	http    *http.Client
	fixed   bool   // the keys are configured, and nobody is asked
	changed func() // is called when the keys are others than before, with mu held
	ask     chan struct{}

	mu      sync.Mutex // guards what follows
	keys    []signingKeyOf
	raw     []byte // as they were fetched
	count   uint64 // how often they have changed
	fetched time.Time
	tried   time.Time     // the last fetch, whatever came of it
	done    chan struct{} // closed when the fetch that is under way ends; nil: none is
}

// A signingKeyOf is a usable key of a set.
type signingKeyOf struct {
	kid, alg string
	key      any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
}

func newKeySet(ctx context.Context, cfg Issuer, c *Chain) (*keySet, error) {
	s := &keySet{cfg: cfg, env: c.env, ask: make(chan struct{}, 1), http: &http.Client{
		Timeout: askTime,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
				return errors.New("it redirects to another host")
			}
			return nil
		},
	}}
	switch {
	case !cfg.SymmetricKey.IsZero():
		key, err := c.env.Secret(ctx, cfg.SymmetricKey)
		if err != nil {
			return nil, fmt.Errorf("symmetric_key: %w", err)
		}
		if len(key) < 32 {
			return nil, errors.New("symmetric_key: want at least 32 bytes")
		}
		s.fixed, s.keys, s.fetched = true, []signingKeyOf{{key: []byte(key)}}, c.env.now()
	case cfg.JWKSFile != "":
		text, err := c.env.Read(cfg.JWKSFile)
		if err != nil {
			return nil, fmt.Errorf("jwks_file: %w", err)
		}
		if s.keys, err = parseKeys(text); err != nil {
			return nil, fmt.Errorf("jwks_file: %s: %w", cfg.JWKSFile, err)
		}
		s.fixed, s.fetched = true, c.env.now()
	}
	return s, nil
}

// start begins to fetch the keys.
func (s *keySet) start(c *Chain) {
	if s.fixed || c.idle {
		return
	}
	if c.env.Metrics != nil {
		c.env.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "klamm_jwks_age_seconds", Help: "Age of the keys of a token issuer; -1 while there are none.",
			ConstLabels: prometheus.Labels{"issuer": s.cfg.Name},
		}, s.age))
	}
	c.parts.Go(func() { s.run(c.ctx) })
}

func (s *keySet) age() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() {
		return -1
	}
	return s.env.now().Sub(s.fetched).Seconds()
}

// run fetches keys until ctx ends.
func (s *keySet) run(ctx context.Context) {
	pause := 250 * time.Millisecond
	for {
		kept, err := s.fetch(ctx)
		wait := kept * 8 / 10
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.env.Log.Warn("keys of a token issuer cannot be fetched", "issuer", s.cfg.Name, "again_in", pause, "err", err)
			wait, pause = pause, min(2*pause, retryMost)
		} else {
			pause = 250 * time.Millisecond
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.ask:
			timer.Stop()
		}
	}
}

// fetch gets the keys, and returns how long they may be used.
func (s *keySet) fetch(ctx context.Context) (kept time.Duration, err error) {
	s.mu.Lock()
	s.tried = s.env.now()
	if s.done == nil {
		s.done = make(chan struct{})
	}
	s.mu.Unlock()
	raw, kept, err := s.download(ctx)
	var keys []signingKeyOf
	if err == nil {
		keys, err = parseKeys(raw)
	}
	s.mu.Lock()
	changed := err == nil && !bytes.Equal(raw, s.raw)
	if err == nil {
		s.keys, s.raw, s.fetched = keys, raw, s.env.now()
		if changed {
			// Before anybody can see the new keys, so that no token of a removed one is
			// taken after a token of a new one was.
			s.count++
			s.changed()
		}
	}
	close(s.done)
	s.done = nil
	s.mu.Unlock()
	if changed {
		s.env.Log.Log(ctx, slog.LevelInfo, "keys of a token issuer fetched", "issuer", s.cfg.Name, "keys", len(keys))
	}
	return kept, err
}

func (s *keySet) download(ctx context.Context) (raw []byte, kept time.Duration, err error) {
	at := s.cfg.JWKSURI
	if at == "" {
		if at, err = s.discover(ctx); err != nil {
			return nil, 0, err
		}
	}
	raw, header, err := s.get(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	return raw, max(keysKept, min(keysKeptMost, maxAge(header))), nil
}

// maxAge is what Cache-Control says, or 0.
func maxAge(h http.Header) time.Duration {
	for _, v := range h["Cache-Control"] {
		for part := range strings.SplitSeq(v, ",") {
			if text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(part)), "max-age="); ok {
				if n, err := strconv.ParseUint(text, 10, 31); err == nil {
					return time.Duration(n) * time.Second
				}
			}
		}
	}
	return 0
}

// errAbsent says that there is no document at a URL.
var errAbsent = errors.New("there is nothing")

// discover finds out where the keys are (OpenID Connect Discovery, RFC 8414).
func (s *keySet) discover(ctx context.Context) (string, error) {
	doc, err := s.metadata(ctx)
	if err == nil && !safeURL(doc.Keys) {
		return "", fmt.Errorf("%s: jwks_uri is no https URL", doc.at)
	}
	return doc.Keys, err
}

// issuerMetadata is what an issuer says of itself.
type issuerMetadata struct {
	at        string
	Issuer    string   `json:"issuer"`
	Keys      string   `json:"jwks_uri"`
	Authorize string   `json:"authorization_endpoint"`
	Token     string   `json:"token_endpoint"`
	Methods   []string `json:"token_endpoint_auth_methods_supported"`
}

// metadata asks the issuer what it says of itself.
func (s *keySet) metadata(ctx context.Context) (doc issuerMetadata, err error) {
	at := []string{s.cfg.Discovery}
	if s.cfg.Discovery == "" || s.cfg.Discovery == "auto" {
		u, err := url.Parse(s.cfg.Issuer)
		if err != nil {
			return doc, err
		}
		path := strings.TrimSuffix(u.Path, "/")
		at = []string{strings.TrimSuffix(s.cfg.Issuer, "/") + "/.well-known/openid-configuration", u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + path}
		if strings.Contains(s.cfg.Issuer, tenantMark) {
			at = []string{strings.ReplaceAll(at[0], tenantMark, "organizations")}
		}
	}
	for _, one := range at {
		raw, _, err := s.get(ctx, one)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return doc, err
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			return doc, fmt.Errorf("%s: not JSON", one)
		}
		if doc.Issuer != s.cfg.Issuer {
			return doc, fmt.Errorf("%s names another issuer than %q", one, s.cfg.Issuer)
		}
		doc.at = one
		return doc, nil
	}
	return doc, fmt.Errorf("%s: %w", at[0], errAbsent)
}

func (s *keySet) get(ctx context.Context, at string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return nil, nil, fmt.Errorf("%s: %w", at, errAbsent)
	case answer.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s answers with status %d", at, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, largestKeySet+1))
	if err == nil && len(text) > largestKeySet {
		err = fmt.Errorf("%s answers with more than %d bytes", at, largestKeySet)
	}
	return text, answer.Header, err
}

// parseKeys reads a key set and leaves out the keys that signatures must not be
// checked with.
func parseKeys(text []byte) ([]signingKeyOf, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, errors.New("not a set of keys")
	}
	var keys []signingKeyOf
	for _, raw := range set.Keys {
		var rest struct {
			Ops []string `json:"key_ops"`
		}
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &rest) != nil || json.Unmarshal(raw, &k) != nil || !k.Valid() {
			continue
		}
		if k.Use != "" && k.Use != "sig" || rest.Ops != nil && !slices.Contains(rest.Ops, "verify") {
			continue
		}
		if !strong(k.Key) {
			continue
		}
		keys = append(keys, signingKeyOf{kid: k.KeyID, alg: k.Algorithm, key: k.Key})
	}
	return keys, nil
}

// strong says whether a key is a public one that cannot be broken.
func strong(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048 && k.N.BitLen() <= 16384 && k.E >= 3
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// fits says whether an algorithm can be checked with a key.
func (k signingKeyOf) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch key := k.key.(type) {
	case []byte:
		return slices.Contains(symmetric, alg)
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case ed25519.PublicKey:
		return alg == "EdDSA"
	case *ecdsa.PublicKey:
		switch alg {
		case "ES256":
			return key.Curve == elliptic.P256()
		case "ES384":
			return key.Curve == elliptic.P384()
		case "ES512":
			return key.Curve == elliptic.P521()
		}
	}
	return false
}

// check checks the signature of a token, and says by which generation of keys.
func (s *keySet) check(ctx context.Context, t *parsedToken) (uint64, error) {
	keys, count, err := s.current()
	if err != nil {
		return 0, err
	}
	candidates := choose(keys, t)
	if candidates == nil && !s.fixed && s.refresh(ctx) {
		if keys, count, err = s.current(); err != nil {
			return 0, err
		}
		candidates = choose(keys, t)
	}
	if candidates == nil {
		return 0, tokenError(tokenKey)
	}
	for _, k := range candidates {
		if t.signed(k.key) {
			return count, nil
		}
	}
	return 0, tokenError(tokenSignature)
}

// choose returns the keys that may have signed a token.
func choose(keys []signingKeyOf, t *parsedToken) (fit []signingKeyOf) {
	for _, k := range keys {
		if (t.kid == "" || k.kid == t.kid || k.kid == "" && len(keys) == 1) && k.fits(t.alg) {
			fit = append(fit, k)
		}
	}
	if t.kid == "" && len(fit) > keysWithoutID {
		fit = fit[:keysWithoutID]
	}
	return fit
}

func (s *keySet) generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// current returns the keys, unless there are none that may still be used.
func (s *keySet) current() ([]signingKeyOf, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() || !s.fixed && s.env.now().Sub(s.fetched) > staleKeys {
		return nil, 0, unavailable("the keys of the token's issuer cannot be fetched now", "1")
	}
	return s.keys, s.count, nil
}

// refresh has the keys fetched again, unless that was tried a moment ago, and waits
// for it. It says whether anything may have changed.
func (s *keySet) refresh(ctx context.Context) bool {
	s.mu.Lock()
	done := s.done
	if done == nil {
		if s.env.now().Sub(s.tried) < refreshPause {
			s.mu.Unlock()
			return false
		}
		done = make(chan struct{})
		s.done, s.tried = done, s.env.now()
		select {
		case s.ask <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	timer := time.NewTimer(refreshWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}
