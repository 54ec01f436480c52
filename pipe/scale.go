package pipe

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/table"
)

// This file is the scaling law of pipes.md 11. A consumer of a pipe is a klamm
// process that reads partitions for it: a member of its group. Every process that
// has something to do for a pipe looks once per interval at the lag of all
// partitions and at what its own target answers, and applies the same law to it.
// What it finds is written into klamm.pipes, where the first one wins and all see
// it. docs/decisions/0002-scaling.md has the reasons.

// A scale is what all processes know about the consumers of a pipe. The zero value
// is that of a pipe that nobody has looked at.
type scale struct {
	// Wanted is how many consumers the law asks for.
	Wanted int `json:"wanted"`
	// Limited says that no more than Wanted may read, since the target is
	// overloaded. Otherwise every process reads that is there.
	Limited bool      `json:"limited,omitempty"`
	At      time.Time `json:"at"`
}

// limit is how many members may have partitions; 0: all.
func (s scale) limit() int {
	if s.Limited {
		return max(s.Wanted, 1)
	}
	return 0
}

// A sighting is what one look at a pipe has found.
type sighting struct {
	lag        int64 // of all partitions
	consumers  int   // members that have partitions
	partitions int
	overloaded bool // more than a tenth of the answers were 429 or 5xx
}

// patience is how many looks in a row must find growth, or calm, to count.
const patience = 3

// A law decides how many consumers a pipe is to have. It remembers what it has
// seen, and belongs to one goroutine.
type law struct {
	high int64 // a lag beyond this one is too much

	seen          bool
	last          int64 // the lag of the look before
	growing, calm int   // looks in a row
}

// forget begins anew, because the number of consumers has changed or somebody else
// has looked.
func (l *law) forget() { *l = law{high: l.high} }

// next says what a pipe is to have after what was seen; changed is false if it
// stays as it is. Overload comes before lag: more consumers would not help.
func (l *law) next(now scale, s sighting) (then scale, changed bool) {
	grown := l.seen && s.lag > l.last
	l.seen, l.last = true, s.lag
	if l.growing++; !grown {
		l.growing = 0
	}
	high := s.lag > l.high || l.growing >= patience
	if l.calm++; high || s.overloaded {
		l.calm = 0
	}
	then = now
	then.Wanted = max(then.Wanted, 1)
	switch {
	case s.overloaded:
		// Also where nothing can be taken away any more: the others are to see
		// that there is no calm.
		return scale{Wanted: max(s.consumers/2, 1), Limited: true}, true
	case high:
		then.Wanted = min(max(then.Wanted, 2*s.consumers), max(s.partitions, 1))
	case l.calm >= patience:
		then.Wanted, then.Limited = max(then.Wanted-1, 1), false
	}
	return then, then.Wanted != max(now.Wanted, 1) || then.Limited != now.Limited
}

const (
	// scaleEvery is the longest pause between two searches for pipes that are due.
	scaleEvery = time.Second
	// scalers bounds how many pipes are looked at at once.
	scalers = 4
)

// scale looks at each pipe that runs once per its interval, until ctx ends.
func (r *Runner) scale(ctx context.Context) {
	tick := time.NewTicker(min(scaleEvery, r.shortestInterval()))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var looking sync.WaitGroup
		free := make(chan struct{}, scalers)
		for _, f := range r.due(time.Now()) {
			free <- struct{}{}
			looking.Go(func() {
				defer func() { <-free }()
				if err := r.look(ctx, f); err != nil && ctx.Err() == nil {
					f.log.Warn("it is not known how many consumers the pipe needs", "err", err)
				}
			})
		}
		looking.Wait()
	}
}

// due returns the running pipes that are to be looked at, and says when the next
// time is. The first time comes at random within the interval, so that a thousand
// pipes, or ten processes, are not all looked at together.
func (r *Runner) due(now time.Time) (due []*flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.flows {
		interval := f.def.Scale.Interval
		switch {
		case f.lookAt.IsZero():
			f.lookAt = now.Add(interval/2 + rand.N(interval/2+1))
		case !now.Before(f.lookAt):
			f.lookAt = now.Add(interval)
			due = append(due, f)
		}
	}
	return due
}

