package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/schema"
)

// A Framing says which schema of the registry a key or value was written with.
type Framing struct {
	// ID is that of a Confluent registry, and Version that of a schema version of AWS
	// Glue: one of both is there.
	ID      int
	Version string
	Format  string // AVRO, JSON or PROTOBUF
}

// DecodedPart returns the JSON of a key or value that is framed for the schema
// registry, and what it was written with. What is not framed, or cannot be decoded,
// is returned as it is, with a zero Framing.
func (g *Gate) DecodedPart(ctx context.Context, data []byte) ([]byte, Framing) {
	if !g.schemas.Frames(data) {
		return data, Framing{}
	}
	got, err := g.schemas.Decode(ctx, nil, data, schema.Bare)
	if err != nil {
		return data, Framing{}
	}
	f := Framing{ID: got.ID, Format: string(got.Schema.Format)}
	if f.ID == 0 {
		f.Version = got.String()
	}
	return got.JSON, f
}
