package trace

import (
	"encoding/binary"
	"time"
)

// A Kind says where a span stands in its trace.
type Kind int

// The kinds of spans, with the numbers of OTLP.
const (
	Internal Kind = 1 + iota
	Server
	Client
	Producer
	Consumer
)

// mostAttributes bounds what is said about a span, and longestText each text, in
// bytes: clients choose some of them.
const (
	mostAttributes = 32
	longestText    = 1024
)

// A Span is one step of a trace. A nil Span is one that nobody records. It belongs to
// one goroutine at a time.
type Span struct {
	tracer     *Tracer
	context    Context
	parent     [8]byte
	name       string
	kind       Kind
	start, end time.Time
	attributes []Attribute
	failure    string
	failed     bool
	links      []Context
}

// Start begins a span under a parent; the zero Context begins a new trace. The span
// is nil if the trace is not sampled or t is nil; the Context is what to pass on
// then as well: whoever comes later must know of the decision. It is the parent
// itself if t is nil.
func (t *Tracer) Start(parent Context, name string, kind Kind) (*Span, Context) {
	if t == nil {
		return nil, parent
	}
	return t.startAt(parent, name, kind, time.Now())
}

func (t *Tracer) startAt(parent Context, name string, kind Kind, start time.Time) (*Span, Context) {
	own := parent
	own.Span = newSpanID()
	switch {
	case !parent.Valid():
		own = Context{Trace: newTraceID(), Span: own.Span}
		own.Sampled = t.samples(own.Trace)
	case !t.settings.Parent:
		own.Sampled = t.samples(own.Trace)
	}
	if !own.Sampled {
		return nil, own
	}
	return &Span{tracer: t, context: own, parent: parent.Span, name: name, kind: kind, start: start}, own
}

// samples decides by the trace's id, so that everybody decides alike.
func (t *Tracer) samples(id [16]byte) bool {
	switch {
	case t.settings.Ratio >= 1:
		return true
	case t.settings.Ratio <= 0:
		return false
	}
	return float64(binary.BigEndian.Uint64(id[8:])>>1) < t.settings.Ratio*(1<<63)
}

// Child returns a span under s that was begun and ended already; nil for nil.
func (s *Span) Child(name string, kind Kind, start time.Time, took time.Duration) *Span {
	if s == nil {
		return nil
	}
	child, _ := s.tracer.startAt(s.context, name, kind, start)
	if child != nil {
		child.end = start.Add(took)
	}
	return child
}

// Context returns what names the span; the zero Context for nil.
func (s *Span) Context() Context {
	if s == nil {
		return Context{}
	}
	return s.context
}

// Rename gives the span a better name.
func (s *Span) Rename(name string) {
	if s != nil {
		s.name = name
	}
}

// Set says something about the span.
func (s *Span) Set(attributes ...Attribute) {
	if s == nil {
		return
	}
	for _, a := range attributes {
		if len(s.attributes) == mostAttributes {
			return
		}
		a.Text = bounded(a.Text)
		s.attributes = append(s.attributes, a)
	}
}

// Link says that the span has to do with another trace too.
func (s *Span) Link(c Context) {
	if s != nil && c.Valid() && len(s.links) < mostAttributes {
		s.links = append(s.links, c)
	}
}

// Fail says that the step has failed, and why.
func (s *Span) Fail(why string) {
	if s != nil {
		s.failed, s.failure = true, bounded(why)
	}
}

// End ends the span, unless it has ended, and hands it to the exporter. The span must
// not be used afterwards.
func (s *Span) End() {
	if s == nil {
		return
	}
	if s.end.IsZero() {
		s.end = time.Now()
	}
	s.tracer.put(s)
}

func bounded(text string) string {
	if len(text) > longestText {
		text = text[:longestText]
	}
	return text
}
