package acme

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/acme/acmetest"
	"github.com/klamm-gateway/klamm/secret"
)

// config is one that an authority issues a certificate for.
func config(t *testing.T, a *acmetest.Authority) Config {
	return Config{DirectoryURL: a.URL(), Roots: a.Roots(), Names: []string{"klamm.example.com"}, AgreeTOS: true, Storage: filepath.Join(t.TempDir(), "acme")}
}

// keeper makes one that waits for nothing. The test calls step itself, in one goroutine.
func keeper(t *testing.T, cfg Config, log *slog.Logger) *Keeper {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k, err := Open(t.Context(), cfg, Env{Read: os.ReadFile, Secret: secret.Local, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	k.pace.poll = 5 * time.Millisecond
	return k
}

// doors are where an authority looks for what all keepers answer, without TLS and with.
func doors(t *testing.T, a *acmetest.Authority, keepers ...*Keeper) {
	t.Helper()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, k := range keepers {
			if text, ok := k.Answer(strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")); ok {
				_, _ = w.Write([]byte(text))
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(plain.Close)
	secured, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, k := range keepers {
			if c, err := k.Greet(hello); c != nil || err != nil {
				return c, err
			}
		}
		return nil, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = secured.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := secured.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_ = conn.(*tls.Conn).Handshake()
				_ = conn.Close()
			})
		}
	})
	a.Dial = func(challenge, _ string) string {
		if challenge == http01 {
			return plain.Listener.Addr().String()
		}
		return secured.Addr().String()
	}
}

