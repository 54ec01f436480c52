package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/rule"
)

// A recordMatcher asks one pattern about many records and counts.
type recordMatcher struct {
	record  *rule.RecordPattern // one of the two
	plain   *rule.Pattern
	samples int // still wanted

	records, matched, ignored, undecodable int64
	took                                   time.Duration

	doc []byte // memory for documents
	// unseen says for each pair of forms of key and value whether the pattern
	// ignores some of its clauses there.
	unseen map[[2]rule.Form]bool
}

// match counts a record, and returns a sample if it matches and another one is
// wanted.
func (m *recordMatcher) match(r *readRecord) *backtestSample {
	m.records++
	var matched bool
	if m.plain != nil {
		matched = m.matchValue(r.Value)
	} else {
		matched = m.matchRecord(r)
	}
	if !matched {
		return nil
	}
	m.matched++
	if m.samples == 0 {
		return nil
	}
	m.samples--
	return &backtestSample{
		Partition: *r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: excerptOf(r.Key), Value: excerptOf(r.Value),
	}
}

// matchValue takes the value as an event. One that takes too much effort does
// not match a rule.
func (m *recordMatcher) matchValue(value []byte) bool {
	data, form := formOf(value)
	if form != rule.JSON || data[0] != '{' {
		m.undecodable++
		return false
	}
	began := time.Now()
	matched, err := m.plain.Match(data)
	m.took += time.Since(began)
	if err != nil {
		m.undecodable++
	}
	return matched && err == nil
}

// matchRecord takes the record as a pipe's filter does.
func (m *recordMatcher) matchRecord(r *readRecord) bool {
	key, value := m.document(r)
	if key == rule.Binary || value == rule.Binary {
		m.undecodable++
	}
	began := time.Now()
	matched, err := m.record.Match(m.doc, key, value)
	m.took += time.Since(began)
	switch {
	case errors.Is(err, rule.ErrEvent):
		m.undecodable++
		return false
	case err != nil: // a pipe lets pass what takes too much effort
		m.ignored++
		return true
	case !matched:
		return false
	}
	forms := [2]rule.Form{key, value}
	unseen, known := m.unseen[forms]
	if !known {
		why, err := m.record.Explain(m.doc, key, value)
		unseen = err == nil && slices.ContainsFunc(why.Findings, func(f rule.Finding) bool { return f.Ignored })
		m.unseen[forms] = unseen
	}
	if unseen {
		m.ignored++
	}
	return true
}

// document builds the document of a record, as far as the pattern looks at it,
// and returns the forms of its key and value (interface.md 4).
func (m *recordMatcher) document(r *readRecord) (key, value rule.Form) {
	m.doc = append(m.doc[:0], '{')
	for _, name := range m.record.Fields() {
		switch name {
		case "topic":
			m.doc = append(append(m.doc, `"topic":`...), r.Topic...)
		case "partition":
			m.doc = strconv.AppendInt(append(m.doc, `"partition":`...), int64(*r.Partition), 10)
		case "offset":
			m.doc = strconv.AppendInt(append(m.doc, `"offset":`...), r.Offset, 10)
		case "timestamp":
			m.doc = strconv.AppendInt(append(m.doc, `"timestamp":`...), r.Timestamp, 10)
		case "key":
			m.doc = append(m.doc, `"key":`...)
			m.doc, key = appendData(m.doc, r.Key)
		case "value":
			m.doc = append(m.doc, `"value":`...)
			m.doc, value = appendData(m.doc, r.Value)
		case "headers":
			m.doc = appendHeaders(append(m.doc, `"headers":`...), r.Headers)
		default:
			continue
		}
		m.doc = append(m.doc, ',')
	}
	if last := len(m.doc) - 1; m.doc[last] == ',' {
		m.doc = m.doc[:last]
	}
	m.doc = append(m.doc, '}')
	return key, value
}

// appendData appends a key or value as documents have it.
func appendData(dst, raw []byte) ([]byte, rule.Form) {
	data, form := formOf(raw)
	return append(dst, data...), form
}

// base64Member begins what stateless reads make of bytes that are not UTF-8.
var base64Member = []byte(`{"base64":"`)

// formOf returns the JSON that documents have for a key or value, and its form. It
// takes {"base64":...} for bytes only if they could not have been shown
// otherwise. A value that is the text null cannot be told from a tombstone.
func formOf(raw []byte) (data []byte, form rule.Form) {
	switch {
	case string(raw) == "null":
		return raw, rule.Missing
	case bytes.HasPrefix(raw, base64Member) && bytes.HasSuffix(raw, []byte(`"}`)):
		text := raw[len(base64Member) : len(raw)-2]
		inside, err := base64.StdEncoding.AppendDecode(nil, text)
		switch {
		case err != nil || utf8.Valid(inside):
		case json.Valid(inside):
			return formOf(bytes.TrimSpace(inside))
		default:
			return raw[len(base64Member)-1 : len(raw)-1], rule.Binary
		}
	case raw[0] != '{' && raw[0] != '[':
		return raw, rule.Text // filters do not tell scalars from text
	}
	return raw, rule.JSON
}

// appendHeaders appends {NAME: [values]} for [{name, value}]. Names keep the order
// of their first appearance.
func appendHeaders(dst, raw []byte) []byte {
	var headers []struct{ Name, Value json.RawMessage }
	_ = json.Unmarshal(raw, &headers) // of klamm, which has sent valid JSON; of others as far as it goes
	var names []string
	values := map[string][]json.RawMessage{}
	for _, h := range headers {
		name := string(h.Name)
		if len(name) == 0 || name[0] != '"' || len(h.Value) == 0 {
			continue
		}
		if values[name] == nil {
			names = append(names, name)
		}
		values[name] = append(values[name], h.Value)
	}
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name...), ':', '[')
		for j, v := range values[name] {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst, _ = appendData(dst, v)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}
