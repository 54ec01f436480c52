package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// signInCookie holds what has to be known when somebody comes back from their
	// provider. It is its own: that request comes from another site.
	signInCookie = "klamm_signin"
	signInPath   = "/klamm/v1/session/oidc"
	signInTime   = 10 * time.Minute
	// largestTokens bounds the answer with the tokens, and tokensTime the wait for it.
	largestTokens = 256 << 10
	tokensTime    = 10 * time.Second
	longestBack   = 2000
)

// oidc lets people sign in with an OpenID provider: the authorization code flow of
// OpenID Connect Core 3.1 with PKCE (RFC 7636).
type oidc struct {
	cfg    ConsoleOIDC
	secret string // empty: a public client
	issuer *issuer
	tokens *jwt
}

func newOIDC(ctx context.Context, cfg ConsoleOIDC, c *Chain) (*oidc, error) {
	if c.tokens == nil || c.tokens.byName[cfg.Issuer] == nil {
		return nil, fmt.Errorf("issuer: %q is none of auth.jwt", cfg.Issuer)
	}
	o := &oidc{cfg: cfg, issuer: c.tokens.byName[cfg.Issuer], tokens: c.tokens}
	if len(o.cfg.Scopes) == 0 {
		o.cfg.Scopes = []string{"openid", "profile"}
	}
	if !slices.Contains(o.cfg.Scopes, "openid") {
		o.cfg.Scopes = append([]string{"openid"}, o.cfg.Scopes...)
	}
	if !cfg.ClientSecret.IsZero() {
		text, err := c.env.Secret(ctx, cfg.ClientSecret)
		if err != nil {
			return nil, fmt.Errorf("client_secret: %w", err)
		}
		o.secret = text
	}
	return o, nil
}

// A journey is what has to be known of somebody who is at their provider.
type journey struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Back     string `json:"b"`
	Expires  int64  `json:"e"`
}

// safeBack returns the fragment of the console that somebody wants to come back to, or
// its beginning.
func safeBack(back string) string {
	if !strings.HasPrefix(back, "#/") || len(back) > longestBack {
		return "#/overview"
	}
	for i := range len(back) {
		if back[i] <= ' ' || back[i] > '~' || strings.IndexByte("\"<>\\`", back[i]) >= 0 {
			return "#/overview"
		}
	}
	return back
}

// BeginOIDC returns where a person is sent to sign in, and the cookie that goes with
// it. Back is the fragment of the console that they come back to; anything else is not
// heeded.
func (c *Chain) BeginOIDC(r *http.Request, back string) (to string, cookie *http.Cookie, err error) {
	if c == nil || c.sessions == nil || c.sessions.oidc == nil {
		return "", nil, errNoSignIn
	}
	s, o := c.sessions, c.sessions.oidc
	if err := s.try(r); err != nil {
		return "", nil, err
	}
	meta, err := o.metadata(r.Context())
	if err != nil {
		return "", nil, c.away(err)
	}
	trip := journey{State: randomText(), Nonce: randomText(), Verifier: randomText(), Back: safeBack(back), Expires: s.env.now().Add(signInTime).Unix()}
	value, err := s.seal(forSignIn, trip)
	if err != nil {
		return "", nil, err
	}
	challenge := sha256.Sum256([]byte(trip.Verifier))
	u, err := url.Parse(meta.Authorize)
	if err != nil {
		return "", nil, c.away(err)
	}
	q := u.Query()
	for name, v := range map[string]string{
		"response_type": "code", "client_id": o.cfg.ClientID, "redirect_uri": s.redirectURI(r), "scope": strings.Join(o.cfg.Scopes, " "),
		"state": trip.State, "nonce": trip.Nonce, "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, v)
	}
	u.RawQuery = q.Encode()
	return u.String(), s.cookie(r, signInCookie, signInPath, value, signInTime, http.SameSiteLaxMode), nil
}

func (s *sessions) redirectURI(r *http.Request) string {
	return s.env.Links.Base(r) + signInPath + "/callback"
}

// metadata asks the provider where people sign in and where tokens are made.
func (o *oidc) metadata(ctx context.Context) (issuerMetadata, error) {
	meta, err := o.issuer.keys.metadata(ctx)
	if err == nil && (!safeURL(meta.Authorize) || !safeURL(meta.Token)) {
		err = fmt.Errorf("%s: authorization_endpoint and token_endpoint are no https URLs", meta.at)
	}
	return meta, err
}

// away is the answer while the provider cannot be asked.
func (c *Chain) away(err error) error {
	c.env.Log.Warn("cannot ask the identity provider of the console", "err", err)
	return unavailable("the identity provider cannot be asked now", "5")
}

func randomText() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// A Return is what becomes of a person who comes back from their provider.
type Return struct {
	Who gate.Principal // where there was no error
	// Back is the fragment of the console where they go.
	Back string
	// Cookies are to be set, whatever has happened.
	Cookies []*http.Cookie
}

