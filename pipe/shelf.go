package pipe

import (
	"container/list"
	"sync"
)

// shelfBytes bounds what the samples of all pipes of a process have in memory.
const shelfBytes = 16 << 20

// A shelf has the latest samples of all pipes, one for each step and outcome. Where they
// would take more than shelfBytes, those go first that nobody has replaced for longest.
// The zero value is empty; it is safe for concurrent use. Each step puts one a second at
// most, so its one mutex is nowhere near the path of records.
type shelf struct {
	mu    sync.Mutex // guards what follows
	all   map[shelfKey]*list.Element
	order list.List // of *shelved, the latest first
	bytes int
}

type shelfKey struct {
	pipe          string
	step, outcome uint8
}

type shelved struct {
	key    shelfKey
	sample *StageSample
	bytes  int
}

// put replaces a sample.
func (s *shelf) put(key shelfKey, sample *StageSample) {
	size := 400 + len(key.pipe) + len(sample.Topic) + len(sample.Note) + len(sample.Why) + len(sample.Key) + len(sample.Value) + len(sample.Result)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[shelfKey]*list.Element{}
	}
	if e := s.all[key]; e != nil {
		s.drop(e)
	}
	s.all[key] = s.order.PushFront(&shelved{key, sample, size})
	s.bytes += size
	for s.bytes > shelfBytes && s.order.Len() > 1 {
		s.drop(s.order.Back())
	}
}

// drop takes a sample away. The mutex is held.
func (s *shelf) drop(e *list.Element) {
	v := s.order.Remove(e).(*shelved)
	delete(s.all, v.key)
	s.bytes -= v.bytes
}

// get returns a sample that nobody changes any more; nil: there is none.
func (s *shelf) get(key shelfKey) *StageSample {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.all[key]; e != nil {
		return e.Value.(*shelved).sample
	}
	return nil
}

// forget takes away all samples of a pipe.
func (s *shelf) forget(pipe string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for step := range uint8(stages) {
		for _, outcome := range []uint8{passing, halting} {
			if e := s.all[shelfKey{pipe, step, outcome}]; e != nil {
				s.drop(e)
			}
		}
	}
}
