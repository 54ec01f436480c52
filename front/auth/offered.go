package auth

import (
	"net/http"
	"strings"
)

// offeredPrefix begins the subprotocol of a WebSocket that is a token.
const offeredPrefix = "bearer."

// asOffered returns a request as it is with the token in its Authorization header that
// it offers as a subprotocol (gateway-policies.md 6.3): pages cannot set a header for a
// WebSocket. What is in the header already counts, and nothing is offered outside of
// streams. The request itself stays as it is.
func (c *Chain) asOffered(r *http.Request) *http.Request {
	offers := r.Header["Sec-Websocket-Protocol"]
	if len(offers) == 0 || r.Header["Authorization"] != nil || c.env.Streams == nil || !c.env.Streams(r.Pattern) {
		return r
	}
	for _, offer := range offers {
		for one := range strings.SplitSeq(offer, ",") {
			token, ok := strings.CutPrefix(strings.TrimSpace(one), offeredPrefix)
			if !ok || token == "" {
				continue
			}
			with := r.WithContext(r.Context())
			with.Header = r.Header.Clone()
			with.Header["Authorization"] = []string{"Bearer " + token}
			return with
		}
	}
	return r
}
