package registry

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/klamm-gateway/klamm/schema"
)

func mustParse(t *testing.T, format, text string) parsed {
	t.Helper()
	p, err := source{format: schema.Format(format), text: text}.parse()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func TestAvroIsPrintedCanonically(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a primitive type", `{ "type" : "string" }`, `"string"`},
		{"a bare name", `string`, `"string"`},
		{"attributes in order", `{"fields":[{"doc":"d","default":1,"type":"int","name":"a"}],"doc":"x","namespace":"n","name":"R","type":"record"}`,
			`{"type":"record","name":"R","namespace":"n","doc":"x","fields":[{"name":"a","type":"int","doc":"d","default":1}]}`},
		{"a full name is split", `{"type":"fixed","name":"a.b.F","size":4}`, `{"type":"fixed","name":"F","namespace":"a.b","size":4}`},
		{"a type is named after its first use", `{"type":"record","name":"n.R","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"b","type":"n.E"}]}`,
			`{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"b","type":"E"}]}`},
		{"logical types and attributes stay", `{"type":"record","name":"R","x":{"b":1,"a":2},"fields":[{"name":"t","type":{"logicalType":"timestamp-millis","type":"long"},"y":[1]}]}`,
			`{"type":"record","name":"R","fields":[{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"},"y":[1]}],"x":{"b":1,"a":2}}`},
		{"aliases are short within the namespace", `{"type":"record","name":"n.R","aliases":["n.Old","m.Older"],"fields":[]}`,
			`{"type":"record","name":"R","namespace":"n","fields":[],"aliases":["Old","m.Older"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustParse(t, "AVRO", c.in)
			got := p.text(source{text: c.in}, false)
			if got != c.want {
				t.Fatalf("got %s, want %s", got, c.want)
			}
			if again := mustParse(t, "AVRO", got).text(source{}, false); again != got {
				t.Errorf("printed again it is %s", again)
			}
		})
	}
}

func TestInvalidSchemasAreRefused(t *testing.T) {
	deep := strings.Repeat(`{"type":"array","items":`, 5000) + `"int"` + strings.Repeat("}", 5000)
	for _, c := range []struct{ name, format, in string }{
		{"no JSON", "AVRO", "{"},
		{"more than one value", "AVRO", `"int" "int"`},
		{"an unknown type", "AVRO", `{"type":"rekord"}`},
		{"a record without fields", "AVRO", `{"type":"record","name":"R"}`},
		{"a record without a name", "AVRO", `{"type":"record","fields":[]}`},
		{"an illegal name", "AVRO", `{"type":"record","name":"a-b","fields":[]}`},
		{"two fields of a name", "AVRO", record(`{"name":"a","type":"int"}`, `{"name":"a","type":"int"}`)},
		{"a union within a union", "AVRO", `["null",["int"]]`},
		{"a type twice in a union", "AVRO", `["int","int"]`},
		{"an undefined name", "AVRO", of(`"Gone"`)},
		{"a name defined twice", "AVRO", record(`{"name":"a","type":{"type":"fixed","name":"R","size":1}}`)},
		{"an enum's default", "AVRO", `{"type":"enum","name":"E","symbols":["A"],"default":"B"}`},
		{"a symbol twice", "AVRO", `{"type":"enum","name":"E","symbols":["A","A"]}`},
		{"a fixed of a negative size", "AVRO", `{"type":"fixed","name":"F","size":-1}`},
		{"null", "AVRO", `null`},
		{"too deep", "AVRO", deep},
		{"no JSON Schema", "JSON", `{"type":"nope"}`},
		{"a number", "JSON", `7`},
		{"no JSON Schema within something called regex", "JSON", `{"properties":{"regex":{"type":"nope"}}}`},
		{"a reference into nothing", "JSON", `{"$ref":"#/definitions/gone"}`},
		{"a schema elsewhere", "JSON", `{"$ref":"http://127.0.0.1:1/x.json"}`},
		{"no .proto", "PROTOBUF", "message {"},
		{"nothing", "PROTOBUF", " \n"},
		{"an unknown import", "PROTOBUF", `syntax = "proto3"; import "other.proto"; message M {}`},
		{"an unknown message", "PROTOBUF", message("Gone a = 1;")},
		{"a number twice", "PROTOBUF", message("int32 a = 1; int32 b = 1;")},
		{"another format", "THRIFT", "struct {}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := (source{format: schema.Format(c.format), text: c.in}).parse(); err == nil {
				t.Error("it is taken")
			}
		})
	}
}

const everything = `syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import public "google/protobuf/any.proto";
option java_package = "com.example";
option java_multiple_files = true;

// A comment.
message Order {
  option deprecated = true;
  reserved 4, 10 to 12, 100 to max;
  reserved "old";
  int64 id = 1 [jstype = JS_STRING];
  optional string note = 2 [json_name = "remark"];
  map<string, Line> lines = 3;
  repeated double laps = 5 [packed = false];
  oneof how {
    Card card = 6;
    google.protobuf.Timestamp later = 7;
  }
  message Card { bytes pan = 1; Order order = 2; }
  enum Kind { option allow_alias = true; NONE = 0; ZERO = 0; MINUS = -1 [deprecated = true]; reserved 5; }
  Kind kind = 8;
}
message Line { uint32 n = 1; }
service Shop {
  rpc Buy (Order) returns (stream Line);
  rpc Sell (stream Order) returns (Line) { option deprecated = true; }
}
`

const everything2 = `syntax = "proto2";
message Old {
  required int32 a = 1;
  optional string s = 2 [default = "a\"b\n"];
  optional bytes raw = 3 [default = "\001x"];
  optional Kind k = 4 [default = B];
  optional group Inner = 5 { optional int32 x = 1; }
  extensions 100 to 200;
  enum Kind { A = 0; B = 1; }
}
extend Old { optional int32 more = 101; }
`

// wire is a .proto file as its descriptor's bytes.
func wire(t *testing.T, p parsed) []byte {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.proto.proto)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What is printed means the same as what was read, also where it comes as a descriptor.
func TestProtobufIsPrintedAsItIs(t *testing.T) {
	for _, text := range []string{everything, everything2, message("int32 a = 1;"), "edition = \"2023\";\npackage e;\nmessage M { int32 a = 1 [features.field_presence = IMPLICIT]; }",
		`syntax = "proto3"; import "confluent/meta.proto"; message M { option (confluent.message_meta) = { doc: "d", tags: ["a", "b"], params: [{ key: "k", value: "v" }] }; int32 a = 1; }`} {
		p := mustParse(t, "PROTOBUF", text)
		printed := p.proto.print(false)
		again := mustParse(t, "PROTOBUF", printed)
		if !bytes.Equal(wire(t, p), wire(t, again)) {
			t.Errorf("printed:\n%s\nread again it is another one", printed)
		}
		raw, err := p.proto.serialized()
		if err != nil {
			t.Fatal(err)
		}
		decoded := mustParse(t, "PROTOBUF", raw)
		if got := decoded.proto.print(false); got != printed {
			t.Errorf("by its descriptor:\n%s\nwant:\n%s", got, printed)
		}
		if decoded.identity(nil, nil, nil) != p.identity(nil, nil, nil) {
			t.Error("the descriptor is another schema than the text")
		}
		mustParse(t, "PROTOBUF", p.proto.print(true))
	}
}

// Compilers for Python leave out of descriptors what is as it would be anyhow.
func TestDescriptorWithoutJSONNames(t *testing.T) {
	p := mustParse(t, "PROTOBUF", everything)
	file := proto.Clone(p.proto.proto).(*descriptorpb.FileDescriptorProto)
	file.Name = proto.String("shop/order.proto")
	for _, f := range file.MessageType[0].Field {
		if f.GetJsonName() == jsonName(f.GetName()) {
			f.JsonName = nil
		}
	}
	raw, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if mustParse(t, "PROTOBUF", base64.StdEncoding.EncodeToString(raw)).identity(nil, nil, nil) != p.identity(nil, nil, nil) {
		t.Error("it is another schema")
	}
}

// A pattern that only a backtracking engine can match is its readers' concern.
func TestForeignPatternsAreTaken(t *testing.T) {
	mustParse(t, "JSON", `{"type":"string","pattern":"^(?!x)"}`)
}

func FuzzAvro(f *testing.F) {
	for _, p := range avroPairs {
		f.Add(p.old, p.new)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := parseAvro(a, nil)
		if err != nil {
			return
		}
		text := x.print(false)
		again, err := parseAvro(text, nil)
		if err != nil {
			t.Fatalf("%q is printed as %q: %v", a, text, err)
		}
		if again.print(false) != text {
			t.Fatalf("%q is printed as %q and then as %q", a, text, again.print(false))
		}
		if len(compareAvro(again.root, x.root)) > 0 {
			t.Fatalf("%q cannot read itself", text)
		}
		if y, err := parseAvro(b, nil); err == nil {
			compareAvro(x.root, y.root)
		}
	})
}

func FuzzJSONSchema(f *testing.F) {
	for _, p := range jsonPairs {
		f.Add(p.old, p.new)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := parseJSONSchema(a, nil)
		if err != nil {
			return
		}
		if y, err := parseJSONSchema(b, nil); err == nil {
			compareJSON(x, y)
		}
	})
}

func FuzzProtobuf(f *testing.F) {
	for _, p := range protoPairs {
		f.Add(p.old, p.new)
	}
	f.Add(everything, everything2)
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := parseProtobuf(a, nil)
		if err != nil {
			return
		}
		text := x.print(false)
		again, err := parseProtobuf(text, nil)
		if err != nil {
			t.Fatalf("%q is printed as %q: %v", a, text, err)
		}
		if again.print(false) != text {
			t.Fatalf("%q is printed as %q and then as %q", a, text, again.print(false))
		}
		if y, err := parseProtobuf(b, nil); err == nil {
			compareProtobuf(x, y)
		}
	})
}

func TestDefaultsThatAreNoValues(t *testing.T) {
	field := func(typ, value string) string {
		return `{"type":"record","name":"R","fields":[{"name":"f","type":` + typ + `,"default":` + value + `}]}`
	}
	const (
		inner = `{"type":"record","name":"I","fields":[{"name":"a","type":"int","default":1},{"name":"b","type":"int"}]}`
		enum  = `{"type":"enum","name":"E","symbols":["A"]}`
	)
	for _, c := range []struct {
		typ, value string
		want       bool
	}{
		{`"string"`, `null`, false}, {`"string"`, `"x"`, true}, {`"bytes"`, `1`, false}, {enum, `"A"`, true}, {enum, `0`, false},
		{`"int"`, `"1"`, false}, {`"int"`, `2147483647`, true}, {`"int"`, `2147483648`, false}, {`"long"`, `2147483648`, true}, {`"long"`, `1.5`, false},
		{`"double"`, `1`, true}, {`"double"`, `"1"`, false}, {`"boolean"`, `true`, true}, {`"boolean"`, `"true"`, false}, {`"null"`, `null`, true},
		{`["null","int"]`, `null`, true}, {`["null","int"]`, `7`, true}, {`["null","int"]`, `"7"`, false},
		{`{"type":"array","items":"int"}`, `[]`, true}, {`{"type":"array","items":"int"}`, `[1,"2"]`, false}, {`{"type":"array","items":"int"}`, `{}`, false},
		{`{"type":"map","values":"int"}`, `{"k":1}`, true}, {`{"type":"map","values":"int"}`, `{"k":null}`, false},
		{inner, `{"b":2}`, true}, {inner, `{"a":2}`, false}, {inner, `null`, false},
		{`{"type":"record","name":"D","fields":[{"name":"g","type":"int","default":"x"}]}`, `{"g":1}`, false},
		{`["R",{"type":"record","name":"Q","fields":[{"name":"a","type":["R","Q"],"default":{}},{"name":"b","type":["R","Q"],"default":{}}]}]`, `{}`, false},
	} {
		s, err := parseAvro(field(c.typ, c.value), nil)
		if err != nil {
			t.Fatalf("%s with %s: %v", c.typ, c.value, err)
		}
		if err := s.defaults(); (err == nil) != c.want {
			t.Errorf("%s with %s: got %v, want %v", c.typ, c.value, err, c.want)
		}
	}
}
