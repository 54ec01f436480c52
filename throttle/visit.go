package throttle

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// A Visit is one HTTP request on its way through a Set. Whatever it asks for, it
// takes once from each bucket of requests and counts once as under way, until it
// leaves. It is safe for concurrent use.
type Visit struct {
	set *Set

	mu     sync.Mutex // guards what follows
	paid   []key      // buckets of requests
	held   []key      // counters
	states []State
}

// Visit begins a request's way. It has to Leave.
func (s *Set) Visit() *Visit { return &Visit{set: s} }

// Leave says that the request is over. It may be called more than once.
func (v *Visit) Leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.held {
		v.set.under.leave(k)
	}
	v.held = nil
}

// States returns how the buckets stood that were asked last, by rule. The caller
// must not change them.
func (v *Visit) States() []State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.states
}

// A Refusal says why a call may not go on. It is an error.
type Refusal struct {
	Rule   string
	Unit   Unit
	Shared bool          // the bucket is everybody's
	Wait   time.Duration // until it would pass; more than zero
	States []State

	patience time.Duration
	rule     *rule
}

func (r *Refusal) Error() string {
	switch r.Unit {
	case Concurrency:
		return fmt.Sprintf("too many requests at once for the limit %q; try again in %d s", r.Rule, r.RetryAfter())
	case Streams:
		return fmt.Sprintf("too many streams at once for the limit %q; try again in %d s", r.Rule, r.RetryAfter())
	}
	return fmt.Sprintf("too many %s for the limit %q; try again in %d s", r.Unit, r.Rule, r.RetryAfter())
}

// RetryAfter is Wait in whole seconds, at least 1.
func (r *Refusal) RetryAfter() int { return max(int(math.Ceil(r.Wait.Seconds())), 1) }

// claim is what a call asks of one bucket.
type claim struct {
	limit  *limit
	key    key
	n      float64
	bucket int32
	would  bool // it is too much, and nobody minds
	state  State
}

// mostClaims are kept without an allocation.
const mostClaims = 8

// Take asks for a call with so many records and bytes. It returns nil if the call
// may go on; otherwise it has taken nothing. What a stream consumes is only charged. Rules that delay make it wait, until
// ctx ends at most.
func (v *Visit) Take(ctx context.Context, c *Call, stage Stage, records, bytes int) *Refusal {
	s := v.set
	var room [mostClaims]claim
	claims := v.claims(room[:0], c, stage, records, bytes, false)
	if len(claims) == 0 {
		return nil
	}
	w := waiting{set: s}
	defer w.end()
	entered, refusal := v.enter(ctx, claims, c.Stream, &w)
	for refusal == nil {
		if refusal = s.draw(claims); refusal == nil || !w.wait(ctx, refusal) {
			break
		}
		refusal = nil
	}
	s.settle(claims, refusal)
	v.mu.Lock()
	defer v.mu.Unlock()
	if refusal != nil {
		for _, k := range entered {
			s.under.leave(k)
		}
		refusal.States = statesOf(claims)
		v.states = refusal.States
		return refusal
	}
	v.held = append(v.held, entered...)
	for i := range claims {
		if claims[i].limit.unit == Requests && !c.Message {
			v.paid = append(v.paid, claims[i].key)
		}
	}
	if !c.Message {
		v.note(statesOf(claims))
	}
	return nil
}

// mostStates bounds the states that a visit keeps.
const mostStates = 16

// note keeps the states of a call, instead of what was known of the same buckets.
func (v *Visit) note(states []State) {
	for _, st := range states {
		i := slices.IndexFunc(v.states, func(o State) bool { return o.Name == st.Name })
		switch {
		case i >= 0:
			v.states[i] = st
		case len(v.states) < mostStates:
			v.states = append(v.states, st)
		}
	}
}

// onceMore is when to ask again where too much goes on at once: nobody knows when
// that will end.
const onceMore = time.Second

// enter counts the call as under way, and returns where. Where there are too many,
// it waits as long as the rule lets it.
func (v *Visit) enter(ctx context.Context, claims []claim, stream bool, w *waiting) (entered []key, _ *Refusal) {
	for i := range claims {
		c := &claims[i]
		if c.limit.unit < Concurrency {
			continue
		}
		for {
			others, ok := v.set.under.enter(c.key, c.limit.most)
			if ok && stream {
				others++ // it keeps its place when the answer has begun
			}
			c.state = stateUnder(c.limit, c.key, others)
			if ok {
				break
			}
			if c.limit.rule.spec.Action == "log" {
				c.would = true
				break
			}
			refusal := c.limit.refuse(onceMore)
			if !w.wait(ctx, refusal) {
				return entered, refusal
			}
		}
		if !c.would {
			entered = append(entered, c.key)
		}
	}
	return entered, nil
}

