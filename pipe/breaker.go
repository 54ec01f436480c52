package pipe

import "time"

// A breaker knows whether something is there at all, in a few words of memory. It
// opens when a number of batches have failed for the first time and none has
// succeeded meanwhile. While it is open only single probes are made, until one
// succeeds. The zero value is closed.
//
// A record that a receiver cannot stand fails again and again, but it is only one
// batch: it never opens a breaker.
type breaker struct {
	failing int // batches that have failed for the first time since the last success
	open    bool
	probing bool
	retried bool // the last probe was no batch's first attempt
	probeAt time.Time
	pause   time.Duration // between probes
}

const (
	// openAfter is how many batches must fail for the first time, with no success
	// between them, for their receiver to count as down.
	openAfter  = 5
	probeFirst = 250 * time.Millisecond
	probeLast  = 5 * time.Second
)

// may says whether a probe may be made now.
func (b *breaker) may(now time.Time) bool { return !b.probing && !now.Before(b.probeAt) }

// begin notes that a probe is under way, and whether it was tried before.
func (b *breaker) begin(retried bool) { b.probing, b.retried = true, retried }

// succeeded closes the breaker, and says whether it was open.
func (b *breaker) succeeded() (was bool) {
	was = b.open
	*b = breaker{}
	return was
}

// failed takes note of an attempt that has failed: whether it was a batch's first,
// and whether it was the probe. It says whether the breaker has opened.
func (b *breaker) failed(first, probe bool, after int, now time.Time) (opened bool) {
	if first {
		b.failing++
	}
	if probe {
		b.probing = false
	}
	switch {
	case b.open && probe:
		b.pause = min(2*b.pause, probeLast)
		b.probeAt = now.Add(b.pause)
	case !b.open && b.failing >= after:
		b.open, b.pause = true, probeFirst
		b.probeAt = now.Add(b.pause)
		return true
	}
	return false
}

// waits says whether the breaker waits for the time of its next probe.
func (b *breaker) waits() bool { return b.open && !b.probing }

// A probeOf says what an attempt is a probe of: several things may be down at once.
type probeOf uint8

const (
	ofEndpoint probeOf = 1 << iota
	ofTarget
	ofAddress
)
