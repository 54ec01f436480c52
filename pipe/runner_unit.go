package pipe

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// A unit is one pipe of this process, whatever its definitions are one after the
// other. The runner's mutex guards its fields.
type unit struct {
	name     string
	announce func()          // says that it has tried to join its group, once
	after    <-chan struct{} // closed when a pipe of that name is at its end that was here before; nil: there was none
	done     chan struct{}   // closed when it is at its own end
	def      catalog.Pipe
	changed  chan struct{} // closed and replaced with each definition
	removed  bool
	first    *flow  // of the first definition, if it was compiled already
	left     func() // says that the cluster of the definition's source is not needed any more
	bus      *bus   // that runs it instead, as a target of a rule; nil: it runs itself
	local    Local
}

// A Local is what one process does for a pipe.
type Local struct {
	// Version is that of the definition which runs here, or was tried last.
	Version int64
	// Running says that this process is a member of the pipe's group.
	Running bool
	// Err is why it is not, or why a newer definition cannot take over from the one
	// that runs; nil: nothing is wrong.
	Err error
}

func (r *Runner) newUnit(def catalog.Pipe, announce func()) *unit {
	return &unit{name: def.Name, announce: announce, done: make(chan struct{}), def: def, changed: make(chan struct{}), left: r.sources.use(def.SourceLogin)}
}

// Set makes a pipe run by a definition, from now on, in place of the one that it has,
// if it has one. What is being delivered is finished first, by the definition before;
// what is only read is read again. It returns at once.
func (r *Runner) Set(def catalog.Pipe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.share()
	if def.Bus != nil {
		r.setTarget(def)
		return
	}
	if u, ok := r.pipes[def.Name]; ok {
		if !reflect.DeepEqual(u.def, def) {
			was := u.left
			r.tally(u, -1)
			u.def, u.left = def, r.sources.use(def.SourceLogin)
			r.tally(u, 1)
			go was() // closing takes a while
			close(u.changed)
			u.changed = make(chan struct{})
		}
		return
	}
	u := r.newUnit(def, func() {})
	if was := r.ending[def.Name]; was != nil {
		u.after = was.done
	}
	r.pipes[def.Name] = u
	r.names = nil
	r.tally(u, 1)
	if r.start != nil {
		r.start(u)
	}
}

// Check says whether a pipe could be run as a definition says; the error says what is
// wrong. Nothing is delivered.
func (r *Runner) Check(def catalog.Pipe) error {
	if def.Bus != nil {
		return r.checkTarget(def)
	}
	f, err := newFlow(def, r)
	if err == nil {
		f.closeTargets()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pipes[def.Name] == nil && r.ending[def.Name] == nil { // the series are of no pipe
		r.metrics.forget(def.Name)
		if e := def.Envelope; e != nil {
			r.metrics.mappings.forget(e.Mapping)
		}
	}
	return err
}

// Remove ends a pipe. What is being delivered is finished; it returns at once.
func (r *Runner) Remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.share()
	u, ok := r.pipes[name]
	if !ok {
		return
	}
	delete(r.pipes, name)
	r.names = nil
	delete(r.keepers, name)
	r.shelf.forget(name)
	r.tally(u, -1)
	u.removed = true
	if u.bus != nil {
		u.bus.remove(name)
		return
	}
	close(u.changed)
	if r.start != nil {
		r.ending[name] = u
	} else {
		go u.left()
	}
}

// Forget drops what is remembered of a pipe that there is no more: whether it was
// paused, its consumers, and that its offsets have been committed; of a target of a rule
// or an archive also its own offsets. Other offsets, and dead letters, stay.
func (r *Runner) Forget(ctx context.Context, pipe string) error {
	t, err := r.memory.open(ctx)
	if err != nil {
		return err
	}
	if strings.HasPrefix(pipe, "klamm.rule.") || strings.HasPrefix(pipe, "klamm.archive.") {
		if err := r.cfg.Cluster.DeleteGroup(ctx, groupOfTarget(pipe)); err != nil {
			return err
		}
	}
	return t.Update(ctx, func(tx *table.Tx) error {
		for _, key := range []string{"state/" + pipe, "begun/" + pipe, scaleKey(pipe), resultKey(pipe)} {
			tx.Delete(key)
		}
		return nil
	})
}

