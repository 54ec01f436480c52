package confluent3

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/schema"
)

// A format says how the data of a key or value stands in the request.
type format uint8

const (
	formatNone format = iota // nothing was given
	formatBinary
	formatJSON
	formatString
	formatAvro
	formatJSONSchema
	formatProtobuf
)

var formatNames = [...]string{"", "BINARY", "JSON", "STRING", "AVRO", "JSONSCHEMA", "PROTOBUF"}

// A parsed record is what a request says of one record. Key and value are slices
// of the request, decoded in place.
type parsed struct {
	record     kgo.Record
	key, value format
	id         string // of an entry of a batch
	idGiven    bool

	// schemas are those of key and value that are to be written with one; nil: of
	// neither.
	schemas *[2]schemaSide

	// wrong is why the record cannot be produced, if it cannot. shape says that
	// the JSON has not the shape of a record, so that a batch is refused whole.
	wrong *refusal
	shape bool
}

// refuse notes the first thing that is wrong with a record.
func (r *parsed) refuse(e *refusal, shape bool) {
	if r.wrong == nil {
		r.wrong, r.shape = e, shape
	}
}

// A datum is a key or value object as it stands in the request.
type datum struct {
	given, typed    bool
	format          format
	data            []byte // nil: absent or null
	schema          bool
	id, version     bool
	subject, naming bool
	choice          schema.Choice // what these say
}

// A parser walks through JSON. Its methods are false where that is not JSON or
// ends too early, with i at the place; what is JSON but makes no record is noted
// in the record, and the parser goes on to its end.
type parser struct {
	b []byte
	i int
	// entry says that records have an id.
	entry bool
}

// record scans the object that begins at the present place.
func (p *parser) record(r *parsed) bool {
	start, headers := p.i, r.record.Headers[:0]
	*r = parsed{}
	r.record.Partition, r.record.Headers = -1, headers
	var key, value datum
	for first := true; ; first = false {
		name, more, ok := p.member(first)
		if !ok {
			return false
		}
		if !more {
			break
		}
		switch string(name) {
		case "value":
			ok = p.datum(&value, r)
		case "key":
			ok = p.datum(&key, r)
		case "partition_id":
			ok = p.partition(r)
		case "timestamp":
			ok = p.timestamp(r)
		case "headers":
			ok = p.headers(r)
		case "id":
			if p.entry {
				ok = p.entryID(r)
				break
			}
			fallthrough
		default:
			r.refuse(unknownField(string(name)), true)
			_, ok = p.value()
		}
		if !ok {
			return false
		}
	}
	if !utf8.Valid(p.b[start:p.i]) {
		return false
	}
	// Only now, since decoding in place spoils the text of a record that has not
	// arrived as a whole.
	if r.wrong == nil {
		r.key, r.record.Key = r.resolve(&key, keySide)
		r.value, r.record.Value = r.resolve(&value, valueSide)
	}
	return true
}

// member scans the name of an object's next member and stops at its value. At
// first it stands at the opening brace.
func (p *parser) member(first bool) (name []byte, more, ok bool) {
	if first {
		p.i++
	}
	p.i = scan.Space(p.b, p.i)
	if p.i >= len(p.b) {
		return nil, false, false
	}
	if p.b[p.i] == '}' {
		p.i++
		return nil, false, true
	}
	if !first {
		if p.b[p.i] != ',' {
			return nil, false, false
		}
		p.i = scan.Space(p.b, p.i+1)
	}
	if p.i >= len(p.b) || p.b[p.i] != '"' {
		return nil, false, false
	}
	start := p.i
	end, escaped, ok := scan.String(p.b, start)
	p.i = end
	if !ok {
		return nil, false, false
	}
	name = p.b[start+1 : end-1]
	if escaped {
		name = scan.AppendUnescaped(nil, name)
	}
	p.i = scan.Space(p.b, p.i)
	if p.i >= len(p.b) || p.b[p.i] != ':' {
		return nil, false, false
	}
	p.i = scan.Space(p.b, p.i+1)
	return name, true, p.i < len(p.b)
}

