package front

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// visit begins the way of a request through the limits, where there are any. The answer
// gets what its caller may know of them.
func (s *Server) visit(a *answer, r *http.Request, route *Route, name string) {
	if s.cfg.Limits != nil && (!route.Public || route.Own) {
		a.visit = s.cfg.Limits.Visit(name, StageOf(r), s.cfg.Links.Source(r), r.Header, route.Streams)
	}
}

// arrive asks the limits that do not look at credentials, and says whether another
// klamm process claims to have asked them already. Whether that is true is known only
// from its credentials.
func (s *Server) arrive(v *gate.Visit, r *http.Request) (passedOn bool, err error) {
	if v == nil {
		return false, nil
	}
	if s.cfg.PassedOn != nil && s.cfg.PassedOn(r) {
		return true, nil
	}
	return false, v.Arrive(r.Context())
}

// admit asks the limits of a caller, unless its route does by OwnCaller, and returns the caller as one whose calls they
// count. Who has only claimed to be another process counts as anybody.
func (s *Server) admit(ctx context.Context, v *gate.Visit, route *Route, who gate.Principal, passedOn bool, err error) (gate.Principal, error) {
	switch {
	case v == nil:
		return who, err
	case route.Own && err == nil:
		if passedOn {
			err = v.Arrive(ctx)
		}
		return who, err
	}
	if err != nil {
		if passedOn {
			if limited := v.Arrive(ctx); limited != nil {
				err = limited
			}
		}
		return who, err
	}
	return v.Enter(ctx, who, passedOn)
}

// overloaded tells who was turned away since a cluster is slow when to come again.
func overloaded(w http.ResponseWriter, err error) {
	var e *gate.Overloaded
	if errors.As(err, &e) {
		w.Header()["Retry-After"] = []string{strconv.Itoa(int(e.Wait / time.Second))}
	}
}

// later is 503 in every dialect for who has to come again since a directory does not answer.
func later(err error) error {
	if !errors.Is(err, gate.ErrGroups) {
		return err
	}
	return &Refusal{Kind: gate.Unavailable, Message: err.Error(), Header: http.Header{"Retry-After": {"5"}}}
}

// usedUp says whether an error is that of a quota.
func usedUp(err error) bool {
	var e *gate.Limited
	return errors.As(err, &e) && e.Quota
}

// LimitType returns the type and title by which problems of RFC 9457 tell that a call
// was too much (gateway-policies.md 3.5), and the limits that say so; empty for any
// other error.
func LimitType(err error) (uri, title string, violated []string) {
	var limited *gate.Limited
	var overload *gate.Overloaded
	switch {
	case errors.As(err, &limited):
		return "https://iana.org/assignments/http-problem-types#quota-exceeded", "Too Many Requests", []string{limited.Limit}
	case errors.As(err, &overload):
		return "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity", "Service Unavailable", nil
	}
	return "", "", nil
}

// limited puts what the caller may know of the limits into the header of an answer
// that is about to begin.
func (a *answer) limited(status int) {
	if a.visit != nil && a.status == 0 && status >= http.StatusOK {
		a.visit.Failed(a.failure, status)
		a.visit.Header(a.Header(), status)
	}
}
