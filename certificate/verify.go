package certificate

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// authorities are who may vouch for clients, and whom they have revoked.
type authorities struct {
	pool   *x509.CertPool
	lists  map[string][]*revocationList // by the issuer's name in DER
	hard   bool                         // no list, no entry
	checks bool                         // lists count at all
	depth  int                          // certificates in a chain at most
}

type revocationList struct {
	*x509.RevocationList
	revoked map[string]bool // by serial number in decimal digits
}

func newAuthorities(certs []*x509.Certificate, lists []*x509.RevocationList, mode string, depth int) *authorities {
	a := &authorities{pool: x509.NewCertPool(), lists: map[string][]*revocationList{}, hard: mode == "hard", checks: mode != "off", depth: depth}
	for _, c := range certs {
		a.pool.AddCert(c)
	}
	for _, l := range lists {
		one := &revocationList{l, map[string]bool{}}
		for _, e := range l.RevokedCertificateEntries {
			one.revoked[e.SerialNumber.String()] = true
		}
		a.lists[string(l.RawIssuer)] = append(a.lists[string(l.RawIssuer)], one)
	}
	return a
}

// verify checks a client's chain as it came.
func (a *authorities) verify(chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return err
	}
	err = errors.New("its chain is too long")
	for _, c := range chains {
		if len(c) > a.depth {
			continue
		}
		if err = a.checkChain(c, now); err == nil {
			return nil
		}
	}
	return err
}

// checkChain checks what crypto/x509 does not: weak keys and hashes, and
// revocation.
func (a *authorities) checkChain(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain {
		if !strongKey(c.PublicKey) {
			return fmt.Errorf("the key of %s is too weak", c.Subject.CommonName)
		}
		if i == len(chain)-1 {
			break // nobody vouches for the root
		}
		if weakSignature(c.SignatureAlgorithm) {
			return fmt.Errorf("the signature of %s is too weak", c.Subject.CommonName)
		}
		if a.checks {
			if err := a.checkRevoked(c, chain[i+1], now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *authorities) checkRevoked(c, issuer *x509.Certificate, now time.Time) error {
	current := false
	for _, l := range a.lists[string(issuer.RawSubject)] {
		if l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if l.revoked[c.SerialNumber.String()] {
			return errors.New("the certificate is revoked")
		}
		current = current || !now.Before(l.ThisUpdate) && (l.NextUpdate.IsZero() || now.Before(l.NextUpdate))
	}
	if a.hard && !current {
		return errors.New("there is no current revocation list of its issuer")
	}
	return nil
}

func strongKey(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize >= 256
	case ed25519.PublicKey:
		return true
	}
	return false
}

func weakSignature(a x509.SignatureAlgorithm) bool {
	return slices.Contains([]x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1, x509.DSAWithSHA256, x509.UnknownSignatureAlgorithm}, a)
}
