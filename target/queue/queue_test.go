package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// started opens a target; its errors are those of the configuration.
func started(t *testing.T, c Config, batch string) target.Target {
	t.Helper()
	return targettest.Subject{Kind: Kind(), Config: c}.Open(t, batch)
}

// batch makes events with the given keys, an empty one being none, whose values
// are 0, 1, 2 and so on.
func batch(keys ...string) (all []*event.Event) {
	for i, key := range keys {
		e := targettest.Event(int64(i), key, fmt.Sprint(i))
		if e.ID = ""; key == "" {
			e.Record.Key = nil
		}
		all = append(all, e)
	}
	return all
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A recorder is a sender that refuses some payloads.
type recorder struct {
	mu     sync.Mutex
	waves  []string
	refuse map[string]error
}

func (r *recorder) send(_ context.Context, messages []*message) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := make([]error, len(messages))
	var wave []string
	for i, m := range messages {
		wave = append(wave, string(m.event.Payload()))
		errs[i] = r.refuse[string(m.event.Payload())]
	}
	r.waves = append(r.waves, strings.Join(wave, " "))
	return errs
}

func (r *recorder) close() error { return nil }

func TestOrderWithinAKeyIsKeptThroughRefusals(t *testing.T) {
	busy, bad := errors.New("busy"), target.Permanent(errors.New("bad"))
	for _, test := range []struct {
		name    string
		keys    []string
		refuse  map[string]error
		ordered bool
		waves   []string
		failed  []int
	}{
		{"one wave of what may overtake", []string{"a", "b", "", "", "c"}, nil, true, []string{"0 1 2 3 4"}, nil},
		{"a wave for each of a key", []string{"a", "b", "a", "", "a", "b"}, nil, true, []string{"0 1 3", "2 5", "4"}, nil},
		{"nothing overtakes a refusal", []string{"a", "b", "a", "", "a", "b"}, map[string]error{"0": busy}, true, []string{"0 1 3", "5"}, []int{0, 2, 4}},
		{"what is given up holds nobody back", []string{"a", "b", "a"}, map[string]error{"0": bad}, true, []string{"0 1", "2"}, []int{0}},
		{"a queue without order", []string{"a", "a", "a"}, map[string]error{"1": busy}, false, []string{"0 1 2"}, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{refuse: test.refuse}
			q := &queue{name: "q", pipe: "p", ordered: test.ordered, sender: r}
			err := q.Deliver(t.Context(), batch(test.keys...))
			if diff := cmp.Diff(test.waves, r.waves); diff != "" {
				t.Error(diff)
			}
			var partial *target.PartialError
			var failed []int
			if errors.As(err, &partial) {
				for i := range partial.Failed {
					failed = append(failed, i)
				}
				slices.Sort(failed)
			}
			if diff := cmp.Diff(test.failed, failed); diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestOutcomeOfAWholeBatch(t *testing.T) {
	busy := errors.New("busy")
	q := &queue{name: "q", ordered: true, sender: &recorder{refuse: map[string]error{"0": busy, "1": busy}}}
	var partial *target.PartialError
	if err := q.Deliver(t.Context(), batch("a", "b")); !errors.Is(err, busy) || errors.As(err, &partial) {
		t.Errorf("got %v", err)
	}
	if err := q.Deliver(t.Context(), batch("a")); !errors.Is(err, busy) || errors.As(err, &partial) {
		t.Errorf("got %v", err)
	}
}

// TestIDsStayWhenAPartOfABatchIsTriedAgain holds the ids to those of a pipe,
// which names the first event of a batch only.
func TestIDsStayWhenAPartOfABatchIsTriedAgain(t *testing.T) {
	q := &queue{pipe: "p"}
	all := batch("a", "b")
	all[0].ID = "another"
	const want = "p:source:3:1:loyw3v28"
	if got := q.message(1, all[1]).id; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	all[1].ID = "now it is the first"
	if got := q.message(0, all[1]).id; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	q.single = true
	if got := q.message(0, all[0]).id; got != "another" {
		t.Errorf("got %s", got)
	}
}

func TestConfigProblems(t *testing.T) {
	s := secret.Ref{Value: "s"}
	for _, test := range []struct {
		name string
		in   Config
		want []string
	}{
		{"nothing", Config{}, []string{""}},
		{"two", Config{SQS: &SQS{URL: "https://sqs.x.amazonaws.com/1/q", AccessKey: s, SecretKey: s}, AMQP: &AMQP{URL: "amqp://h"}}, []string{""}},
		{"sqs", Config{SQS: &SQS{URL: "https://sqs", Endpoint: "h", Region: "a b"}}, []string{"sqs.access_key", "sqs.endpoint", "sqs.region", "sqs.secret_key", "sqs.url"}},
		{"sqs with credentials in the URL", Config{SQS: &SQS{URL: "https://a:b@h/1/q", AccessKey: s, SecretKey: s}}, []string{"sqs.url"}},
		{"nats", Config{NATS: &NATS{}}, []string{"nats.servers", "nats.subject"}},
		{"nats servers", Config{NATS: &NATS{Servers: []string{"http://h", "nats://a:b@h", "nats://h/x"}, Subject: "a"}}, []string{"nats.servers[0]", "nats.servers[1]", "nats.servers[2]"}},
		{"nats subjects", Config{NATS: &NATS{Servers: []string{"nats://h"}, Subject: "a.*", Stream: "a.b"}}, []string{"nats.stream", "nats.subject"}},
		{"a system subject", Config{NATS: &NATS{Servers: []string{"nats://h"}, Subject: "$JS.API.{topic}"}}, []string{"nats.subject"}},
		{"an unknown placeholder", Config{NATS: &NATS{Servers: []string{"nats://h"}, Subject: "a.{key}"}}, []string{"nats.subject"}},
		{"nats logins", Config{NATS: &NATS{Servers: []string{"nats://h"}, Subject: "a", Username: "u", Token: s}}, []string{"nats.", "nats.username"}},
		{"nats tls", Config{NATS: &NATS{Servers: []string{"nats://h", "tls://h"}, Subject: "a", TLS: &TLS{Key: s, ServerName: "a b"}}}, []string{"nats.tls", "nats.tls.certificate", "nats.tls.server_name"}},
		{"amqp", Config{AMQP: &AMQP{URL: "http://h", Exchange: "a\n", RoutingKey: "{key}", Password: s}}, []string{"amqp.exchange", "amqp.routing_key", "amqp.url", "amqp.username"}},
		{"amqp with TLS for nothing", Config{AMQP: &AMQP{URL: "amqp://h", TLS: &TLS{CA: s}}}, []string{"amqp.tls"}},
		{"all of sqs", Config{SQS: &SQS{URL: "http://127.0.0.1:4566/0/q.fifo", Endpoint: "http://h:1", Region: "eu-1", AccessKey: s, SecretKey: s}}, nil},
		{"all of nats", Config{NATS: &NATS{Servers: []string{"tls://h:4222"}, Subject: "k.{topic}.{partition}", Stream: "S", Credentials: s, TLS: &TLS{CA: s}}}, nil},
		{"all of amqp", Config{AMQP: &AMQP{URL: "amqps://h:5671/%2F", Exchange: "e", RoutingKey: "k.{topic}", Username: "u", Password: s, TLS: &TLS{CA: s}}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			test.in.Validate(func(path, _ string) { got = append(got, path) })
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	s := secret.Ref{Value: "s"}
	env := targettest.Env(t, "")
	var err error
	if env.Egress, err = target.NewEgress(nil, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{
		{SQS: &SQS{URL: "https://sqs.eu-1.amazonaws.com/1/q", Endpoint: "http://169.254.169.254", AccessKey: s, SecretKey: s}},
		{NATS: &NATS{Servers: []string{"nats://demo.example.com", "nats://10.0.0.1"}, Subject: "a"}},
		{AMQP: &AMQP{URL: "amqp://localhost:5672"}},
	} {
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Kind().Open(raw, env); !errors.Is(err, target.ErrEgress) {
			t.Errorf("%s: got %v", raw, err)
		}
	}
	// What a name stands for is decided about when a connection is made.
	if _, err := dialer(env.Egress).Dial("tcp", "127.0.0.1:1"); !errors.Is(err, target.ErrEgress) {
		t.Errorf("the dialer: got %v", err)
	}
}

// openError is what opening a target fails with.
func openError(t *testing.T, c Config) error {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := Kind().Open(raw, targettest.Env(t, ""))
	if err == nil {
		_ = tg.Close()
	}
	return err
}
