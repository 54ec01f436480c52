package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A cluster keeps what is written, and refuses keys that err is for.
type cluster struct {
	got []*kgo.Record
	err map[string]error
}

func (c *cluster) produce(_ context.Context, records ...*kgo.Record) (results kgo.ProduceResults) {
	for _, r := range records {
		err := c.err[string(r.Key)]
		if err == nil {
			c.got = append(c.got, r)
		}
		results = append(results, kgo.ProduceResult{Record: r, Err: err})
	}
	return results
}

func opened(t *testing.T, c *cluster, config Config) target.Target {
	t.Helper()
	config.Validate(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	env := targettest.Env(t, "")
	env.Produce = c.produce
	tg, err := Kind().Open(raw, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

func headers(r *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, h := range r.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

const envelope = `{"version":"0","id":"e-1","detail-type":"order","source":"shop","detail":{"customer":7}}`

func forwarded(n int64, value string, more ...kgo.RecordHeader) *event.Event {
	e := targettest.Event(n, "key", value)
	e.Record.Headers = more
	return e
}

func header(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}

func TestForwardedEventsStayAsTheyAre(t *testing.T) {
	c := &cluster{}
	tg := opened(t, c, Config{Name: "a/b", Forward: true})
	e := forwarded(1, envelope, header(event.HeaderRules, "r"), header(event.HeaderSchedule, "s"), header(event.HeaderReplay, "again"), header(event.HeaderTrace, "Root=1"), header(event.HeaderBusHops, "2"), header("else", "x"))
	e.Body = []byte(`"input"`)
	if err := tg.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	r := c.got[0]
	want := map[string]string{event.HeaderReplay: "again", event.HeaderTrace: "Root=1", event.HeaderBusHops: "3", event.HeaderHops: "1"}
	if diff := cmp.Diff(want, headers(r)); diff != "" || r.Topic != event.BusTopic("a/b") || string(r.Value) != envelope || string(r.Key) != "e-1" || r.Partition != -1 {
		t.Errorf("wrote %+v, headers (-want +got):\n%s", r, diff)
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct{ name, order, in, want string }{
		{"the id", "", envelope, "e-1"},
		{"a number", "$.detail.customer", envelope, "7"},
		{"a text", "$.source", envelope, "shop"},
		{"nothing there", "$.detail.gone", envelope, "e-1"},
		{"null there", "$.detail.x", `{"id":"e-2","detail":{"x":null}}`, "e-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := &cluster{}
			if err := opened(t, to, Config{Name: "b", OrderKey: c.order, Forward: true}).Deliver(t.Context(), []*event.Event{forwarded(1, c.in)}); err != nil {
				t.Fatal(err)
			}
			if got := string(to.got[0].Key); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatCannotBeForwarded(t *testing.T) {
	c := &cluster{err: map[string]error{"no": kerr.MessageTooLarge, "later": kerr.NotLeaderForPartition}}
	tg := opened(t, c, Config{Name: "b", Forward: true})
	err := tg.Deliver(t.Context(), []*event.Event{
		forwarded(1, `{"id":"yes"}`), forwarded(2, `{"id":`), forwarded(3, `{"id":"no"}`), forwarded(4, `{"id":"later"}`), forwarded(5, envelope, header(event.HeaderHops, fmt.Sprint(event.MaxHops))),
	})
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 4 || len(c.got) != 1 {
		t.Fatalf("got %v, %d written", err, len(c.got))
	}
	for i, final := range map[int]bool{1: true, 2: true, 3: false, 4: true} {
		if f := target.FailureOf(partial.Failed[i]); f.Final != final {
			t.Errorf("event %d: %v is final: %v", i, f, f.Final)
		}
	}
	if err := tg.Deliver(t.Context(), []*event.Event{forwarded(4, `{"id":"later"}`)}); err == nil || target.FailureOf(err).Final {
		t.Errorf("one event: %v", err)
	}
}

func put(p Put) Config {
	p.Account, p.Region = "000000000000", "us-east-1"
	return Config{Name: "b", Put: &p}
}

func TestPipesPutEvents(t *testing.T) {
	record := `{"src":"shop","type":"order","arn":"arn:x","at":"2026-08-01T14:00:00+02:00","ms":1785585600123,"s":1785585600,"bad":"noon"}`
	type made struct {
		Source     string
		DetailType string `json:"detail-type"`
		Time       string
		Account    string
		Region     string
		Resources  []string
		Detail     json.RawMessage
	}
	for _, c := range []struct {
		name string
		in   Put
		body string
		want made
		err  string
	}{
		{"constants", Put{Source: "s", DetailType: "d", Resources: []string{"r"}, Time: "$.value.s"}, `{"a": 1}`, made{Source: "s", DetailType: "d", Time: "2026-08-01T12:00:00Z", Resources: []string{"r"}, Detail: []byte(`{"a":1}`)}, ""},
		{"paths", Put{Source: "$.value.src", DetailType: "$.value.type", Resources: []string{"$.value.arn", "x $.y"}, Time: "$.value.at"}, `{}`,
			made{Source: "shop", DetailType: "order", Time: "2026-08-01T12:00:00Z", Resources: []string{"arn:x", "x $.y"}, Detail: []byte(`{}`)}, ""},
		{"milliseconds", Put{Source: "s", DetailType: "d", Time: "$.value.ms"}, `{}`, made{Source: "s", DetailType: "d", Time: "2026-08-01T12:00:00Z", Resources: []string{}, Detail: []byte(`{}`)}, ""},
		{"no time", Put{Source: "s", DetailType: "d", Time: "$.value.bad"}, `{}`, made{}, "RFC 3339"},
		{"no source", Put{Source: "$.value.gone", DetailType: "d"}, `{}`, made{}, "no source"},
		{"no object", Put{Source: "s", DetailType: "d"}, `[1]`, made{}, "JSON object"},
		{"a reserved source", Put{Source: "aws.s", DetailType: "d"}, `{}`, made{}, "aws."},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := &cluster{}
			tg := opened(t, to, put(c.in))
			e := targettest.Event(1, "k", record)
			e.Body = []byte(c.body)
			err := tg.Deliver(t.Context(), []*event.Event{e})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !target.FailureOf(err).Final || string(e.Body) != c.body {
					t.Errorf("got %v, want one about %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got made
			if err := json.Unmarshal(to.got[0].Value, &got); err != nil {
				t.Fatal(err)
			}
			c.want.Account, c.want.Region = "000000000000", "us-east-1"
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestIdsAreTheSameInEveryAttempt(t *testing.T) {
	c := &cluster{}
	tg := opened(t, c, put(Put{Source: "s", DetailType: "d"}))
	a, b := targettest.Event(1, "k", "{}"), targettest.Event(2, "k", "{}")
	twin := *b
	for _, batch := range [][]*event.Event{{a, b, &twin}, {b, &twin}, {a}} {
		if err := tg.Deliver(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, r := range c.got {
		ids = append(ids, string(r.Key))
	}
	if ids[0] == ids[1] || ids[1] == ids[2] || ids[1] != ids[3] || ids[2] != ids[4] || ids[0] != ids[5] || ids[0][14] != '4' {
		t.Errorf("ids %q", ids)
	}
}

func TestConfigurationFilesCannotHaveIt(t *testing.T) {
	problems := 0
	Kind().Config().Validate(func(string, string) { problems++ })
	if problems == 0 {
		t.Error("an empty configuration is accepted")
	}
}
