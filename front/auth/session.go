package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// sessionCookie holds the session of somebody who has signed in to the console.
	sessionCookie = "klamm_session"
	// whoAmI is the path at which callers ask who they are: nobody is 401 there, whatever
	// the schemes would say.
	whoAmI = "/klamm/v1/session"
	// consoleHeader is set by the console's pages. Pages of other sites cannot set it
	// without asking first, which CORS answers with no.
	consoleHeader = "X-Klamm-Console"
	// largestSession bounds a cookie: browsers keep 4096 bytes with its name.
	largestSession = 3900
	// signInsAtOnce and signInEvery bound how often one address may try to sign in.
	signInsAtOnce = 10
	signInEvery   = 3 * time.Second
	signInKeys    = 20_000
)

// sessions are what the people have who signed in to the web console. Nothing of them
// is kept here: a session is its cookie, sealed, and holds what the person has signed in
// with. Each request is asked for anew with that, as if it came with the request, so a
// session ends when its key is revoked, and knows the groups of now.
//
// A cookie comes with requests that other sites make a browser send, too. So it only
// counts where the request says that it is from a page of klamm's own (ownPage), and
// never beside other credentials.
type sessions struct {
	sealer // of the values of cookies
	env    Env
	cfg    Console
	oidc   *oidc // nil: there is no provider
	tries  *cache[string, *rate.Limiter]
}

// A session is what is sealed.
type session struct {
	Key      string          `json:"k,omitempty"`
	User     string          `json:"u,omitempty"`
	Password string          `json:"p,omitempty"`
	Issuer   string          `json:"i,omitempty"` // of Claims
	Claims   json.RawMessage `json:"c,omitempty"`
	Expires  int64           `json:"e"` // seconds since 1970
}

// What cookies are sealed for.
const (
	forSession = "klamm session"
	forSignIn  = "klamm sign-in"
)

// errSignIn is the answer to a page of the console whose session is no more. It has no
// challenge: the browser would ask for a password by itself.
var errSignIn = &front.Refusal{Kind: gate.Unauthenticated, Message: "the session has ended, or there was none; sign in"}

func newSessions(ctx context.Context, c *Chain) (*sessions, error) {
	cfg := c.env.Console
	if !cfg.On() {
		return nil, nil
	}
	s := &sessions{env: c.env, cfg: cfg, tries: newCache[string, *rate.Limiter](signInKeys)}
	seed := c.env.SessionSeed
	if !cfg.SessionKey.IsZero() {
		text, err := c.env.Secret(ctx, cfg.SessionKey)
		if err != nil {
			return nil, fmt.Errorf("console.session_key: %w", err)
		}
		if len(text) < 32 {
			return nil, errors.New("console.session_key: want at least 32 characters")
		}
		seed = []byte(text)
	}
	if len(seed) == 0 {
		seed = make([]byte, 32)
		_, _ = rand.Read(seed)
	}
	var err error
	if s.sealer, err = newSealer(seed, "klamm console", base64.RawURLEncoding, largestSession); err != nil {
		return nil, err
	}
	if cfg.OIDC != nil {
		if s.oidc, err = newOIDC(ctx, *cfg.OIDC, c); err != nil {
			return nil, fmt.Errorf("console.oidc: %w", err)
		}
	}
	return s, nil
}

// cookie returns a cookie; one without a value takes the one that is there away.
func (s *sessions) cookie(r *http.Request, name, path, value string, lasts time.Duration, same http.SameSite) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: path, HttpOnly: true, SameSite: same, Secure: s.env.Links.Secure(r), MaxAge: int(lasts / time.Second)}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// fromConsole says whether a request claims to be from a page of the console.
func fromConsole(r *http.Request) bool { return r.Header[consoleHeader] != nil }

// ownPage says whether a request is none that a page of another site can have caused.
// Browsers tell that in Sec-Fetch-Site. One that does not has to show that it may set
// headers of the console's, where something could be changed, and names no other origin.
func (s *sessions) ownPage(r *http.Request) bool {
	if site, told := r.Header["Sec-Fetch-Site"]; told {
		return len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")
	}
	if !s.sameOrigin(r) {
		return false
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Header.Get(consoleHeader) == "1"
}

// sameOrigin says whether a request names no origin, or its own.
func (s *sessions) sameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Host == "" || len(origins) > 1 {
		return false
	}
	base, err := url.Parse(s.env.Links.Base(r))
	return u.Host == r.Host || err == nil && base.Host == u.Host
}

