package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	// protoName is the name under which the compiler knows the schema itself.
	protoName = "klamm-schema.proto"
	// compileWithin bounds the compilation of one schema.
	compileWithin = 10 * time.Second
)

// A protoSchema is a compiled .proto file.
type protoSchema struct {
	file protoreflect.FileDescriptor
	// proto is the file as a message, without its name and without comments.
	proto *descriptorpb.FileDescriptorProto
}

// confluentFiles may be imported without being registered, beside those of Google that
// protoc brings along.
var confluentFiles = map[string]string{
	"confluent/meta.proto": `syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
option java_package = "io.confluent.protobuf";
message Meta {
  string doc = 1;
  map<string, string> params = 2;
  repeated string tags = 3;
}
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
`,
	"confluent/type/decimal.proto": `syntax = "proto3";
package confluent.type;
option java_package = "io.confluent.protobuf.type";
message Decimal {
  bytes value = 1;
  uint32 precision = 2;
  int32 scale = 3;
}
`,
}

// parseProtobuf compiles a schema: the text of a .proto file, or its descriptor in
// base64, as some serializers send it. References are what it imports, by the path in
// the import.
func parseProtobuf(text string, references map[string]string) (_ *protoSchema, err error) {
	defer func() {
		// The compiler reads what anybody sends; a fault in it must not end more than
		// the request.
		if r := recover(); r != nil {
			err = errors.New("the compiler could not make anything of the schema")
		}
	}()
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the schema is empty")
	}
	ctx, cancel := context.WithTimeout(context.Background(), compileWithin)
	defer cancel()
	compiler := protocompile.Compiler{MaxParallelism: 1, Resolver: protocompile.WithStandardImports(protocompile.ResolverFunc(
		func(path string) (protocompile.SearchResult, error) {
			source, ok := text, path == protoName
			if !ok {
				source, ok = references[path]
			}
			if !ok {
				source, ok = confluentFiles[path]
			}
			if !ok {
				return protocompile.SearchResult{}, fmt.Errorf("%s is not among the references", quoted(path))
			}
			if file := descriptorOf(source); file != nil {
				file.Name = proto.String(path)
				return protocompile.SearchResult{Proto: file}, nil
			}
			return protocompile.SearchResult{Source: strings.NewReader(source)}, nil
		}))}
	files, err := compiler.Compile(ctx, protoName)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), protoName+":", "line "))
	}
	return newProtoSchema(files[0])
}

func newProtoSchema(file linker.File) (*protoSchema, error) {
	var raw []byte
	var err error
	if result, ok := file.(linker.Result); ok {
		raw, err = proto.Marshal(result.FileDescriptorProto())
	} else {
		raw, err = proto.Marshal(protodesc.ToFileDescriptorProto(file))
	}
	if err != nil {
		return nil, err
	}
	// Read again with what the file imports, its own options become readable, however
	// the file came.
	s := &protoSchema{file: file, proto: &descriptorpb.FileDescriptorProto{}}
	if err := (proto.UnmarshalOptions{Resolver: linker.ResolverFromFile(file)}).Unmarshal(raw, s.proto); err != nil {
		return nil, err
	}
	s.proto.Name, s.proto.SourceCodeInfo = nil, nil
	return s, nil
}

// descriptorOf reads a descriptor in base64, or returns nil if the text is none.
func descriptorOf(text string) *descriptorpb.FileDescriptorProto {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) == 0 {
		return nil
	}
	file := &descriptorpb.FileDescriptorProto{}
	if proto.Unmarshal(raw, file) != nil || len(file.ProtoReflect().GetUnknown()) > 0 {
		return nil
	}
	file.SourceCodeInfo = nil
	nameJSON(file.Extension)
	for _, m := range file.MessageType {
		nameFields(m)
	}
	return file
}

// nameFields gives fields the JSON names that they have anyhow; descriptors in generated
// code leave them out, and the compiler asks for them.
func nameFields(m *descriptorpb.DescriptorProto) {
	nameJSON(m.Field)
	nameJSON(m.Extension)
	for _, nested := range m.NestedType {
		nameFields(nested)
	}
}

