package function

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTalliesTellWhatWasDone(t *testing.T) {
	status := http.StatusOK
	e := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	h := remoteHost(t, Definition{Remote: &Remote{URL: e.URL}}, nil)
	h.Set(Definition{Name: "another", Remote: &Remote{URL: e.URL}})
	for _, status = range []int{200, 200, 404, 503} { // answered twice, failed, not reached
		_, _ = h.Invoke(context.Background(), "f", Invocation{Payload: []byte("{}")})
	}
	h.Set(Definition{Name: "f", Remote: &Remote{URL: e.URL + "/new"}})
	if _, err := h.Invoke(context.Background(), "nobody", Invocation{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a function that is not there: %v", err)
	}
	got := h.Tallies()
	if len(got) == 2 && (got[1].P50 <= 0 || got[1].P95 < got[1].P50) {
		t.Errorf("times %v and %v", got[1].P50, got[1].P95)
	}
	for i := range got {
		got[i].P50, got[i].P95 = 0, 0
	}
	if diff := cmp.Diff([]Tally{{Function: "another"}, {Function: "f", Invocations: 4, Errors: 2}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTimesOfTheLastInvocations(t *testing.T) {
	c := &tally{}
	for i := range 2 * lastTimes { // only the second half counts
		c.add(Outcome{Duration: time.Duration(i-lastTimes+1) * time.Second}, nil)
	}
	c.add(Outcome{}, ErrThrottled)
	c.add(Outcome{}, context.Canceled)
	want := Tally{Function: "f", Invocations: 2 * lastTimes, Throttled: 1, P50: 250 * time.Second, P95: 475 * time.Second}
	if got := c.tell("f"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	one := &tally{}
	one.add(Outcome{Duration: time.Second, Error: "Unhandled"}, nil)
	if got := one.tell("g"); got != (Tally{Function: "g", Invocations: 1, Errors: 1, P50: time.Second, P95: time.Second}) {
		t.Errorf("got %+v", got)
	}
}
