package confluent2

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
)

// schemaIDs are the ids of the schemas that keys and values were written with;
// zero is none.
type schemaIDs [2]int

// append appends the two fields that a result has of them.
func (s schemaIDs) append(b []byte) []byte {
	for i, name := range [...]string{`"key_schema_id":`, `,"value_schema_id":`} {
		b = append(b, name...)
		if s[i] == 0 {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, int64(s[i]), 10)
		}
	}
	return b
}

// schemaFormat is the format of a media type of formatSchema.
func schemaFormat(contentType string) schema.Format {
	contentType = strings.ToLower(contentType)
	switch {
	case strings.Contains(contentType, ".jsonschema."):
		return schema.JSON
	case strings.Contains(contentType, ".protobuf."):
		return schema.Protobuf
	}
	return schema.Avro
}

func isSchema(format string) bool {
	return format == "avro" || format == "jsonschema" || format == "protobuf"
}

var errNoRegistry = refuse(unprocessable, 42206, "Payload error. Schema Registry must be configured when using schemas.")

// encode replaces the JSON of an envelope's keys and values by what the schemas make
// of it (rest-apis.md 4.3). Nothing is registered unless every key and value that
// there is has a schema. It returns the caller as one who writes with them.
func (a *api) encode(ctx context.Context, who gate.Principal, topic string, f schema.Format, e *envelope) (_ gate.Principal, ids schemaIDs, err error) {
	if a.gate.Schemas() == nil && e.schemas != 0 {
		return who, ids, errNoRegistry
	}
	given := [2]bool{e.schemas&(1|4) != 0, e.schemas&(2|8) != 0}
	if e.schemas&(1|4) == 1|4 || e.schemas&(2|8) == 2|8 {
		return who, ids, refuseShape(badRequest, "Unsupported argument: give a schema or the id of one, not both")
	}
	for i := range e.records {
		if !given[0] && e.records[i].Key != nil {
			return who, ids, refuse(unprocessable, 42201, "Request includes keys but does not include key schema")
		}
	}
	for i := range e.records {
		if !given[1] && e.records[i].Value != nil {
			return who, ids, refuse(unprocessable, 42202, "Request includes values but does not include value schema")
		}
	}
	var choices [2]schema.Choice
	for side := range given {
		if !given[side] {
			continue
		}
		w := schema.Choice{Topic: topic, Key: side == 0, Format: f, Text: e.texts[side], ID: int(e.ids[side])}
		if w.Text == "" && w.ID == 0 {
			if e.schemas&(4<<side) != 0 {
				w.ID = -1 // no registry gives the id 0
			} else {
				return who, ids, refuse(unprocessable, 42205, "Invalid schema: it is empty")
			}
		}
		choices[side] = w
	}
	who = a.gate.Naming(ctx, who, chosen(choices, given)...)
	for side := range given {
		if !given[side] {
			continue
		}
		s, _, err := a.gate.Choose(ctx, who, choices[side])
		if err != nil {
			return who, ids, schemaRefusal(err)
		}
		ids[side] = s.ID
		for i := range e.records {
			part := &e.records[i].Value
			if side == 0 {
				part = &e.records[i].Key
			}
			if *part, err = encoded(s, *part); err != nil {
				return who, ids, a.misfit(err, side, i)
			}
		}
	}
	return who, ids, nil
}

// chosen are the choices that there are.
func chosen(all [2]schema.Choice, given [2]bool) (list []schema.Choice) {
	for side, ok := range given {
		if ok {
			list = append(list, all[side])
		}
	}
	return list
}

// encoded returns what a schema makes of a JSON text; nil is null.
func encoded(s *schema.Schema, text []byte) ([]byte, error) {
	if text == nil {
		text = []byte("null")
	}
	return s.Encode(text)
}

// misfit is the answer to a key or value that does not fit its schema.
func (a *api) misfit(err error, side, i int) error {
	what := [...]string{"key", "value"}[side]
	if a.cfg.Profile == profileKarapace {
		return refuse(unprocessable, 42205, "Object does not fit to stored schema: records[%d].%s: %v", i, what, err)
	}
	return refuseData(badRequest, "Bad Request: records[%d].%s: %v", i, what, err)
}

// schemaRefusal is the answer to a choice of a schema that cannot be made. Errors
// of the gate's policies stay.
func schemaRefusal(err error) error {
	var invalid *schema.InvalidError
	var refused *schema.RegistryError
	var broken *schema.BrokenError
	switch {
	case errors.Is(err, schema.ErrNone):
		return errNoRegistry
	case errors.As(err, &invalid):
		return refuse(unprocessable, 42205, "Invalid schema: %v", invalid)
	case errors.As(err, &refused) && refused.Denied():
		return refuse(http.StatusForbidden, 40301, "%v", refused)
	case errors.As(err, &refused), errors.As(err, &broken):
		return refuse(unprocessable, 42207, "Error serializing message. %v", err)
	}
	return refusedEnvelope(err)
}

// A decoding turns the records of a read into JSON.
type decoding struct {
	ctx     context.Context // the read's
	schemas *schema.Client
	texts   map[*kgo.Record][2][]byte // of key and value, where it is known already
}

// check decodes a record and says why that cannot be done.
func (d *decoding) check(r *kgo.Record) error {
	var texts [2][]byte
	for i, raw := range [2][]byte{r.Key, r.Value} {
		if raw == nil {
			continue
		}
		got, err := d.schemas.Decode(d.ctx, nil, raw, schema.Tagged)
		if err != nil {
			return &undecodable{part: i, err: err}
		}
		texts[i] = got.JSON
	}
	if d.texts == nil {
		d.texts = map[*kgo.Record][2][]byte{}
	}
	d.texts[r] = texts
	return nil
}

// An undecodable says which part of a record cannot be decoded, and why.
type undecodable struct {
	part int
	err  error
}

func (e *undecodable) Error() string {
	return "its " + [...]string{"key", "value"}[e.part] + " cannot be decoded: " + e.err.Error()
}

func (e *undecodable) Unwrap() error { return e.err }

// deliveries returns an answer with the JSON in the place of keys and values.
func (d *decoding) deliveries(got []gate.Delivery) ([]gate.Delivery, error) {
	out := make([]gate.Delivery, len(got))
	for i, one := range got {
		out[i] = one
		if one.Bad != nil {
			continue
		}
		texts, ok := d.texts[one.Record]
		if !ok { // an answer that is given again
			if err := d.check(one.Record); err != nil {
				return nil, err
			}
			texts = d.texts[one.Record]
		}
		r := *one.Record
		r.Key, r.Value = texts[0], texts[1]
		out[i].Record = &r
	}
	return out, nil
}

// readable returns the records of a stateless read as an answer of a type shows
// them: registry-framed keys and values decoded, where the type is not for bytes.
func (a *api) readable(ctx context.Context, media string, records []*kgo.Record) iter.Seq2[int, *kgo.Record] {
	schemas := a.gate.Schemas()
	return func(yield func(int, *kgo.Record) bool) {
		for i, r := range records {
			switch media {
			case mediaPlain, mediaJSON:
				r = a.gate.Decoded(ctx, r)
			case mediaAvro, mediaJSONSchema, mediaProtobuf:
				d := decoding{ctx: ctx, schemas: schemas}
				if schemas != nil && d.check(r) == nil {
					shown := *r
					shown.Key, shown.Value = d.texts[r][0], d.texts[r][1]
					r = &shown
				}
			}
			if !yield(i, r) {
				return
			}
		}
	}
}
