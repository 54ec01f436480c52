package route

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/shape"
)

// A producer makes a record of each request.
type producer struct {
	routes    *Routes
	names     []string // of the variables of the route
	topic     template
	key       *template
	value     *document // nil: the body as it came
	partition *template
	timestamp *template
	format    string
	headers   []header
	set       []setting
	remove    []removal
	when      struct{ key, value, partition, timestamp *condition }
	answer    *answer
}

type header struct {
	name string
	text template
	when *condition
}

type setting struct {
	name  string // the path as it was given
	at    path
	value document
	when  *condition
}

type removal struct {
	name string // the path as it was given
	at   path
	when *condition
}

func (a *Routes) producer(cfg Config) (p *producer, err error) {
	p = &producer{routes: a, names: namesOf(cfg.Route)}
	if p.topic, err = parseTemplate(cfg.Topic); err != nil {
		return nil, err
	}
	status := http.StatusNoContent
	if cfg.Response != nil && len(cfg.Response.Body) > 0 {
		status = http.StatusOK
	}
	if p.answer, err = compileResponse(cfg.Response, status); err != nil {
		return nil, err
	}
	q := cfg.Request
	if q == nil {
		return p, nil
	}
	optional := func(text string) *template {
		if text == "" || err != nil {
			return nil
		}
		var t template
		t, err = parseTemplate(text)
		return &t
	}
	p.key, p.partition = optional(q.Key), optional(q.Partition)
	if q.Timestamp != nil {
		p.timestamp, p.format = optional(q.Timestamp.From), q.Timestamp.Format
	}
	if err != nil {
		return nil, err
	}
	return p, p.compile(q)
}

// compile makes ready what belongs to the value and the headers.
func (p *producer) compile(q *Request) error {
	if len(q.Value) > 0 && string(q.Value) != `"$"` {
		d, err := parseDocument(q.Value)
		if err != nil {
			return err
		}
		p.value = &d
	}
	var when Conditions
	if q.When != nil {
		when = *q.When
	}
	if err := p.compileWhen(&when); err != nil {
		return err
	}
	for name, text := range q.Headers {
		t, err := parseTemplate(text)
		if err != nil {
			return err
		}
		c, err := parseCondition(when.Headers[name], false)
		if err != nil {
			return err
		}
		p.headers = append(p.headers, header{name, t, c})
	}
	slices.SortFunc(p.headers, func(a, b header) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	for at, raw := range q.Set {
		where, err := parsePath(at)
		if err != nil {
			return err
		}
		d, err := parseDocument(raw)
		if err != nil {
			return err
		}
		c, err := parseCondition(when.Set[at], false)
		if err != nil {
			return err
		}
		p.set = append(p.set, setting{at, where, d, c})
	}
	for _, at := range q.Remove {
		where, err := parsePath(at)
		if err != nil {
			return err
		}
		c, err := parseCondition(when.Remove[at], false)
		if err != nil {
			return err
		}
		p.remove = append(p.remove, removal{at, where, c})
	}
	return nil
}

// compileWhen makes the conditions of single fields ready.
func (p *producer) compileWhen(when *Conditions) (err error) {
	for _, f := range []struct {
		into **condition
		text string
	}{{&p.when.key, when.Key}, {&p.when.value, when.Value}, {&p.when.partition, when.Partition}, {&p.when.timestamp, when.Timestamp}} {
		if *f.into, err = parseCondition(f.text, false); err != nil {
			return err
		}
	}
	return nil
}

// namesOf returns the variables of a route.
func namesOf(route string) []string {
	p, err := shape.ParsePattern(route)
	if err != nil {
		return nil // Validate has refused it
	}
	return p.Variables()
}

// serve writes one record.
func (p *producer) serve(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	settled := true
	defer func() { release(settled) }()
	f := p.routes.facts(r, who)
	f.raw, f.names = body, p.names
	topic, err := p.topic.text(f)
	if err != nil {
		return invalid(err)
	}
	if !kafka.ValidTopic(topic) {
		return invalid(errNoTopic)
	}
	record, err := p.record(f)
	if err != nil {
		return invalid(err)
	}
	results, err := p.routes.env.Gate.Produce(r.Context(), who, topic, []*kgo.Record{record})
	if err != nil {
		return err
	}
	if err := results[0].Err; err != nil {
		settled = !errors.Is(err, kafka.ErrNotAcknowledged)
		return err
	}
	f.kafka = map[string]any{"topic": topic, "partition": record.Partition, "offset": record.Offset, "timestamp": record.Timestamp.UnixMilli()}
	h := w.Header()
	h["X-Kafka-Partition"] = []string{strconv.Itoa(int(record.Partition))}
	h["X-Kafka-Offset"] = []string{strconv.FormatInt(record.Offset, 10)}
	return p.answer.write(w, f)
}

// record makes the record of a request.
func (p *producer) record(f *facts) (*kgo.Record, error) {
	record := &kgo.Record{Partition: -1, Value: f.value()}
	var err error
	if p.value != nil || len(p.set) > 0 || len(p.remove) > 0 {
		if record.Value, err = p.made(f); err != nil {
			return nil, err
		}
	}
	chosen := func(field string, t *template, when *condition) bool {
		if err != nil || t == nil {
			return false
		}
		var yes bool
		if yes, err = when.holds(f); err != nil {
			err = undecided(field, err)
		}
		return yes
	}
	if chosen("key", p.key, p.when.key) {
		v, err := p.key.value(f)
		if err != nil {
			return nil, err
		}
		if v != nil && v != "" {
			text, err := textOf(v)
			if err != nil {
				return nil, err
			}
			record.Key = []byte(text)
		}
	}
	if chosen("partition", p.partition, p.when.partition) {
		text, err := p.partition.text(f)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if text != "" && (err != nil || n < 0) {
			return nil, errors.New("the partition is not a number from 0")
		}
		if text != "" {
			record.Partition = int32(n)
		}
	}
	for _, h := range p.headers {
		if !chosen("header "+h.name, &h.text, h.when) {
			continue
		}
		text, err := h.text.text(f)
		if err != nil {
			return nil, err
		}
		if text != "" {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.name, Value: []byte(text)})
		}
	}
	if chosen("timestamp", p.timestamp, p.when.timestamp) {
		record.Timestamp, err = p.time(f)
	}
	return record, err
}

