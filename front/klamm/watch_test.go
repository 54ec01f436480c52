package klamm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/waittest"
)

type change struct {
	Status *struct {
		Ready   bool
		Version string
		States  map[string]int
		Wrong   []struct{ Pipe, State, Reason string }
	}
	Members []struct {
		Self  bool
		Pipes []string
	}
	Pipe *pipe.Status
	Gone string
}

// watch asks for changes and returns a function that waits for the next.
func (k *klammd) watch(query, accept string) func() change {
	k.t.Helper()
	lines := k.follow("/watch"+query, accept)
	return func() (c change) {
		k.t.Helper()
		for lines.Scan() {
			text := lines.Text()
			if accept == "text/event-stream" {
				data, ok := strings.CutPrefix(text, "data: ")
				if !ok {
					continue
				}
				text = data
			}
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				k.t.Fatalf("%q: %v", text, err)
			}
			return c
		}
		k.t.Fatal("the stream has ended: ", lines.Err())
		return c
	}
}

func TestChangesAreTold(t *testing.T) {
	k := start(t, &receiver{})
	next := k.watch("", "text/event-stream")
	var seen struct{ status, members, pipe bool }
	for !seen.status || !seen.members || !seen.pipe {
		c := next()
		switch {
		case c.Status != nil:
			seen.status = c.Status.Ready && c.Status.Version == "v1.2.3"
		case c.Members != nil:
			seen.members = len(c.Members) == 1 && c.Members[0].Self
		case c.Pipe != nil:
			seen.pipe = c.Pipe.Pipe == k.pipe
		}
	}
	k.want(nil, "POST", "/pipes/PIPE/pause", `{"reason":"moved"}`)
	for paused := false; !paused; {
		c := next()
		paused = c.Pipe != nil && c.Pipe.State == pipe.Paused && c.Pipe.Reason == "moved"
	}
}

func TestOnePipeIsWatched(t *testing.T) {
	k := start(t, &receiver{})
	next := k.watch("?pipe="+k.pipe, "application/x-ndjson")
	if c := next(); c.Pipe == nil || c.Pipe.Pipe != k.pipe {
		t.Fatalf("%+v", c)
	}
	k.want(nil, "POST", "/pipes/PIPE/pause", `{"reason":"moved"}`)
	for paused := false; !paused; {
		c := next()
		if c.Pipe == nil {
			t.Fatalf("%+v", c)
		}
		paused = c.Pipe.State == pipe.Paused
	}
}

func TestMembersAndStatus(t *testing.T) {
	k := start(t, &receiver{})
	var list struct {
		Members []struct {
			Self    bool
			Version string
			Pipes   []string
		}
	}
	waittest.Until(t, "the pipe runs here", func() bool {
		k.want(&list, "GET", "/members", "")
		return len(list.Members) == 1 && list.Members[0].Self && len(list.Members[0].Pipes) == 1 && list.Members[0].Pipes[0] == k.pipe
	})
	if list.Members[0].Version != "v1.2.3" {
		t.Errorf("%+v", list)
	}
	var s struct{ States map[string]int }
	k.want(&s, "GET", "/status", "")
	if s.States["running"] != 1 {
		t.Errorf("%+v", s)
	}
}
