package aws_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

// onBus reads what lies on a bus, by key.
func (s *server) onBus(bus string, want int) map[string]*kgo.Record {
	s.t.Helper()
	all := map[string]*kgo.Record{}
	eventually(s.t, fmt.Sprintf("%d events on bus %s", want, bus), func() bool {
		topic, err := s.cluster.Topic(s.t.Context(), event.BusTopic(bus))
		if err != nil {
			return want == 0
		}
		for _, p := range topic.Partitions {
			for offset := int64(0); ; {
				records, next, err := s.cluster.Read(s.t.Context(), topic, p.ID, offset, kafka.Limits{Records: 100, Bytes: 8 << 20})
				if err != nil || len(records) == 0 {
					break
				}
				for _, r := range records {
					all[string(r.Key)] = r
				}
				offset = next
			}
		}
		return len(all) >= want
	})
	if len(all) != want {
		s.t.Errorf("%d events on bus %s, want %d", len(all), bus, want)
	}
	return all
}

func entry(bus string, more m) m {
	e := m{"Source": "shop", "DetailType": "order", "Detail": `{"a":1}`, "EventBusName": bus}
	for name, value := range more {
		if value == nil {
			delete(e, name)
		} else {
			e[name] = value
		}
	}
	return e
}

func TestPutEventsWritesEnvelopes(t *testing.T) {
	s := start(t)
	bus := unique("shop")
	s.events("CreateEventBus", m{"Name": bus})
	before := time.Now().Add(-time.Second)
	answer := s.events("PutEvents", m{"EndpointId": "abc.def", "Entries": []m{
		entry(bus, m{"Detail": "{ \"z\": 9007199254740993, \"a\": 1.10, \"t\": \"\\u00e9 \\\" ü\" }", "Resources": []string{"one", "two \""}, "Time": 1683356889.6, "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793"}),
		entry(eventsARN+"event-bus/"+bus, m{"Time": "2023-05-06T09:08:09+02:00"}),
		entry(bus, m{"Unknown": []int{1}, "TraceHeader": json.RawMessage("null")}),
	}})
	if answer["FailedEntryCount"] != 0.0 {
		t.Fatal(answer)
	}
	var ids []string
	for _, e := range answer["Entries"].([]any) {
		ids = append(ids, e.(m)["EventId"].(string))
	}
	on := s.onBus(bus, 3)
	head := func(id, at string) string {
		return `{"version":"0","id":"` + id + `","detail-type":"order","source":"shop","account":"000000000000","time":"` + at + `","region":"us-east-1","resources":`
	}
	first := on[ids[0]]
	same(t, "first", string(first.Value), head(ids[0], "2023-05-06T07:08:09Z")+`["one","two \""],"detail":{"z":9007199254740993,"a":1.10,"t":"\u00e9 \" ü"}}`)
	if len(first.Headers) != 1 || first.Headers[0].Key != event.HeaderTrace || string(first.Headers[0].Value) != "Root=1-5759e988-bd862e3fe1be46a994272793" || first.Timestamp.Before(before) {
		t.Errorf("headers %v, timestamp %v", first.Headers, first.Timestamp)
	}
	same(t, "second", string(on[ids[1]].Value), head(ids[1], "2023-05-06T07:08:09Z")+`[],"detail":{"a":1}}`)
	third := on[ids[2]]
	same(t, "third", string(third.Value), head(ids[2], third.Timestamp.UTC().Format("2006-01-02T15:04:05Z"))+`[],"detail":{"a":1}}`)
	if len(third.Headers) != 0 {
		t.Errorf("headers %v", third.Headers)
	}
}

func TestPutEventsRefusesEntriesAlone(t *testing.T) {
	s := start(t)
	bus := unique("shop")
	s.events("CreateEventBus", m{"Name": bus})
	required := func(name string) string {
		return "Parameter " + name + " is not valid. Reason: " + name + " is a required argument."
	}
	entries := []struct {
		entry         m
		code, message string
	}{
		{entry(bus, m{"DetailType": strings.Repeat("é", 128)}), "", ""},
		{m{"EventBusName": bus}, "InvalidArgument", required("Source")},
		{entry(bus, m{"Source": ""}), "InvalidArgument", required("Source")},
		{entry(bus, m{"DetailType": nil, "Detail": "x"}), "InvalidArgument", required("DetailType")},
		{entry(bus, m{"Detail": nil}), "InvalidArgument", required("Detail")},
		{entry(bus, m{"Detail": "{'a':1}"}), "MalformedDetail", "Detail is malformed."},
		{entry(bus, m{"DetailType": strings.Repeat("é", 129)}), "InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType must have length less than or equal to 128."},
		{entry(bus, m{"Detail": `{"a":9223372036854775808}`}), "MalformedDetail", "Detail is malformed."},
		{entry(bus, m{"Source": "aws.shop"}), "NotAuthorizedForSourceException", "Not authorized for the source."},
		{entry(bus, nil), "", ""},
	}
	var all []m
	for _, e := range entries {
		all = append(all, e.entry)
	}
	answer := s.events("PutEvents", m{"Entries": all})
	same(t, "count", answer["FailedEntryCount"], 8.0)
	for i, got := range answer["Entries"].([]any) {
		got := got.(m)
		if want := entries[i]; want.code != "" {
			same(t, fmt.Sprint(want.entry), got, m{"ErrorCode": want.code, "ErrorMessage": want.message})
		} else if len(got) != 1 || got["EventId"] == "" {
			t.Errorf("entry %d: %v", i, got)
		}
	}
	s.onBus(bus, 2)
	same(t, "all fail", s.events("PutEvents", m{"Entries": []m{{"Source": "s"}}}), m{"FailedEntryCount": 1.0, "Entries": []any{m{"ErrorCode": "InvalidArgument", "ErrorMessage": required("DetailType")}}})
	// As recorded of AWS, events for a bus that does not exist are dropped.
	answer = s.events("PutEvents", m{"Entries": []m{entry("gone", nil)}})
	if one := answer["Entries"].([]any)[0].(m); answer["FailedEntryCount"] != 0.0 || one["EventId"] == "" {
		t.Errorf("unknown bus: %v", answer)
	}
}

