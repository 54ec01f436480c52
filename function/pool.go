package function

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Times by which a function that cannot start is tried again.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
)

// errRetired says that another definition has taken over: look the function up
// again.
var errRetired = errors.New("retired")

// errUnreached says that an instance died before it had the event: take another.
var errUnreached = errors.New("the instance is gone")

// A pool keeps the instances of one definition. Callers wait in a queue; whoever
// finds none idle has one started, up to the concurrency.
type pool struct {
	def     Definition
	cfg     Config
	starter *starter
	code    *store

	mu       sync.Mutex
	all      map[*instance]struct{}
	idle     []*instance // the one used last at the end, so that others can be reaped
	starting int
	soon     int // instances that have answered, and are about to ask for more
	answered int // instances that have answered and not asked for more yet: they have no call any more
	waiting  []*waiter
	failures int // starts that failed, one after the other
	failed   *initFailure
	again    time.Time // not before: the next start after a failure
	timer    *time.Timer
	retired  bool
	over     chan struct{} // closed when it is retired: nobody waits for what is being started
	gone     chan struct{} // closed when it is retired and no instance is left
}

type waiter struct{ ready chan grant }

// A grant is an instance, or why there is none.
type grant struct {
	instance *instance
	failed   *initFailure
	err      error
	init     time.Duration
}

// An initFailure is a program that was started and did not come to ask for work.
type initFailure struct {
	payload func(id string) []byte
	log     []byte
	late    bool        // it did not in time
	start   *StartError // instead: it cannot be started at all
}

func newPool(def Definition, cfg Config, s *starter, code *store) *pool {
	return &pool{def: def, cfg: cfg, starter: s, code: code, all: map[*instance]struct{}{}, over: make(chan struct{}), gone: make(chan struct{})}
}

func (p *pool) invoke(ctx context.Context, in Invocation) (Outcome, error) {
	for {
		g, err := p.acquire(ctx, in)
		if err != nil {
			return Outcome{}, err
		}
		if f := g.failed; f != nil {
			if f.start != nil {
				return Outcome{}, f.start
			}
			return Outcome{ID: in.ID, Error: Unhandled, Payload: f.payload(in.ID), Log: f.log}, nil
		}
		out, err := g.instance.run(ctx, in)
		if err == errUnreached { //nolint:errorlint // it is never wrapped
			if err := p.bury(ctx, g.instance); err != nil {
				return Outcome{}, err
			}
			continue
		}
		out.Init = g.init
		return out, err
	}
}

// acquire returns an idle instance, waits for one, or says why there will be none.
func (p *pool) acquire(ctx context.Context, in Invocation) (grant, error) {
	p.mu.Lock()
	if p.retired {
		p.mu.Unlock()
		return grant{}, errRetired
	}
	if n := len(p.idle); n > 0 {
		i := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return grant{instance: i}, nil
	}
	if in.Wait == 0 {
		if p.failed != nil && time.Now().Before(p.again) {
			defer p.mu.Unlock()
			return grant{failed: p.failed}, nil
		}
		// Who has answered has no call any more: its next one may come before the program
		// asks for it.
		if len(p.all)+p.starting >= p.def.Concurrency && p.starting+p.answered <= len(p.waiting) {
			p.mu.Unlock()
			return grant{}, ErrThrottled
		}
	}
	w := &waiter{ready: make(chan grant, 1)}
	p.waiting = append(p.waiting, w)
	p.fill()
	p.mu.Unlock()

	var late <-chan time.Time
	if in.Wait > 0 {
		timer := time.NewTimer(in.Wait)
		defer timer.Stop()
		late = timer.C
	}
	err := ErrThrottled
	select {
	case g := <-w.ready:
		return g, g.err
	case <-late:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return grant{}, err
	}
	g := <-w.ready // it came at the same moment
	if g.instance != nil {
		p.offer(g.instance)
	}
	return grant{}, err
}

// fill starts instances for callers that wait. p.mu is held.
func (p *pool) fill() {
	if wait := time.Until(p.again); wait > 0 {
		if p.timer == nil && p.starting+p.soon < len(p.waiting) {
			p.timer = time.AfterFunc(wait, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.timer = nil
				p.fill()
			})
		}
		return
	}
	for !p.retired && p.starting+p.soon < len(p.waiting) && len(p.all)+p.starting < p.def.Concurrency {
		p.starting++
		go p.launch()
	}
}