// look applies the law to a pipe once. Where there is nothing to do and nothing to
// take back, nobody is asked: an idle pipe costs nothing.
func (r *Runner) look(ctx context.Context, f *flow) error {
	busy, overloaded := f.sinceLastLook()
	now := r.memory.scale(f.def.Name)
	if since := time.Since(now.At); since >= 0 && since < f.def.Scale.Interval*9/10 {
		f.law.forget()
		return nil
	}
	if !busy && !overloaded && now.Wanted <= 1 && !now.Limited {
		f.law.forget()
		return nil
	}
	s, err := r.sight(ctx, f, overloaded)
	if err != nil {
		return err
	}
	if s.consumers == 0 {
		return nil // partitions are just being shared anew
	}
	then, changed := f.law.next(now, s)
	if !changed {
		return nil
	}
	f.law.forget()
	won, err := r.memory.rescale(ctx, f.def.Name, now, then)
	if won && (then.Wanted != now.Wanted || then.Limited != now.Limited) {
		f.log.Info("the pipe wants another number of consumers", "was", max(now.Wanted, 1), "wanted", then.Wanted, "limited", then.Limited,
			"lag", s.lag, "consumers", s.consumers, "partitions", s.partitions, "overloaded", s.overloaded)
	}
	return err
}

// sight asks the cluster how far a pipe is, and who reads for it.
func (r *Runner) sight(ctx context.Context, f *flow, overloaded bool) (sighting, error) {
	positions, err := r.positions(ctx, f.def)
	if err != nil {
		return sighting{}, err
	}
	source, err := r.source(f.def)
	if err != nil {
		return sighting{}, err
	}
	group, err := source.Group(ctx, f.def.Group)
	if err != nil {
		return sighting{}, err
	}
	s := sighting{partitions: len(positions), overloaded: overloaded, consumers: consumers(group)}
	for _, p := range positions {
		s.lag += p.lag()
	}
	return s, nil
}

// sinceLastLook says whether the flow has had records to deliver, and whether the
// target is overloaded, as of the last call.
func (f *flow) sinceLastLook() (busy, overloaded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &f.governor
	overloaded = g.overloadedAnswers*10 > g.answers
	busy = f.read || f.records > 0
	f.read = false
	g.answers, g.overloadedAnswers = 0, 0
	return busy, overloaded
}

// follow has the group share its partitions anew where the limit is another one.
func (f *flow) follow(s scale) {
	f.metrics.wanted.Set(float64(max(s.Wanted, 1)))
	if limit := s.limit(); limit != f.limit {
		f.limit = limit
		f.consumer.Rebalance()
	}
}

func scaleKey(pipe string) string { return "scale/" + pipe }

// scale returns what is known about the consumers of a pipe.
func (m *memory) scale(pipe string) (s scale) {
	if t := m.opened(); t != nil {
		if e, ok := t.Get(scaleKey(pipe)); ok {
			_ = json.Unmarshal(e.Value, &s) // what cannot be read is as if it were not there
		}
	}
	return s
}

// rescale notes another number of consumers. It is false if somebody else was
// faster.
func (m *memory) rescale(ctx context.Context, pipe string, was, then scale) (bool, error) {
	t, err := m.open(ctx)
	if err != nil {
		return false, err
	}
	then.At = time.Now().UTC().Truncate(time.Millisecond)
	value, err := json.Marshal(then)
	if err != nil {
		return false, err
	}
	won := false
	err = t.Update(ctx, func(tx *table.Tx) error {
		var have scale
		if e, ok := tx.Get(scaleKey(pipe)); ok {
			_ = json.Unmarshal(e.Value, &have)
		}
		if won = have.At.Equal(was.At); won {
			tx.Put(scaleKey(pipe), value)
		}
		return nil
	})
	if err != nil {
		return false, err // the table may still be asking
	}
	return won, nil
}
