package webhook

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// TestTargetsOfAConnectionShareTheirTokens opens targets of the same connection, and one
// of another: who shares has the token that the others have got, as long as one is open.
func TestTargetsOfAConnectionShareTheirTokens(t *testing.T) {
	s := newIssuer(t)
	kind := Kind()
	open := func(connection string) *webhook {
		t.Helper()
		c := s.config()
		c.Auth.OAuth.Connection = connection
		tg, err := kind.Open(encoded(t, c), targettest.Env(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		return tg.(*webhook)
	}
	first, second, other := open("c/1"), open("c/1"), open("d/1")
	for i, step := range []struct {
		by   *webhook
		want int64 // tokens so far
	}{{first, 1}, {second, 1}, {other, 2}, {first, 2}} {
		if err := deliver(t, step.by); err != nil {
			t.Fatalf("delivery %d: %v", i, err)
		}
		s.wantIssued(t, step.want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s.revoke()
	if err := deliver(t, second); err != nil { // the tokens are not closed with the first
		t.Fatal(err)
	}
	s.wantIssued(t, 3)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := open("c/1")
	if err := deliver(t, third); err != nil {
		t.Fatal(err)
	}
	s.wantIssued(t, 4)
	for _, w := range []*webhook{third, other} {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExchangesOfAConnectionAreTold has an endpoint that refuses, and one that does not.
func TestExchangesOfAConnectionAreTold(t *testing.T) {
	s := newIssuer(t)
	s.status = 400
	told := make(chan error, 10)
	env := targettest.Env(t, "")
	env.LoggedIn = func(_ context.Context, connection string, err error) {
		if connection != "c/1" {
			t.Errorf("told of %q", connection)
		}
		told <- err
	}
	c := s.config()
	c.Auth.OAuth.Connection = "c/1"
	w := opened(t, c, env)
	k := &clock{}
	w.tokens.now = k.now
	if err := deliver(t, w); err == nil || target.FailureOf(err).Final {
		t.Fatalf("without a token: %v, want an error that is retried", err)
	}
	if err := <-told; err == nil {
		t.Error("a refusal was told as a success")
	}
	s.set(func() { s.status = 200 })
	k.advance(time.Hour)
	if err := deliver(t, w); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err != nil {
		t.Errorf("a token was told as %v", err)
	}
}

func TestLogIn(t *testing.T) {
	s := newIssuer(t)
	raw := encoded(t, s.config().Auth.OAuth)
	if err := LogIn(t.Context(), raw, targettest.Env(t, "")); err != nil {
		t.Error(err)
	}
	s.set(func() { s.status = 401 })
	const want = "HTTP status 401 (invalid_client)"
	if err := LogIn(t.Context(), raw, targettest.Env(t, "")); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("refused: %v, want %q", err, want)
	}
	if err := LogIn(t.Context(), []byte(`{"token_url":"nowhere"}`), targettest.Env(t, "")); err == nil {
		t.Error("a configuration without a URL was taken")
	}
}

func encoded(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
