package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	protocol "github.com/mholt/acmez/v3/acme"
)

const (
	// askFor bounds one request to the authority, mostRequests how many an order takes,
	// and largestAnswer the answer to one, in bytes.
	askFor        = 30 * time.Second
	mostRequests  = 3000
	largestAnswer = 1 << 20
	// pollEvery is how often the authority is asked whether it has made up its mind.
	pollEvery = time.Second
	// longestChain is how many certificates a chain has.
	longestChain = 10
)

// A client talks to the authority for the time of one order.
type client struct {
	acme      *acmez.Client
	transport *transport
}

// client makes a client; the error says what is wrong with the file of roots.
func (k *Keeper) client() (*client, error) {
	roots, err := k.roots()
	if err != nil {
		return nil, err
	}
	t := &transport{left: mostRequests, base: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, TLSHandshakeTimeout: askFor,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}}
	c := &client{transport: t}
	c.acme = &acmez.Client{
		Client: &protocol.Client{Directory: k.cfg.DirectoryURL, UserAgent: "klamm", PollInterval: k.pace.poll, HTTPClient: &http.Client{
			Transport: t, Timeout: askFor, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}},
		ChallengeSolvers: k.solvers(),
	}
	return c, nil
}

func (c *client) close() { c.transport.base.CloseIdleConnections() }

// roots are those who vouch for the authority's server; nil: those of the system.
func (k *Keeper) roots() (*x509.CertPool, error) {
	if k.cfg.Roots == "" {
		return nil, nil
	}
	text, err := k.env.Read(k.cfg.Roots)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("roots: there is no certificate (PEM) in %s", k.cfg.Roots)
	}
	return pool, nil
}

// A transport bounds what is asked of an authority and what is taken from it.
type transport struct {
	base *http.Transport

	mu    sync.Mutex    // guards what follows
	left  int           // requests
	after time.Duration // what the authority has last asked to wait for
}

// RoundTrip sends one request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" { // RFC 8555, 6.1; an authority could name any address
		return nil, errors.New("the authority names an address that is not https")
	}
	t.mu.Lock()
	t.left--
	enough := t.left < 0
	t.mu.Unlock()
	if enough {
		return nil, fmt.Errorf("the authority wants more than %d requests", mostRequests)
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		t.mu.Lock()
		t.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		t.mu.Unlock()
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, largestAnswer)
	return resp, nil
}

// told is how long the authority has last asked to wait, with a refusal; 0: it has not.
func (t *transport) told() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.after
}

// retryAfter reads a header field: seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// account returns the account, and opens it with the first order of this process: an
// authority that knows the key answers with the account there is.
func (k *Keeper) account(ctx context.Context, c *client) (protocol.Account, error) {
	key, err := k.store.account()
	if err != nil {
		return protocol.Account{}, err
	}
	if k.known.Location != "" && samePublic(k.known.PrivateKey, key) {
		return k.known, nil
	}
	want := protocol.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	for _, contact := range k.cfg.Contacts {
		want.Contact = append(want.Contact, "mailto:"+strings.TrimPrefix(contact, "mailto:"))
	}
	if k.cfg.EAB.KeyID != "" {
		secret, err := k.env.Secret(ctx, k.cfg.EAB.Key)
		if err != nil {
			return want, fmt.Errorf("eab.key: %w", err)
		}
		// Some authorities show it in the other alphabet of base64, or padded.
		secret = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimSpace(secret)), "=")
		if err := want.SetExternalAccountBinding(ctx, c.acme.Client, protocol.EAB{KeyID: k.cfg.EAB.KeyID, MACKey: secret}); err != nil {
			return want, fmt.Errorf("eab: %w", err)
		}
	}
	contacts := slices.Clone(want.Contact)
	got, err := c.acme.NewAccount(ctx, want)
	if err != nil {
		return got, fmt.Errorf("open the account: %w", err)
	}
	if got.Location == "" {
		return got, errors.New("open the account: the authority does not say where it is")
	}
	got.ExternalAccountBinding = nil
	if !slices.Equal(got.Contact, contacts) { // it was opened with others
		changed, err := c.acme.UpdateAccount(ctx, protocol.Account{Contact: contacts, Location: got.Location, PrivateKey: key})
		if err != nil {
			k.log.Warn("the authority does not take the contacts of the account", "err", bounded(err.Error()))
		} else if changed.Status != "" {
			got.Status = changed.Status
		}
	}
	k.known = got
	return got, nil
}

func samePublic(x, y crypto.Signer) bool {
	p, ok := x.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(y.Public())
}

// order gets a certificate, and returns its key and chain, PEM, and the certificate
// itself. Replaced is the one that it is for, where the authority wants to know; nil:
// none.
func (k *Keeper) order(ctx context.Context, c *client, replaced *x509.Certificate) ([]byte, *x509.Certificate, error) {
	account, err := k.account(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	key, err := newKey(k.cfg.KeyType)
	if err != nil {
		return nil, nil, err
	}
	csr, err := acmez.NewCSR(key, k.cfg.Names)
	if err != nil {
		return nil, nil, err
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, nil, err
	}
	params.Profile = k.cfg.Profile
	if dir, err := c.acme.GetDirectory(ctx); err == nil && dir.RenewalInfo != "" && replaced != nil && len(replaced.AuthorityKeyId) > 0 {
		params.Replaces = replaced
	}
	chains, err := c.acme.ObtainCertificate(ctx, params)
	if problem, ok := errors.AsType[protocol.Problem](err); ok && problem.Type == protocol.ProblemTypeAccountDoesNotExist {
		k.known = protocol.Account{} // opened again the next time
	}
	if err != nil {
		return nil, nil, err
	}
	if len(chains) == 0 {
		return nil, nil, errors.New("the authority has issued nothing")
	}
	leaf, err := k.judge(chains[0].ChainPEM, key)
	if err != nil {
		return nil, nil, fmt.Errorf("what the authority has issued cannot be used: %w", err)
	}
	text, err := encodeKey(key)
	return append(text, chains[0].ChainPEM...), leaf, err
}

func newKey(kind string) (crypto.Signer, error) {
	if kind == "rsa" {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// judge says whether a chain is what was ordered.
func (k *Keeper) judge(chain []byte, key crypto.Signer) (*x509.Certificate, error) {
	if len(chain) > largestFile/2 {
		return nil, fmt.Errorf("it has more than %d bytes", largestFile/2)
	}
	var certs []*x509.Certificate
	for rest := bytes.TrimSpace(chain); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(certs) == longestChain {
			return nil, fmt.Errorf("want PEM of 1 to %d certificates and nothing else", longestChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("it is empty")
	}
	leaf := certs[0]
	if public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("it is for another key")
	}
	for _, n := range k.cfg.Names {
		if !covers(leaf, n) {
			return nil, fmt.Errorf("it is not for %s", n)
		}
	}
	if !leaf.NotAfter.After(k.now()) {
		return nil, fmt.Errorf("it has ended on %s", leaf.NotAfter.Format(time.DateTime))
	}
	for i, c := range certs[1:] {
		if err := certs[i].CheckSignatureFrom(c); err != nil {
			return nil, fmt.Errorf("its chain does not hold together: %w", err)
		}
	}
	return leaf, nil
}

// bounded makes a text that an authority or a program has had a say in fit for a log.
func bounded(text string) string {
	const most = 1000
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