// zone makes a hook that keeps TXT records in files, and shows them to the authority.
func zone(t *testing.T, a *acmetest.Authority) (program []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	script := filepath.Join(dir, "hook.sh")
	text := `set -eu
cd "$1"; shift
[ "${KLAMM_TEST_SECRET:-}" = "" ]
case $1 in
present) printf '%s\n' "$3" >> "$2" ;;
cleanup) grep -vxFe "$3" "$2" > "$2.new" || true; mv "$2.new" "$2" ;;
*) exit 2 ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.TXT = func(name string) []string {
		records, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.Fields(string(records))
	}
	return []string{"sh", script, dir}, dir
}

// stored returns the certificate of a keeper, after a check that its root vouches for it.
func stored(t *testing.T, a *acmetest.Authority, k *Keeper) *tls.Certificate {
	t.Helper()
	c, err := k.Certificate()
	if err != nil || c == nil {
		t.Fatalf("there is no certificate: %v", err)
	}
	if len(c.Certificate) != 2 {
		t.Errorf("the chain has %d certificates, want the issuer too", len(c.Certificate))
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool()}); err != nil {
		t.Error(err)
	}
	return c
}

func TestEachChallenge(t *testing.T) {
	t.Setenv("KLAMM_TEST_SECRET", "not for the hook")
	for _, tc := range []struct {
		name, challenge string
		names           []string
	}{
		{"http-01", http01, []string{"klamm.example.com", "b.example.com"}},
		{"tls-alpn-01", tlsALPN01, []string{"klamm.example.com", "b.example.com"}},
		{"http-01 of an address", http01, []string{"192.0.2.7", "2001:DB8::7"}},
		{"tls-alpn-01 of an address", tlsALPN01, []string{"192.0.2.7", "2001:DB8::7"}},
		{"dns-01 of a wildcard beside its name", dns01, []string{"Example.com", "*.example.com"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := acmetest.New(t)
			cfg := config(t, a)
			cfg.Names, cfg.Challenges = tc.names, []string{tc.challenge}
			records := ""
			if tc.challenge == dns01 {
				cfg.DNSHook, records = zone(t, a)
			}
			k := keeper(t, cfg, nil)
			doors(t, a, k)
			k.step(t.Context())
			c := stored(t, a, k)
			for _, n := range k.Names() {
				if !covers(c.Leaf, n) {
					t.Errorf("the certificate is not for %s", n)
				}
			}
			if _, ok := c.PrivateKey.(*ecdsa.PrivateKey); !ok {
				t.Errorf("the key is a %T", c.PrivateKey)
			}
			if info, err := os.Stat(k.store.certificate(k.name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the certificate's file: %v, %v, want 0600", info.Mode(), err)
			}
			for _, kind := range []string{http01, tlsALPN01} {
				if left, err := os.ReadDir(k.store.challenge(kind, "")); err != nil || len(left) > 0 {
					t.Errorf("answers to %s are left: %v, %v", kind, left, err)
				}
			}
			if records != "" {
				if text, err := os.ReadFile(filepath.Join(records, "_acme-challenge.example.com.")); err != nil || len(text) > 0 {
					t.Errorf("records are left: %q, %v", text, err)
				}
			}
			if _, err := os.Stat(k.store.lock()); err == nil {
				t.Error("the lock is left")
			}
			if good, bad := k.Renewals(); good != 1 || bad != 0 {
				t.Errorf("%d renewals went well and %d did not", good, bad)
			}
		})
	}
}

func TestKeyTypesAndProfile(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	cfg.KeyType, cfg.Profile, cfg.Contacts = "rsa", "classic", []string{"ops@example.com"}
	k := keeper(t, cfg, nil)
	doors(t, a, k)
	k.step(t.Context())
	if key, ok := stored(t, a, k).PrivateKey.(*rsa.PrivateKey); !ok || key.N.BitLen() != 2048 {
		t.Errorf("the key is a %T", key)
	}
	if got := a.Contacts(); len(got) != 1 || !slices.Equal(got[0], []string{"mailto:ops@example.com"}) {
		t.Errorf("the account's contacts are %v", got)
	}

	cfg.Contacts = []string{"others@example.com"}
	cfg.Names = append(cfg.Names, "b.example.com")
	k = keeper(t, cfg, nil)
	doors(t, a, k)
	k.step(t.Context())
	if got := a.Contacts(); len(got) != 1 || !slices.Equal(got[0], []string{"mailto:others@example.com"}) {
		t.Errorf("the account's contacts are %v, want those that the file has now, in one account", got)
	}

	cfg.Profile = "unheard-of"
	k, said := listening(t, cfg)
	k.step(t.Context())
	if !strings.Contains(said.String(), "unheard-of") {
		t.Errorf("a profile that the authority does not have is logged as %s", said)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listening is keeper with what it says.
func listening(t *testing.T, cfg Config) (*Keeper, *lines) {
	said := &lines{}
	return keeper(t, cfg, slog.New(slog.NewTextHandler(said, nil))), said
}

func TestExternalAccount(t *testing.T) {
	a := acmetest.New(t)
	a.EAB = map[string][]byte{"kid-1": []byte("a secret of 32 bytes for HMAC-25")}
	for _, tc := range []struct{ name, id, key, want string }{
		{"good", "kid-1", base64.RawURLEncoding.EncodeToString(a.EAB["kid-1"]), ""},
		{"padded, the other alphabet", "kid-1", base64.StdEncoding.EncodeToString(a.EAB["kid-1"]), ""},
		{"wrong key", "kid-1", base64.RawURLEncoding.EncodeToString([]byte("another secret")), "unauthorized"},
		{"wrong id", "kid-2", base64.RawURLEncoding.EncodeToString(a.EAB["kid-1"]), "unauthorized"},
		{"none", "", "", "externalAccountRequired"},
		{"no base64", "kid-1", "never-to-be-seen!", "eab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(t, a)
			if tc.id != "" {
				cfg.EAB = EAB{KeyID: tc.id, Key: secret.Ref{Value: tc.key}}
			}
			k, said := listening(t, cfg)
			doors(t, a, k)
			k.step(t.Context())
			if c, _ := k.Certificate(); (c != nil) != (tc.want == "") || !strings.Contains(said.String(), tc.want) {
				t.Errorf("certificate: %v, log: %s; want %s", c != nil, said, tc.want)
			}
			if tc.key != "" && strings.Contains(said.String(), tc.key) {
				t.Errorf("the log holds the key: %s", said)
			}
		})
	}
}

func TestHookThatFails(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	cfg.Challenges = []string{dns01}
	for _, tc := range []struct {
		name string
		hook []string
		want string
	}{
		{"status", []string{"sh", "-c", "echo one; echo no such zone >&2; exit 3"}, "exit status 3: no such zone"},
		{"no program", []string{filepath.Join(t.TempDir(), "none")}, "no such file"},
		{"nothing done", []string{"true"}, "no such TXT record"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := cfg
			cfg.DNSHook = tc.hook
			k, said := listening(t, cfg)
			k.step(t.Context())
			if c, _ := k.Certificate(); c != nil || !strings.Contains(said.String(), tc.want) {
				t.Errorf("certificate: %v, log: %s; want %s", c != nil, said, tc.want)
			}
		})
	}
}

func TestTroubleWithTheAuthority(t *testing.T) {
	for _, tc := range []struct {
		name  string
		wrong func(t *testing.T, a *acmetest.Authority, cfg *Config)
		want  string        // what the log says; empty: the certificate is issued all the same
		pause time.Duration // at least
	}{
		{"down", func(_ *testing.T, a *acmetest.Authority, _ *Config) { a.Close() }, "connect", 2 * time.Minute},
		{"not trusted", func(_ *testing.T, _ *acmetest.Authority, cfg *Config) { cfg.Roots = "" }, "x509", 2 * time.Minute},
		{"too many orders", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/new-order") {
					return false
				}
				w.Header().Set("Retry-After", "7200")
				acmetest.WriteProblem(w, 429, "urn:ietf:params:acme:error:rateLimited", "too many")
				return true
			}
		}, "rateLimited", 2 * time.Hour},
		{"a stale nonce", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			var once atomic.Bool
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/new-order") || once.Swap(true) {
					return false
				}
				acmetest.WriteProblem(w, 400, "urn:ietf:params:acme:error:badNonce", "again")
				return true
			}
		}, "", 0},
		{"an answer without an end", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/new-order") {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(strings.Repeat(" ", largestAnswer+1)))
				return true
			}
		}, "too large", 2 * time.Minute},
		{"an address that is not https", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/directory") {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"newNonce": "http://169.254.169.254/n", "newAccount": "http://169.254.169.254/a", "newOrder": "http://169.254.169.254/o"}`))
				return true
			}
		}, "not https", 2 * time.Minute},
		{"a redirect", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusMovedPermanently)
				return true
			}
		}, "301", 2 * time.Minute},
		{"nobody answers the challenge", func(_ *testing.T, a *acmetest.Authority, _ *Config) {
			a.Dial = func(string, string) string { return "127.0.0.1:1" }
		}, "connection", 2 * time.Minute},
		{"another challenge is wanted", func(_ *testing.T, a *acmetest.Authority, _ *Config) { a.Offer = []string{dns01} }, "no solvers", 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // the library waits a little before it tries again
			a := acmetest.New(t)
			cfg := config(t, a)
			k := keeper(t, cfg, nil)
			doors(t, a, k)
			tc.wrong(t, a, &cfg)
			k.cfg.Roots = cfg.Roots
			said := &lines{}
			k.log = slog.New(slog.NewTextHandler(said, nil))
			k.step(t.Context())
			c, _ := k.Certificate()
			if (c != nil) != (tc.want == "") || !strings.Contains(said.String(), tc.want) {
				t.Fatalf("certificate: %v, log: %s; want %s", c != nil, said, tc.want)
			}
			if tc.want == "" {
				return
			}
			if _, bad := k.Renewals(); bad != 1 {
				t.Errorf("%d failures are counted", bad)
			}
			p := k.store.readProgress(k.name, k.cfg.attempt())
			if wait := time.Until(p.NotBefore); p.Failures != 1 || wait < tc.pause-time.Minute || wait > 2*tc.pause {
				t.Errorf("after %d failures klamm waits %s, want %s", p.Failures, wait, tc.pause)
			}
			// Another process, or the same one after a restart, waits too.
			again := keeper(t, k.cfg, nil)
			if _, needed := again.needed(t.Context()); needed {
				t.Error("after a restart klamm does not wait")
			}
			// One that goes about it in another way does not.
			changed := k.cfg
			changed.Challenges = []string{http01}
			if _, needed := keeper(t, changed, nil).needed(t.Context()); !needed {
				t.Error("after a change of the challenges klamm waits")
			}
		})
	}
}

