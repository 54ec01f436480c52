package acme

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

func awaitTrue(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{Names: []string{"klamm.example.com"}, AgreeTOS: true, Storage: "acme"}
	long := strings.Repeat("a", 63)
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, strings.Repeat("a", i%60+1)+"."+strings.Repeat("b", i/60+1)+".example")
		}
		return names
	}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // the fields, with spaces between them
	}{
		{"good", func(*Config) {}, ""},
		{"all", func(c *Config) {
			*c = Config{DirectoryURL: "https://ca.internal:9000/acme/acme/directory", Names: []string{"localhost", "*.Example.com", "192.0.2.1", "2001:db8::1", "xn--bcher-kva.example"}, AgreeTOS: true, Storage: "/var/lib/klamm/acme",
				Contacts: []string{"ops@example.com", "mailto:ops@example.com"}, Challenges: []string{http01, dns01}, DNSHook: []string{"hook"}, DNSWait: time.Hour, EAB: EAB{"k", secret.Ref{Env: "E"}}, KeyType: "rsa"}
		}, ""},
		{"plain http", func(c *Config) { c.DirectoryURL = "http://ca.internal/directory" }, "directory_url"},
		{"password in the URL", func(c *Config) { c.DirectoryURL = "https://a:b@ca.internal/directory" }, "directory_url"},
		{"no names", func(c *Config) { c.Names = nil }, "names"},
		{"100 names", func(c *Config) { c.Names = many(100) }, ""},
		{"101 names", func(c *Config) { c.Names = many(101) }, "names"},
		{"not agreed", func(c *Config) { c.AgreeTOS = false }, "agree_tos"},
		{"nowhere", func(c *Config) { c.Storage = "" }, "storage"},
		{"a name twice", func(c *Config) { c.Names = []string{"a.example", "A.example"} }, "names[1]"},
		{"an address twice", func(c *Config) { c.Names = []string{"2001:db8::1", "2001:DB8:0::1"} }, "names[1]"},
		{"no names at all", func(c *Config) {
			c.Names = []string{"", ".", "a..b", "a.", "-a.b", "a-.b", "a_b.c", "bücher.example", "a b", "../x", "a/b", "*.", "*", "a.*.b", "*a.b", long + "a.b", strings.Repeat(long+".", 4) + "b", "fe80::1%eth0"}
		}, "names[0] names[1] names[2] names[3] names[4] names[5] names[6] names[7] names[8] names[9] names[10] names[11] names[12] names[13] names[14] names[15] names[16] names[17]"},
		{"the longest label", func(c *Config) { c.Names = []string{long + ".b"} }, ""},
		{"wildcard", func(c *Config) { c.Names = []string{"*.example.com"} }, "names[0]"},
		{"address by DNS", func(c *Config) {
			c.Names, c.Challenges, c.DNSHook = []string{"192.0.2.1"}, []string{dns01}, []string{"hook"}
		}, "names[0]"},
		{"challenge", func(c *Config) { c.Challenges = []string{"http01"} }, "challenges[0]"},
		{"no hook", func(c *Config) { c.Challenges = []string{dns01} }, "dns_hook"},
		{"an empty hook", func(c *Config) { c.Challenges, c.DNSHook = []string{dns01}, []string{""} }, "dns_hook"},
		{"a hook for nothing", func(c *Config) { c.DNSHook = []string{"hook"} }, "dns_hook"},
		{"a long wait", func(c *Config) { c.DNSWait = time.Hour + 1 }, "dns_wait"},
		{"a wait before", func(c *Config) { c.DNSWait = -1 }, "dns_wait"},
		{"half an account", func(c *Config) { c.EAB.KeyID = "k" }, "eab"},
		{"the other half", func(c *Config) { c.EAB.Key.Env = "E" }, "eab"},
		{"key", func(c *Config) { c.KeyType = "ed25519" }, "key_type"},
		{"contacts", func(c *Config) {
			c.Contacts = []string{"ops", "a@b@c.d", "a@b.c?subject=x", "a@b.c,d@e.f", "@b.c", "tel:+1"}
		}, "contacts[0] contacts[1] contacts[2] contacts[3] contacts[4] contacts[5]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good
			tc.change(&cfg)
			var got []string
			cfg.Validate(func(path, _ string) { got = append(got, path) })
			if text := strings.Join(got, " "); text != tc.want {
				t.Errorf("got problems with %q, want %q", text, tc.want)
			}
		})
	}
}

