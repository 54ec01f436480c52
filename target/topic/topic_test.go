package topic

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// written is a produce function that keeps what it is given and refuses values
// that begin with "no".
func written(records *[]*kgo.Record, refusal error) func(context.Context, ...*kgo.Record) kgo.ProduceResults {
	return func(_ context.Context, rs ...*kgo.Record) (results kgo.ProduceResults) {
		for _, r := range rs {
			var err error
			if strings.HasPrefix(string(r.Value), "no") {
				err = refusal
			} else {
				*records = append(*records, r)
			}
			results = append(results, kgo.ProduceResult{Record: r, Err: err})
		}
		return results
	}
}

func TestRecordsKeepKeyAndHeaders(t *testing.T) {
	var got []*kgo.Record
	tg := &topic{name: "out", produce: written(&got, nil)}
	e := targettest.Event(1, "k", "v")
	e.Record.Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: event.HeaderHops, Value: []byte("4")}}
	if err := tg.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	r := got[0]
	if r.Topic != "out" || r.Partition != -1 || string(r.Key) != "k" || string(r.Value) != "v" || len(r.Headers) != 2 || r.Headers[0].Key != "a" || string(r.Headers[1].Value) != "5" {
		t.Errorf("wrote %+v", r)
	}
}

func TestOnlyHeadersThatAreNamedAreKept(t *testing.T) {
	var got []*kgo.Record
	tg := &topic{name: "out", headers: []string{"b"}, produce: written(&got, nil)}
	e := targettest.Event(1, "k", "v")
	e.Record.Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}, {Key: event.HeaderHops, Value: []byte("4")}}
	if err := tg.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	if h := got[0].Headers; len(h) != 2 || h[0].Key != "b" || string(h[1].Value) != "5" {
		t.Errorf("wrote %+v", h)
	}
}

func TestErrorCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		in   error
		want string
	}{
		{"too large", kerr.MessageTooLarge, target.CodeLimit},
		{"no such topic", kerr.UnknownTopicOrPartition, target.CodeNoResource},
		{"not allowed", kerr.TopicAuthorizationFailed, target.CodePermissions},
		{"in vain", kgo.ErrRecordTimeout, target.CodeTimeout},
		{"anything else", kerr.NotLeaderForPartition, target.CodeTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := target.ErrorCode((&topic{name: "out"}).explain(c.in)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRefusedRecordsAreNamed(t *testing.T) {
	var got []*kgo.Record
	tg := &topic{name: "out", produce: written(&got, kerr.MessageTooLarge)}
	err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "yes"), targettest.Event(2, "k", "no"), targettest.Event(3, "k", "yes")})
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 1 || !target.FailureOf(partial.Failed[1]).Final {
		t.Errorf("got %v", err)
	}
	if err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(2, "k", "no")}); !target.FailureOf(err).Final {
		t.Errorf("a record that is too large is tried again: %v", err)
	}
}

func TestLoopsEnd(t *testing.T) {
	var got []*kgo.Record
	tg := &topic{name: "out", produce: written(&got, nil)}
	e := targettest.Event(1, "k", "v")
	e.Record.Headers = []kgo.RecordHeader{{Key: event.HeaderHops, Value: []byte("32")}}
	if err := tg.Deliver(t.Context(), []*event.Event{e}); !target.FailureOf(err).Final || len(got) != 0 {
		t.Errorf("got %v, wrote %d", err, len(got))
	}
}

func TestClusters(t *testing.T) {
	here, there := 0, 0
	writer := func(n *int) target.Produce {
		return func(_ context.Context, records ...*kgo.Record) kgo.ProduceResults {
			*n += len(records)
			return make(kgo.ProduceResults, len(records))
		}
	}
	env := target.Env{Produce: writer(&here), Clusters: map[string]target.Produce{"there": writer(&there)}}
	for _, c := range []struct {
		config      string
		here, there int
		fails       bool
	}{
		{`{"name":"t"}`, 1, 0, false},
		{`{"name":"t","cluster":"there"}`, 1, 1, false},
		{`{"name":"t","cluster":"nowhere"}`, 1, 1, true},
		{`{"name":"t","cluster":"there","transactional":true}`, 1, 1, true},
		{`{"name":"t","transactional":true}`, 2, 1, false},
	} {
		opened, err := Kind().Open([]byte(c.config), env)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.config, err)
		}
		if err == nil {
			if err := opened.Deliver(t.Context(), []*event.Event{{Record: &kgo.Record{Topic: "s"}}}); err != nil {
				t.Errorf("%s: %v", c.config, err)
			}
		}
		if here != c.here || there != c.there {
			t.Errorf("%s: %d and %d records written, want %d and %d", c.config, here, there, c.here, c.there)
		}
	}
}