func TestFailuresAreLoggedOnceAKind(t *testing.T) {
	a := acmetest.New(t)
	var kind atomic.Value
	kind.Store("rateLimited")
	a.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/new-order") {
			acmetest.WriteProblem(w, 403, "urn:ietf:params:acme:error:"+kind.Load().(string), fmt.Sprint("at ", time.Now().UnixNano()))
			return true
		}
		return false
	}
	k, said := listening(t, config(t, a))
	ahead := time.Duration(0)
	k.now = func() time.Time { return time.Now().Add(ahead) }
	for i, want := range []int{1, 1, 1, 2, 2} {
		if i == 3 {
			kind.Store("caa")
		}
		k.step(t.Context())
		if got := strings.Count(said.String(), "no certificate by ACME"); got != want {
			t.Errorf("after %d failures there are %d lines, want %d: %s", i+1, got, want, said)
		}
		ahead += 2 * time.Hour
	}
	if _, bad := k.Renewals(); bad != 5 {
		t.Errorf("%d failures are counted", bad)
	}
}

func TestAnswersAreOnlyThoseInHand(t *testing.T) {
	a := acmetest.New(t)
	k := keeper(t, config(t, a), nil)
	if err := k.store.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.store.challenge(http01, "a-good_token"), []byte("an answer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.store.accountKey(), []byte("a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{
		"a-good_token": "an answer", "another-token": "", "": "", ".": "", "..": "", "../../account.key": "", "..%2f..%2faccount.key": "", "a-good_token/": "", "a-good_token\x00": "",
		strings.Repeat("a", longestToken+1): "", "short": "",
	} {
		if got, ok := k.Answer(token); got != want || ok != (want != "") {
			t.Errorf("Answer(%q) is %q, %v", token, got, ok)
		}
	}
	k.cfg.Challenges = []string{tlsALPN01}
	if _, ok := k.Answer("a-good_token"); ok {
		t.Error("http-01 is answered although it is not among the challenges")
	}
	for _, hello := range []*tls.ClientHelloInfo{
		{ServerName: "klamm.example.com", SupportedProtos: []string{"h2"}},
		{ServerName: "klamm.example.com", SupportedProtos: []string{"acme-tls/1", "h2"}},
		{ServerName: "klamm.example.com", SupportedProtos: []string{"acme-tls/1"}},
		{ServerName: "../../account.key", SupportedProtos: []string{"acme-tls/1"}},
		{SupportedProtos: []string{"acme-tls/1"}},
	} {
		if c, err := k.Greet(hello); c != nil || err != nil {
			t.Errorf("%q with %v is answered: %v", hello.ServerName, hello.SupportedProtos, err)
		}
	}
}

func TestStorageThatCannotBeWritten(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	cfg.Storage = filepath.Join(cfg.Roots, "below-a-file")
	k, said := listening(t, cfg)
	if wait := k.step(t.Context()); wait <= 0 {
		t.Error("klamm tries again at once")
	}
	if !strings.Contains(said.String(), "storage") || !strings.Contains(said.String(), "below-a-file") {
		t.Errorf("the log says %s", said)
	}
	if got := len(a.Contacts()); got != 0 {
		t.Error("an account was opened whose key is lost")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	a := acmetest.New(t)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	a.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/new-order") {
			<-stop
			acmetest.WriteProblem(w, 500, "urn:ietf:params:acme:error:serverInternal", "late")
			return true
		}
		return false
	}
	k := keeper(t, config(t, a), nil)
	ctx, cancel := contextOf(t)
	ended := make(chan struct{})
	go func() { k.Run(ctx); close(ended) }()
	awaitTrue(t, "the order to begin", func() bool { _, err := os.Stat(k.store.progress(k.name)); return err == nil })
	cancel()
	<-ended
	if p := k.store.readProgress(k.name, k.cfg.attempt()); p.Failures != 0 {
		t.Errorf("an order that was broken off counts as %d failures", p.Failures)
	}
	if _, err := os.Stat(k.store.lock()); err == nil {
		t.Error("the lock is left")
	}
}