// launch starts one instance; it returns when the instance asks for work or has
// failed.
func (p *pool) launch() {
	began := time.Now()
	i, failed := launch(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	if failed == nil {
		p.failures, p.failed, p.again = 0, nil, time.Time{}
		p.all[i] = struct{}{}
		go p.mourn(i)
		if len(p.waiting) > 0 && !p.retired {
			p.take(grant{instance: i, init: time.Since(began)})
		} else {
			p.offer(i)
		}
		return
	}
	if p.retired { // the program is not to blame
		p.settle()
		return
	}
	p.failures++
	p.failed = failed
	p.again = time.Now().Add(min(minBackoff<<min(p.failures-1, 10), maxBackoff))
	p.cfg.Log.Warn("function does not start", "function", p.def.Name, "reason", failed.reason(), "again_in", time.Until(p.again).Round(time.Millisecond))
	for len(p.waiting) > 0 {
		p.take(grant{failed: failed})
		if p.starting > 0 || len(p.all) > 0 {
			break // others may still be served
		}
	}
	p.fill()
	p.settle()
}

// wanted says whether somebody still waits for an instance.
func (p *pool) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.retired && len(p.waiting) > 0
}

func (f *initFailure) reason() string {
	if f.start != nil {
		return f.start.Error()
	}
	return string(f.payload("-"))
}

// take gives the first caller in the queue what it waits for. p.mu is held.
func (p *pool) take(g grant) {
	w := p.waiting[0]
	p.waiting = p.waiting[1:]
	w.ready <- g
}

// offer is called with an instance that is free. p.mu is held.
func (p *pool) offer(i *instance) {
	if _, ok := p.all[i]; !ok {
		return // it has ended in the meantime
	}
	switch {
	case p.retired:
		go i.stop()
	case len(p.waiting) > 0:
		p.take(grant{instance: i})
	default:
		p.idle = append(p.idle, i)
		i.reap = time.AfterFunc(p.cfg.IdleTimeout, func() { p.reap(i) })
	}
}

// free is called by an instance that has answered, and asks for more work.
func (p *pool) free(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered--
	p.offer(i)
}

// lost is called by an instance that has answered, and has ended instead of asking for
// more work.
func (p *pool) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered--
}

// expect says that one more instance is about to ask for work, or, with -1, that one
// fewer is. Callers wait for it rather than for another process to start.
func (p *pool) expect(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.soon += n
	if n > 0 {
		p.answered += n
	} else {
		p.fill()
	}
}

// reap ends an instance that nobody has needed for a while.
func (p *pool) reap(i *instance) {
	p.mu.Lock()
	n := slices.Index(p.idle, i)
	if n >= 0 {
		p.idle = slices.Delete(p.idle, n, n+1)
	}
	p.mu.Unlock()
	if n >= 0 {
		i.stop()
	}
}

// bury waits until an instance that is about to end takes no room any more.
func (p *pool) bury(ctx context.Context, i *instance) error {
	select {
	case <-i.dead:
		p.forget(i)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mourn waits for the end of an instance and forgets it.
func (p *pool) mourn(i *instance) {
	<-i.dead
	p.forget(i)
}

func (p *pool) forget(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, i)
	if n := slices.Index(p.idle, i); n >= 0 {
		p.idle = slices.Delete(p.idle, n, n+1)
	}
	p.fill()
	p.settle()
}

// settle notes that a retired pool is empty. p.mu is held.
func (p *pool) settle() {
	if p.retired && len(p.all) == 0 && p.starting == 0 {
		select {
		case <-p.gone:
		default:
			close(p.gone)
		}
	}
}

func (p *pool) retire(ctx context.Context) {
	p.mu.Lock()
	p.retired = true
	close(p.over)
	for len(p.waiting) > 0 {
		p.take(grant{err: errRetired})
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	idle := p.idle
	p.idle = nil
	p.settle()
	p.mu.Unlock()
	for _, i := range idle {
		go i.stop()
	}
	select {
	case <-p.gone:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	for i := range p.all {
		i.process.kill()
	}
	p.mu.Unlock()
	<-p.gone
}
