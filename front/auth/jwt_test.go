package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/waittest"
)

var (
	rsa1, _   = rsa.GenerateKey(rand.Reader, 2048)
	rsa2, _   = rsa.GenerateKey(rand.Reader, 2048)
	ec1, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed1, _ = ed25519.GenerateKey(rand.Reader)
)

// An idp is an OpenID provider over HTTP whose keys can change.
type idp struct {
	*httptest.Server
	keys    atomic.Pointer[map[string]crypto.Signer]
	down    atomic.Bool
	fetched atomic.Int32
	claimed atomic.Pointer[string] // issuer of the metadata, if not its own
}

func newIDP(t *testing.T) *idp {
	p := &idp{}
	p.keys.Store(&map[string]crypto.Signer{"r1": rsa1, "e1": ec1, "d1": ed1})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.down.Load():
			w.WriteHeader(503)
		case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
			name := p.URL + "/t1/v2.0"
			if c := p.claimed.Load(); c != nil {
				name = *c
			}
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, name, p.URL+"/keys")
		case r.URL.Path == "/keys":
			p.fetched.Add(1)
			var set jose.JSONWebKeySet
			for _, kid := range slices.Sorted(maps.Keys(*p.keys.Load())) {
				set.Keys = append(set.Keys, jose.JSONWebKey{Key: (*p.keys.Load())[kid].Public(), KeyID: kid, Use: "sig"})
			}
			_ = json.NewEncoder(w).Encode(set)
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func b64(v any) string {
	if s, ok := v.(string); ok {
		return base64.RawURLEncoding.EncodeToString([]byte(s))
	}
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign makes a token with a key, whatever its header says.
func sign(header, claims any, key any, der bool) string {
	text := b64(header) + "." + b64(claims)
	digest := sha256.Sum256([]byte(text))
	var mac []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		mac, _ = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, digest[:])
		if m, ok := header.(map[string]any); ok && m["alg"] == "PS256" {
			mac, _ = rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32})
		}
	case *ecdsa.PrivateKey:
		if der {
			mac, _ = ecdsa.SignASN1(rand.Reader, k, digest[:])
			break
		}
		r, s, _ := ecdsa.Sign(rand.Reader, k, digest[:])
		mac = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		mac = ed25519.Sign(k, []byte(text))
	case []byte:
		h := hmac.New(sha256.New, k)
		h.Write([]byte(text))
		mac = h.Sum(nil)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(mac)
}

type m = map[string]any