// Local returns what this process does for a pipe; the error is ErrNoPipe.
func (r *Runner) Local(name string) (Local, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u, ok := r.pipes[name]; ok {
		if u.bus != nil {
			return u.bus.local(name), nil
		}
		return u.local, nil
	}
	return Local{}, fmt.Errorf("%w: %q", ErrNoPipe, name)
}

// Members returns how many members the group of a pipe has in the whole cluster. The error
// is ErrElsewhere where that cannot be known, since the cluster is another one than klamm's
// own and does not answer.
func (r *Runner) Members(ctx context.Context, name string) (n int, err error) {
	def, err := r.definition(name)
	if err != nil {
		return 0, err
	}
	err = r.ask(ctx, def, func(ctx context.Context, source *kafka.Cluster) error {
		n, err = membersIn(ctx, source, def)
		return err
	})
	return n, err
}

// OwnMembers is Members without those that are no processes of klamm.
func (r *Runner) OwnMembers(ctx context.Context, name string) (n int, err error) {
	def, err := r.definition(name)
	if err != nil {
		return 0, err
	}
	source, err := r.source(def)
	if err != nil {
		return 0, err
	}
	group, err := source.Group(ctx, def.Group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil
	}
	for _, m := range group.Members {
		if kafka.IsOwn(m.ClientID) {
			n++
		}
	}
	return n, err
}

// Standing is State that also knows of pipes that are stopped by their definition.
func (r *Runner) Standing(name string) (state, reason string) {
	r.mu.Lock()
	def := catalog.Pipe{Name: name}
	if u, ok := r.pipes[name]; ok {
		def.Paused = u.def.Paused
	}
	r.mu.Unlock()
	s, _ := r.standing(def)
	return s.State, s.Reason
}

// State returns what keeps a pipe from running, or Running, and why. It knows of what
// operators and the pipe itself have done, as far as this process has heard.
func (r *Runner) State(name string) (state, reason string) {
	s, _ := r.memory.standing(name)
	return s.State, s.Reason
}

// tally counts a unit that comes, or with -1 one that goes. The runner's mutex is held.
func (r *Runner) tally(u *unit, n int64) {
	if !u.def.Paused && u.bus == nil {
		r.wanted += n
	}
}

// share tells the budget how many pipes run. The runner's mutex is held, or nobody
// else knows the runner yet.
func (r *Runner) share() {
	r.held.pipes.Store(r.wanted + int64(len(r.buses)))
	if len(r.pipes) > 0 {
		r.wake()
	}
}

// A wish is what a unit is to do, and changed is closed when that is another.
type wish struct {
	def     catalog.Pipe
	changed <-chan struct{}
	removed bool
}

func (r *Runner) wish(u *unit) wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	return wish{u.def, u.changed, u.removed}
}

func (r *Runner) note(u *unit, l Local) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u.local = l
}

// standing returns whether a pipe is to run by its definition and by what is
// remembered of it, and a channel that is closed when the latter may have changed.
func (r *Runner) standing(def catalog.Pipe) (standing, <-chan struct{}) {
	s, changed := r.memory.standing(def.Name)
	if s.State == Running && def.Paused {
		s = standing{State: Paused, Reason: "stopped by its definition"}
	}
	return s, changed
}

