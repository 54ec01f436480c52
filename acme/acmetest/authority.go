// Package acmetest is an authority for tests: a server of ACME (RFC 8555, RFC 9773) that
// checks what it is sent, looks at the challenges as a real one does, and issues
// certificates of its own root.
package acmetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An Authority is an ACME server on a free port. Fields are set before its first request.
type Authority struct {
	// Dial returns HOST:PORT of where the challenges of a name are looked for: http-01 and
	// tls-alpn-01.
	Dial func(challenge, name string) string
	// TXT returns the values of a TXT record, whose name ends in a dot.
	TXT func(name string) []string
	// Offer are the challenges of names that are no wildcards; the default is all.
	Offer []string
	// EAB are the keys of accounts elsewhere; nil: none is needed.
	EAB map[string][]byte
	// Life is that of certificates; the default is 90 days.
	Life time.Duration
	// Window says when a certificate is to be renewed; nil: the authority does not say.
	Window func(leaf *x509.Certificate) (start, end time.Time)
	// Before is asked before each request; true means that it has answered.
	Before func(w http.ResponseWriter, r *http.Request) bool

	server  *httptest.Server
	path    string // in which the directory lies, another one for each Authority
	key     *ecdsa.PrivateKey
	root    *x509.Certificate
	roots   string
	looking sync.WaitGroup // at challenges

	mu       sync.Mutex // guards what follows
	nonces   map[string]bool
	accounts map[string]*account // by URL
	orders   map[string]*order
	authzs   map[string]*authz
	issued   map[string][]byte // chains by URL
	leaves   []*x509.Certificate
	renewals []string // what orders say that they replace
	serial   int64
}

type account struct {
	key      *jose.JSONWebKey
	contacts []string
}

type order struct {
	account     string
	identifiers []identifier
	authzs      []string
	certificate string
}

type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type authz struct {
	account    string
	id         identifier
	wildcard   bool
	status     string
	token      string
	challenges []string
	problem    *problem
	by         string // the challenge that was tried
}

type problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
}

func (p *problem) Error() string { return p.Type + ": " + p.Detail }

func refuse(status int, kind, format string, args ...any) *problem {
	return &problem{"urn:ietf:params:acme:error:" + kind, fmt.Sprintf(format, args...), status}
}

// New starts an authority, which ends with the test.
func New(t testing.TB) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{
		key: key, root: root, path: "/" + rand.Text(), Life: 90 * 24 * time.Hour, Offer: []string{"http-01", "tls-alpn-01", "dns-01"}, serial: time.Now().UnixNano(),
		nonces: map[string]bool{}, accounts: map[string]*account{}, orders: map[string]*order{}, authzs: map[string]*authz{}, issued: map[string][]byte{},
	}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // clients that do not trust it are part of some tests
	a.server.StartTLS()
	t.Cleanup(func() {
		a.server.Close()
		a.looking.Wait()
	})
	a.roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(a.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// URL is that of the directory.
func (a *Authority) URL() string { return a.server.URL + a.path + "/directory" }

// Roots is a file of who vouches for the server.
func (a *Authority) Roots() string { return a.roots }

// Pool holds the root of what is issued.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// Close ends the server before the test does.
func (a *Authority) Close() { a.server.Close() }

// Issued returns the certificates that were issued, oldest first.
func (a *Authority) Issued() []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*x509.Certificate(nil), a.leaves...)
}

// Replaced returns which certificates orders have named as those that they replace.
func (a *Authority) Replaced() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.renewals...)
}

// Contacts returns those of each account.
func (a *Authority) Contacts() (all [][]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.accounts {
		all = append(all, one.contacts)
	}
	return all
}

func (a *Authority) at(parts ...string) string {
	url := a.server.URL + a.path
	for _, p := range parts {
		url += "/" + p
	}
	return url
}

// nonce returns one that a request may use.
func (a *Authority) nonce() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := rand.Text()
	a.nonces[n] = true
	return n
}

func (a *Authority) serve(w http.ResponseWriter, r *http.Request) {
	if a.Before != nil && a.Before(w, r) {
		return
	}
	w.Header().Set("Replay-Nonce", a.nonce())
	if err := a.route(w, r); err != nil {
		WriteProblem(w, err.Status, err.Type, err.Detail)
	}
}

// WriteProblem answers with an error; kind is its type, with or without ACME's prefix.
func WriteProblem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem{kind, detail, status})
}

func write(w http.ResponseWriter, status int, v any) *problem {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
	return nil
}

// A call is a POST whose signature is good.
type call struct {
	payload []byte
	account string           // its URL; empty with a new account
	key     *jose.JSONWebKey // of who calls
}

// verify reads a POST as RFC 8555, 6.2 to 6.5 says.
func (a *Authority) verify(r *http.Request, fresh bool) (call, *problem) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return call{}, refuse(400, "malformed", "%v", err)
	}
	if r.Header.Get("Content-Type") != "application/jose+json" {
		return call{}, refuse(415, "malformed", "want application/jose+json")
	}
	signed, err := jose.ParseSignedJSON(string(body), []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil || len(signed.Signatures) != 1 {
		return call{}, refuse(400, "malformed", "the JWS cannot be read: %v", err)
	}
	head := signed.Signatures[0].Protected
	a.mu.Lock()
	known := a.nonces[head.Nonce]
	delete(a.nonces, head.Nonce)
	one := a.accounts[head.KeyID]
	a.mu.Unlock()
	if !known {
		return call{}, refuse(400, "badNonce", "this nonce is unknown or was used")
	}
	if url := a.server.URL + r.URL.Path; head.ExtraHeaders["url"] != url {
		return call{}, refuse(401, "unauthorized", "signed for %v, sent to %s", head.ExtraHeaders["url"], url)
	}
	c := call{key: head.JSONWebKey, account: head.KeyID}
	switch {
	case fresh && (head.JSONWebKey == nil || head.KeyID != ""):
		return call{}, refuse(400, "malformed", "want a jwk")
	case !fresh && head.KeyID == "":
		return call{}, refuse(400, "malformed", "want a kid")
	case !fresh && one == nil:
		return call{}, refuse(400, "accountDoesNotExist", "no account %s", head.KeyID)
	case !fresh:
		c.key = one.key
	}
	if c.payload, err = signed.Verify(c.key); err != nil {
		return call{}, refuse(401, "unauthorized", "the signature is wrong")
	}
	return c, nil
}

func (a *Authority) issue(csr *x509.CertificateRequest) []byte {
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(a.Life - time.Minute),
		DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, csr.PublicKey, crypto.Signer(a.key))
	if err != nil {
		panic(err) // a mistake in this package
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	a.leaves = append(a.leaves, leaf)
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})...)
}
