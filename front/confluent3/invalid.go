package confluent3

import (
	"errors"

	"github.com/klamm-gateway/klamm/gate"
)

// invalidRefusal is the answer to a record that breaks the rules of its topic
// (gateway-policies.md 4.5); nil for any other error.
func invalidRefusal(err error) *refusal {
	var invalid *gate.Invalidity
	if !errors.As(err, &invalid) {
		return nil
	}
	return payload(invalid.Text(func(v gate.Violation) string {
		switch v.Part {
		case "header":
			return "header " + v.Name
		}
		return "#/" + v.Part + "/data" + v.Pointer[1:]
	}))
}
