package table

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// A Change is an entry after a write, or, with Deleted, what is left of it: its
// key, and the version and time of its deletion.
type Change struct {
	Entry
	Deleted bool
}

// queuedNotices bounds the changes that wait for the watchers: so many times what
// one fetch brings. When they are full, the table stops following its topic until
// the watchers have caught up.
const queuedNotices = 64

// watching is how changes get to the watchers.
type watching struct {
	order sync.Mutex // held while content and queue change together; guards ended
	ended bool       // the queue is closed
	queue chan notice

	mu   sync.Mutex // guards list
	list []*watcher
}

// tell puts changes into the queue. It is called with order held, by the only one
// who makes changes.
func (w *watching) tell(ctx context.Context, changes []Change) {
	if len(changes) == 0 {
		return
	}
	select {
	case w.queue <- notice{changes: changes}:
	case <-ctx.Done():
	}
}

// end closes the queue: there will be no more changes.
func (w *watching) end() {
	w.order.Lock()
	defer w.order.Unlock()
	w.ended = true
	close(w.queue)
}

// A watcher is one call of Watch.
type watcher struct {
	see     func([]Change)
	stopped bool // guarded by watching.mu
}

// A notice is news for all watchers, or for a new one.
type notice struct {
	changes []Change
	to      *watcher      // nil: all
	told    chan struct{} // closed when all watchers were told of what came before; nil: nobody asks
}

// SyncWatchers is Sync, and waits until all watchers were told. No watcher may call it.
func (t *Table) SyncWatchers(ctx context.Context) error {
	if err := t.Sync(ctx); err != nil {
		return err
	}
	told := make(chan struct{})
	if err := t.ask(ctx, told); err != nil {
		return err
	}
	select {
	case <-told:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.ctx.Done():
		return fmt.Errorf("table %s: %w", t.topic.Name, ErrClosed)
	}
}

// ask puts a question into the queue.
func (t *Table) ask(ctx context.Context, told chan struct{}) error {
	t.watching.order.Lock()
	defer t.watching.order.Unlock()
	if t.watching.ended {
		return fmt.Errorf("table %s: %w", t.topic.Name, ErrClosed)
	}
	select {
	case t.watching.queue <- notice{told: told}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Watch calls see with all entries there are, unless there are none, and then with
// every change in the order of the writes, those of other processes included. A
// write of several entries at once comes in one call, and a call may hold several
// writes. After a long time without a broker, several changes of one entry may
// come as one.
//
// All watchers share one goroutine, so see must return soon; it may read the table but must
// not wait for it: neither write, nor Sync, nor Watch, nor Close. The slice and
// its values are shared and must not be changed. The function that Watch returns
// ends it; a call that is under way may last longer.
func (t *Table) Watch(see func([]Change)) (stop func()) {
	w := &watcher{see: see}
	t.watching.order.Lock()
	defer t.watching.order.Unlock()
	var all []Change
	for e := range t.All() {
		all = append(all, Change{Entry: e})
	}
	if t.watching.ended {
		if len(all) > 0 {
			see(all)
		}
		return func() {}
	}
	select {
	case t.watching.queue <- notice{changes: all, to: w}:
	case <-t.ctx.Done():
	}
	return func() {
		t.watching.mu.Lock()
		defer t.watching.mu.Unlock()
		w.stopped = true
		t.watching.list = slices.DeleteFunc(t.watching.list, func(have *watcher) bool { return have == w })
	}
}

// notify calls the watchers until the following goroutine has closed the queue.
func (t *Table) notify() {
	defer t.running.Done()
	for n := range t.watching.queue {
		if n.told != nil {
			close(n.told)
			continue
		}
		for _, w := range t.audience(n.to) {
			if len(n.changes) > 0 {
				w.see(n.changes)
			}
		}
	}
}

// audience returns whom a notice is for, and admits a new watcher.
func (t *Table) audience(to *watcher) []*watcher {
	t.watching.mu.Lock()
	defer t.watching.mu.Unlock()
	if to == nil {
		return slices.Clone(t.watching.list)
	}
	if to.stopped {
		return nil
	}
	t.watching.list = append(t.watching.list, to)
	return []*watcher{to}
}
