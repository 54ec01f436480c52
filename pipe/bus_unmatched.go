package pipe

import (
	"bytes"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// mostSamples is how many unmatched events of a bus are kept, the latest ones, and
	// sampleBytes how much of each.
	mostSamples = 20
	sampleBytes = 4 << 10
	// sampleEvery is the pause between two samples, so that a flood of one kind does not
	// cost more than a trickle.
	sampleEvery = 100 * time.Millisecond
)

// A Sample is an event of a bus that no rule matched.
type Sample struct {
	At        time.Time `json:"at"` // of intake
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	// Event is the beginning of it, at most 4 KiB; Size is that of all of it, in bytes.
	Event string `json:"event"`
	Size  int    `json:"size"`
}

// samples are the latest unmatched events. They are safe for concurrent use.
type samples struct {
	mu   sync.Mutex
	last time.Time
	all  []Sample
}

func (s *samples) add(r *kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last) < sampleEvery {
		return
	}
	s.last = now
	if len(s.all) == mostSamples {
		s.all = s.all[1:]
	}
	text := bytes.ToValidUTF8(r.Value[:min(len(r.Value), sampleBytes)], []byte("?"))
	s.all = append(s.all, Sample{r.Timestamp, r.Partition, r.Offset, string(text), len(r.Value)})
}

// Unmatched returns a few events of a bus that no rule matched, the latest last, as far as
// this process has read them.
func (r *Runner) Unmatched(bus string) []Sample {
	r.mu.Lock()
	b := r.buses[bus]
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	b.samples.mu.Lock()
	defer b.samples.mu.Unlock()
	return append([]Sample{}, b.samples.all...)
}
