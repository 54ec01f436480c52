package auth

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/waittest"
)

const (
	aliceKey = "alice-has-a-key-of-forty-characters-0001"
	bobKey   = "bobby-has-a-key-of-forty-characters-0002"
)

// consoleChain takes keys and passwords, and sessions made with them.
func consoleChain(t *testing.T, change func(*Config, *Env)) *Chain {
	t.Helper()
	cfg := Config{Basic: &Basic{File: "users"}, APIKeys: &APIKeys{Keys: []APIKey{{Name: "alice", Key: secret.Ref{Value: aliceKey}, Groups: []string{"ops"}}, {Name: "bob", Key: secret.Ref{Value: bobKey}}}}}
	return newTestChain(t, cfg, func(e *Env) {
		e.Read = func(string) ([]byte, error) { return []byte("dora:" + doraHash + "\n"), nil }
		if change != nil {
			change(&cfg, e)
		}
	})
}

// call makes a request to klamm.example as a browser would, on a page of the site.
func call(method string, cookie *http.Cookie, header ...string) *http.Request {
	r := request(header...)
	r.Method, r.Host = method, "klamm.example"
	if cookie != nil {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	return r
}

var sameOrigin = []string{"Sec-Fetch-Site", "same-origin"}

func signIn(t *testing.T, c *Chain, with Credentials) *http.Cookie {
	t.Helper()
	_, cookie, err := c.SignIn(call("POST", nil, sameOrigin...), with)
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

func TestSession(t *testing.T) {
	c := consoleChain(t, nil)
	for _, tc := range []struct {
		name string
		with Credentials
		want string
	}{
		{"key", Credentials{Key: aliceKey}, "User:alice"},
		{"password", Credentials{User: "dora", Password: "has:a colon and ümläut"}, "User:dora"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cookie := signIn(t, c, tc.with)
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure || cookie.MaxAge != 8*3600 {
				t.Errorf("the cookie is %v", cookie)
			}
			if strings.Contains(cookie.Value, tc.with.Key+tc.with.Password) {
				t.Error("the cookie shows what it holds")
			}
			who, err := c.Authenticate(call("GET", cookie, sameOrigin...))
			if err != nil || who.Name != tc.want || who.Expires.IsZero() {
				t.Errorf("got %q until %v, %v; want %q", who.Name, who.Expires, err, tc.want)
			}
			if !c.HasSession(call("GET", cookie, sameOrigin...)) {
				t.Error("it is no session")
			}
		})
	}
	for _, with := range []Credentials{{Key: bobKey + "x"}, {User: "dora", Password: "x"}, {User: "dora"}, {}, {Key: aliceKey, User: "dora", Password: "x"}} {
		if _, cookie, err := c.SignIn(call("POST", nil, sameOrigin...), with); err == nil || cookie != nil {
			t.Errorf("%+v: signed in", with)
		}
	}
}

func TestSessionIsRefused(t *testing.T) {
	now := time.Now()
	c := consoleChain(t, func(_ *Config, e *Env) { e.now = func() time.Time { return now } })
	cookie := signIn(t, c, Credentials{Key: aliceKey})
	other := consoleChain(t, nil)
	broken := *cookie
	broken.Value = "A" + broken.Value[1:]
	trip := *cookie
	trip.Value, _ = c.sessions.seal(forSignIn, session{Key: aliceKey, Expires: now.Add(time.Hour).Unix()})
	for _, tc := range []struct {
		name   string
		chain  *Chain
		cookie *http.Cookie
	}{
		{"of another process", other, cookie},
		{"changed", c, &broken},
		{"sealed for something else", c, &trip},
		{"empty", c, &http.Cookie{Name: sessionCookie, Value: "-"}},
		{"endless", c, &http.Cookie{Name: sessionCookie, Value: strings.Repeat("A", 20_000)}},
	} {
		_, err := tc.chain.Authenticate(call("GET", tc.cookie, sameOrigin...))
		if e := refusalOf(t, err); e.Kind != gate.Unauthenticated || e.Header.Get("Www-Authenticate") != "" {
			t.Errorf("%s: %v, %v; want a refusal without a challenge", tc.name, err, e.Header)
		}
	}
	now = now.Add(8*time.Hour - time.Second)
	if _, err := c.Authenticate(call("GET", cookie, sameOrigin...)); err != nil {
		t.Errorf("before its end: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := c.Authenticate(call("GET", cookie, sameOrigin...)); err == nil {
		t.Error("it is taken after its end")
	}
}

func TestSessionIsSharedByKey(t *testing.T) {
	shared := func(_ *Config, e *Env) {
		e.Console.SessionKey = secret.Ref{Value: "a key that two processes have in common"}
	}
	a, b := consoleChain(t, shared), consoleChain(t, shared)
	if who, err := b.Authenticate(call("GET", signIn(t, a, Credentials{Key: aliceKey}), sameOrigin...)); err != nil || who.Name != "User:alice" {
		t.Errorf("got %q, %v", who.Name, err)
	}
}

func TestSessionEndsWithItsKey(t *testing.T) {
	shared := func(_ *Config, e *Env) { e.SessionSeed = []byte("the same before and after a reload") }
	cookie := signIn(t, consoleChain(t, shared), Credentials{Key: aliceKey})
	env := testEnv(t)
	env.SessionSeed = []byte("the same before and after a reload")
	reloaded, err := New(t.Context(), Config{APIKeys: &APIKeys{Keys: []APIKey{{Name: "bob", Key: secret.Ref{Value: bobKey}}}}}, env)
	if err != nil {
		t.Fatal(err)
	}
	defer reloaded.Close()
	if _, err := reloaded.Authenticate(call("GET", cookie, sameOrigin...)); gate.Classify(err) != gate.Unauthenticated {
		t.Errorf("the key is gone: %v", err)
	}
}

func TestOtherCredentialsGoBeforeASession(t *testing.T) {
	c := consoleChain(t, nil)
	cookie := signIn(t, c, Credentials{Key: aliceKey})
	for name, tc := range map[string]struct {
		header []string
		want   string
	}{
		"password":     {[]string{"Authorization", basicHeader("dora", "has:a colon and ümläut")}, "User:dora"},
		"bad password": {[]string{"Authorization", basicHeader("dora", "x")}, ""},
		"bearer":       {[]string{"Authorization", "Bearer x"}, ""},
		"key":          {[]string{"X-Api-Key", bobKey}, "User:bob"},
		"bad key":      {[]string{"X-Api-Key", bobKey + "x"}, ""},
	} {
		who, err := c.Authenticate(call("GET", cookie, append(tc.header, sameOrigin...)...))
		if who.Name != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: got %q, %v; want %q", name, who.Name, err, tc.want)
		}
	}
}

// TestNoCallOfAnotherSiteHasASession makes requests as pages of other sites can have
// browsers make them: whatever their method and headers are, the cookie does not count.
func TestNoCallOfAnotherSiteHasASession(t *testing.T) {
	c := consoleChain(t, nil)
	cookie := signIn(t, c, Credentials{Key: aliceKey})
	pick := func(of ...string) string { return of[rand.IntN(len(of))] }
	for range 5000 {
		r := call(pick("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"), cookie, "Content-Type", pick("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"))
		modern := rand.IntN(2) == 0
		if modern {
			r.Header["Sec-Fetch-Site"] = []string{pick("cross-site", "same-site")}
			r.Header.Set("Sec-Fetch-Mode", pick("cors", "no-cors", "navigate", "websocket"))
		}
		if rand.IntN(2) == 0 { // after a preflight, which CORS would have to allow
			r.Header.Set(consoleHeader, "1")
			if !modern {
				r.Header.Set("Origin", pick("https://evil.example", "null", "http://klamm.example.evil.example", "https://klamm.example:444"))
			}
		} else if rand.IntN(2) == 0 {
			r.Header.Set("Origin", pick("https://evil.example", "null", "http://klamm.example.evil.example"))
		} else if !modern && (r.Method == "GET" || r.Method == "HEAD") {
			// A navigation in an old browser: SameSite=Strict keeps the cookie back.
			continue
		}
		if who, err := c.Authenticate(r); err == nil || who.Name != "" {
			t.Fatalf("%s %v is taken for one of %s", r.Method, r.Header, who.Name)
		}
		if _, ok := c.SignOut(r); ok {
			t.Fatalf("%s %v signs out", r.Method, r.Header)
		}
	}
	for name, tc := range map[string]struct {
		method string
		header []string
		want   bool
	}{
		"a page's own":                       {"POST", sameOrigin, true},
		"typed into the address":             {"GET", []string{"Sec-Fetch-Site", "none"}, true},
		"an old browser's read":              {"GET", nil, true},
		"an old browser's write":             {"POST", []string{consoleHeader, "1", "Origin", "http://klamm.example"}, true},
		"an old browser's form":              {"POST", nil, false},
		"two headers":                        {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"}, false},
		"a header of the console cross-site": {"POST", []string{consoleHeader, "1", "Sec-Fetch-Site", "cross-site"}, false},
	} {
		if _, err := c.Authenticate(call(tc.method, cookie, tc.header...)); (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := c.SignIn(call("POST", nil, "Sec-Fetch-Site", "cross-site"), Credentials{Key: aliceKey}); err == nil {
		t.Error("another site's page signs somebody in")
	}
}

func TestAttemptsToSignInAreBounded(t *testing.T) {
	now := time.Now()
	c := consoleChain(t, func(_ *Config, e *Env) { e.now = func() time.Time { return now } })
	attempt := func() error {
		_, _, err := c.SignIn(call("POST", nil, sameOrigin...), Credentials{Key: bobKey + "x"})
		return err
	}
	for range signInsAtOnce {
		if err := attempt(); gate.Classify(err) != gate.Unauthenticated {
			t.Fatal(err)
		}
	}
	if err := attempt(); gate.Classify(err) != gate.Throttled {
		t.Errorf("one more: %v", err)
	}
	now = now.Add(signInEvery)
	if err := attempt(); gate.Classify(err) != gate.Unauthenticated {
		t.Errorf("after a while: %v", err)
	}
}

func TestConsoleIsToldToSignIn(t *testing.T) {
	c := consoleChain(t, nil)
	_, err := c.Authenticate(call("GET", nil, consoleHeader, "1"))
	if e := refusalOf(t, err); e.Kind != gate.Unauthenticated || len(e.Header) > 0 {
		t.Errorf("%v, %v", err, e.Header)
	}
}

// A provider is an OpenID provider where everybody is carol.
type provider struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	// what the last authorization asked for, and what the token is to differ in
	asked   url.Values
	changes m
	key     crypto.Signer
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t, key: rsa1}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, p.URL, p.URL+"/keys", p.URL+"/authorize", p.URL+"/token")
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: rsa1.Public(), KeyID: "r1", Use: "sig"}}})
		case "/token":
			_ = r.ParseForm()
			id, password, _ := r.BasicAuth()
			sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
			if id != "console" || password != "s%C3%A9cret" || r.Form.Get("code") != "a code" || r.Form.Get("redirect_uri") != p.asked.Get("redirect_uri") ||
				base64.RawURLEncoding.EncodeToString(sum[:]) != p.asked.Get("code_challenge") {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			now := time.Now().Unix()
			claims := with(m{"iss": p.URL, "aud": "console", "sub": "carol", "groups": []string{"ops"}, "iat": now, "exp": now + 300, "nonce": p.asked.Get("nonce")}, p.changes)
			_ = json.NewEncoder(w).Encode(m{"access_token": "x", "id_token": sign(m{"alg": "RS256", "kid": "r1"}, claims, p.key, false)})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) chain(required map[string][]string) *Chain {
	p.t.Helper()
	env := testEnv(p.t)
	env.SessionSeed = []byte("one for all chains of the test")
	env.Console.OIDC = &ConsoleOIDC{Issuer: p.URL, ClientID: "console", ClientSecret: secret.Ref{Value: "sécret"}}
	c, err := New(p.t.Context(), Config{JWT: []Issuer{{Issuer: p.URL, Audiences: []string{"klamm"}, RequiredClaims: required}}}, env)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	waittest.Until(p.t, "the keys of the provider", func() bool { _, _, err := c.tokens.issuers[0].keys.current(); return err == nil })
	return c
}

