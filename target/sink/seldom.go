package sink

import (
	"sync"
	"time"
)

// saidEvery is how often the log is told of what may be true of every record.
const saidEvery = time.Minute

// A seldom says when the log is to be told of something that may be true of every record:
// of the first one, and then every minute of one. It is safe for concurrent use.
type seldom struct {
	mu    sync.Mutex // guards what follows
	said  time.Time
	times int
}

// due counts one, and returns how many there were since the log was told; 0: it is not to
// be told now.
func (s *seldom) due() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	now := time.Now()
	if now.Sub(s.said) < saidEvery {
		return 0
	}
	times := s.times
	s.said, s.times = now, 0
	return times
}
