package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// activeTokens bounds the tokens that are remembered as good, and inactiveTokens, for
	// inactiveFor, the others: whoever makes tokens up must not push out good ones.
	activeTokens   = 50_000
	inactiveTokens = 50_000
	inactiveFor    = 10 * time.Second
	// questionsAtOnce bounds the questions under way.
	questionsAtOnce = 64
	// largestIntrospection bounds an answer.
	largestIntrospection = 64 << 10
	// largestOpaque bounds a token.
	largestOpaque = 16 << 10
)

// tokenInactive is what a caller is told whose token the authorization server does not
// know, or not any more; it does not say which.
const tokenInactive = "the token is not active"

// opaqueToken is what may stand behind Bearer (RFC 6750, 2.1).
var opaqueToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// introspect takes bearer tokens that only their authorization server can read, and asks
// that (RFC 7662). Nobody gets in while it does not answer.
type introspect struct {
	cfg     Introspect
	claims  *issuer // by which answers are read
	secret  string
	env     Env
	http    *http.Client
	sources []tokenSource
	good    *cache[[sha256.Size]byte, introspected]
	bad     *cache[[sha256.Size]byte, tokenError]
	asking  flights[[sha256.Size]byte, introspected]
	slots   chan struct{} // one for each question under way
	quiet   *rate.Limiter // of log lines
}

// introspected is what is known of a token that is good.
type introspected struct {
	who   gate.Principal
	bound string // the digest of the certificate that must come with it; "": none
	at    time.Time
}

