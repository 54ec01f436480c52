package confluent2

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// An envelope is a produce request, scanned once. Keys and values are slices of
// the request body, decoded in place, and live as long as it does.
type envelope struct {
	records []kgo.Record
	schemas schemaFields
	// texts and ids are what the fields say, of keys and of values.
	texts [2]string
	ids   [2]int64
}

// schemaFields says which of the request's four schema fields are given.
type schemaFields uint8

func (f *schemaFields) set(bit schemaFields, given bool) {
	if *f &^= bit; given {
		*f |= bit
	}
}

// A parser walks through a request body. Errors are refusals in the words that
// clients of the original know (rest-apis.md 3.3).
type parser struct {
	b      []byte
	i      int
	format format
	rules  envelopeRules
}

// envelopeRules are what a profile and the strict mode say about records.
type envelopeRules struct {
	bare  bool // headers and timestamp are unknown fields
	whole bool // every record has a value, which may be null
}

const (
	unprocessable = http.StatusUnprocessableEntity
	badRequest    = http.StatusBadRequest
)

// parseEnvelope scans a produce request. Records without a partition of their
// own get the given one. The body is overwritten.
func parseEnvelope(b []byte, f format, partition int32, rules envelopeRules) (envelope, error) {
	b = bytes.TrimPrefix(b, byteOrderMark)
	p := parser{b: b, format: f, rules: rules}
	var e envelope
	if !utf8.Valid(b) {
		return e, refuse(badRequest, 400, "Invalid UTF-8: this is not valid JSON")
	}
	p.space()
	if p.i == len(b) {
		return e, errNullBody
	}
	if p.literal("null") {
		if p.space(); p.i == len(b) {
			return e, errNullBody
		}
		return e, p.malformed()
	}
	seen := false
	err := p.object("ProduceRequest", func(name []byte) error {
		switch string(name) {
		case "records":
			seen = true
			return p.list(&e, partition)
		case "key_schema":
			text, given, err := p.textField(name)
			e.texts[0] = text
			e.schemas.set(1, given)
			return err
		case "value_schema":
			text, given, err := p.textField(name)
			e.texts[1] = text
			e.schemas.set(2, given)
			return err
		case "key_schema_id":
			id, given, err := p.integer(name, math.MinInt32, math.MaxInt32)
			e.ids[0] = id
			e.schemas.set(4, given)
			return err
		case "value_schema_id":
			id, given, err := p.integer(name, math.MinInt32, math.MaxInt32)
			e.ids[1] = id
			e.schemas.set(8, given)
			return err
		}
		return unknownField(string(name))
	})
	if err != nil {
		return e, err
	}
	if p.space(); p.i != len(b) {
		return e, p.malformed()
	}
	if !seen || len(e.records) == 0 {
		return e, refuseShape(unprocessable, "records must not be empty")
	}
	return e, nil
}

// list scans the array of records. A second array replaces the first.
func (p *parser) list(e *envelope, partition int32) error {
	e.records = e.records[:0]
	if p.literal("null") {
		return nil
	}
	if e.records == nil {
		// A guess that costs nothing for one record and saves growing for many.
		e.records = make([]kgo.Record, 0, 1+(len(p.b)-p.i)/512)
	}
	return p.array("records", func() error {
		e.records = append(e.records, kgo.Record{Partition: partition})
		last := len(e.records) - 1
		return p.record(&e.records[last], partition, last)
	})
}

// record scans one record; without a partition of its own it keeps the given one.
func (p *parser) record(r *kgo.Record, partition int32, index int) error {
	if p.literal("null") {
		return refuseShape(unprocessable, "records[%d] must not be null (was null)", index)
	}
	valued := false
	err := p.object("ProduceRecord", func(name []byte) (err error) {
		switch string(name) {
		case "key":
			r.Key, err = p.data("key")
		case "value":
			valued = true
			r.Value, err = p.data("value")
		case "partition":
			n, given, err := p.integer(name, math.MinInt32, math.MaxInt32)
			switch {
			case err != nil:
				return err
			case !given:
				r.Partition = partition
			case n < 0:
				return refuseShape(unprocessable, "records[%d].partition must be greater than or equal to 0 (was %d)", index, n)
			default:
				r.Partition = int32(n)
			}
			return nil
		case "timestamp":
			if p.rules.bare {
				return unknownField("timestamp")
			}
			n, given, err := p.integer(name, 0, math.MaxInt64/1_000_000)
			if r.Timestamp = (time.Time{}); err == nil && given {
				r.Timestamp = time.UnixMilli(n)
			}
			return err
		case "headers":
			if p.rules.bare {
				return unknownField("headers")
			}
			r.Headers, err = p.headers()
		default:
			return unknownField(string(name))
		}
		return err
	})
	if err == nil && p.rules.whole && !valued {
		return refuseShape(unprocessable, "records[%d].value must be there, and may be null", index)
	}
	return err
}

