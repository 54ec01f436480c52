package confluent3

import (
	"errors"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
)

// throttled is the answer to a call that is too much for a limit: with the original's
// codes where it has one for the unit, and for whether the limit is everybody's
// (gateway-policies.md 3.5).
func throttled(err error) *refusal {
	var e *gate.Limited
	if !errors.As(err, &e) {
		return errThrottled
	}
	code := 429
	if !e.Quota {
		switch e.Unit {
		case "requests":
			code = 429002
		case "bytes":
			code = 429004
		case "concurrency":
			code = 429006
		}
		if code != 429 && e.Shared {
			code--
		}
	}
	return &refusal{http.StatusTooManyRequests, code, err.Error()}
}

// overloaded is the answer to a call that the cluster cannot take now; nil for any
// other error.
func overloaded(err error) *refusal {
	var e *gate.Overloaded
	if errors.As(err, &e) {
		return &refusal{http.StatusServiceUnavailable, 50003, err.Error()}
	}
	return nil
}
