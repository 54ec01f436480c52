package bench

import (
	"context"
	"fmt"
	"net/http"
)

// documentSchema is the Avro schema of a document.
const documentSchema = `{"type":"record","name":"Order","fields":[{"name":"seq","type":"string"},{"name":"at","type":"string"},` +
	`{"name":"kind","type":"string"},{"name":"open","type":"boolean"},{"name":"total","type":"double"},` +
	`{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},{"name":"count","type":"int"}]}}},` +
	`{"name":"note","type":"string"}]}`

// avroRecords is how many records a request has.
const avroRecords = 100

// avro measures what it costs that klamm writes records as Avro, with a schema of its own
// registry, instead of as the JSON that comes in.
func (c *conductor) avro(ctx context.Context) (Case, error) {
	result := Case{Door: "front", Name: "avro", Title: fmt.Sprintf("%d records a request, Avro beside JSON, %d connections", avroRecords, c.Connections)}
	file, err := c.write("avro", "schema_registry: {embedded: true}\n")
	if err != nil {
		return result, err
	}
	klamm, addr, err := c.startKlamm(ctx, file)
	if err != nil {
		return result, err
	}
	defer klamm.kill()
	asJSON := c.requests(klamm, addr, mediaV2JSON, avroRecords)
	asAvro := func(ctx context.Context, topic string) (loadResult, error) {
		id, err := register(ctx, addr, topic+"-value", documentSchema)
		if err != nil {
			return loadResult{}, err
		}
		return c.load(klamm, loadRole{Addr: addr, Media: mediaV2Avro, Records: avroRecords, Schema: id})(ctx, topic)
	}
	return c.rounds(ctx, result, []contender{{"klamm v2 JSON", true, asJSON}, {"klamm v2 Avro", false, asAvro}},
		func(ctx context.Context, topic string, side contender) (Figures, error) {
			if side.yardstick {
				return c.turn(ctx, topic, side)
			}
			return c.turnOf(ctx, topic, side, func(ctx context.Context, topic string, acknowledged int64) error {
				_, err := c.holdsAll(ctx, topic, acknowledged) // whose values are no documents
				return err
			})
		})
}

// register registers a schema and returns its id.
func register(ctx context.Context, addr, subject, schema string) (int, error) {
	var answer struct{ ID int }
	err := post(ctx, addr, "/subjects/"+subject+"/versions", http.Header{"Content-Type": {"application/vnd.schemaregistry.v1+json"}}, map[string]string{"schema": schema}, &answer)
	if err != nil {
		return 0, fmt.Errorf("register a schema: %w", err)
	}
	return answer.ID, nil
}