// claims lists what a call asks for and has not got yet.
func (v *Visit) claims(claims []claim, c *Call, stage Stage, records, bytes int, charging bool) []claim {
	s, now := v.set, v.set.now()
	v.mu.Lock()
	defer v.mu.Unlock()
	s.stages[stage].each(c, func(r *rule) {
		if !r.applies(c, now) {
			return
		}
		for i := range r.limits[stage] {
			l := &r.limits[stage][i]
			n := 1.0
			if l.unit.amount() && !charging && (c.Op == "other" || c.Op == "consume" && c.Stream) {
				continue // it has none, or is slowed down instead of refused
			}
			switch l.unit {
			case Records:
				n = float64(records)
			case Bytes:
				n = float64(bytes)
			case Streams:
				if !c.Stream {
					continue
				}
			}
			k := s.hash(l, c)
			if l.unit == Requests && !c.Message && slices.Contains(v.paid, k) || l.unit >= Concurrency && slices.Contains(v.held, k) {
				continue
			}
			claims = append(claims, claim{limit: l, key: k, n: n})
		}
	})
	return claims
}

func (l *limit) refuse(wait time.Duration) *Refusal {
	r := &Refusal{Rule: l.rule.spec.Name, Unit: l.unit, Shared: len(l.rule.key) == 0, Wait: max(wait, time.Millisecond), rule: l.rule}
	if l.rule.spec.Action == "delay" {
		r.patience = l.rule.spec.DelayMax
	}
	return r
}

// draw takes from all buckets or from none.
func (s *Set) draw(claims []claim) (refusal *Refusal) {
	unlock := s.lock(claims)
	defer unlock()
	now, longest := s.seconds(), -1.0
	for i := range claims {
		c := &claims[i]
		l := c.limit
		if l.unit >= Concurrency {
			continue
		}
		c.bucket = s.buckets.find(c.key, l.rate, now)
		tokens := s.buckets.at(c.key, c.bucket).tokens
		c.state = stateOf(l, c.key, tokens)
		strict := l.unit == Requests
		c.would = false
		if passes(tokens, c.n, strict) {
			continue
		}
		if l.rule.spec.Action == "log" {
			c.would = true
			continue
		}
		if wait := l.rate.wait(tokens, c.n, strict); wait > longest {
			longest = wait
			refusal = l.refuse(time.Duration(wait * float64(time.Second)))
		}
	}
	if refusal != nil {
		return refusal
	}
	for i := range claims {
		if c := &claims[i]; c.limit.unit < Concurrency && !c.would {
			b := s.buckets.at(c.key, c.bucket)
			b.tokens -= c.n
			c.state = stateOf(c.limit, c.key, b.tokens)
		}
	}
	return nil
}

// seconds is the set's clock.
func (s *Set) seconds() float64 { return s.now().Sub(s.start).Seconds() }

// settle counts what has become of a call.
func (s *Set) settle(claims []claim, refusal *Refusal) {
	if refusal != nil {
		refusal.rule.count.rejected.Add(1)
		return
	}
	for i := range claims {
		if claims[i].would {
			claims[i].limit.rule.count.would.Add(1)
		}
	}
}

// lock takes the shards of the claims, always in the same order.
func (s *Set) lock(claims []claim) (unlock func()) {
	var room [mostClaims]int
	order := room[:0]
	for i := range claims {
		if claims[i].limit.unit < Concurrency {
			order = append(order, claims[i].key.shard())
		}
	}
	slices.Sort(order)
	order = slices.Compact(order)
	for _, i := range order {
		s.buckets.shard[i].mu.Lock()
	}
	return func() {
		for _, i := range order {
			s.buckets.shard[i].mu.Unlock()
		}
	}
}

func statesOf(claims []claim) []State {
	states := make([]State, 0, len(claims))
	for i := range claims {
		if claims[i].state.Name != "" { // else it was not asked any more
			states = append(states, claims[i].state)
		}
	}
	return states
}

// Charge takes what a call turned out to cost, however little is left: the
// records and bytes of an answer. It returns how long it is until there is
// something left again; 0 if there is.
func (v *Visit) Charge(c *Call, records, bytes int) (wait time.Duration) {
	s := v.set
	var room [mostClaims]claim
	claims := v.claims(room[:0], c, OfOperation, records, bytes, true)
	claims = slices.DeleteFunc(claims, func(c claim) bool { return c.limit.unit != Records && c.limit.unit != Bytes })
	unlock := s.lock(claims)
	defer unlock()
	now := s.seconds()
	for i := range claims {
		cl := &claims[i]
		b := s.buckets.at(cl.key, s.buckets.find(cl.key, cl.limit.rate, now))
		if cl.limit.rule.spec.Action == "log" {
			if n := records + bytes; n > 0 && b.tokens <= 0 {
				cl.limit.rule.count.would.Add(1)
				continue
			}
			b.tokens -= cl.n
			continue
		}
		b.tokens -= cl.n
		if !passes(b.tokens, 0, false) {
			wait = max(wait, time.Duration(cl.limit.rate.wait(b.tokens, 0, false)*float64(time.Second)))
		}
	}
	return wait
}
