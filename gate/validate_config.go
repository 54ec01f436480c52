package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// A TopicRule is an entry of the topics section: what records must look like
// (gateway-policies.md 4.4). Of the entries that match a topic, the first that says
// something about the value decides on the value; keys and headers alike.
type TopicRule struct {
	// Match is a topic, or a pattern with * for any characters and ? for one.
	Match string `yaml:"match"`
	// Value is what values must look like.
	Value *PartRule `yaml:"value"`
	// Key is what keys must look like.
	Key *PartRule `yaml:"key"`
	// Headers are what record headers must be there and look like.
	Headers *HeaderRules `yaml:"headers"`
	// Partial lets the good records of a request be written where others are
	// refused, in APIs that tell of each record. The default is all or nothing, but
	// for streams and batches of v3, whose records stand for themselves.
	Partial bool `yaml:"partial"`
	// Mask hides the values of the topic's records, and of its dead letters, where they are
	// shown to people: in the console, and in searches for records. They are shown to who
	// asks for them and may read them, and that is in the audit log. One matching entry is
	// enough.
	Mask bool `yaml:"mask"`
}

// A Checking is the validation section of the configuration file.
type Checking struct {
	// Echo repeats in answers what stands where a record or request is not as it must be:
	// strings of up to 100 characters, numbers, true, false and null. It may be personal
	// data: the default is not to. Logs never have it.
	Echo bool `yaml:"echo"`
}

// An AvroRule is how JSON that is written becomes Avro.
type AvroRule struct {
	// Relaxed takes values of unions as they are, too, without an object that names
	// their branch: the first branch that they fit counts.
	Relaxed bool `yaml:"relaxed"`
}

// A PartRule is what a value or a key must look like: a schema, or simple rules.
type PartRule struct {
	// Schema is a JSON Schema: {file: NAME}, or the schema itself. Bytes that are no
	// JSON fit none.
	Schema json.RawMessage `yaml:"schema"`
	// Registry is main where the schemas of schema_registry count, instead of one that
	// is given here: values must begin with the id of a schema of their subject and fit
	// it. JSON is taken as well; with Avro and Protobuf it is written in that format.
	Registry string `yaml:"registry"`
	// Format is AVRO, JSON or PROTOBUF: schemas of others are refused. The default is
	// any.
	Format string `yaml:"format"`
	// Subject is topic (the default: TOPIC-value, or TOPIC-key), record, topic_record,
	// or the name of a subject.
	Subject string `yaml:"subject"`
	// Version is the only one that counts, a number, or latest, the default: the newest
	// for JSON that is to be written, and any for what has a schema's id.
	Version json.RawMessage `yaml:"version"`
	// OnMissing is reject (the default) or pass: what becomes of records whose schema
	// the registry does not have.
	OnMissing string `yaml:"on_missing"`
	// OnRegistryDown is reject (the default, answered with 503) or pass: what becomes
	// of records while the registry cannot answer.
	OnRegistryDown string `yaml:"on_registry_down"`
	// Avro is how JSON becomes Avro.
	Avro AvroRule `yaml:"avro"`
	// Draft is that of a schema without $schema: 4, 6, 7, 2019-09, 2020-12, or auto,
	// the default, which is 2020-12.
	Draft string `yaml:"draft"`
	// AssertFormat makes format refuse values; by itself it only describes them.
	AssertFormat bool `yaml:"assert_format"`
	// Mode is enforce (the default), warn, which lets records pass that break the
	// rule and counts them, or off.
	Mode string `yaml:"mode"`
	// Nullable lets records pass that have none: without it, none is checked as
	// JSON's null.
	Nullable bool `yaml:"nullable"`
	// MaxBytes is the largest that is checked, up to 16MiB; what is larger breaks the
	// rule. The default is 1MiB.
	MaxBytes int64 `yaml:"max_bytes" unit:"bytes"`
	// Type is string, integer, number or boolean, where there is no schema.
	Type string `yaml:"type"`
	// Pattern is a regular expression that a part of a string must match.
	Pattern string `yaml:"pattern"`
	// Enum lists the values that are allowed.
	Enum json.RawMessage `yaml:"enum"`
	// Minimum is the least that a number may be.
	Minimum json.RawMessage `yaml:"minimum"`
	// Maximum is the most that a number may be.
	Maximum json.RawMessage `yaml:"maximum"`
	// MinLength is how many characters a string must have.
	MinLength int `yaml:"min_length"`
	// MaxLength is how many characters a string may have.
	MaxLength int `yaml:"max_length"`
}

// HeaderRules are what the headers of records must be.
type HeaderRules struct {
	// Required names headers that must be there, with a value that is not empty. Case
	// does not count.
	Required []string `yaml:"required"`
	// Rules say what headers must look like that are there.
	Rules []HeaderRule `yaml:"rules"`
	// Mode is enforce (the default), warn or off.
	Mode string `yaml:"mode"`
}

