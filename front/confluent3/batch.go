package confluent3

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/scan"
)

// longestID is the longest id of an entry, in bytes.
const longestID = 80

// badBatch is the answer to a batch that is wrong as a whole.
func badBatch(message string) *refusal {
	return refuse(http.StatusUnprocessableEntity, 42208, "%s", message)
}

// An entry is one record of a batch, and its outcome.
type entry struct {
	parsed
	err error
}

// produceBatch serves POST C/topics/{t}/records:batch (rest-apis.md 5.9). All
// records are sent before the first is waited for. What does not have the shape
// of a record fails the whole call, as in every body that is no stream.
func (a *api) produceBatch(c *call) error {
	body, release, err := front.ReadBody(c.r)
	if err != nil {
		return err
	}
	defer release()
	// The producer may look at a record that it has given up, and what it gave
	// up is decided after the answer at times.
	entries, err := parseBatch(bytes.Clone(body), a.cfg.BatchEntries)
	if err != nil {
		return err
	}
	var sent sync.WaitGroup
	for _, e := range entries {
		who := c.who
		if e.wrong == nil {
			who, e.wrong = a.encode(c, &e.parsed)
		}
		if e.wrong != nil {
			continue
		}
		e.record.Topic = c.r.PathValue("topic")
		sent.Add(1)
		err := a.gate.Send(c.r.Context(), who, &e.record, func(err error) {
			e.err = err
			sent.Done()
		})
		if err != nil {
			e.err = err
			sent.Done()
		}
	}
	sent.Wait()
	c.w.Header()["Content-Type"] = jsonType
	c.w.WriteHeader(http.StatusMultiStatus)
	_, err = c.w.Write(appendOutcome(nil, entries, whereOf(c)))
	return err
}

// appendOutcome appends the answer to a batch.
func appendOutcome(dst []byte, entries []*entry, where []byte) []byte {
	dst = append(dst, `{"successes":[`...)
	begin := func(first *bool, id string) {
		if !*first {
			dst = append(dst, ',')
		}
		*first = false
		dst = append(scan.AppendString(append(dst, `{"id":`...), id), ',')
	}
	first := true
	var last stamp
	for _, e := range entries {
		if e.wrong == nil && e.err == nil {
			begin(&first, e.id)
			dst = append(e.appendResult(dst, where, &last), '}')
		}
	}
	dst = append(dst, `],"failures":[`...)
	first = true
	for _, e := range entries {
		if e.wrong == nil && e.err != nil {
			e.wrong = sendRefusal(e.err)
		}
		if e.wrong != nil {
			begin(&first, e.id)
			dst = append(appendFailure(dst, e.wrong), '}')
		}
	}
	return append(dst, "]}"...)
}

// parseBatch reads the body of a batch. It is overwritten, and the entries share
// its memory.
func parseBatch(b []byte, most int) ([]*entry, error) {
	p := parser{b: b, entry: true}
	p.i = scan.Space(b, 0)
	if rest := bytes.TrimSpace(b); len(rest) == 0 || string(rest) == "null" {
		return nil, badBatch("Request body is empty. Data is required.")
	}
	// Checked before anything else, so that the reasons to refuse it can be
	// found in any order.
	if !isJSON(b) {
		return nil, refuse(http.StatusBadRequest, 400, "Unexpected character or end-of-input: the body is not valid JSON")
	}
	if b[p.i] != '{' {
		return nil, wrongJSON("", "ProduceBatchRequest", b[p.i:])
	}
	var entries []*entry
	for first := true; ; first = false {
		name, more, _ := p.member(first)
		if !more {
			break
		}
		if string(name) != "entries" {
			return nil, unknownField(string(name))
		}
		var err error
		if entries, err = p.entries(most); err != nil {
			return nil, err
		}
	}
	if len(entries) == 0 {
		return nil, badBatch("Empty batch.")
	}
	return entries, checkIDs(entries)
}

// entries scans the array of entries.
func (p *parser) entries(most int) (entries []*entry, err error) {
	if p.b[p.i] != '[' {
		raw, _ := p.value()
		if raw[0] == 'n' {
			return nil, nil
		}
		return nil, wrongJSON("entries", "java.util.ArrayList", raw)
	}
	p.i = scan.Space(p.b, p.i+1)
	for p.b[p.i] != ']' {
		if len(entries) == most {
			return nil, badBatch("Too many entries in batch.")
		}
		if p.b[p.i] != '{' {
			return nil, wrongJSON("entries", "ProduceBatchRequestEntry", p.b[p.i:])
		}
		e := &entry{}
		p.record(&e.parsed)
		if e.wrong != nil && e.shape {
			return nil, e.wrong
		}
		entries = append(entries, e)
		p.i = scan.Space(p.b, p.i)
		if p.b[p.i] == ',' {
			p.i = scan.Space(p.b, p.i+1)
		}
	}
	p.i++
	return entries, nil
}

// checkIDs checks the ids of the entries.
func checkIDs(entries []*entry) error {
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		if !e.idGiven || !validID(e.id) {
			return badBatch("Batch entry identifier is not a valid string.")
		}
		if seen[e.id] {
			return badBatch("Batch entry IDs are not distinct.")
		}
		seen[e.id] = true
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > longestID {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
