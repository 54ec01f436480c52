package pipe

import (
	"container/heap"
	"fmt"
	"time"
)

// A governor decides how many attempts a target gets at once. It knows two
// things, each in a few words of memory:
//
//   - how many the target stands (limit): while more than a tenth of the answers
//     say that it is overloaded, fewer and fewer; otherwise more, up to InFlight.
//   - whether it is there at all (open): when openAfter batches have failed for
//     the first time and none has succeeded meanwhile, only single probes are
//     made, until one succeeds.
//
// A record that the target cannot stand fails again and again, but it is only
// one batch: it neither opens the governor nor holds back other keys.
//
// The flow's mutex guards it.
type governor struct {
	most  int // InFlight
	limit float64

	windowEnd       time.Time
	good, overloads int // answers since the window began

	answers, overloadedAnswers int // since the last look (scale.go)

	failures  int       // attempts that have failed since the last one that succeeded
	failingAt time.Time // when the first of them was

	failing int // batches that have failed for the first time since the last success
	open    bool
	probing bool
	probeAt time.Time
	pause   time.Duration // between probes
	retried bool          // the last probe was no batch's first attempt
}

const (
	// openAfter is how many batches must fail for the first time, with no success
	// between them, for a target to count as down.
	openAfter = 5
	// governWindow is how long answers are counted before the limit changes.
	governWindow = 100 * time.Millisecond
	// leastLimit is the lowest limit: one slow attempt never holds up all.
	leastLimit = 2
	probeFirst = 250 * time.Millisecond
	probeLast  = 5 * time.Second
)

func newGovernor(inFlight int) governor {
	return governor{most: inFlight, limit: float64(inFlight)}
}

// allowed is how many attempts may be under way.
func (g *governor) allowed() int { return min(g.most, max(int(g.limit), leastLimit)) }

// A sign is what an attempt says about its target.
type sign int

const (
	well       sign = iota // it took what it was given
	refused                // it is there, and does not want this batch
	overloaded             // it answered 429 or 5xx
	silent                 // it did not answer
)

// signOf reads a failed attempt.
func signOf(status int, final bool) sign {
	switch {
	case status == 429 || status >= 500:
		return overloaded
	case final || status != 0:
		return refused
	default:
		return silent
	}
}

// learn takes note of an attempt that has ended, and says whether the target has
// just gone down or come back.
func (g *governor) learn(b *batch, s sign, now time.Time) (changed bool) {
	g.adapt(s, now)
	if g.failures++; s == well {
		g.failures = 0
	} else if g.failures == 1 {
		g.failingAt = now
	}
	probe := b.probe
	b.probe = false
	if probe {
		g.probing = false
	}
	if s == well || s == refused {
		g.failing = 0
		if !g.open {
			return false
		}
		g.open, g.pause = false, 0
		g.limit = min(g.limit, 4) // and up again from there
		return true
	}
	// A batch that has failed before says nothing new: others may have succeeded
	// since, and it may be to blame itself.
	if !b.failed {
		b.failed = true
		g.failing++
	}
	switch {
	case g.open && probe:
		g.pause = min(2*g.pause, probeLast)
		g.probeAt = now.Add(g.pause)
	case !g.open && g.failing >= openAfter:
		g.open, g.pause = true, probeFirst
		g.probeAt = now.Add(g.pause)
		return true
	}
	return false
}

// adapt moves the limit at the end of each window.
func (g *governor) adapt(s sign, now time.Time) {
	g.answers++
	if s == overloaded {
		g.overloadedAnswers++
		g.overloads++
	} else {
		g.good++
	}
	if now.Before(g.windowEnd) {
		return
	}
	if g.overloads*10 > g.good+g.overloads {
		g.limit = max(g.limit*0.7, 1)
	} else {
		g.limit = min(g.limit*1.25+1, float64(g.most))
	}
	g.good, g.overloads, g.windowEnd = 0, 0, now.Add(governWindow)
}

// probe takes the batch that may be tried although the target is down; nil if
// none may now. Probes alternate between what has failed before and what is new:
// a few records that the target cannot stand must not hide that it takes others.
func (f *flow) probe(now time.Time) *batch {
	g := &f.governor
	if g.probing || now.Before(g.probeAt) {
		return nil
	}
	best := -1
	for i, b := range f.ready {
		if !f.deliverable(b) {
			continue
		}
		switch fresh := b.attempt == 0; {
		case best < 0:
		case fresh == (f.ready[best].attempt == 0):
			if b.age > f.ready[best].age {
				continue
			}
		case fresh != g.retried:
			continue
		}
		best = i
	}
	if best < 0 {
		return nil
	}
	b := heap.Remove(&f.ready, best).(*batch)
	g.probing, g.retried, b.probe = true, b.attempt > 0, true
	return b
}

// govern learns from an attempt and says so where something changed. The flow's
// mutex is held.
func (f *flow) govern(b *batch, s sign, err error) {
	now := time.Now()
	g := &f.governor
	before := g.allowed()
	changed := g.learn(b, s, now)
	if allowed := g.allowed(); allowed != before {
		f.metrics.limit.Set(float64(allowed))
	}
	if changed && g.open {
		f.metrics.open.Set(1)
		f.log.Warn("the target is down; only probes are sent until one succeeds", "failed", g.failing, "err", err)
	}
	if changed && !g.open {
		f.metrics.open.Set(0)
		f.log.Info("the target is back")
	}
	if after := f.def.Delivery.DisableAfter; after > 0 && f.consumer != nil && g.failures >= openAfter && now.Sub(g.failingAt) >= after {
		f.stopFor(Disabled, fmt.Errorf("every attempt has failed since %s, %d of them: %w", g.failingAt.UTC().Format(time.RFC3339), g.failures, err))
	}
	if g.open && !g.probing {
		f.giveUpAged(now)
		time.AfterFunc(max(time.Until(g.probeAt), time.Millisecond), func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.dispatch()
		})
	}
}

// giveUpAged gives up batches that have waited for a target that is down for
// longer than their age allows.
func (f *flow) giveUpAged(now time.Time) {
	if f.def.Delivery.MaxAge == 0 {
		return
	}
	for _, b := range f.ready {
		if b.verdict == nil && b.begun != 0 && now.Sub(time.Unix(0, b.begun)) >= f.def.Delivery.MaxAge {
			b.verdict = newVerdict(b.err, b.attempt)
		}
	}
	heap.Init(&f.ready)
}
