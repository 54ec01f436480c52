package schema

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// ofDraft4 says whether a schema is one of draft 4: by its $schema, or because those
// without one are.
func ofDraft4(doc any, usual *jsonschema.Draft) bool {
	if object, ok := doc.(map[string]any); ok {
		if named, ok := object["$schema"].(string); ok {
			return strings.Contains(named, "json-schema.org/draft-04/")
		}
	}
	return usual == jsonschema.Draft4
}

// integers is what draft 4 asks of an integer beyond what later drafts do: it is written
// without a fraction and an exponent (gateway-policies.md 4.4).
type integers struct{ types []string }

// compileIntegers looks at one object of a schema.
func compileIntegers(_ *jsonschema.CompilerContext, object map[string]any) (jsonschema.SchemaExt, error) {
	var types []string
	switch given := object["type"].(type) {
	case string:
		types = []string{given}
	case []any:
		for _, one := range given {
			if name, ok := one.(string); ok {
				types = append(types, name)
			}
		}
	}
	if !slices.Contains(types, "integer") || slices.Contains(types, "number") {
		return nil, nil
	}
	return integers{types}, nil
}

// Validate implements the library's interface. What is no whole number the library
// itself refuses.
func (i integers) Validate(ctx *jsonschema.ValidatorContext, v any) {
	n, ok := v.(json.Number)
	if !ok || !strings.ContainsAny(string(n), ".eE") {
		return
	}
	if r, ok := new(big.Rat).SetString(string(n)); ok && r.IsInt() {
		ctx.AddError(&kind.Type{Got: "number", Want: i.types})
	}
}
