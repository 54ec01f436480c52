package confluent2

import (
	"errors"
	"strconv"

	"github.com/klamm-gateway/klamm/gate"
)

// wholeValue is where a violation is in a body that is one value. wholeValue and
// inEnvelope say it of all parts.
func wholeValue(v gate.Violation) string {
	switch v.Part {
	case "key":
		return "key " + v.Pointer
	case "header":
		return "header " + v.Name
	}
	return v.Pointer
}

// inEnvelope is where a violation is in an envelope of records.
func inEnvelope(v gate.Violation) string { return v.In("#/records/" + strconv.Itoa(v.Record)) }

// invalidRefusal is the answer to records that break the rules of their topic
// (gateway-policies.md 4.5); nil for any other error.
func invalidRefusal(err error, place func(gate.Violation) string) *refusal {
	var invalid *gate.Invalidity
	if !errors.As(err, &invalid) {
		return nil
	}
	return &refusal{status: unprocessable, code: 42206, message: "Payload error. " + invalid.Text(place)}
}

// refusedEnvelope is the error of an envelope that was not written.
func refusedEnvelope(err error) error {
	if e := invalidRefusal(err, inEnvelope); e != nil {
		return e
	}
	return err
}
