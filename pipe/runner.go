// Package pipe runs pipes: it takes records from topics, filters and transforms
// them, and delivers them to a target.
//
// A Runner keeps the defined pipes running, each as a flow: one goroutine polls,
// filters, transforms and batches, up to InFlight goroutines deliver, one
// commits. What they share is guarded by one mutex of the flow. Definitions come,
// change and go while it runs (runner_unit.go); where it can, a changed one takes
// over the membership of the consumer group from the one before (runner_seat.go).
// DESIGN.md tells how order, retries and commits fit together.
package pipe

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/trace"
	"github.com/klamm-gateway/klamm/transform"
)

// A Config is what a Runner works with. All fields but Clusters and Login are required.
type Config struct {
	Cluster *kafka.Cluster
	// Clusters are those of kafka.clusters, by name; nil: there are none.
	Clusters map[string]*kafka.Cluster
	// Login makes the client of a login; nil: pipes have none of their own.
	Login     func(catalog.Login) (*kafka.Cluster, error)
	Kinds     []target.Kind
	Transport http.RoundTripper
	Egress    *target.Egress
	Secret    secret.Lookup
	Metrics   *Metrics
	Log       *slog.Logger
	// Invoke runs a function (target.Env); nil: there are none.
	Invoke func(ctx context.Context, name string, in function.Invocation) (function.Outcome, error)
	// Enqueue keeps an invocation that nobody waits for (target.Env); nil: there are none.
	Enqueue func(ctx context.Context, name string, in function.Invocation) error
	// LoggedIn is told how connections log in (target.Env); nil: nobody wants to know.
	LoggedIn func(ctx context.Context, connection string, err error)
	// PutObject writes an object into a bucket of the object store, in the place of
	// one with the same key; nil: there is none.
	PutObject func(ctx context.Context, bucket, key, mediaType string, body []byte) error
	// Schemas decodes what is framed for a schema registry; nil: nothing is.
	Schemas *schema.Client
	// OpenRegistry makes the client of a mapping's schema registry, and what closes it;
	// nil: there are none.
	OpenRegistry func(catalog.MappingSchemas) (*schema.Client, func(), error)
	// Tracer makes a span of each delivery; nil: there is no tracing.
	Tracer *trace.Tracer
	// LenientTemplates makes all templates of pipes transform.Spec.Lenient.
	LenientTemplates bool
	// Caught returns when the pipes of all definitions have been Set that anybody had
	// stored before the call, or when ctx has ended. A bus calls it when it has got
	// partitions; nil: they always have been.
	Caught func(ctx context.Context) error
	// Grace is how long deliveries that are under way may take at the end.
	Grace time.Duration
}

// A Runner keeps pipes running. Its methods may be called from any goroutine.
type Runner struct {
	cfg       Config
	metrics   *Metrics
	memory    *memory
	rates     rates
	held      budget
	endpoints endpoints
	journal   *journal
	joined    sync.WaitGroup // of the pipes that New was given
	clusters  map[string]target.Produce
	sources   sources
	silences  silences
	shelf     shelf         // of samples of pipes' steps
	behind    behindTimes   // what is known of how long ago records were produced
	some      chan struct{} // closed when there is a pipe
	wake      func()        // closes it
	known     chan struct{} // closed when what pipes remember can be read

	busesKnown chan struct{} // closed by OpenBuses
	openBuses  func()

	mu      sync.Mutex // guards what follows, and all units
	flows   map[*flow]bool
	pipes   map[string]*unit
	names   []string                    // of Names; nil: pipes have come or gone since
	wanted  int64                       // how many of them run themselves, unless something has stopped them
	ending  map[string]*unit            // removed, and not yet at an end
	start   func(*unit)                 // nil while the runner does not run
	beside  func(func(context.Context)) // does something that Run waits for; as start
	buses   map[string]*bus             // that have had targets here
	keepers map[string]*keeper          // of the pipes that have run here
	tend    func(*bus)                  // as start
}