// data scans a key or value, as which says, and decodes it as the format says.
func (p *parser) data(which string) ([]byte, error) {
	raw, compact, err := p.raw()
	if raw == nil || err != nil {
		return nil, err
	}
	switch p.format {
	case formatJSON:
		if !compact {
			raw = scan.Compact(raw)
		}
		return raw, nil
	case formatText:
		if raw[0] != '"' {
			return nil, refuseData(unprocessable, "Because the embedded format is 'text', the %s must be a string", which)
		}
		return unquote(raw)
	case formatSchema:
		return raw, nil // encoded when the schemas are known
	}
	return decodeBase64(raw, " For JSON values use the media type "+mediaJSON)
}

// raw scans a value; null is nil. compact says that there is no white space
// between its tokens.
func (p *parser) raw() (raw []byte, compact bool, err error) {
	start := p.i
	if p.literal("null") {
		return nil, true, nil
	}
	v, ok := scan.Look(p.b, start)
	p.i = v.End
	if !ok {
		return nil, false, p.malformed()
	}
	return p.b[start:v.End:v.End], v.Compact, nil
}

// unquote is the text of a JSON string, in place where nothing in it is escaped.
func unquote(raw []byte) ([]byte, error) {
	text := raw[1 : len(raw)-1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return text, nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, refuseData(badRequest, "Bad Request: data=%s is not a string.", excerpt(raw))
	}
	return []byte(s), nil
}

// decodeBase64 decodes a JSON string of base64 in place. The advice ends the
// message of an error.
func decodeBase64(raw []byte, advice string) ([]byte, error) {
	if raw[0] != '"' {
		return nil, refuseData(badRequest, "Bad Request: data=%s is not a base64 string.%s", excerpt(raw), advice)
	}
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, refuseData(badRequest, "Bad Request: data=%s is not a base64 string.", excerpt(raw))
		}
		text = []byte(s)
	}
	var head [excerptBytes]byte // decoding in place spoils what an error would show
	shown := head[:copy(head[:], text)]
	// The standard decoder skips line breaks, which are not part of base64 here.
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		if n, err := base64.StdEncoding.Strict().Decode(text, text); err == nil {
			return text[:n:n], nil
		}
	}
	return nil, refuseData(badRequest, "Bad Request: data=\"%s\" is not a valid base64 string.%s", excerpt(shown), advice)
}

// excerptBytes is how much of a client's text a message shows.
const excerptBytes = 60

