package registry

import (
	"encoding/json"
	"slices"
	"strings"
)

// reserved says what is wrong with the reserved names of a JSON Schema or a Protobuf file:
// names that its metadata keeps free for later, under confluent:reserved. They may not
// become fewer, and no property, or field of an outermost message, may have one.
func reserved(metadata, older json.RawMessage, p parsed, forward bool) []string {
	var names []string
	removed, conflict, noun, path := "RESERVED_PROPERTY_REMOVED", "RESERVED_PROPERTY_CONFLICTS_WITH_PROPERTY", "property", "#/properties/"
	switch {
	case p.json != nil:
		for _, m := range p.json.doc.root.get("properties").membersOrNone() {
			names = append(names, m.name)
		}
	case p.proto != nil:
		removed, conflict, noun, path = "RESERVED_FIELD_REMOVED", "FIELD_CONFLICTS_WITH_RESERVED_FIELD", "field", ""
		names = p.proto.fieldNames()
	default:
		return nil
	}
	is := reservedNames(metadata)
	var found []difference
	for _, name := range reservedNames(older) {
		if !slices.Contains(is, name) {
			found = append(found, difference{removed, name, "The new schema does not reserve the " + noun + " " + quoted(name) + " any more, as the old schema does"})
		}
	}
	for _, name := range names {
		if slices.Contains(is, name) {
			found = append(found, difference{conflict, path + name, "The new schema has the " + noun + " " + quoted(name) + ", which it reserves"})
		}
	}
	var out []string
	for _, d := range found {
		out = append(out, d.message(forward))
	}
	return out
}

// fieldNames are the names of the fields of a file's outermost messages, each once.
func (s *protoSchema) fieldNames() (names []string) {
	for i := range s.file.Messages().Len() {
		fields := s.file.Messages().Get(i).Fields()
		for j := range fields.Len() {
			if name := string(fields.Get(j).Name()); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func reservedNames(metadata json.RawMessage) []string {
	var m struct {
		Properties map[string]string `json:"properties"`
	}
	if len(metadata) == 0 || json.Unmarshal(metadata, &m) != nil {
		return nil
	}
	var out []string
	for name := range strings.SplitSeq(m.Properties["confluent:reserved"], ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

func (n *node) membersOrNone() []member {
	if n == nil {
		return nil
	}
	return n.members
}
