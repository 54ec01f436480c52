package pipe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
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
	source  event.Source
	inner   target.Target
	invoker target.Invoker       // nil: nobody enriches
	input   *transform.Transform // of the enrichment; nil: the records
	output  *transform.Transform // of the target; nil: the events
	most    int                  // events that the target takes at once
	arrays  bool                 // the enrichment takes an array, also of one
	// targetLooks and enrichLooks say that parameters may be taken from the event.
	targetLooks, enrichLooks bool
	enrichTime               time.Duration
	targetTime               time.Duration
	// enrichRate and targetRate are shared with other pipes; nil: there is no limit.
	enrichRate, targetRate *rate.Limiter
	enrichCall, targetCall spoken
	log                    *executionLog // nil: none
	series                 *executionSeries
	lastings               lastings
	runner                 *Runner
	queue, function        string // of a function that nobody waits for; empty: the target is called
	queueReady             atomic.Bool
}

const (
	// executionTime is how long an execution may take (pipes.md 5).
	executionTime = 5 * time.Minute
	// httpTime is how long an API destination may take to answer (pipes.md 7, 10).
	httpTime = 5 * time.Second
	// mostEvents is how many events a target takes that has no limit of its own.
	mostEvents = 10_000
)

// openExecution makes the target of a pipe of EventBridge Pipes.
func (r *Runner) openExecution(def catalog.Pipe, env target.Env) (_ *execution, err error) {
	e := def.Execution
	if def.SourceCluster != "" && r.cfg.Clusters[def.SourceCluster] == nil {
		return nil, fmt.Errorf("there is no cluster %q in kafka.clusters", def.SourceCluster)
	}
	env.Batch = "" // each event stands for itself, also where several are handed over
	x := &execution{runner: r, series: &executionSeries{of: r.metrics.executions, pipe: def.Name}, lastings: lastings{after: e.StopAfter}, queue: e.Queue, function: e.Function, source: event.Source{EventSource: e.EventSource, Bootstrap: e.Bootstrap}, most: cmp.Or(e.TargetTakes, mostEvents), enrichTime: executionTime, targetTime: executionTime}
	if e.Bootstrap == "" {
		x.source.ARN = e.SourceARN
	}
	vars := transform.Vars{PipeARN: e.PipeARN, PipeName: def.Name, SourceARN: e.SourceARN, EnrichmentARN: e.EnrichmentARN, TargetARN: e.TargetARN}
	if e.EnrichmentTemplate != "" {
		if x.input, err = transform.Compile(transform.Spec{Template: e.EnrichmentTemplate, Encoded: true, Lenient: r.cfg.LenientTemplates}, vars); err != nil {
			return nil, fmt.Errorf("enrichment: %w", err)
		}
	}
	if e.TargetTemplate != "" {
		if x.output, err = transform.Compile(transform.Spec{Template: e.TargetTemplate, Encoded: e.Enrichment == nil, Lenient: r.cfg.LenientTemplates}, vars); err != nil {
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
		x.enrichLooks = e.Enrichment.Kind != "function"
	}
	if x.inner, err = r.open(def.Target, env); err != nil {
		if x.invoker != nil {
			_ = x.invoker.Close()
		}
		return nil, err
	}
	x.targetLooks = def.Target.Kind == "webhook" || def.Target.Kind == "bus"
	if def.Target.Kind == "webhook" {
		x.targetTime = httpTime
	}
	x.enrichRate, x.targetRate = r.rates.of(e.EnrichmentRate), r.rates.of(e.TargetRate)
	x.targetCall = spokenTo(def.Target)
	if e.Enrichment != nil {
		x.enrichCall = spokenTo(*e.Enrichment)
	}
	if x.log, err = r.openExecutionLog(e); err != nil {
		_ = x.Close()
		return nil, fmt.Errorf("log: %w", err)
	}
	return x, nil
}

// errNoTurn says that the rate of an API destination leaves no room within the time of
// an execution.
var errNoTurn = errors.New("the rate of the API destination leaves no room within the time of an execution")

// await waits for one's turn.
func await(ctx context.Context, l *rate.Limiter) error {
	if l == nil {
		return nil
	}
	if err := l.Wait(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNoTurn, err)
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

// Close closes target, enrichment and log.
func (x *execution) Close() error {
	x.log.close()
	err := x.inner.Close()
	if x.invoker != nil {
		err = errors.Join(err, x.invoker.Close())
	}
	return err
}

// Deliver executes a batch.
func (x *execution) Deliver(ctx context.Context, events []*event.Event) error {
	within, cancel := context.WithTimeout(ctx, executionTime)
	defer cancel()
	size := 0
	for _, e := range events {
		size += len(e.Record.Key) + len(e.Record.Value)
	}
	defer x.series.begin(len(events), size)()
	s := x.log.begin()
	s.tell(executionStarted, x.recordsOf(events))
	err := x.execute(within, events, s)
	var partial *target.PartialError
	switch {
	case err == nil || errors.As(err, &partial) && len(partial.Failed) == 0:
		s.tell(executionSucceeded)
		return nil
	case partial != nil:
		x.series.count("execution_partially_failed")
		s.tell(executionPartial, failureOf(err))
	case errors.Is(err, errNoTurn):
		x.series.count("execution_throttled")
		s.tell(executionThrottled, failureOf(err))
		return insist(err)
	case within.Err() != nil && ctx.Err() == nil:
		x.series.count("execution_timeout")
		s.tell(executionTimeout, failureOf(err))
		return insist(err)
	default:
		x.series.count("execution_failed")
		s.tell(executionFailed, failureOf(err))
		return insist(err)
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

// recordsOf is the batch as it was read, for the log.
func (x *execution) recordsOf(events []*event.Event) detail {
	return func(s *story, r *stepRecord) {
		if !s.data() {
			return
		}
		own := make([]*event.Event, len(events))
		for i, e := range events {
			body, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Encoded)
			own[i] = &event.Event{Record: e.Record, Body: body}
		}
		r.Payload = arrayOf(own)
	}
}

// insist makes an error one that is worth another attempt.
func insist(err error) error {
	if err == nil {
		return nil
	}
	again := *target.FailureOf(err)
	if again.Final {
		again.Final, again.Err = false, &lasting{again.Err}
	}
	return &again
}

// execute enriches a batch, and hands the events to the target.
func (x *execution) execute(ctx context.Context, events []*event.Event, s *story) error {
	out := make([]*event.Event, 0, len(events))
	if x.invoker == nil {
		for _, e := range events {
			own, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Encoded)
			out = append(out, &event.Event{Record: e.Record, Body: own, Document: x.seen(e.Record, x.targetLooks), ID: e.ID, Attempt: e.Attempt})
		}
	} else {
		s.tell(enrichmentStage.entered, x.recordsOf(events))
		began := time.Now()
		bodies, err := x.enrich(ctx, events, s)
		x.series.took("enrichment_stage_duration", began)
		if err != nil {
			x.series.count("enrichment_stage_failed")
			s.tell(enrichmentStage.failed, failureOf(err))
			return err
		}
		for i, body := range bodies {
			from := events[min(i, len(events)-1)]
			seen := body
			if !scan.Valid(body) {
				seen = scan.AppendString(nil, string(body))
				if x.output == nil {
					body = seen // a template knows what to make of a text
				}
			}
			out = append(out, &event.Event{Record: from.Record, Body: body, Document: seen, Attempt: from.Attempt})
		}
		s.tell(enrichmentStage.succeeded, batchOf(out))
		if len(out) == 0 {
			x.series.count("target_stage_skipped")
			s.tell(targetStage.skipped)
			return nil
		}
		out[0].ID = events[0].ID
	}
	s.tell(targetStage.entered, batchOf(out))
	began := time.Now()
	err := x.deliver(ctx, out, s)
	x.series.took("target_stage_duration", began)
	var partial *target.PartialError
	switch {
	case err == nil:
		s.tell(targetStage.succeeded)
	case errors.As(err, &partial) && len(partial.Failed) < len(out):
		x.series.count("target_stage_partially_failed")
		s.tell(targetStage.partial, failureOf(err))
	default:
		x.series.count("target_stage_failed")
		s.tell(targetStage.failed, failureOf(err))
	}
	return err
}

// seen is what parameters are taken from, of a record that was not enriched; nil where
// nobody looks.
func (x *execution) seen(r *kgo.Record, looks bool) json.RawMessage {
	if !looks {
		return nil
	}
	seen, _, _ := event.AppendPipesRecord(nil, r, x.source, event.Decoded)
	return seen
}

// deliver makes of events what the target takes, and hands them over.
func (x *execution) deliver(ctx context.Context, out []*event.Event, s *story) error {
	if x.output != nil {
		s.tell(targetStage.transforming, batchOf(out))
		for _, e := range out {
			body, err := x.output.Apply(nil, e.Body, time.Now())
			if err != nil {
				err = fmt.Errorf("the input template of the target: %w", err)
				s.tell(targetStage.notTransformed, failureOf(err))
				return err
			}
			e.Body = body
		}
		s.tell(targetStage.transformed, batchOf(out))
	}
	if err := await(ctx, x.targetRate); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, x.targetTime)
	defer cancel()
	var report *target.Report
	if s.data() {
		report = &target.Report{}
		ctx = target.WithReport(ctx, report)
	}
	request := requestOf(func() string { return x.targetCall.request(out) })
	response := responseOf(func() string { return x.targetCall.response(report.Status, report.Response) })
	s.tell(targetStage.invoking, request)
	err := x.hand(ctx, out)
	var partial *target.PartialError
	switch {
	case err == nil:
		s.tell(targetStage.invoked, response)
	case errors.As(err, &partial) && len(partial.Failed) < len(out):
		s.tell(targetStage.partlyInvoked, request, response, failureOf(err))
	default:
		s.tell(targetStage.notInvoked, request, failureOf(err))
	}
	return err
}

// hand gives events to the target, or puts them into the queue of a function that
// nobody waits for.
func (x *execution) hand(ctx context.Context, out []*event.Event) error {
	if x.queue == "" {
		return x.inner.Deliver(ctx, out)
	}
	c := x.runner.cfg.Cluster
	if !x.queueReady.Load() {
		largest := fmt.Sprint(function.MaxAsync + 64<<10)
		if err := c.EnsureTopic(ctx, x.queue, 4, map[string]*string{"max.message.bytes": &largest}); err != nil {
			return err
		}
		x.queueReady.Store(true)
	}
	r := &kgo.Record{Topic: x.queue, Partition: -1, Key: []byte(x.function), Value: []byte(arrayOf(out)), Headers: []kgo.RecordHeader{{Key: function.QueuedID, Value: []byte(newExecutionID())}}}
	return c.Produce(ctx, r).FirstErr()
}

// enrich asks about the records, and returns what is said instead of them; nothing
// means that the batch is done.
func (x *execution) enrich(ctx context.Context, events []*event.Event, s *story) ([]json.RawMessage, error) {
	in := make([]*event.Event, len(events))
	if x.input != nil {
		s.tell(enrichmentStage.transforming, x.recordsOf(events))
	}
	for i, e := range events {
		body, _, _ := event.AppendPipesRecord(nil, e.Record, x.source, event.Encoded)
		if x.input != nil {
			made, err := x.input.Apply(nil, body, time.Now())
			if err != nil {
				err = fmt.Errorf("the input template of the enrichment: %w", err)
				s.tell(enrichmentStage.notTransformed, failureOf(err))
				return nil, err
			}
			body = made
		}
		if len(events) == 1 && (x.input == nil || x.arrays) {
			if !scan.Valid(body) {
				body = scan.AppendString(nil, string(body))
			}
			body = append(append([]byte{'['}, body...), ']')
		}
		in[i] = &event.Event{Record: e.Record, Body: body, Document: x.seen(e.Record, x.enrichLooks), ID: e.ID, Attempt: e.Attempt}
	}
	if x.input != nil {
		s.tell(enrichmentStage.transformed, batchOf(in))
	}
	if err := await(ctx, x.enrichRate); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.enrichTime)
	defer cancel()
	request := requestOf(func() string { return x.enrichCall.request(in) })
	s.tell(enrichmentStage.invoking, request)
	answer, err := x.invoker.Invoke(ctx, in)
	response := responseOf(func() string { return x.enrichCall.response(0, answer) })
	var bodies []json.RawMessage
	if err == nil {
		bodies, err = answered(answer)
	}
	if err == nil && len(bodies) > x.most {
		err = fmt.Errorf("the answer has %d events, and the target takes %d at once", len(bodies), x.most)
	}
	if err != nil {
		err = fmt.Errorf("enrichment: %w", err)
		s.tell(enrichmentStage.notInvoked, request, response, failureOf(err))
		return nil, err
	}
	s.tell(enrichmentStage.invoked, response)
	return bodies, nil
}

