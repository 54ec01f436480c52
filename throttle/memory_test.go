package throttle

import (
	"runtime"
	"testing"
)

// TestMemoryOfAMillionKeys states what docs/limits.md says: however many keys come, the
// buckets stay within 160 MB.
func TestMemoryOfAMillionKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a million buckets")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := newStore(mostBuckets, func() {})
	for i := range 3 * mostBuckets / 2 {
		n := uint64(i) * 0x9e3779b97f4a7c15
		s.find(key{n ^ n>>29, n}, rate{1, 1}, 0)
	}
	used := heap() - before
	buckets := 0
	for i := range s.shard {
		buckets += len(s.shard[i].buckets)
	}
	t.Logf("%d buckets in %d MB", buckets, used>>20)
	if buckets > mostBuckets || buckets < mostBuckets*9/10 || used > 160<<20 {
		t.Errorf("%d buckets in %d MB", buckets, used>>20)
	}
}
