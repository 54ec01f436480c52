package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// violations collects what is wrong with a request, in the words of these APIs
// (event-bus.md 1): Value 'v' at 'path' failed to satisfy constraint: Member must ...
type violations struct {
	texts  []string
	fields []fieldError
}

type fieldError struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

const (
	mostViolations = 50      // bounds the list
	mostShown      = 2 << 10 // bytes of a value that are shown: more than most texts may have
)

// add notes a violation. What is secret is not repeated.
func (v *violations) add(path string, value any, must string) {
	if len(v.texts) == mostViolations {
		return
	}
	shown := "null"
	switch value := value.(type) {
	case nil:
	case string:
		shown = "'" + clipTo(value, mostShown) + "'"
	default:
		shown = fmt.Sprintf("'%v'", value)
	}
	v.texts = append(v.texts, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must %s", shown, path, must))
	v.fields = append(v.fields, fieldError{path, "Member must " + must})
}

// say notes a problem in words of klamm's own.
func (v *violations) say(path, text string) {
	if len(v.texts) < mostViolations {
		v.texts = append(v.texts, path+": "+text)
		v.fields = append(v.fields, fieldError{path, text})
	}
}

// fault returns what has been collected; nil: nothing.
func (v *violations) fault() error {
	if len(v.texts) == 0 {
		return nil
	}
	errors := "errors"
	if len(v.texts) == 1 {
		errors = "error"
	}
	return &fault{
		name: "ValidationException", status: http.StatusBadRequest, members: map[string]any{"fieldList": v.fields},
		message: fmt.Sprintf("%d validation %s detected: %s", len(v.texts), errors, strings.Join(v.texts, "; ")),
	}
}

func clip(s string) string { return clipTo(s, 200) }

func clipTo(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// A shape is what a text must look like.
type shape struct {
	least, most int // characters; most 0: any number
	form        *regexp.Regexp
	text        string // of the form, as the API writes it; empty: as it is
	secret      bool   // the value is not repeated
}

func like(least, most int, form string) shape {
	return shape{least: least, most: most, form: regexp.MustCompile(`^(?s:` + form + `)$`), text: form}
}

// as is like with another text for people.
func (s shape) as(text string) shape {
	s.text = text
	return s
}

func long(least, most int) shape { return shape{least: least, most: most} }

func (s shape) hidden() shape {
	s.secret = true
	return s
}

// required checks a text that must be there.
func (v *violations) required(path string, value *string, s shape) {
	if value == nil {
		v.add(path, nil, "not be null")
		return
	}
	v.text(path, value, s)
}

// text checks a text, if it is there.
func (v *violations) text(path string, value *string, s shape) {
	if value == nil {
		return
	}
	shown := *value
	if s.secret {
		shown = "***"
	}
	n := utf8.RuneCountInString(*value)
	switch {
	case n < s.least:
		v.add(path, shown, fmt.Sprintf("have length greater than or equal to %d", s.least))
	case s.most > 0 && n > s.most:
		v.add(path, shown, fmt.Sprintf("have length less than or equal to %d", s.most))
	case s.form != nil && !s.form.MatchString(*value):
		v.add(path, shown, "satisfy regular expression pattern: "+s.text)
	}
}

// number checks a number, if it is there.
func (v *violations) number(path string, value *int64, least, most int64) {
	switch {
	case value == nil:
	case *value < least:
		v.add(path, *value, fmt.Sprintf("have value greater than or equal to %d", least))
	case most > 0 && *value > most:
		v.add(path, *value, fmt.Sprintf("have value less than or equal to %d", most))
	}
}

// oneOf checks a text of which there are few, if it is there.
func (v *violations) oneOf(path string, value *string, all ...string) {
	if value != nil && !slices.Contains(all, *value) {
		v.add(path, *value, "satisfy enum value set: ["+strings.Join(all, ", ")+"]")
	}
}

// count checks how many members there are.
func (v *violations) count(path string, n, least, most int) {
	switch {
	case n < least:
		v.add(path, fmt.Sprintf("%d members", n), fmt.Sprintf("have length greater than or equal to %d", least))
	case n > most:
		v.add(path, fmt.Sprintf("%d members", n), fmt.Sprintf("have length less than or equal to %d", most))
	}
}

// A number in a request may come as 5 or 5.0, not as 5.5 and not as a text.
type number int64

func (n *number) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f != float64(int64(f)) {
		return &json.UnmarshalTypeError{Value: "number " + clip(string(b)), Field: "a whole number"}
	}
	*n = number(int64(f))
	return nil
}

func (n *number) int() *int64 { return (*int64)(n) }
