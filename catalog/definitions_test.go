package catalog

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestADocumentOfSeveralPipes has the targets of a rule come, change and go.
func TestADocumentOfSeveralPipes(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	store := NewStore(StoreConfig{Log: log})
	run := map[string]bool{} // whether it is paused, by name
	gone, broken := errors.New("gone"), errors.New("broken")
	d := NewDefinitions(DefinitionsConfig{
		Store: store, Kind: KindRule, Log: log, Suspends: func(err error) bool { return errors.Is(err, gone) },
		Compile: func(_ context.Context, d Document) (pipes []Pipe, err error) {
			switch text := string(d.Body); text {
			case "gone":
				return nil, gone
			case "broken":
				return nil, broken
			default:
				for name := range strings.SplitSeq(text, " ") {
					if name != "" {
						pipes = append(pipes, Pipe{Name: d.Name + "/" + name, Topics: []string{"bus", "retries"}, Group: "g", Bus: &Subscription{}})
					}
				}
				return pipes, nil
			}
		},
		Set:    func(p Pipe) { run[p.Name] = p.Paused },
		Remove: func(name string) { delete(run, name) },
	})
	for i, c := range []struct {
		body string // "-": there is no document
		want map[string]bool
	}{
		{"a b", map[string]bool{"bus/r/a": false, "bus/r/b": false}},
		{"b c", map[string]bool{"bus/r/b": false, "bus/r/c": false}},
		{"broken", map[string]bool{"bus/r/b": false, "bus/r/c": false}},
		{"gone", map[string]bool{"bus/r/b": true, "bus/r/c": true}},
		{"c", map[string]bool{"bus/r/c": false}},
		{"", map[string]bool{}},
		{"d", map[string]bool{"bus/r/d": false}},
		{"-", map[string]bool{}},
	} {
		if c.body == "-" {
			delete(store.known, "rule/bus/r")
		} else {
			store.known["rule/bus/r"] = Document{Kind: KindRule, Name: "bus/r", Version: int64(i + 1), Body: []byte(c.body)}
		}
		d.take(t.Context(), "bus/r")
		if diff := cmp.Diff(c.want, run); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.body, diff)
		}
		if problem := d.Problem("bus/r"); (problem != nil) != (c.body == "gone" || c.body == "broken") {
			t.Errorf("%q: %v", c.body, problem)
		}
	}
	if len(d.run) != 0 || len(d.readers) != 0 {
		t.Errorf("left: %v, %v", slices.Collect(maps.Keys(d.run)), d.readers)
	}
}
