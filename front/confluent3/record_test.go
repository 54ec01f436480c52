package confluent3

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// parse reads one record from a text that holds nothing else.
func parse(text string) (*parsed, bool) {
	r := &parsed{}
	p := parser{b: []byte(text)}
	return r, p.record(r) && p.i == len(text)
}

func TestRecord(t *testing.T) {
	for _, c := range []struct {
		name, in   string
		key, value string // "-": nil
		wrong      string // what the refusal begins with
	}{
		{"nothing", `{}`, "-", "-", ""},
		{"nulls", `{"key":null,"value":null,"partition_id":null,"headers":null,"timestamp":null}`, "-", "-", ""},
		{"json", `{"value":{"type":"JSON","data": { "a" : [1, 0.10, "\u00e9"] } }}`, "-", `{"a":[1,0.10,"\u00e9"]}`, ""},
		{"data before type", `{"value":{"data":"aGk=","type":"BINARY"}}`, "-", "hi", ""},
		{"string with escapes", `{"key":{"type":"STRING","data":"a\n\"\u00e9\ud83d\ude00\ud83d"}}`, "a\n\"é😀\ufffd", "-", ""},
		{"empty string", `{"value":{"type":"STRING","data":""}}`, "-", "", ""},
		{"null data", `{"value":{"type":"BINARY","data":null}}`, "-", "-", ""},
		{"json null", `{"value":{"type":"JSON","data":null}}`, "-", "-", ""},
		{"the last of two", `{"value":{"type":"JSON","data":1},"value":{"type":"JSON","data":2}}`, "-", "2", ""},
		{"escaped name", `{"va\u006cue":{"type":"JSON","data":1}}`, "-", "1", ""},
		{"partition as a string", `{"partition_id":"3"}`, "-", "-", ""},
		{"not base64", `{"value":{"type":"BINARY","data":"a*b="}}`, "-", "-", `Bad Request: data="a*b=" is not a valid base64 string.`},
		{"base64 with a line break", `{"value":{"type":"BINARY","data":"aG\nk="}}`, "-", "-", `Bad Request: data="aG`},
		{"number as base64", `{"value":{"type":"BINARY","data":1}}`, "-", "-", "Bad Request: data=1 is not a base64 string."},
		{"number as string", `{"value":{"type":"STRING","data":1}}`, "-", "-", "Bad Request: data=1 is not a string."},
		{"unknown field", `{"colour":{"a":[1]},"value":{"type":"JSON","data":1}}`, "-", "-", "Unrecognized field: colour"},
		{"unknown field of data", `{"value":{"type":"JSON","shade":1}}`, "-", "-", "Unrecognized field: shade"},
		{"id outside a batch", `{"id":"1"}`, "-", "-", "Unrecognized field: id"},
		{"unknown type", `{"value":{"type":"json","data":1}}`, "-", "-", "Cannot deserialize value of type `EmbeddedFormat`"},
		{"value is a number", `{"value":1}`, "-", "-", "Cannot deserialize value of type `ProduceRequestData`"},
		{"partition is a word", `{"partition_id":"x"}`, "-", "-", "Cannot deserialize value of type `int`"},
		{"negative partition", `{"partition_id":-1}`, "-", "-", "Partition not found."},
		{"headers are an object", `{"headers":{}}`, "-", "-", "Cannot deserialize value of type `java.util.ArrayList`"},
		{"header without a name", `{"headers":[{"value":null}]}`, "-", "-", "Bad Request: Missing required creator property 'name'"},
		{"header not base64", `{"headers":[{"name":"h","value":"*"}]}`, "-", "-", `Bad Request: data="*" is not a valid`},
		{"old timestamp", `{"timestamp":-5}`, "-", "-", "Bad Request: Invalid timestamp: -5000."},
		{"timestamp is a word", `{"timestamp":"soon"}`, "-", "-", "Cannot deserialize value of type `java.time.Instant`"},
		{"json with a schema", `{"value":{"type":"JSON","schema_id":1,"data":1}}`, "-", "-", "Bad Request: 'type=JSON' cannot be used together with a schema."},
		{"string with a subject", `{"value":{"type":"STRING","subject":"s","data":"a"}}`, "-", "-", "Bad Request: 'type=STRING' cannot be used together with 'subject'"},
		{"two schemas", `{"value":{"schema_id":1,"schema_version":1,"data":1}}`, "-", "-", "Bad Request: Only one of 'schema_id'"},
		{"subject and strategy", `{"value":{"subject":"s","subject_name_strategy":"TOPIC_NAME","data":1}}`, "-", "-", "Bad Request: Only one of 'subject'"},
		{"unknown strategy", `{"value":{"subject_name_strategy":"X"}}`, "-", "-", "Bad Request: subject_name_strategy must be"},
		{"avro without a schema", `{"value":{"type":"AVRO","data":1}}`, "-", "-", "Bad Request: 'type=AVRO' can only be used when 'schema' is given."},
		{"avro by id", `{"value":{"type":"AVRO","schema":"{}","schema_id":1}}`, "-", "-", "Bad Request: Only one of"},
		{"avro", `{"value":{"type":"AVRO","schema":"\"int\"","data":1}}`, "-", "1", ""},
		{"latest schema", `{"value":{"data":1}}`, "-", "1", ""},
		{"no id", `{"value":{"schema_id":0,"data":1}}`, "-", "-", "Bad Request: 'schema_id' and 'schema_version' must be positive."},
		{"no subject", `{"value":{"subject":"","data":1}}`, "-", "-", "Bad Request: 'subject' must not be empty."},
	} {
		r, ok := parse(c.in)
		if !ok {
			t.Errorf("%s: not taken for a record", c.name)
			continue
		}
		if r.wrong != nil || c.wrong != "" {
			if r.wrong == nil || c.wrong == "" || !strings.HasPrefix(r.wrong.message, c.wrong) {
				t.Errorf("%s: got %v, want %q", c.name, r.wrong, c.wrong)
			}
			continue
		}
		show := func(b []byte) string {
			if b == nil {
				return "-"
			}
			return string(b)
		}
		if key, value := show(r.record.Key), show(r.record.Value); key != c.key || value != c.value {
			t.Errorf("%s: got %q %q, want %q %q", c.name, key, value, c.key, c.value)
		}
	}
}

