package pipe

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/rule"
)

// A mappingFilter is one of the patterns of an event source mapping.
type mappingFilter struct {
	pattern    *rule.RecordPattern
	key, value asks
}

// asks says in which form a pattern wants a key or value: as one value, as an object,
// or, with $or, as either.
type asks struct{ plain, nested bool }

// mappingFilters compiles the filters of a mapping.
func mappingFilters(e catalog.Envelope) ([]mappingFilter, error) {
	all := make([]mappingFilter, len(e.Filters))
	for i, text := range e.Filters {
		p, err := rule.CompileRecord(text)
		if err != nil {
			return nil, fmt.Errorf("filter %d: %w", i+1, err)
		}
		all[i] = mappingFilter{pattern: p}
		all[i].look(text)
	}
	return all, nil
}

// look finds out what a pattern asks of key and value.
func (mf *mappingFilter) look(text json.RawMessage) {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return
	}
	note := func(a *asks, clause json.RawMessage) {
		var object map[string]json.RawMessage
		if json.Unmarshal(clause, &object) == nil {
			a.nested = true
		} else {
			a.plain = true
		}
	}
	for name, clause := range members {
		switch name {
		case "key":
			note(&mf.key, clause)
		case "value":
			note(&mf.value, clause)
		case "$or":
			var choices []json.RawMessage
			if json.Unmarshal(clause, &choices) == nil {
				for _, c := range choices {
					mf.look(c)
				}
			}
		}
	}
}

// mismatch says whether data has a form that nothing in a pattern can look at.
func (a asks) mismatch(form event.Form, nested bool) bool {
	if !a.plain && !a.nested || form == event.Null {
		return false
	}
	return form == event.Binary || nested && !a.nested || !nested && !a.plain
}

// isNested says whether JSON is an object or an array.
func isNested(b []byte) bool {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c == '{' || c == '['
	}
	return false
}

// mappingScratch is memory for documents that filters look at.
var mappingScratch = sync.Pool{New: func() any { return new([]byte) }}

// passes says whether a record is for the function.
func (m *mapping) passes(r *kgo.Record, decoded event.BySchema) bool {
	if len(m.filters) == 0 {
		return true
	}
	scratch := mappingScratch.Get().(*[]byte)
	defer mappingScratch.Put(scratch)
	doc, key, value := event.AppendMappingDocument((*scratch)[:0], r, decoded)
	if cap(doc) <= 1<<20 {
		*scratch = doc
	}
	odd := false
	for i := range m.filters {
		mf := &m.filters[i]
		mismatch := mf.key.mismatch(key, key == event.JSON && isNested(r.Key)) || mf.value.mismatch(value, value == event.JSON && isNested(r.Value))
		if mismatch && !odd {
			odd = true
			m.metrics.mismatched.Inc()
		}
		if mismatch && m.def.DropMismatched {
			continue
		}
		if m.flow.matches(mf.pattern, doc, key, value) {
			return true
		}
	}
	return false
}
