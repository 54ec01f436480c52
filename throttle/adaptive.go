package throttle

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// A Class says how dear a call is when a cluster cannot take all (gateway-policies.md
// 3.6). The zero value is Normal.
type Class int

// The classes. Calls of a class come in at once while fewer than its part of the limit
// are under way, and wait otherwise; critical ones are let in first.
const (
	Normal   Class = iota // nine tenths
	Critical              // all
	Bulk                  // seven tenths
	classes
)

var (
	parts  = [classes]float64{Normal: 0.9, Critical: 1, Bulk: 0.7}
	urgent = [classes]Class{Critical, Normal, Bulk}
)

const (
	window      = time.Second
	fewSamples  = 20
	mostSamples = 1024
	fewest      = 8 // the limit is never lower
	anchorEvery = time.Minute

	queueTarget   = 50 * time.Millisecond
	queueInterval = 500 * time.Millisecond

	breakAfter    = 10 * time.Second
	breakFailures = 50
	breakFor      = 5 * time.Second
	probeEvery    = time.Second
	probesToClose = 3

	// longestPause is how long calls wait for brokers that have asked for a pause.
	longestPause = time.Second
)

// An Outcome is how a call of a cluster has ended.
type Outcome int

// The outcomes.
const (
	Good   Outcome = iota
	Failed         // for a reason that may go away: no answer in time, too few replicas
	Beside         // for a reason that says nothing about the cluster
)

// An Overload is the refusal of a call that a cluster cannot take now. It is an error.
type Overload struct {
	Wait   time.Duration // until it may be worth trying again
	Reason string
}

func (e *Overload) Error() string { return e.Reason }

// An Adaptive lets as many calls of one kind go on at once as a cluster takes without
// becoming slower, which it finds out from how long they take. It is safe for
// concurrent use.
//
// Once in a second it compares the median of what calls took with what they have taken
// for long. The limit follows: down by up to a half when they take longer, when the
// brokers ask for pauses or when calls fail, and up again by its square root.
type Adaptive struct {
	most float64
	now  func() time.Time

	mu       sync.Mutex // guards what follows
	limit    float64
	gradient float64
	under    int // way
	peak     int // of under, in this window
	queues   [classes][]*waiter
	queued   int
	sitting  int       // calls that wait for brokers which have asked for a pause
	above    time.Time // since when those that wait have waited too long; zero: they have not
	rejected [classes]int64

	began   time.Time // of the window
	samples []time.Duration
	calls   int
	failed  int
	paused  bool          // a broker has asked for a pause in this window
	long    time.Duration // what calls take for long
	least   time.Duration // of the medians since anchored
	anchor  time.Time

	good     time.Time // when a call was last good
	failures int       // since then
	open     time.Time // when the breaker has opened; zero: it is closed
	probed   time.Time
	probes   int // that were good
}

type waiter struct {
	in    chan bool // gets whether it is let in
	since time.Time
}

// NewAdaptive returns a limit that begins at most, which it never exceeds; at least 8.
func NewAdaptive(most int, now func() time.Time) *Adaptive {
	m := float64(max(most, fewest))
	at := now()
	return &Adaptive{most: m, limit: m, gradient: 1, now: now, began: at, anchor: at, good: at}
}

// Enter lets a call in, or waits for half a second at most until it may come, or
// returns an Overload. Every call that was let in has to Leave. Pause is for how long
// the brokers that the call is for want nothing: it waits for that first, unless it is
// longer than a second.
func (a *Adaptive) Enter(ctx context.Context, class Class, pause time.Duration) error {
	if pause > 0 {
		if err := a.sit(ctx, class, pause); err != nil {
			return err
		}
	}
	a.mu.Lock()
	now := a.now()
	a.turn(now)
	if e := a.refusal(now); e != nil {
		a.rejected[class]++
		a.mu.Unlock()
		return e
	}
	if a.free(class) && !a.ahead(class) {
		a.come()
		a.mu.Unlock()
		return nil
	}
	if a.queued >= int(a.limit) && !a.push(class) {
		a.rejected[class]++
		a.mu.Unlock()
		return busy()
	}
	w := &waiter{in: make(chan bool, 1), since: now}
	a.queues[class] = append(a.queues[class], w)
	a.queued++
	a.mu.Unlock()
	return a.await(ctx, class, w)
}

func busy() *Overload {
	return &Overload{time.Second, "the Kafka cluster is slow at the moment, and too many calls wait for it already"}
}

