// Package pipe runs pipes: it takes records from topics, filters and transforms
// them, and delivers them to a target.
//
// A Runner keeps the defined pipes running, each as a flow: one goroutine polls,
// filters, transforms and batches, up to InFlight goroutines deliver, one
// commits. What they share is guarded by one mutex of the flow. DESIGN.md tells
// how order, retries and commits fit together.
package pipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// A Config is what a Runner works with. All fields but Clusters are required.
type Config struct {
	Cluster *kafka.Cluster
	// Clusters are those of kafka.clusters, by name; nil: there are none.
	Clusters  map[string]*kafka.Cluster
	Kinds     []target.Kind
	Transport http.RoundTripper
	Egress    *target.Egress
	Secret    secret.Lookup
	Metrics   *Metrics
	Log       *slog.Logger
	// Grace is how long deliveries that are under way may take at the end.
	Grace time.Duration
}

// A Runner keeps pipes running.
type Runner struct {
	cfg     Config
	metrics *Metrics
	pipes   []catalog.Pipe
	first   []*flow // compiled by New, for the first run of each pipe
	memory  *memory
	held    budget
	journal *journal
	joined  sync.WaitGroup

	clusters map[string]target.Produce

	mu    sync.Mutex
	flows map[*flow]bool // those that run
}

// New returns a runner for the pipes. The error names the pipe whose definition
// cannot work and says why.
func New(cfg Config, pipes []catalog.Pipe) (*Runner, error) {
	r := &Runner{cfg: cfg, metrics: cfg.Metrics, pipes: pipes, flows: map[*flow]bool{}, clusters: map[string]target.Produce{}}
	for name, c := range cfg.Clusters {
		r.clusters[name] = c.Produce
	}
	r.memory = &memory{runner: r, opening: make(chan struct{}, 1), changed: make(chan struct{})}
	r.held.pipes = int64(max(len(pipes), 1))
	r.journal = &journal{cluster: cfg.Cluster, metrics: cfg.Metrics}
	for _, p := range pipes {
		f, err := newFlow(p, r)
		if err != nil {
			return nil, fmt.Errorf("pipe %q: %w", p.Name, err)
		}
		r.first = append(r.first, f)
	}
	r.joined.Add(len(pipes))
	return r, nil
}

// definition returns a pipe with its defaults; the error is ErrNoPipe.
func (r *Runner) definition(name string) (catalog.Pipe, error) {
	for _, p := range r.pipes {
		if p.Name == name {
			return p.WithDefaults(), nil
		}
	}
	return catalog.Pipe{}, fmt.Errorf("%w: %q", ErrNoPipe, name)
}

// open makes a target of its kind.
func (r *Runner) open(t catalog.Target, env target.Env) (target.Target, error) {
	for _, k := range r.cfg.Kinds {
		if k.Name == t.Kind {
			return k.Open(t.Config, env)
		}
	}
	return nil, fmt.Errorf("there is no target kind %q", t.Kind)
}

