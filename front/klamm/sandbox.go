package klamm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/transform"
)

// The sandbox tries patterns and transforms out: on an event that comes with the call, or
// on what lies in a topic or on a bus. It changes nothing, and each trial is bounded in
// records, bytes and time.

const (
	// triedRecords, triedBytes and triedTime bound what one trial reads.
	triedRecords = 20_000
	triedBytes   = 64 << 20
	triedTime    = 10 * time.Second
	// trials is how many read at the same time in this process.
	trials = 4
	// mostExamples is how many records of each outcome a trial shows, and exampleBytes how
	// much of each.
	mostExamples = 5
	exampleBytes = 4 << 10
	// oldestTrial is how far back a trial may look.
	oldestTrial = 24 * time.Hour
	// mostPatternClauses bounds what is told of clauses.
	mostPatternClauses = 200
)

// sandboxRoutes are those that try things out.
func (a api) sandboxRoutes() []front.Route {
	return []front.Route{
		{Name: "rules.explain", Pattern: "POST /klamm/v1/rules/explain", Serve: a.explainRule},
		{Name: "transforms.try", Pattern: "POST /klamm/v1/transforms/try", Serve: a.tryTransform},
	}
}

// A findingDoc says of one clause of a pattern whether it is satisfied.
type findingDoc struct {
	Branch    string   `json:"branch,omitempty"` // such as detail.$or[0]
	Path      string   `json:"path"`
	Clause    string   `json:"clause"`
	Satisfied bool     `json:"satisfied"`
	Ignored   bool     `json:"ignored,omitempty"` // it cannot look at data of that form
	Values    []string `json:"values"`
	More      int      `json:"more,omitempty"` // values beside those
}

// An explanationDoc says why an event matches a pattern or not.
type explanationDoc struct {
	Matched bool `json:"matched"`
	// Apart says that each clause is satisfied, but in different elements of an array.
	Apart    bool         `json:"apart,omitempty"`
	Findings []findingDoc `json:"findings"`
}

func explanationOf(e *rule.Explanation) explanationDoc {
	d := explanationDoc{Matched: e.Matched, Apart: e.Apart, Findings: []findingDoc{}}
	for _, f := range e.Findings[:min(len(e.Findings), mostPatternClauses)] {
		values := f.Values
		if values == nil {
			values = []string{}
		}
		d.Findings = append(d.Findings, findingDoc{f.Branch, f.Path, f.Clause, f.Satisfied, f.Ignored, values, f.More})
	}
	return d
}

// A trialAsk is what a pattern is tried on: exactly one of the three.
type trialAsk struct {
	Pattern json.RawMessage `json:"pattern"`
	// Event is an event of a bus, or the document that patterns see of a record.
	Event json.RawMessage `json:"event"`
	Topic string          `json:"topic"`
	Bus   string          `json:"bus"`
	// Since is how far back in a topic or bus, such as 1h; empty: the latest records.
	Since string `json:"since"`
	// Limit is how many records at most; 0: 1,000, or with since all that a trial may read.
	Limit int `json:"limit"`
}

// explainRule serves POST /klamm/v1/rules/explain: of an event explanationDoc, and of a
// topic or bus trialDoc. Who asks about records must be allowed to read their topic.
func (a api) explainRule(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	var ask trialAsk
	if err := decode(r, &ask); err != nil {
		return err
	}
	if given := boolean(ask.Event != nil) + boolean(ask.Topic != "") + boolean(ask.Bus != ""); given != 1 {
		return invalid("give one of event, topic and bus")
	}
	if len(ask.Pattern) == 0 {
		return invalid("pattern is missing")
	}
	if ask.Event != nil {
		if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
			return err
		}
		p, err := rule.Compile(ask.Pattern)
		if err != nil {
			return invalid("pattern: " + err.Error())
		}
		e, err := p.Explain(ask.Event)
		if err != nil {
			return invalid("event: " + err.Error())
		}
		return writeJSON(w, http.StatusOK, "application/json", explanationOf(e))
	}
	t, err := newTrial(ask)
	if err != nil {
		return err
	}
	select {
	case a.tried <- struct{}{}:
		defer func() { <-a.tried }()
	default:
		return &gate.Error{Kind: gate.Throttled, Message: fmt.Sprintf("%d trials read records already; try again in a moment", trials)}
	}
	ctx, cancel := context.WithTimeout(r.Context(), triedTime)
	defer cancel()
	if err := a.try(ctx, who, t); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", t.doc())
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A trial tries a pattern on records.
type trial struct {
	topic                           string
	since                           time.Time // zero: the latest
	limit                           int
	event                           *rule.Pattern       // of events of a bus; nil: of records
	record                          *rule.RecordPattern // of records
	scanned, matched, failed, bytes int
	cut                             bool // not all that was asked for was read
	clauses                         []clauseDoc
	yes, no                         []exampleDoc
	began                           time.Time
}

