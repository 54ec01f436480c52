package kafka_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue returns a certificate and its key, PEM.
func (a authority) issue(t testing.TB, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(private)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// server is a broker's configuration of TLS.
func (a authority) server(t testing.TB, clients tls.ClientAuthType) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, "broker")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: pool}
}

// doors notes the connections of a fake cluster, to cut them.
type doors struct {
	mu   sync.Mutex
	open []net.Conn
}

func (d *doors) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return noting{l, d}, err
}

func (d *doors) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.open {
		_ = c.Close()
	}
	d.open = nil
}

type noting struct {
	net.Listener
	doors *doors
}

func (n noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.doors.mu.Lock()
		n.doors.open = append(n.doors.open, c)
		n.doors.mu.Unlock()
	}
	return c, err
}

// users are those whom a fake cluster knows, with their passwords. They can change.
type users struct {
	mu    sync.Mutex
	known map[string]string
}

func (u *users) set(name, password string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[name] = password
}

func (u *users) knows(name, password string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	want, ok := u.known[name]
	return ok && want == password
}

// fake starts a fake cluster whose users a function judges by what they show.
func fake(t *testing.T, mechanism string, judge func(message []byte) *kmsg.SASLAuthenticateResponse, opts ...kfake.Opt) (*kfake.Cluster, []string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if mechanism != "" {
		c.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			resp := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
			resp.SupportedMechanisms = []string{mechanism}
			if r.(*kmsg.SASLHandshakeRequest).Mechanism != mechanism {
				resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
			}
			return resp, nil, true
		})
		c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			resp := judge(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
			resp.Version = r.GetVersion()
			return resp, nil, true
		})
	}
	return c, c.ListenAddrs()
}

func accepted(answer string) *kmsg.SASLAuthenticateResponse {
	r := kmsg.NewPtrSASLAuthenticateResponse()
	r.SASLAuthBytes = []byte(answer)
	return r
}

func refused() *kmsg.SASLAuthenticateResponse {
	r := kmsg.NewPtrSASLAuthenticateResponse()
	r.ErrorCode, r.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr("Authentication failed: invalid credentials")
	return r
}

// plainUsers judges PLAIN.
func plainUsers(known map[string]string) (*users, func([]byte) *kmsg.SASLAuthenticateResponse) {
	u := &users{known: known}
	return u, func(message []byte) *kmsg.SASLAuthenticateResponse {
		parts := strings.Split(string(message), "\x00")
		if len(parts) == 3 && u.knows(parts[1], parts[2]) {
			return accepted("")
		}
		return refused()
	}
}

