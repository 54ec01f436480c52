package pipe

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/schema"
)

// Why a record of a mapping with a schema registry is given up.
var (
	errSchemaNotFound  = errors.New("the schema registry does not have the record's schema")
	errDeserialization = errors.New("the record does not fit its schema")
)

// mappingSchemas is the schema registry of an event source mapping
// (event-source-mapping.md 12).
type mappingSchemas struct {
	def    catalog.MappingSchemas
	client *schema.Client
	close  func()
}

// openSchemas opens the registry of a mapping; nil: it has none.
func (r *Runner) openSchemas(def *catalog.MappingSchemas) (*mappingSchemas, error) {
	if def == nil {
		return nil, nil
	}
	if r.cfg.OpenRegistry == nil {
		return nil, errors.New("there are no schema registries here")
	}
	client, done, err := r.cfg.OpenRegistry(*def)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return &mappingSchemas{def: *def, client: client, close: done}, nil
}

// decideOn makes the function's record of an item: decoded where the mapping says so,
// and filtered by what is decoded. What is sent as it was read becomes text with the
// event only, since to make it takes less than to keep it. The error is that of a registry which cannot answer
// now.
func (m *mapping) decideOn(ctx context.Context, it *item) error {
	seen, sent := it.Record, it.Record
	var decoded event.BySchema
	var tail []byte
	if s := m.schemas; s != nil {
		one, other := *it.Record, *it.Record
		seen, sent = &one, &other
		for _, part := range []struct {
			name       string
			wanted     bool
			seen, sent *[]byte
			decoded    *bool
		}{{"key", s.def.Key, &seen.Key, &sent.Key, &decoded.Key}, {"value", s.def.Value, &seen.Value, &sent.Value, &decoded.Value}} {
			if !part.wanted || *part.seen == nil {
				continue
			}
			got, err := s.decode(ctx, *part.seen)
			if _, later := schema.Unavailable(err); later {
				return err
			}
			if err != nil {
				m.metrics.undecoded.Inc()
				it.reason = fmt.Errorf("the %s: %w", part.name, err)
				m.fill(it, it.Record, nil) // what a destination gets to see
				return nil
			}
			*part.seen, *part.sent, *part.decoded = got.JSON, got.JSON, true
			if s.def.Source {
				*part.sent = got.Payload
			}
			tail = append(append(append(tail, `,"`...), part.name...), `SchemaMetadata":{"dataFormat":`...)
			tail = scan.AppendString(tail, string(got.Schema.Format))
			tail = scan.AppendString(append(tail, `,"schemaId":`...), got.String())
			tail = append(tail, '}')
		}
	}
	if !m.passes(seen, decoded) {
		it.dropped = true
		return nil
	}
	if m.schemas == nil {
		it.unmade = event.MappingRecordLength(sent)
	} else {
		m.fill(it, sent, tail)
	}
	if int64(it.length()) > m.room() {
		it.reason = errPayloadSize
	}
	return nil
}

// fill makes the body of an item of a record, with further members at its end.
func (m *mapping) fill(it *item, r *kgo.Record, tail []byte) {
	b := event.AppendMappingRecord(make([]byte, 0, event.MappingRecordLength(r)+len(tail)), r)
	if len(tail) > 0 {
		b = append(append(b[:len(b)-1], tail...), '}')
	}
	it.Body = b
	if it.part == nil { // later, its size is accounted for already
		it.size += len(b)
	}
}

// decode decodes a key or value, and checks what JSON Schema asks of it.
func (s *mappingSchemas) decode(ctx context.Context, raw []byte) (schema.Decoded, error) {
	got, err := s.client.Decode(ctx, nil, raw, schema.Bare)
	if _, later := schema.Unavailable(err); later {
		return got, err
	}
	var refused *schema.RegistryError
	switch {
	case errors.As(err, &refused):
		return got, fmt.Errorf("%w: %s", errSchemaNotFound, refused.Message)
	case err != nil:
		return got, fmt.Errorf("%w: %w", errDeserialization, err)
	}
	if got.Schema.Format != schema.JSON {
		return got, nil
	}
	if broken, _ := got.Schema.Check(got.Payload); len(broken) > 0 {
		return got, fmt.Errorf("%w: %s: %s", errDeserialization, broken[0].Pointer, broken[0].Detail)
	}
	return got, nil
}
