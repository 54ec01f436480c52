package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// patience is for a call on a machine that is busy with other things.
const patience = time.Minute

// opened opens a sink; what it writes to topics is kept in got.
func opened(t *testing.T, config Config, got *[]*kgo.Record) target.Target {
	t.Helper()
	if config.Key == "" {
		config.Key = String
	}
	if config.Value == "" {
		config.Value = JSON
	}
	config.Header, config.Connector = Simple, "c-1"
	config.Validate(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	env := targettest.Env(t, "")
	env.Produce = func(_ context.Context, records ...*kgo.Record) (results kgo.ProduceResults) {
		for _, r := range records {
			*got = append(*got, r)
			results = append(results, kgo.ProduceResult{Record: r})
		}
		return results
	}
	tg, err := open(raw, env, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

func record(key, value []byte, headers ...kgo.RecordHeader) *event.Event {
	return &event.Event{Record: &kgo.Record{Topic: "t", Partition: 2, Offset: 7, Timestamp: time.UnixMilli(1_700_000_000_123), Key: key, Value: value, Headers: headers}}
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		in     *event.Event
		want   string // the detail
	}{
		{"everything", Config{}, record([]byte("k"), []byte(`{ "a" : 9007199254740993 }`), kgo.RecordHeader{Key: "h", Value: []byte("x")}, kgo.RecordHeader{Key: "h", Value: []byte("12")}),
			`{"topic":"t","partition":2,"offset":7,"timestamp":1700000000123,"timestampType":"CreateTime","headers":[{"h":"x"},{"h":12}],"key":"k","value":{"a":9007199254740993}}`},
		{"a tombstone", Config{}, record(nil, nil), `{"topic":"t","partition":2,"offset":7,"timestamp":1700000000123,"timestampType":"CreateTime","headers":[],"key":null,"value":null}`},
		{"bytes", Config{Key: Bytes, Value: Bytes}, record([]byte{0, 255}, []byte("x")), `{"topic":"t","partition":2,"offset":7,"timestamp":1700000000123,"timestampType":"CreateTime","headers":[],"key":"AP8=","value":"eA=="}`},
		{"JSON with its schema", Config{Value: Enveloped}, record(nil, []byte(`{"schema":{"type":"int32"},"payload":5}`)), `{"topic":"t","partition":2,"offset":7,"timestamp":1700000000123,"timestampType":"CreateTime","headers":[],"key":null,"value":5}`},
		{"JSON keys", Config{Key: JSON}, record([]byte(`{"id":1}`), []byte(`"v"`)), `{"topic":"t","partition":2,"offset":7,"timestamp":1700000000123,"timestampType":"CreateTime","headers":[],"key":{"id":1},"value":"v"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []*kgo.Record
			c.config.Bus, c.config.Account, c.config.Region, c.config.Resources = "b", "000000000000", "us-east-1", []string{"r1"}
			if err := opened(t, c.config, &got).Deliver(t.Context(), []*event.Event{c.in}); err != nil {
				t.Fatal(err)
			}
			var e struct {
				Source     string
				DetailType string `json:"detail-type"`
				Resources  []string
				Detail     json.RawMessage
			}
			if err := json.Unmarshal(got[0].Value, &e); err != nil {
				t.Fatal(err)
			}
			if got[0].Topic != event.BusTopic("b") || e.Source != "kafka-connect.c-1" || e.DetailType != "kafka-connect-t" || len(e.Resources) != 1 {
				t.Errorf("got %s in %s", got[0].Value, got[0].Topic)
			}
			if diff := cmp.Diff(c.want, string(e.Detail)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConverters(t *testing.T) {
	for _, c := range []struct{ converter, in, want string }{
		{Short, "\xff\xfe", `-2`},
		{Integer, "\x00\x00\x00\x2a", `42`},
		{Integer, "\x80\x00\x00\x00", `-2147483648`},
		{Long, "\x00\x20\x00\x00\x00\x00\x00\x01", `9007199254740993`},
		{Long, "\xff\xff\xff\xff\xff\xff\xff\xff", `-1`},
		{Float, "\x3d\xcc\xcc\xcd", `0.1`},
		{Double, "\x3f\xb9\x99\x99\x99\x99\x99\x9a", `0.1`},
		{Double, "\x7f\xf8\x00\x00\x00\x00\x00\x00", `"NaN"`},
		{Float, "\xff\x80\x00\x00", `"-Infinity"`},
		{Boolean, "\x01", `true`},
		{Boolean, "\x00", `false`},
		{Boolean, "\x02", ``},
		{Short, "\x00", ``},
		{Integer, "", ``},
		{Integer, "42", ``},
		{Long, "\x00\x00\x00\x00\x00\x00\x00\x00\x01", ``},
	} {
		got, err := convert(c.converter, []byte(c.in))
		if (err != nil) != (c.want == "") || string(got) != c.want {
			t.Errorf("%s of %x: %s, %v, want %s", c.converter, c.in, got, err, c.want)
		}
	}
	for converter := range sizes {
		if got, err := convert(converter, nil); err != nil || string(got) != "null" {
			t.Errorf("%s of null: %s, %v", converter, got, err)
		}
	}
}

func TestBadRecordsAreNotTriedAgain(t *testing.T) {
	var got []*kgo.Record
	tg := opened(t, Config{Bus: "b"}, &got)
	err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte("{broken")), record(nil, []byte("1")), record(nil, []byte("\xff"))})
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 || len(got) != 1 {
		t.Fatalf("got %v, %d written", err, len(got))
	}
	for i, err := range partial.Failed {
		if !target.FailureOf(err).Final || i == 1 {
			t.Errorf("record %d: %v", i, err)
		}
	}
	framed := opened(t, Config{Bus: "b", Value: Registry}, &got)
	for _, value := range []string{"plain", "\x00\x00\x00\x00\x01x"} {
		if err := framed.Deliver(t.Context(), []*event.Event{record(nil, []byte(value))}); !target.FailureOf(err).Final {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestDetailTypes(t *testing.T) {
	for _, c := range []struct {
		name  string
		items []string
		path  string
		value string
		want  string
	}{
		{"by itself", nil, "", `1`, "kafka-connect-t"},
		{"a template", []string{"x-${topic}-${topic}"}, "", `1`, "x-t-t"},
		{"a constant", []string{"Placed"}, "", `1`, "Placed"},
		{"a map", []string{"u:A", "t:B"}, "", `1`, "B"},
		{"a type with a colon is cut", []string{"t:B:C"}, "", `1`, "B"},
		{"not in the map", []string{"u:A"}, "", `1`, "kafka-connect-t"},
		{"a path", nil, "$.meta.event-type", `{"meta":{"event-type":"placed"}}`, "placed"},
		{"a path to a number", nil, "$.n", `{"n":1}`, "t"},
		{"a path to nothing", nil, "$.n", `{}`, "t"},
		{"a path to a blank text", nil, "$.n", `{"n":" "}`, "t"},
		{"a path in no object", nil, "$.n", `null`, "t"},
		{"the value itself", nil, "$", `"placed"`, "placed"},
		{"a path in brackets", nil, "$['meta']['event-type']", `{"meta":{"event-type":"placed"}}`, "placed"},
		{"a path in double quotes", nil, `$["meta"].type`, `{"meta":{"type":"placed"}}`, "placed"},
		{"a path into an array", nil, "$.items[1].type", `{"items":[{"type":"a"},{"type":"b"}]}`, "b"},
		{"a path to a star", nil, "$['*']", `{"*":"placed"}`, "placed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			typer, err := newTyper(c.items, c.path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := typer.of("t", []byte(c.value))
			if got != c.want || (err != nil) != (c.path != "" && c.want == "t") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	for _, items := range [][]string{{"a", "b"}, {"a b:c"}, {":x"}} {
		if _, err := newTyper(items, ""); err == nil {
			t.Errorf("%v is taken", items)
		}
	}
	for _, path := range []string{"$..x", "$.*", "$.x[*]", "$.x[0:2]", "$.x[0,1]", "$['a','b']", "$.x[?(@.y)]", "x", "$."} {
		if _, err := newTyper(nil, path); err == nil {
			t.Errorf("%s is taken, which is not definite", path)
		}
	}
}

// A real endpoint gets signed calls of at most ten entries, and says of each what became
// of it.
func TestRemote(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var calls [][]wireEntry
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Entries []wireEntry }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "AWSEvents.PutEvents" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/") {
			t.Errorf("a call %v, %v", r.Header, err)
		}
		calls = append(calls, in.Entries)
		w.WriteHeader(status)
		var out []string
		for _, e := range in.Entries {
			switch {
			case strings.Contains(e.Detail, "refused"):
				out = append(out, `{"ErrorCode":"MalformedDetail","ErrorMessage":"no"}`)
			case strings.Contains(e.Detail, "throttled"):
				out = append(out, `{"ErrorCode":"ThrottlingException","ErrorMessage":"later"}`)
			default:
				out = append(out, `{"EventId":"1"}`)
			}
		}
		_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[`+strings.Join(out, ",")+`]}`)
	}))
	defer server.Close()
	tg := opened(t, Config{Remote: &Remote{BusARN: "arn:aws:events:eu-west-1:123456789012:event-bus/b", Region: "eu-west-1", Endpoint: server.URL}}, nil)
	var events []*event.Event
	values := map[int]string{3: `"refused"`, 11: `"throttled"`}
	for i := range 12 {
		value := values[i]
		if value == "" {
			value = `"fine"`
		}
		events = append(events, record(nil, []byte(value)))
	}
	err := tg.Deliver(t.Context(), events)
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 || !target.FailureOf(partial.Failed[3]).Final || target.FailureOf(partial.Failed[11]).Final {
		t.Fatalf("got %v", err)
	}
	if len(calls) != 2 || len(calls[0]) != 10 || calls[0][0].EventBusName == "" || calls[0][0].Source != "kafka-connect.c-1" {
		t.Errorf("got %v", calls)
	}
	big := []byte(`"` + strings.Repeat("x", 200_000) + `"`)
	calls = nil
	if err := tg.Deliver(t.Context(), []*event.Event{record(nil, big), record(nil, big)}); err != nil || len(calls) != 2 {
		t.Errorf("two large entries: %v, %d calls", err, len(calls))
	}
	status = http.StatusRequestEntityTooLarge
	if err := tg.Deliver(t.Context(), events[:1]); !target.FailureOf(err).Final {
		t.Errorf("413: %v", err)
	}
	status = http.StatusInternalServerError
	if err := tg.Deliver(t.Context(), events[:1]); err == nil || target.FailureOf(err).Final {
		t.Errorf("500: %v", err)
	}
}

func TestTheLogIsToldSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s seldom
		for _, c := range []struct {
			wait time.Duration
			want int
		}{{0, 1}, {time.Second, 0}, {saidEvery - 2*time.Second, 0}, {time.Second, 3}, {0, 0}, {2 * saidEvery, 2}} {
			time.Sleep(c.wait)
			if got := s.due(); got != c.want {
				t.Errorf("after %v: got %d, want %d", c.wait, got, c.want)
			}
		}
	})
}

// logLines takes the lines of a log that goroutines write.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestTheLogIsToldWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := make(logLines, 10)
		told := func() (all string) {
			synctest.Wait()
			for len(lines) > 0 {
				all += <-lines
			}
			return all
		}
		sent := newTally(slog.New(slog.NewTextHandler(lines, nil)))
		time.Sleep(3 * talliedEvery)
		if got := told(); got != "" {
			t.Errorf("before the first event: %s", got)
		}
		sent.add(3)
		sent.add(4)
		for range 2 {
			time.Sleep(talliedEvery)
			if got := told(); !strings.Contains(got, "total=7\n") || strings.Count(got, "\n") != 1 {
				t.Errorf("after a minute: %q", got)
			}
		}
		sent.close()
		sent.add(1)
		time.Sleep(2 * talliedEvery)
		if got := told(); got != "" {
			t.Errorf("of a sink that is closed: %s", got)
		}
	})
}

