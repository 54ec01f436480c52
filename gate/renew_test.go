package gate

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallersWhoStayAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, now, failure := 0, Principal{Name: "User:ann", Groups: []string{"readers"}}, error(nil)
		g := New(nil, newAuthority(t, Law{Rules: []Rule{{Who: []string{"group:readers"}, Can: []string{"consume"}, Topics: []string{"t"}}}}))
		who := now.Renewable(func(context.Context) (Principal, error) { asked++; return now, failure })
		may := func() string { return outcomeOf(g.allow(t.Context(), who, ReadData, "topic", "t")) }

		time.Sleep(renewAfter - time.Millisecond)
		if got := may(); got != passes || asked != 0 {
			t.Errorf("a call of the first moments: %s, asked %d times", got, asked)
		}
		time.Sleep(time.Millisecond)
		now.Groups = nil
		if got := may(); got == passes || asked != 1 {
			t.Errorf("after the caller has left the group: %s, asked %d times", got, asked)
		}
		now.Groups = []string{"readers"}
		time.Sleep(renewAfter)
		if got := may(); got != passes || asked != 2 {
			t.Errorf("after the caller is back: %s, asked %d times", got, asked)
		}
		if may(); asked != 2 {
			t.Errorf("asked %d times for two calls at once", asked)
		}
		failure = &Error{Unauthenticated, "revoked"}
		time.Sleep(renewAfter)
		if err := g.allow(t.Context(), who, ReadData, "topic", "t"); Classify(err) != Unauthenticated {
			t.Errorf("with a key that is not good any more: %v", err)
		}
		failure, now.Name = nil, "User:bob"
		time.Sleep(renewAfter)
		if err := g.allow(t.Context(), who, ReadData, "topic", "t"); Classify(err) != Unauthenticated {
			t.Errorf("as somebody else: %v", err)
		}
		// Who gives up has learned nothing.
		now.Name = "User:ann"
		time.Sleep(renewAfter)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		failure = context.Canceled
		if err := g.allow(gone, who, ReadData, "topic", "t"); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		failure = nil
		if got := may(); got != passes {
			t.Errorf("the next call: %s", got)
		}
	})
}

func TestRenewalKeepsWhatBelongsToTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		request := &Request{ID: "r", Method: "GET", Path: "/x"}
		old := Principal{Name: "User:ann", KeyID: "k", Secure: true, Groups: []string{"a"}}
		who := old.Renewable(func(context.Context) (Principal, error) {
			return Principal{Name: "User:ann", Groups: []string{"b"}}, nil
		}).Within(request)
		time.Sleep(renewAfter)
		if err := who.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if who.request != request || who.KeyID != "k" || !who.Secure || !slices.Equal(who.Groups, []string{"b"}) {
			t.Errorf("got %+v", who)
		}
	})
}
