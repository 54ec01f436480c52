package pipe

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/rule"
)

// A feed delivers records by a pipe's rules without taking part in its consumer
// group, and commits nothing: for what is delivered once more. Order, batches,
// attempts and dead letters are those of the pipe; it has a target of its own.
type feed struct {
	flow  *flow
	limit *rate.Limiter // nil: none
	tally tally
}

// A tally counts what became of the records of a feed.
type tally struct {
	delivered, dead atomic.Int64
	// done is told of each record that is settled, with the flow's mutex held;
	// nil: nobody is.
	done func(*kgo.Record)
	// died are the records that were given up; the flow's mutex guards it.
	died map[mark]bool
}

// newFeed makes a feed for a pipe. It filters only if the pipe's own filter is to
// be asked; where is a pattern beside it.
func (r *Runner) newFeed(def catalog.Pipe, filter bool, where *rule.RecordPattern, perSecond int, done func(*kgo.Record)) (*feed, error) {
	f, err := newFlow(def, r)
	if err != nil {
		return nil, err
	}
	if !filter {
		f.pattern, f.filters = nil, nil
	}
	f.where = where
	f.fields = fieldsOf(f.pattern, f.transform).Or(fieldsOf(where, nil))
	f.keeper = r.keeperOf(def.Name)
	fd := &feed{flow: f}
	fd.tally.done = done
	fd.tally.died = map[mark]bool{}
	f.tally = &fd.tally
	if perSecond > 0 {
		fd.limit = rate.NewLimiter(rate.Limit(perSecond), max(perSecond/10, 1))
	}
	return fd, nil
}

// put hands over records of one partition, in order. It waits for room and for
// the rate, and is false when ctx has ended.
func (fd *feed) put(ctx context.Context, records ...*kgo.Record) bool {
	f := fd.flow
	for _, r := range records {
		if fd.limit != nil && fd.limit.Wait(ctx) != nil {
			return false
		}
		if !f.waitForRoom(ctx) {
			return false
		}
		f.mu.Lock()
		known := f.parts[place{r.Topic, r.Partition}] != nil
		f.mu.Unlock()
		if !known {
			f.assigned(map[string][]int32{r.Topic: {r.Partition}})
		}
		f.accept([]*kgo.Record{r})
	}
	return true
}

// end waits until all records are settled, or ctx ends: then what is under way is
// finished, and the rest is not delivered. It reports every half second.
func (fd *feed) end(ctx context.Context, grace time.Duration, report func()) error {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for last := time.Now(); !fd.idle(); {
		select {
		case <-look.C:
		case <-ctx.Done():
			fd.flow.drain(grace)
			fd.flow.endAll()
			return ctx.Err()
		}
		if time.Since(last) > 500*time.Millisecond {
			last = time.Now()
			report()
		}
	}
	fd.flow.closeTargets()
	return ctx.Err()
}

// idle says whether everything is settled.
func (fd *feed) idle() bool {
	f := fd.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.parts {
		if p.track.span() > 0 {
			return false
		}
	}
	return f.active == 0
}
