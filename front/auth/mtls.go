package auth

import (
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// certificate takes the client certificate that came with the connection
// (gateway-policies.md 1.7). It is checked again with every request, so that a
// connection does not outlive a revocation.
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
