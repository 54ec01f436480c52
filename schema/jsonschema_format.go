package schema

// The keywords of JSON Schema whose members are schemas, and those whose values are not
// schemas but values.
var (
	schemasByName = map[string]bool{"properties": true, "patternProperties": true, "definitions": true, "$defs": true, "dependencies": true, "dependentSchemas": true}
	plainValues   = map[string]bool{"enum": true, "const": true, "default": true, "examples": true}
)

// withoutFormat takes the keyword format out of a schema and of all schemas within it: up
// to draft 7 it would refuse values (gateway-policies.md 4.4).
func withoutFormat(schema any) {
	object, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if _, ok := object["format"].(string); ok {
		delete(object, "format")
	}
	for keyword, value := range object {
		if plainValues[keyword] {
			continue
		}
		switch value := value.(type) {
		case map[string]any:
			if !schemasByName[keyword] {
				withoutFormat(value)
				continue
			}
			for _, one := range value {
				withoutFormat(one)
			}
		case []any:
			for _, one := range value {
				withoutFormat(one)
			}
		}
	}
}
