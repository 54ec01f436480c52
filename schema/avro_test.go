package schema_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"

	"github.com/klamm-gateway/klamm/schema"
)

func compile(t testing.TB, format schema.Format, text string, before ...schema.Named) *schema.Schema {
	t.Helper()
	s, err := schema.Compile(schema.Definition{Format: format, Text: text}, before)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const hardAvro = `{"type":"record","name":"Hard","namespace":"h","fields":[
	{"name":"l","type":"long"},{"name":"by","type":"bytes"},{"name":"e","type":{"type":"enum","name":"E","symbols":["UP","DOWN"]}},
	{"name":"m","type":{"type":"map","values":["null","long","string"]}},
	{"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}},
	{"name":"u","type":["null","int","string",{"type":"record","name":"In","fields":[{"name":"d","type":"double"}]}]},
	{"name":"fx","type":{"type":"fixed","name":"F","size":2}},{"name":"next","type":["null","Hard"]},
	{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"list","type":{"type":"array","items":"float"}},{"name":"ok","type":"boolean"}]}`

const hardJSON = `{"l":9223372036854775807,"by":"\u0000\"ÿ","e":"DOWN","m":{"a":{"long":9007199254740993},"b":{"string":"x\ny"},"c":null},"dec":"\u0001","u":{"h.In":{"d":1e-7}},"fx":"aþ",` +
	`"next":{"h.Hard":{"l":-9223372036854775808,"by":"","e":"UP","m":{},"dec":"ÿ","u":null,"fx":"\u0000\u001f","next":null,"ts":-1,"list":[],"ok":false}},"ts":1700000000000,"list":[0.5,"NaN","-Infinity",3e+38],"ok":true}`

func TestAvroKeepsHardValues(t *testing.T) {
	s := compile(t, schema.Avro, hardAvro)
	raw, err := s.AppendPayload(nil, []byte(hardJSON))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.AppendJSON([]byte("before "), raw, schema.Tagged)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("before "+hardJSON, string(got)); diff != "" {
		t.Error(diff)
	}
	again, err := s.AppendPayload(nil, got[len("before "):])
	if err != nil || string(again) != string(raw) {
		t.Errorf("written again it is %x, want %x (%v)", again, raw, err)
	}
}

func TestAvroStyles(t *testing.T) {
	s := compile(t, schema.Avro, `{"type":"record","name":"R","fields":[{"name":"u","type":["null","long",{"type":"array","items":["int","R"]}]},{"name":"b","type":"bytes"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}}]}`)
	raw, err := s.AppendPayload(nil, []byte(`{"d":"\u0004Ò","b":"þÿ","u":{"array":[{"int":1},{"R":{"u":{"long":9007199254740993},"b":"","d":"\u0000"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   schema.Style
		want string
	}{
		{"bare", schema.Bare, `{"u":[1,{"u":9007199254740993,"b":"","d":"\u0000"}],"b":"þÿ","d":"\u0004Ò"}`},
		{"tagged", schema.Tagged, `{"u":{"array":[{"int":1},{"R":{"u":{"long":9007199254740993},"b":"","d":"\u0000"}}]},"b":"þÿ","d":"\u0004Ò"}`},
		{"connect", schema.Connect, `{"u":[1,{"u":9007199254740993,"b":"","d":"AA=="}],"b":"/v8=","d":"BNI="}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.AppendJSON(nil, raw, c.in)
			if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestAvroRefusesWhatDoesNotFit(t *testing.T) {
	const order = `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}`
	for _, c := range []struct{ name, schema, in, want string }{
		{"string for a long", order, `{"id":"one","note":null}`, "id: want an integer"},
		{"beyond 64 bits", order, `{"id":9223372036854775808,"note":null}`, "id: want an integer of 64 bits"},
		{"fraction", order, `{"id":1.5,"note":null}`, "id: want an integer of 64 bits"},
		{"missing field", order, `{"id":1}`, "note is missing"},
		{"further member", order, `{"id":1,"note":null,"x":1}`, "has members that Order has no field for, or one twice"},
		{"repeated member", order, `{"id":1,"note":null,"id":2}`, "has members that Order has no field for, or one twice"},
		{"bare branch", order, `{"id":1,"note":"x"}`, `note: want null or an object with one member that names the branch of the union, as in {"string": "x"}`},
		{"unknown branch", order, `{"id":1,"note":{"int":1}}`, "note: the union has no branch of that name"},
		{"null without a branch", `["int","string"]`, `null`, "null is not in the union"},
		{"null for a record", order, `null`, "want an object"},
		{"beyond 32 bits", `"int"`, `2147483648`, "want an integer of 32 bits"},
		{"too large for a float", `"float"`, `1e39`, "want a number that fits 32 bits"},
		{"too large for a double", `"double"`, `1e309`, "want a number that fits 64 bits"},
		{"no symbol", `{"type":"enum","name":"E","symbols":["A"]}`, `"B"`, "is none of the symbols of E"},
		{"no byte", `"bytes"`, `"Ā"`, "has a character beyond U+00FF, which stands for no byte"},
		{"fixed too short", `{"type":"fixed","name":"F","size":2}`, `"a"`, "has 1 characters, and F has 2 bytes"},
		{"in an array", `{"type":"array","items":{"type":"map","values":"int"}}`, `[{},{"a":true}]`, "[1].{}: want an integer"},
		{"not JSON", `"int"`, `{`, "is not JSON"},
		{"boolean", `"boolean"`, `"true"`, "want a boolean"},
		{"null", `"null"`, `0`, "want null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := compile(t, schema.Avro, c.schema).AppendPayload(nil, []byte(c.in))
			var unfit *schema.ValueError
			if !errors.As(err, &unfit) || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestAvroBytesThatAreNone(t *testing.T) {
	long := func(n int64) string { return string(binary.AppendVarint(nil, n)) }
	for _, c := range []struct{ name, schema, in, want string }{
		{"empty", `"long"`, "", "the bytes end too early"},
		{"endless integer", `"long"`, strings.Repeat("\xff", 20), "an integer of more than 64 bits"},
		{"long for an int", `"int"`, long(1 << 40), "an int of more than 32 bits"},
		{"huge string", `"string"`, long(math.MaxInt64) + "x", "the bytes end too early"},
		{"negative string", `"string"`, long(-1) + "x", "the bytes end too early"},
		{"huge array", `{"type":"array","items":"long"}`, long(math.MaxInt64) + "\x02", "[1]: the bytes end too early"},
		{"least block", `{"type":"array","items":"long"}`, long(math.MinInt64) + "\x02", "a block of too many items"},
		{"array of nothing", `{"type":"array","items":"null"}`, long(math.MaxInt64), "more JSON than its bytes can mean"},
		{"map cut short", `{"type":"map","values":"int"}`, long(2) + long(1) + "a", "{}: the bytes end too early"},
		{"no such branch", `["null","int"]`, long(2), "branch 2 of a union with 2"},
		{"no such symbol", `{"type":"enum","name":"E","symbols":["A"]}`, long(-1), "symbol -1 of an enum with 1"},
		{"endless list", `{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}`, strings.Repeat("\x02", 5000), "nested deeper than 1000 levels"},
		{"rest", `"int"`, "\x02\x02", "1 bytes follow the value"},
		{"boolean", `"boolean"`, "\x02", "a boolean that is neither 0 nor 1"},
		{"short float", `"float"`, "abc", "the bytes end too early"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := compile(t, schema.Avro, c.schema).AppendJSON(nil, []byte(c.in), schema.Bare)
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestAvroReferences(t *testing.T) {
	order := schema.Named{Name: "shop.Order", Definition: schema.Definition{Text: `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"int"}]}`}}
	s := compile(t, schema.Avro, `{"type":"record","name":"Cart","namespace":"shop","fields":[{"name":"order","type":"shop.Order"},{"name":"old","type":["null","Order"]}]}`, order)
	if s.Name != "shop.Cart" {
		t.Errorf("its name is %q", s.Name)
	}
	const text = `{"order":{"id":3},"old":{"shop.Order":{"id":4}}}`
	raw, err := s.AppendPayload(nil, []byte(text))
	if err != nil || string(raw) != "\x06\x02\x08" {
		t.Fatalf("got %x, %v", raw, err)
	}
	if got, err := s.AppendJSON(nil, raw, schema.Tagged); err != nil || string(got) != text {
		t.Errorf("got %s, %v", got, err)
	}
}

func FuzzAvroDecode(f *testing.F) {
	s := compile(f, schema.Avro, hardAvro)
	raw, err := s.AppendPayload(nil, []byte(hardJSON))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, style := range []schema.Style{schema.Bare, schema.Tagged, schema.Connect} {
			got, err := s.AppendJSON(nil, data, style)
			if err != nil {
				continue
			}
			if !json.Valid(got) {
				t.Fatalf("not JSON: %s", got)
			}
			if style != schema.Tagged {
				continue
			}
			raw, err := s.AppendPayload(nil, got)
			if err != nil {
				t.Fatalf("its own JSON does not fit: %v: %s", err, got)
			}
			again, err := s.AppendJSON(nil, raw, style)
			if err != nil || string(again) != string(got) {
				t.Fatalf("got %s, then %s (%v)", got, again, err)
			}
		}
	})
}

func FuzzAvroEncode(f *testing.F) {
	s := compile(f, schema.Avro, hardAvro)
	f.Add([]byte(hardJSON))
	f.Fuzz(func(t *testing.T, text []byte) {
		raw, err := s.AppendPayload(nil, text)
		if err != nil {
			return
		}
		if _, err := s.AppendJSON(nil, raw, schema.Tagged); err != nil {
			t.Fatalf("%s became bytes that cannot be read: %v", text, err)
		}
	})
}

const shopAvro = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},{"name":"customer","type":"string"},{"name":"total","type":"double"},
	{"name":"note","type":["null","string"]},{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},{"name":"count","type":"int"},{"name":"price","type":"double"}]}}},
	{"name":"labels","type":{"type":"map","values":"string"}},{"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID","SENT"]}},{"name":"paid","type":"boolean"}]}`

const shopJSON = `{"id":9007199254740993,"customer":"Ada Lovelace","total":129.95,"note":{"string":"ring twice, please"},"lines":[{"sku":"A-1","count":2,"price":9.5},{"sku":"B-22","count":1,"price":110.95}],"labels":{"channel":"web"},"state":"PAID","paid":true}`

// goavro is the implementation that speed is measured against, and a second
// opinion on the bytes.
func TestAvroAgreesWithGoavro(t *testing.T) {
	s := compile(t, schema.Avro, shopAvro)
	reference, err := goavro.NewCodec(shopAvro)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.AppendPayload(nil, []byte(shopJSON))
	if err != nil {
		t.Fatal(err)
	}
	native, rest, err := reference.NativeFromBinary(raw)
	if err != nil || len(rest) > 0 {
		t.Fatalf("goavro: %v, %d bytes left", err, len(rest))
	}
	text, err := reference.TextualFromNative(nil, native)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.AppendPayload(nil, text)
	if err != nil || string(got) != string(raw) {
		t.Errorf("goavro's JSON %s becomes %x (%v), want %x", text, got, err, raw)
	}
}

func BenchmarkAvroToJSON(b *testing.B) {
	s := compile(b, schema.Avro, shopAvro)
	raw, err := s.AppendPayload(nil, []byte(shopJSON))
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
	b.Run("goavro", func(b *testing.B) {
		reference, err := goavro.NewCodec(shopAvro)
		if err != nil {
			b.Fatal(err)
		}
		var dst []byte
		for b.Loop() {
			native, _, err := reference.NativeFromBinary(raw)
			if err != nil {
				b.Fatal(err)
			}
			if dst, err = reference.TextualFromNative(dst[:0], native); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkJSONToAvro(b *testing.B) {
	s := compile(b, schema.Avro, shopAvro)
	b.Run("klamm", func(b *testing.B) {
		var dst []byte
		var err error
		for b.Loop() {
			if dst, err = s.AppendPayload(dst[:0], []byte(shopJSON)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("goavro", func(b *testing.B) {
		reference, err := goavro.NewCodec(shopAvro)
		if err != nil {
			b.Fatal(err)
		}
		var dst []byte
		for b.Loop() {
			native, _, err := reference.NativeFromTextual([]byte(shopJSON))
			if err != nil {
				b.Fatal(err)
			}
			if dst, err = reference.BinaryFromNative(dst[:0], native); err != nil {
				b.Fatal(err)
			}
		}
	})
}
