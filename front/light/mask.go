package light

import (
	"bytes"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// hidden is the format of records whose values are not for eyes: without the value, and
// with a member that says so where there is one.
var hidden = format{ownForm, func(b []byte, r *kgo.Record) []byte {
	shown := *r
	shown.Value = nil
	b = front.AppendRead(b, &shown)
	if r.Value != nil {
		b = append(bytes.TrimSuffix(b, []byte("}")), `,"masked":true}`...)
	}
	return b
}}

// hides returns what says whether a stream keeps the values of a topic back, for clients
// that show records to people and therefore ask for what the topics section masks to stay
// masked. A filter must not find out about such values either.
func (a *api) hides(mask string, who gate.Principal, topic string, f filter) (func() bool, error) {
	switch mask {
	case "", "false":
		return nil, nil
	case "true":
	default:
		return nil, invalid("mask must be true or false")
	}
	hides := func() bool { return a.gate.Masked(who, topic) }
	looks := slices.ContainsFunc(f.patterns, func(p patternFilter) bool { return slices.Contains(p.pattern.Fields(), "value") })
	if looks && hides() {
		return nil, &gate.Error{Kind: gate.Denied, Message: "the values of this topic are masked, so that a pattern cannot ask for them"}
	}
	return hides, nil
}