// A clauseDoc says how many records satisfied a clause.
type clauseDoc struct {
	Branch    string `json:"branch,omitempty"`
	Path      string `json:"path"`
	Clause    string `json:"clause"`
	Satisfied int    `json:"satisfied"`
}

// An exampleDoc is a record of a trial.
type exampleDoc struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Document  string    `json:"document"` // as patterns see it, at most 4 KiB
	Size      int       `json:"size"`     // of all of it
	explanationDoc
}

// A trialDoc is what came of a trial.
type trialDoc struct {
	Topic    string       `json:"topic"`
	Scanned  int          `json:"scanned"`
	Matched  int          `json:"matched"`
	Invalid  int          `json:"invalid"`  // records that are no JSON that a pattern can look at
	Complete bool         `json:"complete"` // all that was asked for was read
	Millis   int64        `json:"took_ms"`
	Clauses  []clauseDoc  `json:"clauses"`
	Matching []exampleDoc `json:"matching"`
	Others   []exampleDoc `json:"others"`
}

func (t *trial) doc() trialDoc {
	d := trialDoc{t.topic, t.scanned, t.matched, t.failed, !t.cut, time.Since(t.began).Milliseconds(), t.clauses, t.yes, t.no}
	if d.Clauses == nil {
		d.Clauses = []clauseDoc{}
	}
	if d.Matching == nil {
		d.Matching = []exampleDoc{}
	}
	if d.Others == nil {
		d.Others = []exampleDoc{}
	}
	return d
}

// newTrial reads what is asked for.
func newTrial(ask trialAsk) (*trial, error) {
	t := &trial{topic: ask.Topic, limit: ask.Limit, began: time.Now()}
	var err error
	if ask.Bus != "" {
		t.topic = event.BusTopic(ask.Bus)
		t.event, err = rule.Compile(ask.Pattern)
	} else {
		t.record, err = rule.CompileRecord(ask.Pattern)
	}
	if err != nil {
		return nil, invalid("pattern: " + err.Error())
	}
	if ask.Since != "" {
		d, err := time.ParseDuration(ask.Since)
		if err != nil || d <= 0 || d > oldestTrial {
			return nil, invalid(fmt.Sprintf("since %q: want a time such as 1h, at most %s", ask.Since, oldestTrial))
		}
		t.since = t.began.Add(-d)
	}
	switch {
	case t.limit < 0 || t.limit > triedRecords:
		return nil, invalid(fmt.Sprintf("limit: want a number from 1 to %d", triedRecords))
	case t.limit == 0 && t.since.IsZero():
		t.limit = 1_000
	case t.limit == 0:
		t.limit = triedRecords
	}
	return t, nil
}

// try reads the records of a trial, partition after partition: each has its share of the
// limit, of its latest records or of those since a time.
func (a api) try(ctx context.Context, who gate.Principal, t *trial) error {
	g, err := a.gateway()
	if err != nil {
		return err
	}
	if g.Masked(who, t.topic) {
		return &gate.Error{Kind: gate.Denied, Message: "the values of topic " + t.topic + " are masked; paste an event instead"}
	}
	topic, err := g.Topic(ctx, who, t.topic)
	if err != nil {
		return err
	}
	ranges, err := g.Ranges(ctx, who, t.topic)
	if err != nil {
		return err
	}
	after := map[int32]int64{}
	if !t.since.IsZero() {
		if after, err = g.OffsetsAfter(ctx, who, t.topic, t.since); err != nil {
			return err
		}
	}
	left := len(ranges)
	for _, p := range slices.Sorted(maps.Keys(ranges)) {
		span := ranges[p]
		if at, ok := after[p]; ok {
			if at < 0 {
				at = span.End
			}
			span.Start = max(span.Start, at)
		}
		share := int64((t.limit - t.scanned) / left)
		left--
		if span.End-span.Start > share {
			span.Start = span.End - share
			t.cut = t.cut || !t.since.IsZero()
		}
		if err := a.tryPartition(ctx, g, who, t, topic, p, span); err != nil {
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil && t.scanned > 0 {
				t.cut = true
				return nil
			}
			return err
		}
	}
	return nil
}

