package gate

import (
	"context"
	"time"
)

// A demand is a call that wants units of a strict quota. It is decided in the
// transaction that counts it, so that no two processes can both give away what is
// left, and nothing that has passed is forgotten by a process that is killed. Calls
// that come while a transaction is on its way share the next one.
type demand struct {
	n        int64
	answered chan struct{} // closed when it is decided

	// Guarded by plans.mu.
	decided, granted, abandoned bool
	period                      time.Time // in which it was decided
}

// demand uses n units of a strict quota once they are counted, in which period it
// says.
func (p *plans) demand(ctx context.Context, c *counter, n int64) (time.Time, error) {
	p.mu.Lock()
	p.roll(c)
	if c.total()+n > c.limit() { // no need to ask
		defer p.mu.Unlock()
		return time.Time{}, c.exceeded(p.now())
	}
	d := &demand{n: n, answered: make(chan struct{})}
	c.demands = append(c.demands, d)
	p.mu.Unlock()
	p.ex.kick()
	t := time.NewTimer(exchangePatience)
	defer t.Stop()
	var err error = &Error{Unavailable, "the counters of usage plans cannot be reached now; try again"}
	select {
	case <-d.answered:
	case <-p.ex.gone:
	case <-t.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !d.decided:
		d.abandoned = true
		return time.Time{}, err
	case !d.granted:
		return time.Time{}, c.exceeded(p.now())
	}
	return d.period, nil
}

// grant finds those demands that pass, in their order, and counts them.
func (u usage) grant(q *Quota, demands []*demand, passing map[*demand]bool) usage {
	for _, d := range demands {
		if u.Used+d.n <= q.limit(u.Later) {
			u.Used += d.n
			passing[d] = true
		}
	}
	return u
}

// decide tells the demands of a delta what has become of them, for whoever has the
// lock. Who has gone away meanwhile gets back what was counted.
func (d *delta) decide(granted map[*demand]bool) {
	for _, one := range d.demands {
		one.decided, one.granted, one.period = true, granted[one], d.period
		close(one.answered)
		if one.abandoned && one.granted && d.counter.period.Equal(d.period) {
			d.waiting -= one.n
		}
	}
}

// postpone keeps demands that were not counted, or perhaps not, for the next exchange.
func (p *plans) postpone(deltas []delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range deltas {
		d := &deltas[i]
		var still []*demand
		for _, one := range d.demands {
			if !one.abandoned {
				still = append(still, one)
			}
		}
		d.counter.demands = append(still, d.counter.demands...)
	}
}

// freshen reads what other processes have counted of a strict quota.
func (p *plans) freshen(ctx context.Context, c *counter) error {
	if err := p.ex.table.Load().Sync(ctx); err != nil {
		return &Error{Unavailable, "the counters of usage plans cannot be reached now; try again"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roll(c)
	p.read(c)
	return nil
}
