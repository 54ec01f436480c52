package tick

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/schedule"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestOncePerPeriodOverAllProcesses(t *testing.T) {
	h := newHouse(t)
	for range 3 {
		h.start(nil)
	}
	rate := h.rule("rate", "rate(1 minute)", catalog.RuleEnabled)
	slow := h.rule("slow", "rate(2 minutes)", catalog.RuleEnabled)
	cron := h.rule("cron", "cron(* * * * ? *)", catalog.RuleEnabledWithAll)
	noon := h.rule("noon", "cron(0 12 * * ? *)", catalog.RuleEnabled)
	off := h.rule("off", "cron(* * * * ? *)", catalog.RuleDisabled)
	h.fence("fence")
	for range 6 {
		h.wall.move(30 * time.Second)
	}
	h.await(rate, "03-31T12:00:30", "03-31T12:01:30", "03-31T12:02:30", "03-31T12:03:30")
	h.await(cron, "03-31T12:03:00")
	h.await(slow, "03-31T12:03:30")
	h.fence("end")
	for rule, want := range map[string][]string{
		rate: {"03-31T12:00:30", "03-31T12:01:30", "03-31T12:02:30", "03-31T12:03:30", "03-31T12:04:30"},
		slow: {"03-31T12:01:30", "03-31T12:03:30"},
		cron: {"03-31T12:00:00", "03-31T12:01:00", "03-31T12:02:00", "03-31T12:03:00", "03-31T12:04:00"},
		noon: {"03-31T12:00:00"},
		off:  nil,
	} {
		expectTimes(t, rule, h.times(rule), want...)
	}
}

func TestSchedulesThatChange(t *testing.T) {
	h := newHouse(t)
	h.start(nil)
	name := h.rule("rule", "cron(* * * * ? *)", catalog.RuleEnabled)
	h.fence("a") // 12:00:30
	h.await(name, "03-31T12:00:00")

	// Another description is no new schedule; another state pauses it.
	change := func(body catalog.Rule) {
		t.Helper()
		raw, _ := json.Marshal(body)
		h.put(name, raw)
	}
	when, text, since := "cron(* * * * ? *)", "text", time.Date(2030, 3, 31, 11, 59, 30, 0, time.UTC).UnixMilli()
	change(catalog.Rule{ScheduleExpression: &when, Description: &text, Scheduled: since, State: catalog.RuleEnabled})
	h.fence("b") // 12:01:30
	h.await(name, "03-31T12:01:00")
	change(catalog.Rule{ScheduleExpression: &when, Scheduled: since, State: catalog.RuleDisabled})
	h.heard("off")
	h.fence("c") // 12:02:30
	h.fence("d") // 12:03:30
	change(catalog.Rule{ScheduleExpression: &when, Scheduled: since, State: catalog.RuleEnabled})
	h.heard("on")
	h.fence("e") // 12:04:30
	h.await(name, "03-31T12:04:00")
	rate := "rate(1 minute)"
	change(catalog.Rule{ScheduleExpression: &rate, Scheduled: h.wall.Now().Add(-10 * time.Second).UnixMilli(), State: catalog.RuleEnabled})
	h.fence("f") // 12:05:30
	h.await(name, "03-31T12:05:20")
	if err := h.store.Delete(t.Context(), catalog.KindRule, catalog.RuleName(catalog.DefaultBus, name), catalog.Any); err != nil {
		t.Fatal(err)
	}
	h.heard("gone")
	h.fence("g")
	expectTimes(t, name, h.times(name), "03-31T12:00:00", "03-31T12:01:00", "03-31T12:04:00", "03-31T12:05:20")
}

