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

// A veil says which values a stream keeps back. A nil veil keeps none.
type veil struct {
	all   func() bool            // those of all records, as it is now
	one   func(*kgo.Record) bool // that of a dead letter, of a topic whose values are masked
	looks bool                   // the filter of the stream asks for values
}

// veilOf returns what a stream keeps back of a topic, for clients that show records to
// people and therefore ask for what the topics section masks to stay masked. A filter must
// not find out about such values either.
func (a *api) veilOf(mask string, who gate.Principal, topic string, f filter) (*veil, error) {
	switch mask {
	case "", "false":
		return nil, nil
	case "true":
	default:
		return nil, invalid("mask must be true or false")
	}
	v := &veil{
		all:   func() bool { return a.gate.Masked(who, topic) },
		one:   func(r *kgo.Record) bool { return a.gate.MaskedOrigin(who, r) != "" },
		looks: slices.ContainsFunc(f.patterns, func(p patternFilter) bool { return slices.Contains(p.pattern.Fields(), "value") }),
	}
	if v.looks && v.all() {
		return nil, &gate.Error{Kind: gate.Denied, Message: "the values of this topic are masked, so that a pattern cannot ask for them"}
	}
	return v, nil
}
