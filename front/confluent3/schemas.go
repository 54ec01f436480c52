package confluent3

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/schema"
)

// A schemaSide is a key or value that is to be written with a schema.
type schemaSide struct {
	wanted bool
	choice schema.Choice
	ref    schema.Ref // where the schema stands, once it is written
}

// The sides of a record.
const (
	keySide = iota
	valueSide
)

// await notes that a key or value is to be written with a schema, which takes a
// registry.
func (r *parsed) await(d *datum, side int) {
	if r.schemas == nil {
		r.schemas = new([2]schemaSide)
	}
	d.choice.Format = schemaFormats[d.format]
	r.schemas[side] = schemaSide{wanted: true, choice: d.choice}
}

var (
	schemaFormats = map[format]schema.Format{formatAvro: schema.Avro, formatJSONSchema: schema.JSON, formatProtobuf: schema.Protobuf}
	formatsOf     = map[schema.Format]format{schema.Avro: formatAvro, schema.JSON: formatJSONSchema, schema.Protobuf: formatProtobuf}
)

// append appends what a result says of the schema.
func (s *schemaSide) append(dst []byte) []byte {
	if !s.wanted {
		return dst
	}
	dst = scan.AppendString(append(dst, `,"subject":`...), s.ref.Subject)
	dst = strconv.AppendInt(append(dst, `,"schema_id":`...), int64(s.ref.ID), 10)
	return strconv.AppendInt(append(dst, `,"schema_version":`...), int64(s.ref.Version), 10)
}

// encode writes what stands for a schema to write (rest-apis.md 5.8). JSON's null is
// written like any other value. It returns the caller as one who writes with that.
func (a *api) encode(c *call, r *parsed) (gate.Principal, *refusal) {
	if r.schemas == nil {
		return c.who, nil
	}
	if a.gate.Schemas() == nil {
		return c.who, payload("No schema registry is configured, so data can only have the types BINARY, JSON and STRING.")
	}
	var choices []schema.Choice
	for side := range r.schemas {
		if s := &r.schemas[side]; s.wanted {
			s.choice.Topic, s.choice.Key = c.r.PathValue("topic"), side == keySide
			choices = append(choices, s.choice)
		}
	}
	who := a.gate.Naming(c.r.Context(), c.who, choices...)
	for side := range r.schemas {
		s := &r.schemas[side]
		if !s.wanted {
			continue
		}
		found, ref, err := a.gate.Choose(c.r.Context(), who, s.choice)
		if err != nil {
			return who, schemaRefusal(err)
		}
		part, f := &r.record.Value, &r.value
		if side == keySide {
			part, f = &r.record.Key, &r.key
		}
		text := *part
		if text == nil {
			text = []byte("null")
		}
		encoded, err := found.Encode(text)
		if err != nil {
			return who, badRequest("%v", err)
		}
		*part, *f, s.ref = encoded, formatsOf[found.Format], ref
	}
	return who, nil
}

// schemaRefusal is the outcome of a record whose schema cannot be had.
func schemaRefusal(err error) *refusal {
	var invalid *schema.InvalidError
	var refused *schema.RegistryError
	var broken *schema.BrokenError
	switch {
	case errors.Is(err, schema.ErrNoName):
		return badRequest("%v.", err)
	case errors.As(err, &invalid):
		return refuse(http.StatusUnprocessableEntity, 42205, "Invalid schema: %v", invalid)
	case errors.As(err, &refused) && refused.Denied():
		return refuse(http.StatusForbidden, 40301, "%v", refused)
	case errors.As(err, &refused), errors.As(err, &broken):
		return refuse(http.StatusUnprocessableEntity, 42207, "Error serializing message. %v", err)
	}
	return sendRefusal(err)
}