func nameJSON(fields []*descriptorpb.FieldDescriptorProto) {
	for _, f := range fields {
		if f.JsonName == nil {
			f.JsonName = proto.String(jsonName(f.GetName()))
		}
	}
}

// serialized is the descriptor in base64, named as clients expect it.
func (s *protoSchema) serialized() (string, error) {
	file := proto.Clone(s.proto).(*descriptorpb.FileDescriptorProto)
	file.Name = proto.String("default")
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(file)
	return base64.StdEncoding.EncodeToString(raw), err
}

// The groups of scalar types whose values can be read as one another.
var protoGroups = map[protoreflect.Kind]string{
	protoreflect.Int32Kind: "number", protoreflect.Int64Kind: "number", protoreflect.Uint32Kind: "number", protoreflect.Uint64Kind: "number",
	protoreflect.BoolKind: "number", protoreflect.EnumKind: "number",
	protoreflect.Sint32Kind: "signed", protoreflect.Sint64Kind: "signed",
	protoreflect.StringKind: "text", protoreflect.BytesKind: "text",
	protoreflect.Fixed32Kind: "fixed32", protoreflect.Sfixed32Kind: "fixed32",
	protoreflect.Fixed64Kind: "fixed64", protoreflect.Sfixed64Kind: "fixed64",
	protoreflect.FloatKind: "float", protoreflect.DoubleKind: "double",
}

// compareProtobuf says what keeps readers with an updated schema from reading what was
// written with the original: nothing if they can. It follows the rules of Confluent's
// registry: fields are known by their numbers, their names do not count, messages are
// known by their names within the package, and the package does not count.
func compareProtobuf(original, update *protoSchema) []difference {
	c := &protoComparison{done: map[[2]protoreflect.FullName][]difference{}}
	return c.nested(original.file.Messages(), update.file.Messages(), "#/")
}

type protoComparison struct {
	done  map[[2]protoreflect.FullName][]difference // of messages; one that is under way has none
	steps int
}

// nested compares the messages of a file or of a message.
func (c *protoComparison) nested(original, update protoreflect.MessageDescriptors, path string) []difference {
	var found []difference
	for i := range original.Len() {
		was := original.Get(i)
		if was.IsMapEntry() {
			continue
		}
		place := path + string(was.Name())
		if is := update.ByName(was.Name()); is == nil || is.IsMapEntry() {
			found = add(found, []difference{{"MESSAGE_REMOVED", place, "The new schema lacks the message at path '" + place + "' of the old schema"}})
		} else {
			found = add(found, c.messages(was, is, place))
		}
	}
	return found
}

func (c *protoComparison) messages(original, update protoreflect.MessageDescriptor, path string) []difference {
	pair := [2]protoreflect.FullName{original.FullName(), update.FullName()}
	if found, ok := c.done[pair]; ok {
		return found
	}
	if c.steps++; c.steps > mostSteps {
		return []difference{{"FIELD_KIND_CHANGED", path, "The schemas are too large to be compared"}}
	}
	c.done[pair] = nil
	found := intoOneofs(original, update, path)
	for i := range original.Fields().Len() {
		was := original.Fields().Get(i)
		place := fmt.Sprintf("%s/%d", path, was.Number())
		switch is := update.Fields().ByNumber(was.Number()); {
		case is != nil:
			found = add(found, c.fields(was, is, place))
		case was.Cardinality() == protoreflect.Required:
			found = add(found, []difference{{"REQUIRED_FIELD_REMOVED", place, "The new schema lacks the required field at path '" + place + "' of the old schema"}})
		case oneofOf(was) != "" && update.Oneofs().ByName(oneofOf(was)) != nil:
			found = add(found, []difference{{"ONEOF_FIELD_REMOVED", place, "The new schema lacks the field at path '" + place + "' that a oneof has in the old schema"}})
		}
	}
	for i := range update.Fields().Len() {
		is := update.Fields().Get(i)
		if is.Cardinality() == protoreflect.Required && original.Fields().ByNumber(is.Number()) == nil {
			place := fmt.Sprintf("%s/%d", path, is.Number())
			found = add(found, []difference{{"REQUIRED_FIELD_ADDED", place, "The new schema requires the field at path '" + place + "', which the old schema does not have"}})
		}
	}
	found = add(found, c.nested(original.Messages(), update.Messages(), path+"/"))
	c.done[pair] = found
	return found
}

