package aws_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/kafka"
)

// first waits for the first value of a topic.
func (s *server) first(topic string) (value string) {
	s.t.Helper()
	eventually(s.t, "a record in "+topic, func() bool {
		records, err := s.cluster.Fetch(s.t.Context(), topic, 0, 0, kafka.Limits{Records: 1, Bytes: 1 << 20})
		if err != nil || len(records) == 0 {
			return false
		}
		value = string(records[0].Value)
		return true
	})
	return value
}

func TestAPipePutsEventsOnABus(t *testing.T) {
	s := start(t)
	far := "far" + s.topic() // the cluster may be one that others have used
	s.events("CreateEventBus", m{"Name": far})
	for _, c := range []struct {
		name, value string
		more        m
		want        m // of the event
	}{
		{"as it is", `{"n":1}`, nil, m{"source": "Pipe p1", "detail-type": "Event from SelfManagedKafka", "resources": []any{}}},
		{"with parameters", `{"who":"kim","at":"2026-08-01T12:00:00Z"}`, m{"TargetParameters": m{"InputTemplate": `{"id": "<$.value.who>"}`, "EventBridgeEventBusParameters": m{
			"Source": "$.value.who", "DetailType": "order", "Resources": []string{"$.topic"}, "Time": "$.value.at",
		}}}, m{"source": "kim", "detail-type": "order", "time": "2026-08-01T12:00:00Z", "detail": m{"id": "kim"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := s.topic(), s.topic()
			pipe, rule := strings.ReplaceAll("p"+from, "t", ""), "r"+to
			s.events("PutRule", m{"Name": rule, "EventBusName": far, "EventPattern": `{"account":["000000000000"]}`})
			s.events("PutTargets", m{"Rule": rule, "EventBusName": far, "Targets": []m{{"Id": "t", "Arn": "arn:klamm:kafka:::topic/" + to}}})
			if status, _, answer := s.ask("POST", "/v1/pipes/"+pipe, nil, s.create(from, "arn:aws:events:us-east-1:000000000000:event-bus/"+far, c.more)); status != 200 {
				t.Fatalf("%d %v", status, answer)
			}
			s.produce(from, c.value)
			var got m
			if err := json.Unmarshal([]byte(s.first(to)), &got); err != nil {
				t.Fatal(err)
			}
			if c.want["source"] == "Pipe p1" {
				c.want["source"] = "Pipe " + pipe
			}
			for name, want := range c.want {
				a, _ := json.Marshal(want)
				if b, _ := json.Marshal(got[name]); string(a) != string(b) {
					t.Errorf("%s is %s, want %s", name, b, a)
				}
			}
			if _, whole := got["detail"].(m)["value"]; c.more == nil && !whole {
				t.Errorf("the detail is no record: %v", got["detail"])
			}
			if status, _, answer := s.ask("DELETE", "/v1/pipes/"+pipe, nil, nil); status != 200 {
				t.Errorf("%d %v", status, answer)
			}
			s.events("RemoveTargets", m{"Rule": rule, "EventBusName": far, "Ids": []string{"t"}})
			s.events("DeleteRule", m{"Name": rule, "EventBusName": far})
		})
	}
	for _, c := range []struct {
		name string
		bus  string
		in   m
	}{
		{"no such bus", "gone", m{}},
		{"a reserved source", far, m{"Source": "aws.x"}},
		{"a time that is no path", far, m{"Time": "noon"}},
		{"a broken path", far, m{"DetailType": "$.a b"}},
		{"many resources", far, m{"Resources": strings.Split(strings.Repeat("arn:aws:s3:::b ", 11), " ")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := s.create("t", "arn:aws:events:us-east-1:000000000000:event-bus/"+c.bus, m{"TargetParameters": m{"EventBridgeEventBusParameters": c.in}})
			if status, _, answer := s.ask("POST", "/v1/pipes/wrong", nil, body); status != 400 {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
}
