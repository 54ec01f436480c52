package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// ErrUnusable says that a certificate or its key cannot be used: one of them is
// damaged, they do not belong together, or the password is wrong.
var ErrUnusable = errors.New("the certificate or its private key cannot be used")

// Identity reads the certificate that klamm shows to servers, of PEM text
// (kafka-auth.md A4): the certificate itself comes first, its issuers in any order
// after it; a root among them is left out. The key is PKCS#8, encrypted by PBES1 or
// PBES2 or not at all, PKCS#1 or SEC1; without key text it is looked for in chain. Line
// breaks may be written as \n, as consoles do. Every error wraps ErrUnusable, and
// holds nothing of the key.
func Identity(chain, key, password string) (tls.Certificate, error) {
	if key == "" {
		key = chain
	}
	c, err := identityPEM(unescape(chain), unescape(key), password)
	if err != nil {
		return c, unusable{err}
	}
	for i := len(c.Certificate) - 1; i > 0; i-- {
		one, err := x509.ParseCertificate(c.Certificate[i])
		if err != nil {
			return c, unusable{err}
		}
		if bytes.Equal(one.RawSubject, one.RawIssuer) {
			c.Certificate = append(c.Certificate[:i], c.Certificate[i+1:]...)
		}
	}
	return c, nil
}

// Roots reads the certificates of authorities, of PEM text as Identity does.
func Roots(text string) (*x509.CertPool, error) {
	certs, err := trusted(unescape(text), "")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// unusable is an ErrUnusable with its reason.
type unusable struct{ reason error }

func (e unusable) Error() string { return ErrUnusable.Error() + ": " + e.reason.Error() }

func (e unusable) Unwrap() []error { return []error{ErrUnusable, e.reason} }

// unescape turns the ways in which PEM is pasted into one.
func unescape(text string) []byte {
	return []byte(strings.NewReplacer("\r\n", "\n", `\r\n`, "\n", `\n`, "\n").Replace(text))
}
