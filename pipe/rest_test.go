package pipe_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
)

// A pipe that is paused does not wait for a batch whose next attempt is an hour away,
// although records behind it are delivered already, and keeps nothing of it.
func TestAPipeThatStopsLeavesWhatWaits(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	well := make(chan struct{})
	l := &ledger{answer: func(events []*event.Event) error {
		select {
		case <-well:
			return nil
		default:
		}
		if string(events[0].Record.Key) == "k0" {
			return errors.New("not now")
		}
		return nil
	}}
	def := quick(name)
	def.Delivery.Backoff = catalog.Backoff{Min: time.Hour, Max: time.Hour}
	def.Delivery.Timeout = 5 * time.Minute // would be the grace
	fill(t, c, name, 20, 5, []byte("1"))
	r, _ := l.start(t, c, def)
	eventually(t, "the others are delivered, and one waits", func() bool {
		held, waiting := r.Holds(def.Name)
		return len(l.taken()) == 16 && waiting == 1 && held > 0
	})
	if err := r.Pause(t.Context(), def.Name, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody reads", func() bool { s, _ := r.Status(t.Context(), def.Name); return s.State == pipe.Paused && s.Members == 0 })
	if held, _ := r.Holds(def.Name); held != 0 {
		t.Errorf("the pipe still holds %d bytes", held)
	}
	close(well)
	if err := r.Resume(t.Context(), def.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 20 })
	check(t, l.taken(), 20)
}

// A replay that is cancelled gives back the memory of what it has not delivered.
func TestAReplayThatIsCancelledHoldsNothing(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	refuse := make(chan struct{})
	l := &ledger{answer: func([]*event.Event) error {
		select {
		case <-refuse:
			return errors.New("not now")
		default:
			return nil
		}
	}}
	def := quick(name)
	def.Delivery.Backoff = catalog.Backoff{Min: time.Hour, Max: time.Hour}
	fill(t, c, name, 20, 5, []byte("1"))
	r, _ := l.start(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 20 })
	replaying, cancel := context.WithCancel(t.Context())
	defer cancel()
	close(refuse)
	done := make(chan error, 1)
	go func() {
		_, err := r.Replay(replaying, pipe.Replay{Pipe: def.Name, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, nobody)
		done <- err
	}()
	eventually(t, "records wait", func() bool { held, _ := r.Holds(def.Name); return held > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if held, _ := r.Holds(def.Name); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}