// keep runs a unit whenever it is to run, and starts it again when it has stopped by
// itself, until ctx ends or it is removed.
func (r *Runner) keep(ctx context.Context, u *unit, starting chan struct{}) {
	defer r.ended(u)
	if u.after != nil {
		select {
		case <-u.after:
		case <-ctx.Done():
		}
	}
	select {
	case <-r.known:
	case <-ctx.Done():
	}
	for attempt := 1; ctx.Err() == nil; attempt++ {
		w := r.wish(u)
		if w.removed {
			return
		}
		if s, changed := r.standing(w.def); s.State != Running {
			r.idle(ctx, u, w, s, changed)
			attempt = 0
			continue
		}
		f, err := r.enter(ctx, u, w.def, starting)
		switch {
		case err == nil:
			attempt = 0
			f.log.Info("pipe running", "topics", f.def.Topics, "group", f.def.Group)
			if !r.occupy(ctx, u, w, f) {
				continue
			}
			select { // what has ended by itself may do so again
			case <-ctx.Done():
			case <-time.After(restart.Min):
			}
		case errors.Is(err, kafka.ErrOffsetsVanished):
			r.note(u, Local{Version: w.def.Version, Err: err})
			r.halt(ctx, f, Halted, err)
		default:
			r.note(u, Local{Version: w.def.Version, Err: err})
			wait := backoff(restart, attempt, 0)
			if ctx.Err() == nil {
				r.cfg.Log.Error("pipe cannot run yet", "pipe", u.name, "again_in", wait, "err", err)
			}
			select {
			case <-ctx.Done():
			case <-w.changed:
			case <-time.After(wait):
			}
		}
	}
}

// ended notes that a unit is at its end.
func (r *Runner) ended(u *unit) {
	u.announce()
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.first != nil {
		u.first.closeTargets()
		u.first = nil
	}
	go u.left()
	if r.ending[u.name] == u {
		delete(r.ending, u.name)
		if r.pipes[u.name] == nil {
			r.metrics.forget(u.name)
			r.memory.drop(u.name)
			if e := u.def.Envelope; e != nil {
				r.metrics.mappings.forget(e.Mapping)
			}
		}
	}
	close(u.done)
}

// idle waits until a pipe that does not run has another definition or state.
func (r *Runner) idle(ctx context.Context, u *unit, w wish, was standing, changed <-chan struct{}) {
	u.announce()
	r.note(u, Local{Version: w.def.Version})
	if !w.def.Paused {
		r.cfg.Log.Warn("pipe does not run", "pipe", u.name, "state", was.State, "reason", was.Reason, "since", was.Since)
		m := r.metrics.of(u.name)
		m.halted.Set(boolean(was.State == Halted))
		m.disabled.Set(boolean(was.State == Disabled))
		m.wanted.Set(0)
		m.open.Set(0)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			return
		case <-changed:
		}
		var now standing
		if now, changed = r.standing(w.def); now != was {
			return
		}
	}
}

// enter compiles a definition and joins its group. With the error of offsets that
// have vanished it returns the flow as well.
func (r *Runner) enter(ctx context.Context, u *unit, def catalog.Pipe, starting chan struct{}) (f *flow, err error) {
	defer u.announce()
	r.mu.Lock()
	f, u.first = u.first, nil
	r.mu.Unlock()
	if f != nil && !reflect.DeepEqual(f.def, def.WithDefaults()) {
		f.closeTargets()
		f = nil
	}
	if f == nil {
		if f, err = newFlow(def, r); err != nil {
			return nil, err
		}
	}
	f.metrics.halted.Set(0)
	f.metrics.disabled.Set(0)
	if x, ok := f.target.(*execution); ok {
		x.series.show()
	}
	starting <- struct{}{}
	err = f.join(ctx)
	<-starting
	if err != nil {
		f.closeTargets()
	}
	return f, err
}

