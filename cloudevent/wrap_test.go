package cloudevent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEachRecordIsAnEvent(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 250e6, time.FixedZone("", 3600))
	record := func(change func(*kgo.Record)) *kgo.Record {
		r := &kgo.Record{Topic: "a b", Partition: 3, Offset: 42, Timestamp: at, Value: []byte(`{"n": 1}`)}
		change(r)
		return r
	}
	const head = `{"specversion":"1.0","type":"dev.knative.kafka.event","source":"/topics/a%20b","id":"partition:3/offset:42","subject":"partition:3#42","time":"2026-01-31T11:00:00.25Z"`
	for _, c := range []struct {
		name string
		in   *kgo.Record
		want string
	}{
		{"JSON", record(func(*kgo.Record) {}), head + `,"datacontenttype":"application/json","data":{"n": 1}}`},
		{"text", record(func(r *kgo.Record) { r.Value = []byte("hé\n") }), head + `,"datacontenttype":"text/plain; charset=UTF-8","data":"hé\n"}`},
		{"bytes", record(func(r *kgo.Record) { r.Value = []byte{0xff, 0} }), head + `,"datacontenttype":"application/octet-stream","data_base64":"/wA="}`},
		{"no value", record(func(r *kgo.Record) { r.Value = nil }), head + `}`},
		{"an empty value", record(func(r *kgo.Record) { r.Value = []byte{} }), head + `,"datacontenttype":"text/plain; charset=UTF-8","data":""}`},
		{"a time beyond the calendar", record(func(r *kgo.Record) { r.Value, r.Timestamp = nil, time.UnixMilli(1<<60) }), strings.Replace(head, `,"time":"2026-01-31T11:00:00.25Z"`, "", 1) + `}`},
		{"a key", record(func(r *kgo.Record) { r.Key, r.Value = []byte("k"), nil }), head + `,"key":"k","partitionkey":"k"}`},
		{"a key of bytes", record(func(r *kgo.Record) { r.Key, r.Value = []byte{0xff}, nil }), head + `}`},
		{"headers", record(func(r *kgo.Record) {
			r.Value = nil
			r.Headers = []kgo.RecordHeader{{Key: "X-Trace_Id", Value: []byte("1")}, {Key: "xtraceid", Value: []byte("2")}, {Key: "-", Value: []byte("3")}, {Key: "b", Value: []byte{0xff}}}
		}), head + `,"kafkaheaderxtraceid":"1"}`},
		{"a content type", record(func(r *kgo.Record) {
			r.Value, r.Headers = []byte("<a/>"), []kgo.RecordHeader{{Key: "Content-Type", Value: []byte("application/xml")}}
		}), head + `,"datacontenttype":"application/xml","data":"<a/>"}`},
		{"JSON by its content type, which it is not", record(func(r *kgo.Record) {
			r.Value, r.Headers = []byte("{"), []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}
		}), head + `,"datacontenttype":"application/json","data_base64":"ew=="}`},
		{"an event in binary mode", record(func(r *kgo.Record) {
			r.Headers = []kgo.RecordHeader{
				{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("1")}, {Key: "ce_source", Value: []byte("/s")},
				{Key: "ce_type", Value: []byte("t")}, {Key: "content-type", Value: []byte("application/json")},
			}
		}), `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":{"n": 1}}`},
		{"a structured event", record(func(r *kgo.Record) {
			r.Value, r.Headers = []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1}`), []kgo.RecordHeader{{Key: "content-type", Value: []byte(storedType)}}
		}), `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1}`},
		{"an event that is none", record(func(r *kgo.Record) {
			r.Value, r.Headers = []byte("1"), []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("7")}}
		}), head + `,"kafkaheadercespecversion":"1.0","kafkaheaderceid":"7","datacontenttype":"application/json","data":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Of(c.in)
			got := string(e.AppendJSON(nil))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if again, err := parseJSON([]byte(got)); err != nil {
				t.Errorf("%s: %v", got, err)
			} else if err := again.Validate(); err != nil {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	e := Unreadable(&kgo.Record{Topic: "t", Partition: 1, Offset: 2, Key: []byte("k"), Value: []byte("v"), Timestamp: time.Unix(0, 0)}, 413, `too "large"`)
	want := `{"specversion":"1.0","type":"klamm.record.unreadable","source":"/topics/t","id":"partition:1/offset:2","subject":"partition:1#2","time":"1970-01-01T00:00:00Z",` +
		`"datacontenttype":"application/json","data":{"error_code":413,"error":"too \"large\""}}`
	if diff := cmp.Diff(want, string(e.AppendJSON(nil))); diff != "" {
		t.Error(diff)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("t", []byte("k"), []byte("{}"), "content-type", []byte("text/plain"))
	f.Add("t", []byte{0xff}, []byte(nil), "ce_specversion", []byte("1.0"))
	f.Fuzz(func(t *testing.T, topic string, key, value []byte, header string, content []byte) {
		e := Of(&kgo.Record{Topic: topic, Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: header, Value: content}, {Key: "ce_id", Value: content}}})
		b := e.AppendJSON(nil)
		if !json.Valid(b) {
			t.Errorf("%s is not JSON", b)
		}
		if got, err := parseJSON(b); err != nil {
			t.Errorf("%s: %v", b, err)
		} else if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	})
}
