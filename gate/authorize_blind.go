package gate

import "context"

// blindly decides a call while what is kept in Kafka is not known. What the file
// denies outright stays denied whatever else there is, so who is denied it learns
// that. Nothing is allowed: a policy that nobody can read might deny it
// (gateway-policies.md 0).
func (a *Authority) blindly(ctx context.Context, c *Call) error {
	q, err := a.ask(ctx, a.alone.Load(), c)
	if err != nil {
		return errBlind
	}
	// Callers may write to Kafka's own topics by a rule, which may be one of those.
	d := a.judge(q)
	if d == nil || !d.Explicit() || d.Decision.Policy == builtIn {
		return errBlind
	}
	return a.refuse(q, d)
}

// refuse counts a denial, and gives it the form in which the caller sees it.
func (a *Authority) refuse(q *question, d *Denial) error {
	a.denials.WithLabelValues(string(d.Action)).Inc()
	if q.hides(d) {
		return &hiding{d}
	}
	return d
}