// mayCount says whether a request has a session, and nothing that goes before it.
func (s *sessions) mayCount(r *http.Request) bool {
	if r.Header["Cookie"] == nil || r.Header["Authorization"] != nil {
		return false
	}
	_, err := r.Cookie(sessionCookie)
	return err == nil && s.ownPage(r)
}

// resume finds out who has signed in. It is front.ErrNotMine where the session is none
// but others may come without.
func (c *Chain) resume(r *http.Request, anonymous bool) (gate.Principal, error) {
	if c.keys != nil {
		if _, other := c.keys.find(r); other {
			return c.withKey(r)
		}
	}
	cookie, err := r.Cookie(sessionCookie)
	var doc session
	ended := err != nil || !c.sessions.open(forSession, cookie.Value, &doc) || c.env.now().Unix() >= doc.Expires
	if ended {
		return gate.Principal{}, noSession(anonymous)
	}
	who, err := c.signedIn(r, &doc)
	if err == nil {
		return who, nil
	}
	if kind := gate.Classify(err); kind == gate.Unavailable || r.Context().Err() != nil {
		return gate.Principal{}, err
	}
	c.results.WithLabelValues("session", "refused").Inc()
	return gate.Principal{}, noSession(anonymous)
}

// noSession is what becomes of a request whose session is over.
func noSession(anonymous bool) error {
	if anonymous {
		return front.ErrNotMine
	}
	return errSignIn
}

// withKey is for a request that has a key beside a session: the key counts.
func (c *Chain) withKey(r *http.Request) (gate.Principal, error) {
	for _, s := range c.all {
		if s.name == gate.SchemeAPIKey {
			return c.by(r, s)
		}
	}
	return gate.Principal{}, front.ErrNotMine
}

// by lets a request in by one scheme.
func (c *Chain) by(r *http.Request, s *scheme) (gate.Principal, error) {
	who, err := s.authenticate(r)
	if err == nil {
		who, err = c.complete(r, s, who)
	}
	if err != nil {
		return gate.Principal{}, c.refused(r, s.name, err)
	}
	s.taken.Inc()
	return c.renewable(r, s, who), nil
}

// signedIn finds out who somebody is now who has signed in.
func (c *Chain) signedIn(r *http.Request, doc *session) (gate.Principal, error) {
	if doc.Claims != nil {
		return c.byClaims(r, doc)
	}
	s, shown := c.shown(r, doc)
	if s == nil {
		return gate.Principal{}, errSignIn // the way is not configured any more
	}
	who, err := c.by(shown, s)
	if ends := time.Unix(doc.Expires, 0); err == nil && (who.Expires.IsZero() || ends.Before(who.Expires)) {
		who.Expires = ends
	}
	return who, err
}

// shown returns a request as it would be with the credentials that somebody has signed
// in with, and the scheme that these are of; nil: it is not configured.
func (c *Chain) shown(r *http.Request, doc *session) (*scheme, *http.Request) {
	other := new(http.Request)
	*other = *r
	other.Header = r.Header.Clone()
	other.Header.Del("Cookie")
	name := gate.SchemeAPIKey
	switch {
	case doc.User != "":
		name = gate.SchemeBasic
		other.SetBasicAuth(doc.User, doc.Password)
	case c.keys == nil:
		return nil, nil
	default:
		other.Header[c.keys.headers[0]] = []string{doc.Key}
	}
	for _, s := range c.all {
		if s.name == name {
			return s, other
		}
	}
	return nil, nil
}

// Credentials are what somebody signs in to the console with: a key, or a user name
// and a password.
type Credentials struct {
	Key            string
	User, Password string
}

