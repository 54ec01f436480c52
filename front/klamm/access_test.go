package klamm_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A guard lets nobody act, and nobody look at anything but one pipe.
type guard struct{ seen atomic.Value }

func (g *guard) Check(_ context.Context, c *gate.Call) error {
	if one, _ := g.seen.Load().(string); c.Action == gate.AdminRead && (c.Resource == gate.Resource{Kind: "pipe", Name: one}) {
		return nil
	}
	return &gate.Error{Kind: gate.Denied, Message: "not you"}
}

func TestEveryOperationAsksTheGate(t *testing.T) {
	g := &guard{}
	k := start(t, &receiver{}, g)
	id := k.pipe + ":" + k.pipe + ":0:0:x"
	if text := k.want(nil, "GET", "/pipes", ""); text != `{"pipes":[]}` {
		t.Error(text)
	}
	reads := []string{"GET /pipes/PIPE", "GET /pipes/PIPE/dead-letters", "GET /deliveries?pipe=PIPE", "GET /deliveries/tail?pipe=PIPE", "GET /deliveries/" + id}
	writes := []string{"POST /pipes/PIPE/pause", "POST /pipes/PIPE/resume", "POST /pipes/PIPE/seek", "POST /pipes/PIPE/replay", "POST /pipes/PIPE/dead-letters/redrive",
		"POST /pipes/PIPE/dead-letters/discard", "POST /deliveries/" + id + "/retry", "GET /status"}
	for _, path := range append(reads, writes...) {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusForbidden || !strings.Contains(text, "not you") {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
	g.seen.Store(k.pipe)
	var list struct{ Pipes []pipe.Status }
	if k.want(&list, "GET", "/pipes", ""); len(list.Pipes) != 1 {
		t.Errorf("%+v", list)
	}
	k.want(nil, "GET", "/pipes/PIPE", "")
	for _, path := range writes {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusForbidden {
			t.Errorf("%s %s by one who may look: %d %s", method, path, status, text)
		}
	}
}