// EndOIDC lets somebody in who comes back from their provider. The error says why they
// are not; it is for logs.
func (c *Chain) EndOIDC(r *http.Request) (Return, error) {
	back := Return{Back: "#/overview"}
	if c == nil || c.sessions == nil || c.sessions.oidc == nil {
		return back, errNoSignIn
	}
	s, o := c.sessions, c.sessions.oidc
	back.Cookies = []*http.Cookie{s.cookie(r, signInCookie, signInPath, "", 0, http.SameSiteLaxMode)}
	var trip journey
	cookie, err := r.Cookie(signInCookie)
	if err != nil || !s.open(forSignIn, cookie.Value, &trip) || s.env.now().Unix() >= trip.Expires {
		return back, errors.New("the sign-in was not begun in this browser, or too long ago")
	}
	back.Back = trip.Back
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(trip.State)) != 1 {
		return back, errors.New("the state is another one than that of the sign-in")
	}
	if code := q.Get("error"); code != "" {
		return back, fmt.Errorf("the identity provider says %q", clippedText(code))
	}
	claims, err := o.exchange(r.Context(), q.Get("code"), s.redirectURI(r), trip, s.env.now())
	if err != nil {
		return back, err
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash"} {
		delete(claims, name)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return back, err
	}
	doc := session{Issuer: o.cfg.Issuer, Claims: text, Expires: s.env.now().Add(s.cfg.lifetime()).Unix()}
	if back.Who, err = c.byClaims(r, &doc); err != nil {
		return back, err
	}
	began, err := s.begin(r, doc)
	if err == nil {
		back.Cookies = append(back.Cookies, began)
	}
	return back, err
}

func clippedText(s string) string {
	if len(s) > 100 {
		return s[:100]
	}
	return s
}

// exchange gets the tokens for a code and returns the claims of the ID token.
func (o *oidc) exchange(ctx context.Context, code, redirect string, trip journey, now time.Time) (map[string]any, error) {
	if code == "" {
		return nil, errors.New("the identity provider has sent no code")
	}
	ctx, cancel := context.WithTimeout(ctx, tokensTime)
	defer cancel()
	meta, err := o.metadata(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {trip.Verifier}}
	basic := o.secret != "" && (len(meta.Methods) == 0 || slices.Contains(meta.Methods, "client_secret_basic"))
	if !basic {
		form.Set("client_id", o.cfg.ClientID)
		if o.secret != "" {
			form.Set("client_secret", o.secret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, meta.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if basic { // both parts are encoded as in a form (RFC 6749, 2.3.1)
		r.SetBasicAuth(url.QueryEscape(o.cfg.ClientID), url.QueryEscape(o.secret))
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the identity provider answers status %d to the code", answer.StatusCode)
	}
	var doc struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, largestTokens)).Decode(&doc); err != nil || doc.IDToken == "" {
		return nil, errors.New("the identity provider answers without an ID token")
	}
	return o.check(ctx, doc.IDToken, trip.Nonce, now)
}

// check checks an ID token (OpenID Connect Core 3.1.3.7).
func (o *oidc) check(ctx context.Context, token, nonce string, now time.Time) (map[string]any, error) {
	if len(token) > o.issuer.cfg.MaxTokenBytes {
		return nil, tokenError(tokenTooLarge)
	}
	t, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(o.issuer.cfg.Algorithms, t.alg) {
		return nil, tokenError(tokenAlgorithm)
	}
	if is, err := o.tokens.issuerOf(t); err != nil || is != o.issuer {
		return nil, tokenError(tokenIssuer)
	}
	if _, err := o.issuer.keys.check(ctx, t); err != nil {
		return nil, err
	}
	if _, _, err := o.issuer.checkTimes(t.claims, now); err != nil {
		return nil, err
	}
	audiences := texts(t.claims["aud"])
	azp, named := t.claims["azp"].(string)
	if !slices.Contains(audiences, o.cfg.ClientID) || len(audiences) > 1 && !named || named && azp != o.cfg.ClientID {
		return nil, tokenError(tokenAudience)
	}
	if said, _ := t.claims["nonce"].(string); subtle.ConstantTimeCompare([]byte(said), []byte(nonce)) != 1 {
		return nil, errors.New("the nonce of the ID token is another one than that of the sign-in")
	}
	return t.claims, nil
}

// byClaims finds out who somebody is by what their provider has told when they signed
// in, and by what the configuration makes of that now.
func (c *Chain) byClaims(r *http.Request, doc *session) (gate.Principal, error) {
	ask := func(ctx context.Context, within time.Duration) (gate.Principal, error) {
		if err := c.stillOpen(); err != nil {
			return gate.Principal{}, err
		}
		o := c.sessions.oidc
		if o == nil || o.cfg.Issuer != doc.Issuer {
			return gate.Principal{}, errSignIn
		}
		claims, err := decodeObject(doc.Claims)
		if err != nil {
			return gate.Principal{}, errSignIn
		}
		who, unknown, err := o.issuer.caller(claims)
		if err != nil {
			return gate.Principal{}, &front.Refusal{Kind: gate.Unauthenticated, Message: err.Error()}
		}
		if unknown {
			if who, err = c.tokens.resolve(ctx, who, within); err != nil {
				return gate.Principal{}, err
			}
		}
		who.Expires = time.Unix(doc.Expires, 0)
		return who, nil
	}
	who, err := ask(r.Context(), 0)
	if err != nil {
		return gate.Principal{}, err
	}
	c.results.WithLabelValues("session", "ok").Inc()
	return who.Renewable(func(ctx context.Context) (gate.Principal, error) { return ask(ctx, renewedWithin) }), nil
}