// excerpt is the beginning of what a client sent, fit for a message.
func excerpt(b []byte) string {
	if len(b) >= excerptBytes {
		b = append(b[:excerptBytes:excerptBytes], "..."...)
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// headers scans [{"key": NAME, "value": BASE64 or null}] (rest-apis.md 7.1).
func (p *parser) headers() (headers []kgo.RecordHeader, err error) {
	if p.literal("null") {
		return nil, nil
	}
	err = p.array("headers", func() error {
		var h kgo.RecordHeader
		named := false
		err := p.object("KafkaHeader", func(name []byte) (err error) {
			switch string(name) {
			case "key":
				h.Key, named, err = p.textField(name)
			case "value":
				var raw []byte
				if raw, _, err = p.raw(); raw != nil && err == nil {
					h.Value, err = decodeBase64(raw, "")
				} else {
					h.Value = nil
				}
			default:
				return unknownField(string(name))
			}
			return err
		})
		if err == nil && !named {
			err = refuseShape(unprocessable, "headers[%d].key must not be null (was null)", len(headers))
		}
		headers = append(headers, h)
		return err
	})
	if err != nil {
		return nil, err
	}
	return headers, nil
}

// array scans an array and calls element at each of its values.
func (p *parser) array(field string, element func() error) error {
	if !p.at('[') {
		return p.wrongType("java.util.ArrayList", field)
	}
	p.i++
	p.space()
	if p.at(']') {
		p.i++
		return nil
	}
	for over := false; !over; {
		p.space()
		if p.i >= len(p.b) {
			return p.malformed()
		}
		err := element()
		if err == nil {
			over, err = p.over(']')
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// over steps behind the comma or the bracket that follows a value, and says whether it is
// the bracket.
func (p *parser) over(bracket byte) (bool, error) {
	p.space()
	over := p.at(bracket)
	if !over && !p.at(',') {
		return false, p.malformed()
	}
	p.i++
	return over, nil
}

// object scans an object and calls member at the value of each member.
func (p *parser) object(what string, member func(name []byte) error) error {
	if !p.at('{') {
		return p.wrongType(what, what)
	}
	p.i++
	p.space()
	if p.at('}') {
		p.i++
		return nil
	}
	for {
		p.space()
		if !p.at('"') {
			return p.malformed()
		}
		end, escaped, ok := scan.String(p.b, p.i)
		if !ok {
			p.i = end
			return p.malformed()
		}
		name := p.b[p.i+1 : end-1]
		if escaped {
			var s string
			if err := json.Unmarshal(p.b[p.i:end], &s); err != nil {
				return p.malformed()
			}
			name = []byte(s)
		}
		p.i = end
		p.space()
		if !p.at(':') {
			return p.malformed()
		}
		p.i++
		p.space()
		if p.i >= len(p.b) {
			return p.malformed()
		}
		if err := member(name); err != nil {
			return err
		}
		if over, err := p.over('}'); over || err != nil {
			return err
		}
	}
}

// integer scans a number, or a string of one, as the original's binder takes
// both.
func (p *parser) integer(name []byte, low, high int64) (n int64, given bool, err error) {
	if p.literal("null") {
		return 0, false, nil
	}
	start := p.i
	end, ok := scan.Value(p.b, start)
	if !ok {
		p.i = end
		return 0, false, p.malformed()
	}
	text := p.b[start:end]
	if text[0] == '"' {
		if text = bytes.TrimSpace(text[1 : len(text)-1]); len(text) == 0 { // as good as null
			p.i = end
			return 0, false, nil
		}
	}
	n, parseErr := strconv.ParseInt(string(text), 10, 64)
	if parseErr != nil || n < low || n > high {
		if high > math.MaxInt32 {
			return 0, false, p.wrongType("long", string(name))
		}
		return 0, false, p.wrongType("int", string(name))
	}
	p.i = end
	return n, true, nil
}

// textField scans a string or null.
func (p *parser) textField(name []byte) (s string, given bool, err error) {
	if p.literal("null") {
		return "", false, nil
	}
	if !p.at('"') {
		return "", false, p.wrongType("java.lang.String", string(name))
	}
	end, escaped, ok := scan.String(p.b, p.i)
	if !ok {
		p.i = end
		return "", false, p.malformed()
	}
	raw := p.b[p.i:end]
	p.i = end
	if !escaped {
		return string(raw[1 : len(raw)-1]), true, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", false, p.malformed()
	}
	return s, true, nil
}

func (p *parser) space() { p.i = scan.Space(p.b, p.i) }

func (p *parser) at(c byte) bool { return p.i < len(p.b) && p.b[p.i] == c }

// literal skips a word such as null, if it stands here.
func (p *parser) literal(word string) bool {
	if len(p.b)-p.i < len(word) || string(p.b[p.i:p.i+len(word)]) != word {
		return false
	}
	p.i += len(word)
	return true
}

// malformed is the answer to what is not JSON.
func (p *parser) malformed() error {
	if p.i >= len(p.b) {
		return refuse(badRequest, 400, "Unexpected end-of-input: the JSON ends after %d bytes", len(p.b))
	}
	return refuse(badRequest, 400, "Unexpected character (%s) at byte %d: this is not valid JSON", strconv.QuoteRune(rune(p.b[p.i])), p.i+1)
}

// wrongType is the answer to a value of another type, unless it is not JSON.
func (p *parser) wrongType(want, field string) error {
	if end, ok := scan.Value(p.b, p.i); !ok {
		p.i = end
		return p.malformed()
	}
	what := map[byte]string{'{': "Object value", '[': "Array value", '"': "String value", 't': "Boolean value", 'f': "Boolean value", 'n': "null"}[p.b[p.i]]
	if what == "" {
		what = "Number value"
	}
	if field == want {
		return refuseShape(badRequest, "Cannot deserialize value of type `%s` from %s (at byte %d)", want, what, p.i+1)
	}
	return refuseShape(badRequest, "Cannot deserialize value of type `%s` from %s (field %s, at byte %d)", want, what, strconv.Quote(field), p.i+1)
}

// isEnvelope says whether a body of unknown type is a produce request: an object
// with an array of records and nothing but an envelope's fields
// (interface.md 3).
func isEnvelope(b []byte) bool {
	i := scan.Space(b, 0)
	if i >= len(b) || b[i] != '{' || !bytes.Contains(b, []byte(`"records"`)) && !bytes.Contains(b, []byte(`\u`)) || !scan.Valid(b) {
		return false
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return false
	}
	records, ok := fields["records"]
	if !ok || records[0] != '[' {
		return false
	}
	for name := range fields {
		switch name {
		case "records", "key_schema", "value_schema", "key_schema_id", "value_schema_id":
		default:
			return false
		}
	}
	return true
}
