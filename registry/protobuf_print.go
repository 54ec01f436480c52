package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// print returns the text of the schema in one form, whatever form it came in: without
// comments, with full names of types, fields in the order in which they stand or, if
// sorted, by their numbers and messages by their names.
func (s *protoSchema) print(sorted bool) string {
	p := &protoPrinter{sorted: sorted}
	f := s.proto
	switch {
	case f.GetSyntax() == "editions":
		p.line("edition = %q;", strings.TrimPrefix(f.GetEdition().String(), "EDITION_"))
	case f.GetSyntax() == "proto3":
		p.line(`syntax = "proto3";`)
	default:
		p.line(`syntax = "proto2";`)
	}
	if f.GetPackage() != "" {
		p.line("package %s;", f.GetPackage())
	}
	if len(f.Dependency) > 0 {
		p.line("")
	}
	imports := slices.Clone(f.Dependency)
	public := map[string]bool{}
	for _, i := range f.PublicDependency {
		public[f.Dependency[i]] = true
	}
	if sorted {
		slices.Sort(imports)
	}
	for _, path := range imports {
		if public[path] {
			p.line("import public %s;", protoQuote(path))
		} else {
			p.line("import %s;", protoQuote(path))
		}
	}
	if options := optionsOf(f.Options); len(options) > 0 {
		p.line("")
		for _, o := range options {
			p.line("option %s;", o)
		}
	}
	p.syntax = f.GetSyntax()
	for _, m := range p.messages(f.MessageType) {
		p.line("")
		p.message(m, "message "+m.GetName())
	}
	for _, e := range p.enums(f.EnumType) {
		p.line("")
		p.enum(e)
	}
	p.extensions(f.Extension)
	for _, service := range f.Service {
		p.line("")
		p.service(service)
	}
	return p.b.String()
}

type protoPrinter struct {
	b      strings.Builder
	depth  int
	sorted bool
	syntax string
}

func (p *protoPrinter) line(form string, args ...any) {
	if form != "" {
		p.b.WriteString(strings.Repeat("  ", p.depth))
	}
	fmt.Fprintf(&p.b, form+"\n", args...)
}

func (p *protoPrinter) messages(list []*descriptorpb.DescriptorProto) []*descriptorpb.DescriptorProto {
	list = slices.Clone(list)
	if p.sorted {
		slices.SortStableFunc(list, func(a, b *descriptorpb.DescriptorProto) int { return compareText(a.GetName(), b.GetName()) })
	}
	return list
}

func (p *protoPrinter) enums(list []*descriptorpb.EnumDescriptorProto) []*descriptorpb.EnumDescriptorProto {
	list = slices.Clone(list)
	if p.sorted {
		slices.SortStableFunc(list, func(a, b *descriptorpb.EnumDescriptorProto) int { return compareText(a.GetName(), b.GetName()) })
	}
	return list
}

// message prints a message or the body of a group, which begins with head.
func (p *protoPrinter) message(m *descriptorpb.DescriptorProto, head string) {
	p.line("%s {", head)
	p.depth++
	for _, o := range optionsOf(m.Options) {
		p.line("option %s;", o)
	}
	var inner []any // maps and groups, which are printed with their fields
	fields := slices.Clone(m.Field)
	if p.sorted {
		slices.SortStableFunc(fields, func(a, b *descriptorpb.FieldDescriptorProto) int { return int(a.GetNumber()) - int(b.GetNumber()) })
	}
	printed := map[int32]bool{}
	for _, f := range fields {
		switch {
		case f.OneofIndex == nil || f.GetProto3Optional():
			p.field(f, m, &inner)
		case !printed[f.GetOneofIndex()]:
			printed[f.GetOneofIndex()] = true
			oneof := m.OneofDecl[f.GetOneofIndex()]
			p.line("oneof %s {", oneof.GetName())
			p.depth++
			for _, o := range optionsOf(oneof.Options) {
				p.line("option %s;", o)
			}
			for _, part := range fields {
				if part.OneofIndex != nil && part.GetOneofIndex() == f.GetOneofIndex() {
					p.field(part, m, &inner)
				}
			}
			p.depth--
			p.line("}")
		}
	}
	for _, nested := range p.messages(m.NestedType) {
		if !nested.GetOptions().GetMapEntry() && !slices.Contains(inner, any(nested)) {
			p.message(nested, "message "+nested.GetName())
		}
	}
	for _, e := range p.enums(m.EnumType) {
		p.enum(e)
	}
	for _, r := range m.ExtensionRange {
		p.line("extensions %s%s;", span(r.GetStart(), r.GetEnd()-1, 1<<29-1), bracketed(optionsOf(r.Options)))
	}
	p.reserved(len(m.ReservedRange), func(i int) string {
		return span(m.ReservedRange[i].GetStart(), m.ReservedRange[i].GetEnd()-1, 1<<29-1)
	}, m.ReservedName)
	p.extensions(m.Extension)
	p.depth--
	p.line("}")
}

