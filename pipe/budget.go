package pipe

import "sync/atomic"

// A budget bounds the memory of all pipes of a process, whatever is down. While
// it is spent, a pipe reads on only as long as it holds less than its share. It
// is safe for concurrent use.
type budget struct {
	pipes atomic.Int64 // how many share it; 0 counts as one
	used  atomic.Int64
}

const (
	// budgetBytes is what all pipes of a process hold together, about.
	budgetBytes = 128 << 20
	// leastShare lets every pipe move, however many there are.
	leastShare = 128 << 10
	// mostFetched is what one pipe fetches ahead where there are few.
	mostFetched = 8 << 20
)

func (b *budget) add(n int) { b.used.Add(int64(n)) }

// crowded says whether a pipe that holds so much must wait for others.
func (b *budget) crowded(holds int) bool {
	return b.used.Load() >= budgetBytes && int64(holds) >= b.share()
}

// fetchBytes is how much a pipe may fetch ahead: that waits in memory too.
func (b *budget) fetchBytes() int {
	return int(min(b.share(), mostFetched))
}

// share is what each pipe may always hold.
func (b *budget) share() int64 {
	return max(budgetBytes/max(b.pipes.Load(), 1), leastShare)
}
