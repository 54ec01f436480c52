package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klamm-gateway/klamm/secret"
)

const graphGroup = "9d1f6a60-0000-4000-8000-000000000001"

// A directoryLogin is a Microsoft Graph with its login, which lets in who satisfies allow.
type directoryLogin struct {
	*httptest.Server
	mu    sync.Mutex // guards allow
	allow func(r *http.Request) error
	why   error
}

func newDirectoryLogin(t *testing.T) *directoryLogin {
	t.Helper()
	d := &directoryLogin{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.URL.Path != "/t1/oauth2/v2.0/token" {
			fmt.Fprintf(w, `{"value":[%q]}`, graphGroup)
			return
		}
		_ = r.ParseForm()
		err := d.allow(r)
		switch {
		case r.PostForm.Get("client_id") != "app-1", r.PostForm.Get("grant_type") != "client_credentials", r.PostForm.Get("scope") != d.URL+"/.default":
			err = fmt.Errorf("form %v", r.PostForm)
		}
		if d.why = err; err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"access_token":"graph-token","expires_in":3600}`)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *directoryLogin) want(allow func(r *http.Request) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allow = allow
}

// files are those that a test's klamm reads.
type files struct {
	mu   sync.Mutex // guards text
	text map[string]string
}

func (f *files) set(path, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text[path] = text
}

func (f *files) read(path string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text, ok := f.text[path]; ok {
		return []byte(text), nil
	}
	return nil, errors.New("no such file")
}

// newApplication makes a certificate, and returns it and its key as PEM.
func newApplication(t *testing.T, key crypto.Signer) (cert *x509.Certificate, chain, private string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes}))
}

// asserted checks a login as Entra ID does: the assertion is about this application and
// this place, holds now and not for long, and is signed with the key of the certificate.
func (d *directoryLogin) asserted(cert *x509.Certificate) func(r *http.Request) error {
	return func(r *http.Request) error {
		form := r.PostForm
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
			return fmt.Errorf("form %v", form)
		}
		token, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.PS256})
		if err != nil {
			return err
		}
		text, err := token.Verify(cert.PublicKey)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(cert.Raw)
		if got, want := token.Signatures[0].Header.ExtraHeaders["x5t#S256"], base64.RawURLEncoding.EncodeToString(digest[:]); got != want {
			return fmt.Errorf("x5t#S256: got %v, want %s", got, want)
		}
		var claims struct {
			Aud, Iss, Sub, Jti string
			Nbf, Exp           int64
		}
		if err := json.Unmarshal(text, &claims); err != nil {
			return err
		}
		now := time.Now().Unix()
		if claims.Aud != d.URL+"/t1/oauth2/v2.0/token" || claims.Iss != "app-1" || claims.Sub != "app-1" || claims.Jti == "" || claims.Nbf > now || claims.Exp <= now || claims.Exp > now+600 {
			return fmt.Errorf("claims %s at %d", text, now)
		}
		return nil
	}
}

// lookUpGroups has a chain whose Graph is configured so look up a caller's groups, and
// returns what has kept it from that.
func lookUpGroups(t *testing.T, p *idp, d *directoryLogin, f *files, oid string, cfg Graph) error {
	t.Helper()
	env := testEnv(t)
	env.Read, env.Groups = f.read, func() []string { return []string{graphGroup} }
	cfg.URL, cfg.Login, cfg.Tenant, cfg.ClientID = d.URL, d.URL, "t1", "app-1"
	c, err := New(t.Context(), Config{JWT: []Issuer{{Issuer: p.URL + "/t1/v2.0", Audiences: []string{"klamm"}}}, Graph: &cfg}, env)
	if err != nil {
		return err
	}
	defer c.Close()
	token := p.token("r1", rsa1, m{"oid": oid, "hasgroups": true})
	for end := time.Now().Add(time.Minute); ; {
		who, err := enter(c, token)
		if err == nil && slices.Equal(who.Groups, []string{graphGroup}) {
			return nil
		}
		d.mu.Lock()
		why := d.why
		d.mu.Unlock()
		if why != nil || time.Now().After(end) {
			return fmt.Errorf("%w; the login: %w", err, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestGraphLoginByCertificate(t *testing.T) {
	p, d, f := newIDP(t), newDirectoryLogin(t), &files{text: map[string]string{}}
	cert, chain, private := newApplication(t, rsa1)
	d.want(d.asserted(cert))
	f.set("app.pem", chain+private)
	if err := lookUpGroups(t, p, d, f, "o-1", Graph{Certificate: "app.pem"}); err != nil {
		t.Errorf("key beside the certificate: %v", err)
	}
	f.set("app.pem", chain)
	if err := lookUpGroups(t, p, d, f, "o-1", Graph{Certificate: "app.pem", Key: secret.Ref{Value: private}}); err != nil {
		t.Errorf("key by itself: %v", err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, key := newApplication(t, other)
	f.set("other.pem", foreign+key)
	if err := lookUpGroups(t, p, d, f, "o-1", Graph{Certificate: "other.pem"}); err == nil {
		t.Error("a certificate that the application does not have: no error")
	}
}

// TestGraphLoginTakesRenewedFiles: what a login shows is read anew.
func TestGraphLoginTakesRenewedFiles(t *testing.T) {
	f, env := &files{text: map[string]string{}}, testEnv(t)
	env.Read = f.read
	cert, chain, private := newApplication(t, rsa1)
	f.set("app.pem", chain+private)
	f.set("token", "a.b.c\n")
	byCertificate, err := newProof(t.Context(), Graph{Certificate: "app.pem", ClientID: "app-1"}, env)
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := newProof(t.Context(), Graph{TokenFile: "token"}, env)
	if err != nil {
		t.Fatal(err)
	}
	show := func(prove proof) string {
		t.Helper()
		form := map[string][]string{}
		if err := prove(t.Context(), form); err != nil {
			t.Fatal(err)
		}
		return form["client_assertion"][0]
	}
	verified := func(cert *x509.Certificate) bool {
		token, err := jose.ParseSignedCompact(show(byCertificate), []jose.SignatureAlgorithm{jose.PS256})
		if err != nil {
			t.Fatal(err)
		}
		_, err = token.Verify(cert.PublicKey)
		return err == nil
	}
	if !verified(cert) || show(byFile) != "a.b.c" {
		t.Error("the first files are not what is shown")
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	renewed, chain, private := newApplication(t, other)
	f.set("app.pem", chain+private)
	f.set("token", "d.e.f")
	if !verified(renewed) || show(byFile) != "d.e.f" {
		t.Error("the renewed files are not what is shown")
	}
}

func TestGraphLoginByTokenFile(t *testing.T) {
	p, d, f := newIDP(t), newDirectoryLogin(t), &files{text: map[string]string{"token": "head.claims.signature\n"}}
	d.want(func(r *http.Request) error {
		if form := r.PostForm; form.Get("client_assertion_type") != assertionType || form.Get("client_assertion") != "head.claims.signature" || form.Has("client_secret") {
			return fmt.Errorf("form %v", form)
		}
		return nil
	})
	if err := lookUpGroups(t, p, d, f, "o-1", Graph{TokenFile: "token"}); err != nil {
		t.Error(err)
	}
}

func TestGraphLoginRefusesWhatCannotBeUsed(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, chain, private := newApplication(t, ec)
	_, rsaChain, rsaKey := newApplication(t, rsa1)
	f := &files{text: map[string]string{"ec.pem": chain + private, "mixed.pem": rsaChain + private, "key.pem": rsaKey, "token": "planted-secret", "two": "a.b.c d.e.f", "empty": "\n", "long": strings.Repeat("a", largestAssertion) + ".b.c"}}
	for _, tc := range []struct {
		name string
		cfg  Graph
		want string
	}{
		{"no certificate", Graph{Certificate: "none.pem"}, "certificate: no such file"},
		{"not RSA", Graph{Certificate: "ec.pem"}, "certificate: ec.pem: want one with an RSA key"},
		{"another's key", Graph{Certificate: "mixed.pem"}, "certificate: mixed.pem: "},
		{"only a key", Graph{Certificate: "key.pem"}, "certificate: key.pem: "},
		{"no key", Graph{Certificate: "ec.pem", Key: secret.Ref{File: "/none"}}, "key: "},
		{"no token", Graph{TokenFile: "none"}, "token_file: no such file"},
		{"not a token", Graph{TokenFile: "token"}, "token_file: token: want one token"},
		{"two tokens", Graph{TokenFile: "two"}, "token_file: two: want one token"},
		{"nothing", Graph{TokenFile: "empty"}, "token_file: empty: want one token"},
		{"too long", Graph{TokenFile: "long"}, "token_file: long: want one token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := testEnv(t)
			env.Read = f.read
			_, err := newProof(t.Context(), tc.cfg, env)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "planted") {
				t.Errorf("got %v, want %s...", err, tc.want)
			}
		})
	}
}

func TestGraphWantsOneWayToLogIn(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Graph
		want string
	}{
		"secret":           {Graph{ClientSecret: secret.Ref{Env: "S"}}, ""},
		"certificate":      {Graph{Certificate: "c", Key: secret.Ref{File: "k"}, KeyPassword: secret.Ref{Env: "P"}}, ""},
		"token":            {Graph{TokenFile: "t"}, ""},
		"none":             {Graph{}, "client_secret"},
		"two":              {Graph{Certificate: "c", TokenFile: "t"}, "client_secret"},
		"key alone":        {Graph{TokenFile: "t", Key: secret.Ref{File: "k"}}, "key"},
		"a password alone": {Graph{TokenFile: "t", KeyPassword: secret.Ref{File: "k"}}, "key_password"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			tc.cfg.Tenant, tc.cfg.ClientID = "11111111-2222-3333-4444-555555555555", "c"
			tc.cfg.Validate(func(path, _ string) { got = append(got, path) })
			if strings.Join(got, " ") != tc.want {
				t.Errorf("problems at %q, want %q", got, tc.want)
			}
		})
	}
}
