package pipe

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// This file keeps the process small while pipes catch up. Records that pass through
// at a hundred megabytes a second become garbage as fast, and Go lets as much of it
// pile up as there is live memory before it collects. Above a soft limit it
// collects earlier. The limit leaves alone what is really in use: it grows with
// that, so that collecting never becomes all there is.

const (
	// softBytes is the limit of a process that holds little.
	softBytes = 128 << 20
	// paceEvery is how often the limit is set anew.
	paceEvery = 500 * time.Millisecond
)

// softLimit is the limit for a process with so much live memory.
func softLimit(live uint64) int64 { return max(softBytes, int64(live+live/2)+(32<<20)) }

// pace holds the limit until ctx ends. An operator's own GOMEMLIMIT or GOGC counts
// more: then nothing is done.
func pace(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for last := int64(0); ; {
		metrics.Read(live)
		if limit := softLimit(live[0].Value.Uint64()); limit != last {
			debug.SetMemoryLimit(limit)
			last = limit
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
