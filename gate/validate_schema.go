package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/klamm-gateway/klamm/schema"
)

// A registryRule checks values or keys with a schema of the registry. What is framed
// for it must name a schema of the subject and fit that schema. Other bytes must be
// JSON: with a JSON Schema it has to fit, and with Avro or Protobuf it is written as
// what the schema makes of it, framed (gateway-policies.md 4.4).
type registryRule struct {
	format  schema.Format // empty: any
	subject string        // topic, record, topic_record, or a name; empty: topic
	version int           // 0: any of the subject's for what is framed, the newest for what is not
	missing bool          // what the registry has no schema for passes
	pass    bool          // so does what cannot be checked now
	relaxed bool          // values of Avro unions need not name their branch
}

// registryWait is how long one record waits for the registry.
const registryWait = 10 * time.Second

// subjectStrategies are the words of a rule for the ways to name subjects.
var subjectStrategies = map[string]schema.Strategy{"": schema.TopicName, "topic": schema.TopicName, "record": schema.RecordName, "topic_record": schema.TopicRecordName}

// validateRegistry reports what is wrong with a rule that names a registry.
func (p *PartRule) validateRegistry(report func(path, problem string)) {
	if p.Registry == "" {
		if p.Format != "" || p.Subject != "" || len(p.Version) > 0 || p.OnMissing != "" || p.OnRegistryDown != "" || p.Avro.Relaxed {
			report("registry", "format, subject, version, on_missing, on_registry_down and avro belong to a registry: main")
		}
		return
	}
	if p.Registry != "main" {
		report("registry", "want main, the registry of schema_registry")
	}
	if len(p.Schema) > 0 || !p.plain().Zero() {
		report("registry", "give a registry or rules of your own, not both")
	}
	if !slices.Contains([]string{"", "AVRO", "JSON", "PROTOBUF"}, p.Format) {
		report("format", "want AVRO, JSON or PROTOBUF")
	}
	if _, ok := p.version(); !ok {
		report("version", "want latest, or a number from 1")
	}
	if !slices.Contains([]string{"", "reject", "pass"}, p.OnMissing) {
		report("on_missing", "want reject or pass")
	}
	if !slices.Contains([]string{"", "reject", "pass"}, p.OnRegistryDown) {
		report("on_registry_down", "want reject or pass")
	}
}

// compileRegistry makes a rule with a registry ready.
func (p *PartRule) compileRegistry() *registryRule {
	version, _ := p.version()
	return &registryRule{format: schema.Format(p.Format), subject: p.Subject, version: version, missing: p.OnMissing == "pass", pass: p.OnRegistryDown == "pass", relaxed: p.Avro.Relaxed}
}

// version reads latest, which is 0, or a number.
func (p *PartRule) version() (int, bool) {
	if len(p.Version) == 0 || string(p.Version) == `"latest"` {
		return 0, true
	}
	n, err := strconv.Atoi(string(p.Version))
	return n, err == nil && n > 0
}

// brokenSchema is a violation of a whole key or value.
func brokenSchema(form string, args ...any) []schema.Violation {
	return []schema.Violation{{Pointer: "#", Keyword: "schema", Detail: fmt.Sprintf(form, args...)}}
}

// check returns what is wrong with a key or value, and what is to be written in its
// place, nil if that is itself. The error is that of a registry which cannot answer.
func (r *registryRule) check(c *schema.Client, topic string, key bool, raw []byte) (broken []schema.Violation, instead []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), registryWait)
	defer cancel()
	if schema.Framed(raw) {
		broken, err = r.checkFramed(ctx, c, topic, key, raw)
	} else {
		broken, instead, err = r.checkPlain(ctx, c, topic, key, raw)
	}
	var refused *schema.RegistryError
	switch _, later := schema.Unavailable(err); {
	case err == nil:
		return broken, instead, nil
	case later && r.pass, errors.As(err, &refused) && refused.NotFound() && r.missing:
		return nil, nil, nil
	case later, errors.Is(err, schema.ErrNone):
		return nil, nil, &Error{Unavailable, "the schema registry that records are checked with cannot answer; try again later"}
	case refused != nil && refused.NotFound():
		return brokenSchema("the registry has no such schema under its subject"), nil, nil
	}
	return brokenSchema("the schema in the registry cannot be used"), nil, nil
}

// subjectOf names the subject; name is that of what the schema describes.
func (r *registryRule) subjectOf(topic string, key bool, name string) (string, error) {
	if strategy, ok := subjectStrategies[r.subject]; ok {
		return strategy.Subject(topic, key, name)
	}
	return r.subject, nil
}

func (r *registryRule) checkFramed(ctx context.Context, c *schema.Client, topic string, key bool, raw []byte) ([]schema.Violation, error) {
	frame, err := schema.ParseFrame(raw)
	if err != nil {
		return brokenSchema("%v", err), nil
	}
	s, err := c.Schema(ctx, frame.ID)
	if err != nil {
		return nil, err
	}
	subject, err := r.subjectOf(topic, key, s.Name)
	if err != nil {
		return brokenSchema("has a schema without a name, which its subject is named by"), nil
	}
	if r.version == 0 {
		_, _, err = c.Under(ctx, subject, s.ID)
	} else {
		var want *schema.Schema
		if want, _, err = c.Version(ctx, subject, r.version); err == nil && want.ID != s.ID {
			return brokenSchema("does not have version %d of its subject's schema", r.version), nil
		}
	}
	if err != nil {
		return nil, err
	}
	if r.format != "" && s.Format != r.format {
		return brokenSchema("is %s, and must be %s", s.Format, r.format), nil
	}
	broken, _ := s.Check(frame.Payload)
	return broken, nil
}

func (r *registryRule) checkPlain(ctx context.Context, c *schema.Client, topic string, key bool, raw []byte) ([]schema.Violation, []byte, error) {
	subject, err := r.subjectOf(topic, key, "")
	if err != nil {
		return brokenSchema("does not begin with the id of a schema, whose name is its subject"), nil, nil
	}
	version := r.version
	if version == 0 {
		version = schema.Latest
	}
	s, _, err := c.Version(ctx, subject, version)
	switch {
	case err != nil:
		return nil, nil, err
	case r.format != "" && s.Format != r.format:
		return brokenSchema("has a subject with a schema of %s, which must be of %s", s.Format, r.format), nil, nil
	case s.Format == schema.JSON:
		broken, _ := s.Check(raw)
		return broken, nil, nil
	}
	encode := s.Encode
	if r.relaxed {
		encode = s.EncodeRelaxed
	}
	instead, err := encode(raw)
	if err != nil {
		return []schema.Violation{schema.ViolationOf(err, s.Format)}, nil, nil
	}
	return nil, instead, nil
}
