package transform

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/scan"
)

// A part is a piece of a result: a literal, or what a placeholder stands for.
type part struct {
	act    act
	quoted bool    // the placeholder stands inside a quoted string
	alone  alone   // whether a path is all there is in a pipe template
	text   []byte  // of a literal
	name   string  // of the placeholder, for errors
	at     *node   // where the path leads, up to its first [*]
	spread int     // which of the spreads there is the rest, from 1; 0 if none
	fields []*node // of the event without its detail, as busEvent has them
}

type alone uint8

const (
	notAlone alone = iota
	asText         // an object or array becomes a string without its quotes (pipes.md 9)
	verbatim       // it stays as it is, white space included
)

type act uint8

const (
	putLiteral   act = iota
	putPath          // a value, "" if there is none
	putInput         // a value, null if there is none
	putTime          // when the transform received the event
	putEvent         // the event as received
	putEventJSON     // the event with key and value decoded, "" if it is not JSON
	putBusEvent      // the event without its detail, in the shape of event-bus.md 5.2
)

// busEvent are the members of <aws.events.event> and where they come from.
var busEvent = []struct{ name, path string }{
	{"id", "id"}, {"account", "account"}, {"detailType", "detail-type"}, {"time", "time"},
	{"source", "source"}, {"region", "region"}, {"resources", "resources"}, {"version", "version"},
}

// A dialect says what placeholders of a template mean.
type dialect struct {
	constants map[string]string // variables that are known now
	acts      map[string]act    // variables that are known with the event
	paths     map[string][]step // of input_paths; nil where paths stand in the template
	unquoted  string            // variables with this beginning stand only outside quotes
}

// compileTemplate compiles a template of either kind.
func (t *Transform) compileTemplate(spec Spec, vars Vars) error {
	if err := tooLong("template", spec.Template, maxTemplate); err != nil {
		return err
	}
	var d dialect
	if spec.InputPaths != nil {
		paths, err := parsePaths(spec.InputPaths)
		if err != nil {
			return err
		}
		t.strict = true
		d = dialect{
			constants: map[string]string{"aws.events.rule-arn": vars.RuleARN, "aws.events.rule-name": vars.RuleName},
			acts: map[string]act{"aws.events.event.ingestion-time": putTime, "aws.events.event.json": putEventJSON,
				"aws.events.event": putBusEvent},
			paths:    paths,
			unquoted: "aws.events.event",
		}
	} else {
		t.text = true
		d = dialect{
			constants: map[string]string{"aws.pipes.pipe-arn": vars.PipeARN, "aws.pipes.pipe-name": vars.PipeName,
				"aws.pipes.source-arn": vars.SourceARN, "aws.pipes.enrichment-arn": vars.EnrichmentARN, "aws.pipes.target-arn": vars.TargetARN},
			acts: map[string]act{"aws.pipes.event.ingestion-time": putTime, "aws.pipes.event.json": putEventJSON,
				"aws.pipes.event": putEvent},
		}
	}
	trimmed := strings.TrimSpace(spec.Template)
	t.json = strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	c := compiler{t: t, d: d, text: spec.Template}
	if err := c.run(); err != nil {
		return err
	}
	if t.json {
		if err := c.checkJSON(); err != nil {
			return err
		}
	} else if d.paths == nil && c.placeholders == 1 && c.last == trimmed {
		for i := range t.parts {
			switch {
			case t.parts[i].act != putPath:
			case spec.Lenient:
				t.parts[i].alone = verbatim
			default:
				t.parts[i].alone = asText
			}
		}
	}
	return nil
}

func parsePaths(texts map[string]string) (map[string][]step, error) {
	if len(texts) > maxPaths {
		return nil, &SpecError{Field: "input_paths", Reason: fmt.Sprintf("has %d entries; at most %d are allowed", len(texts), maxPaths)}
	}
	paths := make(map[string][]step, len(texts))
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if name == "" || len(name) > maxName || nameEnd(name, "_-") < len(name) {
			return nil, &SpecError{Field: "input_paths", Reason: fmt.Sprintf("%s is not a name: want 1 to %d letters, digits, _ and -, and not a reserved one", excerpt(name), maxName)}
		}
		steps, err := parsePath("input_paths."+name, texts[name])
		if err != nil {
			return nil, err
		}
		paths[name] = steps
	}
	return paths, nil
}

// nameEnd returns where the letters, digits and the further characters at the
// beginning of a text end.
func nameEnd(text, further string) int {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(further, c) < 0 {
			return i
		}
	}
	return len(text)
}

// A compiler turns the text of a template into the parts of a transform.
type compiler struct {
	t    *Transform
	d    dialect
	text string

	quoted       bool   // within a quoted string
	inString     bool   // that string has a placeholder
	literal      []byte // what is not yet a part
	placeholders int
	last         string // the last placeholder
	// sample is the template with a null for each placeholder outside quotes and
	// nothing for one inside. A JSON template can give JSON only if its sample is
	// JSON; and it does, unless a value within quotes brings a quote, a backslash
	// or a control character.
	sample []byte
	origin []int // for each byte of sample, where it came from
}

func (c *compiler) run() error {
	for i := 0; i < len(c.text); {
		b := c.text[i]
		switch {
		case b == '<':
			next, err := c.placeholder(i)
			if err != nil {
				return err
			}
			if next > i {
				i = next
				continue
			}
		case c.quoted && b == '\\' && i+1 < len(c.text):
			c.put(i, i+2)
			i += 2
			continue
		case b == '"':
			if c.quoted && c.inString && c.t.json && c.text[min(skipSpace(c.text, i+1), len(c.text)-1)] == ':' {
				return c.wrong(i, "a placeholder cannot be part of a member's name")
			}
			c.quoted, c.inString = !c.quoted, false
		}
		c.put(i, i+1)
		i++
	}
	c.flush()
	return nil
}