// What cannot be done as it should is logged: an event that is too large for any call, and
// a detail-type that is not where it should be.
func TestTheLogIsTold(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Entries":[{"EventId":"1"}]}`)
	}))
	defer server.Close()
	raw, err := json.Marshal(Config{Connector: "c-1", Key: String, Value: JSON, Header: Simple, DetailPath: "$.type",
		Remote: &Remote{BusARN: "arn:aws:events:eu-west-1:123456789012:event-bus/b", Region: "eu-west-1", Endpoint: server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	env := targettest.Env(t, "")
	env.Log = slog.New(slog.NewTextHandler(&out, nil))
	tg, err := open(raw, env, patience)
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", mostBytes)
	if err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(`{"type":"`+large+`"}`))}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "larger than a call") || strings.Contains(got, "detail-type") {
		t.Errorf("got %.1000s", got)
	}
	out.Reset()
	if err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(`{"kind":"x"}`))}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "path=$.type topic=t partition=2 offset=7 times=1") || strings.Contains(got, "larger than") {
		t.Errorf("got %.1000s", got)
	}
}

// A call that is too large concerns its own entries: those of the other calls are put.
func TestTooLargeACallLeavesTheOthersAlone(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var calls, status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Entries []wireEntry }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if calls.Add(1) == 2 {
			w.WriteHeader(int(status.Load()))
			return
		}
		_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[`+strings.Repeat(`{"EventId":"1"},`, len(in.Entries)-1)+`{"EventId":"1"}]}`)
	}))
	defer server.Close()
	tg := opened(t, Config{Remote: &Remote{BusARN: "arn:aws:events:eu-west-1:123456789012:event-bus/b", Region: "eu-west-1", Endpoint: server.URL}}, nil)
	var events []*event.Event
	for range 35 {
		events = append(events, record(nil, []byte("1")))
	}
	for _, c := range []struct {
		status, calls, failed int
		final                 bool
	}{
		{http.StatusRequestEntityTooLarge, 4, 10, true},
		{http.StatusServiceUnavailable, 2, 25, false}, // those behind it must not overtake it
	} {
		calls.Store(0)
		status.Store(int32(c.status))
		var partial *target.PartialError
		if err := tg.Deliver(t.Context(), events); !errors.As(err, &partial) {
			t.Fatalf("%d: got %v, want some to fail", c.status, err)
		}
		if got := int(calls.Load()); got != c.calls || len(partial.Failed) != c.failed {
			t.Errorf("%d: got %d calls and %d failures, want %d and %d", c.status, got, len(partial.Failed), c.calls, c.failed)
		}
		for i, err := range partial.Failed {
			if i < 10 || target.FailureOf(err).Final != c.final {
				t.Errorf("%d: entry %d failed with %v", c.status, i, err)
			}
		}
	}
}

func TestOffload(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	kept := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		kept[r.URL.Path] = string(b)
	}))
	defer server.Close()
	for _, c := range []struct{ name, field, value, payload, rest string }{
		{"the value", "$.detail.value", `{"a":1}`, `{"a":1}`, `"key":null`},
		{"an empty object", "$.detail.value", `{}`, `{}`, `"key":null`},
		{"a member", "$.detail.value.big", `{"big":"text","b":2}`, `text`, `"value":{"b":2}`},
		{"the last member", "$.detail.value.b", `{"big":"text","b":[2]}`, `[2]`, `"value":{"big":"text"}`},
		{"the only member", "$.detail.value['b c'].d", `{"b c":{"d":true}}`, `true`, `"value":{"b c":{}}`},
		{"in double quotes", `$.detail.value["b c"].größe`, `{"b c":{"größe":5}}`, `5`, `"value":{"b c":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(kept)
			var got []*kgo.Record
			tg := opened(t, Config{Bus: "b", Offload: &Offload{Bucket: "bkt", Region: "us-east-1", Endpoint: server.URL, Field: c.field}}, &got)
			for range 2 {
				if err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(c.value))}); err != nil {
					t.Fatal(err)
				}
			}
			var e struct {
				Detail struct {
					DataRef string `json:"dataref"`
					Path    string `json:"datarefJsonPath"`
				}
			}
			if err := json.Unmarshal(got[1].Value, &e); err != nil {
				t.Fatal(err)
			}
			path := strings.TrimPrefix(e.Detail.DataRef, "arn:aws:s3:::")
			if len(kept) != 1 || kept["/"+path] != c.payload || e.Detail.Path != c.field || !strings.Contains(string(got[1].Value), c.rest) {
				t.Errorf("kept %v, the event is %s", kept, got[1].Value)
			}
		})
	}
	var got []*kgo.Record
	tg := opened(t, Config{Bus: "b", Offload: &Offload{Bucket: "bkt", Region: "us-east-1", Endpoint: server.URL, Field: "$.detail.value.x"}}, &got)
	for _, value := range []string{`{"y":1}`, `{"x":null}`, `[1]`} {
		if err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(value))}); err != nil || strings.Contains(string(got[len(got)-1].Value), "dataref") {
			t.Errorf("%s: %v, %s", value, err, got[len(got)-1].Value)
		}
	}
	for _, field := range []string{"$.detail.key", "$.detail.value[0]", "$.detail.value.*", "$.detail.values", "$.detail.value.", "$.detail.value.x[?(@.y)]", "$.detail.value..x", "x"} {
		if _, err := (Offload{Field: field}).names(); err == nil {
			t.Errorf("%s is taken", field)
		}
	}
}

