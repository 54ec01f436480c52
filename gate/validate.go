package gate

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/schema"
)

const (
	// largeValue is the size from which few values are checked at a time: a value
	// takes many times its size in memory while it is looked at.
	largeValue = 64 << 10
	// mostTopics bounds the topics whose rules are looked up once only, and which
	// have series of their own.
	mostTopics = 10_000
)

// A Validation checks records by the rules of their topics (gateway-policies.md
// 4.4). It is safe for concurrent use.
type Validation struct {
	rules    []topicRule
	schemas  *schema.Client // of the gate
	echo     bool
	index    *topicIndex
	failures *prometheus.CounterVec
	large    chan struct{} // a token for each large value that is being checked

	mu     sync.RWMutex // guards topics
	topics map[string]*checks
}

// A topicRule is a TopicRule made ready.
type topicRule struct {
	match      string
	value, key *partCheck
	headers    *headers
	partial    bool
	mask       bool
	speaks     [3]bool // of values, keys, headers
}

// headers are HeaderRules made ready.
type headers struct {
	warn     bool
	required []string
	rules    []headerText
}

type headerText struct {
	name string
	text *schema.Text
}

// checks are what the records of a topic have to pass; nil is nothing.
type checks struct {
	topic      string
	label      string // of metrics
	value, key *partCheck
	headers    *headers
	partial    bool
}

// ValidationMetrics makes the series of validations.
func ValidationMetrics(r prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_validation_failures_total", Help: "Records that broke the rules of their topic, by the part that did; those of rules that only warn included.",
	}, []string{"topic", "reason"})
	r.MustRegister(c)
	return c
}

// NewValidation makes rules ready. Files with schemas are read now; failures counts,
// by topic and part, the records that break a rule, and may be nil. The error names
// the rule that cannot be used.
func NewValidation(rules []TopicRule, read func(name string) ([]byte, error), failures *prometheus.CounterVec) (*Validation, error) {
	v := &Validation{failures: failures, large: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), topics: map[string]*checks{}}
	for i := range rules {
		r := &rules[i]
		one := topicRule{match: r.Match, partial: r.Partial, mask: r.Mask, speaks: [3]bool{r.Value != nil, r.Key != nil, r.Headers != nil}}
		var err error
		if one.value, err = r.Value.compile(read); err != nil {
			return nil, fmt.Errorf("topics[%d].value (%s): %w", i, r.Match, err)
		}
		if one.key, err = r.Key.compile(read); err != nil {
			return nil, fmt.Errorf("topics[%d].key (%s): %w", i, r.Match, err)
		}
		if one.headers, err = r.Headers.compile(); err != nil {
			return nil, fmt.Errorf("topics[%d].headers (%s): %w", i, r.Match, err)
		}
		v.rules = append(v.rules, one)
	}
	patterns := make([]string, len(rules))
	for i := range rules {
		patterns[i] = rules[i].Match
	}
	v.index = newTopicIndex(patterns)
	return v, nil
}

// Echo makes what is found wrong hold the values that are wrong. It has to be called
// before v is used.
func (v *Validation) Echo() { v.echo = true }

func (h *HeaderRules) compile() (*headers, error) {
	if h == nil || h.Mode == "off" {
		return nil, nil
	}
	out := &headers{warn: h.Mode == "warn", required: h.Required}
	for i, r := range h.Rules {
		text, err := schema.CompilePlain(r.plain())
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		out.rules = append(out.rules, headerText{r.Name, text})
	}
	return out, nil
}

// Validate makes the gate check what is written from the next call on; nil checks
// nothing.
func (g *Gate) Validate(v *Validation) {
	if v != nil {
		v.schemas = g.schemas
	}
	g.validation.Store(v)
}

// of returns what the records of a topic have to pass; nil: nothing.
func (v *Validation) of(topic string) *checks {
	v.mu.RLock()
	c, known := v.topics[topic]
	v.mu.RUnlock()
	if known {
		return c
	}
	c = v.find(topic)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.topics) < mostTopics {
		v.topics[strings.Clone(topic)] = c
	}
	return c
}

