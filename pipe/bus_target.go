package pipe

import (
	"fmt"
	"slices"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/rule"
)

// A subscriber is one target of a rule, or an archive. The bus's mutex guards it. It has
// a flow from its first event on.
type subscriber struct {
	bus     *bus
	name    string       // of the pipe
	group   string       // of its own books
	def     catalog.Pipe // with defaults
	version int64
	series  *ruleSeries
	rule    *busRule // nil: it is not known yet where it begins, or the pattern asks for nothing

	flow    *flow // nil: none is open
	leaving *flow // one that ends, whose definition or time is over; nil: there is none
	epoch   int   // how many flows have ended
	stopped bool  // by an operator
	removed bool
	err     error     // why it cannot deliver; nil: it can
	again   time.Time // not to be tried before, with err
	used    time.Time // when it had something to do last
}

// A busRule is what is asked about an event: a pattern of a rule, with the targets that
// have it, or that of an archive.
type busRule struct {
	key, name string
	archive   bool
	pattern   *rule.Pattern // nil: everything
	series    *ruleSeries
	subs      []*subscriber
}

// put takes a definition with its defaults, a new one or another one of a target that is
// there.
func (b *bus) put(def catalog.Pipe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics = def.Topics
	s := b.subs[def.Name]
	switch {
	case def.Paused:
		b.drop(def.Name)
		return
	case s == nil:
		s = &subscriber{bus: b, name: def.Name, group: def.Group, def: def, version: def.Version, series: b.metrics.rule(def.Bus.Rule)}
		b.subs[def.Name] = s
		b.fresh[s] = true
		b.runner.rates.use(def.Bus.Rate.Of, b.name, 1)
		if def.Bus.Archive == "" {
			b.byRule[def.Bus.Rule] = append(b.byRule[def.Bus.Rule], s)
		}
	case alike(s.def, def):
		s.def.Version, s.version = def.Version, def.Version
		return
	default:
		b.retire(s)
		b.runner.rates.use(s.def.Bus.Rate.Of, b.name, -1)
		b.runner.rates.use(def.Bus.Rate.Of, b.name, 1)
		s.def, s.version, s.err, s.again = def, def.Version, nil, time.Time{}
		if !b.fresh[s] {
			b.unfile(s)
			b.file(s)
		}
	}
	select {
	case b.wanted <- struct{}{}:
	default:
	}
	b.wake()
}

// remove ends a target. What is being delivered is finished.
func (b *bus) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(name)
}

// drop is remove for a caller that holds the mutex.
func (b *bus) drop(name string) {
	s := b.subs[name]
	if s == nil {
		return
	}
	s.removed = true
	b.retire(s)
	b.unfile(s)
	b.runner.rates.use(s.def.Bus.Rate.Of, b.name, -1)
	delete(b.fresh, s)
	delete(b.subs, name)
	name = s.def.Bus.Rule
	if b.byRule[name] = slices.DeleteFunc(b.byRule[name], func(o *subscriber) bool { return o == s }); len(b.byRule[name]) == 0 {
		delete(b.byRule, name)
		b.metrics.forget(name)
	}
	for _, p := range b.parts {
		if p.books != nil {
			delete(p.books.accounts, s)
		}
	}
}

// file has a target asked about events. The mutex is held.
func (b *bus) file(s *subscriber) {
	sub := s.def.Bus
	if len(sub.Pattern) == 0 {
		if sub.Archive != "" {
			b.all[s] = true
		}
		return
	}
	key := "rule\x00" + sub.Rule + "\x00" + string(sub.Pattern)
	if sub.Archive != "" {
		key = "archive\x00" + sub.Archive
	}
	r := b.rules[key]
	if r == nil {
		p, err := rule.Compile(sub.Pattern)
		if err != nil {
			s.err = fmt.Errorf("pattern: %w", err)
			b.log.Error("a rule's pattern cannot be used; it matches nothing", "pipe", s.name, "err", err)
			return
		}
		r = &busRule{key: key, name: sub.Rule, archive: sub.Archive != "", pattern: p, series: s.series}
		b.rules[key] = r
		b.set.Add(r, p)
	}
	r.subs = append(r.subs, s)
	s.rule = r
}

// unfile is the opposite of file.
func (b *bus) unfile(s *subscriber) {
	delete(b.all, s)
	r := s.rule
	if r == nil {
		return
	}
	s.rule = nil
	r.subs = slices.DeleteFunc(slices.Clone(r.subs), func(o *subscriber) bool { return o == s })
	if len(r.subs) == 0 {
		b.set.Remove(r)
		delete(b.rules, r.key)
	}
}

