package schema

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/klamm-gateway/klamm/scan"
)

// maxMessageNesting bounds how deep a message may be nested.
const maxMessageNesting = 256

// A protoSchema is a .proto file made ready.
type protoSchema struct {
	file  protoreflect.FileDescriptor
	first protoreflect.MessageDescriptor
	types *dynamicpb.Types // of the file and what it imports, for Any
}

// protoMain is the name under which a schema is compiled; imports have their own.
const protoMain = "klamm.schema.proto"

// compileProtobuf makes a .proto file ready, given as its text or as the base64 of
// its descriptor. Imports are the files that it may name, by their names; the well
// known ones are there anyway.
func compileProtobuf(text string, imports map[string]string) (*protoSchema, error) {
	sources := map[string]protocompile.SearchResult{protoMain: protoResult(text)}
	for name, source := range imports {
		sources[name] = protoResult(source)
	}
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
			if found, ok := sources[path]; ok {
				if found.Proto != nil {
					found.Proto.Name = &path
				}
				return found, nil
			}
			return protocompile.SearchResult{}, fmt.Errorf("%s is not among its references", path)
		})),
		MaxParallelism: 1,
	}
	files, err := c.Compile(context.Background(), protoMain)
	if err != nil {
		return nil, protoError(err)
	}
	file := files[0]
	if file.Messages().Len() == 0 {
		return nil, errors.New("it has no message")
	}
	set := &descriptorpb.FileDescriptorSet{}
	gather(file, set, map[string]bool{})
	all, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	main, err := all.FindFileByPath(protoMain)
	if err != nil {
		return nil, err
	}
	return &protoSchema{file: main, first: main.Messages().Get(0), types: dynamicpb.NewTypes(all)}, nil
}

// protoResult tells the compiler what a schema is: text, or a descriptor.
func protoResult(text string) protocompile.SearchResult {
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err == nil && len(raw) > 0 {
		d := new(descriptorpb.FileDescriptorProto)
		if proto.Unmarshal(raw, d) == nil {
			return protocompile.SearchResult{Proto: d}
		}
	}
	return protocompile.SearchResult{Source: strings.NewReader(text)}
}

// protoError says in one line what is wrong with a file.
func protoError(err error) error {
	var at reporter.ErrorWithPos
	if !errors.As(err, &at) {
		return err
	}
	pos := at.GetPosition()
	name := ""
	if pos.Filename != protoMain {
		name = pos.Filename + " "
	}
	return fmt.Errorf("%sline %d, column %d: %w", name, pos.Line, pos.Col, at.Unwrap())
}

// gather lists a file behind the files that it imports.
func gather(file protoreflect.FileDescriptor, set *descriptorpb.FileDescriptorSet, seen map[string]bool) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		gather(file.Imports().Get(i).FileDescriptor, set, seen)
	}
	if result, ok := file.(linker.Result); ok {
		set.File = append(set.File, result.FileDescriptorProto())
		return
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}

// message returns the message that indexes lead to.
func (p *protoSchema) message(path []int) (protoreflect.MessageDescriptor, error) {
	within := p.file.Messages()
	var found protoreflect.MessageDescriptor
	for _, i := range path {
		if i >= within.Len() {
			return nil, unfit("is of a message that the schema does not have")
		}
		found = within.Get(i)
		within = found.Messages()
	}
	return found, nil
}

// appendJSON appends the JSON of a message with its indexes in front.
func (p *protoSchema) appendJSON(dst, data []byte, style Style) ([]byte, error) {
	if len(data) > 0 && data[0] == 0 {
		return p.appendMessage(dst, p.first, data[1:], style)
	}
	path, rest, err := parseIndexes(data)
	if err != nil {
		return dst, err
	}
	d, err := p.message(path)
	if err != nil {
		return dst, err
	}
	return p.appendMessage(dst, d, rest, style)
}