// oneofOf is the name of the oneof that a field stands in, or empty.
func oneofOf(f protoreflect.FieldDescriptor) protoreflect.Name {
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return o.Name()
	}
	return ""
}

// intoOneofs judges fields that have come to exclude each other.
func intoOneofs(original, update protoreflect.MessageDescriptor, path string) []difference {
	var found []difference
	for i := range update.Oneofs().Len() {
		oneof := update.Oneofs().Get(i)
		if oneof.IsSynthetic() {
			continue
		}
		moved, existing := 0, 0
		for j := range oneof.Fields().Len() {
			switch was := original.Fields().ByNumber(oneof.Fields().Get(j).Number()); {
			case was == nil:
			case oneofOf(was) == "":
				moved++
			default:
				existing++
			}
		}
		place := path + "/" + string(oneof.Name())
		switch {
		case moved > 1:
			found = append(found, difference{"MULTIPLE_FIELDS_MOVED_TO_ONEOF", place, "Several fields of the old schema exclude each other in the oneof at path '" + place + "' of the new schema"})
		case moved == 1 && existing > 0:
			found = append(found, difference{"FIELD_MOVED_TO_EXISTING_ONEOF", place, "A field of the old schema has moved to the oneof at path '" + place + "', which other fields were in already, in the new schema"})
		}
	}
	return found
}

func (c *protoComparison) fields(original, update protoreflect.FieldDescriptor, path string) []difference {
	if original.IsMap() && update.IsMap() {
		return add(c.fields(original.MapKey(), update.MapKey(), path), c.fields(original.MapValue(), update.MapValue(), path))
	}
	was, is := original.Message(), update.Message()
	switch {
	case original.IsMap() != update.IsMap(), (was == nil) != (is == nil):
		return []difference{{"FIELD_KIND_CHANGED", path, "The kind of the field at path '" + path + "' in the new schema does not match that of the old schema"}}
	case was == nil:
		if protoGroups[original.Kind()] != protoGroups[update.Kind()] {
			return []difference{{"FIELD_SCALAR_KIND_CHANGED", path, "The type of the field at path '" + path + "' in the new schema cannot be read as that of the old schema"}}
		}
		// A label that is not spelled out counts as none: in proto3 a field may become
		// repeated, unless it was optional before.
		before, after := labelOf(original), labelOf(update)
		if before != "" && after != "" && before != after && protoGroups[original.Kind()] != "text" {
			return []difference{{"FIELD_NUMERIC_LABEL_CHANGED", path, "The label of the numeric field at path '" + path + "' in the new schema is not that of the old schema"}}
		}
		return nil
	case localName(was) != localName(is):
		return []difference{{"FIELD_NAMED_TYPE_CHANGED", path, "The message type of the field at path '" + path + "' has another name in the new schema than in the old schema"}}
	}
	found := c.messages(was, is, path)
	if len(found) > 0 {
		found = append(slices.Clone(found), difference{"FIELD_NAMED_TYPE_CHANGED", path, "The message type of the field at path '" + path + "' in the new schema does not match that of the old schema"})
	}
	return found
}

// labelOf is the label that a field has in its file, or empty.
func labelOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.ContainingMessage().IsMapEntry(), oneofOf(f) != "":
		return ""
	case f.Cardinality() != protoreflect.Optional:
		return f.Cardinality().String()
	case f.HasOptionalKeyword():
		return "optional"
	}
	return ""
}

// localName is the name of a message without its package.
func localName(m protoreflect.MessageDescriptor) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(m.FullName()), string(m.ParentFile().Package())), ".")
}
