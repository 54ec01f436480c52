package pipe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

func TestTrackerNeverPassesAnUnfinishedRecord(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var track tracker
		unfinished := map[uint64]int64{} // number to offset
		offset := int64(r.IntN(10))
		last := int64(-1)
		for range 500 {
			if r.IntN(2) == 0 {
				offset += 1 + int64(r.IntN(3)) // gaps, as compaction leaves them
				unfinished[track.add(offset)] = offset
				last = offset
			} else {
				for n := range unfinished {
					delete(unfinished, n)
					track.finish(n)
					break
				}
			}
			lowest := last + 1
			for _, o := range unfinished {
				lowest = min(lowest, o)
			}
			if track.next > lowest {
				t.Fatalf("seed %d: would commit %d with %d unfinished", seed, track.next, lowest)
			}
		}
		for n := range unfinished {
			track.finish(n)
		}
		if last >= 0 && track.next != last+1 {
			t.Fatalf("seed %d: everything finished, commit %d, want %d", seed, track.next, last+1)
		}
		if track.span() != 0 {
			t.Fatalf("seed %d: %d entries left", seed, track.span())
		}
	}
}

func TestBatchesGoWhenTheyAreFirstInAllTheirLanes(t *testing.T) {
	p := &partition{lanes: map[uint64]*lane{}}
	lanes := func(keys ...string) (ls []*lane) {
		for _, name := range keys {
			k := uint64(name[0])
			if p.lanes[k] == nil {
				p.lanes[k] = &lane{key: k}
			}
			ls = append(ls, p.lanes[k])
		}
		return ls
	}
	enter := func(keys ...string) (*batch, bool) {
		b := &batch{part: p, lanes: lanes(keys...)}
		return b, b.enter()
	}
	b1, free1 := enter("a")
	b2, free2 := enter("b")
	b3, free3 := enter("a", "b", "c")
	b4, free4 := enter("c")
	if !free1 || !free2 || free3 || free4 {
		t.Fatalf("free at once: %v %v %v %v, want true true false false", free1, free2, free3, free4)
	}
	if free := b2.leave(); len(free) != 0 {
		t.Fatalf("the third batch went while the first was under way")
	}
	if free := b1.leave(); len(free) != 1 || free[0] != b3 {
		t.Fatalf("after the first two: %v, want the third", free)
	}
	if free := b3.leave(); len(free) != 1 || free[0] != b4 {
		t.Fatalf("after the third: %v, want the fourth", free)
	}
	b4.leave()
	if len(p.lanes) != 0 {
		t.Fatalf("%d lanes left, want none", len(p.lanes))
	}
}

func TestBackoff(t *testing.T) {
	b := catalog.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for _, c := range []struct {
		name    string
		attempt int
		random  float64
		want    time.Duration
	}{
		{"first", 1, 0, 100 * time.Millisecond},
		{"doubled", 2, 0, 200 * time.Millisecond},
		{"at the limit", 5, 0, time.Second},
		{"far beyond", 1000, 0, time.Second},
		{"shortened", 1, 1, 50 * time.Millisecond},
	} {
		if got := backoff(b, c.attempt, c.random); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