func newIntrospect(ctx context.Context, cfg Introspect, env Env) (*introspect, error) {
	cfg = cfg.WithDefaults()
	secret, err := env.Secret(ctx, cfg.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("client_secret: %w", err)
	}
	i := &introspect{
		cfg: cfg, secret: secret, env: env, quiet: rate.NewLimiter(1, 5), slots: make(chan struct{}, questionsAtOnce),
		claims: &issuer{cfg: Issuer{
			Audiences: cfg.Audiences, RequiredClaims: cfg.RequiredClaims, Principal: cfg.Principal, GroupsClaim: cfg.GroupsClaim, RolesClaim: cfg.RolesClaim,
		}.WithDefaults()},
		http: &http.Client{Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		good: newCache[[sha256.Size]byte, introspected](activeTokens), bad: newCache[[sha256.Size]byte, tokenError](inactiveTokens),
	}
	for _, text := range cfg.Sources {
		s, err := parseSource(text)
		if err != nil {
			return nil, fmt.Errorf("sources: %w", err)
		}
		i.sources = append(i.sources, s)
	}
	return i, nil
}

func (i *introspect) authenticate(r *http.Request) (gate.Principal, error) { return i.check(r, 0) }

// renew is authenticate by what was asked a moment ago.
func (i *introspect) renew(r *http.Request) (gate.Principal, error) {
	return i.check(r, renewedWithin)
}

// check finds out who comes with a token, by what the server has said within a time at
// most; 0 is as configured.
func (i *introspect) check(r *http.Request, within time.Duration) (gate.Principal, error) {
	token, _, ok := findToken(i.sources, i.env, r)
	if !ok {
		return gate.Principal{}, front.ErrNotMine
	}
	one, err := i.known(r.Context(), token, within)
	if err == nil && one.bound != "" && !i.env.holds(r, one.bound) {
		err = tokenError(tokenSignature)
	}
	var bad tokenError
	if errors.As(err, &bad) {
		return gate.Principal{}, refuseToken(string(bad))
	}
	return one.who, err
}

// known returns what is known of a token, and asks if that is nothing.
func (i *introspect) known(ctx context.Context, token string, within time.Duration) (introspected, error) {
	switch {
	case len(token) > largestOpaque:
		return introspected{}, tokenError(tokenTooLarge)
	case !opaqueToken.MatchString(token):
		return introspected{}, tokenError(tokenMalformed)
	}
	digest, now := sha256.Sum256([]byte(token)), i.env.now()
	if one, ok := i.good.get(digest, now); ok && (within == 0 || now.Sub(one.at) < within) {
		return one, nil
	}
	if why, ok := i.bad.get(digest, now); ok {
		return introspected{}, why
	}
	flight, first := i.asking.join(digest)
	if first {
		go i.lookUp(token, digest, flight) // for everybody who waits, so not by the context of one of them
	}
	select {
	case <-flight.done:
		return flight.value, flight.err
	case <-ctx.Done():
		return introspected{}, ctx.Err()
	}
}

// lookUp asks about one token and tells everybody who waits.
func (i *introspect) lookUp(token string, digest [sha256.Size]byte, flight *flight[introspected]) {
	ctx, cancel := context.WithTimeout(context.Background(), i.cfg.Timeout)
	defer cancel()
	now := i.env.now()
	claims, err := i.ask(ctx, token)
	one := introspected{at: now}
	if err == nil {
		var until time.Time
		if one.who, one.bound, until, err = i.accept(claims, now); err == nil {
			i.good.put(digest, one, until)
		}
	}
	var why tokenError
	switch {
	case err == nil:
	case errors.As(err, &why):
		i.bad.put(digest, why, now.Add(inactiveFor))
		i.good.drop(digest)
	default:
		if i.quiet.Allow() {
			i.env.Log.Warn("the authorization server cannot be asked about a token", "err", err)
		}
		err = unavailable("the authorization server cannot be asked about the token now", "5")
	}
	i.asking.land(digest, flight, one, err)
}

// ask asks the server about a token. The error is a tokenError where the answer is that it
// is not active; any other says that there is no answer, and shows nothing that was sent.
func (i *introspect) ask(ctx context.Context, token string) (map[string]any, error) {
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%d questions are under way already", questionsAtOnce)
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, i.cfg.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	// RFC 6749, 2.3.1: both are encoded as in a form before they are put together.
	q.SetBasicAuth(url.QueryEscape(i.cfg.ClientID), url.QueryEscape(i.secret))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Accept", "application/json")
	answer, err := i.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers with status %d", q.URL.Host, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, largestIntrospection+1))
	if err != nil {
		return nil, err
	}
	if len(text) > largestIntrospection {
		return nil, fmt.Errorf("%s: the answer is larger than %d bytes", q.URL.Host, largestIntrospection)
	}
	claims, err := decodeObject(text)
	if err != nil {
		return nil, fmt.Errorf("%s: the answer is not the JSON that was expected: %w", q.URL.Host, err)
	}
	switch active, ok := claims["active"].(bool); {
	case !ok:
		return nil, fmt.Errorf("%s: the answer does not say whether the token is active", q.URL.Host)
	case !active:
		return nil, tokenError(tokenInactive)
	}
	return claims, nil
}

// accept checks what the server says of an active token, and returns who it names and
// until when that may be remembered.
func (i *introspect) accept(claims map[string]any, now time.Time) (who gate.Principal, bound string, until time.Time, err error) {
	if i.cfg.Issuer != "" && claims["iss"] != i.cfg.Issuer {
		return who, "", until, tokenError(tokenIssuer)
	}
	issued, expires, err := i.times(claims, now)
	if err != nil {
		return who, "", until, err
	}
	if len(i.cfg.Audiences) > 0 && !slices.ContainsFunc(texts(claims["aud"]), func(a string) bool { return slices.Contains(i.cfg.Audiences, a) }) {
		return who, "", until, tokenError(tokenAudience)
	}
	who, unknown, err := i.claims.caller(claims)
	if err != nil {
		return who, "", until, err
	}
	if bound, err = i.claims.binding(claims); err != nil {
		return who, "", until, err
	}
	who.Scheme, who.GroupsUnknown = gate.SchemeIntrospect, unknown
	who.Issued, who.Expires = issued, expires
	until = now.Add(i.cfg.Cache)
	if !expires.IsZero() && expires.Before(until) {
		until = expires
	}
	return who, bound, until, nil
}

// times returns when a token was made and when it ends, skew included; the zero time where
// the server does not say.
func (i *introspect) times(claims map[string]any, now time.Time) (issued, expires time.Time, err error) {
	var at [3]time.Time
	for n, name := range []string{"exp", "nbf", "iat"} {
		if v, there := claims[name]; there {
			if at[n], err = numericDate(v); err != nil {
				return issued, expires, err
			}
		}
	}
	skew := *i.claims.cfg.ClockSkew
	if !at[0].IsZero() {
		if expires = at[0].Add(skew); !now.Before(expires) {
			return issued, expires, tokenError(tokenExpired)
		}
	}
	if !at[1].IsZero() && now.Before(at[1].Add(-skew)) {
		return issued, expires, tokenError(tokenEarly)
	}
	return at[2], expires, nil
}
