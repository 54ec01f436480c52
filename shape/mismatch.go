package shape

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// A Fault is what a Mismatch is about.
type Fault int

// The faults of requests.
const (
	Parameters Fault = iota + 1 // a parameter is missing or not as it must be
	Body                        // the body does not fit its model
	MediaType                   // there is no model for a body of this type
	TooLarge                    // the body is larger than the route takes
)

// An Entry is one thing that is wrong with a request.
type Entry struct {
	// In is path, query or header, and Name the parameter's; both are empty for a
	// body.
	In, Name string
	schema.Violation
}

// A Mismatch is the error of a request that does not have the shape that its route
// asks for.
type Mismatch struct {
	Fault   Fault
	Entries []Entry // at most twenty
	// Truncated says that there are others.
	Truncated bool
	// Accepts are the media types that there are models for, of a MediaType fault.
	Accepts []string
	// Most is the size of a body that is taken, of a TooLarge fault.
	Most int64
}

// Summary says in a few words what is wrong.
func (e *Mismatch) Summary() string {
	switch e.Fault {
	case MediaType:
		return "Unsupported Media Type: want " + strings.Join(e.Accepts, ", ")
	case TooLarge:
		return fmt.Sprintf("the request body is larger than the %d bytes that this route takes", e.Most)
	case Parameters:
		if len(e.Entries) == 1 {
			return "1 parameter is missing or not as it must be"
		}
		return fmt.Sprintf("%d parameters are missing or not as they must be", len(e.Entries))
	}
	if len(e.Entries) == 1 && !e.Truncated {
		return "1 problem in the body"
	}
	more := ""
	if e.Truncated {
		more = "at least "
	}
	return fmt.Sprintf("%s%d problems in the body", more, len(e.Entries))
}

// Error repeats no values: it is what goes into logs.
func (e *Mismatch) Error() string { return e.text(false) }

// Text tells the caller what is wrong, in one line. That of a media type is the one of
// Confluent's APIs; which are taken stands in the Accept-Post field.
func (e *Mismatch) Text() string {
	if e.Fault == MediaType {
		return "HTTP 415 Unsupported Media Type"
	}
	return e.text(true)
}

func (e *Mismatch) text(echo bool) string {
	b := []byte(e.Summary())
	for i, one := range e.Entries {
		sign := "; "
		if i == 0 {
			sign = ": "
		}
		b = append(b, sign...)
		if one.In != "" {
			b = fmt.Appendf(b, "%s parameter %s: %s (%s)", one.In, one.Name, one.Detail, one.Keyword)
		} else {
			b = fmt.Appendf(b, "%s: %s (%s)", one.Pointer, one.Detail, one.Keyword)
		}
		if echo && one.Actual != "" {
			b = fmt.Appendf(b, ", got %s", one.Actual)
		}
	}
	return string(b)
}

// Reported says that there is nothing about it that the log should know.
func (e *Mismatch) Reported() {}

// AWS is the message that API Gateway has for it (gateway-policies.md 4.1). Where
// parameters are there and wrong, which it does not look at, the words are klamm's.
func (e *Mismatch) AWS() string {
	switch e.Fault {
	case MediaType:
		return "Unsupported Media Type"
	case TooLarge:
		return "Request Too Long"
	case Body:
		return "Invalid request body"
	}
	var missing, wrong []string
	for _, one := range e.Entries {
		if one.Keyword == "required" {
			missing = append(missing, one.Name)
		} else if !slices.Contains(wrong, one.Name) {
			wrong = append(wrong, one.Name)
		}
	}
	if len(missing) > 0 {
		return "Missing required request parameters: [" + strings.Join(missing, ", ") + "]"
	}
	return "Invalid request parameters: [" + strings.Join(wrong, ", ") + "]"
}

// add appends what is wrong, as long as there is room.
func (e *Mismatch) add(one Entry) {
	if len(e.Entries) == schema.MaxViolations {
		e.Truncated = true
		return
	}
	e.Entries = append(e.Entries, one)
}
