package gate

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/schema"
)

// UseSchemas gives the gate a schema registry for keys and values; nil, as without a
// call, is none. It has to be called before the gate is used.
func (g *Gate) UseSchemas(c *schema.Client) { g.schemas = c }

// Schemas returns the client of the schema registry; nil if there is none. What a
// record looks like is no secret from those who may read it, so there is nothing to
// check.
func (g *Gate) Schemas() *schema.Client { return g.schemas }

// Choose finds, and where need be registers, the schema that keys or values of a
// topic are to be written with; see schema.Client.Choose for the errors. Nothing is
// asked of the registry for callers who may not write to the topic.
func (g *Gate) Choose(ctx context.Context, who Principal, w schema.Choice) (*schema.Schema, schema.Ref, error) {
	w.Topic = who.real(w.Topic)
	if g.Guarded() {
		if err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: w.Topic}}); err != nil {
			return nil, schema.Ref{}, err
		}
	}
	return g.schemas.Choose(ctx, w)
}

// Naming returns the caller as one who is about to write with these schemas, for policies
// that ask for their subjects (klamm:SchemaSubject). A choice that cannot be made names
// none.
func (g *Gate) Naming(ctx context.Context, who Principal, choices ...schema.Choice) Principal {
	if !g.Guarded() {
		return who
	}
	who.subjects = nil
	for _, w := range choices {
		w.Topic = who.real(w.Topic)
		if subject, err := g.schemas.SubjectOf(ctx, w); err == nil && subject != "" && !slices.Contains(who.subjects, subject) {
			who.subjects = append(who.subjects, subject)
		}
	}
	return who
}

// Decoded returns a record whose registry-framed key and value have become JSON in
// the bare style, for people and streams to read. It is the record itself where
// nothing is decoded; what cannot be stays as it is. The record is never changed.
func (g *Gate) Decoded(ctx context.Context, r *kgo.Record) *kgo.Record {
	if !g.schemas.Frames(r.Key) && !g.schemas.Frames(r.Value) {
		return r
	}
	out, changed := *r, false
	for _, part := range []*[]byte{&out.Key, &out.Value} {
		if !g.schemas.Frames(*part) {
			continue
		}
		if got, err := g.schemas.Decode(ctx, nil, *part, schema.Bare); err == nil {
			*part, changed = got.JSON, true
		}
	}
	if !changed {
		return r
	}
	return &out
}