// with returns claims or a header with changes; nil removes.
func with(base m, changes m) m {
	out := maps.Clone(base)
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// newTestJWT takes tokens of the issuer of the cases in gateway-policies.md 1.4.2.
func newTestJWT(t *testing.T, now int64, change func(*Issuer)) *jwt {
	t.Helper()
	env := testEnv(t)
	at := time.Unix(now, 0)
	env.now = func() time.Time { return at }
	set, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: rsa1.Public(), KeyID: "r1", Use: "sig"}, {Key: ec1.Public(), KeyID: "e1"}, {Key: ed1.Public(), KeyID: "d1"},
		{Key: rsa2.Public(), KeyID: "enc", Use: "enc"},
	}})
	env.Read = func(string) ([]byte, error) { return set, nil }
	cfg := Issuer{Issuer: "https://id.example/", Audiences: []string{"klamm"}, JWKSFile: "keys.json"}
	if change != nil {
		change(&cfg)
	}
	c := newChain(Config{}, env)
	t.Cleanup(c.Close)
	j, err := newJWT(t.Context(), Config{JWT: []Issuer{cfg}}, c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTokens(t *testing.T) {
	const now = 1_000_000
	head := m{"alg": "RS256", "kid": "r1"}
	claims := m{"iss": "https://id.example/", "aud": "klamm", "sub": "carol", "exp": now + 100}
	good := func(c m) string { return sign(head, with(claims, c), rsa1, false) }
	public, _ := x509.MarshalPKIXPublicKey(rsa1.Public())
	for _, tc := range []struct {
		name   string
		token  string
		change func(*Issuer)
		want   string // "" is good
	}{
		{"1 good", good(nil), nil, ""},
		{"2 inside the skew", good(m{"exp": now - 50}), nil, ""},
		{"3 outside the skew", good(m{"exp": now - 60}), nil, tokenExpired},
		{"4 nbf inside", good(m{"nbf": now + 60}), nil, ""},
		{"5 nbf outside", good(m{"nbf": now + 61}), nil, tokenEarly},
		{"6 none", sign(m{"alg": "none"}, claims, nil, false), nil, tokenAlgorithm},
		{"7 HS256 with the public key", sign(m{"alg": "HS256", "kid": "r1"}, claims, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), false), nil, tokenAlgorithm},
		{"8 issuer without the slash", good(m{"iss": "https://id.example"}), nil, tokenIssuer},
		{"9 audience list", good(m{"aud": []string{"x", "klamm"}}), nil, ""},
		{"10 no audience", good(m{"aud": nil, "client_id": "klamm"}), nil, tokenAudience},
		{"10 no audience, allowed", good(m{"aud": nil, "client_id": "klamm"}), func(c *Issuer) { c.AcceptClientIDAsAudience = true }, ""},
		{"11 exp is text", good(m{"exp": "1000100"}), nil, tokenMalformed},
		{"12 unknown kid", sign(m{"alg": "RS256", "kid": "r9"}, claims, rsa1, false), nil, tokenKey},
		{"15 five parts", good(nil) + ".e.e", nil, tokenMalformed},
		{"16 crit", sign(m{"alg": "RS256", "kid": "r1", "crit": []string{"exp"}}, claims, rsa1, false), nil, tokenMalformed},
		{"17 ES256 in DER", sign(m{"alg": "ES256", "kid": "e1"}, claims, ec1, true), nil, tokenSignature},
		{"18 a key of its own", sign(m{"alg": "RS256", "kid": "r1", "jwk": m{"kty": "RSA", "n": b64("x"), "e": "AQAB"}}, claims, rsa2, false), nil, tokenSignature},
		{"19 too large", good(m{"x": strings.Repeat("x", 20000)}), nil, tokenTooLarge},
		{"20 alg twice", sign(`{"alg":"RS256","alg":"RS256","kid":"r1"}`, claims, rsa1, false), nil, tokenMalformed},
		{"ES256", sign(m{"alg": "ES256", "kid": "e1"}, claims, ec1, false), nil, ""},
		{"EdDSA", sign(m{"alg": "EdDSA", "kid": "d1"}, claims, ed1, false), nil, ""},
		{"PS256", sign(m{"alg": "PS256", "kid": "r1"}, claims, rsa1, false), nil, ""},
		{"algorithm left out", sign(m{"alg": "ES256", "kid": "e1"}, claims, ec1, false), func(c *Issuer) { c.Algorithms = []string{"RS256"} }, tokenAlgorithm},
		{"no kid", sign(m{"alg": "RS256"}, claims, rsa1, false), nil, ""},
		{"key for encryption", sign(m{"alg": "RS256", "kid": "enc"}, claims, rsa2, false), nil, tokenKey},
		{"algorithm of another key", sign(m{"alg": "ES256", "kid": "r1"}, claims, ec1, false), nil, tokenKey},
		{"other key", sign(head, claims, rsa2, false), nil, tokenSignature},
		{"padding", good(nil) + "==", nil, tokenMalformed},
		{"line break", strings.Replace(good(nil), ".", ".\n", 1), nil, tokenMalformed},
		{"claims twice", sign(head, `{"iss":"https://id.example/","iss":"x"}`, rsa1, false), nil, tokenMalformed},
		{"claims are a list", sign(head, []int{1}, rsa1, false), nil, tokenMalformed},
		{"b64 false", sign(m{"alg": "RS256", "kid": "r1", "b64": false}, claims, rsa1, false), nil, tokenMalformed},
		{"no exp", good(m{"exp": nil}), nil, tokenClaim},
		{"exp with a fraction", good(m{"exp": now + 10.5}), nil, ""},
		{"exp beyond all time", good(m{"exp": 1e30}), nil, tokenMalformed},
		{"exp long ago", good(m{"exp": 0}), nil, tokenExpired},
		{"exp before all time", good(m{"exp": -5.5}), nil, tokenExpired},
		{"nbf long ago", good(m{"nbf": 0}), nil, ""},
		{"nbf before all time", good(m{"nbf": -1e9}), nil, ""},
		{"iat long ago", good(m{"iat": 0}), func(c *Issuer) { c.MaxLifetime = 1000 * time.Hour }, ""},
		{"issued tomorrow", good(m{"iat": now + 86400, "exp": now + 90000}), nil, tokenEarly},
		{"too long a life", good(m{"iat": now - 10, "exp": now + 86400}), nil, tokenMalformed},
		{"ID token", good(m{"nonce": "n"}), nil, tokenMalformed},
		{"nonce and scope", good(m{"nonce": "n", "scp": "a"}), nil, ""},
		{"typ", sign(m{"alg": "RS256", "kid": "r1", "typ": "application/AT+JWT"}, claims, rsa1, false), nil, ""},
		{"other typ", sign(m{"alg": "RS256", "kid": "r1", "typ": "logout+jwt"}, claims, rsa1, false), nil, tokenMalformed},
		{"required claim", good(m{"ver": "2.0"}), func(c *Issuer) { c.RequiredClaims = map[string][]string{"ver": {"1.0", "2.0"}} }, ""},
		{"required claim missing", good(nil), func(c *Issuer) { c.RequiredClaims = map[string][]string{"ver": {"1.0"}} }, tokenClaim},
		{"DPoP", good(m{"cnf": m{"jkt": "x"}}), nil, tokenSignature},
		{"bound to a certificate", good(m{"cnf": m{"x5t#S256": "x"}}), nil, tokenSignature},
		{"no subject", good(m{"sub": nil}), nil, tokenClaim},
		{"symmetric", sign(m{"alg": "HS256"}, claims, []byte(strings.Repeat("k", 32)), false), func(c *Issuer) {
			c.JWKSFile, c.SymmetricKey, c.Algorithms = "", secret.Ref{Value: strings.Repeat("k", 32)}, []string{"HS256"}
		}, ""},
		{"another tenant", good(m{"iss": "https://e/t2/v2.0", "tid": "t2"}), func(c *Issuer) { c.Issuer, c.Tenants = "https://e/{tenantid}/v2.0", []string{"t1"} }, tokenIssuer},
		{"a listed tenant", good(m{"iss": "https://e/t1/v2.0", "tid": "t1"}), func(c *Issuer) { c.Issuer, c.Tenants = "https://e/{tenantid}/v2.0", []string{"t1"} }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := newTestJWT(t, now, tc.change)
			for _, pass := range []string{"first", "again"} { // the second one is remembered
				_, err := j.authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer " + tc.token}}})
				want := tc.want
				if got := textOf(err); got != want {
					t.Fatalf("%s: got %q, want %q", pass, got, want)
				}
			}
		})
	}
}

