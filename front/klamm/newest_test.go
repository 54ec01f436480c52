package klamm

import (
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

func TestNewestDefinitions(t *testing.T) {
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var changes []catalog.Change
	for _, d := range []struct {
		name    string
		minutes int
	}{{"c", 3}, {"a", 1}, {"e", 5}, {"hidden", 9}, {"d2", 4}, {"d", 4}, {"b", 2}} {
		changes = append(changes, catalog.Change{Name: d.name, Changed: began.Add(time.Duration(d.minutes) * time.Minute)})
	}
	changes = append(changes, catalog.Change{Name: "never"})
	for _, tt := range []struct {
		n    int
		want string
		more bool
	}{{1, "e", true}, {2, "e d", true}, {3, "e d d2", true}, {5, "e d d2 c b", true}, {6, "e d d2 c b a", false}, {100, "e d d2 c b a", false}} {
		last, more := newest(changes, tt.n, func(name string) bool { return name != "hidden" })
		got := ""
		for i, d := range last {
			if i > 0 {
				got += " "
			}
			got += d.Name
		}
		if got != tt.want || more != tt.more {
			t.Errorf("%d: got %q, more %v, want %q, %v", tt.n, got, more, tt.want, tt.more)
		}
	}
	if last, more := newest(nil, 3, nil); len(last) != 0 || more {
		t.Errorf("of none: %v %v", last, more)
	}
}