func TestHeadersKeepOrderAndNulls(t *testing.T) {
	r, ok := parse(`{"headers":[{"name":"a","value":"AQ=="},{"value":null,"name":"b"},{"name":"a","value":""}]}`)
	if !ok || r.wrong != nil || len(r.record.Headers) != 3 {
		t.Fatalf("%v %v", ok, r)
	}
	h := r.record.Headers
	if h[0].Key != "a" || string(h[0].Value) != "\x01" || h[1].Key != "b" || h[1].Value != nil || h[2].Value == nil || len(h[2].Value) != 0 {
		t.Errorf("%+v", h)
	}
}

func TestInstant(t *testing.T) {
	for _, c := range []struct {
		in, want string // "" if none
	}{
		{`"2024-02-05T19:14:42Z"`, "2024-02-05T19:14:42Z"},
		{`"2024-02-05T19:14:42.5Z"`, "2024-02-05T19:14:42.500Z"},
		{`"2024-02-05T20:14:42.123456789+01:00"`, "2024-02-05T19:14:42.123Z"},
		{`1707160482`, "2024-02-05T19:14:42Z"},
		{`1707160482.25`, "2024-02-05T19:14:42.250Z"},
		{`1.707160482e9`, "2024-02-05T19:14:42Z"},
		{`"1707160482"`, "2024-02-05T19:14:42Z"},
		{`-1.5`, "1969-12-31T23:59:58.500Z"},
		{`0`, "1970-01-01T00:00:00Z"},
		{`"2024-02-05"`, ""}, {`"x"`, ""}, {`true`, ""}, {`1e300`, ""}, {`99999999999999`, ""}, {`[]`, ""},
	} {
		got, ok := instant([]byte(c.in))
		if ok != (c.want != "") || ok && string(appendInstant(nil, got)) != c.want {
			t.Errorf("%s: got %s %v, want %s", c.in, appendInstant(nil, got), ok, c.want)
		}
	}
}

// split cuts a text into pieces and gives them to an edge one after the other.
func split(text []byte, step int) (records []string, wrong []bool, s state) {
	var e edge
	var buf []byte
	i := 0
	for at := 0; ; {
		next := min(at+step, len(text))
		buf = append(buf, text[at:next]...)
		at = next
		last := at == len(text)
		for {
			for i < len(buf) && (buf[i] == ' ' || buf[i] == '\n' || buf[i] == '\t' || buf[i] == '\r') {
				i++
			}
			if i == len(buf) {
				break
			}
			var r parsed
			before := string(buf[i:])
			end, st := e.next(buf, i, last, &r)
			if st == malformed {
				return records, wrong, malformed
			}
			if st == incomplete {
				break
			}
			records, wrong = append(records, before[:end-i]), append(wrong, r.wrong != nil)
			i, e = end, edge{}
		}
		if last {
			return records, wrong, whole
		}
	}
}

