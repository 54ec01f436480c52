package auth

import (
	"container/list"
	"sync"
	"time"
)

// A cache remembers a bounded number of things, each until its time; what was not
// asked for longest goes first. It is safe for concurrent use.
type cache[K comparable, V any] struct {
	size int

	mu    sync.Mutex // guards what follows
	known map[K]*list.Element
	order list.List // of *cached[K, V], the last one used in front
}

type cached[K comparable, V any] struct {
	key   K
	value V
	until time.Time
}

func newCache[K comparable, V any](size int) *cache[K, V] {
	return &cache[K, V]{size: size, known: map[K]*list.Element{}}
}

// get returns what is known at a time.
func (c *cache[K, V]) get(key K, now time.Time) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[key]
	if !ok {
		return v, false
	}
	one := e.Value.(*cached[K, V])
	if !now.Before(one.until) {
		c.order.Remove(e)
		delete(c.known, key)
		return v, false
	}
	c.order.MoveToFront(e)
	return one.value, true
}

// put remembers something until a time.
func (c *cache[K, V]) put(key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.known[key]; ok {
		*e.Value.(*cached[K, V]) = cached[K, V]{key, value, until}
		c.order.MoveToFront(e)
		return
	}
	c.known[key] = c.order.PushFront(&cached[K, V]{key, value, until})
	if c.order.Len() > c.size {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.known, last.Value.(*cached[K, V]).key)
	}
}

// drop forgets something.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.known[key]; ok {
		c.order.Remove(e)
		delete(c.known, key)
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
