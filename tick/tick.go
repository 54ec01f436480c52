// Package tick fires the schedules of rules (event-bus.md 9): once for each period over
// all klamm processes of a cluster, as an event on the default bus.
//
// Every process knows all rules (rules.go) and looks several times a second which of
// their ticks are due by its clock. Who fires one is settled in a table that all share
// (entry.go): a process claims the tick, writes the event, and marks the tick as done
// (fire.go). What was claimed and not done is taken over by another process after a
// while. So no tick is lost as long as one process lives, and none comes twice, unless
// the process that has claimed it dies, or stands still for as long, between writing
// the event and the mark: then the same event, with the same id, comes once more.
//
// A tick is known by its rule and its time. Where a clock is set, ticks that it passes
// over are made up, and those that it goes through once more are not fired again, as
// far as it was moved by no more than an hour; what lies farther away is not made up,
// and begins anew.
package tick

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// Topic is the compacted topic that all processes keep their claims in, an entry for
// each rule that has a schedule.
const Topic = "__klamm_schedules"

const (
	// lookEvery is how often a process looks for what is due.
	lookEvery = 250 * time.Millisecond
	// takeOver is how long a claim of another process may stay without a mark.
	takeOver = 10 * time.Second
	// farthest is how far a clock may be moved, and how late a tick may be.
	farthest = time.Hour
	// grace is what is made up of the time before a process began, so that a restart
	// loses nothing that became due meanwhile.
	grace = 10 * time.Second
	// tidyEvery is how often claims of rules that are gone are removed, about.
	tidyEvery = 10 * time.Minute
)

// A Config is what a Clock works with. All fields but Now and Metrics are required.
type Config struct {
	Cluster *kafka.Cluster
	Store   *catalog.Store
	// RuleARN returns the ARN of a rule of the default bus.
	RuleARN func(rule string) string
	// Account and Region are those of the events.
	Account, Region string
	// Ensure makes the topic of the default bus, unless it is there.
	Ensure func(ctx context.Context) error
	// Now is the clock; nil is the machine's.
	Now     func() time.Time
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// A Clock fires the schedules of all rules, together with those of other processes.
type Clock struct {
	cfg     Config
	id      string // of this process, as claims name it
	look    time.Duration
	patient time.Duration // how long others' claims may stay without a mark
	stagger time.Duration // how long what another process fires is left to it
	gap     time.Duration // and how long a tick before which others have not been fired
	put     putFunc
	news    chan struct{}
	fired   prometheus.Counter
	taken   prometheus.Counter
	missed  prometheus.Counter

	mu    sync.Mutex // guards what follows
	dirty map[string]bool
	known bool // dirty has had all rules that there were when the catalog was opened

	// What follows belongs to Run.
	table   *table.Table
	unwatch func()
	open    openClaims
	rules   map[string]*rule
	began   time.Time        // what becomes due from then on is this process's business
	learned bool             // the rules that there were when the catalog was opened are in rules
	written map[string]entry // events of which are on the bus, and which have no mark yet
	tidied  time.Time        // by the machine's own clock
}

// New returns a clock that works once Run is called. It has to be made before the store
// runs.
func New(cfg Config) *Clock {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	c := &Clock{
		cfg: cfg, id: event.NewID(), look: lookEvery, patient: takeOver, gap: takeOver, stagger: 400*time.Millisecond + rand.N(400*time.Millisecond), news: make(chan struct{}, 1),
		fired:  counter("klamm_tick_fired_total", "Ticks of schedules that this process has put on the default bus."),
		taken:  counter("klamm_tick_taken_over_total", "Ticks that this process has taken over from one that had not finished them."),
		missed: counter("klamm_tick_missed_total", "Ticks that were not fired, because they could not be for an hour."),
		dirty:  map[string]bool{}, rules: map[string]*rule{}, written: map[string]entry{},
	}
	c.put = c.produce
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(c.fired, c.taken, c.missed)
	}
	cfg.Store.Watch(c.note)
	return c
}

// Run fires what is due until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	defer c.close()
	c.began, c.tidied = c.now().Add(-grace), time.Now()
	timer := time.NewTicker(c.look)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.news:
		}
		now := c.now()
		if !c.learn(now) {
			continue // the rules are not known yet
		}
		if err := c.turn(ctx, now); err != nil && ctx.Err() == nil {
			c.cfg.Log.Error("schedules cannot be fired now", "topic", Topic, "again_in", time.Second, "err", err)
			c.reopen(err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}
}

// now is the time by the clock. Where the machine's is set, the difference of two such
// times has to show it.
func (c *Clock) now() time.Time { return c.cfg.Now().Round(0).UTC() }

// turn fires what is due, finishes what others have left, and tidies up.
func (c *Clock) turn(ctx context.Context, now time.Time) error {
	if c.table == nil {
		if len(c.rules) == 0 {
			return nil
		}
		if err := c.openTable(ctx); err != nil {
			return err
		}
	}
	if err := c.finish(ctx, now); err != nil {
		return err
	}
	for {
		n, err := c.fire(ctx, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.tidy(ctx)
		}
	}
}
