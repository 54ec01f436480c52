// Package targettest is the suite that every target runs.
//
// A target's own test makes a Subject, which knows how to point the target at a
// receiver and what the receiver got, and calls Run; what is special about the
// target it tests besides.
package targettest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// A Subject is a target kind with a receiver to point it at.
type Subject struct {
	Kind target.Kind
	// Config is a configuration that reaches the receiver.
	Config any
	// Received returns the payloads that the receiver has got, in order.
	Received func() []string
	// Fail makes the receiver refuse everything in a way that is worth another
	// attempt, until it is called with false.
	Fail func(failing bool)
	// Stall makes the receiver answer nothing until it is called with false.
	Stall func(stalled bool)
}

// Env is what targets are given in tests: every address may be reached.
func Env(t testing.TB, batch string) target.Env {
	t.Helper()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	transport := egress.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return target.Env{Pipe: "test", Batch: batch, Transport: transport, Egress: egress, Secret: secret.Local, Log: slog.New(slog.DiscardHandler)}
}

// Open makes the subject's target.
func (s Subject) Open(t testing.TB, batch string) target.Target {
	t.Helper()
	config, err := json.Marshal(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := s.Kind.Open(config, Env(t, batch))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

// Event makes an event with a value.
func Event(offset int64, key, value string) *event.Event {
	return &event.Event{
		Record:  &kgo.Record{Topic: "source", Partition: 3, Offset: offset, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_000_000)},
		ID:      fmt.Sprint("id-", offset),
		Attempt: 1,
	}
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	t.Run("the configuration is valid and decodes strictly", func(t *testing.T) {
		config, err := json.Marshal(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Kind.Config()
		if err := json.Unmarshal(config, c); err != nil {
			t.Fatal(err)
		}
		c.Validate(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
		empty := 0
		s.Kind.Config().Validate(func(string, string) { empty++ })
		if empty == 0 {
			t.Error("an empty configuration is accepted")
		}
	})
	t.Run("what is delivered arrives", func(t *testing.T) {
		tg := s.Open(t, "")
		before := len(s.Received())
		for i := range 3 {
			if err := tg.Deliver(t.Context(), []*event.Event{Event(int64(i), "k", fmt.Sprintf(`{"n":%d}`, i))}); err != nil {
				t.Fatal(err)
			}
		}
		got := s.Received()[before:]
		if len(got) != 3 || got[0] != `{"n":0}` || got[2] != `{"n":2}` {
			t.Errorf("received %q", got)
		}
	})
	t.Run("a refusal is an error that allows another attempt", func(t *testing.T) {
		tg := s.Open(t, "")
		s.Fail(true)
		err := tg.Deliver(t.Context(), []*event.Event{Event(1, "k", "1")})
		s.Fail(false)
		if err == nil {
			t.Fatal("no error")
		}
		if target.FailureOf(err).Final {
			t.Errorf("%v is marked as permanent", err)
		}
		if err := tg.Deliver(t.Context(), []*event.Event{Event(1, "k", "1")}); err != nil {
			t.Errorf("the second attempt: %v", err)
		}
	})
	t.Run("a silent receiver costs no more than the time given", func(t *testing.T) {
		tg := s.Open(t, "")
		s.Stall(true)
		defer s.Stall(false)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := tg.Deliver(ctx, []*event.Event{Event(1, "k", "1")}); err == nil {
			t.Error("no error")
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("many goroutines may deliver", func(t *testing.T) {
		tg := s.Open(t, "")
		before := len(s.Received())
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if err := tg.Deliver(t.Context(), []*event.Event{Event(int64(i), "k", "1")}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := len(s.Received()) - before; got != 50 {
			t.Errorf("%d arrived, want 50", got)
		}
	})
}
