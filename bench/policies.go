package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// manyRules is how many limits, and rules of topics, the last side of policies has.
const manyRules = 10_000

// policies measures everything that stands before a record at once: a token, a group
// that may write, a limit and a JSON Schema; with few rules of each kind, and with many.
func (c *conductor) policies(ctx context.Context) ([]Case, error) {
	sides, stop, err := c.openSides(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	load := authLoad{Scheme: "jwt", Principals: 1}
	for _, rules := range []int{10, manyRules} {
		file, err := c.policiesFile(load, rules)
		if err != nil {
			return nil, err
		}
		klamm, addr, err := c.startKlamm(ctx, file)
		if err != nil {
			return nil, err
		}
		defer klamm.kill()
		sides = append(sides, contender{fmt.Sprintf("klamm, %s rules", thousands(float64(rules))), false, c.requestsOf(klamm, addr, mediaPlain, 1, &load)})
	}
	title := fmt.Sprintf("one record a request: token, group, limits and JSON Schema, %d connections", c.Connections)
	result, err := c.rounds(ctx, Case{Door: "front", Name: "policies", Title: title}, sides, c.turn)
	return []Case{result}, err
}

// policiesFile writes a configuration by which each request of a load meets a rule of
// each kind; the others are for other topics.
func (c *conductor) policiesFile(load authLoad, rules int) (string, error) {
	auth, err := load.section(c.crew.dir)
	if err != nil {
		return "", err
	}
	type m = map[string]any
	schema, err := json.Marshal(m{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "minProperties": 1, "properties": m{"seq": m{"type": []string{"integer", "string"}}}})
	if err != nil {
		return "", err
	}
	schemaFile := filepath.Join(c.crew.dir, "document.json")
	if err := os.WriteFile(schemaFile, schema, 0o600); err != nil {
		return "", err
	}
	value, plenty := m{"schema": m{"file": schemaFile}, "mode": "enforce"}, m{"rate": 1e9, "burst": 1e9}
	limits := []m{{"name": "own", "match": m{"op": "produce", "topic": topicPrefix + "*"}, "key": []string{"principal"}, "requests": plenty, "records": plenty}}
	topics := []m{{"match": topicPrefix + "*", "value": value}}
	for i := 1; i < rules; i++ {
		other := fmt.Sprintf("other-%d", i)
		limits = append(limits, m{"name": other, "match": m{"op": "produce", "topic": other}, "key": []string{"principal"}, "requests": plenty})
		topics = append(topics, m{"match": other, "key": m{"type": "string", "min_length": 1}})
	}
	text, err := json.Marshal(m{
		"auth": auth, "limits": limits, "topics": topics, "aws": m{"account": "000000000000", "region": authRegion},
		"rules": []m{{"who": []string{"group:bench"}, "can": []string{"produce"}, "topics": []string{topicPrefix + "*"}}},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.crew.dir, fmt.Sprintf("policies-%d.yaml", rules))
	return file, os.WriteFile(file, text, 0o600)
}