// value scans any value.
func (p *parser) value() (raw []byte, ok bool) {
	start := p.i
	p.i, ok = scan.Value(p.b, start)
	if !ok {
		return nil, false
	}
	return p.b[start:p.i:p.i], true
}

// text scans a string or null; given is false for null and for other types, the
// latter being noted.
func (p *parser) text(r *parsed, name string) (s []byte, given, ok bool) {
	raw, ok := p.value()
	if !ok || raw[0] == 'n' {
		return nil, false, ok
	}
	if raw[0] != '"' {
		r.refuse(wrongJSON(name, "java.lang.String", raw), true)
		return nil, false, true
	}
	return unquote(raw), true, true
}

// unquote is the text of a JSON string; it shares its memory where that has no
// escapes.
func unquote(raw []byte) []byte {
	s := raw[1 : len(raw)-1]
	if bytes.IndexByte(s, '\\') >= 0 {
		return scan.AppendUnescaped(nil, s)
	}
	return s
}

// wrongJSON is the answer to a value of another type.
func wrongJSON(field, want string, raw []byte) *refusal {
	what := "Number value"
	switch raw[0] {
	case '{':
		what = "Object value"
	case '[':
		what = "Array value"
	case '"':
		what = "String value"
	case 't', 'f':
		what = "Boolean value"
	case 'n':
		what = "null"
	}
	return wrongType(field, want, what)
}

// datum scans a key or value object.
func (p *parser) datum(d *datum, r *parsed) bool {
	*d = datum{}
	if p.b[p.i] != '{' {
		raw, ok := p.value()
		if ok && raw[0] != 'n' {
			r.refuse(wrongJSON("data", "ProduceRequestData", raw), true)
		}
		return ok
	}
	d.given = true
	for first := true; ; first = false {
		name, more, ok := p.member(first)
		if !ok || !more {
			return ok
		}
		var raw []byte
		switch string(name) {
		case "data":
			if raw, ok = p.value(); ok && raw[0] != 'n' {
				d.data = raw
			}
		case "type":
			var s []byte
			if s, d.typed, ok = p.text(r, "type"); d.typed {
				if d.format = formatOf(s); d.format == formatNone {
					r.refuse(refuse(400, 400, "Cannot deserialize value of type `EmbeddedFormat` from String %q: not one of BINARY, JSON, STRING, AVRO, JSONSCHEMA, PROTOBUF", clipped(string(s))), true)
				}
			}
		case "schema":
			var s []byte
			s, d.schema, ok = p.text(r, "schema")
			d.choice.Text = string(s)
		case "subject":
			var s []byte
			s, d.subject, ok = p.text(r, "subject")
			d.choice.Subject = string(s)
		case "subject_name_strategy":
			var s []byte
			if s, d.naming, ok = p.text(r, "subject_name_strategy"); d.naming {
				d.choice.Strategy = schema.Strategy(s)
				switch string(s) {
				case "TOPIC_NAME", "RECORD_NAME", "TOPIC_RECORD_NAME":
				default:
					r.refuse(badRequest("subject_name_strategy must be TOPIC_NAME, RECORD_NAME or TOPIC_RECORD_NAME (was %s)", clipped(string(s))), true)
				}
			}
		case "schema_id":
			var n int64
			n, d.id, ok = p.integer(r, "schema_id")
			d.choice.ID = int(n)
		case "schema_version":
			var n int64
			n, d.version, ok = p.integer(r, "schema_version")
			d.choice.Version = int(n)
		default:
			r.refuse(unknownField(string(name)), true)
			_, ok = p.value()
		}
		if !ok {
			return false
		}
	}
}

func formatOf(name []byte) format {
	for i, s := range formatNames {
		if i > 0 && s == string(name) {
			return format(i)
		}
	}
	return formatNone
}

