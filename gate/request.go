package gate

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"
)

// DefaultStage is the stage of requests where no stages are configured.
const DefaultStage = "$default"

// A Request is what policies may know of the HTTP request that a call is made for
// (gateway-policies.md 2.4). It is shared by all calls of the request, and not
// changed.
type Request struct {
	// ID is the request's own, for the audit log.
	ID string
	// Method and Path name the route that was called. The path is decoded, and has no
	// slash at its end. Pattern is the route's, as klamm knows it.
	Method, Path, Pattern string
	// Action is what calling the route is; empty: Invoke.
	Action Action
	// Stage is the stage that the path was in; empty: DefaultStage.
	Stage string
	// Header and Query are what the client sent; the keys of Header are canonical.
	Header, Query map[string][]string
	// Bytes is the size of the body as it was announced; -1: it was not.
	Bytes int64
	// Measured is the size of the body once it is there as a whole, inflated, and negative
	// until then; nil: nobody measures. It counts instead of Bytes.
	Measured *atomic.Int64
	// Time is when the request came.
	Time time.Time
	// Trail gets what the request does, for logs and traces; nil: nobody wants to
	// know.
	Trail *Trail
}

func (r *Request) stage() string { return cmp.Or(r.Stage, DefaultStage) }

// size is the size of the body, as far as it is known; negative: not at all.
func (r *Request) size() int64 {
	if r.Measured != nil {
		if n := r.Measured.Load(); n >= 0 {
			return n
		}
	}
	return r.Bytes
}

// RouteName is the last part of the ARN of the route that is called: API/STAGE/METHOD/PATH.
func (r *Request) RouteName() string { return routeName(r.stage(), r.Method, r.Path) }

// Within returns the principal as one whose calls are made for a request.
func (p Principal) Within(r *Request) Principal {
	p.request = r
	return p
}

// Guarded says whether anything depends on the requests that Enter is told of:
// there are policies, or an audit log that is written somewhere.
func (g *Gate) Guarded() bool {
	return len(g.policies) > 0 || g.audit != nil && len(g.audit.queues) > 0
}

// Enter asks whether a caller may call the route of a request, and returns the
// caller as one whose calls are made for it. Every request has to come in by
// Enter, unless its route is for everybody.
func (g *Gate) Enter(ctx context.Context, who Principal, r *Request) (Principal, error) {
	who = who.Within(r)
	return who, g.checks(ctx, &who, cmp.Or(r.Action, Invoke), Resource{Kind: "route", Name: r.Method + r.Path}, nil)
}

// SignedIn notes in the audit log that somebody has signed in to the web console.
func (g *Gate) SignedIn(who Principal) {
	if g.audit != nil {
		g.audit.allowed(&Call{Principal: who, Action: "klamm:SignIn", Resource: Resource{Kind: "cluster"}})
	}
}

// Refused notes in the audit log that a caller was not let in by a route, and why,
// before policies were asked.
func (g *Gate) Refused(who Principal, r *Request, reason string) {
	if g.audit != nil {
		g.audit.refused(&Call{Principal: who.Within(r), Action: Invoke, Resource: Resource{Kind: "route", Name: r.Method + r.Path}}, &Error{Denied, reason})
	}
}

// Issued notes in the audit log that a caller was given temporary credentials, by the id
// of their access key.
func (g *Gate) Issued(who Principal, id string) {
	if g.audit != nil {
		g.audit.allowed(&Call{Principal: who, Action: "klamm:IssueCredentials", Resource: Resource{Kind: "key", Name: id}})
	}
}

// TurnedAway notes in the audit log that nobody knows who made a request, and why
// its credentials were not taken. The reason holds nothing of them.
func (g *Gate) TurnedAway(r *Request, source, reason string) {
	if g.audit != nil {
		g.audit.turnedAway(r, source, reason)
	}
}
