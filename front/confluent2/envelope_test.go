package confluent2

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestSchemasAreTheLastOnesGiven(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"none", `{"records":[{}]}`, false},
		{"text", `{"records":[{}],"key_schema":"{}"}`, true},
		{"number", `{"records":[{}],"value_schema_id":"7"}`, true},
		{"null", `{"records":[{}],"value_schema":null}`, false},
		{"taken back", `{"records":[{}],"value_schema":"{}","value_schema":null}`, false},
		{"another one stays", `{"records":[{}],"value_schema":"{}","value_schema":null,"key_schema_id":1}`, true},
		{"an empty number", `{"records":[{}],"value_schema_id":""}`, false},
	} {
		e, err := parseEnvelope([]byte(c.in), formatSchema, -1, envelopeRules{})
		if err != nil || (e.schemas != 0) != c.want {
			t.Errorf("%s: got %v, %v, want %v", c.name, e.schemas != 0, err, c.want)
		}
	}
}

func TestEnvelopesAreToldFromRecords(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"envelope", `{"records":[{"value":"YQ=="}]}`, true},
		{"white space", "\n {\"key_schema\":1,\t\"records\" : []} ", true},
		{"escaped name", `{"\u0072ecords":[]}`, true},
		{"last member wins", `{"records":{},"records":[]}`, true},
		{"records an object", `{"records":{}}`, false},
		{"another member", `{"records":[],"name":1}`, false},
		{"upper case", `{"Records":[],"records":[]}`, false},
		{"inside", `{"a":{"records":[]}}`, false},
		{"an array", `[{"records":[]}]`, false},
		{"broken", `{"records":[]`, false},
		{"text", `records`, false},
		{"empty", ``, false},
	} {
		if got := isEnvelope([]byte(c.in)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDeepValuesAreRefused(t *testing.T) {
	for _, c := range []struct {
		depth int
		want  bool
	}{{9_000, true}, {10_001, false}, {1_000_000, false}} {
		value := strings.Repeat("[", c.depth) + strings.Repeat("]", c.depth)
		if _, err := parseEnvelope([]byte(`{"records":[{"value":`+value+`}]}`), formatJSON, -1, envelopeRules{}); (err == nil) != c.want {
			t.Errorf("depth %d: got %v", c.depth, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`{"records":[{"key":"k","value":{"a" : [1, 2.50, "\u00e9"]},"partition":3}]}`,
		`{"records":[{"value":"YWJj"},{"value":"","key":null},{"key":"QQ==","partition":"7"}],"value_schema":null}`,
		`{"records":[{"value":1,"timestamp":17,"headers":[{"key":"h","value":"AA=="},{"key":"\ud83d","value":null}]}]}`,
		`{"records":[],"records":[{"value":1,"value":2}],"key_schema_id":5}`,
		"{\"records\":[{\"value\":\"\xff\\u0000\"}]}", `null`, ` `, `{"records":[{"value":tru}]}`, `{"records":[{"value":"YQ\u003d="}]}`,
		`{"records":[{"partition":-1}]}`, `{"records":[{"value":1}]} x`, `{"records":[{},{} ]}`, `{"records":[null]}`,
	} {
		f.Add([]byte(seed), false, false)
		f.Add([]byte(seed), true, false)
		f.Add([]byte(seed), false, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, binary, strict bool) {
		format := formatJSON
		if binary {
			format = formatBinary
		}
		if _, err := parseEnvelope(bytes.Clone(body), formatText, 5, envelopeRules{whole: true}); err != nil {
			if r := (*refusal)(nil); !errors.As(err, &r) || r.status != 400 && r.status != 422 {
				t.Errorf("text: %v is not an answer", err)
			}
		}
		want, wantErr := slowEnvelope(body, binary, strict)
		e, err := parseEnvelope(bytes.Clone(body), format, 5, envelopeRules{bare: strict})
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got error %v, want %v", err, wantErr)
		}
		if err != nil {
			var r *refusal
			if !errors.As(err, &r) || r.status != 400 && r.status != 422 {
				t.Fatalf("the error is %v", err)
			}
			if strings.HasPrefix(r.message, "Unexpected") && json.Valid(body) {
				t.Fatalf("%q is valid JSON, but the error is %v", body, err)
			}
			return
		}
		if diff := cmp.Diff(want, e.records, cmp.Comparer(sameRecord)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if isEnvelope(body) != true {
			t.Fatalf("%q is an envelope", body)
		}
	})
}

func sameRecord(a, b kgo.Record) bool {
	if len(a.Headers) != len(b.Headers) || a.Partition != b.Partition || !a.Timestamp.Equal(b.Timestamp) {
		return false
	}
	for i := range a.Headers {
		if utf8.ValidString(b.Headers[i].Key) && a.Headers[i].Key != b.Headers[i].Key || !sameBytes(a.Headers[i].Value, b.Headers[i].Value) {
			return false
		}
	}
	return sameBytes(a.Key, b.Key) && sameBytes(a.Value, b.Value)
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// slowEnvelope is parseEnvelope, obvious and slow.
func slowEnvelope(body []byte, binary, strict bool) (records []kgo.Record, err error) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return nil, errors.New("not JSON")
	}
	err = eachMember(body, func(name string, raw json.RawMessage) error {
		switch name {
		case "records":
			records = nil
			return eachElement(raw, func(raw json.RawMessage) error {
				r, err := slowRecord(raw, binary, strict)
				records = append(records, r)
				return err
			})
		case "key_schema", "value_schema":
			var s *string
			return json.Unmarshal(raw, &s)
		case "key_schema_id", "value_schema_id":
			_, err := slowInteger(raw, math.MinInt32, math.MaxInt32)
			return err
		}
		return errors.New("unknown " + name)
	})
	if err == nil && len(records) == 0 {
		err = errors.New("no records")
	}
	return records, err
}

func slowRecord(raw json.RawMessage, binary, strict bool) (r kgo.Record, err error) {
	r.Partition = 5
	data := func(raw json.RawMessage) ([]byte, error) {
		if string(raw) == "null" {
			return nil, nil
		}
		if binary {
			return slowBase64(raw)
		}
		var b bytes.Buffer
		err := json.Compact(&b, raw)
		return b.Bytes(), err
	}
	err = eachMember(raw, func(name string, raw json.RawMessage) (err error) {
		switch {
		case name == "key":
			r.Key, err = data(raw)
		case name == "value":
			r.Value, err = data(raw)
		case name == "partition":
			var n *int64
			r.Partition = 5
			if n, err = slowInteger(raw, 0, math.MaxInt32); n != nil {
				r.Partition = int32(*n)
			}
		case name == "timestamp" && !strict:
			var n *int64
			r.Timestamp = time.Time{}
			if n, err = slowInteger(raw, 0, math.MaxInt64/1_000_000); n != nil {
				r.Timestamp = time.UnixMilli(*n)
			}
		case name == "headers" && !strict:
			r.Headers = nil
			err = eachElement(raw, func(raw json.RawMessage) error {
				h, err := slowHeader(raw)
				r.Headers = append(r.Headers, h)
				return err
			})
		default:
			err = errors.New("unknown " + name)
		}
		return err
	})
	return r, err
}

func slowHeader(raw json.RawMessage) (h kgo.RecordHeader, err error) {
	var key *string
	err = eachMember(raw, func(name string, raw json.RawMessage) (err error) {
		switch name {
		case "key":
			key = nil
			return json.Unmarshal(raw, &key)
		case "value":
			if h.Value = nil; string(raw) != "null" {
				h.Value, err = slowBase64(raw)
			}
			return err
		}
		return errors.New("unknown " + name)
	})
	if err == nil && key == nil {
		err = errors.New("no key")
	}
	if err == nil {
		h.Key = *key
	}
	return h, err
}

func slowBase64(raw json.RawMessage) ([]byte, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return nil, fmt.Errorf("no string: %w", err)
	}
	if strings.ContainsAny(*s, "\r\n") {
		return nil, errors.New("line breaks")
	}
	return base64.StdEncoding.Strict().DecodeString(*s)
}

func slowInteger(raw json.RawMessage, low, high int64) (*int64, error) {
	text := string(raw)
	if text == "null" {
		return nil, nil
	}
	if text[0] == '"' {
		if text = strings.TrimSpace(text[1 : len(text)-1]); text == "" {
			return nil, nil
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return nil, errors.New("no integer")
	}
	return &n, nil
}

func eachMember(raw []byte, member func(name string, raw json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("no object: %w", err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := member(name.(string), value); err != nil {
			return err
		}
	}
	return nil
}

func eachElement(raw json.RawMessage, element func(json.RawMessage) error) error {
	if string(raw) == "null" {
		return nil
	}
	if raw[0] != '[' {
		return errors.New("no array")
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return err
	}
	for _, e := range elements {
		if err := element(e); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkEnvelope(b *testing.B) {
	document := `{"id":12345,"name":"` + strings.Repeat("n", 480) + `","tags":["a","b","c"],"note":"` + strings.Repeat("x", 440) + `","total":10.50}`
	text := base64.StdEncoding.EncodeToString([]byte(document))
	for _, c := range []struct {
		name   string
		value  string
		format format
	}{{"json", document, formatJSON}, {"json_spaced", strings.ReplaceAll(document, ",", ", "), formatJSON}, {"binary", `"` + text + `"`, formatBinary}} {
		body := []byte(`{"records":[` + strings.Repeat(`{"key":"QUJD","value":`+c.value+`},`, 99) + `{"value":` + c.value + `}]}`)
		spare := make([]byte, len(body))
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				copy(spare, body)
				if _, err := parseEnvelope(spare, c.format, -1, envelopeRules{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
