package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// The vector of the Standard Webhooks libraries, and further ones made with
// openssl dgst -sha256 -mac HMAC.
func TestSignatureVectors(t *testing.T) {
	const first, second = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for _, c := range []struct {
		name    string
		secrets []string
		id      string
		seconds int64
		body    string
		want    string
	}{
		{"one secret", []string{first}, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		{"two secrets", []string{first, second}, "p:orders:3:42:lw2", 1700000000, "", "v1,WE1t2OoSkFbSrSXLrkWKdCQKsTYPGSrjUiAv472E8C4= v1,PqhygOOumQaTw7hn5Xt6Fmh2mQUJUFuO4RVxRGZfMlQ="},
	} {
		t.Run(c.name, func(t *testing.T) {
			var keys [][]byte
			for _, s := range c.secrets {
				key, err := signingKey(s)
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, key)
			}
			h := http.Header{}
			sign(h, keys, c.id, time.Unix(c.seconds, 0), []byte(c.body))
			if got := h.Get("webhook-signature"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSigningKeys(t *testing.T) {
	for _, text := range []string{"", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", "whsec_" + strings.Repeat("QUJD", 30)} {
		if _, err := signingKey(text); err == nil {
			t.Errorf("%q is accepted", text)
		} else if text != "" && strings.Contains(err.Error(), strings.TrimPrefix(text, "whsec_")) && len(text) > 8 {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func TestSignedRequests(t *testing.T) {
	r := newReceiver(t, nil)
	w := opened(t, Config{URL: r.URL, Sign: &Sign{Secrets: []secret.Ref{given("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}}, Connection: &Connection{Body: map[string]secret.Ref{"k": given("v")}}}, targettest.Env(t, ""))
	w.now = func() time.Time { return time.Unix(1_700_000_000, 5) }
	if err := w.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", `{"a":1}`)}); err != nil {
		t.Fatal(err)
	}
	got := r.last(t)
	h := http.Header{}
	key, _ := signingKey("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	sign(h, [][]byte{key}, "id-1", time.Unix(1_700_000_000, 0), []byte(got.Body))
	for name := range signature {
		if got.Header.Get(name) == "" || got.Header.Get(name) != h.Get(name) {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), h.Get(name))
		}
	}
	if got.Body != `{"a":1,"k":"v"}` {
		t.Errorf("the body is %s", got.Body)
	}
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func issue(t *testing.T, by *authority, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// tlsReceiver wants certificates of an authority.
func tlsReceiver(t *testing.T, ca *authority, most uint16) *httptest.Server {
	server := issue(t, ca, "hooks.test")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Client", r.TLS.PeerCertificates[0].Subject.CommonName)
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].Subject.CommonName))
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: most}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestClientCertificates(t *testing.T) {
	ca, other := issue(t, nil, "ca"), issue(t, nil, "other")
	client, stranger := issue(t, ca, "klamm"), issue(t, other, "stranger")
	s, old := tlsReceiver(t, ca, 0), tlsReceiver(t, ca, tls.VersionTLS12)
	for _, c := range []struct {
		name string
		url  string
		tls  *TLS
		ok   bool
	}{
		{"both sides know each other", s.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(ca.pem)}, true},
		{"by its name", s.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(ca.pem), ServerName: "hooks.test"}, true},
		{"by another name", s.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(ca.pem), ServerName: "else.test"}, false},
		{"an unknown receiver", s.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t))}, false},
		{"another authority", s.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(other.pem)}, false},
		{"an unknown client", s.URL, &TLS{Certificate: given(stranger.pem), Key: given(stranger.keyPEM(t)), CA: given(ca.pem)}, false},
		{"no certificate", s.URL, &TLS{CA: given(ca.pem)}, false},
		{"1.2 is enough", old.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(ca.pem)}, true},
		{"1.3 at least", old.URL, &TLS{Certificate: given(client.pem), Key: given(client.keyPEM(t)), CA: given(ca.pem), MinVersion: "1.3"}, false},
		{"without any", s.URL, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := opened(t, Config{URL: c.url, TLS: c.tls}, targettest.Env(t, ""))
			answer, err := w.Invoke(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
			if (err == nil) != c.ok || c.ok && string(answer) != "klamm" {
				t.Errorf("%q, %v", answer, err)
			}
			if err != nil && target.FailureOf(err).Final {
				t.Errorf("%v is permanent", err)
			}
		})
	}
	raw, _ := json.Marshal(Config{URL: s.URL, TLS: &TLS{Certificate: given(client.pem), Key: given(stranger.keyPEM(t))}})
	if _, err := open(raw, targettest.Env(t, "")); err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

func TestEgressHoldsForCertificatesAndTokenEndpoints(t *testing.T) {
	ca := issue(t, nil, "ca")
	egress, err := target.NewEgress([]string{"192.0.2.1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	env := targettest.Env(t, "")
	env.Egress, env.Transport = egress, egress.Transport()
	for name, c := range map[string]Config{
		"the token endpoint":        {URL: "https://192.0.2.1/", Auth: &Auth{OAuth: &OAuth{TokenURL: "http://169.254.169.254/token", ClientID: "a", ClientSecret: given("b")}}},
		"a URL with placeholders":   {URL: "http://169.254.169.254/<$.key>"},
		"a receiver that is ours":   {URL: "https://localhost/", TLS: &TLS{CA: given(ca.pem)}},
		"numbers that are a host":   {URL: "http://127.0.0.1/*", PathParameters: []string{"a"}},
		"a host in other notations": {URL: "http://[::ffff:10.0.0.1]/"},
	} {
		raw, _ := json.Marshal(c)
		if _, err := open(raw, env); !errors.Is(err, target.ErrEgress) {
			t.Errorf("%s: got %v, want ErrEgress", name, err)
		}
	}
	// A name is refused by what it resolves to, also with a transport of its own.
	transport, err := (&TLS{}).transport(certificates{ca: ca.pem}, egress)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", "https://127.0.0.1:1/", nil)
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, target.ErrEgress) {
		t.Errorf("dialling: got %v, want ErrEgress", err)
	}
}

// rotating is a secret that changes.
type rotating struct {
	mu     sync.Mutex
	value  string
	err    error
	looked int
}

func (r *rotating) lookup(context.Context, secret.Ref) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked++
	return r.value, r.err
}

func (r *rotating) set(value string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value, r.err = value, err
}

func TestSecretsThatChange(t *testing.T) {
	var wanted atomic.Value
	wanted.Store("Bearer one")
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != wanted.Load() {
			w.WriteHeader(401)
		}
	})
	var log bytes.Buffer
	s := &rotating{value: "one"}
	env := targettest.Env(t, "")
	env.Secret, env.Log = s.lookup, slog.New(slog.NewTextHandler(&log, nil))
	w := opened(t, Config{URL: r.URL, Auth: &Auth{Bearer: secret.Ref{File: "token"}}}, env)
	k := &clock{}
	w.vault.now = k.now
	want := func(what string, ok bool, looked int) {
		t.Helper()
		err := deliver(t, w)
		if (err == nil) != ok || s.looked != looked {
			t.Errorf("%s: %v after %d look-ups, want %d", what, err, s.looked, looked)
		}
		if err != nil && !target.FailureOf(err).Final {
			t.Errorf("%s: %v is not permanent", what, err)
		}
	}
	want("at first", true, 1)
	k.advance(59 * time.Minute)
	want("within an hour", true, 1)
	k.advance(2 * time.Minute)
	want("after an hour", true, 2)
	k.advance(time.Minute)
	wanted.Store("Bearer two")
	s.set("two", nil)
	want("a new one after a 401", true, 3)
	wanted.Store("Bearer three")
	k.advance(time.Minute)
	want("a 401 without a new one", false, 4)
	want("not looked up for every 401", false, 4)
	k.advance(2 * time.Hour)
	wanted.Store("Bearer two")
	s.set("hunter2", errors.New("the vault is closed"))
	want("the old one while there is none", true, 5)
	want("and no look-up for each", true, 5)
	if !strings.Contains(log.String(), "the vault is closed") || strings.Contains(log.String(), "two") {
		t.Errorf("the log is %s", &log)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	var log bytes.Buffer
	env := targettest.Env(t, "")
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	for name, c := range map[string]Config{
		"a refusal":                  {URL: r.URL + "/?sig=hunter2", Auth: &Auth{Basic: &Basic{"kim", given("hunter2")}}, Connection: &Connection{Query: map[string]secret.Ref{"q": given("hunter2")}}},
		"a closed port":              {URL: "http://127.0.0.1:1/<$.value>?sig=hunter2", Auth: &Auth{Bearer: given("hunter2")}},
		"a header that is none":      {URL: r.URL, Auth: &Auth{Bearer: given("hunter2\n")}},
		"a key that is none":         {URL: r.URL, Sign: &Sign{Secrets: []secret.Ref{given("hunter2")}}},
		"certificates that are none": {URL: "https://127.0.0.1:1/", TLS: &TLS{CA: given("hunter2")}},
	} {
		raw, _ := json.Marshal(c)
		tg, err := open(raw, env)
		if err == nil {
			err = tg.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", `"hunter2"`)})
			_ = tg.Close()
		}
		if err == nil || strings.Contains(err.Error()+log.String(), "hunter2") {
			t.Errorf("%s: %v\n%s", name, err, &log)
		}
	}
}
