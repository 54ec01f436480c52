package sink

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/klamm-gateway/klamm/transform"
)

// A typer chooses the detail-type of events (event-bus.md 13.4).
type typer struct {
	template string            // for every topic
	topics   map[string]string // instead, by topic
	path     *transform.Paths  // instead, in the value
}

// without is the detail-type of topics that nobody has named.
const without = "kafka-connect-${topic}"

var pairForm = regexp.MustCompile(`^\S+:\S+$`)

// A definite path leads to one place at most. Names in double quotes become those in
// single ones, which is all that transform knows.
var (
	definite = regexp.MustCompile(`^\$(\.[^\s.\[\]()*?@$,'"\\]+|\['[^'\\]+'\]|\["[^'"\\]+"\]|\[\d+\])*$`)
	doubled  = regexp.MustCompile(`\["([^'"]+)"\]`)
)

func newTyper(items []string, path string) (*typer, error) {
	t := &typer{template: without}
	if path != "" {
		t.path = &transform.Paths{}
		if !definite.MatchString(path) {
			return nil, fmt.Errorf("%s is not a definite JSON path", clip(path))
		}
		if _, err := t.path.Add(doubled.ReplaceAllString(path, "['$1']")); err != nil {
			return nil, err
		}
		return t, nil
	}
	switch {
	case len(items) == 0:
	case len(items) == 1 && !strings.Contains(items[0], ":"):
		t.template = items[0]
	default:
		t.topics = map[string]string{}
		for _, item := range items {
			if !pairForm.MatchString(item) {
				return nil, fmt.Errorf("%s is not topic:detail-type", clip(item))
			}
			// Of a type with colons in it only what is before the second one counts, as
			// in the original connector.
			parts := strings.Split(item, ":")
			t.topics[parts[0]] = parts[1]
		}
	}
	return t, nil
}

// of returns the detail-type of a record by its topic and its value as JSON. The error is
// why a path leads to none; then it is the topic.
func (t *typer) of(topic string, value []byte) (string, error) {
	if t.path != nil {
		found, err := t.find(value)
		if err != nil {
			return topic, err
		}
		return found, nil
	}
	if given, ok := t.topics[topic]; ok {
		return given, nil
	}
	return strings.ReplaceAll(t.template, "${topic}", topic), nil
}

// find returns the text that the path leads to.
func (t *typer) find(value []byte) (string, error) {
	var text string
	err := t.path.Find(value, func(values [][]byte) error {
		if len(values[0]) == 0 || values[0][0] != '"' {
			return errNull
		}
		return json.Unmarshal(values[0], &text)
	})
	if err == nil && strings.TrimSpace(text) == "" {
		err = errNull
	}
	return text, err
}