func TestClocksThatAreSet(t *testing.T) {
	h := newHouse(t)
	for range 3 {
		h.knows(h.start(nil))
	}
	cron := h.rule("cron", "cron(0/10 * * * ? *)", catalog.RuleEnabled)
	rate := h.rule("rate", "rate(15 minutes)", catalog.RuleEnabled)
	h.fence("a") // 12:00:30
	h.await(cron, "03-31T12:00:00")

	h.wall.move(35 * time.Minute) // what is passed over is made up
	h.fence("b")                  // 12:36:30
	h.await(cron, "03-31T12:10:00", "03-31T12:20:00", "03-31T12:30:00")
	h.await(rate, "03-31T12:14:30", "03-31T12:29:30")

	h.wall.move(-35 * time.Minute) // what comes once more is not fired again
	h.fence("c")                   // 12:02:30
	h.wall.move(20 * time.Minute)
	h.fence("d") // 12:23:30
	h.wall.move(20 * time.Minute)
	h.fence("e") // 12:44:30
	h.await(cron, "03-31T12:40:00")
	h.await(rate, "03-31T12:44:30")

	h.wall.move(5*time.Hour + 10*time.Second) // only the last hour is made up
	h.fence("f")                              // 17:45:40
	h.await(cron, "03-31T16:50:00", "03-31T17:40:00")
	h.await(rate, "03-31T16:59:30", "03-31T17:44:30")
	want := []string{"03-31T12:00:00", "03-31T12:10:00", "03-31T12:20:00", "03-31T12:30:00", "03-31T12:40:00",
		"03-31T16:50:00", "03-31T17:00:00", "03-31T17:10:00", "03-31T17:20:00", "03-31T17:30:00", "03-31T17:40:00"}
	expectTimes(t, cron, h.times(cron), want...)
	expectTimes(t, rate, h.times(rate), "03-31T12:14:30", "03-31T12:29:30", "03-31T12:44:30", "03-31T16:59:30", "03-31T17:14:30", "03-31T17:29:30", "03-31T17:44:30")

	h.wall.move(-4 * time.Hour) // it begins anew
	h.fence("g")                // 13:46:40
	h.wall.move(10 * time.Minute)
	h.await(cron, "03-31T13:50:00")
}

// hanging starts a process that claims ticks and then hangs, before or after it has written
// them, until it is stopped. Hung says whether it does.
func (h *house) hanging(writes bool) (p *process, hung func() bool) {
	h.t.Helper()
	var hangs atomic.Bool
	killed := make(chan struct{})
	p = h.start(func(c *Clock) {
		put := c.put
		c.put = func(ctx context.Context, claimed map[string]entry) map[string]error {
			if writes {
				put(ctx, claimed)
			}
			hangs.Store(true)
			<-killed
			results := map[string]error{}
			for name := range claimed {
				results[name] = errors.New("it was killed")
			}
			return results
		}
	})
	stop := p.stop
	p.stop = sync.OnceFunc(func() { close(killed); stop() })
	h.t.Cleanup(p.stop)
	return p, hangs.Load
}

// TestWhoDiesLosesNothing has a process stop at each point between claim and mark.
func TestWhoDiesLosesNothing(t *testing.T) {
	tests := []struct {
		name   string
		writes bool
		copies int
	}{
		{"before the event", false, 1},
		{"between the event and the mark", true, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			first, hung := h.hanging(tt.writes)
			rule := h.rule("rule", "rate(1 minute)", catalog.RuleEnabled)
			h.knows(first)
			h.wall.move(time.Minute)
			waittest.Until(h.t, "the first process has claimed the tick", hung)
			first.stop()
			second := h.start(func(c *Clock) { c.patient = 200 * time.Millisecond })
			h.knows(second)
			waittest.Until(h.t, "the tick is taken over", func() bool { return len(h.times(rule)) == tt.copies })
			h.wall.move(time.Minute)
			h.await(rule, "03-31T12:01:30")
			events, ids := h.events(), map[string]bool{}
			for _, f := range events {
				ids[f.id] = true
			}
			if len(events) != tt.copies+1 || len(ids) != 2 {
				t.Errorf("got %v, want the first tick %d times with one id, and the second once", events, tt.copies)
			}
		})
	}
}

// TestWhoTakesOverPassesNothingOver has a process that has just begun finish what another
// has left: the ticks between are for one that has been there all the time.
func TestWhoTakesOverPassesNothingOver(t *testing.T) {
	h := newHouse(t)
	first, hung := h.hanging(false)
	rule := h.rule("rule", "rate(1 minute)", catalog.RuleEnabled)
	h.knows(first)
	h.wall.move(time.Minute)
	waittest.Until(h.t, "the first process has claimed the tick", hung)
	h.knows(h.start(nil)) // which leaves what others have claimed alone
	h.wall.move(4 * time.Minute)
	h.knows(h.start(func(c *Clock) { c.patient = 200 * time.Millisecond }))
	first.stop()
	h.await(rule, "03-31T12:00:30", "03-31T12:01:30", "03-31T12:02:30", "03-31T12:03:30", "03-31T12:04:30")
}

