package throttle

import (
	"context"
	"time"
)

// mostHeld bounds the calls that wait at once.
const mostHeld = 1000

// waiting is the patience of one call. It is spent on whatever rules make it wait.
type waiting struct {
	set   *Set
	begun time.Time // zero: it has not waited yet
	held  bool      // it counts among those that wait
}

// wait waits until a call that was refused may ask again. False means that its
// patience is over, that too many wait, or that nobody is there any more.
func (w *waiting) wait(ctx context.Context, refusal *Refusal) bool {
	if refusal.patience == 0 {
		return false
	}
	if w.begun.IsZero() {
		w.begun = time.Now()
		if w.held = w.set.held.Add(1) <= mostHeld; !w.held {
			w.set.held.Add(-1)
		}
		if w.held {
			refusal.rule.count.delayed.Add(1)
		}
	}
	pause := refusal.Wait
	if refusal.Unit >= Concurrency {
		pause = 5 * time.Millisecond
	}
	if !w.held || pause > refusal.patience-time.Since(w.begun) {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (w *waiting) end() {
	if w.held {
		w.set.held.Add(-1)
	}
}

// Stats are a set's counters since it was made.
type Stats struct {
	Buckets int   // in use, or not yet forgotten
	Evicted int64 // buckets that were dropped before they were full again
	Held    int64 // calls that wait now
	Rules   []RuleStats
}

// RuleStats are those of one rule.
type RuleStats struct {
	Name                       string
	Rejected, Delayed, WouldBe int64 // WouldBe counts what action: log let pass
}

// Stats returns what the set has counted.
func (s *Set) Stats() Stats {
	stats := Stats{Evicted: s.evicted.Load(), Held: s.held.Load()}
	for i := range s.buckets.shard {
		h := &s.buckets.shard[i]
		h.mu.Lock()
		stats.Buckets += len(h.buckets)
		h.mu.Unlock()
	}
	for _, r := range s.rules {
		stats.Rules = append(stats.Rules, RuleStats{r.spec.Name, r.count.rejected.Load(), r.count.delayed.Load(), r.count.would.Load()})
	}
	return stats
}