func TestNamesOfFilesStayInTheDirectory(t *testing.T) {
	for _, name := range []string{"klamm.example.com", "*.example.com", "2001:db8::1", "192.0.2.1"} {
		if !isName(name) || strings.ContainsAny(fileName(name), "/\\:*\x00") || fileName(name)[0] == '.' {
			t.Errorf("%q becomes the file %q", name, fileName(name))
		}
	}
	x := Config{Names: []string{"b.example", "a.example"}, Storage: "s"}.normal()
	y := Config{Names: []string{"A.example", "b.example"}, Storage: "s"}.normal()
	if x.name() != y.name() {
		t.Error("the order of names, and their case, makes another certificate")
	}
	y.KeyType = "rsa"
	if x.name() == y.name() {
		t.Error("another kind of key does not make another certificate")
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"klamm.example.com", "*.a.b", "2001:db8::1", "../x", "a\x00b", "1.2.0.192.in-addr.arpa"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if isName(text) && text == strings.ToLower(text) {
			if file := fileName(text); filepath.Base(file) != file || strings.ContainsAny(file, "/\\\x00") || file == "." || file == ".." {
				t.Errorf("%q becomes the file %q", text, file)
			}
		}
		if isToken(text) && filepath.Base(text) != text {
			t.Errorf("%q is no name of a file", text)
		}
		if a, ok := reversed(text); ok && !isName(a.String()) {
			t.Errorf("%q is the address %s", text, a)
		}
	})
}

func TestPauseGrows(t *testing.T) {
	for _, tc := range []struct {
		failures int
		told     time.Duration
		want     time.Duration
	}{
		{1, 0, 2 * time.Minute}, {2, 0, 4 * time.Minute}, {4, 0, 16 * time.Minute}, {6, 0, time.Hour}, {1 << 30, 0, time.Hour},
		{1, time.Second, 2 * time.Minute}, {1, 3 * time.Hour, 3 * time.Hour}, {3, 1 << 62, 24 * time.Hour},
	} {
		for range 100 {
			if got := pause(2*time.Minute, tc.failures, tc.told); got < tc.want || got > tc.want*6/5 {
				t.Errorf("after %d failures, told %s: %s, want %s and up to a fifth more", tc.failures, tc.told, got, tc.want)
			}
		}
	}
}

func TestWhenTwoThirdsAreOver(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	leaf := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(90 * time.Hour)}
	for where, want := range map[float64]time.Duration{0: 60 * time.Hour, 1: 60*time.Hour + 108*time.Minute, -1: 60*time.Hour - 108*time.Minute} {
		if got := thirds(leaf, where).Sub(begin); got != want {
			t.Errorf("at %g it is %s, want %s", where, got, want)
		}
	}
	for life, want := range map[time.Duration]time.Duration{time.Minute: 10 * time.Second, 5 * time.Hour: 30 * time.Minute, 90 * 24 * time.Hour: time.Hour} {
		if got := respite(&x509.Certificate{NotBefore: begin, NotAfter: begin.Add(life)}); got != want {
			t.Errorf("after one that lives %s nothing is ordered for %s, want %s", life, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Thu, 01 Jan 2025 00:00:00 GMT": 0, "99999999999999999999": 0} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestLease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, second := newLease(path, time.Hour), newLease(path, time.Hour)
	take := func(l *lease, want bool) {
		t.Helper()
		if got, err := l.take(); got != want || err != nil {
			t.Errorf("take: %v, %v; want %v", got, err, want)
		}
	}
	take(first, true)
	take(second, false)
	take(second, false)
	if !first.held() || second.held() {
		t.Error("the lease is not the first one's")
	}
	// Its holder does not write any more: for a patient one it still counts.
	second.stale = 0
	take(second, true)
	if first.held() {
		t.Error("two hold the lease")
	}
	take(first, false)
	second.stale = time.Hour
	second.during(t.Context(), func(ctx context.Context) {
		if ctx.Err() != nil {
			t.Error("the lease has ended before the work")
		}
	})
	take(first, true)
}

func TestLeaseThatIsLostEndsTheWork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := newLease(path, 6*time.Millisecond)
	if ok, err := l.take(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	l.during(t.Context(), func(ctx context.Context) {
		awaitTrue(t, "the end of the work", func() bool {
			if err := writeFile(path, []byte("somebody else")); err != nil { // again, as its holder may just be writing
				t.Fatal(err)
			}
			return ctx.Err() != nil
		})
	})
	if text, err := os.ReadFile(path); err != nil || string(text) != "somebody else" {
		t.Errorf("the other one's lease has become %q, %v", text, err)
	}
}

func TestLeaseIsWrittenAgainAndAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := newLease(path, 6*time.Millisecond)
	if ok, err := l.take(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	l.during(t.Context(), func(context.Context) {
		var seen []string
		awaitTrue(t, "the lease to change three times", func() bool {
			if text, err := os.ReadFile(path); err == nil && !slices.Contains(seen, string(text)) {
				seen = append(seen, string(text))
			}
			return len(seen) > 3
		})
	})
}
