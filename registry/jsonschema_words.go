package registry

import "strings"

// jsText says in words what a difference between two JSON Schemas is.
func jsText(kind, path string) string {
	place := "at path '" + clip(path) + "'"
	switch {
	case kind == "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL":
		return "The new schema requires a property " + place + " that the old schema does not have"
	case strings.HasSuffix(kind, "ADDED_TO_OPEN_CONTENT_MODEL"):
		return "The new schema names a property or item " + place + " for which the old schema, an open content model, allowed any value"
	case strings.HasSuffix(kind, "REMOVED_FROM_CLOSED_CONTENT_MODEL"):
		return "The new schema is a closed content model and lacks the property or item " + place + " of the old schema"
	case strings.HasSuffix(kind, "NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL"):
		return "The property or item " + place + " is in only one of the new schema and the old schema, and what the other one allows there does not cover it"
	case kind == "TYPE_CHANGED", kind == "TYPE_NARROWED", strings.HasPrefix(kind, "COMBINED_TYPE"), kind == "ENUM_ARRAY_CHANGED":
		return "The type " + place + " in the new schema is another one than in the old schema"
	case strings.HasSuffix(kind, "NARROWED"):
		return "The new schema allows less " + place + " than the old schema"
	case strings.HasSuffix(kind, "EXTENDED"):
		return "The new schema asks for more " + place + " than the old schema"
	case strings.HasSuffix(kind, "INCREASED"), strings.HasSuffix(kind, "EXPANDED"):
		return "The value " + place + " in the new schema is more than in the old schema"
	case strings.HasSuffix(kind, "DECREASED"):
		return "The value " + place + " in the new schema is less than in the old schema"
	case strings.HasSuffix(kind, "CHANGED"):
		return "The value " + place + " in the new schema is not that of the old schema"
	}
	return "The keyword " + place + " in the new schema is not in the old schema, or says less there"
}