func (a api) tryPartition(ctx context.Context, g *gate.Gate, who gate.Principal, t *trial, topic kafka.Topic, p int32, span kafka.Range) error {
	for at := span.Start; at < span.End; {
		if t.bytes >= triedBytes {
			t.cut = true
			return nil
		}
		records, next, err := g.Read(ctx, who, topic, p, at, kafka.Limits{Records: 1_000, Bytes: 4 << 20, Committed: true})
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Offset >= span.End {
				return nil
			}
			if origin := g.MaskedOrigin(who, r); origin != "" {
				return &gate.Error{Kind: gate.Denied, Message: fmt.Sprintf("topic %s has dead letters of topic %.300s, whose values are masked; paste an event instead", t.topic, origin)}
			}
			t.look(g.Decoded(ctx, r))
		}
		if next <= at {
			return nil
		}
		at = next
	}
	return nil
}

// look tries the pattern on a record.
func (t *trial) look(r *kgo.Record) {
	t.scanned++
	t.bytes += len(r.Key) + len(r.Value)
	doc := r.Value
	var e *rule.Explanation
	var err error
	if t.event != nil {
		e, err = t.event.Explain(doc)
	} else {
		var key, value event.Form
		doc, key, value = event.AppendDocument(nil, r, event.AllFields)
		e, err = t.record.Explain(doc, ruleForms[key], ruleForms[value])
	}
	if err != nil {
		t.failed++
		return
	}
	if t.clauses == nil {
		for _, f := range e.Findings[:min(len(e.Findings), mostPatternClauses)] {
			t.clauses = append(t.clauses, clauseDoc{Branch: f.Branch, Path: f.Path, Clause: f.Clause})
		}
	}
	for i := range t.clauses {
		t.clauses[i].Satisfied += boolean(e.Findings[i].Satisfied)
	}
	list := &t.no
	if e.Matched {
		t.matched++
		list = &t.yes
	}
	if len(*list) == mostExamples {
		*list = (*list)[1:] // the latest are shown
	}
	text := bytes.ToValidUTF8(doc[:min(len(doc), exampleBytes)], []byte("?"))
	*list = append(*list, exampleDoc{r.Partition, r.Offset, r.Timestamp.UTC(), string(text), len(doc), explanationOf(e)})
}

// ruleForms are the forms of documents in the pattern language's words.
var ruleForms = map[event.Form]rule.Form{event.Null: rule.Missing, event.JSON: rule.JSON, event.Text: rule.Text, event.Binary: rule.Binary}

// mostTried is how large a document and a result of a transform are that is tried.
const mostTried = 256 << 10

// tryTransform serves POST /klamm/v1/transforms/try {"event", and either "transform", of a
// pipe, or "input", of a target of a rule}: {"result", "json"}. What is wrong with the
// transform, or why it fails on the document, is 400.
func (a api) tryTransform(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	var ask struct {
		Event     json.RawMessage `json:"event"`
		Transform *transform.Spec `json:"transform"`
		Input     *struct {
			Constant json.RawMessage   `json:"constant"`
			Path     string            `json:"path"`
			Template string            `json:"template"`
			Paths    map[string]string `json:"paths"`
		} `json:"input"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	switch {
	case ask.Event == nil:
		return invalid("event is missing")
	case len(ask.Event) > mostTried:
		return invalid(fmt.Sprintf("event: at most %d bytes", mostTried))
	case (ask.Transform == nil) == (ask.Input == nil):
		return invalid("give either transform or input")
	}
	var result []byte
	var err error
	if ask.Transform != nil {
		var t *transform.Transform
		if t, err = transform.Compile(*ask.Transform, transform.Vars{PipeName: "sandbox"}); err == nil {
			result, err = t.Apply(nil, ask.Event, time.Now())
		}
	} else {
		var t *transform.InputTransform
		in := ask.Input
		if t, err = transform.CompileInput(transform.Input{Constant: in.Constant, Path: in.Path, Template: in.Template, Paths: in.Paths}, transform.InputVars{RuleName: "sandbox"}); err == nil {
			result, err = t.Apply(nil, ask.Event, time.Now())
		}
	}
	if err != nil {
		return invalid(oneLine(err))
	}
	cut := len(result) > mostTried
	text := bytes.ToValidUTF8(result[:min(len(result), mostTried)], []byte("?"))
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"result": string(text), "json": scan.Valid(result), "size": len(result), "cut": cut})
}
