package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificates makes an authority and the certificates of servers and of the
// client alice, writes what a listener needs and returns what she needs.
func writeCertificates(t *testing.T, dir string) *tls.Config {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	issue := func(serial int64, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{"klamm.example.com"}, // no address of a process
		}
		if by == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
			by, byKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
		must(err)
		c, err = x509.ParseCertificate(der)
		must(err)
		return c, key
	}
	write := func(name, kind string, der []byte) {
		t.Helper()
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	ca, caKey := issue(1, "authority", nil, nil)
	server, serverKey := issue(2, "klamm", ca, caKey)
	alice, aliceKey := issue(3, "alice", ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(serverKey)
	must(err)
	write("ca.pem", "CERTIFICATE", ca.Raw)
	write("server.pem", "CERTIFICATE", server.Raw)
	write("server.key", "PRIVATE KEY", der)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &tls.Config{
		RootCAs: roots, ServerName: "klamm.example.com", MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{alice.Raw}, PrivateKey: aliceKey}},
	}
}

// TestProcessesCallEachOtherOverTLS has two processes whose only listener wants a
// certificate of each client.
func TestProcessesCallEachOtherOverTLS(t *testing.T) {
	dir := t.TempDir()
	alice := writeCertificates(t, dir)
	h := newHouseWith(t, 2, 0, dir, &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: alice}})
	topic := h.topic(1, 100)
	big := fmt.Sprintf("%s-big", topic)
	h.big(big, 40, 10_000)
	for _, p := range h.all { // each holds one, and is asked through the other one
		for _, name := range []string{topic, big} {
			c := h.create(p, name+p.url[len(p.url)-5:], "one", earliest)
			c.subscribe(name)
			seen := 0
			for end := time.Now().Add(time.Minute); seen < 40 && time.Now().Before(end); {
				got := c.read("?max_bytes=200000", "")
				for _, r := range got {
					if r.Offset != int64(seen) {
						t.Fatalf("%s: got offset %d, want %d", name, r.Offset, seen)
					}
					seen++
				}
			}
			if seen < 40 {
				t.Fatalf("%s: %d records", name, seen)
			}
			c.must(200, "POST", "/offsets", "")
			c.must(204, "DELETE", "", "")
			c.must(404, "GET", "/subscription", "")
			c.must(404, "GET", "/subscription", "")
		}
	}
	// Who calls the name of processes and has no key of theirs is not served, whatever
	// certificate there is, and neither is a client without one.
	for _, c := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"the name of processes, with a client's certificate", func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "peer.klamm.invalid", true }},
		{"the name of processes, without a certificate", func(c *tls.Config) {
			c.ServerName, c.InsecureSkipVerify, c.Certificates = "peer.klamm.invalid", true, nil
		}},
		{"no certificate", func(c *tls.Config) { c.Certificates = nil }},
	} {
		strange := alice.Clone()
		c.change(strange)
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.all[0].url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		secured := tls.Client(conn, strange)
		_, _ = fmt.Fprintf(secured, "GET /topics HTTP/1.1\r\nHost: x\r\nKlamm-Forward: a.1.b.c.d.1.e\r\nConnection: close\r\n\r\n")
		answer := make([]byte, 64)
		if n, _ := secured.Read(answer); n > 0 {
			t.Errorf("%s: answered %q", c.name, answer[:n])
		}
		_ = conn.Close()
	}
}