// A spoken is how requests and answers look in the log of executions.
type spoken struct{ Method, URL string } // of an HTTP endpoint; otherwise empty

func spokenTo(t catalog.Target) (c spoken) {
	if t.Kind == "webhook" {
		_ = json.Unmarshal(t.Config, &c) // it has been opened, so it can be read
	}
	return c
}

// request is what is sent.
func (c spoken) request(events []*event.Event) string {
	if c.URL == "" {
		if len(events) == 1 && scan.Valid(events[0].Payload()) && bytes.HasPrefix(events[0].Payload(), []byte{'['}) {
			return string(events[0].Payload()) // an enrichment's batch of one
		}
		return arrayOf(events)
	}
	var body []byte
	for _, e := range events {
		body = append(body, e.Payload()...)
	}
	return described(map[string]any{"httpMethod": c.Method, "endpoint": c.URL, "body": string(body)})
}

// response is what is answered.
func (c spoken) response(status int, body []byte) string {
	if c.URL == "" {
		return string(bytes.ToValidUTF8(body, []byte("?")))
	}
	answer := map[string]any{"body": string(body)}
	if status != 0 {
		answer["httpStatusCode"] = status
	}
	return described(answer)
}

func described(what map[string]any) string {
	text, _ := json.Marshal(what) // texts and numbers can be encoded
	return string(text)
}

// filters are the patterns of a pipe of EventBridge Pipes, of which one must match
// (pipes.md 6).
type filters struct{ patterns []*rule.RecordPattern }

// newFilters compiles the filters of a definition; nil: it has none.
func newFilters(def catalog.Pipe) (*filters, error) {
	e := def.Execution
	if e == nil || len(e.Filters) == 0 {
		return nil, nil
	}
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
	doc, key, value := event.AppendPipesRecord(nil, r, event.Source{}, event.Plain)
	for _, p := range fs.patterns {
		if f.matches(p, doc, key, value) {
			return true
		}
	}
	return false
}
