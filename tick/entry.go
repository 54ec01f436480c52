package tick

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/table"
)

// An entry is what the table says of a rule: its last tick, who has claimed that, and
// whether its event is written. As long as it is not, no other tick of the rule is claimed.
type entry struct {
	// Since is when the schedule was set that the tick is of, in milliseconds since 1970.
	Since int64 `json:"since"`
	// Tick is the time of the tick, in milliseconds since 1970.
	Tick int64  `json:"tick"`
	By   string `json:"by"`
	Done bool   `json:"done,omitempty"`
}

func (e entry) tick() time.Time { return time.UnixMilli(e.Tick).UTC() }

// of says whether the entry is of the schedule that a rule has now.
func (e entry) of(r *rule) bool { return e.Since == r.since.UnixMilli() }

func readEntry(e table.Entry) (entry, bool) {
	var read entry
	return read, json.Unmarshal(e.Value, &read) == nil
}

func (e entry) write(tx *table.Tx, rule string) {
	value, err := json.Marshal(e)
	if err == nil { // it always is
		tx.Put(rule, value)
	}
}

// openClaims are the claims without a mark, and since when each has been there, by the
// machine's own clock and not by that which may be set.
type openClaims struct {
	mu     sync.Mutex
	claims map[string]openClaim
}

type openClaim struct {
	entry
	version table.Version
	seen    time.Time
}

// see is told of changes of the table.
func (o *openClaims) see(changes []table.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, change := range changes {
		e, ok := readEntry(change.Entry)
		if change.Deleted || !ok || e.Done {
			delete(o.claims, change.Key)
			continue
		}
		o.claims[change.Key] = openClaim{e, change.Version, time.Now()}
	}
}

// left returns the claims to be finished: this process's own, and those of others that
// are older than patient.
func (o *openClaims) left(own string, patient time.Duration) map[string]openClaim {
	o.mu.Lock()
	defer o.mu.Unlock()
	var left map[string]openClaim
	for name, claim := range o.claims {
		if claim.By != own && time.Since(claim.seen) < patient {
			continue
		}
		if left == nil {
			left = map[string]openClaim{}
		}
		left[name] = claim
	}
	return left
}

// openTable opens the table of claims.
func (c *Clock) openTable(ctx context.Context) error {
	t, err := table.Open(ctx, c.cfg.Cluster, Topic, table.Options{Log: c.cfg.Log})
	if err != nil {
		return err
	}
	c.open.mu.Lock()
	c.open.claims = map[string]openClaim{}
	c.open.mu.Unlock()
	c.table, c.unwatch = t, t.Watch(c.open.see)
	return nil
}

// reopen forgets a table whose topic is gone, so that another one is made. What this
// process knows of ticks that were fired it still knows.
func (c *Clock) reopen(err error) {
	if errors.Is(err, table.ErrLost) {
		c.close()
	}
}

func (c *Clock) close() {
	if c.table != nil {
		c.unwatch()
		c.table.Close()
		c.table = nil
	}
}

// last returns the tick of a rule that was claimed last.
func (c *Clock) last(r *rule) (time.Time, bool) {
	stored, ok := c.table.Get(r.name)
	if !ok {
		return time.Time{}, false
	}
	e, ok := readEntry(stored)
	return e.tick(), ok && e.of(r)
}

// tidy removes the entries of rules that are gone, now and then.
func (c *Clock) tidy(ctx context.Context) error {
	if time.Since(c.tidied) < tidyEvery {
		return nil
	}
	c.tidied = time.Now()
	for _, e := range c.table.List("") {
		if _, ok := c.cfg.Store.Look(catalog.KindRule, catalog.RuleName(catalog.DefaultBus, e.Key)); ok {
			continue // it may be enabled again, with the same schedule
		}
		if err := c.table.Delete(ctx, e.Key, e.Version); err != nil && !errors.Is(err, table.ErrConflict) {
			return err
		}
	}
	return nil
}
