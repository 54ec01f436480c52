package transform

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// MaxResult is how many bytes a result may have.
const MaxResult = 64 << 20

// The limits of a Spec (event-bus.md 5), in characters where they are lengths.
const (
	maxTemplate  = 8192 // a template, a constant or a jq program
	maxPath      = 256  // an input path, or one of the map
	maxPaths     = 100  // entries of the map
	maxName      = 256  // a name in the map
	maxPathSteps = 128
)

// A Spec says how a body is made. Exactly one of Template, InputPath, Constant
// and JQ is set; InputPaths goes with Template.
type Spec struct {
	// Template is a text with placeholders. Without input_paths these are paths
	// into the document, as in <$.value.id>, and the reserved variables of
	// EventBridge Pipes, as in <aws.pipes.pipe-name>. A template that begins
	// with { or [ makes JSON, any other makes text. At most 8192 characters.
	Template string `yaml:"template" json:"template,omitempty"`
	// InputPaths names paths into the document; the template then refers to them
	// by name, as in <id>, and has the variables of EventBridge's input
	// transformer. At most 100; a path has at most 256 characters.
	InputPaths map[string]string `yaml:"input_paths" json:"input_paths,omitzero"`
	// InputPath takes one value out of the document, as in $.value.order, and
	// delivers it as JSON; null where there is none. At most 256 characters.
	InputPath string `yaml:"input_path" json:"input_path,omitempty"`
	// Constant is delivered instead of every record: any JSON value of at most
	// 8192 characters.
	Constant json.RawMessage `yaml:"constant" json:"constant,omitempty"`
	// JQ is a jq program over the document that gives exactly one value. At most
	// 8192 characters.
	JQ string `yaml:"jq" json:"jq,omitempty"`
	// Lenient lets a template that is nothing but one path deliver an object or
	// array as it is, white space included.
	// Otherwise it becomes a string without its quotes, as in EventBridge Pipes.
	Lenient bool `yaml:"lenient" json:"lenient,omitempty"`
	// Encoded says that the members key and value of the documents are base64,
	// as in the records of EventBridge Pipes (pipes.md 4). Where their bytes are
	// a JSON object or array, paths and jq programs see that instead.
	Encoded bool `yaml:"-" json:"-"`
}

// Vars are the values of the reserved variables; what is empty is an empty
// string in a result. Pipes have the first five, rules on a bus the last two.
type Vars struct {
	PipeARN, PipeName, SourceARN, EnrichmentARN, TargetARN string
	RuleARN, RuleName                                      string
}

// A Transform is a compiled Spec. It is safe for concurrent use.
type Transform struct {
	constant []byte   // instead of everything else
	program  *program // instead of everything below

	root    *node
	slots   int
	spreads int
	parts   []part
	json    bool // the result must be JSON
	strict  bool // an object or array within quotes spoils a JSON template (event-bus.md 5.1)
	text    bool // a document that is not JSON counts as a string (pipes.md 7)
	encoded bool
	walks   sync.Pool // of *walk
}

// A SpecError says what is wrong with a Spec.
type SpecError struct {
	// Field is the part of the Spec: template, input_path, input_paths, constant
	// or jq.
	Field string
	// Position counts the characters of that field up to the mistake, from 1; 0
	// if the field as a whole is meant.
	Position int
	// Placeholder is the name in the template that is not known, or that cannot stand
	// where it does, if that is what is wrong.
	Placeholder string
	// Reason says what is wrong and what to do.
	Reason string
}

func (e *SpecError) Error() string {
	if e.Position > 0 {
		return fmt.Sprintf("%s: character %d: %s", e.Field, e.Position, e.Reason)
	}
	return e.Field + ": " + e.Reason
}

// An InvalidJSONError is the failure that EventBridge calls INVALID_JSON: the
// result must be JSON and is not. Another attempt fails the same way.
type InvalidJSONError struct {
	// Reason says what spoilt the result. It holds no part of the document.
	Reason string
}

func (e *InvalidJSONError) Error() string { return "INVALID_JSON: " + e.Reason }

// ErrDocument says that a document is not JSON.
var ErrDocument = errors.New("the document is not JSON")

// ErrTooLarge says that a result would have more than MaxResult bytes.
var ErrTooLarge = fmt.Errorf("the result would have more than %d MiB", MaxResult>>20)