// Joined waits until every pipe has tried once to join its group, or ctx ends.
func (r *Runner) Joined(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		r.joined.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Run runs the pipes until ctx ends, and returns when deliveries have ended,
// offsets are committed and the groups are left.
func (r *Runner) Run(ctx context.Context) {
	defer r.memory.close()
	defer r.journal.end()
	if len(r.first) > 0 && !r.openMemory(ctx) {
		for _, f := range r.first {
			f.closeTargets()
			r.joined.Done()
		}
		return
	}
	starting := make(chan struct{}, 16) // so many pipes ask the cluster at once
	var running sync.WaitGroup
	running.Go(func() { r.scale(ctx) })
	for i := range r.first {
		running.Go(func() { r.keep(ctx, r.first[i], starting) })
	}
	running.Wait()
}

// openMemory waits until what pipes remember can be read; false means that ctx
// has ended first.
func (r *Runner) openMemory(ctx context.Context) bool {
	for attempt := 1; ; attempt++ {
		_, err := r.memory.open(ctx)
		if err == nil {
			return true
		}
		wait := backoff(restart, attempt, 0)
		if ctx.Err() == nil {
			r.cfg.Log.Error("pipes cannot run yet: what they remember cannot be read", "topic", MemoryTopic, "again_in", wait, "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// restart is the wait before a pipe that could not run is tried again.
var restart = catalog.Backoff{Min: time.Second, Max: 30 * time.Second}

// keep runs one pipe whenever it is to run, and starts it again when it has
// stopped by itself.
func (r *Runner) keep(ctx context.Context, f *flow, starting chan struct{}) {
	def, log := f.def, f.log
	announce := sync.OnceFunc(r.joined.Done)
	defer announce()
	for attempt := 1; ctx.Err() == nil; attempt++ {
		if s, changed := r.memory.standing(def.Name); s.State != Running {
			announce()
			log.Warn("pipe does not run", "state", s.State, "reason", s.Reason, "since", s.Since)
			f.metrics.halted.Set(boolean(s.State == Halted))
			f.metrics.disabled.Set(boolean(s.State == Disabled))
			f.metrics.wanted.Set(0)
			r.awaitChange(ctx, def.Name, s, changed)
			attempt = 0
			continue
		}
		f.metrics.halted.Set(0)
		f.metrics.disabled.Set(0)
		starting <- struct{}{}
		err := f.join(ctx)
		<-starting
		announce()
		if errors.Is(err, kafka.ErrOffsetsVanished) {
			r.halt(ctx, f, Halted, err)
			continue
		}
		if err == nil {
			attempt = 0
			log.Info("pipe running", "topics", def.Topics, "group", def.Group)
			r.runWhileWanted(ctx, f)
			if s := f.stopped; s != nil {
				r.halt(ctx, f, s.state, s.reason)
			}
			again, err := newFlow(def, r)
			if err == nil {
				f = again
				continue
			}
			log.Error("pipe cannot be started again", "err", err)
			return
		}
		wait := backoff(restart, attempt, 0)
		log.Error("pipe cannot run yet", "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	f.closeTargets()
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// awaitChange waits until a pipe's state is another one.
func (r *Runner) awaitChange(ctx context.Context, pipe string, was standing, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		var now standing
		if now, changed = r.memory.standing(pipe); now != was {
			return
		}
	}
}

// runWhileWanted runs a flow until ctx ends or the pipe is to stop.
func (r *Runner) runWhileWanted(ctx context.Context, f *flow) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r.mu.Lock()
	r.flows[f] = true
	r.mu.Unlock()
	var watching sync.WaitGroup
	watching.Go(func() {
		defer stop()
		for {
			s, changed := r.memory.standing(f.def.Name)
			if s.State != Running {
				return
			}
			f.follow(r.memory.scale(f.def.Name))
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	f.run(ctx, r.cfg.Grace)
	r.mu.Lock()
	delete(r.flows, f)
	r.mu.Unlock()
	stop()
	watching.Wait()
}

// halt stops a pipe in all processes until an operator has looked at it. It goes
// on trying until that is noted: meanwhile the pipe does not run here.
func (r *Runner) halt(ctx context.Context, f *flow, state string, reason error) {
	f.metrics.halted.Set(boolean(state == Halted))
	f.metrics.disabled.Set(boolean(state == Disabled))
	if state == Disabled {
		f.log.Error("pipe disabled; klamm pipe resume lets it run again", "err", reason)
	} else {
		f.log.Error("pipe halted; say where it shall go on with klamm pipe seek", "err", reason)
	}
	for attempt := 1; ctx.Err() == nil; attempt++ {
		err := r.memory.stop(ctx, f.def.Name, state, reason.Error())
		if err == nil {
			return
		}
		f.log.Error("that the pipe has stopped cannot be noted yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(backoff(restart, attempt, 0)):
		}
	}
}

// fieldsOf returns the fields of a record's document that are looked at.
func fieldsOf(p *rule.RecordPattern, t *transform.Transform) event.Fields {
	var want event.Fields
	if p != nil {
		for _, name := range p.Fields() {
			want.Pick(name)
		}
	}
	if t != nil {
		names, all := t.Fields()
		if all {
			return event.AllFields
		}
		for _, name := range names {
			want.Pick(name)
		}
	}
	return want
}

// matches asks a filter. A key or value in a form that the pattern cannot look
// into passes, as far as the rest matches (event-patterns.md 11).
func (f *flow) matches(p *rule.RecordPattern, doc []byte, key, value event.Form) bool {
	ok, err := p.Match(doc, forms[key], forms[value])
	if err != nil {
		f.log.Error("the filter failed; the record is delivered", "err", err)
		return true
	}
	return ok
}

// forms are the forms of klamm's own documents in the pattern language's words.
var forms = map[event.Form]rule.Form{event.Null: rule.Missing, event.JSON: rule.JSON, event.Text: rule.Text, event.Binary: rule.Binary}
