package gate

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/schema"
)

// A DraftPart is a key or value that somebody thinks of writing.
type DraftPart struct {
	// Data are the bytes to be written or, where Format is given, the JSON that they
	// are to be made of.
	Data []byte
	// Format is that of the registry's newest schema of the topic's keys or values,
	// which makes the bytes: AVRO, JSON or PROTOBUF; empty: Data is written as it is.
	Format string
}

// A Draft is a record that somebody thinks of writing.
type Draft struct {
	Topic      string
	Key, Value DraftPart
	Headers    []kgo.RecordHeader
}

// A DraftSchema says by what a part of a draft was checked.
type DraftSchema struct {
	Part    string `json:"part"` // key, value or headers
	Subject string `json:"subject,omitempty"`
	Version int    `json:"version,omitempty"`
	ID      int    `json:"id,omitempty"`
	Format  string `json:"format,omitempty"`
	// Rule says that the topics section of the configuration has rules for the part,
	// and Warns that they only warn.
	Rule  bool `json:"rule,omitempty"`
	Warns bool `json:"warns,omitempty"`
}

// CheckDraft says what a record would be refused for, by the schemas of the registry
// and by the rules of its topic, and what it was checked by. Nothing is written or
// counted. The error is that of a caller who may not write to the topic, or of a
// registry that cannot answer.
func (g *Gate) CheckDraft(ctx context.Context, who Principal, d Draft) (broken []Violation, by []DraftSchema, err error) {
	d.Topic = who.real(d.Topic)
	if err := g.allow(ctx, who, WriteData, "topic", d.Topic); err != nil {
		return nil, nil, err
	}
	r := &kgo.Record{Topic: d.Topic, Headers: d.Headers}
	for _, part := range []struct {
		name  string
		draft DraftPart
		to    *[]byte
	}{{"key", d.Key, &r.Key}, {"value", d.Value, &r.Value}} {
		if *part.to = part.draft.Data; part.draft.Format == "" {
			continue
		}
		found, used, written, err := g.encodeDraft(ctx, d.Topic, part.name, part.draft)
		if err != nil {
			return nil, nil, err
		}
		broken, *part.to = append(broken, found...), written
		if used != nil {
			by = append(by, *used)
		}
	}
	if len(broken) > 0 {
		return broken, by, nil // what would be written is not known
	}
	v := g.validation.Load()
	if v == nil {
		return nil, by, nil
	}
	c := v.of(d.Topic)
	if c == nil {
		return nil, by, nil
	}
	uncounted := &Validation{schemas: v.schemas, large: v.large, echo: v.echo}
	if broken, err = uncounted.checkRecord(c, r); err != nil {
		return nil, nil, err
	}
	for _, part := range []struct {
		name string
		rule *partCheck
	}{{"key", c.key}, {"value", c.value}} {
		if part.rule != nil {
			by = append(by, DraftSchema{Part: part.name, Rule: true, Warns: part.rule.warn})
		}
	}
	if c.headers != nil {
		by = append(by, DraftSchema{Part: "headers", Rule: true, Warns: c.headers.warn})
	}
	return broken, by, nil
}

// encodeDraft makes the bytes of a part with the newest schema of its subject, or says
// why that cannot be done.
func (g *Gate) encodeDraft(ctx context.Context, topic, part string, d DraftPart) ([]Violation, *DraftSchema, []byte, error) {
	wrong := func(form string, args ...any) ([]Violation, *DraftSchema, []byte, error) {
		return []Violation{{Part: part, Violation: brokenSchema(form, args...)[0]}}, nil, nil, nil
	}
	subject, err := schema.TopicName.Subject(topic, part == "key", "")
	if err != nil {
		return nil, nil, nil, err
	}
	s, ref, err := g.schemas.Version(ctx, subject, schema.Latest)
	var refused *schema.RegistryError
	switch _, later := schema.Unavailable(err); {
	case err == nil:
	case errors.Is(err, schema.ErrNone):
		return wrong("there is no schema registry here")
	case later:
		return nil, nil, nil, &Error{Unavailable, "the schema registry cannot answer; try again later"}
	case errors.As(err, &refused) && refused.NotFound():
		return wrong("the registry has no subject %s", subject)
	default:
		return wrong("the newest schema of subject %s cannot be used", subject)
	}
	used := &DraftSchema{Part: part, Subject: subject, Version: ref.Version, ID: s.ID, Format: string(s.Format)}
	if d.Format != string(s.Format) {
		return []Violation{{Part: part, Violation: brokenSchema("is to be %s, but the newest schema of subject %s is %s", d.Format, subject, s.Format)[0]}}, used, nil, nil
	}
	if s.Format == schema.JSON {
		found, _ := s.Check(d.Data)
		broken := make([]Violation, len(found))
		for i, one := range found {
			broken[i] = Violation{Part: part, Violation: one}
		}
		if len(broken) > 0 {
			return broken, used, nil, nil
		}
	}
	written, err := s.Encode(d.Data)
	var unfit *schema.ValueError
	switch {
	case errors.As(err, &unfit):
		return []Violation{{Part: part, Violation: schema.ViolationOf(err, s.Format)}}, used, nil, nil
	case err != nil:
		return nil, nil, nil, fmt.Errorf("encode the %s: %w", part, err)
	}
	return nil, used, written, nil
}