func openWith(t *testing.T, cfg kafka.Config, log ...*slog.Logger) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(cfg, append(log, slog.New(slog.DiscardHandler))[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// works writes a record and reads it.
func works(t *testing.T, c *kafka.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := &kgo.Record{Topic: "t", Partition: 0, Value: []byte("v")}
	if err := c.Produce(ctx, r).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	got, err := c.Fetch(ctx, "t", 0, r.Offset, kafka.Limits{Records: 1})
	if err != nil || len(got) != 1 || string(got[0].Value) != "v" {
		t.Fatalf("fetch: %d records, %v", len(got), err)
	}
}

func place(t testing.TB, path string, content any) string {
	t.Helper()
	text, ok := content.(string)
	if !ok {
		raw, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoginWithPasswordsOverTLS(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct{ method, mechanism string }{
		{"plain", "PLAIN"}, {"scram-256", "SCRAM-SHA-256"}, {"scram-512", "SCRAM-SHA-512"}, {"auto", "SCRAM-SHA-512"},
	} {
		t.Run(test.method, func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(ca.server(t, tls.NoClientCert)), kfake.EnableSASL(), kfake.Superuser(test.mechanism, "kla=mm,", "pass\"word"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			file := place(t, filepath.Join(t.TempDir(), "login.json"), map[string]string{"username": "kla=mm,", "password": "pass\"word"})
			works(t, openWith(t, kafka.Config{Brokers: c.ListenAddrs(), Auth: test.method, Credentials: &kafka.Credentials{File: file}, RootCA: &kafka.Source{Value: ca.pem}}))
		})
	}
}

func TestLoginByCertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	_, brokers := fake(t, "", nil, kfake.TLS(ca.server(t, tls.RequireAndVerifyClientCert)))
	dir := t.TempDir()
	cert, key := ca.issue(t, "klamm")
	file := place(t, filepath.Join(dir, "login.json"), map[string]string{"certificate": strings.ReplaceAll(cert+ca.pem, "\n", `\n`), "privateKey": key})
	root := &kafka.Source{File: place(t, filepath.Join(dir, "ca.pem"), map[string]string{"certificate": ca.pem})}
	works(t, openWith(t, kafka.Config{Brokers: brokers, Credentials: &kafka.Credentials{File: file}, RootCA: root}))
	pemFile := place(t, filepath.Join(dir, "klamm.pem"), cert)
	works(t, openWith(t, kafka.Config{Brokers: brokers, Credentials: &kafka.Credentials{Certificate: pemFile, Key: secret.Ref{Value: key}}, RootCA: root}))

	badCert, badKey := other.issue(t, "klamm")
	c := openWith(t, kafka.Config{Brokers: brokers, Auth: "mtls", RootCA: root,
		Credentials: &kafka.Credentials{File: place(t, filepath.Join(dir, "bad.json"), map[string]string{"certificate": badCert, "privateKey": badKey})}})
	err := c.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "refuses klamm's certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	// Put right while it runs, it is taken.
	place(t, filepath.Join(dir, "bad.json"), map[string]string{"certificate": cert, "privateKey": key})
	eventually(t, func() error { return c.Ready(t.Context()) })

	c = openWith(t, kafka.Config{Brokers: brokers, Auth: "mtls", RootCA: &kafka.Source{Value: other.pem}, Credentials: &kafka.Credentials{File: file}})
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("a broker of another authority: %v", err)
	}
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A journal keeps what is logged, also by what goes on in the background.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func TestWrongPasswordIsSaidAndRotationNeedsNoRestart(t *testing.T) {
	t.Parallel()
	d := &doors{}
	u, judge := plainUsers(map[string]string{"klamm": "s3cret-one"})
	_, brokers := fake(t, "PLAIN", judge, kfake.ListenFn(d.listen))
	path := filepath.Join(t.TempDir(), "login.json")
	place(t, path, map[string]string{"username": "klamm", "password": "s3cret-bad"})
	said := &journal{}
	c := openWith(t, kafka.Config{Brokers: brokers, Auth: "plain", Credentials: &kafka.Credentials{File: path}, AllowInsecure: true}, slog.New(slog.NewTextHandler(said, nil)))
	err := c.Ready(t.Context())
	if !errors.Is(err, kerr.SaslAuthenticationFailed) || strings.Contains(err.Error()+said.String(), "s3cret") {
		t.Fatalf("got %v, want SASL_AUTHENTICATION_FAILED without the password; the log: %s", err, said)
	}
	place(t, path, map[string]string{"username": "klamm", "password": "s3cret-one"})
	eventually(t, func() error { return c.Ready(t.Context()) })
	works(t, c)

	u.set("klamm", "s3cret-two")
	place(t, path, map[string]string{"username": "klamm", "password": "s3cret-two"})
	d.cut()
	works(t, c)
}

func TestAnotherMethodIsNeverTried(t *testing.T) {
	var asked sync.Map
	_, brokers := fake(t, "PLAIN", func(message []byte) *kmsg.SASLAuthenticateResponse {
		asked.Store(string(message), true)
		return accepted("")
	})
	c := openWith(t, kafka.Config{Brokers: brokers, Credentials: &kafka.Credentials{Username: "klamm", Password: secret.Ref{Value: "p"}}, AllowInsecure: true})
	if err := c.Ready(t.Context()); !errors.Is(err, kerr.UnsupportedSaslMechanism) {
		t.Errorf("got %v, want UNSUPPORTED_SASL_MECHANISM", err)
	}
	asked.Range(func(k, _ any) bool { t.Errorf("the broker was shown %q", k); return true })
}

func TestLoginByToken(t *testing.T) {
	var mu sync.Mutex
	asked, status := 0, http.StatusOK
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		id, key, _ := r.BasicAuth()
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" || id != "klamm" || key != "s3+cret" || status != http.StatusOK {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"s3 cret is wrong"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"good.token","expires_in":3600}`))
	}))
	t.Cleanup(idp.Close)
	d := &doors{}
	_, brokers := fake(t, "OAUTHBEARER", func(message []byte) *kmsg.SASLAuthenticateResponse {
		switch string(message) {
		case "n,,\x01auth=Bearer good.token\x01logicalCluster=lkc-1\x01\x01":
			return accepted("")
		case "\x01":
			return refused()
		}
		return accepted(`{"status":"invalid_token"}`)
	}, kfake.ListenFn(d.listen))
	cfg := kafka.Config{Brokers: brokers, Auth: "oauth", AllowInsecure: true, OAuth: &kafka.OAuth{
		TokenEndpoint: idp.URL, ClientID: "klamm", ClientSecret: secret.Ref{Value: "s3 cret"}, Scope: "kafka", Extensions: map[string]string{"logicalCluster": "lkc-1"}}}
	c := openWith(t, cfg)
	works(t, c)
	mu.Lock()
	before := asked
	mu.Unlock()
	d.cut()
	works(t, c)
	mu.Lock()
	if asked != before {
		t.Errorf("asked %d times for a token that is good for an hour", asked)
	}
	status = http.StatusUnauthorized
	mu.Unlock()
	c = openWith(t, cfg)
	err := c.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "401 invalid_client") || strings.Contains(err.Error(), "s3 cret") {
		t.Errorf("the endpoint refuses: %v", err)
	}

	file := place(t, filepath.Join(t.TempDir(), "token"), "bad.token\n")
	c = openWith(t, kafka.Config{Brokers: brokers, Auth: "oauth", AllowInsecure: true, OAuth: &kafka.OAuth{Token: secret.Ref{File: file}, Extensions: map[string]string{"logicalCluster": "lkc-1"}}})
	if err := c.Ready(t.Context()); !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Errorf("a bad token: %v, want SASL_AUTHENTICATION_FAILED", err)
	}
	place(t, file, "good.token")
	eventually(t, func() error { return c.Ready(t.Context()) })
}

