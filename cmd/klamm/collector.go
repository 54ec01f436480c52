package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// This file sets Go's garbage collector for a process that serves.
//
// Go collects whenever there is as much garbage as there is live memory. klamm's live
// memory is small: a busy process with ten megabytes of it would collect dozens of times
// a second for nothing. So garbage may always grow to a fixed amount first. A process that
// has become idle collects once and gives the memory back to the system.
//
// The other way round, live memory may grow a lot between two looks at it, and garbage
// with it. Above a soft limit Go collects earlier. The limit grows with what is really in
// use and what cannot be used because of how it is cut into pieces, for under a limit
// below that Go does little else than collect.

const (
	// garbageBytes is how much garbage may pile up before it is collected.
	garbageBytes = 40 << 20
	// garbageShare is how much more than live memory may be garbage in a heap of up to
	// heapBytes.
	garbageShare = 3
	heapBytes    = 144 << 20
	// mostPercent bounds garbage relative to live memory, for a process that has just begun.
	mostPercent = 800
	// softBytes is the limit of a process that holds little.
	softBytes = 112 << 20
	// collectorEvery is how often it is looked how much memory is live.
	collectorEvery = 500 * time.Millisecond
	// restAfter is over how long a process must have done little to count as idle.
	restAfter = 10 * time.Second
	// restBytes is how much an idle process allocates in restAfter at most; one with much in
	// use allocates more, for to do nothing with a thousand pipes is some work.
	restBytes = 8 << 20
	restShare = 4 // of what is in use
	// restEvery is how often a process that stays idle gives memory back: what it does all
	// the same brings some garbage, and to collect that is most of its work.
	restEvery = 2 * time.Minute
	// spareBytes is how much an idle process may hold that it does not use.
	spareBytes = 8 << 20
)

// garbageOf is how much garbage may pile up beside so much live memory.
func garbageOf(live uint64) uint64 {
	return max(garbageBytes, min(garbageShare*live, heapBytes-min(live, heapBytes)))
}

// garbagePercent is the GOGC of a process with so much live memory.
func garbagePercent(live uint64) int {
	return int(min(mostPercent, max(100, 100*garbageOf(live)/max(live, 1))))
}

// softLimit is the limit for a process with such a heap.
func softLimit(h heapState) int64 {
	return max(softBytes, int64(h.live+max(garbageOf(h.live), h.live/2)+h.lost))
}

// tuneCollector sets the collector until ctx ends. An operator's own GOMEMLIMIT or GOGC
// counts more: then nothing is done.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	limit := debug.SetMemoryLimit(-1)
	percent := debug.SetGCPercent(100)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	tick := time.NewTicker(collectorEvery)
	defer tick.Stop()
	heap := heapNow()
	last, began := heap, time.Now()
	var rested heapState // when it gave memory back last
	var restedAt time.Time
	quiet := false // it has been idle since then
	lastLimit, lastPercent := int64(0), 100
	for {
		if l := softLimit(heap); l != lastLimit {
			debug.SetMemoryLimit(l)
			lastLimit = l
		}
		// Setting it stops the world for a moment: small differences are not worth that.
		if p := garbagePercent(heap.live); p < lastPercent*3/4 || p > lastPercent*4/3 {
			debug.SetGCPercent(p)
			lastPercent = p
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		heap = heapNow()
		if time.Since(began) >= restAfter {
			quiet = quiet && heap.idle(last)
			if heap.resting(last, rested) && !(quiet && time.Since(restedAt) < restEvery) {
				for i := 0; i < 2 && !quiet; i++ { // each time stacks that are little used become half as large
					runtime.GC()
				}
				debug.FreeOSMemory() // which collects, too
				heap = heapNow()
				rested, restedAt, quiet = heap, time.Now(), true
			}
			last, began = heap, time.Now()
		}
	}
}

// heapState is what the collector knows of the heap, in bytes.
type heapState struct {
	live      uint64 // in use when it collected last
	allocated uint64 // ever since the process began
	held      uint64 // of the system
	lost      uint64 // held for something else than objects, or between objects
}

func heapNow() heapState {
	read := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(read)
	at := func(i int) uint64 { return read[i].Value.Uint64() }
	live, allocated, objects, unused, free, released, total := at(0), at(1), at(2), at(3), at(4), at(5), at(6)
	return heapState{live: live, allocated: allocated, held: objects + unused + free, lost: total - released - free - objects}
}

// idle says whether the process has done little since it was as before.
func (h heapState) idle(before heapState) bool {
	return h.allocated-before.allocated < max(restBytes, h.live/restShare)
}

// resting says whether the process has become idle since it was as before, holds memory
// that it does not use, and has done something since it rested last: what lies between
// objects cannot be given back, however often it tries, and to try costs as much as there
// is in use.
func (h heapState) resting(before, rested heapState) bool {
	return h.idle(before) && h.allocated-rested.allocated >= max(2*restBytes, h.live/4) && h.held > h.live+h.live/4+spareBytes
}
