package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// An issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// certify makes a certificate that by has signed; nil: an authority's.
func certify(t *testing.T, name string, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
	}
	parent, signer := c, key
	if by == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	} else {
		parent, signer = by.Certificate, by.key
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{made, key}
}

func (c *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// escaped is URL-encoded PEM, as nginx and Envoy write it.
func (c *issued) escaped() string { return url.PathEscape(c.pem()) }

// sequence is the form of RFC 9440.
func (c *issued) sequence() string { return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":" }

func TestCertificatesThatAProxyTellsOf(t *testing.T) {
	ca, foreign := certify(t, "root", nil), certify(t, "other root", nil)
	good, revoked, stranger := certify(t, "dev-17", ca), certify(t, "dev-18", ca), certify(t, "dev-17", foreign)
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: revoked.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)}},
	}, ca.Certificate, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	links, err := front.NewLinks("", []string{"192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	chainFor := func(header string) *Chain {
		cfg := &MTLS{Header: header, ClientCA: "ca.pem", CRL: certificate.CRL{Files: []string{"list.crl"}, Mode: "hard"}, PrincipalMappingRules: "RULE:^CN=(dev-.*)$/$1/U,DEFAULT"}
		cfg.Validate(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
		return newTestChain(t, Config{MTLS: cfg}, func(e *Env) {
			e.Links = links
			e.Read = func(path string) ([]byte, error) {
				return map[string][]byte{"ca.pem": []byte(ca.pem()), "list.crl": list}[path], nil
			}
			e.List = func(string) ([]string, error) { return nil, nil }
			// The proxy has one of its own.
			e.Certificate = func(*http.Request) (string, *gate.Certificate, [sha256.Size]byte, bool) {
				return "proxy", &gate.Certificate{}, [sha256.Size]byte{}, true
			}
		})
	}
	rfc, envoy, nginx := chainFor("client-cert"), chainFor("x-forwarded-client-cert"), chainFor("x-ssl-client-cert")
	const nobody, device, proxy = "", "User:DEV-17", "User:proxy"
	for _, tc := range []struct {
		name   string
		chain  *Chain
		header []string
		want   string
	}{
		{"RFC 9440", rfc, []string{"Client-Cert", good.sequence()}, device},
		{"RFC 9440 with a chain", rfc, []string{"Client-Cert", good.sequence(), "Client-Cert-Chain", ca.sequence() + ", " + foreign.sequence()}, device},
		{"RFC 9440, two clients", rfc, []string{"Client-Cert", good.sequence() + ", " + good.sequence()}, nobody},
		{"RFC 9440 twice", rfc, []string{"Client-Cert", good.sequence(), "Client-Cert", good.sequence()}, nobody},
		{"RFC 9440 without colons", rfc, []string{"Client-Cert", strings.Trim(good.sequence(), ":")}, nobody},
		{"RFC 9440, not base64", rfc, []string{"Client-Cert", ":%%:"}, nobody},
		{"RFC 9440, empty", rfc, []string{"Client-Cert", ""}, nobody},
		{"of another authority", rfc, []string{"Client-Cert", stranger.sequence()}, nobody},
		{"revoked", rfc, []string{"Client-Cert", revoked.sequence()}, nobody},
		{"another header", rfc, []string{"X-Ssl-Client-Cert", good.escaped()}, proxy},
		{"no header", rfc, nil, proxy},
		{"Envoy", envoy, []string{"X-Forwarded-Client-Cert", `By=spiffe://x/y;Hash=aa;Cert="` + good.escaped() + `";Subject="CN=a,O=\"b;c\"";URI=`}, device},
		{"Envoy with a chain", envoy, []string{"X-Forwarded-Client-Cert", `Hash=aa;Chain="` + good.escaped() + ca.escaped() + `"`}, device},
		{"Envoy behind another", envoy, []string{"X-Forwarded-Client-Cert", `Cert="` + stranger.escaped() + `",Hash=aa;cert="` + good.escaped() + `"`}, device},
		{"Envoy, the client's own element", envoy, []string{"X-Forwarded-Client-Cert", `Cert="` + good.escaped() + `"`, "X-Forwarded-Client-Cert", `Hash=aa;Subject="CN=proxy"`}, nobody},
		{"Envoy without a certificate", envoy, []string{"X-Forwarded-Client-Cert", `Hash=aa;Subject="CN=dev-17"`}, nobody},
		{"nginx", nginx, []string{"X-Ssl-Client-Cert", good.escaped()}, device},
		{"nginx, nothing", nginx, []string{"X-Ssl-Client-Cert", ""}, nobody},
		{"nginx, a key", nginx, []string{"X-Ssl-Client-Cert", url.PathEscape("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, nobody},
		{"nginx, not encoded well", nginx, []string{"X-Ssl-Client-Cert", "%zz"}, nobody},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, pass := range []string{"first", "again"} { // what was parsed is remembered
				who, err := tc.chain.Authenticate(request(tc.header...))
				if who.Name != tc.want || (err == nil) != (tc.want != nobody) {
					t.Fatalf("%s: got %q, %v; want %q", pass, who.Name, err, tc.want)
				}
				if tc.want == device && (who.Scheme != gate.SchemeMTLS || who.Certificate.SubjectDN != "CN=dev-17" || string(who.Certificate.Raw) != string(good.Raw)) {
					t.Errorf("%s: got %+v", pass, who)
				}
			}
			// From anybody else it counts for nothing.
			r := request(tc.header...)
			r.RemoteAddr = "203.0.113.9:1"
			if who, err := tc.chain.Authenticate(r); who.Name != proxy {
				t.Errorf("from elsewhere: got %q, %v", who.Name, err)
			}
		})
	}
}

func TestProxyCertificatesAreChecked(t *testing.T) {
	problems := map[string]bool{}
	(&MTLS{Header: "x-client", Depth: 99, PrincipalFrom: "cn"}).Validate(func(path, _ string) { problems[path] = true })
	for _, path := range []string{"header", "client_ca", "depth", "principal_from"} {
		if !problems[path] {
			t.Errorf("no problem with %s: %v", path, problems)
		}
	}
}
