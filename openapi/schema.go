package openapi

import (
	"strings"
)

// modelPlaces are where documents keep their schemas.
var modelPlaces = []string{"#/components/schemas/", "#/definitions/"}

// bundle makes a schema stand by itself: the models that it refers to come along.
func (im *importer) bundle(v any, at string) any {
	b := &bundler{im: im, at: at, models: map[string]any{}}
	schema := b.copy(v)
	if len(b.models) == 0 {
		return schema
	}
	out, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	if _, bare := out["$ref"]; bare { // draft 4 looks at nothing beside a reference
		out = map[string]any{"allOf": []any{out}}
	}
	out[b.where()] = b.models
	return out
}

type bundler struct {
	im     *importer
	at     string
	models map[string]any
}

func (b *bundler) where() string {
	if b.im.draft == "4" {
		return "definitions"
	}
	return "$defs"
}

// copy returns a schema in the terms of JSON Schema.
func (b *bundler) copy(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = b.copy(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			if ref, ok := inner.(string); ok && k == "$ref" {
				out[k] = b.reference(ref)
				continue
			}
			if strings.HasPrefix(k, "x-") || k == "discriminator" || k == "xml" || k == "example" || k == "externalDocs" {
				if _, isSchema := inner.(bool); !isSchema {
					continue
				}
			}
			out[k] = b.copy(inner)
		}
		return nullable(out)
	}
	return v
}

// nullable says in JSON Schema what OpenAPI 3.0 has a word of its own for.
func nullable(schema map[string]any) map[string]any {
	may, ok := schema["nullable"].(bool)
	if !ok {
		return schema
	}
	delete(schema, "nullable")
	kind, typed := schema["type"].(string)
	if !may || !typed {
		return schema
	}
	schema["type"] = []any{kind, "null"}
	if enum, ok := schema["enum"].([]any); ok {
		schema["enum"] = append(append([]any{}, enum...), nil)
	}
	return schema
}

// reference takes in the model that a reference leads to.
func (b *bundler) reference(ref string) string {
	for _, place := range modelPlaces {
		name, ok := strings.CutPrefix(ref, place)
		if !ok {
			continue
		}
		to := "#/" + b.where() + "/" + name
		if _, done := b.models[name]; done {
			return to
		}
		model := b.im.pointed(ref)
		if model == nil {
			b.im.note(Unsupported, b.at, "there is no model %s", ref)
		}
		b.models[name] = map[string]any{} // it may refer to itself
		b.models[name] = b.copy(map[string]any(model))
		return to
	}
	b.im.note(Unsupported, b.at, "a reference to %s: only models of the document come along", ref)
	return ref
}
