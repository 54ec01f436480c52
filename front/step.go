package front

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// The steps of gateway-policies.md 0 behind routing.
const (
	stepAddress = iota + 7
	stepCredentials
	stepRoutePolicy
	stepQuota
	stepRequests
	stepParameters
	stepBody
	stepModel
	stepPolicy
	stepAmounts
	stepRecords
	stepRepeated
	stepOverload
)

// stepServed is that of a request which nothing but its own content and what it wants
// to do can stop.
const stepServed = stepParameters

// reach notes that a request is at a step, unless it was turned away before.
func (x *exchange) reach(step int, err error) {
	if x != nil && err == nil {
		x.step = step
	}
}

// refused counts a request that was turned away by klamm itself.
func (x *exchange) refused() {
	if x == nil || x.err == nil {
		return
	}
	if step := stepOf(x.step, x.err, x.status); step != 0 {
		x.server.cfg.Metrics.edge.rejects.WithLabelValues(strconv.Itoa(step), strings.ToLower(x.errorType())).Inc()
	}
}

// stepOf is the step that turned a request away which had reached one; 0: none of
// klamm's did, or it does not exist.
func stepOf(reached int, err error, status int) int {
	kind := gate.Classify(err)
	if reached < stepServed {
		if usedUp(err) {
			return stepQuota
		}
		if kind == gate.Internal || kind == gate.NotFound {
			return 0
		}
		return reached
	}
	var wrong *shape.Mismatch
	var invalid *gate.Invalidity
	var repeated *RepeatError
	var limited *gate.Limited
	var overload *gate.Overloaded
	switch {
	case errors.As(err, &wrong):
		switch wrong.Fault {
		case shape.Parameters:
			return stepParameters
		case shape.Body:
			return stepModel
		}
		return stepBody
	case status == http.StatusUnsupportedMediaType, errors.Is(err, ErrBodyTooLarge), errors.Is(err, ErrBodyTimeout), errors.Is(err, ErrBodyMalformed), errors.Is(err, ErrBusy):
		return stepBody
	case errors.As(err, &invalid):
		return stepRecords
	case usedUp(err):
		return stepQuota
	case errors.As(err, &limited):
		return stepAmounts
	case errors.As(err, &overload):
		return stepOverload
	case errors.As(err, &repeated):
		return stepRepeated
	case kind == gate.Unauthenticated:
		return stepCredentials
	case gate.DenialOf(err) != nil:
		return stepPolicy
	}
	return 0
}