// made is a value that is not the body as it came.
func (p *producer) made(f *facts) ([]byte, error) {
	value := p.value
	if yes, err := p.when.value.holds(f); err != nil {
		return nil, undecided("value", err)
	} else if !yes {
		value = nil
	}
	remove, set, err := p.changes(f)
	if err != nil {
		return nil, err
	}
	if value == nil && len(set)+len(remove) == 0 {
		return f.value(), nil
	}
	var doc any
	if value != nil {
		doc, err = value.value(f)
	} else {
		doc, err = f.document()
	}
	if err != nil {
		return nil, err
	}
	if len(set)+len(remove) > 0 {
		doc = cloned(doc) // expressions look at the body as it came
	}
	for _, one := range remove {
		one.at.remove(doc)
	}
	for _, s := range set {
		v, err := s.value.value(f)
		if err != nil {
			return nil, err
		}
		if err := s.at.set(&doc, v); err != nil {
			return nil, err
		}
	}
	return encode(doc)
}

// changes are those of the value whose conditions are true.
func (p *producer) changes(f *facts) (remove []removal, set []setting, err error) {
	for _, one := range p.remove {
		yes, err := one.when.holds(f)
		if err != nil {
			return nil, nil, undecided("remove "+one.name, err)
		}
		if yes {
			remove = append(remove, one)
		}
	}
	for _, one := range p.set {
		yes, err := one.when.holds(f)
		if err != nil {
			return nil, nil, undecided("set "+one.name, err)
		}
		if yes {
			set = append(set, one)
		}
	}
	return remove, set, nil
}

// cloned copies the objects and arrays of a document.
func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, one := range v {
			out[name] = cloned(one)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = cloned(one)
		}
		return out
	}
	return v
}

// time reads the time of a record; one that is not there is now.
func (p *producer) time(f *facts) (time.Time, error) {
	text, err := p.timestamp.text(f)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	if p.format == "rfc3339" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.UnixMilli() < 0 || t.Year() > 9999 {
			return time.Time{}, errors.New("the timestamp is not a time of RFC 3339")
		}
		return t, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if p.format == "unix" {
		n *= 1000
	}
	if err != nil || n < 0 || n > 253402300799999 || math.IsNaN(n) {
		return time.Time{}, fmt.Errorf("the timestamp is not a number of %s", map[bool]string{true: "seconds", false: "milliseconds"}[p.format == "unix"])
	}
	return time.UnixMilli(int64(n)), nil
}