// occupy runs a flow, and those that take over from it, until ctx ends or the pipe
// is to stop or to start anew. It says whether the last one has ended by itself.
func (r *Runner) occupy(ctx context.Context, u *unit, w wish, f *flow) (broken bool) {
	s := f.seat
	for {
		r.note(u, Local{Version: w.def.Version, Running: true})
		next, by := r.runWhileWanted(ctx, u, w, f)
		if next == nil {
			break
		}
		s.hand(next)
		f.closeTargets()
		f, w = next, by
		f.log.Info("the pipe's new definition has taken over", "version", w.def.Version)
	}
	s.leave()
	f.closeTargets()
	r.note(u, Local{Version: w.def.Version})
	if stop := f.stopped; stop != nil {
		r.halt(ctx, f, stop.state, stop.reason)
	}
	return f.broken
}

// runWhileWanted runs a flow until ctx ends or the pipe is to stop. It returns the
// flow that takes over, if there is one, and by which wish.
func (r *Runner) runWhileWanted(ctx context.Context, u *unit, w wish, f *flow) (next *flow, by wish) {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	r.mu.Lock()
	r.flows[f] = true
	r.mu.Unlock()
	var watching sync.WaitGroup
	watching.Go(func() {
		defer stop()
		next, by = r.watch(serving, u, w, f)
	})
	f.run(serving, func() time.Duration {
		if ctx.Err() != nil {
			return r.cfg.Grace
		}
		return min(r.cfg.Grace, f.def.Delivery.Timeout+time.Second)
	})
	r.mu.Lock()
	delete(r.flows, f)
	r.mu.Unlock()
	stop()
	watching.Wait()
	f.mu.Lock()
	over := f.stopped != nil
	f.mu.Unlock()
	if next != nil && (over || ctx.Err() != nil || f.consumer.Left()) {
		next.closeTargets()
		next = nil
	}
	return next, by
}

// watch returns when the pipe is to stop, with the flow that takes over, if another
// one shall.
func (r *Runner) watch(ctx context.Context, u *unit, w wish, f *flow) (*flow, wish) {
	seen := w.def
	for {
		now := r.wish(u)
		s, changed := r.standing(now.def)
		if now.removed || s.State != Running {
			return nil, now
		}
		if !reflect.DeepEqual(now.def, seen) {
			seen = now.def
			switch {
			case alike(w.def, now.def):
				r.note(u, Local{Version: now.def.Version, Running: true})
			case !succeeds(w.def, now.def):
				return nil, now
			default:
				next, err := newFlow(now.def, r)
				if err == nil {
					return next, now
				}
				f.log.Error("the pipe's new definition cannot work; it goes on by the one before", "version", now.def.Version, "err", err)
				r.note(u, Local{Version: now.def.Version, Running: true, Err: err})
			}
		}
		f.follow(r.memory.scale(f.def.Name))
		select {
		case <-ctx.Done():
			return nil, now
		case <-changed:
		case <-now.changed:
		}
	}
}

// alike says whether two definitions do the same.
func alike(a, b catalog.Pipe) bool {
	a.Version = b.Version
	return reflect.DeepEqual(a, b)
}

// succeeds says whether a flow of one definition can take over from a flow of the
// other, rather than begin anew: they have to read the same, and a transaction
// belongs to who began it. A file belongs to the log that writes it.
func succeeds(was, now catalog.Pipe) bool {
	a, b := was.WithDefaults(), now.WithDefaults()
	return a.Group == b.Group && a.SourceCluster == b.SourceCluster && reflect.DeepEqual(a.SourceLogin, b.SourceLogin) && slices.Equal(a.Topics, b.Topics) && !a.Transactional() && !b.Transactional() && a.Target.Kind != "log" && b.Target.Kind != "log"
}

// forget drops the series of a pipe that there is no more.
func (m *Metrics) forget(pipe string) {
	label := prometheus.Labels{"pipe": pipe}
	for _, v := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{m.records, m.attempts, m.seconds, m.waiting, m.partitions, m.consumers, m.wanted, m.open, m.limit, m.gone, m.halted, m.disabled, m.commitFailures, m.letterFailures} {
		v.DeletePartialMatch(label)
	}
	m.executions.forget(pipe)
}
