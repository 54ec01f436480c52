package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

// An authority is an authorization server that knows some tokens.
type authority struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[string] // instead of what it knows; nil: nothing is

	mu     sync.Mutex // guards what follows
	tokens map[string]string
}

// newAuthority starts a server that answers about tokens with a document each.
func newAuthority(t *testing.T, tokens map[string]string) *authority {
	a := &authority{tokens: maps.Clone(tokens)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked.Add(1)
		if id, password, _ := r.BasicAuth(); id != "kl%3Aamm" || password != "s%26cret" || r.Method != "POST" || r.FormValue("token_type_hint") != "access_token" {
			w.WriteHeader(401)
			return
		}
		if text := a.answer.Load(); text != nil {
			fmt.Fprint(w, *text)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if text, ok := a.tokens[r.FormValue("token")]; ok {
			fmt.Fprint(w, text)
			return
		}
		fmt.Fprint(w, `{"active":false}`)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authority) set(token, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[token] = text
}

// asking is the section that asks a server.
func (a *authority) asking() *Introspect {
	return &Introspect{URL: a.URL + "/introspect", ClientID: "kl:amm", ClientSecret: secret.Ref{Value: "s&cret"}, Issuer: "https://id.example/", Audiences: []string{"klamm"}, RequiredClaims: map[string][]string{"token_type": {"Bearer"}}, Timeout: time.Minute}
}

// A clock stands until somebody moves it.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.at.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time           { return time.Unix(0, c.at.Load()) }
func (c *clock) pass(d time.Duration)     { c.at.Add(int64(d)) }
func (c *clock) in(d time.Duration) int64 { return c.now().Add(d).Unix() }

func bearing(token string) *http.Request { return request("Authorization", "Bearer "+token) }

func TestTokensThatOnlyTheirServerCanRead(t *testing.T) {
	at := newClock(time.Unix(1_800_000_000, 0))
	good := func(more string) string {
		return `{"active":true,"iss":"https://id.example/","aud":["x","klamm"],"token_type":"Bearer"` + more + `}`
	}
	digest := sha256.Sum256([]byte("a certificate"))
	bound := `,"sub":"dora","cnf":{"x5t#S256":"` + base64.RawURLEncoding.EncodeToString(digest[:]) + `"}`
	a := newAuthority(t, map[string]string{
		"good":        good(fmt.Sprintf(`,"sub":"dora","scope":"read write","groups":["g1"],"roles":["Admin"],"exp":%d,"iat":%d,"username":"d"`, at.in(time.Hour), at.in(-time.Hour))),
		"endless":     good(`,"sub":"dora"`),
		"skewed":      good(fmt.Sprintf(`,"sub":"dora","exp":%d`, at.in(-50*time.Second))),
		"expired":     good(fmt.Sprintf(`,"sub":"dora","exp":%d`, at.in(-time.Minute))),
		"early":       good(fmt.Sprintf(`,"sub":"dora","nbf":%d`, at.in(2*time.Minute))),
		"text":        good(`,"sub":"dora","exp":"1900000000"`),
		"nameless":    good(""),
		"odd":         good(`,"sub":"a\u0007b"`),
		"issuer":      `{"active":true,"iss":"https://id.example","aud":"klamm","token_type":"Bearer","sub":"dora"}`,
		"audience":    `{"active":true,"iss":"https://id.example/","aud":"other","token_type":"Bearer","sub":"dora"}`,
		"no-audience": `{"active":true,"iss":"https://id.example/","token_type":"Bearer","sub":"dora"}`,
		"claim":       `{"active":true,"iss":"https://id.example/","aud":"klamm","token_type":"DPoP","sub":"dora"}`,
		"bound":       good(bound),
	})
	c := newTestChain(t, Config{Introspect: a.asking()}, func(e *Env) { e.now = at.now })
	for _, tc := range []struct{ token, want string }{
		{"good", ""}, {"endless", ""}, {"skewed", ""},
		{"unknown", tokenInactive}, {"expired", tokenExpired}, {"early", tokenEarly}, {"text", tokenMalformed}, {"nameless", tokenClaim}, {"odd", tokenClaim},
		{"issuer", tokenIssuer}, {"audience", tokenAudience}, {"no-audience", tokenAudience}, {"claim", tokenClaim}, {"bound", tokenSignature},
		{"not one", tokenMalformed}, {strings.Repeat("x", largestOpaque+1), tokenTooLarge},
	} {
		t.Run(tc.token[:min(len(tc.token), 20)], func(t *testing.T) {
			for range 2 { // asked, and remembered
				who, err := c.Authenticate(bearing(tc.token))
				if tc.want == "" {
					if err != nil || who.Name != "User:dora" || who.Scheme != gate.SchemeIntrospect || !who.ByToken() {
						t.Fatalf("got %+v, %v", who, err)
					}
					continue
				}
				e := refusalOf(t, err)
				if got := e.Header.Get("Www-Authenticate"); e.Message != tc.want || got != `Bearer realm="klamm", error="invalid_token", error_description="`+tc.want+`"` {
					t.Fatalf("got %q, %q; want %q", e.Message, got, tc.want)
				}
			}
		})
	}
	who, err := c.Authenticate(bearing("good"))
	if err != nil || !slices.Equal(who.Scopes, []string{"read", "write"}) || !slices.Equal(who.Groups, []string{"g1"}) || !slices.Equal(who.Roles, []string{"Admin"}) ||
		!who.Expires.Equal(at.now().Add(time.Hour+time.Minute)) || who.Claims["username"] != "d" {
		t.Errorf("got %+v, %v", who, err)
	}
	if who, err := c.Authenticate(bearing("endless")); err != nil || !who.Expires.IsZero() {
		t.Errorf("got %+v, %v", who, err)
	}
	if n := a.asked.Load(); n != 14 {
		t.Errorf("%d questions about 14 tokens", n)
	}
	if e := refusalOf(t, func() error { _, err := c.Authenticate(request()); return err }()); e.Header.Get("Www-Authenticate") != `Bearer realm="klamm"` {
		t.Errorf("no token: %v", e.Header)
	}
}

// TestTokensAreForgotten ends a token at its server: that counts after a minute at most,
// and sooner for who has a stream open.
func TestTokensAreForgotten(t *testing.T) {
	at := newClock(time.Unix(1_800_000_000, 0))
	a := newAuthority(t, map[string]string{})
	good := `{"active":true,"iss":"https://id.example/","aud":"klamm","token_type":"Bearer","sub":"dora"}`
	a.set("t", good)
	a.set("short", fmt.Sprintf(`{"active":true,"iss":"https://id.example/","aud":"klamm","token_type":"Bearer","sub":"dora","exp":%d}`, at.in(-50*time.Second)))
	c := newTestChain(t, Config{Introspect: a.asking()}, func(e *Env) { e.now = at.now })
	taken := func(token string) bool { _, err := c.Authenticate(bearing(token)); return err == nil }
	if !taken("t") || !taken("short") || taken("late") {
		t.Fatal("the tokens are not what they are")
	}
	a.set("t", `{"active":false}`)
	a.set("late", good)
	at.pass(9 * time.Second)
	if !taken("t") || taken("late") {
		t.Error("what was said 9 seconds ago does not count any more")
	}
	at.pass(2 * time.Second)
	if !taken("t") || !taken("late") || taken("short") {
		t.Error("a bad token counts as bad for more than 10 seconds, or a token counts beyond its end")
	}
	at.pass(15 * time.Second)
	if _, err := renewed(t, c, gate.SchemeIntrospect, bearing("t")); err == nil {
		t.Error("an open stream goes on with a token that has ended half a minute ago")
	}
	if taken("t") {
		t.Error("what a stream has learned does not count for others")
	}
	a.set("late", `{"active":false}`)
	at.pass(time.Minute)
	if taken("late") {
		t.Error("an answer counts for more than a minute")
	}
}

func TestNobodyGetsInWhileTheServerDoesNotAnswer(t *testing.T) {
	at := newClock(time.Unix(1_800_000_000, 0))
	a := newAuthority(t, map[string]string{"t": `{"active":true,"iss":"https://id.example/","aud":"klamm","token_type":"Bearer","sub":"dora"}`})
	c := newTestChain(t, Config{Introspect: a.asking()}, func(e *Env) { e.now = at.now })
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "<html>", "a list": "[]", "no verdict": `{"sub":"dora"}`, "no truth value": `{"active":"true","sub":"dora"}`, "two verdicts": `{"active":false,"active":true}`,
		"too much": `{"active":true,"x":"` + strings.Repeat("x", largestIntrospection) + `"}`,
	} {
		a.answer.Store(&text)
		_, err := c.Authenticate(bearing("t"))
		if e := refusalOf(t, err); gate.Classify(err) != gate.Unavailable || e.Header.Get("Retry-After") != "5" {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.answer.Store(nil)
	if _, err := c.Authenticate(bearing("t")); err != nil { // that there was no answer is not remembered
		t.Errorf("it answers again: %v", err)
	}
	at.pass(59 * time.Second)
	a.Close()
	if _, err := c.Authenticate(bearing("t")); err != nil {
		t.Errorf("an answer does not count for a minute: %v", err)
	}
	at.pass(time.Second)
	_, err := c.Authenticate(bearing("t"))
	if gate.Classify(err) != gate.Unavailable {
		t.Errorf("the server is gone: %v", err)
	}
}

// TestTokensOfBothKinds has tokens that klamm reads itself beside such that it asks about.
func TestTokensOfBothKinds(t *testing.T) {
	a := newAuthority(t, map[string]string{"opaque.token": `{"active":true,"iss":"https://id.example/","aud":"klamm","token_type":"Bearer","sub":"dora"}`})
	key := strings.Repeat("k", 32)
	c := newTestChain(t, Config{
		JWT:        []Issuer{{Issuer: "local", Audiences: []string{"klamm"}, SymmetricKey: secret.Ref{Value: key}, Algorithms: []string{"HS256"}}},
		Introspect: a.asking(),
	}, nil)
	own := func(key string) string {
		return sign(m{"alg": "HS256"}, m{"iss": "local", "aud": "klamm", "sub": "carol", "exp": time.Now().Add(time.Hour).Unix()}, []byte(key), false)
	}
	for token, want := range map[string]string{"opaque.token": "User:dora introspect", own(key): "User:carol jwt"} {
		if who, err := c.Authenticate(bearing(token)); err != nil || who.Name+" "+who.Scheme != want {
			t.Errorf("got %s %s, %v; want %s", who.Name, who.Scheme, err, want)
		}
	}
	_, err := c.Authenticate(bearing(own(strings.Repeat("x", 32))))
	if e := refusalOf(t, err); e.Message != tokenSignature {
		t.Errorf("a JWT with a bad signature: %v", e)
	}
	if n := a.asked.Load(); n != 1 {
		t.Errorf("%d questions, want one: JWTs are nobody else's business", n)
	}
}