// FuzzStream compares the cutting of a stream with encoding/json, for pieces of
// different sizes.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		`{"value":{"type":"JSON","data":{"a":[1,"}"]}}} {}{"key":{"type":"STRING","data":"\"{"}}`, `{}{"value": nope}{}`, `[1,{"a":"]"}] 1 true "x" null {}`,
		`{"a":"\\"}{`, `12`, `{"value":{"type":"BINARY","data":"aGk="}}`, `{},{}`, "{\"a\":\"\x01\"}", `{"a":tru`, `"abc`, `nul`,
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		if step < 1 || step > 64 || len(text) > 4096 {
			return
		}
		var want []string
		bad := false
		d := json.NewDecoder(bytes.NewReader(text))
		for d.More() || d.InputOffset() < int64(len(text)) {
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				bad = strings.Trim(string(text[d.InputOffset():]), " \t\r\n") != ""
				break
			}
			if raw[0] != '{' && raw[0] != '[' && raw[0] != '"' && len(raw) > longestScalar {
				return
			}
			want = append(want, string(raw))
		}
		got, _, s := split(text, step)
		if bad != (s == malformed) {
			t.Fatalf("malformed: %v, want %v; records %q, want %q", s == malformed, bad, got, want)
		}
		if strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzRecord compares what records hold with encoding/json.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"value":{"type":"JSON","data":{"a":[1, "}"]}}}`, `{"key":{"type":"STRING","data":"a\u00e9\ud83d\ude00\udc00"},"partition_id":1}`,
		`{"value":{"type":"BINARY","data":"aGk="},"headers":[{"name":"h","value":"AQ=="}]}`, `{"timestamp":1.5}`, `{"va\u006cue":null}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || !strings.HasPrefix(text, "{") {
			return
		}
		r, ok := parse(text)
		var fields map[string]json.RawMessage
		err := json.Unmarshal([]byte(text), &fields)
		if p := (parser{b: []byte(text)}); !ok && p.record(&parsed{}) {
			return // a record, and something behind it
		}
		if ok != (err == nil) {
			t.Fatalf("taken: %v, encoding/json: %v", ok, err)
		}
		if !ok || r.wrong != nil {
			return
		}
		compareSide(t, fields["key"], r.record.Key)
		compareSide(t, fields["value"], r.record.Value)
	})
}

func compareSide(t *testing.T, raw json.RawMessage, got []byte) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); len(raw) > 0 && err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	var kind string
	_ = json.Unmarshal(fields["type"], &kind)
	data := fields["data"]
	if len(data) == 0 || string(data) == "null" {
		if got != nil {
			t.Fatalf("got %q, want nothing", got)
		}
		return
	}
	var want []byte
	switch kind {
	case "JSON":
		var b bytes.Buffer
		if err := json.Compact(&b, data); err != nil {
			t.Fatal(err)
		}
		want = b.Bytes()
	case "STRING":
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		want = []byte(s)
	case "BINARY":
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		var err error
		if want, err = base64.StdEncoding.DecodeString(s); err != nil {
			t.Fatalf("%q was taken for base64", s)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// FuzzBatch sees that no batch can do harm.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		`{"entries":[{"id":"1","value":{"type":"JSON","data":1}},{"id":"2"}]}`, `{"entries":[{"id":1}]}`, `{"entries":null}`, `{"entries":[]}`, `null`, `[]`,
		`{"entries":[1]}`, `{"entries":[{"id":"a","headers":[{"name":"x"}]}],"entries":[{"id":"b"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid := json.Valid(b)
		entries, err := parseBatch(bytes.Clone(b), 10)
		if err == nil && (!valid || len(entries) == 0 || len(entries) > 10) {
			t.Fatalf("%d entries of %q", len(entries), b)
		}
		if err != nil && refusalOf(err).status >= 500 {
			t.Fatal(err)
		}
	})
}

// FuzzQueries sees that the readers of headers and queries take anything.
func FuzzQueries(f *testing.F) {
	f.Add("offset=1&count=2&resource_type=topic", "application/json;q=0.5, */*", "2024-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, query, accept, at string) {
		q, _ := url.ParseQuery(query)
		if count, offset, err := parseRead(q); err == nil && (count < 1 || count > maxCount || offset < earliest) {
			t.Fatalf("%q: %d %d", query, count, offset)
		}
		if a, err := aclFilter(q); err == nil && strings.ContainsAny(aclQuery(a), " \n\"<>") {
			t.Fatalf("%q: %q", query, aclQuery(a))
		}
		_ = acceptable(&http.Request{Header: http.Header{"Accept": {accept}}})
		if quoted, err := json.Marshal(at); err == nil {
			if got, ok := instant(quoted); ok && (got.Year() > 10_000 || got.After(time.Unix(maxSeconds+86400, 0))) {
				t.Fatalf("%q: %v", at, got)
			}
		}
	})
}
