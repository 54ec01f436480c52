package registry

import (
	"strings"
	"testing"
)

// A pair is a schema and the one that is to follow it, and what is said of that: the
// kind of the first difference that a reader with the new schema cannot bear, or
// nothing.
type pair struct {
	name     string
	old, new string
	want     string
}

// record is an Avro record R with fields.
func record(fields ...string) string {
	return `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`
}

// of is an Avro field a of a type.
func of(typ string) string { return record(`{"name":"a","type":` + typ + `}`) }

// proto is a message M with a body.
func proto3(body string) string { return "syntax = \"proto3\";\npackage p;\n" + body }

func message(body string) string { return proto3("message M { " + body + " }") }

var avroPairs = []pair{
	{"the same", of(`"int"`), of(`"int"`), ""},
	{"a field with a default is new", of(`"int"`), record(`{"name":"a","type":"int"}`, `{"name":"b","type":"string","default":""}`), ""},
	{"a field without a default is new", of(`"int"`), record(`{"name":"a","type":"int"}`, `{"name":"b","type":"string"}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"a field with a null default is new", of(`"int"`), record(`{"name":"a","type":"int"}`, `{"name":"b","type":["null","int"],"default":null}`), ""},
	{"a nullable field without a default is new", of(`"int"`), record(`{"name":"a","type":"int"}`, `{"name":"b","type":["null","int"]}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"a field has gone", record(`{"name":"a","type":"int"}`, `{"name":"b","type":"string"}`), of(`"int"`), ""},
	{"a field has another name", of(`"int"`), record(`{"name":"b","type":"int"}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"a field has another name and an alias", of(`"int"`), record(`{"name":"b","aliases":["a"],"type":"int"}`), ""},
	{"fields in another order", record(`{"name":"a","type":"int"}`, `{"name":"b","type":"long"}`), record(`{"name":"b","type":"long"}`, `{"name":"a","type":"int"}`), ""},
	{"an enum's default is none of the field", of(`"int"`), record(`{"name":"a","type":"int"}`, `{"name":"e","type":{"type":"enum","name":"E","symbols":["X"],"default":"X"}}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"int to long", `"int"`, `"long"`, ""},
	{"int to float", `"int"`, `"float"`, ""},
	{"int to double", `"int"`, `"double"`, ""},
	{"long to float", `"long"`, `"float"`, ""},
	{"long to double", `"long"`, `"double"`, ""},
	{"float to double", `"float"`, `"double"`, ""},
	{"long to int", `"long"`, `"int"`, "TYPE_MISMATCH"},
	{"double to float", `"double"`, `"float"`, "TYPE_MISMATCH"},
	{"float to long", `"float"`, `"long"`, "TYPE_MISMATCH"},
	{"string to bytes", `"string"`, `"bytes"`, ""},
	{"bytes to string", `"bytes"`, `"string"`, ""},
	{"string to int", `"string"`, `"int"`, "TYPE_MISMATCH"},
	{"boolean to int", `"boolean"`, `"int"`, "TYPE_MISMATCH"},
	{"null to int", `"null"`, `"int"`, "TYPE_MISMATCH"},
	{"bytes to fixed", `"bytes"`, `{"type":"fixed","name":"F","size":4}`, "TYPE_MISMATCH"},
	{"a type becomes a union with it", of(`"int"`), of(`["null","int"]`), ""},
	{"a type becomes a union that it is promoted into", of(`"int"`), of(`["null","long"]`), ""},
	{"a type becomes a union without it", of(`"int"`), of(`["null","string"]`), "MISSING_UNION_BRANCH"},
	{"a union becomes one of its types", of(`["null","int"]`), of(`"int"`), "TYPE_MISMATCH"},
	{"a union of one becomes its type", of(`["int"]`), of(`"int"`), ""},
	{"a union of what is promoted becomes a type", `["int","long"]`, `"double"`, ""},
	{"a union grows", `["null","int"]`, `["null","int","string"]`, ""},
	{"a union shrinks", `["null","int","string"]`, `["null","int"]`, "MISSING_UNION_BRANCH"},
	{"a union in another order", `["null","int"]`, `["int","null"]`, ""},
	{"a union's branch is promoted", `["null","int"]`, `["null","double"]`, ""},
	{"an enum grows", `{"type":"enum","name":"E","symbols":["A"]}`, `{"type":"enum","name":"E","symbols":["A","B"]}`, ""},
	{"an enum shrinks", `{"type":"enum","name":"E","symbols":["A","B"]}`, `{"type":"enum","name":"E","symbols":["A"]}`, "MISSING_ENUM_SYMBOLS"},
	{"an enum shrinks and has a default", `{"type":"enum","name":"E","symbols":["A","B"]}`, `{"type":"enum","name":"E","symbols":["A"],"default":"A"}`, ""},
	{"an enum has another name", `{"type":"enum","name":"E","symbols":["A"]}`, `{"type":"enum","name":"G","symbols":["A"]}`, "NAME_MISMATCH"},
	{"an enum becomes a string", `{"type":"enum","name":"E","symbols":["A"]}`, `"string"`, "TYPE_MISMATCH"},
	{"a fixed has another size", `{"type":"fixed","name":"F","size":4}`, `{"type":"fixed","name":"F","size":8}`, "FIXED_SIZE_MISMATCH"},
	{"a fixed has another name", `{"type":"fixed","name":"F","size":4}`, `{"type":"fixed","name":"G","size":4}`, "NAME_MISMATCH"},
	{"a record has another name", `{"type":"record","name":"R","fields":[]}`, `{"type":"record","name":"S","fields":[]}`, "NAME_MISMATCH"},
	{"a record has another name and an alias", `{"type":"record","name":"R","fields":[]}`, `{"type":"record","name":"S","aliases":["R"],"fields":[]}`, ""},
	{"a record has another namespace", `{"type":"record","name":"x.R","fields":[]}`, `{"type":"record","name":"y.R","fields":[]}`, ""},
	{"an array's items are promoted", `{"type":"array","items":"int"}`, `{"type":"array","items":"long"}`, ""},
	{"an array's items are another type", `{"type":"array","items":"int"}`, `{"type":"array","items":"string"}`, "TYPE_MISMATCH"},
	{"a map's values are promoted", `{"type":"map","values":"float"}`, `{"type":"map","values":"double"}`, ""},
	{"a map becomes an array", `{"type":"map","values":"int"}`, `{"type":"array","items":"int"}`, "TYPE_MISMATCH"},
	{"a record within lacks a default", of(`{"type":"record","name":"In","fields":[]}`), of(`{"type":"record","name":"In","fields":[{"name":"x","type":"int"}]}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"a recursive record grows", record(`{"name":"next","type":["null","R"]}`), record(`{"name":"next","type":["null","R"]}`, `{"name":"b","type":"int","default":0}`), ""},
	{"a recursive record lacks a default", record(`{"name":"next","type":["null","R"]}`), record(`{"name":"next","type":["null","R"]}`, `{"name":"b","type":"int"}`), "READER_FIELD_MISSING_DEFAULT_VALUE"},
	{"docs and logical types do not count", of(`{"type":"long","logicalType":"timestamp-millis"}`), of(`"long"`), ""},
	{"a decimal's precision does not count", of(`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`), of(`{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}`), ""},
}

var jsonPairs = []pair{
	{"anything to nothing in particular", `{"type":"object"}`, `{}`, ""},
	{"nothing in particular to something", `{}`, `{"type":"object"}`, "TYPE_CHANGED"},
	{"false to something", `false`, `{"type":"string"}`, ""},
	{"something to true", `{"type":"string"}`, `true`, ""},
	{"words do not count", `{"type":"string","title":"a","description":"b","default":"c"}`, `{"type":"string","title":"d"}`, ""},
	{"another type", `{"type":"object"}`, `{"type":"array"}`, "TYPE_CHANGED"},
	{"string to number", `{"type":"string"}`, `{"type":"number"}`, "TYPE_CHANGED"},
	{"integer to number", `{"type":"integer"}`, `{"type":"number"}`, ""},
	{"number to integer", `{"type":"number"}`, `{"type":"integer"}`, "TYPE_NARROWED"},
	{"minLength grows", `{"type":"string","minLength":3}`, `{"type":"string","minLength":4}`, "MIN_LENGTH_INCREASED"},
	{"minLength shrinks", `{"type":"string","minLength":4}`, `{"type":"string","minLength":3}`, ""},
	{"minLength is new", `{"type":"string"}`, `{"type":"string","minLength":1}`, "MIN_LENGTH_ADDED"},
	{"minLength goes", `{"type":"string","minLength":1}`, `{"type":"string"}`, ""},
	{"maxLength grows", `{"type":"string","maxLength":3}`, `{"type":"string","maxLength":4}`, ""},
	{"maxLength shrinks", `{"type":"string","maxLength":4}`, `{"type":"string","maxLength":3}`, "MAX_LENGTH_DECREASED"},
	{"maxLength is new", `{"type":"string"}`, `{"type":"string","maxLength":1}`, "MAX_LENGTH_ADDED"},
	{"a pattern is new", `{"type":"string"}`, `{"type":"string","pattern":"^a"}`, "PATTERN_ADDED"},
	{"a pattern changes", `{"type":"string","pattern":"^a"}`, `{"type":"string","pattern":"^b"}`, "PATTERN_CHANGED"},
	{"a pattern goes", `{"type":"string","pattern":"^a"}`, `{"type":"string"}`, ""},
	{"maximum shrinks", `{"type":"number","maximum":9}`, `{"type":"number","maximum":8.5}`, "MAXIMUM_DECREASED"},
	{"maximum grows", `{"type":"number","maximum":8}`, `{"type":"number","maximum":9}`, ""},
	{"maximum is new", `{"type":"number"}`, `{"type":"number","maximum":9}`, "MAXIMUM_ADDED"},
	{"minimum grows", `{"type":"integer","minimum":0}`, `{"type":"integer","minimum":1}`, "MINIMUM_INCREASED"},
	{"minimum goes", `{"type":"integer","minimum":0}`, `{"type":"integer"}`, ""},
	{"exclusiveMinimum grows", `{"type":"number","exclusiveMinimum":0}`, `{"type":"number","exclusiveMinimum":2}`, "EXCLUSIVE_MINIMUM_INCREASED"},
	{"exclusiveMaximum shrinks", `{"type":"number","exclusiveMaximum":5}`, `{"type":"number","exclusiveMaximum":2}`, "EXCLUSIVE_MAXIMUM_DECREASED"},
	{"multipleOf is new", `{"type":"number"}`, `{"type":"number","multipleOf":2}`, "MULTIPLE_OF_ADDED"},
	{"multipleOf becomes a part of itself", `{"type":"number","multipleOf":12}`, `{"type":"number","multipleOf":4}`, ""},
	{"multipleOf becomes a multiple of itself", `{"type":"number","multipleOf":4}`, `{"type":"number","multipleOf":12}`, "MULTIPLE_OF_EXPANDED"},
	{"multipleOf changes", `{"type":"number","multipleOf":4}`, `{"type":"number","multipleOf":7}`, "MULTIPLE_OF_CHANGED"},
	{"an enum grows", `{"enum":["a"]}`, `{"enum":["b","a"]}`, ""},
	{"an enum shrinks", `{"enum":["a","b"]}`, `{"enum":["a"]}`, "ENUM_ARRAY_NARROWED"},
	{"an enum changes", `{"enum":["a"]}`, `{"enum":["b"]}`, "ENUM_ARRAY_CHANGED"},
	{"an enum goes and its type stays", `{"type":"string","enum":["a"]}`, `{"type":"string"}`, ""},
	{"a const changes", `{"const":1}`, `{"const":2}`, "ENUM_ARRAY_CHANGED"},
	{"a property is new in an open model", `{"type":"object","properties":{}}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL"},
	{"a required property is new in an open model", `{"type":"object"}`, `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`, "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL"},
	{"an empty property is new in an open model", `{"type":"object"}`, `{"type":"object","properties":{"a":{}}}`, ""},
	{"a property is new in a closed model", `{"type":"object","additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, ""},
	{"a required property is new in a closed model", `{"type":"object","additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`, "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL"},
	{"a required property with a default is new in a closed model", `{"type":"object","additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"string","default":""}},"required":["a"],"additionalProperties":false}`, ""},
	{"a property goes from an open model", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"type":"object"}`, ""},
	{"a property goes from a closed model", `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, `{"type":"object","additionalProperties":false}`, "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL"},
	{"a forbidden property goes from a closed model", `{"type":"object","properties":{"a":false},"additionalProperties":false}`, `{"type":"object","additionalProperties":false}`, ""},
	{"a property goes and a pattern covers it", `{"type":"object","properties":{"n_a":{"type":"integer"}},"additionalProperties":false}`, `{"type":"object","patternProperties":{"^n_":{"type":"number"}},"additionalProperties":false}`, ""},
	{"a property goes and a pattern does not cover it", `{"type":"object","properties":{"n_a":{"type":"string"}},"additionalProperties":false}`, `{"type":"object","patternProperties":{"^n_":{"type":"number"}},"additionalProperties":false}`, "TYPE_CHANGED"},
	{"a property is new and additionalProperties cover it", `{"type":"object","additionalProperties":{"type":"integer"}}`, `{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":{"type":"integer"}}`, ""},
	{"a property is new and additionalProperties do not cover it", `{"type":"object","additionalProperties":{"type":"integer"}}`, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"integer"}}`, "TYPE_CHANGED"},
	{"a property becomes required", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`, "REQUIRED_ATTRIBUTE_ADDED"},
	{"a property with a default becomes required", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"type":"object","properties":{"a":{"type":"string","default":"x"}},"required":["a"]}`, ""},
	{"a property is required no more", `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, ""},
	{"a property changes its type", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"type":"object","properties":{"a":{"type":"integer"}}}`, "TYPE_CHANGED"},
	{"a model is closed", `{"type":"object"}`, `{"type":"object","additionalProperties":false}`, "ADDITIONAL_PROPERTIES_REMOVED"},
	{"a model is opened", `{"type":"object","additionalProperties":false}`, `{"type":"object"}`, ""},
	{"a model is closed half", `{"type":"object"}`, `{"type":"object","additionalProperties":{"type":"string"}}`, "ADDITIONAL_PROPERTIES_NARROWED"},
	{"a half closed model is opened", `{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object"}`, ""},
	{"maxProperties is new", `{"type":"object"}`, `{"type":"object","maxProperties":4}`, "MAX_PROPERTIES_ADDED"},
	{"minProperties grows", `{"type":"object","minProperties":1}`, `{"type":"object","minProperties":2}`, "MIN_PROPERTIES_INCREASED"},
	{"a dependency is new", `{"type":"object"}`, `{"type":"object","dependencies":{"a":["b"]}}`, "DEPENDENCY_ARRAY_ADDED"},
	{"a dependency grows", `{"type":"object","dependencies":{"a":["b"]}}`, `{"type":"object","dependencies":{"a":["b","c"]}}`, "DEPENDENCY_ARRAY_EXTENDED"},
	{"a dependency shrinks", `{"type":"object","dependencies":{"a":["b","c"]}}`, `{"type":"object","dependencies":{"a":["b"]}}`, ""},
	{"a dependency changes", `{"type":"object","dependencies":{"a":["b"]}}`, `{"type":"object","dependencies":{"a":["c"]}}`, "DEPENDENCY_ARRAY_CHANGED"},
	{"a schema of a dependency is new", `{"type":"object"}`, `{"type":"object","dependencies":{"a":{"type":"object"}}}`, "DEPENDENCY_SCHEMA_ADDED"},
	{"items are another type", `{"type":"array","items":{"type":"string"}}`, `{"type":"array","items":{"type":"integer"}}`, "TYPE_CHANGED"},
	{"items get a schema", `{"type":"array"}`, `{"type":"array","items":{"type":"integer"}}`, "SCHEMA_ADDED"},
	{"items lose their schema", `{"type":"array","items":{"type":"integer"}}`, `{"type":"array"}`, ""},
	{"a tuple grows in an open model", `{"type":"array","items":[{"type":"string"}]}`, `{"type":"array","items":[{"type":"string"},{"type":"string"}]}`, "ITEM_ADDED_TO_OPEN_CONTENT_MODEL"},
	{"a tuple grows in a closed model", `{"type":"array","items":[{"type":"string"}],"additionalItems":false}`, `{"type":"array","items":[{"type":"string"},{"type":"string"}],"additionalItems":false}`, ""},
	{"a tuple shrinks in a closed model", `{"type":"array","items":[{"type":"string"},{"type":"string"}],"additionalItems":false}`, `{"type":"array","items":[{"type":"string"}],"additionalItems":false}`, "ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL"},
	{"a tuple is closed", `{"type":"array","items":[{"type":"string"}]}`, `{"type":"array","items":[{"type":"string"}],"additionalItems":false}`, "ADDITIONAL_ITEMS_REMOVED"},
	{"items must be unique", `{"type":"array"}`, `{"type":"array","uniqueItems":true}`, "UNIQUE_ITEMS_ADDED"},
	{"maxItems shrinks", `{"type":"array","maxItems":4}`, `{"type":"array","maxItems":3}`, "MAX_ITEMS_DECREASED"},
	{"minItems grows", `{"type":"array","minItems":1}`, `{"type":"array","minItems":2}`, "MIN_ITEMS_INCREASED"},
	{"a type joins others", `{"type":"string"}`, `{"type":["string","null"]}`, ""},
	{"a type leaves others", `{"type":["string","null"]}`, `{"type":"string"}`, "TYPE_CHANGED"},
	{"types grow", `{"type":["string"]}`, `{"type":["string","integer"]}`, ""},
	{"types shrink", `{"type":["string","integer"]}`, `{"type":["integer"]}`, "SUM_TYPE_NARROWED"},
	{"oneOf grows", `{"oneOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"number"},{"type":"string"}]}`, ""},
	{"oneOf shrinks", `{"oneOf":[{"type":"number"},{"type":"string"}]}`, `{"oneOf":[{"type":"string"}]}`, "SUM_TYPE_NARROWED"},
	{"oneOf changes", `{"oneOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"number"}]}`, "COMBINED_TYPE_SUBSCHEMAS_CHANGED"},
	{"oneOf becomes anyOf", `{"oneOf":[{"type":"string"},{"type":"number"}]}`, `{"anyOf":[{"type":"string"},{"type":"number"}]}`, ""},
	{"anyOf becomes oneOf", `{"anyOf":[{"type":"string"},{"type":"number"}]}`, `{"oneOf":[{"type":"string"},{"type":"number"}]}`, "COMBINED_TYPE_CHANGED"},
	{"anyOf of one becomes oneOf", `{"anyOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"string"},{"type":"number"}]}`, ""},
	{"allOf grows", `{"allOf":[{"type":"string"}]}`, `{"allOf":[{"type":"string"},{"maxLength":3}]}`, "PRODUCT_TYPE_EXTENDED"},
	{"allOf shrinks", `{"allOf":[{"type":"string"},{"maxLength":3}]}`, `{"allOf":[{"type":"string"}]}`, ""},
	{"allOf in another order", `{"allOf":[{"type":"string"},{"enum":["a"]}]}`, `{"allOf":[{"enum":["a","b"]},{"type":"string"}]}`, ""},
	{"oneOf becomes allOf", `{"oneOf":[{"type":"string"},{"type":"number"}]}`, `{"allOf":[{"type":"string"},{"type":"number"}]}`, "COMBINED_TYPE_CHANGED"},
	{"a schema joins oneOf", `{"type":"string","maxLength":3}`, `{"oneOf":[{"type":"number"},{"type":"string","maxLength":4}]}`, ""},
	{"a schema joins a oneOf that does not take it", `{"type":"string","maxLength":4}`, `{"oneOf":[{"type":"number"},{"type":"string","maxLength":3}]}`, "TYPE_CHANGED"},
	{"not allows more", `{"not":{"type":"number"}}`, `{"not":{"type":"integer"}}`, ""},
	{"not allows less", `{"not":{"type":"integer"}}`, `{"not":{"type":"number"}}`, "NOT_TYPE_EXTENDED"},
	{"what is referred to changes", `{"definitions":{"a":{"type":"string"}},"properties":{"x":{"$ref":"#/definitions/a"}}}`, `{"definitions":{"a":{"type":"integer"}},"properties":{"x":{"$ref":"#/definitions/a"}}}`, "TYPE_CHANGED"},
	{"a reference takes the place of what it says", `{"properties":{"x":{"type":"string"}}}`, `{"definitions":{"a":{"type":"string"}},"properties":{"x":{"$ref":"#/definitions/a"}}}`, ""},
	{"a recursive schema", `{"type":"object","properties":{"next":{"$ref":"#"}}}`, `{"type":"object","properties":{"next":{"$ref":"#"}},"title":"x"}`, ""},
	{"a recursive schema changes", `{"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"integer"}}}`, `{"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"string"}}}`, "TYPE_CHANGED"},
	{"a tuple of 2020-12 is closed", `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"array","prefixItems":[{"type":"string"}]}`, `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"array","prefixItems":[{"type":"string"}],"items":false}`, "ADDITIONAL_ITEMS_REMOVED"},
	{"dependentRequired is new", `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}`, `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","dependentRequired":{"a":["b"]}}`, "DEPENDENCY_ARRAY_ADDED"},
}

var protoPairs = []pair{
	{"the same", message("int32 a = 1;"), message("int32 a = 1;"), ""},
	{"a field is new", message("int32 a = 1;"), message("int32 a = 1; string b = 2;"), ""},
	{"a field goes", message("int32 a = 1; string b = 2;"), message("int32 a = 1;"), ""},
	{"a field has another name", message("int32 a = 1;"), message("int32 b = 1;"), ""},
	{"a field has another number", message("int32 a = 1;"), message("int32 a = 2;"), ""},
	{"int32 to int64", message("int32 a = 1;"), message("int64 a = 1;"), ""},
	{"int32 to bool", message("int32 a = 1;"), message("bool a = 1;"), ""},
	{"uint64 to an enum", message("uint64 a = 1;"), proto3("enum E { Z = 0; } message M { E a = 1; }"), ""},
	{"int32 to sint32", message("int32 a = 1;"), message("sint32 a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"int32 to string", message("int32 a = 1;"), message("string a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"int32 to fixed32", message("int32 a = 1;"), message("fixed32 a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"fixed32 to sfixed32", message("fixed32 a = 1;"), message("sfixed32 a = 1;"), ""},
	{"fixed32 to fixed64", message("fixed32 a = 1;"), message("fixed64 a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"fixed64 to sfixed64", message("fixed64 a = 1;"), message("sfixed64 a = 1;"), ""},
	{"float to double", message("float a = 1;"), message("double a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"sint32 to sint64", message("sint32 a = 1;"), message("sint64 a = 1;"), ""},
	{"string to bytes", message("string a = 1;"), message("bytes a = 1;"), ""},
	{"one to many", message("string a = 1;"), message("repeated string a = 1;"), ""},
	{"one number to many, without a label", message("int32 a = 1;"), message("repeated int32 a = 1;"), ""},
	{"an optional number to many", message("optional int32 a = 1;"), message("repeated int32 a = 1;"), "FIELD_NUMERIC_LABEL_CHANGED"},
	{"many doubles to an optional one", message("repeated double a = 1;"), message("optional double a = 1;"), "FIELD_NUMERIC_LABEL_CHANGED"},
	{"an optional enum to many", proto3("enum E { A = 0; } message M { optional E a = 1; }"), proto3("enum E { A = 0; } message M { repeated E a = 1; }"), "FIELD_NUMERIC_LABEL_CHANGED"},
	{"an optional string to many", message("optional string a = 1;"), message("repeated string a = 1;"), ""},
	{"an optional message to many", message("message N {} optional N a = 1;"), message("message N {} repeated N a = 1;"), ""},
	{"an optional number becomes required", "syntax = \"proto2\"; message M { optional int32 a = 1; }", "syntax = \"proto2\"; message M { required int32 a = 1; }", "FIELD_NUMERIC_LABEL_CHANGED"},
	{"an optional number moves into a oneof", message("optional int32 a = 1;"), message("oneof o { int32 a = 1; }"), ""},
	{"a scalar becomes a message", message("int32 a = 1;"), proto3("message M { message N {} N a = 1; }"), "FIELD_KIND_CHANGED"},
	{"a map becomes a scalar", message("map<string,int32> a = 1;"), message("int32 a = 1;"), "FIELD_KIND_CHANGED"},
	{"a map's values are widened", message("map<string,int32> a = 1;"), message("map<string,int64> a = 1;"), ""},
	{"a map's values change", message("map<string,int32> a = 1;"), message("map<string,string> a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"a message goes", proto3("message M {} message N {}"), proto3("message M {}"), "MESSAGE_REMOVED"},
	{"a message is new", proto3("message M {}"), proto3("message M {} message N {}"), ""},
	{"messages in another order", proto3("message M {} message N {}"), proto3("message N {} message M {}"), ""},
	{"a message has another name", proto3("message M {}"), proto3("message N {}"), "MESSAGE_REMOVED"},
	{"a message within goes", message("message N {}"), message(""), "MESSAGE_REMOVED"},
	{"a message within changes", message("message N { int32 x = 1; } N a = 1;"), message("message N { string x = 1; } N a = 1;"), "FIELD_SCALAR_KIND_CHANGED"},
	{"a field is another message", proto3("message A {} message B {} message M { A a = 1; }"), proto3("message A {} message B {} message M { B a = 1; }"), "FIELD_NAMED_TYPE_CHANGED"},
	{"another package", "syntax = \"proto3\"; package a; message M {}", "syntax = \"proto3\"; package b; message M {}", ""},
	{"another package, and what is in it changes", "syntax = \"proto3\"; package a; message N { int32 x = 1; } message M { N n = 1; }", "syntax = \"proto3\"; package b; message N { string x = 1; } message M { .b.N n = 1; }", "FIELD_SCALAR_KIND_CHANGED"},
	{"an enum grows", proto3("enum E { A = 0; } message M { E e = 1; }"), proto3("enum E { A = 0; B = 1; } message M { E e = 1; }"), ""},
	{"an enum shrinks", proto3("enum E { A = 0; B = 1; } message M { E e = 1; }"), proto3("enum E { A = 0; } message M { E e = 1; }"), ""},
	{"an enum goes", proto3("enum E { A = 0; } message M {}"), proto3("message M {}"), ""},
	{"a oneof is new around new fields", message("int32 a = 1;"), message("int32 a = 1; oneof o { int32 b = 2; int32 c = 3; }"), ""},
	{"a field moves into a new oneof", message("int32 a = 1;"), message("oneof o { int32 a = 1; int32 b = 2; }"), ""},
	{"two fields move into a oneof", message("int32 a = 1; int32 b = 2;"), message("oneof o { int32 a = 1; int32 b = 2; }"), "MULTIPLE_FIELDS_MOVED_TO_ONEOF"},
	{"a field moves into a oneof that was there", message("int32 a = 1; oneof o { int32 b = 2; }"), message("oneof o { int32 b = 2; int32 a = 1; }"), "FIELD_MOVED_TO_EXISTING_ONEOF"},
	{"a oneof grows", message("oneof o { int32 a = 1; }"), message("oneof o { int32 a = 1; int32 b = 2; }"), ""},
	{"a oneof loses a field", message("oneof o { int32 a = 1; int32 b = 2; }"), message("oneof o { int32 a = 1; }"), "ONEOF_FIELD_REMOVED"},
	{"a oneof goes", message("oneof o { int32 a = 1; int32 b = 2; }"), message("int32 a = 1; int32 b = 2;"), ""},
	{"a field within a oneof changes", message("oneof o { int32 a = 1; }"), message("oneof o { string a = 1; }"), "FIELD_SCALAR_KIND_CHANGED"},
	{"a field that moves out of a oneof changes", message("oneof o { int32 a = 1; int32 b = 2; }"), message("string a = 1; oneof o { int32 b = 2; }"), "FIELD_SCALAR_KIND_CHANGED"},
	{"optional is new", message("int32 a = 1;"), message("optional int32 a = 1;"), ""},
	{"a required field is new", "syntax = \"proto2\"; message M {}", "syntax = \"proto2\"; message M { required int32 a = 1; }", "REQUIRED_FIELD_ADDED"},
	{"a required field goes", "syntax = \"proto2\"; message M { required int32 a = 1; }", "syntax = \"proto2\"; message M {}", "REQUIRED_FIELD_REMOVED"},
	{"a recursive message", message("M next = 1;"), message("M next = 1; int32 v = 2;"), ""},
	{"a recursive message changes", message("M next = 1; int32 v = 2;"), message("M next = 1; string v = 2;"), "FIELD_SCALAR_KIND_CHANGED"},
}

func TestVerdicts(t *testing.T) {
	all := 0
	for _, of := range []struct {
		format string
		pairs  []pair
	}{{"AVRO", avroPairs}, {"JSON", jsonPairs}, {"PROTOBUF", protoPairs}} {
		t.Run(of.format, func(t *testing.T) {
			for _, p := range of.pairs {
				all++
				t.Run(p.name, func(t *testing.T) {
					older, newer := mustParse(t, of.format, p.old), mustParse(t, of.format, p.new)
					got := incompatibilities(newer, older, false)
					switch {
					case p.want == "" && len(got) > 0:
						t.Errorf("got %v, want none", got)
					case p.want != "" && (len(got) == 0 || !strings.Contains(got[0], "'"+p.want+"'")):
						t.Errorf("got %v, want %s first", got, p.want)
					}
					if same := incompatibilities(older, older, false); len(same) > 0 {
						t.Errorf("the older schema against itself: %v", same)
					}
				})
			}
		})
	}
	if all < 150 {
		t.Errorf("only %d pairs", all)
	}
}

func TestReservedNames(t *testing.T) {
	keeps := func(names string) []byte { return []byte(`{"properties":{"confluent:reserved":"` + names + `"}}`) }
	object, file := `{"type":"object","properties":{"cost":{"type":"number"}}}`, message("int32 cost = 1; message N { string inner = 1; }")
	for _, c := range []struct {
		name, format, text string
		metadata, older    []byte
		want               []string // kinds
	}{
		{"nothing is reserved", "PROTOBUF", file, nil, nil, nil},
		{"what is free", "PROTOBUF", file, keeps("a, b"), keeps("a"), nil},
		{"a name is taken", "PROTOBUF", file, keeps("cost"), nil, []string{"FIELD_CONFLICTS_WITH_RESERVED_FIELD"}},
		{"an inner field does not take it", "PROTOBUF", file, keeps("inner"), nil, nil},
		{"a name is given up", "PROTOBUF", file, keeps(""), keeps("status"), []string{"RESERVED_FIELD_REMOVED"}},
		{"both", "PROTOBUF", file, keeps("cost"), keeps("cost,status"), []string{"RESERVED_FIELD_REMOVED", "FIELD_CONFLICTS_WITH_RESERVED_FIELD"}},
		{"a property has it", "JSON", object, keeps("cost"), nil, []string{"RESERVED_PROPERTY_CONFLICTS_WITH_PROPERTY"}},
		{"a property's name is given up", "JSON", object, nil, keeps("x"), []string{"RESERVED_PROPERTY_REMOVED"}},
		{"Avro has no such names", "AVRO", `"int"`, nil, keeps("x"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reserved(c.metadata, c.older, mustParse(t, c.format, c.text), false)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i, kind := range c.want {
				if !strings.Contains(got[i], "'"+kind+"'") {
					t.Errorf("got %s, want %s", got[i], kind)
				}
			}
		})
	}
}