// resolve checks the rules for combinations (rest-apis.md 5.8) and decodes the
// data.
func (r *parsed) resolve(d *datum, side int) (format, []byte) {
	if !d.given || r.wrong != nil {
		return formatNone, nil
	}
	refs := 0
	for _, given := range []bool{d.schema, d.id, d.version} {
		if given {
			refs++
		}
	}
	switch {
	case refs > 1:
		r.refuse(badRequest("Only one of 'schema_id', 'schema_version' or 'schema' can be used."), false)
	case d.subject && d.naming:
		r.refuse(badRequest("Only one of 'subject' or 'subject_name_strategy' can be used."), false)
	case d.typed && d.format >= formatAvro && (d.id || d.version):
		r.refuse(badRequest("'type' cannot be used together with 'schema_id' or 'schema_version'."), false)
	case d.typed && d.format >= formatAvro && !d.schema:
		r.refuse(badRequest("'type=%s' can only be used when 'schema' is given.", formatNames[d.format]), false)
	case d.typed && d.format < formatAvro && refs > 0:
		r.refuse(badRequest("'type=%s' cannot be used together with a schema.", formatNames[d.format]), false)
	case d.typed && d.format < formatAvro && (d.subject || d.naming):
		r.refuse(badRequest("'type=%s' cannot be used together with 'subject' or 'subject_name_strategy'.", formatNames[d.format]), false)
	case !d.typed && d.schema:
		r.refuse(badRequest("'schema' can only be used together with 'type'."), false)
	case d.id && d.choice.ID <= 0 || d.version && d.choice.Version <= 0:
		r.refuse(badRequest("'schema_id' and 'schema_version' must be positive."), false)
	case d.subject && d.choice.Subject == "":
		r.refuse(badRequest("'subject' must not be empty."), false)
	}
	if r.wrong != nil {
		return d.format, nil
	}
	if !d.typed || d.format >= formatAvro {
		r.await(d, side)
		return d.format, d.data
	}
	b, e := d.format.decode(d.data)
	if e != nil {
		r.refuse(e, false)
	}
	return d.format, b
}

// decode makes of data what is stored, in the same memory; nil stays nil.
func (f format) decode(raw []byte) ([]byte, *refusal) {
	if raw == nil {
		return nil, nil
	}
	switch f {
	case formatJSON:
		return scan.Compact(raw), nil
	case formatString:
		if raw[0] != '"' {
			return nil, badRequest("data=%s is not a string.", excerpt(raw))
		}
		s := raw[1 : len(raw)-1]
		if i := bytes.IndexByte(s, '\\'); i >= 0 {
			return scan.AppendUnescaped(s[:0], s), nil
		}
		return s[:len(s):len(s)], nil
	}
	if raw[0] != '"' {
		return nil, badRequest("data=%s is not a base64 string.", excerpt(raw))
	}
	return decodeBase64(raw[1:len(raw)-1], raw)
}

// decodeBase64 decodes the inside of a JSON string into dst, which may be where
// it comes from.
func decodeBase64(s, dst []byte) ([]byte, *refusal) {
	if bytes.IndexByte(s, '\\') >= 0 {
		s = scan.AppendUnescaped(nil, s) // base64 itself has no character that needs it, but "\/" is allowed
	}
	var head [60]byte // decoding in place spoils what an error would show
	shown := head[:copy(head[:], s)]
	// The decoder skips line breaks, which are not part of base64 here.
	if bytes.IndexByte(s, '\n') < 0 && bytes.IndexByte(s, '\r') < 0 {
		if n, err := base64.StdEncoding.Strict().Decode(dst, s); err == nil {
			return dst[:n:n], nil
		}
	}
	return nil, badRequest("data=\"%s\" is not a valid base64 string.", excerpt(shown))
}

// excerpt is the beginning of what a client sent, fit for a message.
func excerpt(b []byte) string {
	if len(b) > 60 {
		b = append(b[:60:60], "..."...)
	}
	return strings.ToValidUTF8(string(b), "?")
}

// integer scans a number, or a string of one.
func (p *parser) integer(r *parsed, name string) (n int64, given, ok bool) {
	raw, ok := p.value()
	if !ok || raw[0] == 'n' {
		return 0, false, ok
	}
	text := raw
	if raw[0] == '"' {
		text = bytes.TrimSpace(raw[1 : len(raw)-1])
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		r.refuse(wrongJSON(name, "int", raw), true)
		return 0, false, true
	}
	return n, true, true
}

// partition scans the number of the partition.
func (p *parser) partition(r *parsed) bool {
	n, given, ok := p.integer(r, "partition_id")
	r.record.Partition = -1
	if given {
		r.record.Partition = int32(n)
		if n < 0 {
			r.refuse(errNoPartition, false)
		}
	}
	return ok
}

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

