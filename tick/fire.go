package tick

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/table"
)

const (
	// mostTicks bounds how many ticks are claimed and written together.
	mostTicks = 1000
	// writeWithin is how long the events may take, so that there is time for the mark
	// before another process takes over.
	writeWithin = 8 * time.Second
	// strange is how long a claim of a rule that this process does not know is left
	// alone: it may not have heard of the rule yet.
	strange = time.Minute
)

// A putFunc writes the events of claimed ticks and returns what became of each.
type putFunc func(ctx context.Context, claimed map[string]entry) map[string]error

// fire claims ticks that are due, writes their events and marks them. It returns how
// many it has claimed.
func (c *Clock) fire(ctx context.Context, now time.Time) (int, error) {
	var due []*rule
	for _, r := range c.rules {
		if r.due(now, c.last) && c.isTurn(r) {
			if due = append(due, r); len(due) == mostTicks {
				break
			}
		}
	}
	if len(due) == 0 {
		return 0, nil
	}
	claimed := map[string]entry{}
	err := c.table.Update(ctx, func(tx *table.Tx) error {
		clear(claimed)
		for _, r := range due {
			stored, ok := tx.Get(r.name)
			if c.isFree(r, stored, ok) && !c.isClaimed(r, stored, ok, now) {
				e := entry{Since: r.since.UnixMilli(), Tick: r.next.UnixMilli(), By: c.id}
				e.write(tx, r.name)
				claimed[r.name] = e
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("claim %d ticks: %w", len(due), err)
	}
	return len(claimed), c.write(ctx, claimed)
}

// isTurn says whether it is this process that should try to claim the tick of a rule
// now: at once if it has fired the one before, otherwise after a pause. So processes do
// not compete for each tick, and one goes on until it dies.
func (c *Clock) isTurn(r *rule) bool {
	stored, ok := c.table.Get(r.name)
	return c.isFree(r, stored, ok)
}

// isFree says whether this process may claim the tick of a rule, by the rule's entry.
func (c *Clock) isFree(r *rule, stored table.Entry, ok bool) bool {
	// Whoever changes the entry lives, and may be on the way to this tick: the pause
	// begins anew.
	if r.noticed.IsZero() || stored.Version != r.stands {
		r.noticed, r.stands = time.Now(), stored.Version
	}
	before := r.since
	if ok {
		if e, ok := readEntry(stored); ok && e.of(r) {
			if !e.Done {
				return false // somebody still works on the one before
			}
			if e.By == c.id && !r.took.Equal(e.tick()) {
				return true
			}
			before = e.tick()
		}
	}
	pause := c.stagger
	// What lies between the last tick and this one is not this process's business, but
	// that of one that has been there for longer, which cannot claim it any more
	// afterwards.
	if next, ok := r.when.Next(r.since, before); ok && next.Before(r.next) {
		pause = c.gap
	}
	return time.Since(r.noticed) >= pause
}

// isClaimed says whether the tick of a rule has been fired already.
func (c *Clock) isClaimed(r *rule, stored table.Entry, ok bool, now time.Time) bool {
	if !ok {
		return false
	}
	e, ok := readEntry(stored)
	return ok && e.of(r) && !e.tick().Before(r.next) && e.tick().Sub(now) <= farthest
}

// finish goes on with claims that have no mark: those of this process that it could not
// finish, and those that others have left.
func (c *Clock) finish(ctx context.Context, now time.Time) error {
	left := c.open.left(c.id, c.patient)
	if len(left) == 0 {
		return nil
	}
	claimed, dropped := map[string]entry{}, 0
	err := c.table.Update(ctx, func(tx *table.Tx) error {
		clear(claimed)
		dropped = 0
		for name, claim := range left {
			stored, ok := tx.Get(name)
			if !ok || stored.Version != claim.version {
				continue // somebody was faster, or this process has marked it a moment ago
			}
			if _, ok := c.written[name]; ok && c.written[name] == claim.entry {
				continue
			}
			r, e := c.rules[name], claim.entry
			idle := r == nil || r.paused
			switch {
			case idle && time.Since(claim.seen) < strange:
				continue
			case idle || !e.of(r) || now.Sub(e.tick()) > farthest:
				e.Done = true
				dropped++
			default:
				e.By = c.id
				claimed[name] = e
			}
			e.write(tx, name)
			if len(claimed) == mostTicks {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take over %d ticks: %w", len(left), err)
	}
	c.missed.Add(float64(dropped))
	for name, e := range claimed {
		if left[name].By != c.id {
			c.taken.Inc()
			c.rules[name].took = e.tick()
			c.cfg.Log.Info("a tick is taken over from a process that has not finished it", "rule", name, "tick", e.tick())
		}
	}
	return c.write(ctx, claimed)
}

// write writes the events of claimed ticks and marks those that are written. The end of
// ctx does not keep it from that: another process would write them again.
func (c *Clock) write(ctx context.Context, claimed map[string]entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeOver)
	defer cancel()
	var failed error
	if len(claimed) > 0 {
		for name, err := range c.put(ctx, claimed) {
			if err != nil {
				failed = fmt.Errorf("put the tick of rule %q on the default bus: %w", name, err)
				continue
			}
			c.written[name] = claimed[name]
			c.fired.Inc()
		}
	}
	return errors.Join(failed, c.mark(ctx))
}

// mark notes in the table which ticks are written.
func (c *Clock) mark(ctx context.Context) error {
	if len(c.written) == 0 {
		return nil
	}
	err := c.table.Update(ctx, func(tx *table.Tx) error {
		for name, e := range c.written {
			stored, ok := tx.Get(name)
			if !ok {
				continue
			}
			if now, ok := readEntry(stored); ok && now == e {
				e.Done = true
				e.write(tx, name)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("mark %d ticks: %w", len(c.written), err)
	}
	clear(c.written)
	return nil
}

// produce is the putFunc of a clock.
func (c *Clock) produce(ctx context.Context, claimed map[string]entry) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	results := make(map[string]error, len(claimed))
	if err := c.cfg.Ensure(ctx); err != nil {
		for name := range claimed {
			results[name] = err
		}
		return results
	}
	names := make([]string, 0, len(claimed))
	records := make([]*kgo.Record, 0, len(claimed))
	for name, e := range claimed {
		names = append(names, name)
		records = append(records, c.record(name, e))
	}
	for i, r := range c.cfg.Cluster.Produce(ctx, records...) {
		results[names[i]] = r.Err
	}
	return results
}

// space is what the ids of ticks are made in.
var space = uuid.MustParse("4d7f2f57-3b0b-5c0e-9a63-5f1c6f0f7a1e")

// record makes the record of a tick. Its id is the same whoever makes it.
func (c *Clock) record(name string, e entry) *kgo.Record {
	arn, at := c.cfg.RuleARN(name), e.tick()
	id := uuid.NewSHA1(space, []byte(arn+" "+at.Format(time.RFC3339Nano))).String()
	envelope := event.Envelope{
		ID: id, DetailType: "Scheduled Event", Source: "aws.events", Account: c.cfg.Account, Time: at, Region: c.cfg.Region, Resources: []string{arn}, Detail: []byte("{}"),
	}
	return &kgo.Record{
		Topic: event.BusTopic(catalog.DefaultBus), Partition: -1, Key: []byte(id), Value: envelope.Append(nil),
		Headers: []kgo.RecordHeader{{Key: event.HeaderSchedule, Value: []byte(name)}},
	}
}
