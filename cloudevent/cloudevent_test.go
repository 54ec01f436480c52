package cloudevent

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// headers makes an HTTP header of "name: value" lines.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// required are the attributes that every event has, as headers and as members.
var required = []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"}

const members = `"specversion":"1.0","id":"1","source":"/s","type":"t"`

// shown is a record in one line.
func shown(r *kgo.Record) string {
	var b strings.Builder
	if r.Key != nil {
		fmt.Fprintf(&b, "%s ", r.Key)
	}
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s=%s ", h.Key, h.Value)
	}
	if r.Value == nil {
		return b.String() + "| null"
	}
	return b.String() + "| " + string(r.Value)
}

func TestIs(t *testing.T) {
	for _, c := range []struct {
		name string
		in   http.Header
		want bool
	}{
		{"nothing", headers(), false},
		{"plain", headers("Content-Type: application/json", "X-Ce-Id: 1"), false},
		{"binary", headers("Content-Type: text/plain", "ce-specversion: 1.0"), true},
		{"binary without its version", headers("ce-id: 1"), true},
		{"structured", headers("Content-Type: Application/CloudEvents+JSON; charset=utf-8"), true},
		{"batch", headers("Content-Type: application/cloudevents-batch+json"), true},
		{"another format", headers("Content-Type: application/cloudevents+avro"), true},
	} {
		if got := Is(c.in); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRecords(t *testing.T) {
	const binary = "ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t "
	const structured = "content-type=application/cloudevents+json; charset=UTF-8 | "
	event := headers("Content-Type: application/cloudevents+json")
	batch := headers("Content-Type: application/cloudevents-batch+json")
	for _, c := range []struct {
		name string
		cfg  Config
		h    http.Header
		body string
		want []string
	}{
		{"binary", Config{}, headers(append(required, "Content-Type: text/plain")...), "21", []string{"content-type=text/plain " + binary + "| 21"}},
		{"binary without type and data", Config{}, headers(required...), "", []string{binary + "| "}},
		{"header values are decoded once", Config{},
			headers(append(required, `ce-a: "caf%C3%A9 \"x\""`, "ce-b: 100%2525", "ce-c: Euro%20%E2%82%AC%20%F0%9F%98%80")...), "x",
			[]string{`ce_a=café "x" ce_b=100%25 ce_c=Euro € 😀 ` + binary + "| x"}},
		{"partition key", Config{}, headers(append(required, "ce-partitionkey: q", "ce-subject: u")...), "x",
			[]string{"q ce_id=1 ce_partitionkey=q ce_source=/s ce_specversion=1.0 ce_subject=u ce_type=t | x"}},
		{"another key", Config{Key: "ce_subject"}, headers(append(required, "ce-subject: u")...), "x",
			[]string{"u ce_id=1 ce_source=/s ce_specversion=1.0 ce_subject=u ce_type=t | x"}},
		{"binary to structured, JSON", Config{Convert: "structured"}, headers(append(required, "Content-Type: application/json")...), ` {"a": 1} `,
			[]string{structured + `{"id":"1","source":"/s","specversion":"1.0","type":"t","datacontenttype":"application/json","data":{"a": 1}}`}},
		{"binary to structured, broken JSON", Config{Convert: "structured"}, headers(append(required, "Content-Type: application/json")...), "{",
			[]string{structured + `{"id":"1","source":"/s","specversion":"1.0","type":"t","datacontenttype":"application/json","data_base64":"ew=="}`}},
		{"binary to structured, text", Config{Convert: "structured"}, headers(append(required, "Content-Type: text/plain")...), "a\"b",
			[]string{structured + `{"id":"1","source":"/s","specversion":"1.0","type":"t","datacontenttype":"text/plain","data":"a\"b"}`}},
		{"binary to structured, bytes", Config{Convert: "structured"}, headers(required...), "1",
			[]string{structured + `{"id":"1","source":"/s","specversion":"1.0","type":"t","data_base64":"MQ=="}`}},

		{"structured", Config{}, event, ` {` + members + `, "data": {"a" : 1}} `, []string{structured + ` {` + members + `, "data": {"a" : 1}} `}},
		{"structured with a charset", Config{}, headers(`Content-Type: APPLICATION/cloudevents+json ; Charset="UTF-8"`), `{` + members + `}`,
			[]string{structured + `{` + members + `}`}},
		{"structured with a key", Config{}, event, `{` + members + `,"partitionkey":"p"}`, []string{"p " + structured + `{` + members + `,"partitionkey":"p"}`}},
		{"a number as key", Config{}, event, `{` + members + `,"partitionkey":-7}`, []string{"-7 " + structured + `{` + members + `,"partitionkey":-7}`}},
		{"structured to binary, JSON", Config{Convert: "binary"}, event, `{` + members + `,"ext":true,"n":12,"data":{"a" :1}}`,
			[]string{`content-type=application/json ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t ce_ext=true ce_n=12 | {"a" :1}`}},
		{"structured to binary, text that is JSON", Config{Convert: "binary"}, event, `{` + members + `,"data":"x"}`,
			[]string{`content-type=application/json ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t | "x"`}},
		{"structured to binary, text", Config{Convert: "binary"}, event, `{` + members + `,"datacontenttype":"text/plain","data":"x\ny"}`,
			[]string{"content-type=text/plain ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t | x\ny"}},
		{"structured to binary, bytes", Config{Convert: "binary"}, event, `{` + members + `,"datacontenttype":"image/png","data_base64":"/wA="}`,
			[]string{"content-type=image/png ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t | \xff\x00"}},
		{"structured to binary, no data", Config{Convert: "binary"}, event, `{` + members + `,"data":null,"subject":null}`,
			[]string{"ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t | "}},

		{"batch", Config{}, batch, ` [ {` + members + `} , {` + members + `,"partitionkey":"p"} ] `,
			[]string{structured + `{` + members + `}`, "p " + structured + `{` + members + `,"partitionkey":"p"}`}},
		{"batch to binary", Config{Convert: "binary"}, batch, `[{` + members + `,"data":1}]`,
			[]string{"content-type=application/json ce_specversion=1.0 ce_id=1 ce_source=/s ce_type=t | 1"}},
		{"empty batch", Config{}, batch, `[]`, nil},
		{"a format that is passed", Config{PassUnknownFormats: true}, headers("Content-Type: application/cloudevents+avro"), "\x01",
			[]string{"content-type=application/cloudevents+avro | \x01"}},
		{"a known format is read although others are passed", Config{PassUnknownFormats: true}, event, `{` + members + `}`, []string{structured + `{` + members + `}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, err := c.cfg.Records(c.h, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range records {
				if r.Partition != -1 || !r.Timestamp.IsZero() {
					t.Errorf("partition %d, timestamp %s", r.Partition, r.Timestamp)
				}
				got = append(got, shown(r))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotAnEvent(t *testing.T) {
	event, batch := "Content-Type: application/cloudevents+json", "Content-Type: application/cloudevents-batch+json"
	with := func(more ...string) []string { return append(append([]string{}, required...), more...) }
	for _, c := range []struct {
		name string
		h    []string
		body string
		want error
	}{
		{"no version", []string{"ce-id: 1", "ce-source: /s", "ce-type: t"}, "x", ErrInvalid},
		{"another version", []string{"ce-specversion: 0.3", "ce-id: 1", "ce-source: /s", "ce-type: t"}, "x", ErrInvalid},
		{"no id", []string{"ce-specversion: 1.0", "ce-source: /s", "ce-type: t"}, "x", ErrInvalid},
		{"empty source", []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: ", "ce-type: t"}, "x", ErrInvalid},
		{"source is no reference", []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: %20x", "ce-type: t"}, "x", ErrInvalid},
		{"data content type as header", with("ce-datacontenttype: text/plain"), "x", ErrInvalid},
		{"data as header", with("ce-data: x"), "x", ErrInvalid},
		{"a name with a dash", with("ce-my-ext: x"), "x", ErrInvalid},
		{"a name with an underscore", with("ce-my_ext: x"), "x", ErrInvalid},
		{"twice", with("ce-a: 1", "ce-a: 2"), "x", ErrInvalid},
		{"not UTF-8 after decoding", with("ce-a: %C3%28"), "x", ErrInvalid},
		{"control character after decoding", with("ce-a: a%0Ab"), "x", ErrInvalid},
		{"half a percent sign", with("ce-a: 100%"), "x", ErrInvalid},
		{"open quotes", with(`ce-a: "x`), "x", ErrInvalid},
		{"text behind quotes", with(`ce-a: "x"y`), "x", ErrInvalid},
		{"no time", with("ce-time: yesterday"), "x", ErrInvalid},
		{"a time that only Go takes", with("ce-time: 2026-01-01T1:02:03Z"), "x", ErrInvalid},
		{"empty subject", with("ce-subject: "), "x", ErrInvalid},

		{"another format", []string{"Content-Type: application/cloudevents+avro"}, "x", ErrFormat},
		{"no format", []string{"Content-Type: application/cloudevents"}, "x", ErrFormat},
		{"another charset", []string{event + "; charset=utf-16"}, "{" + members + "}", ErrFormat},
		{"empty", []string{event}, "", ErrInvalid},
		{"not JSON", []string{event}, "{", ErrInvalid},
		{"not UTF-8", []string{event}, "{" + members + ",\"x\":\"\xff\"}", ErrInvalid},
		{"not an object", []string{event}, "[]", ErrInvalid},
		{"two events", []string{event}, "{" + members + "}{" + members + "}", ErrInvalid},
		{"missing source", []string{event}, `{"specversion":"1.0","id":"1","type":"t"}`, ErrInvalid},
		{"null source", []string{event}, `{"specversion":"1.0","id":"1","type":"t","source":null}`, ErrInvalid},
		{"a number as id", []string{event}, `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, ErrInvalid},
		{"a member twice", []string{event}, `{` + members + `,"id":"2"}`, ErrInvalid},
		{"a member twice, in escapes", []string{event}, `{` + members + `,"i\u0064":"2"}`, ErrInvalid},
		{"an object as attribute", []string{event}, `{` + members + `,"x":{}}`, ErrInvalid},
		{"a fraction as attribute", []string{event}, `{` + members + `,"x":1.5}`, ErrInvalid},
		{"a long integer as attribute", []string{event}, `{` + members + `,"x":2147483648}`, ErrInvalid},
		{"upper case in a name", []string{event}, `{` + members + `,"Ext":"x"}`, ErrInvalid},
		{"half a character", []string{event}, `{` + members + `,"x":"\ud800"}`, ErrInvalid},
		{"a control character", []string{event}, `{` + members + `,"x":"\u0007"}`, ErrInvalid},
		{"no media type", []string{event}, `{` + members + `,"datacontenttype":"json"}`, ErrInvalid},
		{"data twice", []string{event}, `{` + members + `,"data":1,"data_base64":"MQ=="}`, ErrInvalid},
		{"data is no base64", []string{event}, `{` + members + `,"data_base64":"MQ"}`, ErrInvalid},
		{"data that must be a text", []string{event}, `{` + members + `,"datacontenttype":"text/plain","data":{"a":1}}`, ErrInvalid},

		{"a batch that is an object", []string{batch}, `{` + members + `}`, ErrInvalid},
		{"a batch of numbers", []string{batch}, `[1]`, ErrInvalid},
		{"a batch with one that is none", []string{batch}, `[{` + members + `},{"id":"2"}]`, ErrInvalid},
		{"a batch without end", []string{batch}, `[{` + members + `}`, ErrInvalid},
		{"a batch too long", []string{batch}, `[` + strings.Repeat(`{`+members+`},`, maxBatch) + `{` + members + `}]`, ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, err := Config{}.Records(headers(c.h...), []byte(c.body))
			if !errors.Is(err, c.want) || len(records) > 0 {
				t.Errorf("got %d records, %v, want %v", len(records), err, c.want)
			}
		})
	}
}

func TestTheBrokenEventOfABatchIsNamed(t *testing.T) {
	_, err := Parse(headers("Content-Type: application/cloudevents-batch+json"), []byte(`[{`+members+`},{"id":"2"}]`))
	if want := "not a CloudEvent: event 2 of the batch: the attribute specversion is missing"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTimestamps(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"with an offset", "2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.5Z"},
		{"lower case", "2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"},
		{"before all records", "1969-12-31T23:59:59Z", ""},
	} {
		records, err := Config{Timestamp: "ce_time"}.Records(headers(append(required, "ce-time: "+c.in)...), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if !records[0].Timestamp.IsZero() {
			got = records[0].Timestamp.UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHeadersAreEncoded(t *testing.T) {
	e := Event{ContentType: "text/plain", Attributes: []Attribute{{"id", "1"}, {"subject", `a "b" 100% café`}}}
	h := http.Header{"Ce-Id": {"old"}}
	e.WriteHeader(h)
	want := http.Header{"Content-Type": {"text/plain"}, "Ce-Id": {"1"}, "Ce-Subject": {"a%20%22b%22%20100%25%20caf%C3%A9"}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestFromRecord(t *testing.T) {
	header := func(pairs ...string) (all []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return all
	}
	full := header("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "t", "content-type", "text/plain", "other", "x")
	for _, c := range []struct {
		name string
		in   kgo.Record
		want string // in JSON; empty: no event
		bad  bool
	}{
		{"no event", kgo.Record{Value: []byte("x"), Headers: header("content-type", "text/plain")}, "", false},
		{"binary", kgo.Record{Value: []byte("x"), Headers: full}, `{` + members + `,"datacontenttype":"text/plain","data":"x"}`, false},
		{"tombstone", kgo.Record{Headers: full}, `{` + members + `,"datacontenttype":"text/plain"}`, false},
		{"structured", kgo.Record{Value: []byte(`{` + members + `}`), Headers: header("Content-Type", storedType)}, `{` + members + `}`, false},
		{"broken binary", kgo.Record{Headers: header("ce_specversion", "1.0")}, "", true},
		{"broken structured", kgo.Record{Value: []byte("x"), Headers: header("content-type", storedType)}, "", true},
		{"a header twice", kgo.Record{Headers: append(full, header("ce_id", "2")...)}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, ok, err := FromRecord(&c.in)
			if (err != nil) != c.bad || ok != (c.want != "" || c.bad) {
				t.Fatalf("got %v, %v", ok, err)
			}
			if ok && err == nil && string(e.AppendJSON(nil)) != c.want {
				t.Errorf("got %s, want %s", e.AppendJSON(nil), c.want)
			}
		})
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, c := range []struct {
		in   Config
		want []string
	}{
		{Config{}, nil},
		{Config{Convert: "preserve", Key: "ce_source", Timestamp: "ce_time"}, nil},
		{Config{Convert: "avro", Key: "id", Timestamp: "now"}, []string{"convert", "key", "timestamp"}},
	} {
		var got []string
		c.in.Validate(func(path, _ string) { got = append(got, path) })
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.in, diff)
		}
	}
}

// FuzzRecords makes records of anything, and reads back what it has made: it is
// the same event, in every mode.
func FuzzRecords(f *testing.F) {
	f.Add("application/cloudevents+json", "", "", []byte(`{`+members+`,"data":{"a":1},"x":"\ud83d\ude00"}`))
	f.Add("application/cloudevents-batch+json", "", "", []byte(`[{`+members+`,"data_base64":"MQ=="},{`+members+`,"n":1}]`))
	f.Add("text/plain", "subject", `"caf%C3%A9 \"x"`, []byte("x"))
	f.Add("application/json", "time", "2026-01-31T12:00:00Z", []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, media, name, value string, body []byte) {
		h := headers(required...)
		h.Set("Content-Type", media)
		h.Set("ce-"+name, value)
		for _, convert := range []string{"preserve", "binary", "structured"} {
			records, err := Config{Convert: convert}.Records(h, append([]byte{}, body...))
			if err != nil {
				if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			events, err := Parse(h, body)
			if err != nil || len(events) != len(records) {
				t.Fatalf("%d events, %d records, %v", len(events), len(records), err)
			}
			for i, r := range records {
				checkBack(t, &events[i], r)
			}
		}
	})
}

// checkBack reads a record and compares it with the event that it was made of.
func checkBack(t *testing.T, want *Event, r *kgo.Record) {
	t.Helper()
	got, ok, err := FromRecord(r)
	if !ok || err != nil {
		t.Fatalf("%s: %v, %v", shown(r), ok, err)
	}
	for _, a := range want.Attributes {
		if value, ok := got.Get(a.Name); !ok || value != a.Value {
			t.Errorf("%s is %q, want %q", a.Name, value, a.Value)
		}
	}
	if len(got.Attributes) != len(want.Attributes) {
		t.Errorf("got %d attributes, want %d", len(got.Attributes), len(want.Attributes))
	}
	h := http.Header{}
	got.WriteHeader(h)
	again, err := parseBinary(h, got.Data)
	if err != nil || len(again.Attributes) != len(got.Attributes) {
		t.Errorf("over HTTP: %+v, %v", again, err)
	}
	if _, err := parseJSON(got.AppendJSON(nil)); err != nil {
		t.Errorf("in JSON: %s: %v", got.AppendJSON(nil), err)
	}
}
