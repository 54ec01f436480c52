package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/klamm-gateway/klamm/scan"
)

// MaxText bounds the text of a schema, in bytes.
const MaxText = 1 << 20

// A Schema is a schema of a registry made ready. It is safe for concurrent use.
type Schema struct {
	Definition
	// ID is the registry's; zero where it has none.
	ID int
	// Name is the full name of what it describes: of an Avro type, of a Protobuf
	// file's first message; of JSON Schema it is the title.
	Name string

	values codec
}

// A codec is what a format can do. The bytes are those behind the frame.
type codec interface {
	appendJSON(dst, payload []byte, style Style) ([]byte, error)
	appendValue(dst, text []byte) ([]byte, error)
}

// A Named is a schema that another one refers to, with the name that it uses.
type Named struct {
	Name string
	Definition
}

// Compile makes a schema ready. Before are the schemas that it refers to, each
// behind those that it refers to itself. The error says in one line what is wrong
// with the schema.
func Compile(d Definition, before []Named) (*Schema, error) {
	size := len(d.Text)
	for _, one := range before {
		size += len(one.Text)
	}
	if size > MaxText {
		return nil, fmt.Errorf("larger than %d bytes with what it refers to", MaxText)
	}
	if d.Format == "" {
		d.Format = Avro
	}
	s := &Schema{Definition: d}
	switch d.Format {
	case Avro:
		texts := make([]string, len(before))
		for i, one := range before {
			texts[i] = one.Text
		}
		node, err := compileAvro(d.Text, texts)
		if err != nil {
			return nil, oneLine(err)
		}
		s.values, s.Name = node, node.name
	case Protobuf:
		imports := make(map[string]string, len(before))
		for _, one := range before {
			imports[one.Name] = one.Text
		}
		p, err := compileProtobuf(d.Text, imports)
		if err != nil {
			return nil, oneLine(err)
		}
		s.values, s.Name = p, string(p.first.FullName())
	case JSON:
		resources := make(map[string][]byte, len(before))
		for _, one := range before {
			resources[one.Name] = []byte(one.Text)
		}
		j, err := CompileJSON([]byte(d.Text), JSONOptions{Draft: "7", Resources: resources})
		if err != nil {
			return nil, oneLine(err)
		}
		var title struct{ Title string }
		if json.Unmarshal([]byte(d.Text), &title) == nil {
			s.Name = title.Title
		}
		s.values = jsonCodec{j}
	default:
		return nil, fmt.Errorf("unknown format %q: want AVRO, PROTOBUF or JSON", d.Format)
	}
	return s, nil
}

func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}

// AppendJSON appends the JSON of a value. Payload is what follows the frame. The
// error is a *ValueError.
func (s *Schema) AppendJSON(dst, payload []byte, style Style) ([]byte, error) {
	return s.values.appendJSON(dst, payload, style)
}

// AppendPayload appends the value that a JSON text stands for, without the frame:
// in Avro's own JSON, in Protobuf's JSON mapping, or the JSON itself if it fits the
// schema. The error is a *ValueError.
func (s *Schema) AppendPayload(dst, text []byte) ([]byte, error) {
	return s.values.appendValue(dst, text)
}

// Encode returns the value that a JSON text stands for as records have it, behind
// the frame of a Confluent registry. The error is a *ValueError.
func (s *Schema) Encode(text []byte) ([]byte, error) {
	return s.AppendPayload(appendFrame(make([]byte, 0, 8+len(text)), s.ID), text)
}

// EncodeRelaxed is Encode that also takes values of Avro unions as they are, without the
// name of their branch: the first branch that they fit counts.
func (s *Schema) EncodeRelaxed(text []byte) ([]byte, error) {
	n, ok := s.values.(*avroNode)
	if !ok {
		return s.Encode(text)
	}
	return n.write(appendFrame(make([]byte, 0, 8+len(text)), s.ID), text, true)
}

// Check returns what is wrong with a payload; more says that there are others.
func (s *Schema) Check(payload []byte) (violations []Violation, more bool) {
	if j, ok := s.values.(jsonCodec); ok {
		return j.Check(payload)
	}
	if _, err := s.AppendJSON(nil, payload, Bare); err != nil {
		return []Violation{ViolationOf(err, s.Format)}, false
	}
	return nil, false
}

// ViolationOf says an error of a value in the words of violations.
func ViolationOf(err error, format Format) Violation {
	v := Violation{Pointer: "#", Keyword: strings.ToLower(string(format)), Detail: err.Error()}
	var unfit *ValueError
	if errors.As(err, &unfit) {
		v.Detail = unfit.Detail
		path := make([]string, len(unfit.Path))
		for i, name := range unfit.Path {
			path[i] = strings.Trim(name, "[]")
		}
		v.Pointer = pointer(path)
	}
	return v
}

// A jsonCodec writes JSON as it is.
type jsonCodec struct{ *JSONSchema }

func (j jsonCodec) appendJSON(dst, payload []byte, _ Style) ([]byte, error) {
	if !scan.Valid(payload) {
		return dst, unfit("is not JSON")
	}
	from := len(dst)
	dst = append(dst, payload...)
	return dst[:from+len(scan.Compact(dst[from:]))], nil
}

func (j jsonCodec) appendValue(dst, text []byte) ([]byte, error) {
	if v, _ := j.Check(text); len(v) > 0 {
		return dst, unfit("%s: %s", v[0].Pointer, v[0].Detail)
	}
	from := len(dst)
	dst = append(dst, text...)
	return dst[:from+len(scan.Compact(dst[from:]))], nil
}
