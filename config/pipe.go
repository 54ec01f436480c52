package config

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml/ast"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target"
)

// LoadPipe reads one pipe, YAML or JSON, as it stands in the pipes of a configuration
// file, and returns every problem in it. The pipe is usable only if there is none.
func LoadPipe(text []byte, kinds []target.Kind) (catalog.Pipe, []Problem) {
	var p catalog.Pipe
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	body, problems := parse(text)
	if body == nil {
		if len(problems) == 0 {
			problems = []Problem{{1, 1, "a pipe is a mapping, and there is nothing"}}
		}
		return p, problems
	}
	d := &decoder{kinds: kinds, places: map[string]ast.Node{}, wrong: map[string]bool{}, around: map[string]bool{}, anchors: map[string]ast.Node{}}
	d.budget = 2*len(text) + minBudget
	d.value("", body, reflect.ValueOf(&p).Elem(), "")
	return p, arrange(d.problems, text)
}

// Raw returns a YAML or JSON document as JSON, whatever it says.
func Raw(text []byte) ([]byte, error) {
	body, problems := parse(bytes.TrimPrefix(text, []byte("\ufeff")))
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", problems[0])
	}
	if body == nil {
		return nil, fmt.Errorf("there is nothing in it")
	}
	d := &decoder{places: map[string]ast.Node{}, wrong: map[string]bool{}, around: map[string]bool{}, anchors: map[string]ast.Node{}}
	d.budget = 2*len(text) + minBudget
	raw, ok := d.raw("", body, 0)
	if !ok || len(d.problems) > 0 {
		return nil, fmt.Errorf("%s", append(d.problems, Problem{1, 1, "it cannot be read"})[0])
	}
	return raw, nil
}
