package schema

import (
	"context"
	"errors"
	"fmt"
)

// A Strategy is how the subject of a schema is named.
type Strategy string

// The strategies, as REST v3 spells them (gateway-policies.md 4.4).
const (
	// TopicName is TOPIC-key or TOPIC-value; also where no strategy is given.
	TopicName Strategy = "TOPIC_NAME"
	// RecordName is the full name of what the schema describes.
	RecordName Strategy = "RECORD_NAME"
	// TopicRecordName is TOPIC-NAME with that name.
	TopicRecordName Strategy = "TOPIC_RECORD_NAME"
)

// Subject returns the name of a subject. Record is the full name of what the
// schema describes, which only the strategies with a record need.
func (s Strategy) Subject(topic string, key bool, record string) (string, error) {
	switch s {
	case "", TopicName:
		if key {
			return topic + "-key", nil
		}
		return topic + "-value", nil
	case RecordName, TopicRecordName:
		if record == "" {
			return "", fmt.Errorf("the schema has no name, which the strategy %s needs", s)
		}
		if s == RecordName {
			return record, nil
		}
		return topic + "-" + record, nil
	}
	return "", fmt.Errorf("unknown subject name strategy %q", string(s))
}

// A Choice says which schema a producer wants for the keys or the values of a
// topic: at most one of Text, ID and Version, or the newest of the subject.
type Choice struct {
	Topic string
	Key   bool // of the keys, else of the values
	// Format is that of Text; Avro where it is empty.
	Format  Format
	Text    string
	ID      int // zero: not given
	Version int // zero: not given
	// Subject wins over Strategy.
	Subject  string
	Strategy Strategy
}

// ErrNoName is the error of a strategy that needs the name of a record, where the
// choice names no schema that has one.
var ErrNoName = errors.New("this strategy for the names of subjects needs a schema, or its id, in the request")

// An InvalidError is a schema text that cannot be read.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with the text.
func (e *InvalidError) Unwrap() error { return e.Err }

// subject is the subject of a choice, if that does not depend on the name of a record;
// otherwise it is empty. The error is an *InvalidError.
func (w Choice) subject() (string, error) {
	if w.Subject != "" || w.Strategy == RecordName || w.Strategy == TopicRecordName {
		return w.Subject, nil
	}
	subject, err := w.Strategy.Subject(w.Topic, w.Key, "")
	if err != nil {
		return "", &InvalidError{err}
	}
	return subject, nil
}

// SubjectOf returns the subject of a choice without registering anything. The errors are
// those of Choose.
func (c *Client) SubjectOf(ctx context.Context, w Choice) (string, error) {
	subject, err := w.subject()
	if err != nil || subject != "" {
		return subject, err
	}
	var s *Schema
	switch {
	case c == nil:
		return "", ErrNone
	case w.Text != "":
		if s, err = Compile(Definition{Format: w.Format, Text: w.Text}, nil); err != nil {
			return "", &InvalidError{err}
		}
	case w.ID != 0:
		if s, err = c.Schema(ctx, w.ID); err != nil {
			return "", err
		}
	default:
		return "", ErrNoName
	}
	if subject, err = w.Strategy.Subject(w.Topic, w.Key, s.Name); err != nil {
		return "", &InvalidError{err}
	}
	return subject, nil
}

// Choose finds the schema of a choice, and registers a text under its subject if it
// is not there yet. An error is an *InvalidError, a *RegistryError, a *BrokenError,
// ErrNoName or ErrNone.
func (c *Client) Choose(ctx context.Context, w Choice) (*Schema, Ref, error) {
	if c == nil || c.registry == nil {
		return nil, Ref{}, ErrNone
	}
	subject, err := w.subject()
	if err != nil {
		return nil, Ref{}, err
	}
	switch {
	case w.Text != "":
		a := c.ensure(ctx, w)
		return a.schema, a.ref(), a.err
	case w.ID != 0:
		if subject == "" {
			s, err := c.Schema(ctx, w.ID)
			if err != nil {
				return nil, Ref{}, err
			}
			if subject, err = w.Strategy.Subject(w.Topic, w.Key, s.Name); err != nil {
				return nil, Ref{}, &InvalidError{err}
			}
		}
		return c.Under(ctx, subject, w.ID)
	case subject == "":
		return nil, Ref{}, ErrNoName
	case w.Version != 0:
		return c.Version(ctx, subject, w.Version)
	}
	return c.Version(ctx, subject, Latest)
}
