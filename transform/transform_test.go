package transform

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 123_000_000, time.UTC)

// apply compiles and applies a spec, and fails the test if that fails.
func apply(t *testing.T, spec Spec, vars Vars, document string) string {
	t.Helper()
	tr, err := Compile(spec, vars)
	if err != nil {
		t.Fatalf("Compile(%+v): %v", spec, err)
	}
	out, err := tr.Apply([]byte("before:"), []byte(document), noon)
	if err != nil {
		t.Fatalf("Apply(%+v): %v", spec, err)
	}
	rest, ok := strings.CutPrefix(string(out), "before:")
	if !ok {
		t.Fatalf("Apply did not append: %s", out)
	}
	return rest
}

// The examples of pipes.md 9 on klamm's own document of a record.
func TestPipeTemplates(t *testing.T) {
	const value = `{"id":7,"tags":["a"],"who":{"n":"x"}}`
	const doc = `{"topic":"orders","partition":3,"offset":42,"timestamp":1717000000123,"key":"c-7","headers":{"tenant":["acme"]},"value":` + value + `}`
	vars := Vars{PipeName: "mypipe", PipeARN: "arn:p", SourceARN: "arn:s", TargetARN: "arn:t", EnrichmentARN: "arn:e"}
	for _, c := range []struct{ name, in, want string }{
		{"JSON with paths", `{"t": <$.topic>, "id": <$.value.id>}`, `{"t":"orders","id":7}`},
		{"text with paths", `"id <$.value.id> from <$.topic>"`, `"id 7 from orders"`},
		{"an object", `{"all": <$.value>}`, `{"all":` + value + `}`},
		{"an object in quotes", `{"w": "<$.value.who>"}`, `{"w":"{n:x}"}`},
		{"an array", `{"tags": <$.value.tags>}`, `{"tags":["a"]}`},
		{"name and event", `{"p": <aws.pipes.pipe-name>, "e": <aws.pipes.event.json>}`, `{"p":"mypipe","e":` + doc + `}`},
		{"missing", `{"x": <$.value.nope>}`, `{"x":""}`},
		{"constant text", `"Hello"`, `"Hello"`},
		{"one path", `<$.value.id>`, `7`},
		{"time", `{"id": <$.value.id>, "at": <aws.pipes.event.ingestion-time>}`, `{"id":7,"at":"2026-08-01T12:00:00.123Z"}`},
		{"data", `{"data": <$.value>}`, `{"data":` + value + `}`},
		{"an object alone", `<$.value>`, `"{id:7,tags:[a],who:{n:x}}"`},
		{"an array alone", ` <$.value.tags> `, ` "[a]" `},
		{"a string alone", `<$.topic>`, `"orders"`},
		{"nothing alone", `<$.value.nope>`, `""`},
		{"the event alone", `<aws.pipes.event.json>`, doc},
		{"variables", `[<aws.pipes.pipe-arn>,<aws.pipes.source-arn>,<aws.pipes.enrichment-arn>,<aws.pipes.target-arn>,"<aws.pipes.pipe-name>"]`, `["arn:p","arn:s","arn:e","arn:t","mypipe"]`},
		{"the event in quotes", `"<aws.pipes.event.json>"`, `""`},
		{"the event as received in quotes", `"<aws.pipes.event>"`, `"` + strings.ReplaceAll(doc, `"`, "") + `"`},
		{"the root", `{"e":<$>}`, `{"e":` + doc + `}`},
		{"time in quotes", `"at <aws.pipes.event.ingestion-time>"`, `"at 2026-08-01T12:00:00.123Z"`},
		{"headers", `{"tenant":<$.headers.tenant[0]>}`, `{"tenant":"acme"}`},
		{"other angle brackets", `"1 < 2 <b>bold</b> <$.value.id>"`, `"1 < 2 <b>bold</b> 7"`},
		{"text without quotes", `order <$.value.id> in <$.topic>`, `order 7 in "orders"`},
		{"text is kept", "\"a  b\"\n \"<$.topic>\"\n", "\"a  b\"\n \"orders\"\n"},
		{"white space in strings", `{ "a b" : " <$.topic> " , "c" : [ 1 , <$.value.id> ] }`, `{"a b":" orders ","c":[1,7]}`},
		{"placeholder lookalike after an escape", `{"a":"\"<$.topic>\""}`, `{"a":"\"orders\""}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{Template: c.in}, vars, doc); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLenientTemplate(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"object", `{"value": {"id": 7, "a": [1,  2]} }`, `{"id": 7, "a": [1,  2]}`},
		{"array", `{"value":[ ]}`, `[ ]`},
		{"string", `{"value": "a"}`, `"a"`},
		{"nothing", `{}`, `""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{Template: `<$.value>`, Lenient: true}, Vars{}, c.in); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	record := `{"value":"` + b64(` {"id": 7}`) + `"}`
	if got, want := apply(t, Spec{Template: ` <$.value>`, Lenient: true, Encoded: true}, Vars{}, record), ` {"id": 7}`; got != want {
		t.Errorf("a record in base64: got %s, want %s", got, want)
	}
	if got, want := apply(t, Spec{Template: `{"v": <$.value>}`, Lenient: true, Encoded: true}, Vars{}, record), `{"v":{"id":7}}`; got != want {
		t.Errorf("not alone: got %s, want %s", got, want)
	}
}

// The table and the recorded results of event-bus.md 5.1.
func TestInputTransformer(t *testing.T) {
	const doc = `{"version":"0","id":"e-1","detail-type":"order","source":"shop","account":"000000000000","time":"2026-08-01T12:00:00Z","region":"us-east-1","resources":["r"],` +
		`"detail":{"id":"7","obj":{"acc":"1","s":"b"},"acc":{"acc":"1"},"list":["HIGH"],"list2":["A","B"],"flag":true,"n":2.50,"none":null,"q":"say \"hi\"","deep":[{"v":4},{"v":5},{"w":6}],"u":"\u00e9\ud83d\ude00\ud800"}}`
	paths := map[string]string{"dt": "$.detail-type", "missing": "$.detail.gone", "id": "$.detail.id", "obj": "$.detail.obj", "acc": "$.detail.acc", "list": "$.detail.list", "list2": "$.detail.list2",
		"flag": "$.detail.flag", "n": "$.detail.n", "none": "$.detail.none", "q": "$.detail.q", "last": "$.detail.deep[1].v", "every": "$['detail'].deep[*].v", "res": "$.resources[0]", "u": "$.detail.u", "unused": "$.x"}
	vars := Vars{RuleARN: "arn:rule", RuleName: "r1"}
	const bare = `{"id":"e-1","account":"000000000000","detailType":"order","time":"2026-08-01T12:00:00Z","source":"shop","region":"us-east-1","resources":["r"],"version":"0"}`
	for _, c := range []struct{ name, in, want string }{
		{"missing in JSON", `{"detailType": <dt>, "command": <missing>}`, `{"detailType":"order","command":""}`},
		{"missing in text", `"… extracted from detail <missing>"`, `"… extracted from detail "`},
		{"string inside a string", `{"path":"users/<id>"}`, `{"path":"users/7"}`},
		{"string with quotes around", `{"id":"<id>"}`, `{"id":"7"}`},
		{"string", `{"id":<id>}`, `{"id":"7"}`},
		{"in an array", `{"x":["a",<id>]}`, `{"x":["a","7"]}`},
		{"object", `{"b":<acc>}`, `{"b":{"acc":"1"}}`},
		{"object in text", `"Payload <obj>"`, `"Payload {acc:1,s:b}"`},
		{"array of one in text", `"<list> x"`, `"[HIGH] x"`},
		{"array in text", `"<list2> x"`, `"[A,B] x"`},
		{"array", `{"l":<list>}`, `{"l":["HIGH"]}`},
		{"boolean in text", `"Command is <flag>!"`, `"Command is true!"`},
		{"two lines", "\"<dt> x\"\n\"<id> y\"", "\"order x\"\n\"7 y\""},
		{"braces inside quotes", `"{[/odd start <dt>"`, `"{[/odd start order"`},
		{"scalars", `{"f":<flag>,"n":<n>,"z":<none>,"s":"<flag><n><none>"}`, `{"f":true,"n":2.50,"z":null,"s":"true2.50null"}`},
		{"not escaped in text", `"<q>"`, `"say "hi""`},
		{"escaped outside quotes", `{"q":<q>}`, `{"q":"say \"hi\""}`},
		{"index", `[<last>,<res>]`, `[5,"r"]`},
		{"wildcard", `{"every":<every>}`, `{"every":[4,5]}`},
		{"unicode", `{"a":<u>,"b":"<u>"}`, `{"a":"\u00e9\ud83d\ude00\ud800","b":"é😀` + "\ufffd" + `"}`},
		{"rule", `{"a":<aws.events.rule-arn>,"n":"rule <aws.events.rule-name>"}`, `{"a":"arn:rule","n":"rule r1"}`},
		{"time", `{"at":<aws.events.event.ingestion-time>}`, `{"at":"2026-08-01T12:00:00.123Z"}`},
		{"event", `{"e":<aws.events.event.json>}`, `{"e":` + doc + `}`},
		{"event without detail", `{"e":<aws.events.event>}`, `{"e":` + bare + `}`},
		{"object alone", `<acc>`, `{"acc":"1"}`},
		{"array alone", `<list2>`, `["A","B"]`},
		{"string alone", `<dt>`, `"order"`},
		{"nothing alone", `<missing>`, `""`},
		{"not a placeholder", `"a <b c> </id> <"`, `"a <b c> </id> <"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{Template: c.in, InputPaths: paths}, vars, doc); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestInvalidJSON(t *testing.T) {
	doc := []byte(`{"value":{"q":"say \"hi\"","o":{"a":"1"},"e":{"a":"x\"y"},"n":"a\nb","c":"C:\\new","l":["a"]}}`)
	bus := map[string]string{"o": "$.value.o", "l": "$.value.l", "q": "$.value.q"}
	for _, c := range []struct {
		name string
		in   Spec
		want string // empty: INVALID_JSON
	}{
		{"quotes in quotes", Spec{Template: `{"a":"<$.value.q>"}`}, ""},
		{"newline in quotes", Spec{Template: `{"a":"<$.value.n>"}`}, ""},
		{"quote in an object", Spec{Template: `{"a":"<$.value.e>"}`}, ""},
		{"backslash that makes an escape", Spec{Template: `{"a":"<$.value.c>"}`}, `{"a":"C:\new"}`},
		{"bus: object in quotes", Spec{Template: `{"a":"<o>"}`, InputPaths: bus}, ""},
		{"bus: array in quotes", Spec{Template: `{"a":"<l>"}`, InputPaths: bus}, ""},
		{"bus: quotes in quotes", Spec{Template: `{"a":"<q>"}`, InputPaths: bus}, ""},
		{"bus: object in text", Spec{Template: `"<o>"`, InputPaths: bus}, `"{a:1}"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := Compile(c.in, Vars{})
			if err != nil {
				t.Fatal(err)
			}
			out, err := tr.Apply([]byte("x"), doc, noon)
			var invalid *InvalidJSONError
			if c.want == "" {
				if !errors.As(err, &invalid) || string(out) != "x" {
					t.Errorf("got %s, %v, want an InvalidJSONError", out, err)
				}
				return
			}
			if err != nil || string(out) != "x"+c.want {
				t.Errorf("got %s, %v, want x%s", out, err, c.want)
			}
		})
	}
}

