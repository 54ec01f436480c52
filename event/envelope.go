package event

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/klamm-gateway/klamm/scan"
)

// An Envelope is an event of a bus (event-bus.md 2), as its topic has it when it is
// written by Append.
type Envelope struct {
	// ID is a UUID; see NewID.
	ID         string
	DetailType string
	Source     string
	Account    string
	// Time is written in whole seconds, rounded down, in UTC; its year has to be one
	// from 0 to 9999.
	Time   time.Time
	Region string
	// Replay is the name of the replay that the event comes from; empty: none.
	Replay    string
	Resources []string
	// Detail is a JSON object without white space between its tokens, as CompactDetail
	// returns it.
	Detail []byte
}

// Append appends the event as JSON: its members in the order of the specification, and
// the bytes of the detail as they are. Texts are escaped only as far as JSON demands
// it; bytes in them that are not UTF-8 become U+FFFD.
func (e *Envelope) Append(dst []byte) []byte {
	dst = append(dst, `{"version":"0","id":`...)
	dst = scan.AppendString(dst, e.ID)
	dst = append(dst, `,"detail-type":`...)
	dst = scan.AppendString(dst, e.DetailType)
	dst = append(dst, `,"source":`...)
	dst = scan.AppendString(dst, e.Source)
	dst = append(dst, `,"account":`...)
	dst = scan.AppendString(dst, e.Account)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
	dst = append(dst, `","region":`...)
	dst = scan.AppendString(dst, e.Region)
	if e.Replay != "" {
		dst = append(dst, `,"replay-name":`...)
		dst = scan.AppendString(dst, e.Replay)
	}
	dst = append(dst, `,"resources":[`...)
	for i, r := range e.Resources {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = scan.AppendString(dst, r)
	}
	dst = append(dst, `],"detail":`...)
	dst = append(dst, e.Detail...)
	return append(dst, '}')
}

// NewID returns a random UUID, version 4.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// detailDepth is how deeply arrays and objects of a detail may be nested.
const detailDepth = 1000

// errDetail says that a detail is no JSON object, is nested too deeply, or has an
// integer that does not fit 64 bits.
var errDetail = errors.New("the detail is malformed")

// CompactDetail checks the detail of an event (event-bus.md 3) and returns it without
// the white space between its tokens. It works in place; strings, numbers and the order
// of members stay as they are.
func CompactDetail(b []byte) ([]byte, error) {
	start := scan.Space(b, 0)
	if start == len(b) || b[start] != '{' {
		return nil, errDetail
	}
	v, ok := scan.Look(b, start)
	if !ok || scan.Space(b, v.End) != len(b) || v.Depth > detailDepth {
		return nil, errDetail
	}
	b = b[start:v.End]
	if !v.Compact {
		b = scan.Compact(b)
	}
	if v.Number >= len(mostInteger) && !integersFit(b) {
		return nil, errDetail
	}
	return b, nil
}

// mostInteger is the largest integer of 64 bits.
const mostInteger = "9223372036854775807"

// integersFit says whether no integer in valid, compact JSON is beyond 64 bits.
func integersFit(b []byte) bool {
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			end, _, ok := scan.String(b, i)
			if !ok {
				return false
			}
			i = end
		case c == '-' || c >= '0' && c <= '9':
			end := i + 1
			whole := true
			for end < len(b) && b[end] != ',' && b[end] != '}' && b[end] != ']' {
				whole = whole && b[end] >= '0' && b[end] <= '9'
				end++
			}
			if whole && end-i >= len(mostInteger) && !fits(b[i:end]) {
				return false
			}
			i = end
		default:
			i++
		}
	}
	return true
}

// fits says whether an integer fits 64 bits.
func fits(number []byte) bool {
	most := mostInteger
	if number[0] == '-' {
		most = "-9223372036854775808"
	}
	return len(number) < len(most) || len(number) == len(most) && string(number) <= most
}