// find puts together what the rules say of a topic.
func (v *Validation) find(topic string) *checks {
	var c *checks
	var decided [3]bool
	for _, i := range v.index.find(topic, func(i int) string { return v.rules[i].match }) {
		r := &v.rules[i]
		if r.speaks == [3]bool{} { // only about what is shown
			continue
		}
		if c == nil {
			c = &checks{topic: strings.Clone(topic), label: r.match, partial: r.partial}
			if v.known() < mostTopics/10 {
				c.label = topic
			}
		}
		if r.speaks[0] && !decided[0] {
			c.value, decided[0] = r.value, true
		}
		if r.speaks[1] && !decided[1] {
			c.key, decided[1] = r.key, true
		}
		if r.speaks[2] && !decided[2] {
			c.headers, decided[2] = r.headers, true
		}
	}
	if c != nil && c.value == nil && c.key == nil && c.headers == nil {
		return nil
	}
	return c
}

func (v *Validation) known() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.topics)
}

// A Violation is one way in which a record breaks the rules of its topic. Its
// pointer begins at the part.
type Violation struct {
	// Record is the record's place among those of the call, from 0.
	Record int
	// Part is value, key or header, and Name the header's.
	Part, Name string
	schema.Violation
}

// An Invalidity is the error of records that break the rules of their topic. It is
// one of kind Invalid.
type Invalidity struct {
	// Records is how many the call had, and Failed how many of them were found to
	// break a rule.
	Records, Failed int
	// Violations are the first twenty, and Truncated says that there are others,
	// perhaps in records that were not looked at.
	Violations []Violation
	Truncated  bool

	unchecked error // why a record could not be checked; nil: all were
}

// cause is the error of the call: the Invalidity, or why there is none yet.
func (e *Invalidity) cause() error {
	if e.unchecked != nil {
		return e.unchecked
	}
	return e
}

// Summary is such as "2 problems in 1 of 3 records".
func (e *Invalidity) Summary() string {
	more, problems := "", "problems"
	if e.Truncated {
		more = "at least "
	}
	if len(e.Violations) == 1 && !e.Truncated {
		problems = "problem"
	}
	if e.Records == 1 {
		return fmt.Sprintf("%s%d %s in the record", more, len(e.Violations), problems)
	}
	return fmt.Sprintf("%s%d %s in %d of %d records", more, len(e.Violations), problems, e.Failed, e.Records)
}

// Error repeats no values: it is what goes into logs.
func (e *Invalidity) Error() string {
	return e.text(false, func(v Violation) string {
		where := v.Pointer
		switch v.Part {
		case "key":
			where = "key " + v.Pointer
		case "header":
			where = "header " + v.Name
		}
		if e.Records > 1 {
			where = fmt.Sprintf("record %d, %s", v.Record, where)
		}
		return where
	})
}

// Text tells the caller of the violations in one line; place says where each is.
func (e *Invalidity) Text(place func(Violation) string) string { return e.text(true, place) }

func (e *Invalidity) text(echo bool, place func(Violation) string) string {
	b := append([]byte(e.Summary()), ": "...)
	for i, v := range e.Violations {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = fmt.Appendf(b, "%s: %s (%s)", place(v), v.Detail, v.Keyword)
		if echo && v.Actual != "" {
			b = fmt.Appendf(b, ", got %s", v.Actual)
		}
	}
	return string(b)
}

// In returns the pointer of a violation in a document that has the parts of a
// record below a pointer, as {"key", "value", "headers": {NAME}}.
func (v Violation) In(record string) string {
	if v.Part == "header" {
		return record + "/headers/" + schema.PointerToken(v.Name)
	}
	return record + "/" + v.Part + strings.TrimPrefix(v.Pointer, "#")
}

// Unwrap makes it an Error.
func (e *Invalidity) Unwrap() error { return &Error{Invalid, e.Summary()} }

// check returns the error of the records that break an enforced rule; nil: none
// does. bad, if not nil, is told of each of them.
func (v *Validation) check(c *checks, records []*kgo.Record, bad func(i int, own *Invalidity)) *Invalidity {
	var all *Invalidity
	for i, r := range records {
		found, err := v.checkRecord(c, r)
		if err != nil && bad == nil {
			return &Invalidity{unchecked: err}
		}
		if len(found) == 0 && err == nil {
			continue
		}
		if bad != nil {
			own := &Invalidity{Records: 1, Failed: 1, unchecked: err}
			own.add(0, found)
			bad(i, own)
			continue
		}
		if all == nil {
			all = &Invalidity{Records: len(records)}
		}
		all.Failed++
		if all.add(i, found); all.Truncated {
			break
		}
	}
	return all
}

