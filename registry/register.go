package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// A Request is a schema that is to be registered, looked up or tried.
type Request struct {
	schema.Definition
	// ID and Version are those that the schema has elsewhere, for the mode Import; zero
	// is none. In other modes a version must be the next one.
	ID, Version int
	// Normalize stores the schema in a form in which the order of what has none does
	// not matter.
	Normalize bool
	// Metadata and RuleSet are kept with the schema; two that differ in them are
	// different schemas.
	Metadata, RuleSet json.RawMessage
}

// blank says whether a request has no schema.
func (q Request) blank() bool { return strings.TrimSpace(q.Text) == "" }

// A draft is a request that has been read.
type draft struct {
	schemaValue
	parsed     parsed
	identity   identity
	normalized bool
}

// sound refuses what only a schema that is new is refused for.
func (d draft) sound() error {
	if d.normalized && d.parsed.avro != nil {
		if err := d.parsed.avro.defaults(); err != nil {
			return refuse(codeInvalidSchema, "Invalid schema of type %s: %s", d.Type, clipLong(err.Error()))
		}
	}
	return nil
}

// read reads a request for a subject.
func (r *Registry) read(subject string, q Request) (d draft, err error) {
	context, _ := split(subject)
	if len(q.Text) > longestText {
		return d, refuse(codeTooLarge, "The schema has %d bytes, more than %d.", len(q.Text), longestText)
	}
	if q.blank() {
		return d, refuse(codeInvalidSchema, "Empty schema")
	}
	switch q.Format {
	case "", schema.Avro, schema.JSON, schema.Protobuf:
	default:
		return d, refuse(codeInvalidSchema, "Invalid schema type %s", clip(string(q.Format)))
	}
	normalize := q.Normalize || r.normalizes(subject)
	if normalize {
		q.References = sortedReferences(q.References)
	}
	for i, ref := range q.References {
		if ref.Version == schema.Latest {
			v := r.index.version(inContext(context, ref.Subject), schema.Latest, active)
			if v == nil {
				return d, refuse(codeInvalidSchema, "Invalid schema: no schema reference found for subject %s", quoted(ref.Subject))
			}
			q.References = slices.Clone(q.References)
			q.References[i].Version = v.Version
		}
	}
	s, err := r.source(context, q.Definition, false)
	if err == nil {
		d.parsed, err = r.parsed(s)
	}
	if err != nil {
		return d, refuse(codeInvalidSchema, "Invalid schema of type %s: %s", s.format, clipLong(err.Error()))
	}
	if text := d.parsed.text(s, normalize); text != q.Text {
		s.text = text
		if d.parsed, err = r.parsed(s); err != nil {
			return d, refuse(codeInvalidSchema, "Invalid schema of type %s: %s", s.format, clipLong(err.Error()))
		}
	}
	d.schemaValue = schemaValue{Subject: subject, Type: s.format, References: q.References, Text: s.text, Metadata: compactJSON(q.Metadata), RuleSet: compactJSON(q.RuleSet)}
	d.identity, d.normalized = d.parsed.identity(d.References, d.Metadata, d.RuleSet), normalize
	return d, nil
}

// compactJSON is a JSON value without whitespace; nothing for null and {}.
func compactJSON(raw json.RawMessage) json.RawMessage {
	n, err := parseNode(raw)
	if err != nil || n.is("null") || n.object && len(n.members) == 0 {
		return nil
	}
	return n.append(nil)
}

// clipLong shortens a message that names what is wrong with a schema.
func clipLong(s string) string {
	if len(s) > 500 {
		return s[:500] + "..."
	}
	return s
}

// sortedReferences are references in the order of their names, each once.
func sortedReferences(list []schema.Reference) []schema.Reference {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b schema.Reference) int {
		return cmp.Or(compareText(a.Name, b.Name), compareText(a.Subject, b.Subject), cmp.Compare(a.Version, b.Version))
	})
	return slices.Compact(list)
}

// find returns the version of a subject that is this schema, or nil: the latest one. A
// schema that has within it what a version refers to is that version, too: some
// serializers send it so.
func (r *Registry) find(subject string, d draft, w which) *version {
	list := r.index.versions(subject, w)
	for _, v := range slices.Backward(list) {
		if v.Type == d.Type && r.identityOf(v) == d.identity {
			return v
		}
	}
	if d.parsed.avro == nil || len(d.References) > 0 {
		return nil
	}
	for _, v := range slices.Backward(list) {
		if v.Type != schema.Avro || len(v.References) == 0 {
			continue
		}
		if p, err := r.stored(v); err == nil && (parsed{avro: p.avro.whole()}).identity(nil, v.Metadata, v.RuleSet) == d.identity {
			return v
		}
	}
	return nil
}

