package table

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// state is the copy of a topic in memory. Only the following goroutine (and Open,
// before there is one) changes the content.
type state struct {
	mu       sync.RWMutex // guards what follows
	entries  map[string]stored
	keys     []string // those of entries, sorted
	next     int64    // every committed record before this offset is in entries
	moved    chan struct{}
	awaited  int64 // offset of a record that the writer wants to know about; -1: none
	seen     bool  // it has come
	reloaded bool  // the content was replaced since, and it may have come unseen
	lost     error // why there is no topic any more
	trouble  error // why the last attempt to read failed
	heard    time.Time
}

// stored is an entry without its key.
type stored struct {
	value   []byte
	version Version
	millis  int64
}

func (s stored) entry(key string) Entry {
	return Entry{Key: key, Value: s.value, Version: s.version, Time: time.UnixMilli(s.millis)}
}

// get is called with mu held.
func (s *state) get(key string) (Entry, bool) {
	e, ok := s.entries[key]
	if !ok {
		return Entry{}, false
	}
	return e.entry(key), true
}

// list is called with mu held.
func (s *state) list(prefix string) []Entry {
	from, _ := slices.BinarySearch(s.keys, prefix)
	to := from
	for to < len(s.keys) && strings.HasPrefix(s.keys[to], prefix) {
		to++
	}
	entries := make([]Entry, to-from)
	for i, key := range s.keys[from:to] {
		entries[i] = s.entries[key].entry(key)
	}
	return entries
}

// sortAfter is how many new and removed keys are put in their places one by one.
const sortAfter = 64

// apply changes the content as the records say. It is called with mu held.
func (s *state) apply(records []*kgo.Record) []Change {
	var changes []Change
	var shifted []string // keys that came or went
	for _, r := range records {
		if r.Offset == s.awaited {
			s.seen = true
		}
		if len(r.Key) == 0 {
			continue // nothing of klamm writes such a record
		}
		c := changeOf(r)
		_, had := s.entries[c.Key]
		switch {
		case c.Deleted && had:
			delete(s.entries, c.Key)
			shifted = append(shifted, c.Key)
		case c.Deleted:
			continue
		default:
			s.entries[c.Key] = stored{c.Value, c.Version, c.Time.UnixMilli()}
			if !had {
				shifted = append(shifted, c.Key)
			}
		}
		changes = append(changes, c)
	}
	if len(shifted) > sortAfter {
		s.keys = slices.Sorted(maps.Keys(s.entries))
		return changes
	}
	for _, key := range shifted {
		at, listed := slices.BinarySearch(s.keys, key)
		_, has := s.entries[key]
		switch {
		case has && !listed:
			s.keys = slices.Insert(s.keys, at, key)
		case listed && !has:
			s.keys = slices.Delete(s.keys, at, at+1)
		}
	}
	return changes
}

// changeOf copies a record, since its bytes share memory with all others that
// came with it.
func changeOf(r *kgo.Record) Change {
	c := Change{Entry: Entry{Key: string(r.Key), Version: Version(r.Offset + 1), Time: time.UnixMilli(r.Timestamp.UnixMilli())}, Deleted: r.Value == nil}
	if !c.Deleted {
		c.Value = append(make([]byte, 0, len(r.Value)), r.Value...)
	}
	return c
}

// replace takes other content and returns what is different, sorted by key. It is
// called with mu held.
func (s *state) replace(entries map[string]stored, end int64) []Change {
	var changes []Change
	for key, old := range s.entries {
		if _, ok := entries[key]; !ok {
			gone := old.entry(key)
			gone.Value, gone.Version, gone.Time = nil, Version(end), time.UnixMilli(time.Now().UnixMilli())
			changes = append(changes, Change{Entry: gone, Deleted: true})
		}
	}
	for key, e := range entries {
		if e.version == Version(s.awaited+1) {
			s.seen = true
		}
		if s.entries[key].version != e.version {
			changes = append(changes, Change{Entry: e.entry(key)})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
	s.entries, s.keys = entries, slices.Sorted(maps.Keys(entries))
	s.reloaded = true
	return changes
}

// wake lets everybody look again who waits for the state to change. It is called
// with mu held.
func (s *state) wake() {
	close(s.moved)
	s.moved = make(chan struct{})
}
