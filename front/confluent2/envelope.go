package confluent2

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// An envelope is a produce request, scanned once. Keys and values are slices of
// the request body, decoded in place, and live as long as it does.
type envelope struct {
	records []kgo.Record
	schemas bool // the request names schemas
}

// A parser walks through a request body. Errors are refusals in the words that
// clients of the original know (rest-apis.md 3.3).
type parser struct {
	b      []byte
	i      int
	format format
	strict bool
}

const (
	unprocessable = http.StatusUnprocessableEntity
	badRequest    = http.StatusBadRequest
)

// parseEnvelope scans a produce request. Records without a partition of their
// own get the given one. The body is overwritten.
func parseEnvelope(b []byte, f format, partition int32, strict bool) (envelope, error) {
	p := parser{b: b, format: f, strict: strict}
	var e envelope
	p.space()
	if p.i == len(b) {
		return e, refuse(unprocessable, 422, "The request body must not be null (was null)")
	}
	if p.literal("null") {
		if p.space(); p.i == len(b) {
			return e, refuse(unprocessable, 422, "The request body must not be null (was null)")
		}
		return e, p.malformed()
	}
	seen := false
	err := p.object("ProduceRequest", func(name []byte) error {
		switch string(name) {
		case "records":
			seen = true
			return p.list(&e, partition)
		case "key_schema", "value_schema":
			var given bool
			_, given, err := p.textField(name)
			e.schemas = e.schemas || given
			return err
		case "key_schema_id", "value_schema_id":
			_, given, err := p.integer(name, math.MinInt32, math.MaxInt32)
			e.schemas = e.schemas || given
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
		return e, refuse(unprocessable, 422, "records must not be empty")
	}
	return e, nil
}

// list scans the array of records. A second array replaces the first.
func (p *parser) list(e *envelope, partition int32) error {
	e.records = e.records[:0]
	if p.literal("null") {
		return nil
	}
	if !p.at('[') {
		return p.wrongType("java.util.ArrayList", "records")
	}
	p.i++
	p.space()
	if p.at(']') {
		p.i++
		return nil
	}
	if e.records == nil {
		// A guess that costs nothing for one record and saves growing for many.
		e.records = make([]kgo.Record, 0, 1+(len(p.b)-p.i)/512)
	}
	for {
		p.space()
		e.records = append(e.records, kgo.Record{Partition: partition})
		if err := p.record(&e.records[len(e.records)-1], len(e.records)-1); err != nil {
			return err
		}
		p.space()
		switch {
		case p.at(','):
			p.i++
		case p.at(']'):
			p.i++
			return nil
		default:
			return p.malformed()
		}
	}
}

// record scans one record.
func (p *parser) record(r *kgo.Record, index int) error {
	if p.literal("null") {
		return refuse(unprocessable, 422, "records[%d] must not be null (was null)", index)
	}
	return p.object("ProduceRecord", func(name []byte) (err error) {
		switch string(name) {
		case "key":
			r.Key, err = p.data()
		case "value":
			r.Value, err = p.data()
		case "partition":
			n, given, err := p.integer(name, math.MinInt32, math.MaxInt32)
			if err == nil && given {
				if n < 0 {
					return refuse(unprocessable, 422, "records[%d].partition must be greater than or equal to 0 (was %d)", index, n)
				}
				r.Partition = int32(n)
			}
			return err
		case "timestamp":
			if p.strict {
				return unknownField("timestamp")
			}
			n, given, err := p.integer(name, 0, math.MaxInt64/1_000_000)
			if err == nil && given {
				r.Timestamp = time.UnixMilli(n)
			}
			return err
		case "headers":
			if p.strict {
				return unknownField("headers")
			}
			r.Headers, err = p.headers()
		default:
			return unknownField(string(name))
		}
		return err
	})
}

// data scans a key or value and decodes it as the format says.
func (p *parser) data() ([]byte, error) {
	start := p.i
	if p.literal("null") {
		return nil, nil
	}
	end, ok := scan.Value(p.b, start)
	if !ok {
		p.i = end
		return nil, p.malformed()
	}
	p.i = end
	raw := p.b[start:end:end]
	switch p.format {
	case formatJSON:
		return scan.Compact(raw), nil
	case formatSchema:
		return raw, nil // nothing is produced without a registry
	}
	return decodeBase64(raw)
}

// decodeBase64 decodes a JSON string of base64 in place.
func decodeBase64(raw []byte) ([]byte, error) {
	if raw[0] != '"' {
		return nil, refuse(badRequest, 400, "Bad Request: data=%s is not a base64 string. For JSON values use the media type %s", excerpt(raw), mediaJSON)
	}
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, refuse(badRequest, 400, "Bad Request: data=%s is not a base64 string.", excerpt(raw))
		}
		text = []byte(s)
	}
	var head [60]byte // decoding in place spoils what an error would show
	shown := head[:copy(head[:], text)]
	// The standard decoder skips line breaks, which are not part of base64 here.
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		if n, err := base64.StdEncoding.Strict().Decode(text, text); err == nil {
			return text[:n:n], nil
		}
	}
	return nil, refuse(badRequest, 400, "Bad Request: data=\"%s\" is not a valid base64 string. For JSON values use the media type %s", excerpt(shown), mediaJSON)
}

// excerpt is the beginning of what a client sent, fit for a message.
func excerpt(b []byte) string {
	if len(b) > 60 {
		b = append(b[:60:60], "..."...)
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// headers scans [{"key": NAME, "value": BASE64 or null}] (rest-apis.md 7.1).
func (p *parser) headers() (headers []kgo.RecordHeader, err error) {
	if p.literal("null") {
		return nil, nil
	}
	if !p.at('[') {
		return nil, p.wrongType("java.util.ArrayList", "headers")
	}
	p.i++
	for first := true; ; first = false {
		p.space()
		if p.at(']') && first {
			p.i++
			return headers, nil
		}
		var h kgo.RecordHeader
		named := false
		err := p.object("KafkaHeader", func(name []byte) (err error) {
			switch string(name) {
			case "key":
				h.Key, named, err = p.textField(name)
			case "value":
				f := p.format
				p.format = formatBinary
				h.Value, err = p.data()
				p.format = f
			default:
				return unknownField(string(name))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if !named {
			return nil, refuse(unprocessable, 422, "headers[%d].key must not be null (was null)", len(headers))
		}
		headers = append(headers, h)
		p.space()
		switch {
		case p.at(','):
			p.i++
		case p.at(']'):
			p.i++
			return headers, nil
		default:
			return nil, p.malformed()
		}
	}
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
		p.space()
		switch {
		case p.at(','):
			p.i++
		case p.at('}'):
			p.i++
			return nil
		default:
			return p.malformed()
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
		text = bytes.TrimSpace(text[1 : len(text)-1])
	}
	n, parseErr := strconv.ParseInt(string(text), 10, 64)
	if parseErr != nil || n < low || n > high {
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
	return refuse(badRequest, 400, "Cannot deserialize value of type `%s` from %s (field %s, at byte %d)", want, what, strconv.Quote(field), p.i+1)
}

// isEnvelope says whether a body of unknown type is a produce request: an object
// with an array of records and nothing but an envelope's fields
// (interface.md 3).
func isEnvelope(b []byte) bool {
	i := scan.Space(b, 0)
	if i >= len(b) || b[i] != '{' || !bytes.Contains(b, []byte(`"records"`)) || !scan.Valid(b) {
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
