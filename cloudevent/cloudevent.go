// Package cloudevent reads and writes CloudEvents 1.0 (gateway-policies.md 6.4):
// the binary, structured and batched modes of HTTP, and the two modes that events
// have in Kafka records.
//
// Parse makes events of an HTTP request and Event.Validate says what an event
// must have; Config.Records does both and makes the records that the request
// stands for. FromRecord, Event.AppendJSON and Event.WriteHeader are the way
// back. Nothing here does I/O.
package cloudevent

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// The media types of events in JSON.
const (
	MediaJSON  = "application/cloudevents+json"
	MediaBatch = "application/cloudevents-batch+json"

	// storedType is what Kafka records with a structured event have.
	storedType  = MediaJSON + "; charset=UTF-8"
	mediaPrefix = "application/cloudevents"
)

var (
	// ErrInvalid says that something is not a CloudEvent; the error that wraps it
	// says why, in words fit for whoever sent it.
	ErrInvalid = errors.New("not a CloudEvent")
	// ErrFormat says that an event is in a format other than JSON.
	ErrFormat = errors.New("CloudEvents are taken in binary mode and as JSON, in UTF-8")
)

func invalid(form string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(form, args...))
}

// maxBatch is how many events a batch has at most.
const maxBatch = 10_000

// An Attribute is one context attribute, extensions included. Integers and
// booleans are written as text.
type Attribute struct {
	Name  string // lower-case letters and digits
	Value string
}

// An Event is one CloudEvent. The zero value is not a valid one.
type Event struct {
	// Attributes are all but datacontenttype, each name once.
	Attributes []Attribute
	// ContentType is the attribute datacontenttype; empty: there is none.
	ContentType string
	// Data is what the event is about; nil: there is none. It may share memory
	// with what the event was made of.
	Data []byte
	// JSON is the event as the JSON text that it came in; nil: it did not. It
	// shares memory with that.
	JSON []byte
}

// Get returns the value of an attribute, and whether the event has it.
func (e *Event) Get(name string) (string, bool) {
	if name == "datacontenttype" {
		return e.ContentType, e.ContentType != ""
	}
	for i := range e.Attributes {
		if e.Attributes[i].Name == name {
			return e.Attributes[i].Value, true
		}
	}
	return "", false
}

// Time returns the attribute time, and false if there is none or it is not one
// of RFC 3339.
func (e *Event) Time() (time.Time, bool) {
	text, ok := e.Get("time")
	if !ok {
		return time.Time{}, false
	}
	// time.Parse takes hours of one digit and fractions behind a comma, which RFC
	// 3339 does not, and does not take lower case.
	const hours = len("2006-01-02T15")
	if len(text) <= hours || len(text) > 64 || text[hours] != ':' || strings.Contains(text, ",") {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, strings.ToUpper(text))
	return t, err == nil
}

// Validate checks the names and values of the attributes. The error is
// ErrInvalid.
func (e *Event) Validate() error {
	for i := range e.Attributes {
		if err := validAttribute(e.Attributes[i]); err != nil {
			return err
		}
	}
	if e.ContentType != "" && !isMedia(e.ContentType) {
		return invalid("the type of the data is %q, want a media type", clipped(e.ContentType))
	}
	version, ok := e.Get("specversion")
	if !ok {
		return invalid("the attribute specversion is missing")
	}
	if version != "1.0" {
		return invalid("specversion is %q, want 1.0", clipped(version))
	}
	for _, name := range []string{"id", "source", "type"} {
		if _, ok := e.Get(name); !ok {
			return invalid("the attribute %s is missing", name)
		}
	}
	for _, name := range []string{"id", "source", "type", "subject", "dataschema"} {
		if value, ok := e.Get(name); ok && value == "" {
			return invalid("the attribute %s is empty", name)
		}
	}
	for _, name := range []string{"source", "dataschema"} {
		if value, ok := e.Get(name); ok && !isReference(value) {
			return invalid("the attribute %s is %q, want a URI reference", name, clipped(value))
		}
	}
	if text, ok := e.Get("time"); ok {
		if _, ok := e.Time(); !ok {
			return invalid("the attribute time is %q, want a time as in RFC 3339", clipped(text))
		}
	}
	return nil
}

// longestName bounds the name of an attribute, in bytes; CloudEvents recommends
// 20.
const longestName = 256

// isName says whether a name is one that an attribute may have.
func isName(name string) bool {
	if name == "" || len(name) > longestName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func validAttribute(a Attribute) error {
	switch {
	case !isName(a.Name):
		return invalid("%q is no name of an attribute: want lower-case letters and digits", clipped(a.Name))
	case a.Name == "data" || a.Name == "datacontenttype":
		return invalid("%s is no attribute of its own here", a.Name)
	case !utf8.ValidString(a.Value):
		return invalid("the attribute %s is not UTF-8", a.Name)
	case strings.ContainsFunc(a.Value, isControl):
		return invalid("the attribute %s has a control character", a.Name)
	}
	return nil
}

// isControl says whether no attribute may contain a character: controls, and
// code points that are none for interchange.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// isReference says whether a text is a URI reference (RFC 3986).
func isReference(text string) bool {
	if strings.ContainsAny(text, " \"<>\\^`{|}") {
		return false
	}
	_, err := url.Parse(text)
	return err == nil
}

// isJSON says whether data of a content type is JSON, as it is without one.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	_, subtype, _ := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json")
}

// isMedia says whether a text is a media type.
func isMedia(text string) bool {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, isControl) {
		return false
	}
	media, _, err := mime.ParseMediaType(text)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && strings.Contains(media, "/")
}

// clipped bounds what of a sender's own words goes into a message.
func clipped(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
