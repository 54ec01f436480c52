package front

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/gate"
)

// An Access is what callers of one route have to show (gateway-policies.md 1.1 and
// 1.4.2), before policies are asked.
type Access struct {
	// Schemes are the ways in that count on the route, in this order: the Scheme
	// constants of gate. None stands for all that there are.
	Schemes []string
	// Scopes are those of which a token must have one, or all with AllScopes. Who has
	// come in by another way that counts is not asked for any.
	Scopes    []string
	AllScopes bool
}

// AccessOf returns what callers of the route of a request have to show; nil: the same
// as everywhere.
func AccessOf(r *http.Request) *Access {
	if at := stagedOf(r); at != nil && at.own != nil {
		return at.own.Access
	}
	return nil
}

// Counts says whether a way in counts on the route; on a nil Access each does.
func (a *Access) Counts(scheme string) bool {
	return a == nil || len(a.Schemes) == 0 || slices.Contains(a.Schemes, scheme)
}

// anonymous says whether callers without credentials are let in; elsewhere says the same
// of routes that say nothing about it.
func (a *Access) anonymous(elsewhere bool) bool {
	if a == nil || len(a.Schemes) == 0 {
		return elsewhere
	}
	return slices.Contains(a.Schemes, gate.SchemeAnonymous)
}

// insufficientScope is what a caller is told whose token may not do it.
const insufficientScope = "insufficient scope"

// Scoped returns the refusal of a caller whose token does not have the scopes that the
// route of a request asks for; nil: there is nothing to refuse.
func Scoped(r *http.Request, who gate.Principal) error {
	a := AccessOf(r)
	if a == nil || len(a.Scopes) == 0 || !who.ByToken() {
		return nil
	}
	has := func(scope string) bool { return slices.Contains(who.Scopes, scope) }
	lacks := func(scope string) bool { return !has(scope) }
	enough, want := slices.ContainsFunc(a.Scopes, has), "one of the scopes "
	if a.AllScopes {
		enough, want = !slices.ContainsFunc(a.Scopes, lacks), "all of the scopes "
	}
	if enough {
		return nil
	}
	return &Refusal{
		Kind: gate.Denied, Message: insufficientScope + ": this route asks for " + want + strings.Join(a.Scopes, ", "),
		Header: http.Header{"Www-Authenticate": {`Bearer realm="klamm", error="insufficient_scope", error_description="` + insufficientScope + `"`}},
	}
}

// closed returns the route of a request as one that is not for everybody, if the
// configuration names it and says what its callers have to show. A {proxy+} does not
// name it: health checks do not need credentials because everything else does.
func closed(r *http.Request, route *Route) *Route {
	at := stagedOf(r)
	if !route.Public || at == nil || at.own == nil || at.own.Access == nil || at.own.Pattern.Greedy() {
		return route
	}
	own := *route
	own.Public = false
	return &own
}

// asPlaced returns a caller as one whose calls are made as the stage and the route of the
// request say (gateway-policies.md 1.9).
func asPlaced(r *http.Request, who gate.Principal) gate.Principal {
	at := stagedOf(r)
	if at == nil {
		return who
	}
	identity := ""
	if at.stage != nil {
		identity = at.Identity
	}
	if at.own != nil {
		identity = cmp.Or(at.own.Identity, identity)
	}
	if identity != "" {
		who = who.As(identity)
	}
	return at.stamped(who)
}

// stamped returns a caller as one whose records are stamped as the stage and the route say.
func (at *staged) stamped(who gate.Principal) gate.Principal {
	switch {
	case at.own != nil && at.own.Stamp != nil:
		return who.Stamped(*at.own.Stamp)
	case at.stage != nil && at.StampPrincipal != nil:
		return who.Stamped(*at.StampPrincipal)
	}
	return who
}
