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

// A Config is what a Runner works with. All fields are required.
type Config struct {
	Cluster   *kafka.Cluster
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
	joined  sync.WaitGroup
}

// New returns a runner for the pipes. The error names the pipe whose definition
// cannot work and says why.
func New(cfg Config, pipes []catalog.Pipe) (*Runner, error) {
	r := &Runner{cfg: cfg, metrics: cfg.Metrics, pipes: pipes}
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
	starting := make(chan struct{}, 16) // so many pipes ask the cluster at once
	var running sync.WaitGroup
	for i := range r.first {
		running.Go(func() { r.keep(ctx, r.first[i], starting) })
	}
	running.Wait()
}

// keep runs one pipe and starts it again when it has stopped by itself.
func (r *Runner) keep(ctx context.Context, f *flow, starting chan struct{}) {
	announce := sync.OnceFunc(r.joined.Done)
	defer announce()
	for attempt := 1; ctx.Err() == nil; attempt++ {
		starting <- struct{}{}
		err := f.join(ctx)
		<-starting
		announce()
		if err == nil {
			attempt = 0
			f.log.Info("pipe running", "topics", f.def.Topics, "group", f.def.Group)
			f.run(ctx, r.cfg.Grace)
			if ctx.Err() != nil {
				return
			}
			again, err := newFlow(f.def, r)
			if err == nil {
				f = again
				continue
			}
			f.log.Error("pipe cannot be started again", "err", err)
			return
		}
		wait := backoff(catalog.Backoff{Min: time.Second, Max: 30 * time.Second}, attempt, 0)
		f.log.Error("pipe cannot run yet", "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	f.closeTargets()
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

// matches asks the filter. A key or value in a form that the pattern cannot look
// into passes, as far as the rest matches (event-patterns.md 11).
func (f *flow) matches(doc []byte, key, value event.Form) bool {
	ok, err := f.pattern.Match(doc, forms[key], forms[value])
	if err != nil {
		f.log.Error("the filter failed; the record is delivered", "err", err)
		return true
	}
	return ok
}

// forms are the forms of klamm's own documents in the pattern language's words.
var forms = map[event.Form]rule.Form{event.Null: rule.Missing, event.JSON: rule.JSON, event.Text: rule.Text, event.Binary: rule.Binary}
