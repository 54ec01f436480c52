package auth

import (
	"net/http"
	"testing"

	"github.com/klamm-gateway/klamm/waittest"
)

// TestTokensOfferedAsSubprotocols checks that a WebSocket may bring its token among its
// subprotocols, as pages have to, and nothing else may.
func TestTokensOfferedAsSubprotocols(t *testing.T) {
	p := newIDP(t)
	c := newTestChain(t, Config{JWT: []Issuer{{Issuer: p.URL + "/t1/v2.0", Audiences: []string{"klamm"}}}}, func(e *Env) {
		e.Streams = func(pattern string) bool { return pattern == "GET /ws" }
	})
	good := p.token("r1", rsa1, nil)
	waittest.Until(t, "the keys are there", func() bool { _, err := enter(c, good); return err == nil })
	bad := p.token("r1", rsa2, nil)
	for _, test := range []struct {
		name, pattern string
		header        http.Header
		want          string // the error; "": the caller is let in
	}{
		{"alone", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"bearer." + good}}, ""},
		{"among others", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"klamm.v1.json,  bearer." + good + " , klamm.v1.raw"}}, ""},
		{"in a field of its own", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"klamm.v1.json", "bearer." + good}}, ""},
		{"that is not good", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"bearer." + bad}}, tokenSignature},
		{"beside a header that counts", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"bearer." + good}, "Authorization": {"Bearer " + bad}}, tokenSignature},
		{"without a token", "GET /ws", http.Header{"Sec-Websocket-Protocol": {"bearer."}}, textOf(refuseToken(""))},
		{"where there is no stream", "GET /topics", http.Header{"Sec-Websocket-Protocol": {"bearer." + good}}, textOf(refuseToken(""))},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{Header: test.header, URL: mustURL("/ws"), Pattern: test.pattern}
			had := r.Header.Clone()
			who, err := c.Authenticate(r)
			if test.want == "" && (err != nil || who.Name != "User:carol") || test.want != "" && textOf(err) != test.want {
				t.Errorf("got %q, %v; want %q", who.Name, err, test.want)
			}
			if len(r.Header) != len(had) {
				t.Errorf("the request has changed: %v", r.Header)
			}
		})
	}
}
