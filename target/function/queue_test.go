package function

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

func TestAsynchronousEventsAreQueued(t *testing.T) {
	l := &lambdas{}
	f := opened(t, l, "", Config{Name: "f", Asynchronous: true})
	e := targettest.Event(1, "k", "ignored")
	e.Body = []byte(`{"n":1}`)
	e.Record.Headers = []kgo.RecordHeader{{Key: event.HeaderTrace, Value: []byte("Root=1-2-3")}}
	var ids []string
	for range 2 {
		if err := f.Deliver(t.Context(), []*event.Event{e}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.in.ID)
	}
	if l.name != "f" || string(l.in.Payload) != `{"n":1}` || l.in.Trace != "Root=1-2-3" || len(ids[0]) != 36 || ids[0] != ids[1] {
		t.Errorf("queued %q %+v, ids %q", l.name, l.in, ids)
	}
	e.ID = "another"
	if err := f.Deliver(t.Context(), []*event.Event{e}); err != nil || l.in.ID == ids[0] {
		t.Errorf("another delivery has the same id %q, %v", l.in.ID, err)
	}
}

func TestWhatTheQueueRefuses(t *testing.T) {
	large := targettest.Event(1, "k", `"`+strings.Repeat("a", function.MaxAsync)+`"`)
	for _, c := range []struct {
		name  string
		event *event.Event
		err   error
		code  string
		final bool
	}{
		{"no such function", targettest.Event(1, "k", "1"), function.ErrNotFound, target.CodeNoResource, true},
		{"no broker", targettest.Event(1, "k", "1"), errors.New("no broker"), target.CodeUnknown, false},
		{"too large", large, nil, target.CodeTarget, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := opened(t, &lambdas{err: c.err}, "", Config{Name: "f", Asynchronous: true})
			err := f.Deliver(t.Context(), []*event.Event{c.event})
			if err == nil || target.ErrorCode(err) != c.code || target.FailureOf(err).Final != c.final {
				t.Errorf("got %v (%s), want %s", err, target.ErrorCode(err), c.code)
			}
		})
	}
}
