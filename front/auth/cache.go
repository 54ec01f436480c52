package auth

import (
	"container/list"
	"sync"
	"time"
)

// A cache remembers a bounded number of things, each until its time. When there is no
// room, things that were not asked for since it was looked last go first, the oldest of
// them before others: a thing that is asked for is only marked, since to move it would
// touch its neighbours, and with thousands of things all of that is far away in memory.
// It is safe for concurrent use.
type cache[K comparable, V any] struct {
	size int

	mu    sync.Mutex // guards what follows
	known map[K]*cached[K, V]
	order list.List // of *cached[K, V], the newest in front
}

type cached[K comparable, V any] struct {
	key   K
	value V
	until time.Time
	asked bool // for since it was put, or looked at last
	at    *list.Element
}

// mostLooked is how many things are spared, because they were asked for, when room is made.
const mostLooked = 64

func newCache[K comparable, V any](size int) *cache[K, V] {
	return &cache[K, V]{size: size, known: map[K]*cached[K, V]{}}
}

// get returns what is known at a time.
func (c *cache[K, V]) get(key K, now time.Time) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.known[key]
	if !ok {
		return v, false
	}
	if !now.Before(one.until) {
		c.remove(one)
		return v, false
	}
	one.asked = true
	return one.value, true
}

// put remembers something until a time.
func (c *cache[K, V]) put(key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.known[key]; ok {
		one.value, one.until, one.asked = value, until, true
		return
	}
	for looked := 0; len(c.known) >= c.size; looked++ {
		last := c.order.Back().Value.(*cached[K, V])
		if !last.asked || looked == mostLooked {
			c.remove(last)
			continue
		}
		last.asked = false
		c.order.MoveToFront(last.at)
	}
	one := &cached[K, V]{key: key, value: value, until: until}
	one.at = c.order.PushFront(one)
	c.known[key] = one
}

// remove forgets something that is known. c.mu is held.
func (c *cache[K, V]) remove(one *cached[K, V]) {
	c.order.Remove(one.at)
	delete(c.known, one.key)
}

// drop forgets something.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.known[key]; ok {
		c.remove(one)
	}
}

// add is put for a key that must not be known yet.
func (c *cache[K, V]) add(key K, value V, now, until time.Time) bool {
	if _, ok := c.get(key, now); ok {
		return false
	}
	c.put(key, value, until)
	return true
}

// clear forgets everything.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
	c.order.Init()
}

// flights lets callers who want the same thing wait for the first of them.
type flights[K comparable, V any] struct {
	mu   sync.Mutex // guards open
	open map[K]*flight[V]
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// join returns the flight of a key, and whether the caller has to make it: then
// land must follow.
func (f *flights[K, V]) join(key K) (one *flight[V], first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.open[key]; ok {
		return one, false
	}
	if f.open == nil {
		f.open = map[K]*flight[V]{}
	}
	one = &flight[V]{done: make(chan struct{})}
	f.open[key] = one
	return one, true
}

func (f *flights[K, V]) land(key K, one *flight[V], value V, err error) {
	f.mu.Lock()
	delete(f.open, key)
	f.mu.Unlock()
	one.value, one.err = value, err
	close(one.done)
}