// filled is a request with what it leaves out as the latest version of the subject has
// it: metadata, rules and, outside of the mode Import, the schema. An empty object leaves
// nothing out.
func (r *Registry) filled(subject string, q Request) (_ Request, changed bool) {
	v := r.index.version(subject, schema.Latest, active)
	if v == nil {
		return q, false
	}
	if q.blank() && r.index.modeFor(subject) != Import {
		q.Definition, changed = schema.Definition{Format: v.Type, Text: v.Text, References: v.References}, true
	}
	for _, part := range []struct {
		is  *json.RawMessage
		was json.RawMessage
	}{{&q.Metadata, v.Metadata}, {&q.RuleSet, v.RuleSet}} {
		if text := strings.TrimSpace(string(*part.is)); (text == "" || text == "null") && len(part.was) > 0 {
			*part.is, changed = part.was, true
		}
	}
	return q, changed
}

// known reads a request and returns the version of a subject that it is, or nil: as it
// came, or with what it leaves out taken from the latest version. What it leaves out is
// in the draft, unless it is imported.
func (r *Registry) known(subject string, q Request, w which, fits func(*version) bool) (d draft, same *version, err error) {
	filled, changed := r.filled(subject, q)
	if !changed || !q.blank() {
		if d, err = r.read(subject, q); err != nil {
			return d, nil, err
		}
		if same = r.find(subject, d, w); same != nil && fits(same) {
			return d, same, nil
		}
	}
	if !changed {
		return d, nil, nil
	}
	whole, err := r.read(subject, filled)
	if err != nil {
		return d, nil, err
	}
	if same = r.find(subject, whole, w); same != nil && fits(same) {
		return whole, same, nil
	}
	if r.index.modeFor(subject) == Import {
		return d, nil, nil
	}
	return whole, nil, nil
}

// RegisterSchema makes a schema the latest version of a subject, unless the subject has
// it already, whatever the mode, and returns the version that is it. Metadata and rules
// that are left out are those of the latest version, and so is a schema that is. The
// refusals are 42201 for what is no schema, 409 for one that does not get along with
// earlier versions, and 42205 where the mode does not allow it, or for an id that is
// another schema's.
func (r *Registry) RegisterSchema(ctx context.Context, subject string, q Request) (Schema, error) {
	subject, err := named(subject)
	if err != nil {
		return Schema{}, err
	}
	var out Schema
	err = r.change(ctx, func() ([]write, error) {
		d, same, err := r.known(subject, q, active, func(v *version) bool {
			return (q.ID == 0 || q.ID == v.ID) && (q.Version == 0 || q.Version == v.Version)
		})
		switch {
		case err != nil:
			return nil, err
		case same != nil:
			out = r.index.shown(same)
			return nil, nil
		case r.index.modeFor(subject).readOnly():
			return nil, readOnly(subject)
		}
		if q.ID != 0 {
			err = r.imported(&d, q)
		} else {
			err = r.next(&d, q.Version)
		}
		if err != nil {
			return nil, err
		}
		out = Schema{Subject: subject, Version: d.Version, ID: d.ID, Type: d.Type, References: d.References, Text: d.Text, Metadata: d.Metadata, RuleSet: d.RuleSet}
		stored := d.schemaValue
		if stored.Type == schema.Avro {
			stored.Type = ""
		}
		return append(r.replaced(stored), write{schemaKey(subject, d.Version), encode(stored)}), nil
	})
	return out, err
}

// replaced takes away the deleted versions of a subject that are the schema of a new
// one: the id goes on to be answered by that. What is referred to stays, even if only
// what is deleted itself refers to it: that is still read by its id.
func (r *Registry) replaced(by schemaValue) (writes []write) {
	for _, v := range r.index.versions(by.Subject, deletedOnly) {
		if v.ID == by.ID && v.Version < by.Version && len(r.index.referring(v.Subject, v.Version, all)) == 0 {
			writes = append(writes, write{schemaKey(v.Subject, v.Version), nil})
		}
	}
	return writes
}

// next gives a new version its number and its id, if it gets along with the others. The
// number is that which is asked for, or zero.
func (r *Registry) next(d *draft, asked int) error {
	context, _ := split(d.Subject)
	if mode := r.index.modeFor(d.Subject); mode != ReadWrite {
		return notInMode(d.Subject, "not in read-write mode")
	}
	if err := d.sound(); err != nil {
		return err
	}
	config := r.index.configFor(d.Subject)
	if problems := r.against(*d, config.Level, r.index.versions(d.Subject, active)); len(problems) > 0 {
		return refuse(codeIncompatible, "Schema being registered is incompatible with an earlier schema for subject %q, details: [%s]", d.Subject, listed(problems))
	}
	d.Version = 1
	if list := r.index.versions(d.Subject, all); len(list) > 0 {
		d.Version = list[len(list)-1].Version + 1
	}
	if asked != 0 && asked != d.Version {
		return refuse(codeInvalidSchema, "Version is not one more than previous version")
	}
	d.ID = 0
	for _, v := range r.index.of(context) {
		if v.Type == d.Type && (d.ID == 0 || v.ID < d.ID) && r.identityOf(v) == d.identity {
			d.ID = v.ID
		}
	}
	if d.ID == 0 {
		d.ID = r.index.top(context) + 1
	}
	return nil
}