// goes begins to sign in, as the browser does that is sent to the provider.
func (p *provider) goes(c *Chain, back string) *http.Cookie {
	p.t.Helper()
	to, cookie, err := c.BeginOIDC(call("GET", nil, sameOrigin...), back)
	if err != nil {
		p.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") {
		p.t.Fatalf("sent to %q, %v", to, err)
	}
	p.mu.Lock()
	p.asked = u.Query()
	p.mu.Unlock()
	return cookie
}

// comes is the request with which the browser comes back.
func comes(cookie *http.Cookie, state, code string) *http.Request {
	r := call("GET", cookie, "Sec-Fetch-Site", "cross-site")
	r.URL = mustURL("/klamm/v1/session/oidc/callback?" + url.Values{"state": {state}, "code": {code}}.Encode())
	return r
}

func TestSignInWithAProvider(t *testing.T) {
	p := newProvider(t)
	c := p.chain(nil)
	cookie := p.goes(c, "#/pipes/orders?tab=stages")
	want := map[string]string{"response_type": "code", "client_id": "console", "scope": "openid profile", "code_challenge_method": "S256", "redirect_uri": "http://klamm.example/klamm/v1/session/oidc/callback"}
	for name, v := range want {
		if p.asked.Get(name) != v {
			t.Errorf("%s is %q, want %q", name, p.asked.Get(name), v)
		}
	}
	if cookie.SameSite != http.SameSiteLaxMode || !cookie.HttpOnly || cookie.Path != signInPath {
		t.Errorf("the cookie is %v", cookie)
	}
	back, err := c.EndOIDC(comes(cookie, p.asked.Get("state"), "a code"))
	if err != nil || back.Back != "#/pipes/orders?tab=stages" || back.Who.Name != "User:carol" || len(back.Cookies) != 2 {
		t.Fatalf("%+v, %v", back, err)
	}
	who, err := c.Authenticate(call("GET", back.Cookies[1], sameOrigin...))
	if err != nil || who.Name != "User:carol" || len(who.Groups) != 1 || who.Scheme != gate.SchemeJWT || time.Until(who.Expires) < 7*time.Hour {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := c.Authenticate(call("GET", back.Cookies[1], "Sec-Fetch-Site", "cross-site")); err == nil {
		t.Error("the session counts for another site")
	}
	// What the configuration asks of tokens now counts for sessions that are there.
	if _, err := p.chain(map[string][]string{"department": {"it"}}).Authenticate(call("GET", back.Cookies[1], sameOrigin...)); gate.Classify(err) != gate.Unauthenticated {
		t.Errorf("a claim is required that she does not have: %v", err)
	}
}

func TestProviderThatIsNotBelieved(t *testing.T) {
	p := newProvider(t)
	c := p.chain(nil)
	for name, tc := range map[string]struct {
		changes m
		key     crypto.Signer
		state   string
		code    string
		cookie  *http.Cookie
	}{
		"another state":     {state: "x"},
		"no state":          {state: "-"},
		"another code":      {code: "x"},
		"no cookie":         {cookie: &http.Cookie{Name: "other"}},
		"another cookie":    {cookie: &http.Cookie{Name: signInCookie, Value: "AAAA"}},
		"another key":       {key: rsa2},
		"another audience":  {changes: m{"aud": "klamm"}},
		"several audiences": {changes: m{"aud": []string{"console", "x"}}},
		"another party":     {changes: m{"azp": "x"}},
		"another issuer":    {changes: m{"iss": "https://evil.example"}},
		"another nonce":     {changes: m{"nonce": "x"}},
		"no nonce":          {changes: m{"nonce": nil}},
		"over":              {changes: m{"exp": time.Now().Unix() - 300}},
		"nobody":            {changes: m{"sub": nil}},
		"too much to tell": {changes: m{"extra": randomText() + strings.Join(func() (all []string) {
			for range 200 {
				all = append(all, randomText())
			}
			return all
		}(), "")}},
	} {
		t.Run(name, func(t *testing.T) {
			cookie := p.goes(c, "")
			p.mu.Lock()
			p.changes, p.key = tc.changes, rsa1
			if tc.key != nil {
				p.key = tc.key
			}
			p.mu.Unlock()
			state, code := p.asked.Get("state"), "a code"
			if tc.state != "" {
				state = strings.Trim(tc.state, "-")
			}
			if tc.code != "" {
				code = tc.code
			}
			if tc.cookie != nil {
				cookie = tc.cookie
			}
			back, err := c.EndOIDC(comes(cookie, state, code))
			if err == nil || len(back.Cookies) != 1 || back.Cookies[0].MaxAge >= 0 {
				t.Errorf("%+v, %v", back, err)
			}
		})
		c.sessions.tries.clear()
	}
}

func TestBackIsNowhereElse(t *testing.T) {
	for back, want := range map[string]string{
		"#/pipes?state=halted": "#/pipes?state=halted", "": "#/overview", "https://evil.example": "#/overview", "//evil.example": "#/overview", "/evil": "#/overview",
		"#/\r\nSet-Cookie: a=b": "#/overview", "#evil": "#/overview", "#/ü": "#/overview", "#/" + strings.Repeat("a", 3000): "#/overview",
	} {
		if got := safeBack(back); got != want {
			t.Errorf("%q: %q, want %q", back, got, want)
		}
	}
}

func TestConsoleNeedsAnIssuer(t *testing.T) {
	env := testEnv(t)
	env.Console.OIDC = &ConsoleOIDC{Issuer: "https://id.example/", ClientID: "console"}
	env.Metrics = nil
	if err := Check(t.Context(), Config{}, env); err == nil || !strings.Contains(err.Error(), "console.oidc: issuer") {
		t.Errorf("%v", err)
	}
	env.Console = Console{SessionKey: secret.Ref{Value: "short"}}
	if err := Check(t.Context(), Config{}, env); err == nil || !strings.Contains(err.Error(), "session_key") {
		t.Errorf("%v", err)
	}
	var nobody *Chain
	if ways := nobody.Ways(); len(ways) != 0 {
		t.Errorf("%v", ways)
	}
}
