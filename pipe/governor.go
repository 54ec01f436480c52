package pipe

import (
	"fmt"
	"time"

	"github.com/klamm-gateway/klamm/target"
)

// A governor decides how many attempts a target gets at once. It knows two
// things, each in a few words of memory:
//
//   - how many the target stands (limit): while more than a tenth of the answers
//     say that it is overloaded, fewer and fewer; otherwise more, up to InFlight.
//   - whether it is there at all (the breaker).
//
// Where a target has many addresses, those that are known to fail (address.go)
// say nothing of the others, and do not count here.
//
// The flow's mutex guards it.
type governor struct {
	breaker
	most  int // InFlight
	limit float64

	windowEnd       time.Time
	good, overloads int // answers since the window began

	answers, overloadedAnswers int // since the last look (scale.go)

	failures  int       // attempts that have failed since the last one that succeeded
	failingAt time.Time // when the first of them was
}

const (
	// governWindow is how long answers are counted before the limit changes.
	governWindow = 100 * time.Millisecond
	// leastLimit is the lowest limit: one slow attempt never holds up all.
	leastLimit = 2
)

func newGovernor(inFlight int) governor {
	return governor{most: inFlight, limit: float64(inFlight)}
}

// allowed is how many attempts may be under way.
func (g *governor) allowed() int { return min(g.most, max(int(g.limit), leastLimit)) }

// A sign is what an attempt says about its target.
type sign int

const (
	well        sign = iota // it took what it was given
	refused                 // it is there, and does not want this batch
	overloaded              // it answered 429 or 5xx
	silent                  // it did not answer
	unreachable             // there was no connection to its endpoint
)

// signOf reads a failed attempt.
func signOf(f *target.Failure) sign {
	switch {
	case f.Unreachable:
		return unreachable
	case f.Status == 429 || f.Status >= 500:
		return overloaded
	case f.Final || f.Status != 0:
		return refused
	default:
		return silent
	}
}

// answered says whether the receiver is there.
func (s sign) answered() bool { return s == well || s == refused }

// learn takes note of an attempt that has ended, and says whether the target has
// just gone down or come back.
func (g *governor) learn(b *batch, s sign, now time.Time) (changed bool) {
	if !b.ailing {
		g.adapt(s, now)
	}
	if g.failures++; s == well {
		g.failures = 0
	} else if g.failures == 1 {
		g.failingAt = now
	}
	probe := b.ends(ofTarget)
	if s.answered() {
		if changed = g.succeeded(); changed {
			g.limit = min(g.limit, 4) // and up again from there
		}
		return changed
	}
	if s == unreachable && !probe {
		return false // the endpoint's breaker takes care of it
	}
	// A batch that has failed before says nothing new: others may have succeeded
	// since, and it may be to blame itself.
	first := !b.failed && !b.ailing
	b.failed = true
	after := openAfter
	if b.address() != 0 {
		after = openAfterAddresses
	}
	return g.breaker.failed(first, probe, after, now)
}

// showTarget tells the metrics what is known of the target. The flow's mutex is held.
func (f *flow) showTarget() {
	if f.tally != nil {
		return // the metrics are those of the pipe, and a feed is beside it
	}
	f.metrics.open.Set(boolean(f.down()))
	f.metrics.limit.Set(float64(f.governor.allowed()))
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

// down says whether only probes may be sent.
func (f *flow) down() bool { return f.governor.open || f.endpoint.isDown() }

// probe takes the batch that may be tried although the target is down; nil if
// none may now.
func (f *flow) probe(now time.Time) *batch {
	g := &f.governor
	if g.open && !g.may(now) {
		return nil
	}
	retried := g.retried
	if !g.open {
		retried = f.endpoint.lastRetried()
	}
	b := f.candidate(retried)
	if b == nil {
		return nil
	}
	again := b.attempt > 0
	taken, probe := f.endpoint.take(again, now)
	if !taken {
		return nil
	}
	f.ready.keep(func(other *batch) bool { return other != b })
	if probe {
		b.probes |= ofEndpoint
	}
	if g.open {
		g.begin(again)
		b.probes |= ofTarget
	}
	return b
}

// unprobe takes back what a batch was to find out, of which no attempt is made: another
// one is the probe. The flow's mutex is held.
func (f *flow) unprobe(b *batch) {
	if b.ends(ofTarget) {
		f.governor.probing = false
	}
	if b.ends(ofEndpoint) {
		f.endpoint.unprobe()
	}
}

// candidate returns the batch that is to be the next probe; nil: there is none. Probes alternate between what has failed before and what is new: a few
// records that the target cannot stand must not hide that it takes others.
func (f *flow) candidate(retried bool) (best *batch) {
	for b := range f.ready.all() {
		if !f.deliverable(b) || b.verdict != nil {
			continue
		}
		switch fresh := b.attempt == 0; {
		case best == nil:
		case fresh == (best.attempt == 0):
			if b.age > best.age {
				continue
			}
		case fresh != retried:
			continue
		}
		best = b
	}
	return best
}

// govern learns from an attempt and says so where something changed. The flow's
// mutex is held.
func (f *flow) govern(b *batch, s sign, took time.Duration, err error) {
	now := time.Now()
	g := &f.governor
	f.remembered(s, took)
	f.learnAddress(b, s, took, now)
	f.endpoint.learn(f, b, s, now, err)
	before := g.allowed()
	changed := g.learn(b, s, now)
	if g.allowed() != before {
		f.showTarget()
	}
	if changed && g.open {
		f.log.Warn("the target is down; only probes are sent until one succeeds", "failed", g.failing, "err", err)
	}
	if changed && !g.open {
		f.log.Info("the target is back")
	}
	if changed {
		f.showTarget()
	}
	if after := f.def.Delivery.DisableAfter; after > 0 && f.consumer != nil && g.failures >= openAfter && now.Sub(g.failingAt) >= after {
		f.stopFor(Disabled, fmt.Errorf("every attempt has failed since %s, %d of them: %w", g.failingAt.UTC().Format(time.RFC3339), g.failures, err))
	}
	f.stopLasting(now, err)
	if g.waits() {
		f.giveUpAged(now)
		f.wakeAt(g.probeAt, func() {})
	}
}

// wakeAt has batches delivered at a time, after some preparation with the flow's
// mutex held.
func (f *flow) wakeAt(at time.Time, prepare func()) {
	time.AfterFunc(max(time.Until(at), time.Millisecond), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		prepare()
		f.dispatch()
	})
}

// giveUpAged gives up batches that have waited for a target that is down for
// longer than their age allows.
func (f *flow) giveUpAged(now time.Time) {
	given := false
	for b := range f.ready.all() {
		switch {
		case !f.aged(b, now):
		case f.bus != nil:
			f.bus.aged(b)
		default:
			b.verdict = newVerdict(b.err, b.attempt)
			given = true
		}
	}
	if given {
		f.ready.keep(func(*batch) bool { return true })
	}
}

// aged says whether a batch that waits has become too old.
func (f *flow) aged(b *batch, now time.Time) bool {
	most := f.def.Delivery.MaxAge
	if f.bus != nil {
		f.bus.begin(b)
	}
	return most > 0 && b.verdict == nil && b.begun != 0 && now.Sub(time.Unix(0, b.begun)) >= most
}
