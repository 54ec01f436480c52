package pipe

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// An oracle gives the same answer to everything.
type oracle struct{ answer string }

func (o oracle) Deliver(context.Context, []*event.Event) error { return nil }
func (o oracle) Close() error                                  { return nil }
func (o oracle) Invoke(context.Context, []*event.Event) ([]byte, error) {
	if o.answer == "fail" {
		return nil, errors.New("no")
	}
	return []byte(o.answer), nil
}

func TestTheAnswerTakesTheEventsPlace(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   []string
		fails  bool
		final  bool
	}{
		{answer: ``}, {answer: `""`}, {answer: ` {  } `}, {answer: `[]`}, {answer: `null`},
		{answer: `[{}]`, want: []string{`{}`}},
		{answer: `{"a":1}`, want: []string{`{"a":1}`}},
		{answer: `5`, want: []string{`5`}},
		{answer: `not json`, want: []string{`not json`}},
		{answer: " not json\n", want: []string{" not json\n"}},
		{answer: " \r\n "}, {answer: " 5\n", want: []string{`5`}},
		{answer: `[1,{"b":2}]`, want: []string{`1`, `{"b":2}`}},
		{answer: `[1]`, want: []string{`1`}},
		{answer: `[1,2,3]`, fails: true, final: true},
		{answer: `fail`, fails: true},
	} {
		t.Run(c.answer, func(t *testing.T) {
			e := &enrichment{invoker: oracle{c.answer}, timeout: time.Second, batch: 2}
			in := []*event.Event{{Record: &kgo.Record{Offset: 7}, ID: "id", Attempt: 3}, {Record: &kgo.Record{Offset: 8}, Attempt: 3}}
			out, err := e.apply(t.Context(), in)
			if (err != nil) != c.fails || c.fails && target.FailureOf(err).Final != c.final {
				t.Fatal(err)
			}
			var got []string
			for _, e := range out {
				got = append(got, string(e.Body))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if len(out) > 0 && (out[0].ID != "id" || out[0].Attempt != 3 || out[0].Record.Offset != 7) {
				t.Errorf("first event: %+v", out[0])
			}
			if len(out) == 2 && out[1].Record.Offset != 8 {
				t.Errorf("second event: %+v", out[1].Record)
			}
		})
	}
}