func TestChallenges(t *testing.T) {
	j := newTestJWT(t, 1, nil)
	_, err := j.authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer x"}}})
	e := refusalOf(t, err)
	if got, want := e.Header.Get("Www-Authenticate"), `Bearer realm="klamm", error="invalid_token", error_description="the token is malformed"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := refusalOf(t, refuseToken("")).Header.Get("Www-Authenticate"); got != `Bearer realm="klamm"` {
		t.Errorf("without a token: %s", got)
	}
}

func TestNamesOfTokens(t *testing.T) {
	entra := Issuer{Preset: "entra-v1-v2", Tenant: "t1"}
	for _, tc := range []struct {
		name   string
		cfg    Issuer
		claims m
		want   string
	}{
		{"subject", Issuer{}, m{"sub": "carol"}, "carol"},
		{"claim", Issuer{Principal: "email"}, m{"sub": "carol", "email": "c@x"}, "c@x"},
		{"expression", Issuer{Principal: "{tid}/{oid}"}, m{"tid": "t", "oid": "o"}, "t/o"},
		{"expression with a gap", Issuer{Principal: "{tid}/{oid}"}, m{"tid": "t"}, ""},
		{"Entra user", entra, m{"sub": "pair", "oid": "o", "scp": "x", "azp": "app"}, "o"},
		{"Entra application, v2", entra, m{"sub": "o", "oid": "o", "azp": "app"}, "app"},
		{"Entra application, v1", entra, m{"sub": "o", "oid": "o", "appid": "app"}, "app"},
		{"Entra application, marked", entra, m{"sub": "x", "oid": "o", "idtyp": "app", "appid": "app"}, "app"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := &issuer{cfg: tc.cfg.WithDefaults(), entra: isEntra(tc.cfg)}
			if got := is.principal(tc.claims, isAppOnly(tc.claims)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := entra.names(); !slices.Equal(got, []string{"https://login.microsoftonline.com/t1/v2.0", "https://sts.windows.net/t1/"}) {
		t.Errorf("issuers of the preset: %q", got)
	}
}

// startJWT takes tokens of a provider that runs.
func startJWT(t *testing.T, p *idp, graph *Graph, groups ...string) (*Chain, func(d time.Duration)) {
	t.Helper()
	env := testEnv(t)
	var ahead atomic.Int64
	env.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	env.Groups = func() []string { return groups }
	c, err := New(t.Context(), Config{JWT: []Issuer{{Issuer: p.URL + "/t1/v2.0", Audiences: []string{"klamm"}}}, Graph: graph}, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, func(d time.Duration) { ahead.Add(int64(d)) }
}

func (p *idp) token(kid string, key crypto.Signer, changes m) string {
	now := time.Now().Unix()
	alg := map[byte]string{'r': "RS256", 'e': "ES256", 'd': "EdDSA"}[kid[0]]
	return sign(m{"alg": alg, "kid": kid}, with(m{"iss": p.URL + "/t1/v2.0", "aud": "klamm", "sub": "carol", "iat": now, "exp": now + 7200}, changes), key, false)
}

func enter(c *Chain, token string) (gate.Principal, error) {
	return c.Authenticate((&http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}, URL: mustURL("/")}))
}

func TestKeysRotate(t *testing.T) {
	p := newIDP(t)
	c, pass := startJWT(t, p, nil)
	old := p.token("r1", rsa1, nil)
	waittest.Until(t, "the first key", func() bool { _, err := enter(c, old); return err == nil })
	p.keys.Store(&map[string]crypto.Signer{"r2": rsa2})
	fresh := p.token("r2", rsa2, nil)
	if _, err := enter(c, fresh); textOf(err) != tokenKey {
		t.Fatalf("a fetch a moment after the last one: %v", err)
	}
	before := p.fetched.Load()
	pass(refreshPause)
	if _, err := enter(c, fresh); err != nil {
		t.Fatalf("the new key is not taken: %v", err)
	}
	if _, err := enter(c, old); textOf(err) != tokenKey {
		t.Errorf("a remembered token of a removed key: %v", err)
	}
	for i := range 200 {
		if _, err := enter(c, p.token(fmt.Sprintf("r%d", i+10), rsa1, nil)); textOf(err) != tokenKey {
			t.Fatalf("unknown key: %v", err)
		}
	}
	if n := p.fetched.Load() - before; n > 2 {
		t.Errorf("%d fetches for a rotation and 200 unknown keys", n)
	}
}

func TestNobodyGetsInWithoutKeys(t *testing.T) {
	other := "https://elsewhere.example/"
	for _, tc := range []struct {
		name   string
		change func(*idp)
	}{
		{"down", func(p *idp) { p.down.Store(true) }},
		{"another issuer", func(p *idp) { p.claimed.Store(&other) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t)
			tc.change(p)
			c, _ := startJWT(t, p, nil)
			_, err := enter(c, p.token("r1", rsa1, nil))
			if e := refusalOf(t, err); gate.Classify(err) != gate.Unavailable || e.Header.Get("Retry-After") != "1" {
				t.Errorf("got %v, %v", err, e.Header)
			}
			p.down.Store(false)
			p.claimed.Store(nil)
			waittest.Until(t, "it recovers", func() bool { _, err := enter(c, p.token("r1", rsa1, nil)); return err == nil })
		})
	}
}

func TestGroupsOfTheDirectory(t *testing.T) {
	const g1, g2 = "9d1f6a60-0000-4000-8000-000000000001", "9d1f6a60-0000-4000-8000-000000000002"
	var down atomic.Bool
	var asked atomic.Int32
	var members atomic.Pointer[[]string]
	members.Store(&[]string{g1})
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
			fmt.Fprint(w, `{"access_token":"graph-token","expires_in":3600}`)
		case down.Load():
			w.WriteHeader(503)
		case r.Header.Get("Authorization") != "Bearer graph-token":
			w.WriteHeader(401)
		default:
			asked.Add(1)
			var q struct{ GroupIDs []string }
			_ = json.NewDecoder(r.Body).Decode(&q)
			if len(q.GroupIDs) > 20 || slices.Contains(q.GroupIDs, "not-a-guid") {
				w.WriteHeader(400)
				return
			}
			_ = json.NewEncoder(w).Encode(m{"value": slices.DeleteFunc(q.GroupIDs, func(id string) bool { return !slices.Contains(*members.Load(), id) })})
		}
	}))
	defer directory.Close()
	p := newIDP(t)
	many := []string{g1, g2, "not-a-guid"}
	for i := range 30 {
		many = append(many, fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i))
	}
	c, pass := startJWT(t, p, &Graph{URL: directory.URL, Login: directory.URL, Tenant: "t1", ClientID: "c", ClientSecret: secret.Ref{Value: "s"}}, many...)
	overflow := m{"oid": "o-1", "_claim_names": m{"groups": "src1"}}
	waittest.Until(t, "member by overage", func() bool {
		who, err := enter(c, p.token("r1", rsa1, overflow))
		return err == nil && slices.Equal(who.Groups, []string{g1})
	})
	if n := asked.Load(); n != 2 {
		t.Errorf("%d questions about 32 groups, want 2", n)
	}
	for name, claims := range map[string]m{"hasgroups": {"oid": "o-1", "hasgroups": true}, "application": {"oid": "o-1", "sub": "o-1"}} {
		if who, err := enter(c, p.token("r1", rsa1, claims)); err != nil || !slices.Equal(who.Groups, []string{g1}) {
			t.Errorf("%s: %v, %v", name, who.Groups, err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("what is remembered was asked again: %d questions", n)
	}
	if who, err := enter(c, p.token("r1", rsa1, m{"oid": "o-1", "groups": []string{"h"}})); err != nil || !slices.Equal(who.Groups, []string{"h"}) {
		t.Errorf("complete claim: %v, %v", who.Groups, err)
	}
	members.Store(&[]string{})
	pass(5*time.Minute + time.Second)
	if who, err := enter(c, p.token("r1", rsa1, overflow)); err != nil || len(who.Groups) != 0 {
		t.Errorf("removed member: %v, %v", who.Groups, err)
	}
	down.Store(true)
	pass(20 * time.Minute)
	if _, err := enter(c, p.token("r1", rsa1, overflow)); err != nil {
		t.Errorf("stale membership does not count: %v", err)
	}
	if who, err := enter(c, p.token("r1", rsa1, m{"oid": "o-2", "hasgroups": true})); err != nil || !who.GroupsFailed || !who.GroupsUnknown || len(who.Groups) > 0 {
		t.Errorf("the directory is away: %+v, %v", who, err)
	}
	if who, err := enter(c, p.token("r1", rsa1, m{"hasgroups": true})); err != nil || !who.GroupsUnknown {
		t.Errorf("nobody to ask about: %+v, %v", who, err)
	}
}

func FuzzToken(f *testing.F) {
	f.Add(sign(m{"alg": "RS256", "kid": "r1"}, m{"iss": "https://id.example/"}, rsa1, false))
	f.Add("a.b.c")
	f.Add(b64("{}") + "." + b64(`{"a":[{"b":1}]}`) + ".x")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseToken(text); err == nil && (p.claims == nil || p.alg == "" && !strings.Contains(text, ".")) {
			t.Errorf("%q: %+v", text, p)
		}
	})
}