// Ways are the ways to sign in to the console: key, basic and oidc, as they are
// configured. There are none for a nil chain, which serves everybody without.
func (c *Chain) Ways() []string {
	ways := []string{}
	if c == nil || c.sessions == nil {
		return ways
	}
	if c.keys != nil {
		ways = append(ways, "key")
	}
	for _, s := range c.all {
		if s.name == gate.SchemeBasic {
			ways = append(ways, "basic")
		}
	}
	if c.sessions.oidc != nil {
		ways = append(ways, "oidc")
	}
	return ways
}

// HasSession says whether the caller of a request would be somebody else, or nobody,
// without the session that came with it.
func (c *Chain) HasSession(r *http.Request) bool {
	return c != nil && c.sessions != nil && c.sessions.mayCount(r)
}

// Source is where a request comes from; the zero value for a nil chain.
func (c *Chain) Source(r *http.Request) (addr netip.Addr) {
	if c != nil {
		addr = c.env.source(r)
	}
	return addr
}

// SignIn begins a session, and returns who has signed in and the cookie that is to be
// set. Errors are a front.Refusal for bad credentials and for a request that a page of
// another site can have caused, and a gate.Error of kind Throttled for who tries too
// often.
func (c *Chain) SignIn(r *http.Request, with Credentials) (gate.Principal, *http.Cookie, error) {
	if c == nil || c.sessions == nil {
		return gate.Principal{}, nil, errNoSignIn
	}
	if site, told := r.Header["Sec-Fetch-Site"]; told && !c.sessions.ownPage(r) || !told && !c.sessions.sameOrigin(r) || len(site) > 1 {
		return gate.Principal{}, nil, &front.Refusal{Kind: gate.Denied, Message: "nobody signs in from a page of another site"}
	}
	if err := c.sessions.try(r); err != nil {
		return gate.Principal{}, nil, err
	}
	doc := session{Key: with.Key, User: with.User, Password: with.Password}
	scheme, shown := c.shown(r, &doc)
	if scheme == nil || with.Key == "" && (with.User == "" || with.Password == "") || with.Key != "" && with.User != "" {
		return gate.Principal{}, nil, &gate.Error{Kind: gate.Invalid, Message: "want a key, or a user and a password, as GET /klamm/v1/session/ways says"}
	}
	who, err := c.by(shown, scheme)
	if err != nil {
		if kind := gate.Classify(err); kind == gate.Unauthenticated || kind == gate.Denied {
			err = &front.Refusal{Kind: gate.Unauthenticated, Message: "these credentials are not taken"}
		}
		return gate.Principal{}, nil, err
	}
	cookie, err := c.sessions.begin(r, doc)
	return who, cookie, err
}

var errNoSignIn = &gate.Error{Kind: gate.Conflict, Message: "nobody can sign in here: no way is configured"}

// begin seals a session and returns its cookie.
func (s *sessions) begin(r *http.Request, doc session) (*http.Cookie, error) {
	doc.Expires = s.env.now().Add(s.cfg.lifetime()).Unix()
	value, err := s.seal(forSession, doc)
	if errors.Is(err, errSealed) {
		err = &gate.Error{Kind: gate.TooLarge, Message: "what the identity provider tells of this person is more than a cookie can hold; have it tell less"}
	}
	if err != nil {
		return nil, err
	}
	return s.cookie(r, sessionCookie, "/", value, s.cfg.lifetime(), http.SameSiteStrictMode), nil
}

// SignOut returns the cookie that ends the session of a request, and whether it had one
// that another site's page cannot have sent.
func (c *Chain) SignOut(r *http.Request) (*http.Cookie, bool) {
	if !c.HasSession(r) {
		return nil, false
	}
	return c.sessions.cookie(r, sessionCookie, "/", "", 0, http.SameSiteStrictMode), true
}

// try counts an attempt to sign in.
func (s *sessions) try(r *http.Request) error {
	key, now := s.env.source(r).String(), s.env.now()
	l, ok := s.tries.get(key, now)
	if !ok {
		l = rate.NewLimiter(rate.Every(signInEvery), signInsAtOnce)
	}
	s.tries.put(key, l, now.Add(2*signInsAtOnce*signInEvery))
	if !l.AllowN(now, 1) {
		return &gate.Error{Kind: gate.Throttled, Message: "too many attempts to sign in; wait a few seconds"}
	}
	return nil
}
