package cloudevent

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const headerPrefix = "Ce-"

// Is says whether an HTTP request wants to be a CloudEvent, or several: it has a
// content type of CloudEvents or headers that begin with ce-.
func Is(h http.Header) bool {
	if isFormat(contentType(h)) {
		return true
	}
	for name := range h {
		if strings.HasPrefix(name, headerPrefix) {
			return true
		}
	}
	return false
}

func contentType(h http.Header) string {
	if values := h["Content-Type"]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// isFormat says whether a content type is one of CloudEvents.
func isFormat(contentType string) bool {
	return len(contentType) >= len(mediaPrefix) && strings.EqualFold(contentType[:len(mediaPrefix)], mediaPrefix)
}

// Parse returns the events of an HTTP request: one in binary or structured mode,
// any number in a batch. They share the body's memory. The errors are ErrFormat
// and ErrInvalid; one event of a batch that is not valid spoils it as a whole.
func Parse(h http.Header, body []byte) ([]Event, error) {
	given := contentType(h)
	if !isFormat(given) {
		e, err := parseBinary(h, body)
		if err != nil {
			return nil, err
		}
		return []Event{e}, nil
	}
	media, parameters, _ := strings.Cut(given, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if !isUTF8(parameters) || media != MediaJSON && media != MediaBatch {
		return nil, fmt.Errorf("%w, not as %q", ErrFormat, clipped(given))
	}
	if media == MediaBatch {
		return parseBatch(body)
	}
	e, err := parseJSON(body)
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

// isUTF8 says whether the parameters of a content type name no other charset.
func isUTF8(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(p, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if strings.EqualFold(strings.TrimSpace(name), "charset") && !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// parseBinary reads an event whose attributes are HTTP headers.
func parseBinary(h http.Header, body []byte) (Event, error) {
	if body == nil {
		body = []byte{} // an empty body is empty data, so that no record becomes a tombstone
	}
	e := Event{ContentType: contentType(h), Data: body}
	for header, values := range h {
		name, ok := strings.CutPrefix(header, headerPrefix)
		if !ok {
			continue
		}
		name = strings.ToLower(name)
		if name == "datacontenttype" {
			return Event{}, invalid("a ce-datacontenttype header; the type of the data is the Content-Type")
		}
		if len(values) != 1 {
			return Event{}, invalid("the header ce-%s stands there more than once", clipped(name))
		}
		value, ok := decodeHeader(values[0])
		if !ok {
			return Event{}, invalid("the header ce-%s has broken quotes or percent signs", clipped(name))
		}
		e.Attributes = append(e.Attributes, Attribute{name, value})
	}
	slices.SortFunc(e.Attributes, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	return e, e.Validate()
}

// decodeHeader is the value of an attribute in an HTTP header: first the quotes
// go, then one round of percent-decoding.
func decodeHeader(s string) (string, bool) {
	if strings.HasPrefix(s, `"`) {
		var ok bool
		if s, ok = unquote(s); !ok {
			return "", false
		}
	}
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return "", false
		}
		b = append(b, hexDigit(s[i+1])<<4|hexDigit(s[i+2]))
		i += 2
	}
	return string(b), true
}

// unquote reads a quoted string (RFC 9110 5.6.4).
func unquote(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return string(b), i == len(s)-1
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b = append(b, s[i])
	}
	return "", false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hexDigit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// WriteHeader writes the attributes into the headers of an HTTP message in binary
// mode, whose body is e.Data. Headers of the same names are replaced.
func (e *Event) WriteHeader(h http.Header) {
	if e.ContentType != "" {
		h["Content-Type"] = []string{e.ContentType}
	}
	for _, a := range e.Attributes {
		h.Set(headerPrefix+a.Name, encodeHeader(a.Value))
	}
}

// encodeHeader percent-encodes what may not stand in a header's value as it is.
func encodeHeader(s string) string {
	const digits = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '%' {
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(s)+16), s[:i]...)
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	if b == nil {
		return s
	}
	return string(b)
}

// validUTF8 is ErrInvalid for text that is not UTF-8.
func validUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return invalid("the JSON text is not UTF-8")
	}
	return nil
}
