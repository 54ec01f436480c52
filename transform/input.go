package transform

import (
	"encoding/json"
	"time"
)

// An Input says what a target of a rule gets instead of the event (event-bus.md 5). At
// most one of Constant, Path and Template is set; the zero value is the event itself.
type Input struct {
	// Constant is delivered instead of every event, byte for byte: any JSON value of at
	// most 8192 characters.
	Constant json.RawMessage
	// Path takes one value out of the event and delivers it as JSON, a string with its
	// quotes; null where there is none. At most 256 characters.
	Path string
	// Template is a text of at most 8192 characters with placeholders such as <name>,
	// which stand for what Paths finds in the event. One that begins with { or [ makes
	// JSON, any other makes text.
	Template string
	// Paths are JSON paths by name: at most 100, each of at most 256 characters.
	Paths map[string]string
}

// InputVars are the values of the variables of rules.
type InputVars struct{ RuleARN, RuleName string }

// An InputTransform is a compiled Input. It is safe for concurrent use.
//
// It differs from the templates of EventBridge Pipes, which Compile also takes, in
// three ways: placeholders are names and not paths; an object or array within the
// quotes of a JSON template spoils the result instead of losing its quotes; and a
// placeholder that is all of a text stays the JSON that it is.
type InputTransform struct{ t *Transform } // t is nil: the event as it is

// CompileInput prepares an input. Every error is a *SpecError: its Field is constant,
// input_path, template or input_paths.NAME, and its Placeholder the name in the template
// that is neither in Paths nor predefined, if that is the mistake; it is also set for
// <aws.events.event> and <aws.events.event.json> within quotes, where they cannot stand.
// A path that finds nothing is no mistake.
func CompileInput(in Input, vars InputVars) (*InputTransform, error) {
	if in.Constant == nil && in.Path == "" && in.Template == "" && in.Paths == nil {
		return &InputTransform{}, nil
	}
	spec := Spec{Template: in.Template, InputPath: in.Path, Constant: in.Constant, InputPaths: in.Paths}
	if spec.Template != "" && spec.InputPaths == nil {
		spec.InputPaths = map[string]string{} // so that placeholders are names
	}
	t, err := Compile(spec, Vars{RuleARN: vars.RuleARN, RuleName: vars.RuleName})
	if err != nil {
		return nil, err
	}
	return &InputTransform{t}, nil
}

// Apply appends what a target gets of an event to dst and returns the extended slice,
// which shares no memory with the event; intake is when the bus took it in. Every error
// is permanent and leaves dst as it was: *InvalidJSONError, ErrTooLarge, or ErrDocument
// if the envelope is not JSON.
func (i *InputTransform) Apply(dst, envelope []byte, intake time.Time) ([]byte, error) {
	if i.t == nil {
		return append(dst, envelope...), nil
	}
	return i.t.Apply(dst, envelope, intake)
}

// Whole says that the input is the event itself, so that it need not be copied.
func (i *InputTransform) Whole() bool { return i.t == nil }