// A HeaderRule is what one header must look like.
type HeaderRule struct {
	// Name is the header's; case does not count.
	Name string `yaml:"name"`
	// Type is string (the default), integer, number or boolean.
	Type string `yaml:"type"`
	// Pattern is a regular expression that a part of it must match.
	Pattern string `yaml:"pattern"`
	// Enum lists the values that are allowed.
	Enum json.RawMessage `yaml:"enum"`
	// MaxLength is how many characters it may have.
	MaxLength int `yaml:"max_length"`
}

const (
	// largestSchema bounds the text of a schema, in bytes.
	largestSchema = 1 << 20
	// usualChecked and mostChecked bound what is checked of one record.
	usualChecked = 1 << 20
	mostChecked  = 16 << 20
)

// validModes are the modes of a rule.
var validModes = []string{"", "enforce", "warn", "off"}

// Validate reports each problem with the field it lies in.
func (t TopicRule) Validate(report func(path, problem string)) {
	if t.Match == "" || strings.ContainsAny(t.Match, `/[]\`) {
		report("match", "want a topic, or a pattern such as iot.*")
	}
	if t.Value == nil && t.Key == nil && t.Headers == nil && !t.Mask {
		report("", "want a rule for value, key or headers, or mask")
	}
}

func (p PartRule) plain() schema.Plain {
	return schema.Plain{Type: p.Type, Pattern: p.Pattern, Enum: p.Enum, Minimum: p.Minimum, Maximum: p.Maximum, MinLength: p.MinLength, MaxLength: p.MaxLength}
}

// Validate reports each problem with the field it lies in.
func (p PartRule) Validate(report func(path, problem string)) {
	if !slices.Contains(validModes, p.Mode) {
		report("mode", "want enforce, warn or off")
	}
	p.validateRegistry(report)
	switch plain := p.plain(); {
	case p.Registry != "":
	case len(p.Schema) > 0 && !plain.Zero():
		report("schema", "write the other rules into the schema")
	case len(p.Schema) == 0 && plain.Zero() && p.Mode != "off":
		report("", "want a schema, or rules such as type and pattern")
	default:
		plain.Validate(report)
	}
	if !slices.Contains([]string{"", "auto", "4", "6", "7", "2019-09", "2020-12"}, p.Draft) {
		report("draft", "want auto, 4, 6, 7, 2019-09 or 2020-12")
	}
	if p.MaxBytes < 0 || p.MaxBytes > mostChecked {
		report("max_bytes", "want a size up to 16MiB")
	}
	if len(p.Schema) == 0 || schema.FileOf(p.Schema) != "" {
		return
	}
	if _, err := schema.CompileJSON(p.Schema, p.options()); err != nil {
		report("schema", err.Error())
	}
}

func (p PartRule) options() schema.JSONOptions {
	return schema.JSONOptions{Draft: p.Draft, AssertFormat: p.AssertFormat, IgnoreFormat: !p.AssertFormat}
}

// Validate reports each problem with the field it lies in.
func (h HeaderRules) Validate(report func(path, problem string)) {
	if !slices.Contains(validModes, h.Mode) {
		report("mode", "want enforce, warn or off")
	}
	if len(h.Required) == 0 && len(h.Rules) == 0 && h.Mode != "off" {
		report("", "want required headers or rules")
	}
	if slices.Contains(h.Required, "") {
		report("required", "want names of headers")
	}
}

// Validate reports each problem with the field it lies in.
func (h HeaderRule) Validate(report func(path, problem string)) {
	if h.Name == "" {
		report("name", "want the name of a header")
	}
	h.plain().Validate(report)
}

func (h HeaderRule) plain() schema.Plain {
	return schema.Plain{Type: h.Type, Pattern: h.Pattern, Enum: h.Enum, MaxLength: h.MaxLength}
}

// A partCheck is a PartRule made ready. A nil one lets everything pass.
type partCheck struct {
	warn     bool
	nullable bool
	most     int
	json     *schema.JSONSchema // nil: text
	text     *schema.Text
	registry *registryRule // nil: none
}

func (p *PartRule) compile(read func(name string) ([]byte, error)) (*partCheck, error) {
	if p == nil || p.Mode == "off" {
		return nil, nil
	}
	out := &partCheck{warn: p.Mode == "warn", nullable: p.Nullable, most: int(p.MaxBytes)}
	if out.most == 0 {
		out.most = usualChecked
	}
	if p.Registry != "" {
		out.registry = p.compileRegistry()
		return out, nil
	}
	if len(p.Schema) == 0 {
		var err error
		out.text, err = schema.CompilePlain(p.plain())
		return out, err
	}
	text, err := schema.Source(p.Schema, read, largestSchema)
	if err != nil {
		return nil, err
	}
	out.json, err = schema.CompileJSON(text, p.options())
	if name := schema.FileOf(p.Schema); err != nil && name != "" {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return out, err
}
