package gate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/klamm-gateway/klamm/kafka"
)

// InvalidateCache is the action of having an answer made anew that is kept
// (gateway-policies.md 5.4).
const InvalidateCache Action = "execute-api:InvalidateCache"

// MayInvalidate asks whether a caller may have the answer of a route made anew. The
// caller is one that Enter has returned.
func (g *Gate) MayInvalidate(ctx context.Context, who Principal, method, path string) error {
	if !g.Guarded() {
		return nil
	}
	return g.check(ctx, &Call{Principal: who, Action: InvalidateCache, Resource: Resource{Kind: "route", Name: method + path}})
}

// A View stands for everything that decides what a caller is shown of topics and
// settings: callers of the same view may be given the same answer. Views are compared
// with ==. One of before a change of policies is never that of after it.
type View struct {
	law    *law
	caller [sha256.Size]byte
}

// unseen are headers that change from request to request, or show who is calling,
// which the principal says: no view depends on them.
var unseen = []string{
	"Authorization", "Cache-Control", "Connection", "Content-Length", "Date", "If-Modified-Since", "If-None-Match", "Pragma", "Traceparent", "Tracestate",
	"X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Security-Token", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Api-Key", "X-Request-Id",
}

// View returns the view of a caller whose request has these headers. Where everybody
// is shown the same, there is one view. Callers whom Kafka itself asks for credentials
// have none: only Kafka knows whether these are right.
func (g *Gate) View(who Principal, header http.Header) (v View, ok bool) {
	if g.identities != nil && g.identities.of(&who) == kafka.IdentityPassthrough {
		return v, false
	}
	if who.GroupsFailed { // who sees more in a moment
		return v, false
	}
	for _, p := range g.policies {
		if a, ok := p.(*Authority); ok {
			v.law = a.law.Load()
		}
	}
	if len(g.policies) == 0 && g.gateway(&who) {
		v.caller = sha256.Sum256([]byte(who.Cluster + "/" + who.TopicPrefix))
		return v, true
	}
	names := make([]string, 0, len(header))
	for name := range header {
		if !slices.Contains(unseen, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	headers := make([][]string, len(names))
	for i, name := range names {
		headers[i] = append([]string{name}, header[name]...)
	}
	// Of texts, times, and claims that came from JSON: it always can be written.
	text, _ := json.Marshal(struct {
		Who     Principal
		As      string
		Headers [][]string
	}{who, who.identity, headers})
	v.caller = sha256.Sum256(text)
	return v, true
}