// imported takes over the number and id that a schema has elsewhere.
func (r *Registry) imported(d *draft, q Request) error {
	context, _ := split(d.Subject)
	if r.index.modeFor(d.Subject) != Import {
		return notInMode(d.Subject, "not in import mode")
	}
	if q.ID < 1 || q.Version < 0 {
		return refuse(codeInvalidSchema, "An id and a version are above zero.")
	}
	d.ID, d.Version = q.ID, q.Version
	list := r.index.versions(d.Subject, all)
	if d.Version == 0 {
		d.Version = 1
		if len(list) > 0 {
			d.Version = list[len(list)-1].Version + 1
		}
	}
	// A deleted version may come again as something else: it was deleted to be imported.
	again := r.index.version(d.Subject, d.Version, deletedOnly)
	for _, v := range r.index.withID(context, q.ID, all) {
		if v != again && (v.Type != d.Type || r.identityOf(v) != d.identity) {
			return refuse(codeNotPermitted, "Overwrite new schema with id %d in context %s is not permitted.", q.ID, clip(qualifiedContext(context)))
		}
	}
	for _, v := range list {
		if v != again && v.Version == d.Version && v.ID != d.ID {
			return refuse(codeNotPermitted, "Overwrite version %d of the subject, which has the id %d, is not permitted.", d.Version, v.ID)
		}
	}
	return nil
}

// against says what keeps a schema from following versions at a level.
func (r *Registry) against(d draft, level Level, versions []*version) []string {
	if level == None || len(versions) == 0 {
		return nil
	}
	if !level.transitive() {
		versions = versions[len(versions)-1:]
	}
	for _, v := range slices.Backward(versions) {
		if problems := r.pair(d, level, v); len(problems) > 0 {
			return problems
		}
	}
	return nil
}

// pair says what keeps a schema from following one version, with the version itself at
// the end, as clients of Confluent's registry know it.
func (r *Registry) pair(d draft, level Level, v *version) []string {
	old, err := r.stored(v)
	if err != nil {
		return []string{"The earlier version cannot be read: " + clipLong(err.Error())}
	}
	var problems []string
	if level.backward() {
		problems = append(reserved(d.Metadata, v.Metadata, d.parsed, false), incompatibilities(d.parsed, old, false)...)
	}
	if level.forward() {
		problems = append(problems, reserved(v.Metadata, d.Metadata, old, true)...)
		problems = append(problems, incompatibilities(old, d.parsed, true)...)
	}
	if len(problems) == 0 {
		return nil
	}
	if len(problems) > mostDifferences {
		problems = problems[:mostDifferences]
	}
	return append(problems, "{oldSchemaVersion: "+itoa(v.Version)+"}", "{oldSchema: '"+clipLong(v.Text)+"'}", "{compatibility: '"+string(level)+"'}")
}

// LookUp returns the version of a subject that is this schema; deleted says that it may
// be a deleted one. Metadata and rules that are left out may be those of the latest
// version. The refusals are 40401, 40403 and 42201.
func (r *Registry) LookUp(ctx context.Context, subject string, q Request, deleted bool) (Schema, error) {
	subject, err := named(subject)
	if err != nil {
		return Schema{}, err
	}
	w := whether(deleted)
	return read(ctx, r, func() (Schema, error) {
		if len(r.index.versions(subject, w)) == 0 {
			return Schema{}, noSubject(subject)
		}
		if q.blank() {
			return Schema{}, refuse(codeInvalidSchema, "Empty schema")
		}
		_, v, err := r.known(subject, q, w, func(*version) bool { return true })
		switch {
		case err != nil:
			return Schema{}, err
		case v != nil:
			return r.index.shown(v), nil
		}
		return Schema{}, refuse(codeSchemaNotFound, "Schema not found")
	})
}

// Try says what keeps a schema from following a version of a subject: nothing if it can.
// The version is a number, schema.Latest, or zero for all that the subject's level is
// about. A subject that has no version lets everything follow.
func (r *Registry) Try(ctx context.Context, subject string, number int, q Request) ([]string, error) {
	subject, err := named(subject)
	if err != nil {
		return nil, err
	}
	return read(ctx, r, func() ([]string, error) {
		d, err := r.read(subject, q)
		if err == nil {
			err = d.sound()
		}
		if err != nil {
			return nil, err
		}
		level := r.index.configFor(subject).Level
		if number == 0 {
			return r.against(d, level, r.index.versions(subject, active)), nil
		}
		v := r.index.version(subject, number, active)
		switch {
		case v == nil && number == schema.Latest:
			return nil, nil
		case v == nil && len(r.index.versions(subject, active)) == 0:
			return nil, noSubject(subject)
		case v == nil:
			return nil, noVersion(number)
		case level == None:
			return nil, nil
		}
		return r.pair(d, level, v), nil
	})
}
