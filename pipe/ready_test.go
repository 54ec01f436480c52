package pipe

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// What comes out of a queue is what a sorted list would give, whatever goes in and in
// whichever order, and whoever is given up meanwhile.
func TestQueueIsASortedList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var q queue
		var list []*batch
		age := uint64(0)
		for range 400 {
			switch random.IntN(10) {
			case 0, 1, 2, 3, 4:
				age++
				b := &batch{age: age}
				if random.IntN(20) == 0 {
					b.verdict = newVerdict(errors.New("no"), 1)
				}
				q.push(b)
				list = append(list, b)
			case 5, 6, 7, 8:
				if q.len() == 0 {
					continue
				}
				slices.SortFunc(list, func(a, b *batch) int {
					if before(a, b) {
						return -1
					}
					return 1
				})
				if got := q.pop(); got != list[0] {
					t.Fatalf("batch %d came, want %d", got.age, list[0].age)
				}
				if again := list[0]; random.IntN(3) == 0 && again.verdict == nil {
					q.push(again) // its next attempt is due
				} else {
					list = list[1:]
				}
			default:
				gone := random.Uint64N(age + 1)
				for _, b := range list {
					if b.age%17 == gone%17 && b.verdict == nil {
						b.verdict = newVerdict(errors.New("too old"), 1)
					}
				}
				q.keep(func(b *batch) bool { return b.age != gone })
				list = slices.DeleteFunc(list, func(b *batch) bool { return b.age == gone })
			}
			if q.len() != len(list) {
				t.Fatalf("%d batches, want %d", q.len(), len(list))
			}
		}
		if got := slices.Collect(q.all()); len(got) != len(list) {
			t.Fatalf("all yields %d batches, want %d", len(got), len(list))
		}
	}
}
