package pipe

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/rule"
)

// This file is where records stop: what each step of a pipe has done in this process,
// counted, and a record of each now and then. The path of records pays for it with one
// look at each poll and each attempt: counts are added up for the poll, times are taken
// of the record that is kept, and at most one record a second is kept of each step and
// outcome (shelf.go).

// The steps of a pipe, in their order.
const (
	StageRead = iota
	StageFilter
	StageEnrich
	StageTransform
	StageDeliver
	stages
)

// stageNames are those that the steps have in the API.
var stageNames = [stages]string{"read", "filter", "enrich", "transform", "deliver"}

// A Stage is what one step of a pipe has done in this process since the pipe began to run
// here, records that are delivered once more included.
type Stage struct {
	Stage string `json:"stage"` // read, filter, enrich, transform or deliver
	// Used says whether the pipe has such a step; without it, nothing else is set.
	Used bool `json:"used"`
	// In, Out and Dropped are records. Of enrich they are counted again with each attempt.
	In  int64 `json:"in"`
	Out int64 `json:"out"`
	// Dropped are those that the filter did not let pass, that the enrichment answered with
	// nothing, or, of deliver, that were given up after an attempt.
	Dropped int64 `json:"dropped"`
	// Failed are records that could not be decoded or transformed, which are given up, and
	// those of attempts of enrich and deliver that failed, each time.
	Failed int64 `json:"failed"`
	// Held are records that are in memory, on their way to be delivered.
	Held int64 `json:"held,omitempty"`
	// P50Millis and P95Millis are how long it took, of the latest 64 times that were
	// measured; of read, how old a record was. Nil: it was not measured yet.
	P50Millis *float64 `json:"p50_ms,omitempty"`
	P95Millis *float64 `json:"p95_ms,omitempty"`
	// Passed and Stopped are the latest records that were kept of those that have passed
	// the step, and of those that have not; nil: none.
	Passed  *StageSample `json:"passed,omitempty"`
	Stopped *StageSample `json:"stopped,omitempty"`
}

// A StageSample is a record that a step has seen.
type StageSample struct {
	At        time.Time `json:"at"` // of the step
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	// Timestamp is the record's.
	Timestamp time.Time `json:"timestamp"`
	// Note says what came of it; it holds nothing of the record.
	Note string `json:"note,omitempty"`
	// Why says which clause of the filter was not satisfied, with the record's values.
	Why string `json:"why,omitempty"`
	// Key, Value and Result are their beginnings: text as it is, other bytes as base64
	// with their *Form base64. Result is what the step has made of the value, if anything.
	Key        string `json:"key,omitempty"`
	Value      string `json:"value,omitempty"`
	ValueForm  string `json:"value_form,omitempty"` // text, base64 or null
	Size       int    `json:"size"`                 // of the whole value, in bytes
	Result     string `json:"result,omitempty"`
	ResultForm string `json:"result_form,omitempty"`
	ResultSize int    `json:"result_size,omitempty"`
	// Withheld says that the caller may not see the record itself.
	Withheld bool `json:"withheld,omitempty"`
}

// Withhold returns a sample without what it holds of the record; nil stays nil.
func (s *StageSample) Withhold() *StageSample {
	if s == nil {
		return nil
	}
	return &StageSample{At: s.At, Topic: s.Topic, Partition: s.Partition, Offset: s.Offset, Timestamp: s.Timestamp, Note: s.Note, Withheld: true}
}

const (
	// stageBytes is how much of a value and of a result a sample has, and stageKey how
	// much of a key and of a note.
	stageBytes = 2 << 10
	stageKey   = 512
	// stageEvery is the pause between two samples of a step and outcome.
	stageEvery = time.Second
	// stageTimes is how many times are remembered.
	stageTimes = 64
)

// A keeper has what the steps of a pipe have done. It is safe for concurrent use; a nil
// keeper notes nothing.
type keeper struct {
	pipe  string
	shelf *shelf
	steps [stages]keptStep
}

type keptStep struct {
	in, out, dropped, failed atomic.Int64
	times                    [stageTimes]atomic.Int64 // nanoseconds; 0: none
	timed                    atomic.Uint32
	kept                     [2]atomic.Int64 // when a record was kept last that passed, and that stopped
}

// The outcomes of a step, of which records are kept.
const (
	passing = iota
	halting
)

// due says whether a record is to be kept, and that the caller keeps it.
func (s *keptStep) due(outcome int, now time.Time) bool {
	last := s.kept[outcome].Load()
	return now.UnixNano()-last >= int64(stageEvery) && s.kept[outcome].CompareAndSwap(last, now.UnixNano())
}

func (s *keptStep) took(d time.Duration) {
	s.times[s.timed.Add(1)%stageTimes].Store(max(int64(d), 1))
}

