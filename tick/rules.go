package tick

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/schedule"
	"github.com/klamm-gateway/klamm/table"
)

// A rule is one that has a schedule.
type rule struct {
	name  string
	when  *schedule.Expression
	since time.Time // when the schedule was set
	// changed is when the rule was, by the machine's own clock.
	changed time.Time
	paused  bool // it does nothing
	// bound is a time up to which all ticks are settled, or not this process's business.
	bound time.Time
	next  time.Time // the first tick behind bound
	ends  bool      // there is no such tick
	// noticed is since when next has been found to be due and the rule's entry has stood
	// as it stands; zero: next is not due.
	noticed time.Time
	stands  table.Version
	// took is the tick that this process took over last from one that had claimed it.
	// It says nothing of those behind it, which others may know and this process not.
	took time.Time
}

// note is told of documents that have changed.
func (c *Clock) note(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			c.dirty[name] = true
		}
	}
	c.known = true
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// prefix begins the keys of the documents of rules that can have a schedule.
const prefix = catalog.KindRule + "/" + catalog.DefaultBus + "/"

// longestNews is how long it may take until this process hears of a rule that somebody
// has enabled.
const longestNews = time.Minute

// learn looks at the rules that have changed; false: not even the first are known.
func (c *Clock) learn(now time.Time) bool {
	c.mu.Lock()
	dirty, known := c.dirty, c.known
	c.dirty = map[string]bool{}
	c.mu.Unlock()
	for name := range dirty {
		c.learnRule(name, now)
	}
	c.learned = known
	return known
}

// learnRule takes a rule as it is now. One that goes on with the same schedule keeps
// its place: other changes of it must not cost a tick.
func (c *Clock) learnRule(name string, now time.Time) {
	r := c.readRule(name)
	if r == nil {
		delete(c.rules, name)
		return
	}
	was := c.rules[name]
	same := was != nil && was.since.Equal(r.since)
	switch {
	case r.paused:
		r.ends = true
		c.rules[name] = r
		return
	case same && !was.paused:
		return
	case !same && r.since.After(c.began): // the news has taken a moment, in which a tick may have become due
		r.bound = r.since
	case !c.learned:
		r.bound = c.began
	default: // it has been enabled
		r.bound = now.Add(-min(max(time.Since(r.changed), 0), longestNews))
	}
	r.from(r.bound)
	c.rules[name] = r
}

// readRule returns a rule with a schedule; nil: it has none.
func (c *Clock) readRule(name string) *rule {
	doc, ok := c.cfg.Store.Look(catalog.KindRule, catalog.RuleName(catalog.DefaultBus, name))
	if !ok {
		return nil
	}
	var body catalog.Rule
	if err := json.Unmarshal(doc.Body, &body); err != nil {
		c.cfg.Log.Error("a rule cannot be read", "rule", doc.Name, "version", doc.Version, "err", err)
		return nil
	}
	if body.ScheduleExpression == nil {
		return nil
	}
	when, err := schedule.Parse(*body.ScheduleExpression)
	if err != nil {
		c.cfg.Log.Error("the schedule of a rule cannot be read", "rule", doc.Name, "version", doc.Version, "err", err)
		return nil
	}
	return &rule{name: name, when: when, since: time.UnixMilli(body.Scheduled).UTC(), changed: doc.Changed, paused: body.Disabled()}
}

// from makes next the first tick behind a time.
func (r *rule) from(bound time.Time) {
	next, ok := r.when.Next(r.since, bound)
	if !ok || !next.Equal(r.next) {
		r.noticed = time.Time{}
	}
	r.bound, r.next, r.ends = bound, next, !ok
}

// due says whether the rule has a tick that is due and that nobody has claimed, by what
// last says was claimed last.
func (r *rule) due(now time.Time, last func(*rule) (time.Time, bool)) bool {
	// A clock that was far ahead has left times that would silence the rule for long.
	strayed := r.bound.Sub(now) > farthest
	if !strayed && (r.ends || now.Before(r.next)) {
		return false
	}
	bound := r.bound
	if strayed {
		bound = now
	}
	if late := now.Add(-farthest); bound.Before(late) {
		bound = late
	}
	if claimed, ok := last(r); ok && claimed.After(bound) && claimed.Sub(now) <= farthest {
		bound = claimed
	}
	r.from(bound)
	return !r.ends && !now.Before(r.next)
}
