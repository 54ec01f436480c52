package bench

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPutBodyHoldsDocuments(t *testing.T) {
	var q struct {
		Entries []struct{ Source, DetailType, Detail, EventBusName string }
	}
	if err := json.Unmarshal(putBody("b", 7, 3, 300), &q); err != nil || len(q.Entries) != 3 {
		t.Fatalf("%+v, %v", q, err)
	}
	for i, e := range q.Entries {
		seq, _, err := readDocument([]byte(e.Detail), 300)
		if err != nil || seq != int64(7+i) || e.Source == "" || e.DetailType == "" || e.EventBusName != "b" {
			t.Errorf("entry %d: %+v, %d, %v", i, e, seq, err)
		}
	}
}

func TestAnswersToPutEvents(t *testing.T) {
	good := `{"FailedEntryCount":0,"Entries":[{"EventId":"a"},{"EventId":"b"}]}`
	for _, c := range []struct {
		name   string
		status int
		body   string
		ok     bool
	}{
		{"good", 200, good, true},
		{"another order of members", 200, `{"Entries":[{"EventId":"a"},{"EventId":"b"}],"FailedEntryCount":0}`, true},
		{"one too few", 200, `{"FailedEntryCount":0,"Entries":[{"EventId":"a"}]}`, false},
		{"one refused", 200, `{"FailedEntryCount":1,"Entries":[{"EventId":"a"},{"ErrorCode":"InternalFailure"}]}`, false},
		{"one without an id", 200, `{"FailedEntryCount":0,"Entries":[{"EventId":"a"},{}]}`, false},
		{"no count", 200, strings.Replace(good, `"FailedEntryCount":0,`, "", 1), false},
		{"an error", 400, good, false},
		{"no JSON", 200, "ok", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := checker{want: 2}
			for range 2 { // the first answer is parsed, the second one counted through if it can be
				if err := check.put(c.status, []byte(c.body)); (err == nil) != c.ok {
					t.Errorf("got %v, want it to be good: %t", err, c.ok)
				}
			}
		})
	}
}