func skipSpace(s string, i int) int {
	for i < len(s) && strings.IndexByte(" \t\r\n", s[i]) >= 0 {
		i++
	}
	return i
}

// put takes a stretch of the template as it is. Results of JSON templates are
// compact.
func (c *compiler) put(from, to int) {
	for i := from; i < to; i++ {
		c.sample = append(c.sample, c.text[i])
		c.origin = append(c.origin, i)
		if c.t.json && !c.quoted && strings.IndexByte(" \t\r\n", c.text[i]) >= 0 {
			continue
		}
		c.literal = append(c.literal, c.text[i])
	}
}

func (c *compiler) flush() {
	if len(c.literal) > 0 {
		c.t.parts = append(c.t.parts, part{act: putLiteral, text: c.literal})
		c.literal = nil
	}
}

// placeholder takes the placeholder that begins at i and returns where it ends,
// which is i if there is none.
func (c *compiler) placeholder(i int) (int, error) {
	inner := c.text[i+1:]
	if c.d.paths == nil && strings.HasPrefix(inner, "$") {
		steps, n, err := scanPath(inner)
		if err != nil {
			err.Field, err.Position = "template", position(c.text, i+1+n)
			return i, err
		}
		if n == len(inner) || inner[n] != '>' {
			return i, c.wrong(i, "the placeholder <"+inner[:n]+" is not closed by >; a path has .name, ['name'], [n] and [*]")
		}
		p := c.t.pathPart(steps)
		p.name = "<" + inner[:n] + ">"
		return c.add(i, i+n+2, p), nil
	}
	n := nameEnd(inner, "_-.")
	name := inner[:n]
	if c.d.paths == nil && !strings.HasPrefix(name, "aws.") || n == 0 {
		return i, nil
	}
	if n == len(inner) || inner[n] != '>' {
		if strings.HasPrefix(name, "aws.") {
			return i, c.wrong(i, "the placeholder <"+name+" is not closed by >")
		}
		return i, nil
	}
	p := part{name: "<" + name + ">", quoted: c.quoted}
	if steps, ok := c.d.paths[name]; ok {
		q := c.t.pathPart(steps)
		q.name = p.name
		return c.add(i, i+n+2, q), nil
	}
	if value, ok := c.d.constants[name]; ok {
		return c.constant(i, i+n+2, value), nil
	}
	a, ok := c.d.acts[name]
	if !ok {
		err := c.wrong(i, fmt.Sprintf("the placeholder <%s> is neither in input_paths nor predefined", name))
		if c.d.paths == nil {
			err = c.wrong(i, fmt.Sprintf("there is no variable <%s>; known are <%s>", name, strings.Join(c.d.names(), ">, <")))
		}
		err.Placeholder = name
		return i, err
	}
	if c.quoted && c.d.unquoted != "" && a != putTime && strings.HasPrefix(name, c.d.unquoted) {
		err := c.wrong(i, fmt.Sprintf("<%s> stands only outside quotes", name))
		err.Placeholder = name
		return i, err
	}
	p.act = a
	switch a {
	case putEvent, putEventJSON:
		p.at = c.t.root
		p.at.wanted = true
	case putBusEvent:
		for _, f := range busEvent {
			at := c.t.root.child(step{name: f.path})
			at.wanted = true
			p.fields = append(p.fields, at)
		}
	}
	return c.add(i, i+n+2, p), nil
}

// names are the reserved variables.
func (d dialect) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(d.constants)), maps.Keys(d.acts))
	slices.Sort(names)
	return names
}

// add makes a part of the placeholder between from and to.
func (c *compiler) add(from, to int, p part) int {
	p.quoted = c.quoted
	c.flush()
	c.t.parts = append(c.t.parts, p)
	if !c.quoted {
		c.sampled(from, "null")
	}
	return c.took(from, to)
}

// constant puts the value of a variable that does not depend on the event.
func (c *compiler) constant(from, to int, value string) int {
	text := value
	if !c.quoted {
		text = string(scan.AppendString(nil, value))
	}
	c.literal = append(c.literal, text...)
	c.sampled(from, text)
	return c.took(from, to)
}

func (c *compiler) took(from, to int) int {
	c.placeholders++
	c.inString = c.inString || c.quoted
	c.last = c.text[from:to]
	return to
}

func (c *compiler) sampled(from int, text string) {
	c.sample = append(c.sample, text...)
	for range text {
		c.origin = append(c.origin, from)
	}
}

// checkJSON refuses a JSON template that cannot give JSON.
func (c *compiler) checkJSON() error {
	end, ok := scan.Value(c.sample, scan.Space(c.sample, 0))
	if ok {
		if end = scan.Space(c.sample, end); end == len(c.sample) {
			return nil
		}
	}
	at := len(c.text)
	if end < len(c.origin) {
		at = c.origin[end]
	}
	return c.wrong(at, "a template that begins with { or [ must be JSON around its placeholders, and it is not from here on")
}

func (c *compiler) wrong(at int, reason string) *SpecError {
	return &SpecError{Field: "template", Position: position(c.text, at), Reason: reason}
}

// pathPart returns a part that puts the value that steps lead to, and marks its
// place in the tree.
func (t *Transform) pathPart(steps []step) part {
	plain := slices.IndexFunc(steps, func(s step) bool { return s.kind == every })
	if plain < 0 {
		plain = len(steps)
	}
	at := t.root.add(steps[:plain])
	if plain == len(steps) {
		at.wanted = true
		return part{act: putPath, at: at}
	}
	at.spread = append(at.spread, spread{steps: steps[plain:], number: t.spreads})
	t.spreads++
	return part{act: putPath, at: at, spread: len(at.spread)}
}