// appendMessage appends the JSON of a message.
func (p *protoSchema) appendMessage(dst []byte, d protoreflect.MessageDescriptor, data []byte, style Style) ([]byte, error) {
	m := dynamicpb.NewMessage(d)
	if err := (proto.UnmarshalOptions{RecursionLimit: maxMessageNesting, Resolver: p.types}).Unmarshal(data, m); err != nil {
		return dst, unfit("is not a message %s: %s", d.FullName(), protoText(err))
	}
	if style == Connect {
		c := connectWriter{p.types}
		return c.message(dst, m)
	}
	from := len(dst)
	dst, err := protojson.MarshalOptions{UseProtoNames: style != Tagged, Resolver: p.types}.MarshalAppend(dst, m)
	if err != nil {
		return dst[:from], unfit("is a message %s that has no JSON: %s", d.FullName(), protoText(err))
	}
	// The library puts white space where it likes, so that nobody relies on it.
	return dst[:from+len(scan.Compact(dst[from:]))], nil
}

// appendValue appends a message, with the indexes of the first one of the file.
func (p *protoSchema) appendValue(dst, text []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(p.first)
	if err := (protojson.UnmarshalOptions{RecursionLimit: maxMessageNesting, Resolver: p.types}).Unmarshal(text, m); err != nil {
		return dst, unfit("is not the JSON of a message %s: %s", p.first.FullName(), protoText(err))
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(append(dst, 0), m)
}

// protoText is the library's error without its prefix, the space in which differs
// from build to build, and without the value that it repeats.
func protoText(err error) string {
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	return quotedValue(text)
}

// quotedValue cuts a text at the value that it quotes.
func quotedValue(text string) string {
	for _, mark := range []string{"invalid value for ", "unexpected token "} {
		if i := strings.Index(text, mark); i >= 0 {
			rest, _, found := strings.Cut(text[i+len(mark):], ": ")
			if !found {
				rest = "a field"
			}
			if mark == "unexpected token " {
				return text[:i] + "an unexpected token"
			}
			return text[:i+len(mark)] + rest
		}
	}
	return text
}

// A connectWriter writes messages as Kafka Connect's converters do: the names of
// the file, numbers for integers, fields without presence also where they are
// unset.
type connectWriter struct{ types *dynamicpb.Types }

func (c connectWriter) message(dst []byte, m protoreflect.Message) ([]byte, error) {
	if strings.HasPrefix(string(m.Descriptor().FullName()), "google.protobuf.") {
		out, err := protojson.MarshalOptions{UseProtoNames: true, Resolver: c.types}.Marshal(m.Interface())
		if err != nil {
			return dst, unfit("has no JSON: %s", protoText(err))
		}
		return append(dst, scan.Compact(out)...), nil
	}
	dst = append(dst, '{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(scan.AppendString(dst, string(f.Name())), ':')
		var err error
		if dst, err = c.field(dst, f, m.Get(f)); err != nil {
			return dst, below(err, string(f.Name()))
		}
	}
	return append(dst, '}'), nil
}

func (c connectWriter) field(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) (_ []byte, err error) {
	switch {
	case f.IsMap():
		dst = append(dst, '{')
		keys := make([]protoreflect.MapKey, 0, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			keys = append(keys, k)
			return true
		})
		sortKeys(keys)
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(scan.AppendString(dst, k.String()), ':')
			if dst, err = c.value(dst, f.MapValue(), v.Map().Get(k)); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	case f.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = c.value(dst, f, v.List().Get(i)); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	return c.value(dst, f, v)
}

// exactDouble is the largest integer up to which a double holds every one.
const exactDouble = 1 << 53

func (c connectWriter) value(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return c.message(dst, v.Message())
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool()), nil
	case protoreflect.StringKind:
		return scan.AppendString(dst, v.String()), nil
	case protoreflect.BytesKind:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v.Bytes()), '"'), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, v.Float(), 32), nil
	case protoreflect.DoubleKind:
		return appendFloat(dst, v.Float(), 64), nil
	case protoreflect.EnumKind:
		if symbol := f.Enum().Values().ByNumber(v.Enum()); symbol != nil {
			return scan.AppendString(dst, string(symbol.Name())), nil
		}
		return strconv.AppendInt(dst, int64(v.Enum()), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		if v.Uint() > exactDouble {
			return append(strconv.AppendUint(append(dst, '"'), v.Uint(), 10), '"'), nil
		}
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	}
	if n := v.Int(); n > exactDouble || n < -exactDouble {
		return append(strconv.AppendInt(append(dst, '"'), n, 10), '"'), nil
	}
	return strconv.AppendInt(dst, v.Int(), 10), nil
}

func sortKeys(keys []protoreflect.MapKey) {
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
}