// keep puts a record on the shelf.
func (k *keeper) keep(step, outcome int, now time.Time, r *kgo.Record, result []byte, note, why string) {
	s := &StageSample{
		At: now.UTC(), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC(), Size: len(r.Value),
		Note: shortened(note), Why: shortened(why),
	}
	s.Key, _ = beginning(r.Key, stageKey)
	s.Value, s.ValueForm = beginning(r.Value, stageBytes)
	if result != nil {
		s.Result, s.ResultForm = beginning(result, stageBytes)
		s.ResultSize = len(result)
	}
	k.shelf.put(shelfKey{k.pipe, uint8(step), uint8(outcome)}, s)
}

// shortened cuts a note off.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= stageKey {
		return text
	}
	end := stageKey
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// beginning returns the beginning of some bytes, and its form. It shares no memory with
// them.
func beginning(b []byte, most int) (text, form string) {
	if b == nil {
		return "", "null"
	}
	some := b[:min(len(b), most)]
	for n := len(some); n > 0 && len(b) > most && n > len(some)-utf8.UTFMax; n-- { // not in the middle of a character
		if utf8.RuneStart(b[n]) {
			some = b[:n]
			break
		}
	}
	if utf8.Valid(some) {
		return string(some), "text"
	}
	return base64.StdEncoding.EncodeToString(b[:min(len(b), most)]), "base64"
}

// shaped takes note of the records of a poll and of what became of them before they are
// delivered: nil is what the filter has dropped. It belongs to the polling goroutine.
func (f *flow) shaped(records []*kgo.Record, items []*item) {
	k := f.keeper
	if k == nil || len(records) == 0 {
		return
	}
	var undecided, undecoded, failed, dropped int64
	lastPassed, lastDropped, lastFailed, lastUndecoded := -1, -1, -1, -1
	for i, it := range items {
		switch {
		case it == nil:
			dropped++
			lastDropped = i
		case it.undecided != nil:
			undecided++
		case it.reason != nil && it.unread:
			undecoded++
			lastUndecoded = i
		case it.reason != nil:
			failed++
			lastFailed = i
		default:
			lastPassed = i
		}
	}
	now := time.Now()
	n := int64(len(records))
	read := &k.steps[StageRead]
	read.in.Add(n)
	read.out.Add(n - undecoded - undecided)
	read.failed.Add(undecoded)
	f.judged(n-undecoded-undecided, dropped, failed)
	last := records[len(records)-1]
	if read.due(passing, now) {
		read.took(now.Sub(last.Timestamp))
		k.keep(StageRead, passing, now, last, nil, "", "")
	}
	if lastUndecoded >= 0 && read.due(halting, now) {
		k.keep(StageRead, halting, now, records[lastUndecoded], nil, items[lastUndecoded].reason.Error(), "")
	}
	if lastDropped >= 0 && k.steps[StageFilter].due(halting, now) {
		f.keepDropped(records[lastDropped], now)
	}
	step := f.shaping()
	if lastFailed >= 0 && k.steps[step].due(halting, now) {
		k.keep(step, halting, now, records[lastFailed], nil, items[lastFailed].reason.Error(), "")
	}
	if lastPassed >= 0 {
		f.keepPassed(records[lastPassed], items[lastPassed], step, now)
	}
}

// decidedOn takes note of an item on which was decided when it was its turn.
func (f *flow) decidedOn(it *item) {
	k := f.keeper
	if k == nil {
		return
	}
	now := time.Now()
	var dropped, failed int64
	switch {
	case it.reason != nil && it.unread:
		k.steps[StageRead].failed.Add(1)
		if k.steps[StageRead].due(halting, now) {
			k.keep(StageRead, halting, now, it.Record, nil, it.reason.Error(), "")
		}
		return
	case it.reason != nil:
		failed = 1
		if step := f.shaping(); k.steps[step].due(halting, now) {
			k.keep(step, halting, now, it.Record, nil, it.reason.Error(), "")
		}
	case it.dropped:
		dropped = 1
		if k.steps[StageFilter].due(halting, now) {
			k.keep(StageFilter, halting, now, it.Record, nil, "the filter does not match", "")
		}
	}
	k.steps[StageRead].out.Add(1)
	f.judged(1, dropped, failed)
}

// judged counts records that were filtered and transformed.
func (f *flow) judged(n, dropped, failed int64) {
	k := f.keeper
	if k == nil {
		return
	}
	if f.filtering() {
		filter := &k.steps[StageFilter]
		filter.in.Add(n)
		filter.out.Add(n - dropped)
		filter.dropped.Add(dropped)
	}
	switch step := &k.steps[f.shaping()]; {
	case f.enrichment != nil: // what is in and out is counted when it is asked
		step.failed.Add(failed)
	case f.transforming():
		step.in.Add(n - dropped)
		step.out.Add(n - dropped - failed)
		step.failed.Add(failed)
	}
}