// sit waits until the brokers of a call want something again. As many calls as the
// limit has do so at most.
func (a *Adaptive) sit(ctx context.Context, class Class, pause time.Duration) error {
	a.mu.Lock()
	if pause > longestPause || a.sitting >= int(a.limit) {
		a.rejected[class]++
		a.mu.Unlock()
		return &Overload{pause, "the brokers have asked for a pause"}
	}
	a.sitting++
	a.mu.Unlock()
	t := time.NewTimer(pause)
	defer t.Stop()
	var err error
	select {
	case <-t.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sitting--
	return err
}

// ahead says whether somebody waits who is not less urgent.
func (a *Adaptive) ahead(class Class) bool {
	for _, c := range urgent {
		if len(a.queues[c]) > 0 {
			return true
		}
		if c == class {
			break
		}
	}
	return false
}

// push makes room in a full queue for a call: of those that are less urgent, the one
// that has come last is refused. It says whether there was one.
func (a *Adaptive) push(class Class) bool {
	for _, c := range slices.Backward(urgent[:]) {
		if c == class {
			return false
		}
		if n := len(a.queues[c]); n > 0 {
			w := a.queues[c][n-1]
			a.queues[c] = a.queues[c][:n-1]
			a.queued--
			a.rejected[c]++
			w.in <- false
			return true
		}
	}
	return false
}

// await waits for a place.
func (a *Adaptive) await(ctx context.Context, class Class, w *waiter) error {
	t := time.NewTimer(queueInterval)
	defer t.Stop()
	var cause error = busy()
	select {
	case in := <-w.in:
		if in {
			return nil
		}
		return cause
	case <-ctx.Done():
		cause = ctx.Err()
	case <-t.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case in := <-w.in: // meanwhile
		if in {
			return nil
		}
		return cause
	default:
	}
	a.queues[class] = slices.DeleteFunc(a.queues[class], func(o *waiter) bool { return o == w })
	a.queued--
	a.rejected[class]++
	return cause
}

// Leave says that a call has ended, after what time and how.
func (a *Adaptive) Leave(took time.Duration, outcome Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	a.under--
	a.calls++
	switch outcome {
	case Good:
		if len(a.samples) < mostSamples {
			a.samples = append(a.samples, took)
		}
		a.good, a.failures = now, 0
		if !a.open.IsZero() {
			if a.probes++; a.probes >= probesToClose {
				a.open, a.probes = time.Time{}, 0
			}
		}
	case Failed:
		a.failed++
		a.failures++
		a.probes = 0
		if a.open.IsZero() && a.failures >= breakFailures && now.Sub(a.good) >= breakAfter {
			a.open = now
		}
	}
	a.turn(now)
	a.admit(now)
}

// Paused says that a broker has asked for a pause: the limit goes down at the end of
// this second.
func (a *Adaptive) Paused() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused = true
}

// free says whether a call of a class may come in.
func (a *Adaptive) free(class Class) bool { return float64(a.under) < a.limit*parts[class] }

func (a *Adaptive) come() {
	a.under++
	a.peak = max(a.peak, a.under)
}

// refusal is why nobody is let in, or nil. While the breaker is open, one call a second
// tries after a while.
func (a *Adaptive) refusal(now time.Time) *Overload {
	if a.open.IsZero() {
		return nil
	}
	if rest := a.open.Add(breakFor).Sub(now); rest > 0 {
		return &Overload{rest, "nothing could be written to Kafka for a while; it is tried again soon"}
	}
	if now.Sub(a.probed) < probeEvery {
		return &Overload{probeEvery, "nothing could be written to Kafka for a while; it is being tried again"}
	}
	a.probed = now
	return nil
}

// admit lets in who waits, the most urgent first and of them the first. Who has waited
// too long while all have is refused: the queue would else only make everybody late.
func (a *Adaptive) admit(now time.Time) {
	for _, class := range urgent {
		for len(a.queues[class]) > 0 {
			w := a.queues[class][0]
			late := now.Sub(w.since) > queueTarget
			switch {
			case !late:
				a.above = time.Time{}
			case a.above.IsZero():
				a.above = now
			}
			refused := late && now.Sub(a.above) >= queueInterval
			if !refused && !a.free(class) {
				break
			}
			a.queues[class] = a.queues[class][1:]
			a.queued--
			if refused {
				a.rejected[class]++
			} else {
				a.come()
			}
			w.in <- !refused
		}
	}
	if a.queued == 0 {
		a.above = time.Time{}
	}
}

// turn ends the window when its time is over.
func (a *Adaptive) turn(now time.Time) {
	if now.Sub(a.began) < window {
		return
	}
	if len(a.samples) >= fewSamples || a.calls >= fewSamples {
		a.adapt(now)
	}
	a.began, a.samples, a.calls, a.failed, a.paused, a.peak = now, a.samples[:0], 0, 0, false, a.under
}

// adapt finds the next limit (gateway-policies.md 3.6).
func (a *Adaptive) adapt(now time.Time) {
	g := 1.0
	if len(a.samples) > 0 {
		slices.Sort(a.samples)
		short := max(a.samples[len(a.samples)/2], time.Microsecond)
		if a.long == 0 {
			a.long, a.least = short, short
		}
		a.long += (short - a.long) / 100
		a.least = min(a.least, short)
		if now.Sub(a.anchor) >= anchorEvery {
			a.long, a.least, a.anchor = min(a.long, 2*a.least), short, now
		}
		g = min(max(1.5*float64(a.long)/float64(short), 0.5), 1)
	}
	if a.paused {
		g = min(g, 0.8)
	}
	if float64(a.failed) > 0.05*float64(a.calls) {
		g = min(g, 0.7)
	}
	a.gradient = g
	next := min(max(a.limit*g+math.Sqrt(a.limit), fewest), a.most)
	if next < a.limit || float64(a.peak) > a.limit/2 {
		a.limit = next
	}
}

// AdaptiveStats are how an Adaptive stands.
type AdaptiveStats struct {
	Limit, Gradient float64
	InFlight, Queue int
	Rejected        map[string]int64 // by class
	Open            bool             // the breaker
}

// Stats returns how it stands.
func (a *Adaptive) Stats() AdaptiveStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AdaptiveStats{a.limit, a.gradient, a.under, a.queued + a.sitting, map[string]int64{
		"normal": a.rejected[Normal], "critical": a.rejected[Critical], "bulk": a.rejected[Bulk],
	}, !a.open.IsZero()}
}
