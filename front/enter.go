package front

import (
	"errors"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// longestRoute bounds the name of a route in policies, in bytes
// (gateway-policies.md 1.8).
const longestRoute = 1600

// enter asks the gate whether a caller may call a route, and returns the caller as
// one whose calls are made for this request. The error is the authenticator's, which
// the gate only keeps in mind.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, route *Route, who gate.Principal, err error) (gate.Principal, error) {
	g := s.cfg.Gate
	if g == nil || !g.Guarded() || route.Public {
		if trail := trailOf(w); trail != nil {
			who = who.Within(&gate.Request{ID: idOf(w, r), Method: r.Method, Path: calledPath(r), Pattern: route.Pattern, Time: time.Now(), Stage: StageOf(r), Trail: trail})
		}
		return who, err
	}
	q := RequestOf(r)
	q.ID, q.Pattern, q.Action, q.Trail = idOf(w, r), route.Pattern, route.Action, trailOf(w)
	if a, ok := w.(*answer); ok && a.body != nil {
		q.Measured = &a.size
	}
	if err != nil {
		var refused *Refusal
		if gate.Classify(err) == gate.Unauthenticated || errors.As(err, &refused) {
			if who.Name != "" { // it is known who is calling; that is not enough
				g.Refused(who, q, reasonOf(err))
			} else {
				g.TurnedAway(q, s.sourceOf(r), reasonOf(err))
			}
		}
		return who, err
	}
	if len(r.URL.Path) > longestRoute-100 || len(calledPath(r)) > longestRoute-100 {
		return who, &RepeatError{http.StatusRequestURITooLong, "the path is too long for policies"}
	}
	who, err = g.Enter(r.Context(), who, q)
	if d := gate.DenialOf(err); d != nil && len(who.Policy) > 0 {
		message := "User is not authorized to access this resource"
		if d.Explicit() {
			message += " with an explicit deny"
		}
		return who, RefuseAWS(gate.Denied, http.StatusForbidden, "AccessDeniedException", "Message", &message)
	}
	return who, err
}

// RequestOf returns what policies may know of a request.
func RequestOf(r *http.Request) *gate.Request {
	return &gate.Request{Method: r.Method, Path: calledPath(r), Pattern: r.Pattern, Header: r.Header, Query: queryOf(r), Bytes: r.ContentLength, Time: time.Now(), Stage: StageOf(r)}
}

// queryOf is the query of a request; nil if it has none.
func queryOf(r *http.Request) map[string][]string {
	if r.URL.RawQuery == "" {
		return nil
	}
	return r.URL.Query()
}

func (s *Server) sourceOf(r *http.Request) string {
	if addr := s.cfg.Links.Source(r); addr.IsValid() {
		return addr.String()
	}
	return ""
}

// reasonOf says why credentials were not taken. The messages that AWS has for that
// may repeat what came with the request, their names do not.
func reasonOf(err error) string {
	var e *Refusal
	if errors.As(err, &e) {
		if name := e.Header.Get("X-Amzn-Errortype"); name != "" {
			return name
		}
		return e.Message
	}
	return err.Error()
}

// idOf is the request's id, which its answer has.
func idOf(w http.ResponseWriter, _ *http.Request) string { return w.Header().Get("X-Request-Id") }
