package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxDocument is the largest policy document, in bytes.
const MaxDocument = 64 << 10

// A Kind says what a document is attached to, and whether its statements name
// principals.
type Kind string

// The kinds of policies (gateway-policies.md 2.1).
const (
	// Identities is attached to callers, and its statements name none.
	Identities Kind = "identity"
	// Resources is attached to what is called, and its statements name principals;
	// one that does not never matches.
	Resources Kind = "resource"
	// Boundaries is attached to callers and caps what their identity policies allow.
	Boundaries Kind = "boundary"
)

// A Document is a policy document, compiled. It is not changed any more and may be
// used by many goroutines.
type Document struct {
	statements []statement
	warnings   []string
	groups     []string
	longest    int // of Resource and NotResource, in characters
}

// Warnings says what in a document is allowed but probably not meant, each with
// the statement and the member.
func (d *Document) Warnings() []string { return d.warnings }

// Unaddressed returns the number, from 1, of the first statement that names no
// principals; 0: all do.
func (d *Document) Unaddressed() int {
	for i := range d.statements {
		if d.statements[i].principals == nil {
			return i + 1
		}
	}
	return 0
}

// LongestResource returns how many characters the longest entry of the Resource and
// NotResource elements has.
func (d *Document) LongestResource() int { return d.longest }

// Groups returns the ids of the groups that the document mentions: as principals, or
// as values that klamm:Groups is compared with.
func (d *Document) Groups() []string { return d.groups }

// Parse compiles a document of at most MaxDocument bytes (gateway-policies.md 2.1).
// Nothing in it is guessed: members that are not known, stand there twice or do
// not fit each other are errors that name the statement, by its Sid or its number
// from 1, and the member.
func Parse(text []byte, kind Kind) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("the document has more than %d bytes", MaxDocument)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) {
		return nil, errors.New("the document is not UTF-8")
	}
	root, err := readTree(text)
	if err != nil {
		return nil, err
	}
	if root.kind != '{' {
		return nil, errors.New("want a JSON object with the members Version and Statement")
	}
	version := "2008-10-17"
	var list []*tree
	there := false
	for _, m := range root.members {
		switch m.name {
		case "Version":
			version = m.value.text
			if m.value.kind != '"' || version != "2012-10-17" && version != "2008-10-17" {
				return nil, errors.New("member Version: want 2012-10-17 or 2008-10-17")
			}
		case "Id":
			if m.value.kind != '"' {
				return nil, errors.New("member Id: want a text")
			}
		case "Statement":
			list = m.value.items
			if there = true; m.value.kind == '{' {
				list = []*tree{m.value}
			} else if m.value.kind != '[' {
				return nil, errors.New("member Statement: want an object, or a list of them")
			}
		default:
			return nil, fmt.Errorf("unknown member %q; want Version, Id and Statement", clip(m.name))
		}
	}
	if !there {
		return nil, errors.New("member Statement is missing")
	}
	d := &Document{}
	if len(list) == 0 {
		d.warnings = append(d.warnings, "there are no statements, so that it allows and denies nothing")
	}
	for i, t := range list {
		name, err := d.add(t, kind, version == "2012-10-17")
		if err == nil {
			continue
		}
		if name == "" {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		return nil, fmt.Errorf("statement %d (%s): %w", i+1, clip(name), err)
	}
	return d, nil
}

// add compiles a statement. The name is its Sid, as far as that was read.
func (d *Document) add(t *tree, kind Kind, variables bool) (name string, err error) {
	var e elements
	if err := e.read(t, kind); err != nil {
		return e.sid, err
	}
	s, odd, err := e.compile(kind, variables)
	if err != nil {
		return e.sid, err
	}
	d.statements = append(d.statements, *s)
	for _, text := range e.resources.values {
		d.longest = max(d.longest, utf8.RuneCountInString(text))
	}
	d.groups = append(d.groups, e.groups()...)
	for _, text := range odd {
		d.warnings = append(d.warnings, fmt.Sprintf("statement %d: %s", len(d.statements), text))
	}
	return e.sid, nil
}

// elements are those of a statement, decoded.
type elements struct {
	sid, effect        string
	actions, resources member
	principals         *principals
	exempt             bool // they stand in NotPrincipal
	conditions         []keyed
}

// groups are those that the statement mentions.
func (e *elements) groups() []string {
	var all []string
	if e.principals != nil {
		all = append(all, e.principals.groups...)
	}
	for _, c := range e.conditions {
		if strings.EqualFold(c.key, groupsKey) {
			all = append(all, c.values...)
		}
	}
	return all
}

// keyed is a key of an operator, with its values.
type keyed struct {
	operator, key string
	values        []string
}

func (e *elements) read(t *tree, kind Kind) error {
	if t.kind != '{' {
		return errors.New("want an object")
	}
	for _, m := range t.members { // so that the other members' errors can name it
		if m.name == "Sid" && m.value.kind == '"' {
			e.sid = m.value.text
		}
	}
	for _, m := range t.members {
		if err := e.element(m, kind); err != nil {
			return fmt.Errorf("%s: %w", clip(m.name), err)
		}
	}
	switch {
	case e.effect == "":
		return errors.New("Effect is missing")
	case e.actions.name == "":
		return errors.New("Action is missing")
	case e.resources.name == "":
		return errors.New("Resource is missing")
	}
	return nil
}

