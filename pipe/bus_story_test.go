package pipe_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

func TestStoryOfAnEvent(t *testing.T) {
	w := newBusWorld(t, 3)
	good, bad, other := w.target("a-good", "good", ofOrders), w.target("b-bad", "bad", ofOrders), w.target("c-other", "other", `{"source":["others"]}`)
	slow := w.target("d-slow", "slow", ofOrders)
	bad.Bus.DeadLetter, bad.Delivery.DeadLetter = w.topic+"-dead", w.topic+"-dead"
	slow.Delivery.Log = "all"
	for _, def := range []*catalog.Pipe{&good, &bad, &other, &slow} {
		def.Delivery.Backoff = catalog.Backoff{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	}
	var tries atomic.Int32
	w.answer("bad", func(*event.Event) error {
		return &target.Failure{Code: target.CodeNoResource, Status: 404, Final: true, Err: errors.New("gone")}
	})
	w.answer("slow", func(*event.Event) error {
		if tries.Add(1) == 1 {
			return errors.New("not yet")
		}
		return nil
	})
	r, _ := w.process()
	for _, def := range []catalog.Pipe{good, bad, other, slow} {
		w.begin(r, def, "")
		r.Set(def)
	}
	since := time.Now().Add(-time.Minute)
	w.send(3, "orders")
	w.await("good", 3)
	w.await("slow", 3)
	var story []pipe.StoryCopy
	eventually(t, "the story of the first event is told to its end", func() (done bool) {
		var err error
		if story, err = r.Story(t.Context(), w.bus, "event-1", since); err != nil {
			t.Fatal(err)
		}
		return len(story) == 1 && len(story[0].Targets) == 3 && story[0].Targets[0].State == pipe.StorySettled && story[0].Targets[1].DeadLetter != nil && story[0].Targets[2].State == pipe.StoryDelivered
	})
	c := story[0]
	if c.Bus != w.bus || c.Topic != w.topic || c.Replay != "" || c.Hops != 0 || c.Intake.Before(since) {
		t.Errorf("copy %+v", c)
	}
	rules := []string{}
	for _, s := range c.Targets {
		rules = append(rules, s.Rule+" "+s.Target+" "+s.TargetARN)
	}
	if want := []string{"a-good good arn:target/good", "b-bad bad arn:target/bad", "d-slow slow arn:target/slow"}; !slices.Equal(rules, want) {
		t.Errorf("targets %q, want %q", rules, want)
	}
	given := c.Targets[1]
	if given.State != pipe.StoryGivenUp || given.DeadLetter.Topic != w.topic+"-dead" || given.DeadLetter.Code != "NO_RESOURCE" || given.DeadLetter.Message == "" || len(given.Attempts) != 1 || given.Attempts[0].Status != 404 {
		t.Errorf("the target that refuses: %+v, letter %+v", given, given.DeadLetter)
	}
	if story, err := r.Story(t.Context(), w.bus, "event-99", since); err != nil || len(story) != 0 {
		t.Errorf("of nobody: %v, %v", story, err)
	}
	if story, err := r.Story(t.Context(), w.bus+"-none", "event-1", since); err != nil || len(story) != 0 {
		t.Errorf("of no bus: %v, %v", story, err)
	}
}

func TestStoryKnowsWhomAnEventIsFor(t *testing.T) {
	t.Parallel()
	w := newBusWorld(t, 1)
	one, two := w.target("one", "one", ofOrders), w.target("two", "two", ofOrders)
	archive := w.target("", "archive", "")
	archive.Name, archive.Bus.Archive, archive.Bus.Pattern = "klamm.archive."+w.bus, w.bus, nil
	r, _ := w.process()
	for _, def := range []catalog.Pipe{one, two, archive} {
		w.begin(r, def, "")
		r.Set(def)
	}
	w.send(1, "orders", event.HeaderRules+"=two", event.HeaderReplay+"=again", event.HeaderBusHops+"=2")
	w.await("two", 1)
	story, err := r.Story(t.Context(), w.bus, "event-1", time.Time{})
	if err != nil || len(story) != 1 || len(story[0].Targets) != 1 || story[0].Targets[0].Rule != "two" || story[0].Replay != "again" || story[0].Hops != 2 {
		t.Errorf("%+v, %v", story, err)
	}
}
