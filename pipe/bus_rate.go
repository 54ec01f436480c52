package pipe

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/klamm-gateway/klamm/target"
)

// This file keeps to the rate of an API destination, which all that deliver to it share,
// over all processes (rates.go). An event that has no turn yet waits in memory: it is in nobody's way,
// makes no attempt, and ages. Turns are reserved only a little ahead, so that who ends
// leaves no hole; the others come back at random within the time that all of them need.

const (
	// turnsAhead is how far ahead turns are reserved, or for so many turns.
	turnsAhead  = 500 * time.Millisecond
	leastTurns  = 3
	longestTurn = 30 * time.Second // between two looks
)

// errRate is why an event is given up that never got a turn.
var errRate = errors.New("the rate of the API destination left no turn until the event was too old")

// turn says whether the attempt at a batch may begin now. Otherwise the batch comes back
// by itself, or is given up.
func (s *subscription) turn(b *batch) bool {
	if s.rate == nil {
		return true
	}
	f, now := s.flow, time.Now()
	if b.probes != 0 || b.counted {
		s.rate.AllowN(now, 1) // others wait for what it finds out
		return true
	}
	if age := now.Sub(b.items[0].Record.Timestamp); f.def.Delivery.MaxAge > 0 && age >= f.def.Delivery.MaxAge {
		err := b.err
		if err == nil {
			err = &target.Failure{Code: target.CodeThrottling, Err: errRate}
		}
		b.verdict = newVerdict(err, b.attempt)
		b.verdict.condition = outOfAge
		f.giveUp(b)
		return false
	}
	if b.turned {
		b.turned = false
		return true
	}
	turn := s.rate.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	if wait == 0 {
		return true
	}
	if !b.throttled {
		b.throttled = true
		s.series.throttled()
	}
	perTurn := time.Duration(float64(time.Second) / float64(s.rate.Limit()))
	if wait <= max(turnsAhead, leastTurns*perTurn) {
		b.turned = true
		f.again(b, wait)
		return false
	}
	turn.CancelAt(now)
	f.mu.Lock()
	all := min(time.Duration(f.records)*perTurn, longestTurn)
	f.mu.Unlock()
	f.again(b, perTurn+rand.N(max(all, perTurn)))
	return false
}
