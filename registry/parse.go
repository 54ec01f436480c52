package registry

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

const (
	// longestText bounds the text of a schema, so that its record fits the topic.
	longestText = 512 << 10
	// mostReferences bounds what a schema refers to, directly and further on.
	mostReferences = 500
)

// A parsed is a schema that has been read; one of the three is set.
type parsed struct {
	avro  *avroSchema
	json  *jsonSchema
	proto *protoSchema
}

// A source is the text of a schema with the texts of all that it refers to, those
// that others need first.
type source struct {
	format     schema.Format
	text       string
	references []schema.Reference
	names      []string // of the references, as the schemas call them
	texts      []string
}

// parse reads a schema. The error says what is wrong with it.
func (s source) parse() (p parsed, err error) {
	switch s.format {
	case schema.Avro:
		p.avro, err = parseAvro(s.text, s.texts)
	case schema.JSON:
		p.json, err = parseJSONSchema(s.text, s.byName())
	case schema.Protobuf:
		p.proto, err = parseProtobuf(s.text, s.byName())
	default:
		err = fmt.Errorf("unknown schema type %s", quoted(string(s.format)))
	}
	return p, err
}

func (s source) byName() map[string]string {
	out := map[string]string{}
	for i, name := range s.names {
		out[name] = s.texts[i]
	}
	return out
}

// text is how a schema is stored: Avro and JSON Schema without whitespace; a .proto
// file as it came, or printed where it came as a descriptor. A normalised one is
// printed in a form in which the order of what has none does not matter.
func (p parsed) text(s source, normalize bool) string {
	switch {
	case p.avro != nil:
		return p.avro.print(normalize)
	case p.json != nil:
		root := p.json.doc.root
		if normalize {
			root = root.sorted()
		}
		return string(root.append(nil))
	case normalize || descriptorOf(s.text) != nil:
		return p.proto.print(normalize)
	}
	return strings.TrimSpace(s.text) + "\n"
}

// An identity is what makes two schemas one: what they say, what they refer to, and
// what was said about them.
type identity [sha256.Size]byte

func (p parsed) identity(references []schema.Reference, metadata, rules json.RawMessage) identity {
	h := sha256.New()
	switch {
	case p.avro != nil:
		fmt.Fprintf(h, "AVRO\n%s\n", p.avro.print(false))
	case p.json != nil:
		fmt.Fprintf(h, "JSON\n%s\n", p.json.doc.root.append(nil))
	default:
		fmt.Fprintf(h, "PROTOBUF\n%s\n", p.proto.print(false))
	}
	for _, r := range references {
		fmt.Fprintf(h, "%q %q %d\n", r.Name, r.Subject, r.Version)
	}
	for _, raw := range []json.RawMessage{metadata, rules} {
		if n, err := parseNode(raw); err == nil {
			fmt.Fprintf(h, "%s\n", n.sorted().append(nil))
		} else {
			fmt.Fprintln(h)
		}
	}
	return identity(h.Sum(nil))
}

// incompatibilities says what keeps readers with one schema from reading what was
// written with another.
func incompatibilities(reader, writer parsed, forward bool) []string {
	var found []difference
	form := difference.message
	switch {
	case reader.avro != nil && writer.avro != nil:
		found = compareAvro(reader.avro.root, writer.avro.root)
	case reader.json != nil && writer.json != nil:
		found = compareJSON(writer.json, reader.json)
	case reader.proto != nil && writer.proto != nil:
		found = compareProtobuf(writer.proto, reader.proto)
	default:
		return []string{"Incompatible because of different schema type"}
	}
	var out []string
	for _, d := range found {
		out = append(out, form(d, forward))
	}
	return out
}
