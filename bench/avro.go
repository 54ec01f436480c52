package bench

import (
	"bytes"
	"context"
	"encoding/json"
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
			if err := c.createTopic(ctx, topic); err != nil {
				return Figures{}, err
			}
			defer c.deleteTopic(ctx, topic)
			r, err := side.work(ctx, topic)
			if err == nil {
				_, err = c.holdsAll(ctx, topic, r.Acknowledged)
			}
			return r.Figures, err
		})
}

// register registers a schema and returns its id.
func register(ctx context.Context, addr, subject, schema string) (id int, err error) {
	text, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/subjects/"+subject+"/versions", bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("register a schema: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ ID int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.ID == 0 {
		return 0, fmt.Errorf("register a schema: status %d (%v)", resp.StatusCode, err)
	}
	return answer.ID, nil
}
