// Package event holds what klamm makes of a Kafka record on its way through a
// pipe, and the JSON document that patterns and transforms see of it.
package event

import (
	"encoding/json"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// An Event is one record on its way through a pipe. It belongs to one goroutine
// at a time.
type Event struct {
	// Record is the record as read; it is never modified.
	Record *kgo.Record
	// Decoded is the record with JSON in the place of a key or value that is framed
	// for a schema registry, as patterns and templates see it; nil: nothing is.
	Decoded *kgo.Record
	// Body is what is delivered: nil stands for the record's own value, byte
	// for byte; a transform replaces it.
	Body json.RawMessage
	// Document is what placeholders in a target's configuration look at, a JSON
	// value; nil stands for the record's own document.
	Document json.RawMessage
	// ID names this delivery: the same on every attempt and from every
	// process (interface.md 4, Klamm-Delivery-Id). Of a batch only the first
	// event has one, and it stands for all.
	ID string
	// Attempt counts the attempts at delivering this event, from 1.
	Attempt int
}

// Seen returns the record as patterns and templates see it.
func (e *Event) Seen() *kgo.Record {
	if e.Decoded != nil {
		return e.Decoded
	}
	return e.Record
}

// IsJSON says whether the payload is JSON text.
func (e *Event) IsJSON() bool {
	p := e.Payload()
	return scan.Valid(p)
}

// AppendJSON appends the payload as one JSON value, for a target that joins
// several: JSON stands as it is, text as a JSON string, other bytes as a string
// of their base64, and a tombstone as null.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst, _ = appendData(dst, e.Payload())
	return dst
}

// Payload returns what a target sends: Body, or the record's value where no
// transform has made a body. It is nil for a tombstone.
func (e *Event) Payload() []byte {
	if e.Body != nil {
		return e.Body
	}
	return e.Record.Value
}
