package gate

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

func TestAuditInMemory(t *testing.T) {
	a, err := NewAudit(AuditConfig{}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	g := New(nil)
	g.Record(a)
	if g.Guarded() {
		t.Error("a log in memory alone makes every call one that is asked about")
	}
	alice := Principal{Name: "User:alice", Scheme: SchemeBasic}
	ask := func(q AuditQuery) AuditAnswer {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = 10_000
		}
		answer, err := g.Audited(t.Context(), alice, q)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if err := g.Admin(t.Context(), alice, AdminRead, Resource{Kind: "cluster"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(AuditQuery{}); len(got.Lines) != 0 || got.Source != "memory" || !got.Complete {
		t.Errorf("looking is no act: %+v", got)
	}
	if err := g.Admin(t.Context(), alice, AdminWrite, Resource{Kind: "pipe", Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	g.SignedIn(Principal{Name: "User:bob"}.Within(&Request{ID: "7", Method: "POST", Path: "/klamm/v1/session"}))
	g.TurnedAway(&Request{ID: "8", Method: "GET", Path: "/topics"}, "192.0.2.7", "no such key")
	for _, c := range []struct {
		q    AuditQuery
		want int
	}{
		{AuditQuery{}, 3}, {AuditQuery{Who: "alice"}, 1}, {AuditQuery{Who: "192.0.2"}, 1}, {AuditQuery{Act: "AdminWrite"}, 1}, {AuditQuery{Act: "unauthenticated"}, 1},
		{AuditQuery{Act: "pipe:orders"}, 1}, {AuditQuery{From: time.Now().Add(time.Hour)}, 0}, {AuditQuery{Before: time.Now().Add(-time.Hour)}, 0},
	} {
		if got := ask(c.q); len(got.Lines) != c.want || !got.Complete {
			t.Errorf("%+v: %d lines, complete %v; want %d", c.q, len(got.Lines), got.Complete, c.want)
		}
	}
	first := ask(AuditQuery{Limit: 2})
	if len(first.Lines) != 2 || first.Complete || first.Next == nil {
		t.Fatalf("%+v", first)
	}
	if l := first.Lines[0].(auditLine); l.RequestID != "8" {
		t.Errorf("the latest is %+v", l)
	}
	if rest := ask(AuditQuery{Before: *first.Next}); len(rest.Lines) != 1 || !rest.Complete {
		t.Errorf("the rest is %+v", rest)
	}
	for i := range 2 * auditKept {
		g.TurnedAway(&Request{ID: fmt.Sprint(i)}, "192.0.2.7", "no such key")
	}
	if got := ask(AuditQuery{}); len(got.Lines) != auditKept || got.Complete {
		t.Errorf("%d lines are kept, complete %v", len(got.Lines), got.Complete)
	}
}