// A token that was shown is renewed before it ends, though nobody logs in.
func TestTokenIsRenewedInTheBackground(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"token%d","expires_in":%d}`, asked.Add(1), []int{3, 3600}[min(asked.Load()-1, 1)])
	}))
	t.Cleanup(idp.Close)
	var last atomic.Value
	d := &doors{}
	_, brokers := fake(t, "OAUTHBEARER", func(message []byte) *kmsg.SASLAuthenticateResponse {
		last.Store(string(message))
		return accepted("")
	}, kfake.ListenFn(d.listen))
	c := openWith(t, kafka.Config{Brokers: brokers, Auth: "oauth", AllowInsecure: true, OAuth: &kafka.OAuth{TokenEndpoint: idp.URL, ClientID: "klamm", ClientSecret: secret.Ref{Value: "s"}}})
	works(t, c)
	eventually(t, func() error {
		if n := asked.Load(); n != 2 {
			return fmt.Errorf("asked %d times for a token", n)
		}
		return nil
	})
	d.cut()
	works(t, c)
	if got := last.Load(); !strings.Contains(got.(string), "token2") {
		t.Errorf("logged in by %q, want the second token", got)
	}
}

// verifyIAM checks a message of AWS_MSK_IAM as a server does (kafka-auth.md A3.4, C).
func verifyIAM(message []byte, host, region, id, key, session string) error {
	var m map[string]string
	if err := json.Unmarshal(message, &m); err != nil {
		return err
	}
	names := []string{"action", "host", "user-agent", "version", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signature", "x-amz-signedheaders"}
	if session != "" {
		names = append(names, "x-amz-security-token")
	}
	if slices.Sort(names); !slices.Equal(names, slices.Sorted(keysOf(m))) {
		return fmt.Errorf("members %v", slices.Sorted(keysOf(m)))
	}
	at, err := time.Parse("20060102T150405Z", m["x-amz-date"])
	if err != nil || time.Since(at).Abs() > time.Minute {
		return fmt.Errorf("date %s", m["x-amz-date"])
	}
	scope := at.Format("20060102") + "/" + region + "/kafka-cluster/aws4_request"
	want := map[string]string{"version": "2020_10_22", "host": host, "user-agent": "klamm", "action": "kafka-cluster:Connect", "x-amz-algorithm": "AWS4-HMAC-SHA256",
		"x-amz-credential": id + "/" + scope, "x-amz-signedheaders": "host", "x-amz-expires": "900", "x-amz-security-token": session}
	for name, value := range want {
		if m[name] != value {
			return fmt.Errorf("%s is %q, want %q", name, m[name], value)
		}
	}
	query := url.Values{"Action": {m["action"]}, "X-Amz-Algorithm": {m["x-amz-algorithm"]}, "X-Amz-Credential": {m["x-amz-credential"]}, "X-Amz-Date": {m["x-amz-date"]},
		"X-Amz-Expires": {m["x-amz-expires"]}, "X-Amz-SignedHeaders": {"host"}}
	if session != "" {
		query.Set("X-Amz-Security-Token", session)
	}
	nothing := sha256.Sum256(nil)
	canonical := "GET\n/\n" + strings.ReplaceAll(query.Encode(), "+", "%20") + "\nhost:" + host + "\n\nhost\n" + hex.EncodeToString(nothing[:])
	digest := sha256.Sum256([]byte(canonical))
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(text))
		return h.Sum(nil)
	}
	signing := []byte("AWS4" + key)
	for _, part := range strings.Split(scope, "/") {
		signing = sign(signing, part)
	}
	signature := hex.EncodeToString(sign(signing, "AWS4-HMAC-SHA256\n"+m["x-amz-date"]+"\n"+scope+"\n"+hex.EncodeToString(digest[:])))
	if signature != m["x-amz-signature"] {
		return errors.New("the signature does not verify")
	}
	return nil
}

func keysOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestLoginByIAMIsSignedAsAServerVerifies(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct{ name, session string }{{"permanent key", ""}, {"session", "a/session+token=="}} {
		t.Run(test.name, func(t *testing.T) {
			const id, key = "AKIATESTTESTTEST0001", "wJalr/not+a=real+key"
			problems := make(chan error, 100)
			_, brokers := fake(t, "AWS_MSK_IAM", func(message []byte) *kmsg.SASLAuthenticateResponse {
				if err := verifyIAM(message, "127.0.0.1", "eu-north-1", id, key, test.session); err != nil {
					problems <- err
					return refused()
				}
				return accepted(`{"version":"2020_10_22","request-id":"r"}`)
			}, kfake.TLS(ca.server(t, tls.NoClientCert)))
			cfg := kafka.Config{Brokers: brokers, Auth: "iam", RootCA: &kafka.Source{Value: ca.pem}, Region: "eu-north-1"}
			cfg.Credentials = &kafka.Credentials{AccessKeyID: id, SecretAccessKey: secret.Ref{Value: key}}
			if test.session != "" {
				cfg.Credentials.SessionToken = secret.Ref{Value: test.session}
			}
			works(t, openWith(t, cfg))
			// As the SDKs of AWS find them.
			for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": key, "AWS_SESSION_TOKEN": test.session} {
				t.Setenv(name, value)
			}
			cfg.Credentials, cfg.Secrets = nil, secret.NewStore(secret.Config{}, "eu-north-1")
			works(t, openWith(t, cfg))
			close(problems)
			for err := range problems {
				t.Error(err)
			}
		})
	}
}

func TestConfigurationOfALogin(t *testing.T) {
	ref := secret.Ref{Value: "x"}
	user := &kafka.Credentials{Username: "u", Password: ref}
	cert := &kafka.Credentials{Certificate: "c.pem", Key: ref}
	oauth := &kafka.OAuth{TokenEndpoint: "https://idp.example.com/token", ClientID: "i", ClientSecret: ref}
	for _, test := range []struct {
		name string
		in   kafka.Config
		want string // the path of the only problem
	}{
		{"nothing", kafka.Config{}, ""},
		{"a user", kafka.Config{Auth: "scram-256", Credentials: user}, ""},
		{"a certificate", kafka.Config{Credentials: cert}, ""},
		{"tokens", kafka.Config{OAuth: oauth}, ""},
		{"TLS alone", kafka.Config{Auth: "tls"}, ""},
		{"IAM", kafka.Config{Auth: "iam"}, ""},
		{"clear text", kafka.Config{Auth: "none", AllowInsecure: true}, ""},
		{"clear text that nobody allows", kafka.Config{Auth: "none"}, "auth"},
		{"unknown method", kafka.Config{Auth: "scram-1024", Credentials: user}, "auth"},
		{"no credentials", kafka.Config{Auth: "scram-512"}, "credentials"},
		{"a password for a certificate", kafka.Config{Auth: "mtls", Credentials: user}, "credentials"},
		{"a certificate for a password", kafka.Config{Auth: "plain", Credentials: cert}, "credentials"},
		{"a password for IAM", kafka.Config{Auth: "iam", Credentials: user}, "credentials"},
		{"two ways", kafka.Config{Credentials: user, OAuth: oauth}, "oauth"},
		{"no endpoint", kafka.Config{Auth: "oauth"}, "oauth"},
		{"an endpoint that others can read", kafka.Config{OAuth: &kafka.OAuth{TokenEndpoint: "http://idp.example.com/", ClientID: "i", ClientSecret: ref}}, "oauth.token_endpoint"},
		{"an identity", kafka.Config{Identity: "caller"}, "identity"},
		{"nobody mapped", kafka.Config{Identity: "mapped"}, "mapped"},
		{"mapped to nothing", kafka.Config{Mapped: []kafka.Mapped{{Who: []string{"*"}}}}, "mapped[0].credentials"},
		{"an ARN", kafka.Config{Clusters: []kafka.Further{{Name: "a", Brokers: []string{"b:1"}, ARNs: []string{"arn:aws:s3:::b"}}}}, "clusters[0].arns[0]"},
		{"an ARN twice", kafka.Config{Clusters: []kafka.Further{{Name: "a", Brokers: []string{"b:1"}, ARNs: []string{"arn:aws:kafka:eu-west-1:1:cluster/a/b", "arn:aws:kafka:eu-west-1:1:cluster/a/b"}}}}, "clusters[0].arns[1]"},
		{"another cluster's login", kafka.Config{Clusters: []kafka.Further{{Name: "a", Brokers: []string{"b:1"}, Auth: "plain"}}}, "clusters[0].credentials"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			test.in.Validate(func(path, problem string) { got += path + ": " + problem + "\n" })
			if path, _, _ := strings.Cut(got, ":"); path != test.want || strings.Count(got, "\n") > 1 {
				t.Errorf("got %q, want a problem of %q", got, test.want)
			}
		})
	}
}

func TestCheckReadsWhatAFileNames(t *testing.T) {
	dir := t.TempDir()
	store := secret.NewStore(secret.Config{Directory: dir}, "")
	place(t, filepath.Join(dir, "user.json"), map[string]string{"username": "u", "password": "s3cret"})
	place(t, filepath.Join(dir, "both.json"), map[string]string{"username": "u", "password": "s3cret", "certificate": "c"})
	place(t, filepath.Join(dir, "odd.json"), "s3cret")
	for _, test := range []struct{ auth, name, want string }{
		{"scram-512", "user", ""},
		{"auto", "arn:aws:secretsmanager:us-east-1:000000000000:secret:user-AbCdEf", ""},
		{"mtls", "user", "auth mtls needs certificate"},
		{"plain", "both", "only one of them"},
		{"plain", "odd", "want JSON"},
		{"plain", "gone", "no such secret"},
		{"plain", "../user", "is not the name"},
	} {
		problems := kafka.Check(t.Context(), kafka.Config{Auth: test.auth, Credentials: &kafka.Credentials{Secret: test.name}, Secrets: store})
		text := errors.Join(problems...)
		if test.want == "" && text != nil || test.want != "" && (text == nil || !strings.Contains(text.Error(), test.want)) || text != nil && strings.Contains(text.Error(), "s3cret") {
			t.Errorf("%s with %s: %v, want %q", test.auth, test.name, text, test.want)
		}
	}
}
