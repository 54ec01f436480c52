package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// An execution is the target of a pipe of EventBridge Pipes (pipes.md 5 to 10): it
// enriches the records of a batch, makes of them what the target takes, and hands
// them to the target. Nothing that fails in it is given up: the engine tries the whole
// batch again until it succeeds, and nothing else of the partition goes on meanwhile.
type execution struct {
	source     event.Source
	inner      target.Target
	invoker    target.Invoker       // nil: nobody enriches
	input      *transform.Transform // of the enrichment; nil: the records
	output     *transform.Transform // of the target; nil: the events
	most       int                  // events that the target takes at once
	arrays     bool                 // the enrichment takes an array, also of one
	enrichTime time.Duration
	targetTime time.Duration
	// enrichRate and targetRate are shared with other pipes; nil: there is no limit.
	enrichRate, targetRate *rate.Limiter
}

const (
	// executionTime is how long an execution may take (pipes.md 5).
	executionTime = 5 * time.Minute
	// httpTime is how long an API destination may take to answer (pipes.md 7, 10).
	httpTime = 5 * time.Second
)

// openExecution makes the target of a pipe of EventBridge Pipes.
func (r *Runner) openExecution(def catalog.Pipe, env target.Env) (_ *execution, err error) {
	e := def.Execution
	if def.SourceCluster != "" && r.cfg.Clusters[def.SourceCluster] == nil {
		return nil, fmt.Errorf("there is no cluster %q in kafka.clusters", def.SourceCluster)
	}
	env.Batch = "" // each event stands for itself, also where several are handed over
	x := &execution{source: event.Source{EventSource: e.EventSource, Bootstrap: e.Bootstrap}, most: def.Delivery.Batch.Records, enrichTime: executionTime, targetTime: executionTime}
	if e.Bootstrap == "" {
		x.source.ARN = e.SourceARN
	}
	vars := transform.Vars{PipeARN: e.PipeARN, PipeName: def.Name, SourceARN: e.SourceARN, EnrichmentARN: e.EnrichmentARN, TargetARN: e.TargetARN}
	if e.EnrichmentTemplate != "" {
		if x.input, err = transform.Compile(transform.Spec{Template: e.EnrichmentTemplate, Encoded: true}, vars); err != nil {
			return nil, fmt.Errorf("enrichment: %w", err)
		}
	}
	if e.TargetTemplate != "" {
		if x.output, err = transform.Compile(transform.Spec{Template: e.TargetTemplate, Encoded: e.Enrichment == nil}, vars); err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
	}
	if e.Enrichment != nil {
		if x.invoker, err = r.openEnrichment(e.Enrichment.Kind, e.Enrichment.Config, env); err != nil {
			return nil, fmt.Errorf("enrichment: %w", err)
		}
		if e.Enrichment.Kind == "webhook" {
			x.enrichTime = httpTime
		}
		x.arrays = e.Enrichment.Kind == "function"
	}
	if x.inner, err = r.open(def.Target, env); err != nil {
		if x.invoker != nil {
			_ = x.invoker.Close()
		}
		return nil, err
	}
	if def.Target.Kind == "webhook" {
		x.targetTime = httpTime
	}
	x.enrichRate, x.targetRate = r.rates.of(e.EnrichmentRate), r.rates.of(e.TargetRate)
	return x, nil
}

// rates are the limits that pipes of this process share, by what is called. The zero
// value is ready for use, by many goroutines.
type rates struct {
	mu  sync.Mutex // guards all
	all map[string]*rate.Limiter
}

// of returns the limiter of a rate, which has that rate from now on for all who share
// it; nil: there is none.
func (rs *rates) of(c catalog.Rate) *rate.Limiter {
	if c.Of == "" || c.PerSecond <= 0 {
		return nil
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.all == nil {
		rs.all = map[string]*rate.Limiter{}
	}
	// A hundredth of a second's requests at once, so that late timers do not cost
	// throughput.
	burst := max(1, c.PerSecond/100)
	l := rs.all[c.Of]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(c.PerSecond), burst)
		rs.all[c.Of] = l
	}
	if l.Limit() != rate.Limit(c.PerSecond) {
		l.SetLimit(rate.Limit(c.PerSecond))
		l.SetBurst(burst)
	}
	return l
}

// await waits for one's turn.
func await(ctx context.Context, l *rate.Limiter) error {
	if l == nil {
		return nil
	}
	if err := l.Wait(ctx); err != nil {
		return fmt.Errorf("the rate of the API destination leaves no room within the time of an execution: %w", err)
	}
	return nil
}

// Endpoint is that of the target.
func (x *execution) Endpoint() string {
	if l, ok := x.inner.(locator); ok {
		return l.Endpoint()
	}
	return ""
}

// Close closes target and enrichment.
func (x *execution) Close() error {
	err := x.inner.Close()
	if x.invoker != nil {
		err = errors.Join(err, x.invoker.Close())
	}
	return err
}