func TestWhatNobodyFiredIsNotMadeUp(t *testing.T) {
	h := newHouse(t)
	first := h.start(nil)
	rule := h.rule("rule", "cron(* * * * ? *)", catalog.RuleEnabled)
	h.fence("a") // 12:00:30
	h.await(rule, "03-31T12:00:00")
	first.stop()
	h.wall.move(3*time.Minute + 35*time.Second) // 12:04:05, a moment behind the minute
	h.knows(h.start(func(c *Clock) { c.gap = 500 * time.Millisecond }))
	h.fence("b") // 12:05:05
	h.await(rule, "03-31T12:05:00")
	expectTimes(t, rule, h.times(rule), "03-31T12:00:00", "03-31T12:04:00", "03-31T12:05:00")
}

// TestNoTickIsLostWhileOneLives kills and starts processes, breaks writes and marks, and
// moves the clock to and fro, and counts.
func TestNoTickIsLostWhileOneLives(t *testing.T) {
	h := newHouse(t)
	begin := h.wall.Now()
	random := func(c *Clock) {
		c.patient = 2 * time.Second
		put := c.put
		c.put = func(ctx context.Context, claimed map[string]entry) map[string]error {
			results := map[string]error{}
			written := map[string]entry{}
			for name, e := range claimed {
				if n := rand.IntN(10); n == 0 {
					results[name] = errors.New("not written")
				} else {
					written[name] = e
				}
			}
			maps.Copy(results, put(ctx, written))
			for name := range written {
				if rand.IntN(10) == 0 {
					results[name] = errors.New("written, and nobody knows")
				}
			}
			return results
		}
	}
	whens := map[string]string{}
	for name, when := range map[string]string{"a": "rate(1 minute)", "b": "cron(* * * * ? *)", "c": "rate(3 minutes)", "d": "cron(0/5 12 * * ? *)"} {
		whens[h.rule(name, when, catalog.RuleEnabled)] = when
	}
	processes := []*process{h.start(random), h.start(random), h.start(random)}
	for _, p := range processes {
		h.knows(p)
	}
	farthest, due, steps := begin, begin, 13
	if testing.Short() {
		steps = 7
	}
	for i := range steps {
		h.wall.move([]time.Duration{20 * time.Second, 40 * time.Second, time.Minute, 4 * time.Minute, -90 * time.Second, -5 * time.Minute}[rand.IntN(6)])
		if now := h.wall.Now(); now.After(farthest) {
			farthest = now
		}
		if i%3 == 0 {
			// Who was there when these became due must have had the time to fire them: by
			// this clock minutes pass in no time.
			if now := h.wall.Now(); now.Before(due) {
				h.wall.move(due.Sub(now))
			}
			for rule, text := range whens {
				h.await(rule, ticks(t, text, begin, due)...)
			}
			due = farthest
			n := rand.IntN(3)
			processes[n].stop()
			processes[n] = h.start(random)
			h.knows(processes[n])
		}
	}
	if now := h.wall.Now(); now.Before(farthest) {
		h.wall.move(farthest.Sub(now))
	}
	for rule, text := range whens {
		want := ticks(t, text, begin, farthest)
		h.await(rule, want...)
		got := h.times(rule)
		if !slices.Equal(slices.Compact(slices.Clone(got)), want) {
			t.Errorf("%s has fired at %v, want %v", text, got, want)
		}
	}
	ids := map[string]string{}
	for _, f := range h.events() {
		key := f.rule + f.time
		if ids[key] == "" {
			ids[key] = f.id
		}
		if ids[key] != f.id {
			t.Errorf("the tick %s has the ids %s and %s", key, ids[key], f.id)
		}
	}
}

// ticks returns when an expression is due between its beginning and an end.
func ticks(t *testing.T, text string, begin, end time.Time) (times []string) {
	t.Helper()
	when, err := schedule.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for at, ok := when.Next(begin, begin); ok && !at.After(end); at, ok = when.Next(begin, at) {
		times = append(times, at.Format("01-02T15:04:05"))
	}
	return times
}
