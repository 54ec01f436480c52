package sink

import (
	"log/slog"
	"sync"
	"time"
)

// talliedEvery is how often the log is told how many events were sent.
const talliedEvery = time.Minute

// A tally tells the log every minute how many events a sink has sent since it was
// opened, those of repeated attempts included (event-bus.md 13.5), from the first event
// on. It is safe for concurrent use.
type tally struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	sent   int64
	timer  *time.Timer // nil before the first event
	closed bool
}

func newTally(log *slog.Logger) *tally { return &tally{log: log} }

// add counts events.
func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent += int64(n)
	if t.timer == nil && !t.closed {
		t.timer = time.AfterFunc(talliedEvery, t.tell)
	}
}

func (t *tally) tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.log.Info("events sent by the sink", "total", t.sent)
	t.timer.Reset(talliedEvery)
}

// close ends it. Nothing is told afterwards.
func (t *tally) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}
