package pipe_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// What a target takes of a batch, what it never takes and what it takes later are three
// deliveries, and a batch of which nothing is left to be tried again ends well.
func TestDeliveryLogOfBatchesAcceptedInPart(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{answer: func(events []*event.Event) error {
		failed := map[int]error{}
		for i, e := range events {
			switch {
			case e.Record.Offset == 1:
				failed[i] = target.Permanent(errors.New("never"))
			case e.Record.Offset == 3 && e.Attempt == 1:
				failed[i] = errors.New("not now")
			}
		}
		if len(failed) == 0 {
			return nil
		}
		return &target.PartialError{Failed: failed}
	}}
	def := quick(name)
	def.Delivery.Log = "all"
	def.Delivery.Batch = catalog.Batch{Records: 2, Wait: time.Hour} // full ones only
	fill(t, c, name, 4, 10, []byte("1"))
	r, _ := l.start(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 4 })
	if letters := lettersOf(t, r, def.Name); len(letters) != 1 || letters[0].Offset != 1 || letters[0].Attempts != 1 {
		t.Errorf("dead letters %+v", letters)
	}
	want := map[string]string{}
	for offset, fate := range []string{"delivered, 1 of 1", "dead_lettered, 1 of 1", "delivered, 1 of 1", "delivered, 2 of 1"} {
		want[fmt.Sprint(offset)] = fate
	}
	var got map[string]string
	defer func() {
		if t.Failed() {
			t.Logf("got %v, want %v", got, want)
		}
	}()
	eventually(t, "each record's own delivery", func() bool {
		got = map[string]string{}
		all, err := r.Deliveries(t.Context(), def.Name, time.Time{}, "", 100)
		for _, d := range all {
			got[fmt.Sprint(d.Offset)] = fmt.Sprintf("%s, %d of %d", d.Outcome, d.Attempts, d.Count)
			if one, attempts, err := r.Delivery(t.Context(), d.ID); err != nil || one.Offset != d.Offset || len(attempts) != d.Attempts {
				return false // its last attempt may not be written yet
			}
		}
		return err == nil && maps.Equal(got, want)
	})
}
