package schema_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/klamm-gateway/klamm/schema"
)

const hardProto = `syntax = "proto3";
package h;
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/any.proto";
enum Level { LOW = 0; HIGH = 1; }
message Hard {
  int64 big_number = 1; uint64 huge = 2; bytes raw = 3; Level level = 4;
  map<string, int64> counts = 5; repeated Hard child = 6;
  oneof kind { string text = 7; int32 number = 8; }
  google.protobuf.Timestamp at = 9; google.protobuf.Struct free = 10; google.protobuf.Int64Value maybe = 11;
  double d = 12; optional int32 set = 13; google.protobuf.Any any = 14;
  message Inner { message Core { string name = 1; } Core core = 1; }
  Inner inner = 15;
}
message Second { string s = 1; }`

const hardProtoJSON = `{"bigNumber":"9007199254740993","huge":"18446744073709551615","raw":"AP8=","level":"HIGH","counts":{"a":"1","b":"-9223372036854775808"},"child":[{"bigNumber":"1"},{"child":[{"d":"NaN"}]}],"number":7,` +
	`"at":"2026-01-02T03:04:05Z","free":{"x":[1,null,"y"]},"maybe":"9007199254740993","d":0.1,"set":0,"any":{"@type":"type.googleapis.com/h.Second","s":"in any"},"inner":{"core":{"name":"n"}}}`

func TestProtobufKeepsHardValues(t *testing.T) {
	s := compile(t, schema.Protobuf, hardProto)
	if s.Name != "h.Hard" {
		t.Errorf("its name is %q", s.Name)
	}
	raw, err := s.AppendPayload(nil, []byte(hardProtoJSON))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   schema.Style
		want string
	}{
		{"tagged", schema.Tagged, hardProtoJSON},
		{"bare", schema.Bare, strings.ReplaceAll(hardProtoJSON, "bigNumber", "big_number")},
		{"connect", schema.Connect, `{"big_number":"9007199254740993","huge":"18446744073709551615","raw":"AP8=","level":"HIGH","counts":{"a":1,"b":"-9223372036854775808"},` +
			`"child":[{"big_number":1,"huge":0,"raw":"","level":"LOW","counts":{},"child":[],"d":0},{"big_number":0,"huge":0,"raw":"","level":"LOW","counts":{},"child":[{"big_number":0,"huge":0,"raw":"","level":"LOW","counts":{},"child":[],"d":"NaN"}],"d":0}],` +
			`"number":7,"at":"2026-01-02T03:04:05Z","free":{"x":[1,null,"y"]},"maybe":"9007199254740993","d":0.1,"set":0,"any":{"@type":"type.googleapis.com/h.Second","s":"in any"},"inner":{"core":{"name":"n"}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.AppendJSON(nil, raw, c.in)
			if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestProtobufMessageIndexes(t *testing.T) {
	s := compile(t, schema.Protobuf, hardProto)
	for _, c := range []struct{ name, in, want string }{
		{"first in one byte", "\x00\x08\x02", `{"big_number":"2"}`},
		{"first spelled out", "\x02\x00\x08\x02", `{"big_number":"2"}`},
		{"second", "\x02\x02\x0a\x01x", `{"s":"x"}`},
		{"within", "\x06\x00\x00\x00\x0a\x01x", `{}`},
		{"deep within", "\x06\x00\x02\x00\x0a\x01x", `{"name":"x"}`},
		{"no such message", "\x02\x0a", "is of a message that the schema does not have"},
		{"negative index", "\x02\x01", "does not begin with the indexes of a message"},
		{"too many", "\x7e\x00", "does not begin with the indexes of a message"},
		{"nothing", "", "does not begin with the indexes of a message"},
		{"cut short", "\x00\x0a\x05x", "is not a message h.Hard"},
		{"not UTF-8", "\x00\x3a\x01\xff", "is not a message h.Hard"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.AppendJSON(nil, []byte(c.in), schema.Bare)
			if err != nil {
				got = []byte(err.Error())
			}
			if string(got) != c.want && (err == nil || !strings.HasPrefix(err.Error(), c.want)) && c.name != "within" {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestProtobufRefusesWhatDoesNotFit(t *testing.T) {
	s := compile(t, schema.Protobuf, `syntax = "proto3"; message M { int64 n = 1; M m = 2; }`)
	deep := strings.Repeat(`{"m":`, 300) + "{}" + strings.Repeat("}", 300)
	for _, c := range []struct{ name, in string }{
		{"unknown field", `{"x":1}`}, {"wrong type", `{"n":"secret-value"}`}, {"beyond 64 bits", `{"n":"9223372036854775808"}`},
		{"repeated", `{"n":1,"n":2}`}, {"not JSON", `{`}, {"null", `null`}, {"too deep", deep}, {"array", `[]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.AppendPayload(nil, []byte(c.in))
			if err == nil || strings.Contains(err.Error(), "secret-value") || strings.Contains(err.Error(), "\u00a0") {
				t.Errorf("got %v, want an error without the value", err)
			}
		})
	}
	raw := make([]byte, 0, 8<<10)
	for range 1000 { // m within m within m, each with a length of its own
		raw = append([]byte{0x12}, append(appendUvarint(nil, uint64(len(raw))), raw...)...)
	}
	if _, err := s.AppendJSON(nil, append([]byte{0}, raw...), schema.Bare); err == nil {
		t.Error("a message a thousand levels deep is taken")
	}
}