func TestPutEventsRefusesRequests(t *testing.T) {
	s := start(t)
	many := make([]m, 11)
	for i := range many {
		many[i] = entry("", m{"EventBusName": nil})
	}
	big := func(n int) m { return entry("default", m{"Detail": `{"x":"` + strings.Repeat("y", n) + `"}`}) }
	for name, c := range map[string]struct {
		body          any
		name, message string
	}{
		"none":       {m{"Entries": []m{}}, notValid, "1 validation error detected: Value '0 members' at 'entries' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"missing":    {m{}, notValid, "1 validation error detected: Value null at 'entries' failed to satisfy constraint: Member must not be null"},
		"nothing":    {"", notValid, "1 validation error detected: Value null at 'entries'"},
		"eleven":     {m{"Entries": many}, notValid, "1 validation error detected: Value '11 members' at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"no list":    {m{"Entries": "x"}, notShaped, ""},
		"no object":  {m{"Entries": []any{"x"}}, notShaped, ""},
		"no text":    {m{"Entries": []any{m{"Source": 5}}}, notShaped, ""},
		"no detail":  {m{"Entries": []any{m{"Detail": m{}}}}, notShaped, ""},
		"no time":    {m{"Entries": []any{m{"Time": "now"}}}, notShaped, ""},
		"far time":   {m{"Entries": []any{m{"Time": 1e15}}}, notShaped, ""},
		"broken":     {`{"Entries":[{`, notShaped, ""},
		"no UTF-8":   {"{\"Entries\":[{\"Source\":\"\xff\"}]}", notShaped, ""},
		"array":      {`[]`, notShaped, ""},
		"bus":        {m{"Entries": []m{entry("no blanks", nil)}}, notValid, "1 validation error detected: Value 'no blanks' at 'entries.1.member.eventBusName' failed to satisfy constraint: Member must satisfy regular expression pattern: "},
		"trace":      {m{"Entries": []m{entry("default", nil), entry("default", m{"TraceHeader": strings.Repeat("x", 501)})}}, notValid, "1 validation error detected: Value 'xxx"},
		"resource":   {m{"Entries": []m{entry("default", m{"Resources": []string{"a", strings.Repeat("x", 2049)}})}}, notValid, "1 validation error detected: Value 'xxx"},
		"endpoint":   {m{"Entries": []m{entry("default", nil)}, "EndpointId": "x"}, notValid, "1 validation error detected: Value 'x' at 'endpointId'"},
		"too big":    {m{"Entries": []m{big(1 << 20)}}, notValid, "Total size of the entries in the request is over the limit."},
		"one byte":   {m{"Entries": []m{big(1<<20 - len("shop"+"order"+`{"x":""}`))}}, notValid, "Total size of the entries in the request is over the limit."},
		"all of all": {m{"Entries": []m{big(600_000), big(600_000)}}, notValid, "Total size of the entries in the request is over the limit."},
	} {
		t.Run(name, func(t *testing.T) {
			s.told("PutEvents", c.body, c.name, c.message)
		})
	}
	answer := s.events("PutEvents", m{"Entries": []m{big(1<<20 - 1 - len("shop"+"order"+`{"x":""}`))}})
	if answer["FailedEntryCount"] != 0.0 {
		t.Errorf("the largest entry: %v", answer)
	}
}

func TestEventsStayInTheOrderOfAKey(t *testing.T) {
	s := start(t)
	bus := unique("shop")
	s.events("CreateEventBus", m{"Name": bus, "Tags": []m{{"Key": "klamm:order-key", "Value": "$.detail.order"}}})
	answer := s.events("PutEvents", m{"Entries": []m{entry(bus, m{"Detail": `{"order":"a b"}`}), entry(bus, m{"Detail": `{"order":17}`}), entry(bus, nil)}})
	on := s.onBus(bus, 3)
	third := answer["Entries"].([]any)[2].(m)["EventId"].(string)
	for _, key := range []string{"a b", "17", third} {
		if on[key] == nil {
			t.Errorf("no event with the key %q", key)
		}
	}
}