// field prints a field; what it brings along of the message's nested types is noted.
func (p *protoPrinter) field(f *descriptorpb.FieldDescriptorProto, m *descriptorpb.DescriptorProto, inner *[]any) {
	label := ""
	switch {
	case f.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED:
		label = "repeated "
	case f.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REQUIRED:
		label = "required "
	case f.GetProto3Optional(), (p.syntax == "" || p.syntax == "proto2") && f.OneofIndex == nil:
		label = "optional "
	}
	nested := nestedOf(f, m)
	if nested.GetOptions().GetMapEntry() {
		*inner = append(*inner, nested)
		p.line("map<%s, %s> %s = %d%s;", typeOf(nested.Field[0]), typeOf(nested.Field[1]), f.GetName(), f.GetNumber(), bracketed(fieldOptions(f)))
		return
	}
	if f.GetType() == descriptorpb.FieldDescriptorProto_TYPE_GROUP && nested != nil && p.syntax != "editions" {
		*inner = append(*inner, nested)
		p.message(nested, fmt.Sprintf("%sgroup %s = %d%s", label, nested.GetName(), f.GetNumber(), bracketed(fieldOptions(f))))
		return
	}
	p.line("%s%s %s = %d%s;", label, typeOf(f), f.GetName(), f.GetNumber(), bracketed(fieldOptions(f)))
}

// nestedOf is the nested type of a message that a field has, or nil.
func nestedOf(f *descriptorpb.FieldDescriptorProto, m *descriptorpb.DescriptorProto) *descriptorpb.DescriptorProto {
	if m == nil {
		return nil
	}
	for _, n := range m.NestedType {
		if strings.HasSuffix(f.GetTypeName(), "."+m.GetName()+"."+n.GetName()) {
			return n
		}
	}
	return nil
}

func typeOf(f *descriptorpb.FieldDescriptorProto) string {
	if f.GetTypeName() != "" {
		return f.GetTypeName()
	}
	return strings.ToLower(strings.TrimPrefix(f.GetType().String(), "TYPE_"))
}

func fieldOptions(f *descriptorpb.FieldDescriptorProto) []string {
	var out []string
	if f.DefaultValue != nil {
		value := f.GetDefaultValue()
		switch f.GetType() {
		case descriptorpb.FieldDescriptorProto_TYPE_STRING:
			value = protoQuote(value)
		case descriptorpb.FieldDescriptorProto_TYPE_BYTES:
			value = `"` + value + `"` // it is escaped already
		}
		out = append(out, "default = "+value)
	}
	if f.JsonName != nil && f.GetJsonName() != jsonName(f.GetName()) {
		out = append(out, "json_name = "+protoQuote(f.GetJsonName()))
	}
	return append(out, optionsOf(f.Options)...)
}

// jsonName is the JSON name that a field has if it is not given one.
func jsonName(name string) string {
	var b strings.Builder
	upper := false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_':
			upper = true
		case upper && c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			upper = false
		default:
			b.WriteByte(c)
			upper = false
		}
	}
	return b.String()
}

