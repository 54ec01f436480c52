package auth

import (
	"crypto/sha256"
	"net/http"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// certificate takes the client certificate that came with the connection, or that a
// proxy tells of (gateway-policies.md 1.7). It is checked again with every request, so
// that a connection does not outlive a revocation.
func (c *Chain) certificate(r *http.Request) (gate.Principal, error) {
	name, cert, _, ok := c.env.Certificate(r)
	if !ok {
		return gate.Principal{}, front.ErrNotMine
	}
	if !validName(name) {
		return gate.Principal{}, &front.Refusal{Kind: gate.Unauthenticated, Message: "the client certificate does not name its holder as the rules of this listener want"}
	}
	return gate.Principal{Name: "User:" + name, Scheme: gate.SchemeMTLS, Certificate: cert, Expires: cert.NotAfter}, nil
}

// Describe returns the name of a verified client, what policies and logs may know of its
// certificate, and the certificate's digest; it is what Env.Certificate returns.
func Describe(c certificate.Client) (name string, cert *gate.Certificate, digest [sha256.Size]byte, ok bool) {
	cert = &gate.Certificate{
		SubjectDN: c.Subject, IssuerDN: c.Issuer, Serial: certificate.Serial(c.Leaf), NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter, DNSNames: c.Leaf.DNSNames, Raw: c.Leaf.Raw,
	}
	for _, u := range c.Leaf.URIs {
		cert.URIs = append(cert.URIs, u.String())
	}
	return c.Name, cert, sha256.Sum256(c.Leaf.Raw), true
}