// New returns a runner for the pipes. The error names the pipe whose definition
// cannot work and says why.
func New(cfg Config, pipes []catalog.Pipe) (*Runner, error) {
	r := &Runner{cfg: cfg, metrics: cfg.Metrics, flows: map[*flow]bool{}, pipes: map[string]*unit{}, ending: map[string]*unit{}, clusters: map[string]target.Produce{},
		some: make(chan struct{}), known: make(chan struct{}), buses: map[string]*bus{}, keepers: map[string]*keeper{}, busesKnown: make(chan struct{})}
	r.openBuses = sync.OnceFunc(func() { close(r.busesKnown) })
	r.wake = sync.OnceFunc(func() { close(r.some) })
	for name, c := range cfg.Clusters {
		r.clusters[name] = c.Produce
	}
	r.memory = &memory{runner: r, opening: make(chan struct{}, 1), changed: make(chan struct{}), news: map[string]chan struct{}{}, read: map[string]readStanding{}}
	r.sources.open = cfg.Login
	r.journal = &journal{cluster: cfg.Cluster, metrics: cfg.Metrics}
	for _, p := range pipes {
		if p.Bus != nil {
			return nil, fmt.Errorf("pipe %q: a target of a rule is made by Set", p.Name)
		}
		f, err := newFlow(p, r)
		if err != nil {
			return nil, fmt.Errorf("pipe %q: %w", p.Name, err)
		}
		u := r.newUnit(p, sync.OnceFunc(r.joined.Done))
		u.first = f
		r.pipes[p.Name] = u
		r.tally(u, 1)
	}
	r.joined.Add(len(pipes))
	r.share()
	return r, nil
}

// definition returns a pipe with its defaults; the error is ErrNoPipe.
func (r *Runner) definition(name string) (catalog.Pipe, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u, ok := r.pipes[name]; ok {
		return u.def.WithDefaults(), nil
	}
	return catalog.Pipe{}, fmt.Errorf("%w: %q", ErrNoPipe, name)
}

// Names returns those of all pipes but the targets of rules, sorted. The caller may not
// change them.
func (r *Runner) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names != nil {
		return r.names
	}
	names := make([]string, 0, len(r.pipes))
	for name, u := range r.pipes {
		if u.bus == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r.names = names
	return names
}

// shortestInterval is how often the pipe is looked at that is looked at most often.
func (r *Runner) shortestInterval() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	shortest := time.Minute
	for _, u := range r.pipes {
		if u.bus != nil {
			continue
		}
		shortest = min(shortest, u.def.WithDefaults().Scale.Interval)
	}
	return shortest
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

// openTarget makes the target of a definition.
func (r *Runner) openTarget(def catalog.Pipe, env target.Env) (target.Target, error) {
	if def.Execution != nil {
		return r.openExecution(def, env)
	}
	return r.open(def.Target, env)
}

// Joined waits until every pipe that New was given has tried once to join its group,
// or ctx ends.
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
// offsets are committed and the groups are left. It is called once.
func (r *Runner) Run(ctx context.Context) {
	defer r.memory.close()
	defer r.journal.end()
	starting := make(chan struct{}, 16) // so many pipes ask the cluster at once
	var running sync.WaitGroup
	running.Go(func() {
		select {
		case <-r.some:
		case <-ctx.Done():
			return
		}
		if r.openMemory(ctx) {
			close(r.known)
		}
	})
	running.Go(func() { r.scale(ctx) })
	r.mu.Lock()
	r.start = func(u *unit) { running.Go(func() { r.keep(ctx, u, starting) }) }
	r.tend = func(b *bus) { running.Go(func() { b.keep(ctx) }) }
	r.beside = func(do func(context.Context)) { running.Go(func() { do(ctx) }) }
	for _, u := range r.pipes {
		if u.bus == nil {
			r.start(u)
		}
	}
	for _, b := range r.buses {
		r.tend(b)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.start, r.tend, r.beside = nil, nil, nil
	r.mu.Unlock()
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

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
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