func (e *elements) element(m treeMember, kind Kind) (err error) {
	switch m.name {
	case "Sid":
		if m.value.kind != '"' {
			return errors.New("want a text")
		}
	case "Effect":
		if e.effect = m.value.text; m.value.kind != '"' || e.effect != "Allow" && e.effect != "Deny" {
			return errors.New("want Allow or Deny, spelled so")
		}
	case "Action", "NotAction":
		err = e.actions.read(m, "Action and NotAction")
	case "Resource", "NotResource":
		err = e.resources.read(m, "Resource and NotResource")
	case "Principal", "NotPrincipal":
		switch {
		case kind != Resources:
			return fmt.Errorf("a policy of kind %s is attached to its principals and cannot name any", kind)
		case e.principals != nil:
			return errors.New("a statement has Principal or NotPrincipal, not both")
		}
		e.exempt = m.name == "NotPrincipal"
		e.principals, err = readPrincipals(m.value)
	case "Condition":
		e.conditions, err = readConditions(m.value)
	default:
		return errors.New("unknown member; want Sid, Effect, Principal, Action, Resource and Condition, or NotPrincipal, NotAction, NotResource")
	}
	return err
}

func (l *member) read(m treeMember, both string) error {
	if l.name != "" {
		return fmt.Errorf("a statement has one of %s", both)
	}
	values, ok := m.value.texts(false)
	if !ok || len(values) == 0 {
		return errors.New("want a text, or a list of texts")
	}
	l.name, l.values = m.name, values
	return nil
}

func readPrincipals(t *tree) (*principals, error) {
	p := &principals{}
	if t.kind == '"' && t.text == "*" {
		p.everybody = true
		return p, nil
	}
	if t.kind != '{' || len(t.members) == 0 {
		return nil, errPrincipals
	}
	for _, m := range t.members {
		if !slices.Contains([]string{"AWS", "Klamm", "Service", "Federated", "CanonicalUser"}, m.name) {
			return nil, fmt.Errorf("unknown member %q; %w", clip(m.name), errPrincipals)
		}
		values, ok := m.value.texts(false)
		if !ok || len(values) == 0 {
			return nil, fmt.Errorf("%s: want a text, or a list of texts", m.name)
		}
		for _, v := range values {
			if err := p.add(m.name, v); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return p, nil
}

func readConditions(t *tree) ([]keyed, error) {
	if t.kind != '{' {
		return nil, errors.New("want an object of operators")
	}
	var all []keyed
	for _, op := range t.members {
		if op.value.kind != '{' {
			return nil, fmt.Errorf("%s: want an object of keys", clip(op.name))
		}
		if len(op.value.members) == 0 {
			if _, _, _, err := compileCondition(op.name, "", nil, false); err != nil {
				return nil, err
			}
		}
		for _, key := range op.value.members {
			values, ok := key.value.texts(true)
			if !ok || len(values) == 0 || key.name == "" {
				return nil, fmt.Errorf("%s: %s: want a value, or a list of values", clip(op.name), clip(key.name))
			}
			all = append(all, keyed{op.name, key.name, values})
		}
	}
	return all, nil
}

// A tree is a JSON value whose objects keep their order.
type tree struct {
	kind    byte // { [ " and, for everything else, 0
	text    string
	items   []*tree
	members []treeMember
}

type treeMember struct {
	name  string
	value *tree
}

// texts returns the values of a text or a list of texts. Scalars may stand for
// texts where that is loose.
func (t *tree) texts(loose bool) ([]string, bool) {
	items := t.items
	if t.kind != '[' {
		items = []*tree{t}
	}
	var values []string
	for _, item := range items {
		if item.kind != '"' && (!loose || item.kind != 0 || item.text == "null") {
			return nil, false
		}
		values = append(values, item.text)
	}
	return values, true
}

// deepest is how far values may lie within each other: a policy needs four.
const deepest = 8

func readTree(text []byte) (*tree, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	t, err := readValue(d, 0)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return t, nil
		}
		err = errors.New("something stands behind the document")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it breaks off")
	}
	return nil, fmt.Errorf("not usable JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func readValue(d *json.Decoder, depth int) (*tree, error) {
	if depth > deepest {
		return nil, errors.New("too many values within each other")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case string:
		return &tree{kind: '"', text: v}, nil
	case json.Delim:
		return readComposite(d, byte(v), depth)
	case nil:
		return &tree{text: "null"}, nil
	default:
		return &tree{text: fmt.Sprint(v)}, nil
	}
}

func readComposite(d *json.Decoder, kind byte, depth int) (*tree, error) {
	t := &tree{kind: kind}
	seen := map[string]bool{}
	for d.More() {
		name := ""
		if kind == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ = token.(string)
			if seen[name] {
				return nil, fmt.Errorf("the member %q stands there twice", clip(name))
			}
			seen[name] = true
		}
		v, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		if kind == '{' {
			t.members = append(t.members, treeMember{name, v})
		} else {
			t.items = append(t.items, v)
		}
	}
	_, err := d.Token()
	return t, err
}
