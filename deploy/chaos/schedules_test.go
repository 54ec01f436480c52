package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// clockOfTest names a file that says by how much the clock of schedules is ahead of the
// machine's, as "-5m" or "1h".
const clockOfTest = "CHAOS_TEST_CLOCK"

// shifted is the time by the clock of a file. A file that cannot be read is that of an
// unchanged clock.
func shifted(file string) time.Time {
	text, _ := os.ReadFile(file)
	ahead, _ := time.ParseDuration(string(text))
	return time.Now().Add(ahead)
}

// ticks are the events of schedules on the default bus, by rule and time: how often each
// came.
type ticks struct {
	mu   sync.Mutex // guards came
	came map[string]map[time.Time]int
}

// read reads the default bus until ctx ends.
func (k *ticks) read(ctx context.Context, t *testing.T, brokers []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("klamm.bus.default"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			var e struct {
				Time      time.Time `json:"time"`
				Resources []string  `json:"resources"`
			}
			if err := json.Unmarshal(r.Value, &e); err != nil || len(e.Resources) != 1 {
				t.Errorf("this is no tick: %s", r.Value)
				return
			}
			_, rule, _ := strings.Cut(e.Resources[0], ":rule/")
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.came[rule] == nil {
				k.came[rule] = map[time.Time]int{}
			}
			k.came[rule][e.Time]++
		})
	}
}

// reached says whether every rule has had a tick within the minute before a time.
func (k *ticks) reached(rules []string, at time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range rules {
		last := time.Time{}
		for tick := range k.came[r] {
			if tick.After(last) {
				last = tick
			}
		}
		if at.Sub(last) > time.Minute {
			return false
		}
	}
	return true
}

// TestSchedulesSurviveKillsAndClockSteps has three processes fire the schedules of rules
// while their clock is set forward and back and one after the other is killed.
func TestSchedulesSurviveKillsAndClockSteps(t *testing.T) {
	if os.Getenv("KLAMM_TEST_LONG") == "" {
		t.Skip("what a killed process has claimed is taken over after ten seconds; set KLAMM_TEST_LONG=1")
	}
	clock := filepath.Join(t.TempDir(), "clock")
	t.Setenv(clockOfTest, clock)
	set := func(ahead time.Duration) {
		t.Helper()
		if err := os.WriteFile(clock+".new", []byte(ahead.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(clock+".new", clock); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	s, _ := testStage(t)
	for range 3 {
		if _, err := s.start(""); err != nil {
			t.Fatal(err)
		}
	}
	b := &buses{stage: s}
	await := func(what string, holds func() bool) {
		t.Helper()
		if err := s.until(t.Context(), what, patience, holds); err != nil {
			t.Fatal(err)
		}
	}
	allReady := func() bool { return len(b.addresses()) == len(s.processes) }
	await("every klamm is ready", allReady)
	var c control
	var rules []string
	for i := range 8 {
		name, when := fmt.Sprintf("r%d", i), "cron(* * * * ? *)"
		if i%2 == 1 {
			when = "rate(1 minute)"
		}
		rules = append(rules, name)
		await("a rule is made", func() bool {
			status, _ := c.ask(t.Context(), b.addresses()[0], http.MethodPost, "/", "PutRule", doc{"Name": name, "ScheduleExpression": when}, nil)
			return status == http.StatusOK
		})
	}
	k := &ticks{came: map[string]map[time.Time]int{}}
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { k.read(ctx, t, s.brokers) })
	defer func() { stop(); reading.Wait() }()

	kills := 0
	var ahead, farthest time.Duration
	for i, step := range []time.Duration{2 * time.Minute, 7 * time.Minute, -5 * time.Minute, 12 * time.Minute, 40 * time.Minute, -30 * time.Minute, 35 * time.Minute, 3 * time.Minute} {
		var victim *process
		if i%2 == 1 {
			victim = s.processes[kills%len(s.processes)]
			kills++
		}
		ahead += step
		set(ahead)
		if victim != nil {
			// At some time of the round in which it may claim what has become due.
			pause(t.Context(), time.Duration(kills)*150*time.Millisecond)
			victim.kill()
		}
		if farthest = max(farthest, ahead); ahead == farthest {
			at := shifted(clock)
			await(fmt.Sprintf("all ticks up to %s ahead", ahead), func() bool { return k.reached(rules, at) })
		}
		if victim != nil {
			if err := victim.start(); err != nil {
				t.Fatal(err)
			}
			await("every klamm is ready", allReady)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	doubled := 0
	for _, r := range rules {
		var times []time.Time
		for tick, copies := range k.came[r] {
			times = append(times, tick)
			doubled += copies - 1
		}
		slices.SortFunc(times, time.Time.Compare)
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap != time.Minute {
				t.Errorf("rule %s has nothing between %s and %s", r, times[i-1], times[i])
			}
		}
		if span := times[len(times)-1].Sub(times[0]); span < farthest-2*time.Minute {
			t.Errorf("rule %s has ticks of %s, want of %s", r, span, farthest)
		}
	}
	t.Logf("%d ticks came twice, of %d kills", doubled, kills)
	if most := kills * len(rules); doubled > most {
		t.Errorf("%d ticks came twice, want %d at most", doubled, most)
	}
}
