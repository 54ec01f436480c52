package kafka

import (
	"testing"
	"time"
)

func TestManyInstancesFetchLessOften(t *testing.T) {
	c := &Cluster{}
	for n, want := range map[int64]time.Duration{0: 500 * time.Millisecond, 100: 500 * time.Millisecond, 300: 1500 * time.Millisecond, 1_000: 5 * time.Second, 20_000: 5 * time.Second} {
		c.instances.Store(n)
		if got := c.instanceWait(); got != want {
			t.Errorf("%d instances: %s, want %s", n, got, want)
		}
	}
}
