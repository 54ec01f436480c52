package pipe

import (
	"context"
	"runtime/debug"
	"testing"
)

func TestTheSoftLimitGrowsWithWhatIsInUse(t *testing.T) {
	for _, c := range []struct {
		name string
		live uint64
		want int64
	}{
		{"little", 10 << 20, softBytes},
		{"as much as pipes hold at most", budgetBytes, 224 << 20},
		{"a front door with large bodies", 1 << 30, 1568 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := softLimit(c.live); got != c.want {
				t.Errorf("the limit is %d MiB, want %d", got>>20, c.want>>20)
			}
		})
	}
}

func TestTheLimitOfAnOperatorCounts(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	pace(ctx)
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("the limit is %d after the end, want %d", after, before)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	pace(t.Context()) // returns at once
}
