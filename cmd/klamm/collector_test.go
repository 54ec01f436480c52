package main

import (
	"context"
	"runtime/debug"
	"testing"
)

func TestGarbageAndLimitFollowWhatIsInUse(t *testing.T) {
	for _, c := range []struct {
		name       string
		live, lost uint64
		limit      int64
		percent    int
	}{
		{"just begun", 0, 0, softBytes, mostPercent},
		{"little", 10 << 20, 10 << 20, softBytes, 400},
		{"thousands of policies", 32 << 20, 20 << 20, 148 << 20, 300},
		{"as much as may be garbage", garbageBytes, 20 << 20, 164 << 20, 260},
		{"little between holes that much has left", 10 << 20, 300 << 20, 350 << 20, 400},
		{"half of all", 72 << 20, 20 << 20, 164 << 20, 100},
		{"more than half of all", 100 << 20, 20 << 20, 170 << 20, 100},
		{"as much as pipes hold at most", 128 << 20, 30 << 20, 222 << 20, 100},
		{"a front door with large bodies", 1 << 30, 100 << 20, 1636 << 20, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := softLimit(heapState{live: c.live, lost: c.lost}); got != c.limit {
				t.Errorf("the limit is %d MiB, want %d", got>>20, c.limit>>20)
			}
			if got := garbagePercent(c.live); got != c.percent {
				t.Errorf("the percentage is %d, want %d", got, c.percent)
			}
		})
	}
}

func TestTheCollectorOfAnOperatorCounts(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	tuneCollector(ctx)
	if after := debug.SetMemoryLimit(-1); after != limit {
		t.Errorf("the limit is %d after the end, want %d", after, limit)
	}
	if after := debug.SetGCPercent(percent); after != percent {
		t.Errorf("the percentage is %d after the end, want %d", after, percent)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	tuneCollector(t.Context()) // returns at once
}

func TestAnIdleProcessGivesMemoryBack(t *testing.T) {
	for _, c := range []struct {
		name                string
		before, rested, now heapState
		want                bool
	}{
		{"busy", heapState{}, heapState{}, heapState{live: 10 << 20, allocated: 100 << 20, held: 50 << 20}, false},
		{"idle after a rush", heapState{allocated: 100 << 20}, heapState{}, heapState{live: 10 << 20, allocated: 101 << 20, held: 50 << 20}, true},
		{"idle and small", heapState{allocated: 100 << 20}, heapState{}, heapState{live: 10 << 20, allocated: 101 << 20, held: 19 << 20}, false},
		{"idle with much in use", heapState{allocated: 100 << 20}, heapState{}, heapState{live: 100 << 20, allocated: 101 << 20, held: 130 << 20}, false},
		{"idle between holes", heapState{allocated: 100 << 20}, heapState{allocated: 90 << 20}, heapState{live: 10 << 20, allocated: 101 << 20, held: 50 << 20}, false},
		{"idle with much in use, and little done since", heapState{allocated: 130 << 20}, heapState{allocated: 100 << 20}, heapState{live: 200 << 20, allocated: 131 << 20, held: 300 << 20}, false},
		{"idle with much in use, and more done since", heapState{allocated: 160 << 20}, heapState{allocated: 100 << 20}, heapState{live: 200 << 20, allocated: 161 << 20, held: 300 << 20}, true},
		{"idle with some work", heapState{allocated: 200 << 20}, heapState{}, heapState{live: 100 << 20, allocated: 220 << 20, held: 200 << 20}, true},
		{"some work, and little in use", heapState{allocated: 200 << 20}, heapState{}, heapState{live: 10 << 20, allocated: 212 << 20, held: 200 << 20}, false},
		{"idle again after another rush", heapState{allocated: 100 << 20}, heapState{allocated: 60 << 20}, heapState{live: 10 << 20, allocated: 101 << 20, held: 50 << 20}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.now.resting(c.before, c.rested); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if h := heapNow(); h.live == 0 || h.allocated == 0 || h.held == 0 {
		t.Errorf("the runtime does not say what it knows: %+v", h)
	}
}