func TestInputPathAndConstant(t *testing.T) {
	const doc = `{"detail": {"a": {"b": "x"}, "n": [1, 2.0, {"c": "d e"}]}, "resources":["r0"]}`
	for _, c := range []struct {
		name string
		in   Spec
		want string
	}{
		{"whole", Spec{InputPath: "$"}, `{"detail":{"a":{"b":"x"},"n":[1,2.0,{"c":"d e"}]},"resources":["r0"]}`},
		{"object", Spec{InputPath: "$.detail.a"}, `{"b":"x"}`},
		{"string keeps its quotes", Spec{InputPath: "$.detail.a.b"}, `"x"`},
		{"index", Spec{InputPath: "$.resources[0]"}, `"r0"`},
		{"in brackets", Spec{InputPath: "$['detail']['n'][2]['c']"}, `"d e"`},
		{"wildcard", Spec{InputPath: "$.detail.n[*]"}, `[1,2.0,{"c":"d e"}]`},
		{"wildcard with few hits", Spec{InputPath: "$.detail.n[*].c"}, `["d e"]`},
		{"wildcard without hits", Spec{InputPath: "$.detail.n[*].x"}, `[]`},
		{"wildcard on an object", Spec{InputPath: "$.detail[*]"}, `null`},
		{"no hit", Spec{InputPath: "$.detail.nope"}, `null`},
		{"index beyond the end", Spec{InputPath: "$.resources[1]"}, `null`},
		{"constant", Spec{Constant: json.RawMessage(`{"fixed": [1, "x"]}`)}, `{"fixed": [1, "x"]}`},
		{"constant null", Spec{Constant: json.RawMessage(`null`)}, `null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, c.in, Vars{}, doc); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	const doc = `{"a":1,"a":{"b":2,"b":3},"w":[[1,[2]],[{"x":{"y":1}},{"x":{"y":2,"y":3}}]],"d.o t":{"q'":4},"sn\u00f6":5,"":6,"e":[],"a-b":{"c_d/e":7},"z":{"a":1},"z":null}`
	for _, c := range []struct{ name, in, want string }{
		{"the last of equal names", "$.a.b", "3"},
		{"replaced by a scalar", "$.z.a", `null`},
		{"replaced value", "$.z", `null`},
		{"nested indexes", "$.w[0][1][0]", "2"},
		{"nested wildcards", "$.w[*][*].x.y", "[1,3]"},
		{"index after wildcard", "$.w[*][1]", `[[2],{"x":{"y":2,"y":3}}]`},
		{"dots and quotes in names", `$['d.o t']['q\'']`, "4"},
		{"escaped name in the document", "$.snö", "5"},
		{"empty name", "$['']", "6"},
		{"empty array", "$.e[*]", "[]"},
		{"empty array, further", "$.e[*].x[*]", "[]"},
		{"dashes, underscores, slashes", "$.a-b.c_d/e", "7"},
		{"name on an array", "$.w.x", "null"},
		{"index on an object", "$.a[0]", "null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{InputPath: c.in}, Vars{}, doc); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// The implicit decoding of pipes.md 9.
func TestEncodedRecords(t *testing.T) {
	record := func(key, value string) string {
		return `{"eventSource":"SelfManagedKafka","topic":"orders","partition":"3","offset":42,"key":"` + key + `","value":"` + value + `","headers":[{"tenant":[97,99]}]}`
	}
	const value = `{"id": 7, "tags": ["a"]}`
	for _, c := range []struct{ name, in, doc, want string }{
		{"into the value", `{"id":<$.value.id>,"p":<$.partition>,"k":<$.key>}`, record(b64("k7"), b64(value)), `{"id":7,"p":"3","k":"azc="}`},
		{"the value", `{"v":<$.value>}`, record("", b64(value)), `{"v":{"id":7,"tags":["a"]}}`},
		{"the value alone", `<$.value>`, record("", b64(value)), `"{id:7,tags:[a]}"`},
		{"key and value", `[<$.key.k>,<$.value.id>,"<$.key>"]`, record(b64(`{"k":1}`), b64(value)), `[1,7,"{k:1}"]`},
		{"text stays base64", `{"v":<$.value>,"x":<$.value.id>}`, record("", b64("plain")), `{"v":"` + b64("plain") + `","x":""}`},
		{"a number is a plain string", `{"v":<$.value>}`, record("", b64("5")), `{"v":"` + b64("5") + `"}`},
		{"broken JSON stays base64", `{"v":<$.value>,"x":<$.value.id>}`, record("", b64(`{"id":7,`)), `{"v":"` + b64(`{"id":7,`) + `","x":""}`},
		{"not UTF-8 stays base64", `{"v":<$.value>}`, record("", b64("{\"a\":\"\xff\"}")), `{"v":"` + b64("{\"a\":\"\xff\"}") + `"}`},
		{"not base64 stays", `{"v":<$.value>}`, record("", "?"), `{"v":"?"}`},
		{"escaped slashes in base64", `{"v":<$.value.a>}`, record("", strings.ReplaceAll(b64(`{"a":"???>>>"}`), "/", `\/`)), `{"v":"???>>>"}`},
		{"event with decoded fields", `{"e":<aws.pipes.event.json>}`, record(b64("k7"), b64(`{"id": 7}`)), `{"e":{"eventSource":"SelfManagedKafka","topic":"orders","partition":"3","offset":42,"key":"azc=","value":{"id":7},"headers":[{"tenant":[97,99]}]}}`},
		{"event as received", `{"e":<aws.pipes.event>}`, record(b64("k7"), b64(`{"id": 7}`)), `{"e":` + record(b64("k7"), b64(`{"id": 7}`)) + `}`},
		{"repeated members", `[<$.key.k>,<$.value.id>]`, `{"key":"` + b64(`{"k":1}`) + `","value":"` + b64(`{"id":1}`) + `","value":"` + b64(`{"id":2}`) + `"}`, `[1,2]`},
		{"elements", `[<$.value[*].a>,"<$.value[1]>"]`, record("", b64(`[{"a":1},{"a":[2]}]`)), `[[1,[2]],"{a:[2]}"]`},
		{"only at the top", `[<$.value.value>]`, record("", b64(`{"value":"`+b64("{}")+`"}`)), `["` + b64("{}") + `"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{Template: c.in, Encoded: true}, Vars{}, c.doc); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

// An enrichment may answer with something that is not JSON (pipes.md 7).
func TestDocumentThatIsNotJSON(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"event", `{"e":<aws.pipes.event>,"j":<aws.pipes.event.json>,"x":<$.a>}`, `{"e":"not \"json\"","j":"","x":""}`},
		{"in text", `"got <aws.pipes.event><aws.pipes.event.json>"`, `"got not "json""`},
		{"constant", `"x"`, `"x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{Template: c.in}, Vars{}, `not "json"`); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	for name, spec := range map[string]Spec{
		"input path":        {InputPath: "$.a"},
		"input transformer": {Template: `"<a>"`, InputPaths: map[string]string{"a": "$.a"}},
		"jq":                {JQ: "."},
	} {
		tr, err := Compile(spec, Vars{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Apply(nil, []byte(`{"a":1`), noon); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: got %v, want %v", name, err, ErrDocument)
		}
	}
}

func TestWrongSpecs(t *testing.T) {
	many := map[string]string{}
	for i := range maxPaths + 1 {
		many["n"+string(rune('a'+i/26))+string(rune('a'+i%26))] = "$"
	}
	for _, c := range []struct {
		name string
		in   Spec
		want string // part of the error
	}{
		{"nothing", Spec{}, "give a template"},
		{"two", Spec{Template: "x", InputPath: "$"}, "only one of"},
		{"paths without template", Spec{InputPaths: map[string]string{}}, "needs a template"},
		{"long template", Spec{Template: strings.Repeat("ä", maxTemplate+1)}, "8193 characters; at most 8192"},
		{"long path", Spec{InputPath: "$." + strings.Repeat("a", maxPath)}, "at most 256"},
		{"long constant", Spec{Constant: json.RawMessage(`"` + strings.Repeat("a", maxTemplate) + `"`)}, "at most 8192"},
		{"long program", Spec{JQ: strings.Repeat(" ", maxTemplate) + "."}, "at most 8192"},
		{"constant that is not JSON", Spec{Constant: json.RawMessage(`{`)}, "constant: is not JSON"},
		{"path without root", Spec{InputPath: "detail"}, "begins with $"},
		{"slice", Spec{InputPath: "$.a[0:2]"}, "character 4: a bracket holds"},
		{"filter", Spec{InputPath: "$.a[?(@.b)]"}, "a bracket holds"},
		{"descent", Spec{InputPath: "$..a"}, "recursive descent"},
		{"wildcard name", Spec{InputPath: "$.*"}, "wildcard"},
		{"open bracket", Spec{InputPath: "$['a"}, "not closed"},
		{"dot at the end", Spec{InputPath: "$.a."}, "a name must follow"},
		{"trailing text", Spec{InputPath: "$.a b"}, `character 4: " b" is no part of a path`},
		{"huge index", Spec{InputPath: "$[99999999999]"}, "too large"},
		{"many steps", Spec{InputPath: "$" + strings.Repeat(".a", maxPathSteps-1)}, ""},
		{"too many steps", Spec{Template: "<$" + strings.Repeat(".a", maxPathSteps+1) + ">"}, "more than 128 steps"},
		{"not closed", Spec{Template: `{"a": <$.value.id}`}, "character 7: the placeholder <$.value.id is not closed"},
		{"not closed in text", Spec{Template: `"a <$.value.id"`}, "not closed"},
		{"variable not closed", Spec{Template: `"a <aws.pipes.pipe-name"`}, "not closed"},
		{"unknown variable", Spec{Template: `{"a": <aws.pipes.nope>}`}, "there is no variable <aws.pipes.nope>"},
		{"variable of rules", Spec{Template: `{"a": <aws.events.rule-name>}`}, "there is no variable"},
		{"bad path", Spec{Template: `{"ä": <$.a..b>}`}, "character 11: there is no recursive descent"},
		{"not JSON", Spec{Template: `{"a": <$.a>,}`}, "character 13: a template that begins with { or ["},
		{"two values", Spec{Template: `{"a": 1 <$.a>}`}, "character 9"},
		{"number before", Spec{Template: `{"a": 1<$.a>}`}, "character 8"},
		{"white space is not nothing", Spec{Template: `{"a": 1 2}`}, "character 9"},
		{"open string", Spec{Template: `{"a": "<$.a>}`}, "must be JSON"},
		{"text after JSON", Spec{Template: `{"a": 1} x`}, "character 10"},
		{"placeholder as name", Spec{Template: `{<$.a>: 1}`}, "must be JSON"},
		{"placeholder in a name", Spec{Template: `{"x<$.a>" : 1}`}, "part of a member's name"},
		{"unknown name", Spec{Template: `"<b>"`, InputPaths: map[string]string{"a": "$.id"}}, "neither in input_paths nor predefined"},
		{"variable of pipes", Spec{Template: `"<aws.pipes.pipe-name>"`, InputPaths: map[string]string{}}, "neither in input_paths nor predefined"},
		{"event in quotes", Spec{Template: `"<aws.events.event>"`, InputPaths: map[string]string{}}, "only outside quotes"},
		{"event JSON in quotes", Spec{Template: `{"a":"<aws.events.event.json>"}`, InputPaths: map[string]string{}}, "only outside quotes"},
		{"bad path in the map", Spec{Template: `"<a>"`, InputPaths: map[string]string{"a": "id"}}, "input_paths.a: character 1: a path begins with $"},
		{"bad name in the map", Spec{Template: `"x"`, InputPaths: map[string]string{"a.b": "$"}}, "is not a name"},
		{"reserved name in the map", Spec{Template: `"x"`, InputPaths: map[string]string{"aws.events.x": "$"}}, "is not a name"},
		{"long name in the map", Spec{Template: `"x"`, InputPaths: map[string]string{strings.Repeat("a", maxName+1): "$"}}, "is not a name"},
		{"large map", Spec{Template: `"x"`, InputPaths: many}, "101 entries; at most 100"},
		{"jq", Spec{JQ: ".a |"}, "jq: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(c.in, Vars{})
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			var spec *SpecError
			if !errors.As(err, &spec) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a SpecError with %q", err, c.want)
			}
		})
	}
	_, err := Compile(Spec{Template: `"<b>"`, InputPaths: map[string]string{}}, Vars{})
	var spec *SpecError
	if !errors.As(err, &spec) || spec.Placeholder != "b" {
		t.Errorf("got %#v, want a SpecError with the placeholder b", err)
	}
}

func TestFields(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Spec
		want []string
		all  bool
	}{
		{"paths", Spec{Template: `{"a":<$.value.id>,"b":<$.topic>,"c":<$.value.x[*].y>}`}, []string{"topic", "value"}, false},
		{"none", Spec{Template: `"x <aws.pipes.pipe-name>"`}, nil, false},
		{"constant", Spec{Constant: json.RawMessage("1")}, nil, false},
		{"root", Spec{InputPath: "$"}, nil, true},
		{"event", Spec{Template: `{"a":<aws.pipes.event.json>}`}, nil, true},
		{"named", Spec{Template: `"x"`, InputPaths: map[string]string{"a": "$.key"}}, nil, false},
		{"jq", Spec{JQ: ".value"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := Compile(c.in, Vars{})
			if err != nil {
				t.Fatal(err)
			}
			names, all := tr.Fields()
			slices.Sort(names)
			if diff := cmp.Diff(c.want, names); diff != "" || all != c.all {
				t.Errorf("all is %v, want %v; names (-want +got):\n%s", all, c.all, diff)
			}
		})
	}
}

// A small template must not turn a large document into a huge result.
func TestResultIsBounded(t *testing.T) {
	doc := []byte(`{"v":"` + strings.Repeat("a", 1<<20) + `"}`)
	tr, err := Compile(Spec{Template: "[" + strings.Repeat("<$.v>,", 200) + "0]"}, Vars{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tr.Apply([]byte("x"), doc, noon); !errors.Is(err, ErrTooLarge) || string(out) != "x" {
		t.Errorf("got %d bytes, %v, want %v", len(out), err, ErrTooLarge)
	}
}
