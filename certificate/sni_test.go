package certificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// writePair writes a self-signed certificate for a name and its key into one file.
func writePair(t *testing.T, path, name string, key crypto.Signer, ends time.Time) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// hello shakes hands with a server and returns the certificate that it shows.
func hello(t *testing.T, s *Server, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close() //nolint:errcheck // a test's
	defer b.Close() //nolint:errcheck // a test's
	go func() { _ = tls.Server(b, s.TLS()).Handshake() }()
	client.InsecureSkipVerify = true //nolint:gosec // the certificate is what is looked at
	c := tls.Client(a, client)
	_ = a.SetDeadline(time.Now().Add(30 * time.Second))
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestSeveralCertificates(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	later := time.Now().Add(time.Hour)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, path("first"), "first.example", newKey(t), later)
	writePair(t, path("wild"), "*.wild.example", newKey(t), later)
	writePair(t, path("both-ec"), "both.example", newKey(t), later)
	writePair(t, path("both-rsa"), "both.example", rsaKey, later)
	cfg := Config{Certificate: path("first"), Certificates: []Pair{{Certificate: path("wild")}, {Certificate: path("both-ec")}, {Certificate: path("both-rsa")}}}
	files := Files{Read: os.ReadFile}
	s, err := Open(context.Background(), cfg, files, secret.Local, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for name, c := range map[string]struct {
		client    *tls.Config
		want, key string
	}{
		"first":        {&tls.Config{ServerName: "first.example"}, "first.example", "*ecdsa.PublicKey"},
		"wildcard":     {&tls.Config{ServerName: "a.wild.example"}, "*.wild.example", "*ecdsa.PublicKey"},
		"two labels":   {&tls.Config{ServerName: "a.b.wild.example"}, "first.example", "*ecdsa.PublicKey"},
		"ECDSA":        {&tls.Config{ServerName: "both.example"}, "both.example", "*ecdsa.PublicKey"},
		"RSA":          {&tls.Config{ServerName: "both.example", MaxVersion: tls.VersionTLS12, CipherSuites: onlyRSA}, "both.example", "*rsa.PublicKey"},
		"unknown name": {&tls.Config{ServerName: "nobody.example"}, "first.example", "*ecdsa.PublicKey"},
		"no name":      {&tls.Config{}, "first.example", "*ecdsa.PublicKey"},
	} {
		got, err := hello(t, s, c.client)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Subject.CommonName != c.want {
			t.Errorf("%s: %s, want %s", name, got.Subject.CommonName, c.want)
		}
		if _, isRSA := got.PublicKey.(*rsa.PublicKey); isRSA != (c.key == "*rsa.PublicKey") {
			t.Errorf("%s: a key of type %T", name, got.PublicKey)
		}
	}

	cfg.StrictSNI = true
	if s, err = Open(context.Background(), cfg, files, secret.Local, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nobody.example", ""} {
		if _, err := hello(t, s, &tls.Config{ServerName: name}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("strict, %q: %v, want unrecognized name", name, err)
		}
	}
	if _, err := hello(t, s, &tls.Config{ServerName: "x.wild.example"}); err != nil {
		t.Errorf("strict, a name that is there: %v", err)
	}

	// A certificate that has ended is not changed to.
	writePair(t, path("wild"), "*.wild.example", newKey(t), time.Now().Add(-time.Minute))
	if changed, err := s.load(context.Background()); err == nil || changed {
		t.Errorf("a certificate that has ended: changed %v, %v", changed, err)
	}
	if got, err := hello(t, s, &tls.Config{ServerName: "x.wild.example"}); err != nil || got.NotAfter.Before(time.Now()) {
		t.Errorf("after it: %v", err)
	}
}

func TestVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pair")
	writePair(t, path, "a.example", newKey(t), time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		cfg  Config
		max  uint16
		want bool
	}{
		"1.2 by default":       {Config{}, tls.VersionTLS12, true},
		"1.1 by default":       {Config{}, tls.VersionTLS11, false},
		"1.2 where 1.3 is min": {Config{Min: "1.3"}, tls.VersionTLS12, false},
		"modern":               {Config{Preset: modern}, tls.VersionTLS12, false},
		"intermediate":         {Config{Preset: intermediate}, tls.VersionTLS12, true},
		"legacy":               {Config{Min: "1.1", Legacy: true}, tls.VersionTLS11, true},
	} {
		c.cfg.Certificate = path
		s, err := Open(context.Background(), c.cfg, Files{Read: os.ReadFile}, secret.Local, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, err = hello(t, s, &tls.Config{ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: c.max})
		if (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	problems := 0
	(&Config{Certificate: path, Min: "1.0", Preset: "x"}).Validate(func(string, string) { problems++ })
	if problems != 2 {
		t.Errorf("%d problems, want 2: the version and the preset", problems)
	}
}