// filtering says whether the pipe has a filter.
func (f *flow) filtering() bool {
	return f.pattern != nil || f.filters != nil || f.mapping != nil && len(f.mapping.filters) > 0
}

// transforming says whether the pipe makes bodies of its own before it delivers.
func (f *flow) transforming() bool {
	return f.transform != nil || f.enrichment != nil && f.enrichment.transform != nil
}

// shaping is the step that fails where a record cannot be transformed before it is
// delivered: where there is an enrichment, that is what it is asked with.
func (f *flow) shaping() int {
	if f.enrichment != nil {
		return StageEnrich
	}
	return StageTransform
}

// keepDropped keeps a record that the filter has dropped, and says why.
func (f *flow) keepDropped(r *kgo.Record, now time.Time) {
	why := ""
	if f.pattern != nil && !f.decoding.wanted(r) {
		doc, key, value := event.AppendDocument(nil, r, f.fields)
		if e, err := f.pattern.Explain(doc, forms[key], forms[value]); err == nil {
			why = unsatisfied(e)
		}
	}
	f.keeper.keep(StageFilter, halting, now, r, nil, "the filter does not match", why)
}

// unsatisfied names the clauses of a pattern that were not satisfied, a few of them.
func unsatisfied(e *rule.Explanation) string {
	var parts []string
	for _, c := range e.Findings {
		if c.Satisfied {
			continue
		}
		if len(parts) == 3 {
			parts = append(parts, "...")
			break
		}
		found := "nothing there"
		if len(c.Values) > 0 {
			found = "it is " + strings.Join(c.Values, ", ")
		}
		parts = append(parts, c.Path+": "+c.Clause+" wanted, "+found)
	}
	if len(parts) == 0 && e.Apart {
		return "the values lie in different elements of one array"
	}
	return strings.Join(parts, "; ")
}

// keepPassed keeps a record that has passed, and measures how long its filter and its
// transform take: all of them would cost more to measure than to do.
func (f *flow) keepPassed(r *kgo.Record, it *item, step int, now time.Time) {
	k := f.keeper
	if f.filtering() && k.steps[StageFilter].due(passing, now) {
		if f.pattern != nil || f.filters != nil {
			began := time.Now()
			doc, key, value := event.AppendDocument(nil, it.Seen(), f.fields)
			if f.pattern != nil {
				_, _ = f.pattern.Match(doc, forms[key], forms[value])
			} else {
				f.filters.pass(f, r)
			}
			k.steps[StageFilter].took(time.Since(began))
		}
		k.keep(StageFilter, passing, now, r, nil, "", "")
	}
	if step != StageTransform || !f.transforming() || !k.steps[StageTransform].due(passing, now) {
		return
	}
	if f.transform != nil {
		doc, _, _ := event.AppendDocument(nil, it.Seen(), f.fields)
		began := time.Now()
		_, _ = f.transform.Apply(nil, doc, now)
		k.steps[StageTransform].took(time.Since(began))
	}
	k.keep(StageTransform, passing, now, r, it.Body, "", "")
}

// enriched takes note of an enrichment that was asked.
func (f *flow) enriched(events, answer []*event.Event, err error, took time.Duration) {
	k := f.keeper
	if k == nil {
		return
	}
	step, now, n := &k.steps[StageEnrich], time.Now(), int64(len(events))
	step.in.Add(n)
	step.took(took)
	var spoilt *transformError
	switch {
	case errors.As(err, &spoilt):
		step.out.Add(n)
		t := &k.steps[StageTransform]
		t.in.Add(n)
		t.failed.Add(n)
		if t.due(halting, now) {
			k.keep(StageTransform, halting, now, events[0].Record, nil, err.Error(), "")
		}
	case err != nil:
		step.failed.Add(n)
		if step.due(halting, now) {
			k.keep(StageEnrich, halting, now, events[0].Record, nil, err.Error(), "")
		}
	case len(answer) == 0:
		step.dropped.Add(n)
		if step.due(halting, now) {
			k.keep(StageEnrich, halting, now, events[0].Record, nil, "the enrichment answered with nothing", "")
		}
	default:
		step.out.Add(n)
		if step.due(passing, now) {
			k.keep(StageEnrich, passing, now, events[0].Record, answer[0].Payload(), "", "")
		}
		if f.enrichment.transform != nil {
			t := &k.steps[StageTransform]
			t.in.Add(n)
			t.out.Add(n)
			if t.due(passing, now) {
				k.keep(StageTransform, passing, now, events[0].Record, answer[0].Payload(), "", "")
			}
		}
	}
}

