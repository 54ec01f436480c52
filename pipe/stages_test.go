package pipe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// Of 100 records the filter drops every second one, the transform cannot take every tenth,
// and the target refuses two.
func TestStagesSayWhereRecordsStop(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{answer: func(events []*event.Event) error {
		if o := events[0].Record.Offset; o == 2 || o == 4 {
			return target.Permanent(errors.New("not this one"))
		}
		return nil
	}}
	for i := range 100 {
		value := fmt.Sprintf(`{"n":%d,"kind":"%s"}`, i, []string{"even", "odd"}[i%2])
		if i%10 == 0 {
			value = fmt.Sprintf(`{"n":"x","kind":"even","pad":%d}`, i)
		}
		if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Key: []byte("k"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := l.start(t, c, catalog.Pipe{
		Name: name, Topics: []string{name}, Group: name, Start: "earliest", Filter: json.RawMessage(`{"value":{"kind":["even"]}}`),
		Transform: &transform.Spec{JQ: `{"twice": (.value.n * 2 + 1)}`},
		Delivery:  catalog.Delivery{DeadLetter: name + "-dead", Backoff: catalog.Backoff{Min: time.Millisecond}},
	})
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 100 })
	all, err := r.Stages(name)
	if err != nil {
		t.Fatal(err)
	}
	type counts struct {
		stage                      string
		used                       bool
		in, out, dropped, failed   int64
		passed, stopped, haveTimes bool
	}
	want := []counts{
		{"read", true, 100, 100, 0, 0, true, false, true},
		{"filter", true, 100, 50, 50, 0, true, true, true},
		{"enrich", false, 0, 0, 0, 0, false, false, false},
		{"transform", true, 50, 40, 0, 10, true, true, true},
		{"deliver", true, 40, 38, 2, 2, true, true, true},
	}
	for i, s := range all {
		got := counts{s.Stage, s.Used, s.In, s.Out, s.Dropped, s.Failed, s.Passed != nil, s.Stopped != nil, s.P50Millis != nil && s.P95Millis != nil}
		if got != want[i] {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
	}
	if s := all[pipe.StageFilter].Stopped; !strings.Contains(s.Value, `"odd"`) || s.Why != `value.kind: ["even"] wanted, it is "odd"` || s.Key != "k" || s.Offset%2 != 1 {
		t.Errorf("dropped: %+v", s)
	}
	if s := all[pipe.StageTransform].Stopped; !strings.Contains(s.Note, "transform") || !strings.Contains(s.Value, `"x"`) {
		t.Errorf("not transformed: %+v", s)
	}
	if s := all[pipe.StageTransform].Passed; !strings.Contains(s.Result, "twice") || s.ResultSize == 0 {
		t.Errorf("transformed: %+v", s)
	}
	if s := all[pipe.StageDeliver].Stopped; s.Note != "not this one" || s.Withhold().Value != "" || s.Withhold().Why != "" || !s.Withhold().Withheld || s.Withhold().Note == "" {
		t.Errorf("refused: %+v", s)
	}
	if got := r.CountsOf(name); got != (pipe.Counts{Read: 100, Filtered: 50, Delivered: 38, DeadLettered: 12, Failed: 2}) {
		t.Errorf("%+v", got)
	}
	if _, err := r.Stages("nobody"); !errors.Is(err, pipe.ErrNoPipe) {
		t.Error(err)
	}
}

func TestTargetsSayWhatBecameOfAttempts(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{answer: func(events []*event.Event) error {
		if events[0].Record.Offset == 3 && events[0].Attempt == 1 {
			return errors.New("once")
		}
		return nil
	}}
	fill(t, c, name, 10, 10, []byte("1"))
	r, _ := l.start(t, c, catalog.Pipe{Name: name, Topics: []string{name}, Group: name, Start: "earliest", Delivery: catalog.Delivery{Backoff: catalog.Backoff{Min: time.Millisecond}}})
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 10 })
	all := r.Targets(func(string) bool { return true })
	if len(all) != 1 || all[0].Endpoint != "ledger:"+name || all[0].Count != 1 || all[0].State != pipe.BreakerClosed || all[0].Attempts != 11 || all[0].Well != 10 || all[0].P95Millis == nil {
		t.Errorf("%+v", all)
	}
	if all := r.Targets(func(string) bool { return false }); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// A pipe that is behind says how old the record is that it comes to next.
func TestBehindIsTheAgeOfTheNextRecord(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	made := time.Now().Add(-time.Hour)
	if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Value: []byte("1"), Timestamp: made}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	refuse := make(chan struct{})
	l := &ledger{answer: func([]*event.Event) error { <-refuse; return nil }}
	r, stop := l.start(t, c, catalog.Pipe{Name: name, Topics: []string{name}, Group: name, Start: "earliest"})
	defer stop()
	defer close(refuse)
	for range 2 { // asked, and remembered
		s, err := r.Status(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if behind := r.Behind(t.Context(), []pipe.Status{s})[0]; s.Lag != 1 || behind == nil || *behind < time.Hour || *behind > 3*time.Hour {
			t.Errorf("lag %d, behind %v", s.Lag, behind)
		}
	}
}