// Compile prepares a Spec. Every error is a *SpecError.
func Compile(spec Spec, vars Vars) (*Transform, error) {
	t := &Transform{root: &node{}, encoded: spec.Encoded}
	t.walks.New = func() any { return &walk{spans: make([]span, t.slots), hits: make([][]byte, t.spreads)} }
	if err := oneForm(spec); err != nil {
		return nil, err
	}
	var err error
	switch {
	case spec.Template != "":
		err = t.compileTemplate(spec, vars)
	case spec.InputPath != "":
		err = t.compileInputPath(spec.InputPath)
	case spec.JQ != "":
		if err = tooLong("jq", spec.JQ, maxTemplate); err == nil {
			t.program, err = compileJQ(spec.JQ, spec.Encoded)
		}
	default:
		if err = tooLong("constant", string(spec.Constant), maxTemplate); err == nil && !scan.Valid(spec.Constant) {
			err = &SpecError{Field: "constant", Reason: "is not JSON"}
		}
		t.constant = spec.Constant
	}
	if err != nil {
		return nil, err
	}
	t.slots = t.root.number(0)
	if t.encoded {
		for i := range t.root.names {
			switch b := t.root.names[i]; b.name {
			case "key":
				b.to.encoded = 1
			case "value":
				b.to.encoded = 2
			}
		}
	}
	return t, nil
}

// oneForm checks that exactly one way of making a body was chosen.
func oneForm(spec Spec) error {
	var set []string
	for name, is := range map[string]bool{"template": spec.Template != "", "input_path": spec.InputPath != "", "constant": spec.Constant != nil, "jq": spec.JQ != ""} {
		if is {
			set = append(set, name)
		}
	}
	switch {
	case len(set) > 1:
		return &SpecError{Field: "template", Reason: "only one of template, input_path, constant and jq may be given"}
	case spec.InputPaths != nil && spec.Template == "":
		return &SpecError{Field: "input_paths", Reason: "needs a template that uses the names"}
	case len(set) == 0:
		return &SpecError{Field: "template", Reason: "is empty; give a template, or one of input_path, constant and jq instead"}
	}
	return nil
}

func tooLong(field, text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return &SpecError{Field: field, Reason: fmt.Sprintf("has %d characters; at most %d are allowed", n, most)}
	}
	return nil
}

func (t *Transform) compileInputPath(path string) error {
	steps, err := parsePath("input_path", path)
	if err != nil {
		return err
	}
	p := t.pathPart(steps)
	p.act, p.name = putInput, path
	t.parts = []part{p}
	return nil
}

// Fields returns the top-level members of the document that the transform
// looks at, in no particular order; all means that it may look at any. A caller
// need not build the others.
func (t *Transform) Fields() (names []string, all bool) {
	if t.constant != nil {
		return nil, false
	}
	if t.program != nil || t.root.wanted || len(t.root.spread) > 0 {
		return nil, true
	}
	for _, b := range t.root.names {
		names = append(names, b.name)
	}
	return names, false
}

// Apply appends what the transform makes of a document to dst and returns the
// extended slice; the result shares no memory with the document. now is for the
// variables that tell a time: of a pipe when the transform received the event
// (pipes.md 9), of a rule when the bus took it in (event-bus.md 5.2).
//
// Every error is permanent, since the same document fails again, and leaves
// dst as it was: *InvalidJSONError if the result must be JSON and is not,
// ErrTooLarge, ErrDocument if the document is not JSON (a pipe template takes
// it as a string instead), or *ProgramError from jq.
func (t *Transform) Apply(dst, document []byte, now time.Time) ([]byte, error) {
	switch {
	case t.constant != nil:
		return append(dst, t.constant...), nil
	case t.program != nil:
		out, err := t.program.run(dst, document)
		if err != nil {
			return dst, err
		}
		return out, nil
	}
	w := t.walks.Get().(*walk)
	out, err := t.render(w, dst, document, now)
	w.release()
	t.walks.Put(w)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// position counts the characters of text before the byte at offset, from 1.
func position(text string, offset int) int {
	return utf8.RuneCountInString(text[:min(offset, len(text))]) + 1
}

// excerpt quotes the beginning of a text for an error.
func excerpt(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "..."
	}
	return `"` + strings.ToValidUTF8(s, "?") + `"`
}