func (p *protoPrinter) enum(e *descriptorpb.EnumDescriptorProto) {
	p.line("enum %s {", e.GetName())
	p.depth++
	for _, o := range optionsOf(e.Options) {
		p.line("option %s;", o)
	}
	for _, v := range e.Value {
		p.line("%s = %d%s;", v.GetName(), v.GetNumber(), bracketed(optionsOf(v.Options)))
	}
	p.reserved(len(e.ReservedRange), func(i int) string {
		return span(e.ReservedRange[i].GetStart(), e.ReservedRange[i].GetEnd(), 1<<31-1)
	}, e.ReservedName)
	p.depth--
	p.line("}")
}

func (p *protoPrinter) reserved(n int, span func(int) string, names []string) {
	var ranges []string
	for i := range n {
		ranges = append(ranges, span(i))
	}
	if n > 0 {
		p.line("reserved %s;", strings.Join(ranges, ", "))
	}
	if len(names) > 0 {
		var list []string
		for _, name := range names {
			if p.syntax != "editions" {
				name = protoQuote(name)
			}
			list = append(list, name)
		}
		p.line("reserved %s;", strings.Join(list, ", "))
	}
}

func span(from, to, most int32) string {
	switch {
	case from == to:
		return strconv.Itoa(int(from))
	case to >= most:
		return strconv.Itoa(int(from)) + " to max"
	}
	return fmt.Sprintf("%d to %d", from, to)
}

func (p *protoPrinter) extensions(list []*descriptorpb.FieldDescriptorProto) {
	for _, f := range list {
		p.line("extend %s {", f.GetExtendee())
		p.depth++
		p.field(f, nil, new([]any))
		p.depth--
		p.line("}")
	}
}

func (p *protoPrinter) service(s *descriptorpb.ServiceDescriptorProto) {
	p.line("service %s {", s.GetName())
	p.depth++
	for _, o := range optionsOf(s.Options) {
		p.line("option %s;", o)
	}
	stream := map[bool]string{true: "stream "}
	for _, m := range s.Method {
		head := fmt.Sprintf("rpc %s (%s%s) returns (%s%s)", m.GetName(), stream[m.GetClientStreaming()], m.GetInputType(), stream[m.GetServerStreaming()], m.GetOutputType())
		options := optionsOf(m.Options)
		if len(options) == 0 {
			p.line("%s;", head)
			continue
		}
		p.line("%s {", head)
		p.depth++
		for _, o := range options {
			p.line("option %s;", o)
		}
		p.depth--
		p.line("}")
	}
	p.depth--
	p.line("}")
}

func bracketed(options []string) string {
	if len(options) == 0 {
		return ""
	}
	return " [" + strings.Join(options, ", ") + "]"
}

// optionsOf returns the options of an element as "name = value", by name.
func optionsOf(options proto.Message) []string {
	if options == nil || !options.ProtoReflect().IsValid() {
		return nil
	}
	var out []string
	options.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		switch {
		case f.IsExtension():
			name = "(" + string(f.FullName()) + ")"
		case name == "map_entry", name == "uninterpreted_option":
			return true
		}
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				out = append(out, name+" = "+optionValue(f, v.List().Get(i)))
			}
		case f.IsMap():
			out = append(out, name+" = "+optionValue(f, v))
		default:
			out = append(out, name+" = "+optionValue(f, v))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// optionValue prints a value as options have it.
func optionValue(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoQuote(v.String())
	case protoreflect.BytesKind:
		return protoQuote(string(v.Bytes()))
	case protoreflect.EnumKind:
		if value := f.Enum().Values().ByNumber(v.Enum()); value != nil {
			return string(value.Name())
		}
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return "{ " + strings.Join(membersOf(v.Message()), ", ") + " }"
	}
	return v.String()
}

// membersOf prints the fields of a message in an option.
func membersOf(m protoreflect.Message) []string {
	var out []string
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		if f.IsExtension() {
			name = "[" + string(f.FullName()) + "]"
		}
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				out = append(out, fmt.Sprintf("%s: { key: %s, value: %s }", name, optionValue(f.MapKey(), k.Value()), optionValue(f.MapValue(), v)))
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				out = append(out, name+": "+optionValue(f, v.List().Get(i)))
			}
		default:
			out = append(out, name+": "+optionValue(f, v))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// protoQuote prints a string literal.
func protoQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