// attempted takes note of an attempt at delivering a batch, of which those items are left
// that were not accepted, or all if all were.
func (f *flow) attempted(items []*item, err error, took time.Duration) {
	k := f.keeper
	if k == nil {
		return
	}
	step := &k.steps[StageDeliver]
	step.took(took)
	var now time.Time
	if err == nil {
		if len(items) == 0 {
			return
		}
		if now = time.Now(); step.due(passing, now) {
			it := items[len(items)-1]
			k.keep(StageDeliver, passing, now, it.Record, f.sent(it), "", "")
		}
		return
	}
	step.failed.Add(int64(len(items)))
	if now = time.Now(); len(items) > 0 && step.due(halting, now) {
		k.keep(StageDeliver, halting, now, items[0].Record, f.sent(items[0]), err.Error(), "")
	}
}

// sent is what an item was made, as far as it is not its record's own value.
func (f *flow) sent(it *item) []byte {
	if f.mapping != nil {
		return appendMapped(nil, &it.Event)
	}
	return it.Body
}

// abandoned takes note of items that are given up. Those that could not be decoded or
// transformed are counted already.
func (f *flow) abandoned(items []*item) {
	if f.keeper == nil || len(items) == 0 || items[0].reason != nil {
		return
	}
	f.keeper.steps[StageDeliver].dropped.Add(int64(len(items)))
}

// keeperOf returns the keeper of a pipe, which is made when it is needed first.
func (r *Runner) keeperOf(pipe string) *keeper {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keepers[pipe]
	if k == nil {
		k = &keeper{pipe: pipe, shelf: &r.shelf}
		r.keepers[pipe] = k
	}
	return k
}

// A Counts is how many records a pipe has done with in this process since it began to run
// here.
type Counts struct {
	Read         int64 `json:"read"`
	Filtered     int64 `json:"filtered"`
	Delivered    int64 `json:"delivered"`
	DeadLettered int64 `json:"dead_lettered"`
	Failed       int64 `json:"failed"` // of attempts
}

// CountsOf returns what a pipe has done here; it may be called for pipes that there are
// not.
func (r *Runner) CountsOf(pipe string) (c Counts) {
	r.mu.Lock()
	k := r.keepers[pipe]
	r.mu.Unlock()
	if k == nil {
		return c
	}
	s := &k.steps
	return Counts{
		Read: s[StageRead].in.Load(), Filtered: s[StageFilter].dropped.Load(), Delivered: s[StageDeliver].out.Load(), Failed: s[StageDeliver].failed.Load(),
		DeadLettered: s[StageDeliver].dropped.Load() + s[StageRead].failed.Load() + s[StageTransform].failed.Load(),
	}
}

// Stages returns what the steps of a pipe have done in this process, in their order. The
// error is ErrNoPipe. Of a target of a rule nothing is known: its bus reads and matches
// for all.
func (r *Runner) Stages(pipe string) ([]Stage, error) {
	def, err := r.definition(pipe)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	k := r.keepers[pipe]
	var flows []*flow
	for f := range r.flows {
		if f.def.Name == pipe {
			flows = append(flows, f)
		}
	}
	r.mu.Unlock()
	var held int64
	for _, f := range flows {
		f.mu.Lock()
		held += int64(f.records)
		f.mu.Unlock()
	}
	filters := len(def.Filter) > 0 || def.Envelope != nil && len(def.Envelope.Filters) > 0 || def.Execution != nil && len(def.Execution.Filters) > 0
	used := [stages]bool{true, filters, def.Enrich != nil, def.Transform != nil, true}
	all := make([]Stage, stages)
	for i := range all {
		all[i] = Stage{Stage: stageNames[i], Used: used[i]}
		if k == nil || !used[i] {
			continue
		}
		s, a := &k.steps[i], &all[i]
		a.In, a.Out, a.Dropped, a.Failed = s.in.Load(), s.out.Load(), s.dropped.Load(), s.failed.Load()
		if i == StageDeliver {
			a.Held, a.In = held, a.Out+a.Dropped+held
		}
		a.P50Millis, a.P95Millis = s.percentiles()
		a.Passed, a.Stopped = r.shelf.get(shelfKey{pipe, uint8(i), passing}), r.shelf.get(shelfKey{pipe, uint8(i), halting})
	}
	return all, nil
}

// percentiles are those of the latest times.
func (s *keptStep) percentiles() (p50, p95 *float64) {
	times := make([]int64, 0, stageTimes)
	for i := range s.times {
		if t := s.times[i].Load(); t > 0 {
			times = append(times, t)
		}
	}
	return percentilesOf(times)
}

// percentilesOf returns those of some times in nanoseconds, in milliseconds; nil: there
// are none.
func percentilesOf(times []int64) (p50, p95 *float64) {
	if len(times) == 0 {
		return nil, nil
	}
	slices.Sort(times)
	at := func(percent int) *float64 {
		millis := float64(times[(len(times)-1)*percent/100]) / 1e6
		return &millis
	}
	return at(50), at(95)
}
