package certificate

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/acme"
	"github.com/klamm-gateway/klamm/secret"
)

// issuing opens a server that gets a certificate by ACME; nobody runs it, so that none
// is ordered. The path is that of a file which an earlier order has left.
func issuing(t *testing.T, change func(*Config)) (s *Server, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "certificates", "earlier.pem")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := Config{ACME: &acme.Config{Names: []string{"klamm.example", "b.example"}, Storage: dir, AgreeTOS: true}}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(t.Context(), cfg, Files{Read: os.ReadFile}, secret.Local, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

// read has a server look at its files.
func read(t *testing.T, s *Server, want bool) {
	t.Helper()
	if changed, err := s.load(t.Context()); changed != want || err != nil {
		t.Errorf("files have changed: %v, %v; want %v", changed, err, want)
	}
}

func TestUntilThereIsACertificate(t *testing.T) {
	s, path := issuing(t, nil)
	if got, err := hello(t, s, &tls.Config{ServerName: "klamm.example"}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a certificate is shown: %v, %v", got, err)
	}
	if ends, ok := s.Expires(); ok {
		t.Errorf("none ends on %s", ends)
	}
	if err := s.Fresh(); err != nil {
		t.Errorf("no configuration could be changed to this one: %v", err)
	}
	read(t, s, false)
	ends := time.Now().Add(time.Hour).Truncate(time.Second)
	writePair(t, path, "klamm.example", newKey(t), ends)
	read(t, s, true)
	if got, err := hello(t, s, &tls.Config{}); err != nil || got.Subject.CommonName != "klamm.example" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, ok := s.Expires(); !ok || !got.Equal(ends) {
		t.Errorf("it ends on %s, %v; want %s", got, ok, ends)
	}
	first := s.state.Load().issued
	writePair(t, path, "b.example", newKey(t), ends)
	read(t, s, true)
	if got, err := hello(t, s, &tls.Config{}); err != nil || got.Equal(first.Leaf) {
		t.Errorf("a renewed certificate is not shown: %v, %v", got, err)
	}
	writePair(t, path, "somebody-else.example", newKey(t), ends)
	read(t, s, true)
	if got, err := hello(t, s, &tls.Config{}); err == nil {
		t.Errorf("a certificate for other names is shown: %v", got)
	}
}

func TestStoredCertificateThatHasEnded(t *testing.T) {
	s, path := issuing(t, nil)
	writePair(t, path, "klamm.example", newKey(t), time.Now().Add(-time.Minute))
	read(t, s, true)
	if _, err := hello(t, s, &tls.Config{ServerName: "klamm.example"}); err != nil {
		t.Errorf("until it is renewed, nothing is shown: %v", err)
	}
	if err := s.Fresh(); err != nil {
		t.Errorf("no configuration could be changed to this one: %v", err)
	}
	again, err := Open(t.Context(), s.cfg, s.files, s.secret, s.log)
	if err != nil || again.Fresh() != nil {
		t.Errorf("after a restart: %v, %v", err, again.Fresh())
	}
}

func TestIssuedCertificateBesideOthers(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	writePair(t, filepath.Join(dir, "own.pem"), "own.example", newKey(t), later)
	writePair(t, filepath.Join(dir, "further.pem"), "further.example", newKey(t), later)
	s, path := issuing(t, func(c *Config) {
		c.Certificate, c.Certificates, c.StrictSNI = filepath.Join(dir, "own.pem"), []Pair{{Certificate: filepath.Join(dir, "further.pem")}}, true
	})
	shown := func(name, want string) {
		t.Helper()
		got, err := hello(t, s, &tls.Config{ServerName: name})
		if err != nil && want == "" {
			return
		}
		if err != nil || got.Subject.CommonName != want {
			t.Errorf("%s gets %v, %v; want %q", name, got, err, want)
		}
	}
	shown("own.example", "own.example")
	shown("klamm.example", "")
	writePair(t, path, "klamm.example", newKey(t), later)
	read(t, s, true)
	shown("own.example", "own.example")
	shown("further.example", "further.example")
	shown("klamm.example", "klamm.example")
	shown("b.example", "")
}

func TestFollowKeepsWhatGoesOn(t *testing.T) {
	s, _ := issuing(t, nil)
	same, err := Open(t.Context(), s.cfg, s.files, s.secret, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if same.Follow(s); same.acme != s.acme {
		t.Error("the same configuration begins again")
	}
	cfg := s.cfg
	changed := *cfg.ACME
	changed.Names = []string{"klamm.example"}
	cfg.ACME = &changed
	other, err := Open(t.Context(), cfg, s.files, s.secret, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if other.Follow(s); other.acme == s.acme {
		t.Error("another configuration goes on with the old names")
	}
}

func TestCertificateOrACMEIsWanted(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"neither": {Config{}, "certificate"},
		"ACME":    {Config{ACME: &acme.Config{}}, ""},
		"both":    {Config{Certificate: "server.pem", ACME: &acme.Config{}}, ""},
	} {
		var got []string
		tc.cfg.Validate(func(path, _ string) { got = append(got, path) })
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: problems with %v, want %q", name, got, tc.want)
		}
	}
}