func TestOpenFindsMistakes(t *testing.T) {
	a := acmetest.New(t)
	for name, change := range map[string]func(*Config){
		"no roots":    func(c *Config) { c.Roots = filepath.Join(t.TempDir(), "none") },
		"other roots": func(c *Config) { c.Roots = write(t, "nothing") },
		"no secret":   func(c *Config) { c.EAB = EAB{"k", secret.Ref{Env: "KLAMM_TEST_NO_SUCH"}} },
		"no names":    func(c *Config) { c.Names = nil },
	} {
		cfg := config(t, a)
		change(&cfg)
		if _, err := Open(t.Context(), cfg, Env{Read: os.ReadFile, Secret: secret.Local, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.HasPrefix(err.Error(), "acme: ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(cfg.Storage); err == nil {
			t.Errorf("%s: Open writes", name)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReversedNames(t *testing.T) {
	for name, want := range map[string]string{
		"7.2.0.192.in-addr.arpa": "192.0.2.7", "klamm.example.com": "", "2.0.192.in-addr.arpa": "", ".in-addr.arpa": "", "a.b.c.d.in-addr.arpa": "",
		"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::7", "7.0.0.ip6.arpa": "", "g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "",
	} {
		got, ok := reversed(name)
		if ok != (want != "") || ok && !net.ParseIP(want).Equal(got.AsSlice()) {
			t.Errorf("reversed(%q) is %s, %v; want %q", name, got, ok, want)
		}
	}
}
