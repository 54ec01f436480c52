package pipe

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/event"
)

// This file is what all pipes of a process know together about the endpoints that
// they deliver to: whether there are connections to be had. What an endpoint
// answers is between it and each pipe (governor.go), since one path of a host can
// fail while others are well.

// A locator is a target that can say where it delivers to.
type locator interface {
	// Endpoint is what the target connects to, as scheme, host and port; empty:
	// nothing that others could share.
	Endpoint() string
}

// A router is a target whose events go to different addresses at its endpoint.
type router interface {
	// AppendAddress appends where an event goes; false if that does not depend on
	// the event, or cannot be said.
	AppendAddress(dst []byte, e *event.Event) ([]byte, bool)
}

// endpoints are those that the pipes of a process deliver to. It is safe for
// concurrent use.
type endpoints struct {
	mu        sync.Mutex // guards all, and the flows of each
	all       map[string]*endpoint
	addresses atomic.Int64 // that are remembered, of all flows
}

// of returns the endpoint of a flow's target; nil: it has none.
func (e *endpoints) of(f *flow) *endpoint {
	l, ok := f.target.(locator)
	if !ok || l.Endpoint() == "" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[string]*endpoint{}
	}
	p := e.all[l.Endpoint()]
	if p == nil {
		p = &endpoint{name: l.Endpoint(), among: e}
		e.all[p.name] = p
	}
	p.flows = append(p.flows, f)
	return p
}

// leave takes a flow away that delivers no more.
func (e *endpoints) leave(f *flow) {
	p := f.endpoint
	if p == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p.flows = slices.DeleteFunc(p.flows, func(of *flow) bool { return of == f })
	if len(p.flows) == 0 && e.all[p.name] == p {
		delete(e.all, p.name)
	}
}

// An endpoint is a scheme, host and port to which pipes deliver. A nil endpoint is
// never down. Its mutex is taken with a flow's held, never the other way round.
type endpoint struct {
	name  string
	among *endpoints
	flows []*flow // guarded by the mutex of among
	turn  int     // of the flow that is asked first for a probe; guarded by it too

	troubled atomic.Bool // there were failures since the last connection
	closed   atomic.Bool // only probes are made

	mu sync.Mutex // guards what follows
	breaker
}

func (p *endpoint) isDown() bool { return p != nil && p.closed.Load() }

// lastRetried says whether the last probe was no batch's first attempt.
func (p *endpoint) lastRetried() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retried
}

// take asks for an attempt, and says whether it is a probe.
func (p *endpoint) take(again bool, now time.Time) (taken, probe bool) {
	if !p.isDown() {
		return true, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.open:
		return true, false
	case !p.may(now):
		return false, false
	}
	p.begin(again)
	return true, true
}

// unprobe takes a probe back of which no attempt is made; one of the flows makes another.
func (p *endpoint) unprobe() {
	p.mu.Lock()
	p.probing = false
	p.mu.Unlock()
	go p.wake() // the caller holds the mutex of its flow
}

// learn takes note of an attempt of a flow. The flow's mutex is held.
func (p *endpoint) learn(f *flow, b *batch, s sign, now time.Time, err error) {
	if p == nil {
		return
	}
	probe := b.ends(ofEndpoint)
	if s != unreachable && !probe && !p.troubled.Load() {
		return // as nearly always
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var changed bool
	if s == unreachable {
		changed = p.breaker.failed(!b.unreached, probe, openAfter, now)
		b.unreached = true
	} else {
		changed = p.succeeded()
	}
	p.troubled.Store(p.failing > 0 || p.open)
	p.closed.Store(p.open)
	switch {
	case changed && p.open:
		f.log.Warn("the endpoint is down; only probes are sent until there is a connection", "endpoint", p.name, "failed", p.failing, "err", err)
		go p.tell()
	case changed:
		f.log.Info("the endpoint is back", "endpoint", p.name)
		go p.tell()
	}
	if p.waits() {
		time.AfterFunc(max(p.probeAt.Sub(now), time.Millisecond), p.wake)
	}
}

// sharing returns the flows that deliver here, beginning with another one each
// time.
func (p *endpoint) sharing() []*flow {
	p.among.mu.Lock()
	defer p.among.mu.Unlock()
	if len(p.flows) == 0 {
		return nil
	}
	p.turn = (p.turn + 1) % len(p.flows)
	return slices.Concat(p.flows[p.turn:], p.flows[:p.turn])
}

// tell lets all flows know that the endpoint has gone down or come back.
func (p *endpoint) tell() {
	for _, f := range p.sharing() {
		f.mu.Lock()
		f.showTarget()
		f.dispatch()
		f.mu.Unlock()
	}
}

// wake has one of the flows make a probe.
func (p *endpoint) wake() {
	now := time.Now()
	for _, f := range p.sharing() {
		f.mu.Lock()
		f.giveUpAged(now)
		f.dispatch()
		f.mu.Unlock()
	}
}