// add appends violations as long as there is room.
func (e *Invalidity) add(record int, found []Violation) {
	for _, one := range found {
		if len(e.Violations) == schema.MaxViolations {
			e.Truncated = true
			return
		}
		one.Record = record
		e.Violations = append(e.Violations, one)
		e.Truncated = e.Truncated || one.More
	}
}

// checkRecord returns in what a record breaks rules that are enforced.
// The error is that of a registry which cannot answer. Values and keys that are to be
// written otherwise are changed.
func (v *Validation) checkRecord(c *checks, r *kgo.Record) (found []Violation, err error) {
	note := func(part string, warn bool, violations []Violation) {
		if len(violations) == 0 {
			return
		}
		if v.failures != nil {
			v.failures.WithLabelValues(c.label, part).Inc()
		}
		if !warn {
			found = append(found, violations...)
		}
	}
	for _, part := range []struct {
		name string
		rule *partCheck
		raw  *[]byte
	}{{"value", c.value, &r.Value}, {"key", c.key, &r.Key}} {
		if part.rule == nil {
			continue
		}
		broken, instead, err := v.checkPart(part.name, c, part.rule, *part.raw)
		if err != nil {
			return nil, err
		}
		if instead != nil {
			*part.raw = instead
		}
		note(part.name, part.rule.warn, broken)
	}
	if c.headers != nil {
		note("header", c.headers.warn, c.headers.check(r, v.echo))
	}
	return found, nil
}

func (v *Validation) checkPart(name string, c *checks, p *partCheck, raw []byte) (found []Violation, instead []byte, err error) {
	if raw == nil && p.nullable {
		return nil, nil, nil
	}
	if len(raw) > p.most {
		return []Violation{{Part: name, Violation: schema.Violation{Pointer: "#", Keyword: "maxBytes", Detail: fmt.Sprintf("is larger than the %d bytes that are checked", p.most)}}}, nil, nil
	}
	if len(raw) > largeValue {
		v.large <- struct{}{}
		defer func() { <-v.large }()
	}
	var broken []schema.Violation
	switch {
	case p.registry != nil && raw == nil:
		broken = []schema.Violation{{Pointer: "#", Keyword: "required", Detail: "is missing"}}
	case p.registry != nil:
		if broken, instead, err = p.registry.check(v.schemas, c.topic, name == "key", raw); err != nil {
			return nil, nil, err
		}
	case p.json == nil && raw == nil:
		broken = []schema.Violation{{Pointer: "#", Keyword: "required", Detail: "is missing"}}
	case p.json == nil:
		broken = p.text.CheckBytes(raw)
	case raw == nil:
		broken, _ = p.json.Check([]byte("null"))
	default:
		if name == "key" && !json.Valid(raw) { // a key that is no JSON is a text
			raw, _ = json.Marshal(string(raw))
		}
		broken, _ = p.json.Check(raw)
	}
	if framed := p.registry != nil && len(raw) > 0 && raw[0] == 0; v.echo && raw != nil && !framed {
		schema.Echo(broken, raw)
	}
	all := make([]Violation, len(broken))
	for i, b := range broken {
		all[i] = Violation{Part: name, Violation: b}
	}
	return all, instead, nil
}

func (h *headers) check(r *kgo.Record, echo bool) (found []Violation) {
	add := func(name, keyword, detail string) {
		found = append(found, Violation{Part: "header", Name: name, Violation: schema.Violation{Pointer: "#", Keyword: keyword, Detail: detail}})
	}
	for _, name := range h.required {
		there := false
		for i := range r.Headers {
			there = there || strings.EqualFold(r.Headers[i].Key, name) && len(r.Headers[i].Value) > 0
		}
		if !there {
			add(name, "required", "is missing")
		}
	}
	for _, rule := range h.rules {
		for i := range r.Headers {
			if !strings.EqualFold(r.Headers[i].Key, rule.name) {
				continue
			}
			text := string(r.Headers[i].Value)
			broken := rule.text.Check(text)
			if echo {
				schema.EchoText(broken, text)
			}
			for _, b := range broken {
				b.Pointer, b.Schema = "#", ""
				found = append(found, Violation{Part: "header", Name: rule.name, Violation: b})
			}
		}
	}
	return found
}
