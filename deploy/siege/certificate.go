package main

import (
	"context"
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
	"syscall"
	"time"
)

// An issuer makes certificates for the loopback address.
type issuer struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
	n    int64
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "siege"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	root, err = x509.ParseCertificate(raw)
	return &issuer{key: key, root: root, n: 1}, err
}

// issue writes a new certificate and its key into one file, in place of the one that
// was there, and returns its number.
func (i *issuer) issue(file string) (int64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	i.n++
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(i.n), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, i.root, &key.PublicKey, i.key)
	if err != nil {
		return 0, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return 0, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return 0, err
	}
	return i.n, os.Rename(file+".new", file)
}

// certificates replaces the certificate of a listener again and again while others
// work on it, by connections that stay and by new ones.
func (h *house) certificates(ctx context.Context) (v verdict, err error) {
	i, err := newIssuer()
	if err != nil {
		return v, err
	}
	file := filepath.Join(h.dir, "server.pem")
	if _, err := i.issue(file); err != nil {
		return v, err
	}
	port, err := freePort()
	if err != nil {
		return v, err
	}
	p, err := h.serve(ctx, fmt.Sprintf("listeners: [{listen: \"127.0.0.1:%d\", tls: {certificate: %s, key: %s}}]\n", port, file, file))
	if err != nil {
		return v, err
	}
	defer p.kill()
	roots := x509.NewCertPool()
	roots.AddCert(i.root)
	n, at := 0, fmt.Sprintf("127.0.0.1:%d", port)
	end := others(p, "https://"+at, func() *http.Transport {
		n++
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: n%2 == 0, ForceAttemptHTTP2: n%3 == 0}
	})
	seen, newest := map[int64]bool{}, int64(0)
	for begun := time.Now(); time.Since(begun) < time.Duration(h.seconds)*time.Second; {
		if newest, err = i.issue(file); err != nil {
			return v, err
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return v, err
		}
		pause(ctx, 500*time.Millisecond)
		shown, err := serialAt(ctx, at, roots)
		if err != nil {
			return v, err
		}
		seen[shown] = true
	}
	last := int64(0)
	for until := time.Now().Add(30 * time.Second); last != newest && time.Now().Before(until) && pause(ctx, 100*time.Millisecond); {
		if last, err = serialAt(ctx, at, roots); err != nil {
			return v, err
		}
	}
	f := end()
	v.say("%d certificates, of which %d were seen", newest-1, len(seen))
	v.hold(last == newest && len(seen) > 2, "new certificates are not shown: the last one seen is number %d of %d", last, newest)
	h.judge(&v, f)
	return v, nil
}

// serialAt returns the number of the certificate that a listener shows.
func serialAt(ctx context.Context, addr string, roots *x509.CertPool) (int64, error) {
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, fmt.Errorf("look at the certificate: %w", err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}