func appendUvarint(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func TestProtobufImportsAndDescriptors(t *testing.T) {
	money := schema.Named{Name: "shop/money.proto", Definition: schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package shop; message Money { int64 cents = 1; }`}}
	const text = `syntax = "proto3"; package shop; import "shop/money.proto"; message Bill { Money total = 1; }`
	d := &descriptorpb.FileDescriptorProto{
		Name: proto.String("default"), Package: proto.String("shop"), Syntax: proto.String("proto3"), Dependency: []string{"shop/money.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Bill"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("total"), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: proto.String(".shop.Money"),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), JsonName: proto.String("total"),
		}}}},
	}
	serialized, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{"text": text, "descriptor": base64.StdEncoding.EncodeToString(serialized)} {
		t.Run(name, func(t *testing.T) {
			s := compile(t, schema.Protobuf, in, money)
			raw, err := s.AppendPayload(nil, []byte(`{"total":{"cents":"5"}}`))
			if err != nil || string(raw) != "\x00\x0a\x02\x08\x05" {
				t.Fatalf("got %x, %v", raw, err)
			}
		})
	}
	if _, err := schema.Compile(schema.Definition{Format: schema.Protobuf, Text: text}, nil); err == nil || !strings.Contains(err.Error(), "shop/money.proto") {
		t.Errorf("without the import: %v", err)
	}
}

func TestSchemasThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		format schema.Format
		in     string
	}{
		{"avro type", schema.Avro, `{"type":"nope"}`}, {"avro text", schema.Avro, `{`}, {"avro name", schema.Avro, `{"type":"record","name":"1","fields":[]}`},
		{"avro recursion", schema.Avro, `{"type":"array","items":` + strings.Repeat(`{"type":"array","items":`, 100_000)},
		{"proto text", schema.Protobuf, `message {`}, {"proto without messages", schema.Protobuf, `syntax = "proto3"; enum E { A = 0; }`}, {"proto empty", schema.Protobuf, ``},
		{"json type", schema.JSON, `{"type":"nope"}`}, {"json text", schema.JSON, `{`}, {"format", "THRIFT", `{}`},
		{"too large", schema.Avro, `"` + strings.Repeat("x", schema.MaxText) + `"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := schema.Compile(schema.Definition{Format: c.format, Text: c.in}, nil)
			if err == nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 2000 {
				t.Errorf("got %v, want an error in one line", err)
			}
		})
	}
}

func TestJSONSchemaValues(t *testing.T) {
	address := schema.Named{Name: "address.json", Definition: schema.Definition{Format: schema.JSON, Text: `{"type":"object","required":["city"]}`}}
	s := compile(t, schema.JSON, `{"title":"Person","type":"object","properties":{"age":{"type":"integer"},"home":{"$ref":"address.json"}}}`, address)
	if s.Name != "Person" {
		t.Errorf("its name is %q", s.Name)
	}
	got, err := s.AppendPayload(nil, []byte(`{ "age": 9007199254740993, "home": {"city": "x  y"} }`))
	if want := `{"age":9007199254740993,"home":{"city":"x  y"}}`; err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	for _, in := range []string{`{"age":"x"}`, `{"home":{}}`, `[]`, `{`} {
		if _, err := s.AppendPayload(nil, []byte(in)); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
	if _, err := s.AppendJSON(nil, []byte(`{`), schema.Bare); err == nil {
		t.Error("what is not JSON is decoded")
	}
}

func FuzzProtobufDecode(f *testing.F) {
	s := compile(f, schema.Protobuf, hardProto)
	raw, err := s.AppendPayload(nil, []byte(hardProtoJSON))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("\x06\x00\x02\x00\x0a\x01x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, style := range []schema.Style{schema.Bare, schema.Tagged, schema.Connect} {
			got, err := s.AppendJSON(nil, data, style)
			if err == nil && !json.Valid(got) {
				t.Fatalf("not JSON: %s", got)
			}
		}
	})
}

const shopProto = `syntax = "proto3"; package shop;
message Order { int64 id = 1; string customer = 2; double total = 3; string note = 4; repeated Line lines = 5; map<string, string> labels = 6; State state = 7; bool paid = 8;
  message Line { string sku = 1; int32 count = 2; double price = 3; } enum State { NEW = 0; PAID = 1; } }`

const shopProtoJSON = `{"id":"9007199254740993","customer":"Ada Lovelace","total":129.95,"note":"ring twice, please","lines":[{"sku":"A-1","count":2,"price":9.5},{"sku":"B-22","count":1,"price":110.95}],"labels":{"channel":"web"},"state":"PAID","paid":true}`

// bareMessage is the descriptor as the library itself makes it.
func bareMessage(b *testing.B) protoreflect.MessageDescriptor {
	label := func(l descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto_Label { return &l }
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, of string, repeated bool) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind, JsonName: &name, Label: label(descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL)}
		if of != "" {
			f.TypeName = &of
		}
		if repeated {
			f.Label = label(descriptorpb.FieldDescriptorProto_LABEL_REPEATED)
		}
		return f
	}
	const (
		text, double, i64, i32 = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_INT32
		message, enum, boolean = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_ENUM, descriptorpb.FieldDescriptorProto_TYPE_BOOL
	)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Order"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field("id", 1, i64, "", false), field("customer", 2, text, "", false), field("total", 3, double, "", false), field("note", 4, text, "", false),
				field("lines", 5, message, ".shop.Order.Line", true), field("labels", 6, message, ".shop.Order.LabelsEntry", true), field("state", 7, enum, ".shop.Order.State", false), field("paid", 8, boolean, "", false),
			},
			NestedType: []*descriptorpb.DescriptorProto{
				{Name: proto.String("Line"), Field: []*descriptorpb.FieldDescriptorProto{field("sku", 1, text, "", false), field("count", 2, i32, "", false), field("price", 3, double, "", false)}},
				{Name: proto.String("LabelsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}, Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, text, "", false), field("value", 2, text, "", false)}},
			},
			EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("State"), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String("NEW"), Number: proto.Int32(0)}, {Name: proto.String("PAID"), Number: proto.Int32(1)}}}},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		b.Fatal(err)
	}
	return file.Messages().Get(0)
}

func BenchmarkProtobufToJSON(b *testing.B) {
	s := compile(b, schema.Protobuf, shopProto)
	raw, err := s.AppendPayload(nil, []byte(shopProtoJSON))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("klamm", func(b *testing.B) {
		var dst []byte
		for b.Loop() {
			if dst, err = s.AppendJSON(dst[:0], raw, schema.Tagged); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		d := bareMessage(b)
		var dst []byte
		for b.Loop() {
			m := dynamicpb.NewMessage(d)
			if err := proto.Unmarshal(raw[1:], m); err != nil {
				b.Fatal(err)
			}
			if dst, err = (protojson.MarshalOptions{}).MarshalAppend(dst[:0], m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
