package event

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestReplayedEventsSayOfWhich(t *testing.T) {
	e := Envelope{ID: "1", DetailType: "t", Source: `s"region":"x`, Account: "0", Region: "r", Time: time.Date(2024, 3, 1, 12, 2, 0, 0, time.UTC), Resources: []string{"a"}, Detail: []byte(`{"region":"no","n":1.50}`)}
	live := e.Append(nil)
	e.Replay = `again "1"`
	want := e.Append(nil)
	got, ok := AppendReplayed([]byte("x"), live, e.Replay)
	if !ok || string(got) != "x"+string(want) {
		t.Errorf("got  %s\nwant x%s", got, want)
	}
	if _, ok := AppendReplayed(nil, got[1:], "b"); ok {
		t.Error("a replayed event is replayed")
	}
	if at, ok := TimeOf(live); !ok || !at.Equal(e.Time) {
		t.Errorf("got the time %s %v", at, ok)
	}
	for _, text := range []string{"", "{}", "[]", `{"time":5}`, `{"time":"x"}`, `{"time"}`, `{"region":"r"`, `"time"`, `{"detail":{"time":"2024-03-01T12:02:00Z"}}`, `{"time":"`} {
		if at, ok := TimeOf([]byte(text)); ok {
			t.Errorf("%s has the time %s", text, at)
		}
		if got, ok := AppendReplayed(nil, []byte(text), "r"); ok {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func FuzzAppendReplayed(f *testing.F) {
	e := Envelope{ID: "1", DetailType: "t", Source: "s", Region: "r", Detail: []byte("{}")}
	f.Add(e.Append(nil), "replay")
	f.Add([]byte(` { "region" : {} , "x":[] } `), "a\"b")
	f.Fuzz(func(t *testing.T, envelope []byte, replay string) {
		TimeOf(envelope)
		got, ok := AppendReplayed(nil, envelope, replay)
		if !ok {
			return
		}
		var was, is map[string]json.RawMessage
		if err := json.Unmarshal(envelope, &was); err != nil {
			t.Fatalf("%q is taken: %v", envelope, err)
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", envelope, got, err)
		}
		for name, value := range was {
			if name != "replay-name" && !bytes.Equal(is[name], value) {
				t.Fatalf("%q became %q", envelope, got)
			}
		}
	})
}
