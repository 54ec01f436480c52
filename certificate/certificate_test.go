package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/klamm-gateway/klamm/secret"
)

func TestNames(t *testing.T) {
	utf8 := func(oid asn1.ObjectIdentifier, v string) attribute {
		b, _ := asn1.MarshalWithParams(v, "utf8")
		return attribute{oid, asn1.RawValue{FullBytes: b}}
	}
	ia5 := func(oid asn1.ObjectIdentifier, v string) attribute {
		b, _ := asn1.MarshalWithParams(v, "ia5")
		return attribute{oid, asn1.RawValue{FullBytes: b}}
	}
	cn, ou, o, c := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 6}
	mail := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	dc := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	for _, tc := range []struct {
		name string
		rdns [][]attribute
		want string
	}{
		{"device", [][]attribute{{utf8(c, "FR")}, {utf8(o, "Acme")}, {utf8(ou, "Edge")}, {utf8(cn, "dev-17")}}, "CN=dev-17,OU=Edge,O=Acme,C=FR"},
		{"escaped comma", [][]attribute{{utf8(o, "Acme, Inc.")}, {utf8(cn, `a"b\c<d>;e+f`)}}, `CN=a\"b\\c\<d\>\;e\+f,O=Acme\, Inc.`},
		{"leading number sign", [][]attribute{{utf8(cn, "#1 device")}}, `CN=\#1 device`},
		{"spaces", [][]attribute{{utf8(cn, " a b ")}}, `CN=\ a b\ `},
		{"UTF-8", [][]attribute{{utf8(cn, "Jürgen Ωmega")}}, "CN=Jürgen Ωmega"},
		{"several values", [][]attribute{{utf8(cn, "a"), utf8(ou, "b")}}, "CN=a+OU=b"},
		{"e-mail", [][]attribute{{ia5(mail, "a@b.c")}, {utf8(cn, "x")}}, "CN=x,1.2.840.113549.1.9.1=#160561 40622e63"},
		{"domain", [][]attribute{{ia5(dc, "org")}, {ia5(dc, "example")}}, "DC=example,DC=org"},
		{"line break", [][]attribute{{utf8(cn, "a\nb")}}, `CN=a\0Ab`},
		{"nothing", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sets []asn1.RawValue
			for _, rdn := range tc.rdns {
				var inner []byte
				for _, a := range rdn {
					b, err := asn1.Marshal(a)
					if err != nil {
						t.Fatal(err)
					}
					inner = append(inner, b...)
				}
				sets = append(sets, asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true, Bytes: inner})
			}
			der, err := asn1.Marshal(sets)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Name(der); err != nil || got != strings.ReplaceAll(tc.want, "61 40", "6140") {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	const dn = "CN=Dev-17,OU=Edge,O=Acme,C=FR"
	for _, tc := range []struct{ name, rules, subject, want string }{
		{"none", "", dn, dn},
		{"default", "DEFAULT", dn, dn},
		{"lower case", `RULE:^CN=([^,]+),OU=Edge,.*$/edge-$1/L,DEFAULT`, dn, "edge-dev-17"},
		{"upper case", `RULE:^CN=([^,]+),.*$/$1/U`, dn, "DEV-17"},
		{"no change", `RULE:^CN=([^,]+),.*$/$1/`, dn, "Dev-17"},
		{"several groups", `RULE:^CN=(.*?),OU=(.*?),.*$/$1@$2/L`, dn, "dev-17@edge"},
		{"text behind a group", `RULE:^CN=(.*?),.*$/$1a/`, dn, "Dev-17a"},
		{"first match", `RULE:^X.*$/x/,RULE:^CN.*$/first/,RULE:.*/second/`, dn, "first"},
		{"the whole subject", `RULE:CN=Dev/x/,DEFAULT`, dn, dn},
		{"slash", `RULE:^a\/(.*)$/b\/$1/`, "a/c", "b/c"},
		{"spaces", " RULE:^CN=([^,]+),.*$/$1/L , DEFAULT ", dn, "dev-17"},
		{"no match", `RULE:^X$/x/`, dn, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := parseRules(tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := r.Apply(tc.subject); got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	for _, bad := range []string{"RULE:a", "RULE:a/b", "RULE:(/b/", "DEFAULT,", "X", "DEFAULT DEFAULT", "RULE:a/b/Q", strings.Repeat("DEFAULT,", 4000) + "DEFAULT"} {
		if _, err := parseRules(bad); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add(`RULE:^CN=([^,]+),OU=Edge,.*$/edge-$1/L,DEFAULT`, "CN=a")
	f.Fuzz(func(t *testing.T, rules, subject string) {
		if r, err := parseRules(rules); err == nil {
			r.Apply(subject)
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "x")
	f.Add([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01"), "")
	f.Add([]byte("\x30\x82\x00\x10\x02\x01\x03"), "")
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		_, _ = identity(text, "", password, "")
		_, _ = trusted(text, password)
		_, _ = revocations(text)
		_, _ = Name(text)
	})
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial = int64(1)

func issue(t *testing.T, name string, by *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if by == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	if change != nil {
		change(c)
	}
	self := &authority{c, key}
	if by == nil {
		by = self
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	self.cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) keyPEM(t *testing.T, password string) []byte {
	t.Helper()
	if password == "" {
		der, _ := x509.MarshalPKCS8PrivateKey(a.key)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	der, err := pkcs8.MarshalPrivateKey(a.key, []byte(password), nil)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
}

func (a *authority) revoke(t *testing.T, until time.Duration, certs ...*authority) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(until)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.cert.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func (a *authority) jks(t *testing.T, store, key string) []byte {
	t.Helper()
	ks := keystore.New()
	der, _ := x509.MarshalPKCS8PrivateKey(a.key)
	if err := ks.SetPrivateKeyEntry("srv", keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: der,
		CertificateChain: []keystore.Certificate{{Type: "X509", Content: a.cert.Raw}}}, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if err := ks.SetTrustedCertificateEntry("ca", keystore.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: keystore.Certificate{Type: "X509", Content: a.cert.Raw}}); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := ks.Store(&b, []byte(store)); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func TestStores(t *testing.T) {
	a := issue(t, "srv", nil, nil)
	p12, err := pkcs12.Modern.Encode(a.key, a.cert, nil, "store")
	if err != nil {
		t.Fatal(err)
	}
	java, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{a.cert}, "store")
	if err != nil {
		t.Fatal(err)
	}
	both := append(a.pem(), a.keyPEM(t, "")...)
	locked := append(a.pem(), a.keyPEM(t, "key")...)
	jks := a.jks(t, "store", "key")
	for _, tc := range []struct {
		name                 string
		text                 []byte
		alias, password, key string
		want                 string
	}{
		{"PEM", both, "", "", "", ""},
		{"PEM, locked key", locked, "", "", "key", ""},
		{"PEM, wrong password", locked, "", "", "x", errPassword.Error()},
		{"PEM, no password", locked, "", "", "", errNoPassword.Error()},
		{"PKCS#12", p12, "", "store", "", ""},
		{"PKCS#12, wrong password", p12, "", "x", "", errPassword.Error()},
		{"JKS", jks, "", "store", "key", ""},
		{"JKS, by alias", jks, "srv", "store", "key", ""},
		{"JKS, without the store's password", jks, "", "", "key", ""},
		{"JKS, wrong password", jks, "", "x", "key", errPassword.Error()},
		{"JKS, wrong key password", jks, "", "store", "x", `key "srv": ` + errPassword.Error()},
		{"JKS, wrong alias", jks, "other", "store", "key", `it has no private key "other"; the aliases are srv`},
		{"JCEKS", append([]byte{0xce, 0xce, 0xce, 0xce}, 1, 2), "", "", "", errJCEKS.Error()},
		{"nothing", []byte("hello"), "", "", "", errForm.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := identity(tc.text, tc.alias, tc.password, tc.key)
			if tc.want == "" && (err != nil || c.Leaf.Subject.CommonName != "srv") || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	for name, text := range map[string][]byte{"PEM": a.pem(), "DER": a.cert.Raw, "PKCS#12": java, "JKS": jks} {
		if certs, err := trusted(text, "store"); err != nil || len(certs) != 1 || !certs[0].Equal(a.cert) {
			t.Errorf("%s: %v, %v", name, certs, err)
		}
		if name != "PKCS#12" && name != "JKS" {
			continue
		}
		if _, err := trusted(text, "x"); !errors.Is(err, errPassword) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	if _, err := trusted(jks, ""); err != nil {
		t.Errorf("JKS without the check of its digest: %v", err)
	}
}

// A place is a directory with the files of a server.
type place struct {
	t      *testing.T
	dir    string
	ca     *authority
	server *authority
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, dir: t.TempDir(), ca: issue(t, "root", nil, nil)}
	p.write("ca.pem", p.ca.pem())
	p.renew()
	return p
}

func (p *place) renew() {
	p.server = issue(p.t, "localhost", p.ca, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"localhost"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	p.write("server.pem", append(p.server.pem(), p.server.keyPEM(p.t, "")...))
}

func (p *place) write(name string, text []byte) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) open(change func(*Config)) *Server {
	p.t.Helper()
	cfg := Config{Certificate: filepath.Join(p.dir, "server.pem"), ClientCA: filepath.Join(p.dir, "ca.pem"), ClientAuth: "required"}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(p.t.Context(), cfg, Files{Read: os.ReadFile, List: func(string) ([]string, error) { return nil, nil }}, secret.Local, slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// connect shakes hands and returns what each side found.
func (p *place) connect(s *Server, client *authority) (name string, err error) {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.cert)
	cfg := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if client != nil {
		cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{client.cert.Raw}, PrivateKey: client.key}}
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	done := make(chan error, 1)
	server := tls.Server(far, s.TLS())
	go func() {
		err := server.HandshakeContext(context.Background())
		if err == nil {
			_, err = server.Write([]byte("x"))
		}
		_ = far.Close()
		done <- err
	}()
	c := tls.Client(near, cfg)
	_, _ = io.ReadAll(c)
	if err := <-done; err != nil {
		return "", err
	}
	state := server.ConnectionState()
	found, ok := s.Client(&state)
	if !ok {
		return "", nil
	}
	return found.Name, nil
}

func TestClients(t *testing.T) {
	p := newPlace(t)
	stranger := issue(t, "other root", nil, nil)
	good, bad := issue(t, "good", p.ca, nil), issue(t, "bad", p.ca, nil)
	p.write("list.crl", p.ca.revoke(t, time.Hour, bad))
	p.write("old.crl", p.ca.revoke(t, -time.Hour))
	list := func(name, mode string) func(*Config) {
		return func(c *Config) { c.CRL = CRL{Files: []string{filepath.Join(p.dir, name)}, Mode: mode} }
	}
	for _, tc := range []struct {
		name   string
		client *authority
		change func(*Config)
		want   string // "refused" in the handshake
	}{
		{"good", good, nil, "CN=good"},
		{"none", nil, nil, "refused"},
		{"none, requested", nil, func(c *Config) { c.ClientAuth = "requested" }, ""},
		{"stranger", issue(t, "x", stranger, nil), nil, "refused"},
		{"stranger, requested", issue(t, "x", stranger, nil), func(c *Config) { c.ClientAuth = "requested" }, ""},
		{"expired", issue(t, "x", p.ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, "refused"},
		{"for servers", issue(t, "x", p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, "refused"},
		{"without a usage", issue(t, "x", p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil, "CN=x"},
		{"not revoked", good, list("list.crl", "hard"), "CN=good"},
		{"revoked", bad, list("list.crl", "soft"), "refused"},
		{"revoked, lists off", bad, list("list.crl", "off"), "CN=bad"},
		{"old list, soft", good, list("old.crl", "soft"), "CN=good"},
		{"old list, hard", good, list("old.crl", "hard"), "refused"},
		{"no list, hard", good, func(c *Config) { c.CRL.Mode = "hard" }, "refused"},
		{"by rule", good, func(c *Config) { c.JavaRules = "RULE:^CN=(.*)$/edge-$1/U" }, "EDGE-GOOD"},
		{"by alternative name", issue(t, "x", p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }), func(c *Config) { c.PrincipalFrom = "san.dns" }, "a.example"},
		{"by one of several", issue(t, "x", p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"a", "b"} }), func(c *Config) { c.PrincipalFrom = "san.dns" }, ""},
		{"by the second", issue(t, "x", p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"a", "b"} }), func(c *Config) { one := 1; c.PrincipalFrom, c.SANIndex = "san.dns", &one }, "b"},
		{"TLS 1.3 only", good, func(c *Config) { c.Min = "1.3" }, "CN=good"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name, err := p.connect(p.open(tc.change), tc.client)
			if err != nil {
				name = "refused"
			}
			if name != tc.want {
				t.Errorf("got %q (%v), want %q", name, err, tc.want)
			}
		})
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	p := newPlace(t)
	client := issue(t, "device", p.ca, nil)
	p.write("list.crl", p.ca.revoke(t, time.Hour))
	s := p.open(func(c *Config) { c.CRL.Files = []string{filepath.Join(p.dir, "list.crl")} })
	if name, err := p.connect(s, client); name != "CN=device" {
		t.Fatal(name, err)
	}
	first := s.state.Load().config.Certificates[0].Leaf
	p.renew()
	if changed, err := s.load(t.Context()); !changed || err != nil || s.state.Load().config.Certificates[0].Leaf.Equal(first) {
		t.Errorf("a new certificate: %v, %v", changed, err)
	}
	if changed, err := s.load(t.Context()); changed || err != nil {
		t.Errorf("nothing new: %v, %v", changed, err)
	}
	second := s.state.Load().config.Certificates[0].Leaf
	p.write("server.pem", []byte("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n"))
	if _, err := s.load(t.Context()); err == nil || !s.state.Load().config.Certificates[0].Leaf.Equal(second) {
		t.Errorf("a broken file is taken: %v", err)
	}
	p.renew()
	p.write("list.crl", p.ca.revoke(t, time.Hour, client))
	if _, err := s.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if name, err := p.connect(s, client); err == nil {
		t.Errorf("a revoked client is %q", name)
	}
}
