package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
)

// A Replay asks for records to be delivered once more.
type Replay struct {
	Pipe string
	// From and To bound the timestamps of records; To is not included.
	From, To time.Time
	// Where is a pattern beside the pipe's own filter; empty: everything.
	Where json.RawMessage
	// Rate is the most records a second; 0: no limit.
	Rate int
	// DryRun counts and delivers nothing.
	DryRun bool
}

// A Progress says how far a long operation has come.
type Progress struct {
	Read         int64 `json:"read"`          // records looked at
	Records      int64 `json:"records"`       // records that are to be delivered, of those looked at
	Delivered    int64 `json:"delivered"`     // and accepted by the target
	DeadLettered int64 `json:"dead_lettered"` // and given up
	// Total is how many offsets there are to look at; 0: not known.
	Total int64 `json:"total,omitempty"`
}

// disorder is how much later than its timestamp says a record may stand in the
// log: clients make timestamps, and their clocks differ.
const disorder = time.Hour

// Replay delivers the records of a span of time once more, by the pipe's filter,
// transform, order and target, and returns when each is delivered or given up.
// Their delivery ids are those of the first time, and the group's offsets stay
// where they are.
func (r *Runner) Replay(ctx context.Context, ask Replay, report func(Progress)) (Progress, error) {
	def, err := r.definition(ask.Pipe)
	if err != nil {
		return Progress{}, err
	}
	if !ask.From.Before(ask.To) {
		return Progress{}, fmt.Errorf("%w: from must be before to", ErrBadRequest)
	}
	if ask.Rate < 0 {
		return Progress{}, fmt.Errorf("%w: rate must not be below zero", ErrBadRequest)
	}
	var where *rule.RecordPattern
	if len(ask.Where) > 0 {
		if where, err = rule.CompileRecord(ask.Where); err != nil {
			return Progress{}, fmt.Errorf("%w: where: %w", ErrBadRequest, err)
		}
	}
	defer r.sources.use(def.SourceLogin)()
	source, err := r.source(def)
	if err != nil {
		return Progress{}, err
	}
	spans, total, err := r.spans(ctx, def, ask.From, ask.To)
	if err != nil {
		return Progress{}, err
	}
	fd, err := r.newFeed(def, true, where, ask.Rate, nil)
	if err != nil {
		return Progress{}, err
	}
	p := Progress{Total: total}
	progress := func() Progress {
		p.Delivered, p.DeadLettered = fd.tally.delivered.Load(), fd.tally.dead.Load()
		return p
	}
	last := time.Now()
	for _, s := range spans {
		err = r.scan(ctx, source, s.topic, s.partition, s.span, func(record *kgo.Record) bool {
			p.Read++
			if time.Since(last) > 500*time.Millisecond {
				last = time.Now()
				report(progress())
			}
			if record.Timestamp.Before(ask.From) || !record.Timestamp.Before(ask.To) || !fd.flow.passes(record) {
				return ctx.Err() == nil
			}
			p.Records++
			return ask.DryRun || fd.put(ctx, record)
		})
		if err != nil {
			break
		}
	}
	if errors.Is(err, errStopped) {
		err = nil // ctx has ended, as end says
	}
	err = errors.Join(err, fd.end(ctx, r.cfg.Grace, func() { report(progress()) }), r.supersede(ctx, def, fd))
	report(progress())
	return p, err
}

// A partitionSpan is what a replay reads of one partition.
type partitionSpan struct {
	topic     kafka.Topic
	partition int32
	span      kafka.Range
}

// spans returns where records of a time can lie.
func (r *Runner) spans(ctx context.Context, def catalog.Pipe, from, to time.Time) (spans []partitionSpan, total int64, err error) {
	c, err := r.source(def)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range def.Topics {
		t, err := c.Topic(ctx, name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		ranges, err := c.Ranges(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		first, err := c.OffsetsAfter(ctx, name, from.UnixMilli())
		if err != nil {
			return nil, 0, err
		}
		last, err := c.OffsetsAfter(ctx, name, to.Add(disorder).UnixMilli())
		if err != nil {
			return nil, 0, err
		}
		for _, p := range slices.Sorted(maps.Keys(ranges)) {
			span := kafka.Range{Start: max(first[p], ranges[p].Start), End: ranges[p].End}
			if end, ok := last[p]; ok && end >= 0 {
				span.End = min(end, span.End)
			}
			if span.Start < span.End {
				spans = append(spans, partitionSpan{t, p, span})
				total += span.End - span.Start
			}
		}
	}
	return spans, total, nil
}
