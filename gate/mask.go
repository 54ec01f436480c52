package gate

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Masked says whether the values of a topic are for nobody's eyes unless asked for:
// an entry of the topics section that matches it has mask.
func (g *Gate) Masked(who Principal, topic string) bool {
	v := g.validation.Load()
	return v != nil && v.masks(who.real(topic))
}

// originHeader is where a dead letter names the topic that its record was read from
// (interface.md 4).
const originHeader = "klamm.topic"

// MaskedOrigin returns the masked topic that a record comes from which lies elsewhere as a
// dead letter; empty: it is none, or comes from a topic that is not masked. Its value is
// for nobody's eyes either.
func (g *Gate) MaskedOrigin(who Principal, r *kgo.Record) string {
	v := g.validation.Load()
	if v == nil {
		return ""
	}
	for _, h := range r.Headers {
		if h.Key == originHeader && v.masks(string(h.Value)) {
			return who.called(string(h.Value))
		}
	}
	return ""
}

// Unmask asks whether a caller may be shown the values of a masked topic. That needs
// no other right than reading them does, but is in the audit log each time.
func (g *Gate) Unmask(ctx context.Context, who Principal, topic string) error {
	c := &Call{Principal: who, Action: ReadData, Resource: Resource{Kind: "topic", Name: who.real(topic)}}
	if g.Guarded() {
		if err := g.check(ctx, c); err != nil {
			return err
		}
	}
	if g.audit != nil {
		g.audit.noted(c, "shown unmasked")
	}
	return nil
}

// masks says whether an entry masks a topic. One of several that match is enough.
func (v *Validation) masks(topic string) bool {
	for _, i := range v.index.find(topic, func(i int) string { return v.rules[i].match }) {
		if v.rules[i].mask {
			return true
		}
	}
	return false
}

// noted notes something that a caller did and was allowed to, with what there is to
// say of it.
func (a *Audit) noted(c *Call, reason string) {
	line := a.about(c)
	line.Decision, line.Reason = "allow", auditText(reason)
	line.Policy, line.Statement, line.Sid = c.decision.Policy, c.decision.Statement, c.decision.Sid
	a.put(line)
}
