package function

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// lambdas answers as the test says, and keeps what it was asked.
type lambdas struct {
	out  function.Outcome
	err  error
	name string
	in   function.Invocation
}

func (l *lambdas) invoke(_ context.Context, name string, in function.Invocation) (function.Outcome, error) {
	l.name, l.in = name, in
	return l.out, l.err
}

func (l *lambdas) enqueue(_ context.Context, name string, in function.Invocation) error {
	l.name, l.in = name, in
	return l.err
}

func opened(t *testing.T, l *lambdas, batch string, c Config) target.Invoker {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	env := targettest.Env(t, batch)
	env.Invoke, env.Enqueue = l.invoke, l.enqueue
	tg, err := Kind().Open(config, env)
	if err != nil {
		t.Fatal(err)
	}
	return tg.(target.Invoker)
}

func TestPayload(t *testing.T) {
	one, two := targettest.Event(1, "k", `{"n":1}`), targettest.Event(2, "k", "text")
	for _, c := range []struct {
		name   string
		batch  string
		config Config
		events []*event.Event
		want   string
	}{
		{"one", "", Config{Name: "f"}, []*event.Event{one}, `{"n":1}`},
		{"text", "", Config{Name: "f"}, []*event.Event{two}, `"text"`},
		{"batch", "json", Config{Name: "f"}, []*event.Event{one, two}, `[{"n":1},"text"]`},
		{"batch of one", "json", Config{Name: "f"}, []*event.Event{one}, `[{"n":1}]`},
		{"always an array", "", Config{Name: "f", Array: true}, []*event.Event{one}, `[{"n":1}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lambdas{}
			if err := opened(t, l, c.batch, c.config).Deliver(t.Context(), c.events); err != nil || string(l.in.Payload) != c.want || l.name != "f" || l.in.Wait >= 0 {
				t.Errorf("got %v, %s of %s, waiting %s; want %s", err, l.in.Payload, l.name, l.in.Wait, c.want)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	events := []*event.Event{targettest.Event(1, "k", "1"), targettest.Event(2, "k", "2")}
	for _, c := range []struct {
		name   string
		config Config
		out    function.Outcome
		err    error
		want   string // of the error
		failed string // positions of those that were refused
		after  time.Duration
	}{
		{"answer", Config{}, function.Outcome{Payload: []byte(`"what it likes"`)}, nil, "", "", 0},
		{"failure", Config{}, function.Outcome{Error: function.Unhandled, Payload: []byte(`{"errorMessage":"boom"}`)}, nil, "boom", "", 0},
		{"busy", Config{}, function.Outcome{}, function.ErrThrottled, "busy", "", throttledWait},
		{"not there", Config{}, function.Outcome{}, function.ErrNotFound, "not reached", "", 0},
		{"refused", Config{ReportFailures: true}, function.Outcome{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"source-3-2"}]}`)}, nil, "", "1", 0},
		{"refused, to a pipe of EventBridge", Config{Array: true}, function.Outcome{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"source-3-1"}]}`)}, nil, "", "0", 0},
		{"not understood", Config{ReportFailures: true}, function.Outcome{Payload: []byte(`"ok"`)}, nil, "no list of failures", "", 0},
		{"not a report", Config{Array: true}, function.Outcome{Payload: []byte(`"ok"`)}, nil, "", "", 0},
		{"not asked for", Config{}, function.Outcome{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"source-3-2"}]}`)}, nil, "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Name = "f"
			err := opened(t, &lambdas{out: c.out, err: c.err}, "json", c.config).Deliver(t.Context(), events)
			var partial *target.PartialError
			var failed []string
			if errors.As(err, &partial) {
				for i := range events {
					if partial.Failed[i] != nil {
						failed = append(failed, string(rune('0'+i)))
					}
				}
				err = nil
			}
			if got := strings.Join(failed, ","); got != c.failed {
				t.Errorf("refused %q, want %q", got, c.failed)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if f := target.FailureOf(err); err != nil && (f.Final || f.After != c.after) {
				t.Errorf("final %v, after %s", f.Final, f.After)
			}
		})
	}
}

func TestQueued(t *testing.T) {
	l := &lambdas{}
	r := &kgo.Record{Key: []byte("g"), Value: []byte("5"), Headers: []kgo.RecordHeader{{Key: function.QueuedID, Value: []byte("id")}, {Key: function.QueuedTrace, Value: []byte("t")}}}
	if err := opened(t, l, "", Config{Queued: true}).Deliver(t.Context(), []*event.Event{{Record: r}}); err != nil || l.name != "g" || string(l.in.Payload) != "5" || l.in.ID != "id" || l.in.Trace != "t" {
		t.Errorf("got %v, %s %+v", err, l.name, l.in)
	}
}