// leads says whether a target is the one of its rule by which matches are counted that no
// shared read has seen.
func (s *subscriber) leads() bool {
	all := s.bus.byRule[s.def.Bus.Rule]
	return len(all) > 0 && all[0] == s
}

// lowestIn returns a function that returns the lowest offset of a partition that a target
// has under way. It is called with the bus's mutex held.
func (s *subscriber) lowestIn(at place) func() (int64, bool) {
	return func() (low int64, any bool) {
		for _, f := range []*flow{s.flow, s.leaving} {
			if f == nil {
				continue
			}
			if o, ok := f.lowest(at); ok && (!any || o < low) {
				low, any = o, true
			}
		}
		return low, any
	}
}

// account returns the account of a target in a partition that is open.
func (b *bus) account(p *busPart, s *subscriber) *account {
	if a := p.books.accounts[s]; a != nil { // which is asked for with each event
		return a
	}
	return p.books.account(s, s.lowestIn(p.place))
}

// open returns the flow of a target that may deliver, and nil if it may not, or cannot.
// The mutex is held.
func (s *subscriber) open() *flow {
	if s.flow != nil || s.leaving != nil || s.stopped || s.removed || time.Now().Before(s.again) {
		return s.flow
	}
	f, err := newFlow(s.def, s.bus.runner)
	if err == nil {
		err = s.adopt(f)
	}
	if s.err = err; err != nil {
		s.again = time.Now().Add(5 * time.Second)
		s.bus.log.Error("a target of a rule cannot work; its events wait", "pipe", s.name, "err", err)
		return nil
	}
	s.flow, s.used = f, time.Now()
	return f
}

// flowIdle is how long a target keeps its flow that has nothing to do.
const flowIdle = time.Minute

// rest frees the flows of targets that have had nothing to do for a while.
func (b *bus) rest(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		switch f := s.flow; {
		case f == nil:
		case !f.idle():
			s.used = now
		case now.Sub(s.used) >= flowIdle:
			s.flow = nil
			go f.endAll() // nothing is under way
		}
	}
}

// idle says whether a flow has no partition.
func (f *flow) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.parts) == 0 && f.active == 0
}

// retire ends the flow of a target, if it has one, in good order. Until that is over the
// target takes no event, and then it reads for itself from what is not delivered. The
// mutex is held.
func (b *bus) retire(s *subscriber) {
	s.epoch++
	f := s.flow
	if f == nil {
		return
	}
	s.flow, s.leaving = nil, f // none is opened before that has ended
	go func() {                // ends within the grace of the flow
		f.drain(b.graceOf(f))
		b.mu.Lock()
		for _, p := range b.parts {
			if o, ok := f.lowest(p.place); ok && p.books != nil && !s.removed {
				a := b.account(p, s)
				p.books.detach(a, p.books.next)
				p.books.back(a, o)
			}
		}
		s.leaving = nil
		b.mu.Unlock()
		f.endAll()
		b.wake()
	}()
}

// local says what this process does for a target.
func (b *bus) local(name string) Local {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.subs[name]
	if s == nil {
		return Local{}
	}
	l := Local{Version: s.version, Err: s.err}
	if l.Err == nil {
		l.Err = b.err
	}
	l.Running = b.consumer != nil && !b.fresh[s] && !s.stopped && s.err == nil
	return l
}

// follow stops targets and lets them go on, as operators say. It returns a channel that
// is closed when they may say otherwise.
func (b *bus) follow() <-chan struct{} {
	_, changed := b.runner.memory.standing("")
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		now, _ := b.runner.memory.standing(s.def.Name)
		switch stop := now.State != Running; {
		case stop && !s.stopped:
			s.stopped = true
			b.retire(s)
		case !stop && s.stopped:
			s.stopped = false
		}
	}
	return changed
}

// lowest returns the lowest offset of a partition that is under way.
func (f *flow) lowest(at place) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.parts[at]
	if p == nil || p.track.span() == 0 {
		return 0, false
	}
	return p.track.offsets[0], true
}

// hasRoom says whether a flow of a bus can take another event; with half, whether it is
// worth while to fetch some.
func (f *flow) hasRoom(half bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := f.heldRecords()
	if half {
		most /= 2
	}
	return f.records < most && f.bytes < heldBytes && (f.bytes == 0 || f.runner.held.used.Load() < budgetBytes)
}

// endAll forgets all that a flow holds, whose attempts have ended, and closes its target.
func (f *flow) endAll() {
	f.mu.Lock()
	var all []*partition
	for _, p := range f.parts {
		p.let = true
		all = append(all, p)
	}
	f.mu.Unlock()
	f.forget(all)
	f.working.Wait()
	f.closeTargets()
}