// timestamp scans an instant in ISO 8601, or a number of seconds since 1970.
func (p *parser) timestamp(r *parsed) bool {
	raw, ok := p.value()
	if !ok {
		return false
	}
	r.record.Timestamp = time.Time{}
	if raw[0] == 'n' {
		return true
	}
	t, ok := instant(raw)
	switch {
	case !ok:
		r.refuse(refuse(400, 400, "Cannot deserialize value of type `java.time.Instant` from %s", excerpt(raw)), true)
	case t.UnixMilli() < 0:
		r.refuse(badRequest("Invalid timestamp: %d. Timestamp should always be non-negative or null.", t.UnixMilli()), false)
	default:
		r.record.Timestamp = t
	}
	return true
}

// instant reads a JSON string or number as a time up to the year 9999.
func instant(raw []byte) (time.Time, bool) {
	if raw[0] == '"' {
		s := string(raw[1 : len(raw)-1])
		if seconds, err := strconv.ParseInt(s, 10, 64); err == nil {
			return time.Unix(seconds, 0), seconds <= maxSeconds && seconds >= -maxSeconds
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		return t, err == nil
	}
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return time.Time{}, false
	}
	whole, fraction, _ := strings.Cut(string(raw), ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.ContainsAny(fraction, "eE") {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || math.Abs(f) > maxSeconds {
			return time.Time{}, false
		}
		return time.UnixMilli(int64(math.Round(f * 1000))), true
	}
	if seconds > maxSeconds || seconds < -maxSeconds {
		return time.Time{}, false
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if raw[0] == '-' {
		nanos = -nanos
	}
	return time.Unix(seconds, nanos), true
}

// headers scans [{"name": NAME, "value": BASE64 or null}].
func (p *parser) headers(r *parsed) bool {
	r.record.Headers = r.record.Headers[:0]
	if p.b[p.i] != '[' {
		raw, ok := p.value()
		if ok && raw[0] != 'n' {
			r.refuse(wrongJSON("headers", "java.util.ArrayList", raw), true)
		}
		return ok
	}
	p.i = scan.Space(p.b, p.i+1)
	if p.i < len(p.b) && p.b[p.i] == ']' {
		p.i++
		return true
	}
	for p.i < len(p.b) {
		if !p.header(r) {
			return false
		}
		p.i = scan.Space(p.b, p.i)
		if p.i >= len(p.b) {
			return false
		}
		switch p.b[p.i] {
		case ']':
			p.i++
			return true
		case ',':
			p.i = scan.Space(p.b, p.i+1)
		default:
			return false
		}
	}
	return false
}

// header scans one header. Its value gets memory of its own.
func (p *parser) header(r *parsed) bool {
	if p.b[p.i] != '{' {
		raw, ok := p.value()
		if ok {
			r.refuse(wrongJSON("headers", "ProduceRequestHeader", raw), true)
		}
		return ok
	}
	var h kgo.RecordHeader
	named := false
	for first := true; ; first = false {
		name, more, ok := p.member(first)
		if !ok {
			return false
		}
		if !more {
			break
		}
		var s []byte
		var given bool
		switch string(name) {
		case "name":
			s, named, ok = p.text(r, "name")
			h.Key = string(s)
		case "value":
			h.Value = nil
			if s, given, ok = p.text(r, "value"); given {
				var e *refusal
				if h.Value, e = decodeBase64(s, make([]byte, len(s))); e != nil {
					r.refuse(e, false)
				}
			}
		default:
			r.refuse(unknownField(string(name)), true)
			_, ok = p.value()
		}
		if !ok {
			return false
		}
	}
	if !named {
		r.refuse(badRequest("Missing required creator property 'name'"), true)
	}
	r.record.Headers = append(r.record.Headers, h)
	return true
}

// entryID scans the id of an entry of a batch.
func (p *parser) entryID(r *parsed) bool {
	raw, ok := p.value()
	if ok {
		r.id, r.idGiven = "", raw[0] == '"'
		if r.idGiven {
			r.id = string(unquote(raw))
		}
	}
	return ok
}
