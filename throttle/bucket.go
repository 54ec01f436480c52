package throttle

import (
	"math"
	"sync"
)

// slack forgives what adding up fractions of tokens loses.
const slack = 1e-9

// A rate is what fills a bucket: per second, up to burst.
type rate struct{ perSecond, burst float64 }

// fill returns how many tokens a bucket has that had so many some seconds ago.
func (r rate) fill(tokens, seconds float64) float64 {
	return math.Min(r.burst, tokens+r.perSecond*math.Max(seconds, 0))
}

// passes says whether a call that costs n may take from a bucket. One that is
// strict holds back what it has not got; the others only what owes already.
func passes(tokens, n float64, strict bool) bool {
	if strict {
		return tokens >= n-slack
	}
	return tokens > 0
}

// wait returns the seconds after which a call that did not pass will.
func (r rate) wait(tokens, n float64, strict bool) float64 {
	if !strict {
		n = 1
	}
	return math.Max((n-tokens)/r.perSecond, 0)
}

const (
	shards = 256
	// none ends a list of buckets.
	none = int32(-1)
)

// A key names a bucket. It is a hash with a seed of its own, so that long names
// cost nothing and nobody can make two of them meet.
type key [2]uint64

func (k key) shard() int { return int(k[0] % shards) }

// store holds buckets by their keys, each as many as fit; of those who were not
// asked for longest, one makes room.
type store struct {
	shard   [shards]shard
	most    int // buckets in a shard
	evicted func()
}

type shard struct {
	mu      sync.Mutex // guards what follows
	at      map[key]int32
	buckets []bucket
	newest  int32
	oldest  int32
	_       [24]byte // a shard has its cache lines for itself
}

// A bucket stands in a list, newest first.
type bucket struct {
	key          key
	tokens       float64
	last         float64 // seconds of the caller's clock
	burst        float64 // what it is full with
	perSecond    float64
	newer, older int32
}

func newStore(most int, evicted func()) *store {
	s := &store{most: max(most/shards, 1), evicted: evicted}
	for i := range s.shard {
		s.shard[i].newest, s.shard[i].oldest = none, none
	}
	return s
}

// find returns the bucket of a key, filled up to now; one that is not there is
// full. The shard is locked by the caller. The pointer is good until the next
// find in the same shard.
func (s *store) find(k key, r rate, now float64) int32 {
	h := &s.shard[k.shard()]
	i, ok := h.at[k]
	if !ok {
		i = h.room(s.most, now, s.evicted)
		h.buckets[i] = bucket{key: k, tokens: r.burst, last: now, burst: r.burst, perSecond: r.perSecond, newer: none, older: none}
		if h.at == nil {
			h.at = map[key]int32{}
		}
		h.at[k] = i
	} else {
		h.unlink(i)
		b := &h.buckets[i]
		b.tokens, b.last = r.fill(b.tokens, now-b.last), math.Max(now, b.last)
		b.burst, b.perSecond = r.burst, r.perSecond
	}
	h.link(i)
	return i
}

// at returns a bucket that find has found, while its shard is locked.
func (s *store) at(k key, i int32) *bucket { return &s.shard[k.shard()].buckets[i] }

// room returns a place for a bucket.
func (h *shard) room(most int, now float64, evicted func()) int32 {
	if len(h.buckets) < most {
		h.buckets = append(h.buckets, bucket{})
		return int32(len(h.buckets) - 1)
	}
	i := h.oldest
	b := &h.buckets[i]
	if (rate{b.perSecond, b.burst}).fill(b.tokens, now-b.last) < b.burst-slack {
		evicted()
	}
	h.unlink(i)
	delete(h.at, b.key)
	return i
}

func (h *shard) link(i int32) {
	h.buckets[i].older = h.newest
	h.buckets[i].newer = none
	if h.newest != none {
		h.buckets[h.newest].newer = i
	}
	h.newest = i
	if h.oldest == none {
		h.oldest = i
	}
}

func (h *shard) unlink(i int32) {
	b := &h.buckets[i]
	if b.newer != none {
		h.buckets[b.newer].older = b.older
	} else {
		h.newest = b.older
	}
	if b.older != none {
		h.buckets[b.older].newer = b.newer
	} else {
		h.oldest = b.newer
	}
	b.newer, b.older = none, none
}

// counters count what is under way by key, and forget what is not.
type counters struct {
	mu sync.Mutex
	n  map[key]int
}

// enter counts one more, unless there are most already. It returns how many others
// there are.
func (c *counters) enter(k key, most int) (others int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if others = c.n[k]; others >= most {
		return others, false
	}
	if c.n == nil {
		c.n = map[key]int{}
	}
	c.n[k]++
	return others, true
}

func (c *counters) leave(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[k] > 1 {
		c.n[k]--
	} else {
		delete(c.n, k)
	}
}