// Deliver executes a batch.
func (x *execution) Deliver(ctx context.Context, events []*event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, executionTime)
	defer cancel()
	err := x.execute(ctx, events)
	var partial *target.PartialError
	if !errors.As(err, &partial) {
		return insist(err)
	}
	if len(partial.Failed) == 0 {
		return nil
	}
	// What comes before the first that failed is done; from there on all is tried
	// again, in order (pipes.md 10).
	lowest := slices.Min(slices.Collect(maps.Keys(partial.Failed)))
	first := insist(fmt.Errorf("a part of the batch was not accepted: %w", partial.Failed[lowest]))
	if x.invoker != nil || lowest == 0 || lowest >= len(events) {
		return first // which record an event came from is not known any more
	}
	again := &target.PartialError{Failed: map[int]error{}}
	for i := lowest; i < len(events); i++ {
		again.Failed[i] = first
	}
	return again
}

// insist makes an error one that is worth another attempt.
func insist(err error) error {
	if err == nil {
		return nil
	}
	again := *target.FailureOf(err)
	again.Final = false
	return &again
}

func (x *execution) execute(ctx context.Context, events []*event.Event) error {
	out := make([]*event.Event, 0, len(events))
	if x.invoker == nil {
		for _, e := range events {
			own, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Encoded)
			seen, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Decoded)
			out = append(out, &event.Event{Record: e.Record, Body: own, Document: seen, ID: e.ID, Attempt: e.Attempt})
		}
	} else {
		bodies, err := x.enrich(ctx, events)
		if err != nil || len(bodies) == 0 {
			return err
		}
		for i, body := range bodies {
			from := events[min(i, len(events)-1)]
			if !scan.Valid(body) {
				body = scan.AppendString(nil, string(body))
			}
			out = append(out, &event.Event{Record: from.Record, Body: body, Document: body, Attempt: from.Attempt})
		}
		out[0].ID = events[0].ID
	}
	if x.output != nil {
		for _, e := range out {
			body, err := x.output.Apply(nil, e.Body, time.Now())
			if err != nil {
				return fmt.Errorf("the input template of the target: %w", err)
			}
			e.Body = body
		}
	}
	if err := await(ctx, x.targetRate); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, x.targetTime)
	defer cancel()
	return x.inner.Deliver(ctx, out)
}

// enrich asks about the records, and returns what is said instead of them; nothing
// means that the batch is done.
func (x *execution) enrich(ctx context.Context, events []*event.Event) ([]json.RawMessage, error) {
	in := make([]*event.Event, len(events))
	for i, e := range events {
		body, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Encoded)
		if x.input != nil {
			made, err := x.input.Apply(nil, body, time.Now())
			if err != nil {
				return nil, fmt.Errorf("the input template of the enrichment: %w", err)
			}
			body = made
		}
		if len(events) == 1 && (x.input == nil || x.arrays) {
			if !scan.Valid(body) {
				body = scan.AppendString(nil, string(body))
			}
			body = append(append([]byte{'['}, body...), ']')
		}
		seen, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Decoded)
		in[i] = &event.Event{Record: e.Record, Body: body, Document: seen, ID: e.ID, Attempt: e.Attempt}
	}
	if err := await(ctx, x.enrichRate); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.enrichTime)
	defer cancel()
	answer, err := x.invoker.Invoke(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("enrichment: %w", err)
	}
	bodies, err := answered(answer)
	if err != nil {
		return nil, fmt.Errorf("enrichment: %w", err)
	}
	if len(bodies) > x.most {
		return nil, fmt.Errorf("enrichment: the answer has %d events, and the target takes %d at once", len(bodies), x.most)
	}
	return bodies, nil
}

// filters are the patterns of a pipe of EventBridge Pipes, of which one must match
// (pipes.md 6).
type filters struct {
	source   event.Source
	patterns []*rule.RecordPattern
}

// newFilters compiles the filters of a definition; nil: it has none.
func newFilters(def catalog.Pipe) (*filters, error) {
	e := def.Execution
	if e == nil || len(e.Filters) == 0 {
		return nil, nil
	}
	// What the poller adds to a record cannot be filtered by (event-patterns.md 11).
	fs := &filters{}
	for i, pattern := range e.Filters {
		p, err := rule.CompileRecord(pattern)
		if err != nil {
			return nil, fmt.Errorf("filter %d: %w", i+1, err)
		}
		fs.patterns = append(fs.patterns, p)
	}
	return fs, nil
}

// pass says whether a record is to be delivered. A nil filters lets everything pass.
func (fs *filters) pass(f *flow, r *kgo.Record) bool {
	if fs == nil {
		return true
	}
	doc, key, value := event.AppendPipesRecord(nil, r, fs.source, event.Plain)
	for _, p := range fs.patterns {
		if f.matches(p, doc, key, value) {
			return true
		}
	}
	return false
}