// A store that refuses ends the task at once; one that is away is tried again, and what
// lies behind the record waits.
func TestOffloadFails(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	status := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); strings.Contains(string(b), "bad") {
			w.WriteHeader(status)
		}
	}))
	defer server.Close()
	for of, halts := range map[int]bool{403: true, 404: true, 301: true, 500: false, 503: false} {
		status = of
		var got []*kgo.Record
		tg := opened(t, Config{Bus: "b", Offload: &Offload{Bucket: "bkt", Region: "us-east-1", Endpoint: server.URL, Field: "$.detail.value"}}, &got)
		err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(`"1"`)), record(nil, []byte(`"bad"`)), record(nil, []byte(`"3"`))})
		var partial *target.PartialError
		if !errors.As(err, &partial) || len(partial.Failed) != 2 || len(got) != 1 {
			t.Fatalf("%d: %v, and %d are put", of, err, len(got))
		}
		if f := target.FailureOf(partial.Failed[1]); f.Halts != halts || f.Final {
			t.Errorf("%d: %+v", of, f)
		}
	}
}

func TestOffloadToATopicFromASizeOn(t *testing.T) {
	var got []*kgo.Record
	tg := opened(t, Config{Bus: "b", Offload: &Offload{Topic: "claims", AtLeast: 10, Field: "$.detail.value"}}, &got)
	for _, value := range []string{`"12345678"`, `{"a":"123456"}`, `"1234567890"`, `"1234567890"`} {
		if err := tg.Deliver(t.Context(), []*event.Event{record(nil, []byte(value))}); err != nil {
			t.Fatal(err)
		}
	}
	var kept []string
	refs := 0
	for _, r := range got {
		if r.Topic == "claims" {
			kept = append(kept, string(r.Value))
		} else if strings.Contains(string(r.Value), `"dataref":"arn:klamm:kafka:::topic/claims/`) {
			refs++
		}
	}
	if diff := cmp.Diff([]string{`{"a":"123456"}`, "1234567890"}, kept); diff != "" || refs != 3 {
		t.Errorf("%d references, %s", refs, diff)
	}
}
