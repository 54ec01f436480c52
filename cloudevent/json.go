package cloudevent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// parseJSON reads one event in JSON.
func parseJSON(b []byte) (Event, error) {
	if err := validUTF8(b); err != nil {
		return Event{}, err
	}
	if !scan.Valid(b) {
		return Event{}, invalid("the body is not JSON")
	}
	return parseObject(b)
}

// parseBatch reads an array of events in JSON.
func parseBatch(b []byte) ([]Event, error) {
	if err := validUTF8(b); err != nil {
		return nil, err
	}
	if !scan.Valid(b) {
		return nil, invalid("the body is not JSON")
	}
	i := scan.Space(b, 0)
	if b[i] != '[' {
		return nil, invalid("a batch is a JSON array")
	}
	var events []Event
	for i = scan.Space(b, i+1); b[i] != ']'; {
		if b[i] == ',' {
			i = scan.Space(b, i+1)
		}
		if len(events) == maxBatch {
			return nil, invalid("the batch has more than %d events", maxBatch)
		}
		end, _ := scan.Value(b, i)
		e, err := parseObject(b[i:end:end])
		if err != nil {
			return nil, invalid("event %d of the batch: %s", len(events)+1, strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
		}
		events = append(events, e)
		i = scan.Space(b, end)
	}
	return events, nil
}

// parseObject reads the event that valid JSON stands for.
func parseObject(b []byte) (Event, error) {
	i := scan.Space(b, 0)
	if b[i] != '{' {
		return Event{}, invalid("an event is a JSON object")
	}
	e := Event{JSON: b}
	var data, data64 []byte
	seen := make(map[string]bool, 8)
	for i = scan.Space(b, i+1); b[i] != '}'; {
		if b[i] == ',' {
			i = scan.Space(b, i+1)
		}
		end, _, _ := scan.String(b, i)
		name, ok := text(b[i:end])
		if !ok {
			return Event{}, invalid("a name is not text")
		}
		i = scan.Space(b, scan.Space(b, end)+1) // over the colon
		end, _ = scan.Value(b, i)
		raw := b[i:end:end]
		i = scan.Space(b, end)
		if seen[name] {
			return Event{}, invalid("%q stands there twice", clipped(name))
		}
		seen[name] = true
		if raw[0] == 'n' {
			continue // null is as if it were not there
		}
		var err error
		switch name {
		case "data":
			data = raw
		case "data_base64":
			data64 = raw
		default:
			err = e.add(name, raw)
		}
		if err != nil {
			return Event{}, err
		}
	}
	if err := e.setData(data, data64); err != nil {
		return Event{}, err
	}
	return e, e.Validate()
}

// add adds an attribute that stands in JSON.
func (e *Event) add(name string, raw []byte) error {
	if !isName(name) {
		return invalid("%q is no name of an attribute: want lower-case letters and digits", clipped(name))
	}
	value, ok := scalar(raw)
	if !ok {
		return invalid("the attribute %s must be a text, an integer of 32 bits, true or false", name)
	}
	switch name {
	case "datacontenttype":
		if raw[0] != '"' || value == "" {
			return invalid("datacontenttype is %q, want a media type", clipped(value))
		}
		e.ContentType = value
		return nil
	case "specversion", "id", "source", "type", "subject", "dataschema", "time":
		if raw[0] != '"' {
			return invalid("the attribute %s must be a text", name)
		}
	}
	e.Attributes = append(e.Attributes, Attribute{name, value})
	return nil
}

// scalar is the canonical text of an attribute's value.
func scalar(raw []byte) (string, bool) {
	switch raw[0] {
	case '"':
		return text(raw)
	case 't', 'f':
		return string(raw), true
	case '{', '[':
		return "", false
	}
	n, err := strconv.ParseInt(string(raw), 10, 32)
	return strconv.FormatInt(n, 10), err == nil
}

// text is what a JSON string says; it is false where that is no text in Unicode.
func text(raw []byte) (string, bool) {
	inside := raw[1 : len(raw)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(inside), true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, !hasLoneSurrogate(inside)
}

// hasLoneSurrogate says whether an escape in a JSON string stands for one half of
// a character, which a decoder replaces.
func hasLoneSurrogate(inside []byte) bool {
	for i := 0; i < len(inside); i++ {
		if inside[i] != '\\' {
			continue
		}
		i++
		if inside[i] != 'u' {
			continue
		}
		unit := unit16(inside[i+1:])
		i += 4
		if unit < 0xd800 || unit > 0xdfff {
			continue
		}
		if unit > 0xdbff || len(inside) < i+7 || inside[i+1] != '\\' || inside[i+2] != 'u' {
			return true
		}
		if low := unit16(inside[i+3:]); low < 0xdc00 || low > 0xdfff {
			return true
		}
		i += 6
	}
	return false
}

// unit16 reads four hexadecimal digits.
func unit16(b []byte) (n uint16) {
	for _, c := range b[:4] {
		n = n<<4 | uint16(hexDigit(c))
	}
	return n
}

// setData takes the data out of its JSON.
func (e *Event) setData(data, data64 []byte) error {
	switch {
	case data != nil && data64 != nil:
		return invalid("both data and data_base64")
	case data64 != nil:
		s, ok := "", data64[0] == '"'
		if ok {
			s, ok = text(data64)
		}
		decoded, err := base64.StdEncoding.Strict().DecodeString(s)
		// The decoder skips line breaks, which are not part of base64 here.
		if !ok || err != nil || strings.ContainsAny(s, "\r\n") {
			return invalid("data_base64 is not base64")
		}
		e.Data = decoded
	case data != nil && isJSON(e.ContentType):
		e.Data = data
	case data != nil:
		s, ok := "", data[0] == '"'
		if ok {
			s, ok = text(data)
		}
		if !ok {
			return invalid("data must be a text, since datacontenttype says that it is not JSON")
		}
		e.Data = []byte(s)
	}
	return nil
}

// AppendJSON appends the event in JSON: the text that it came in, if there is
// one. Data whose type is JSON becomes a JSON value, a text stays one, and
// everything else is data_base64.
func (e *Event) AppendJSON(dst []byte) []byte {
	if e.JSON != nil {
		return append(dst, e.JSON...)
	}
	dst = append(dst, '{')
	for i, a := range e.Attributes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(scan.AppendString(dst, a.Name), ':')
		dst = scan.AppendString(dst, a.Value)
	}
	if e.ContentType != "" {
		dst = scan.AppendString(append(dst, `,"datacontenttype":`...), e.ContentType)
	}
	switch {
	case e.Data == nil:
	// Without a type, data of a message in binary mode is opaque; in JSON it
	// would be taken for JSON.
	case e.ContentType != "" && isJSON(e.ContentType) && utf8.Valid(e.Data) && scan.Valid(e.Data):
		dst = append(append(dst, `,"data":`...), bytes.TrimSpace(e.Data)...)
	case isText(e.ContentType) && utf8.Valid(e.Data):
		dst = scan.AppendString(append(dst, `,"data":`...), string(e.Data))
	default:
		dst = append(dst, `,"data_base64":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, e.Data), '"')
	}
	return append(dst, '}')
}

// isText says whether data of a content type can be read by people, and is not
// JSON.
func isText(contentType string) bool {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	return !isJSON(contentType) && (strings.HasPrefix(media, "text/") || media == "application/xml" || strings.HasSuffix(media, "+xml"))
}

// AppendBatch appends events as a batch in JSON.
func AppendBatch(dst []byte, events []Event) []byte {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = events[i].AppendJSON(dst)
	}
	return append(dst, ']')
}
