package bench

import (
	"errors"
	"slices"
	"testing"
)

// Rates rise until one is not followed, and the best that was reached counts.
func TestRatesRiseUntilOneIsNotFollowed(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		carries float64 // what the side delivers a second; 0: it fails
		tried   []int64
		want    float64
	}{
		{"the first is too much", 300, []int64{1000}, 300},
		{"in between", 5_500, []int64{1000, 2000, 4000, 8000}, 5_500},
		{"nearly", 3_900, []int64{1000, 2000, 4000, 8000}, 3_900},
		{"more than is tried", 1e9, rates(), 128_000},
		{"it fails", 0, []int64{1000}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tried []int64
			got, err := climb(rates(), func(rate int64) (float64, error) {
				tried = append(tried, rate)
				if c.carries == 0 {
					return 0, broken
				}
				return min(c.carries, 1.001*float64(rate)), nil
			})
			if errors.Is(err, broken) != (c.carries == 0) || got != c.want || !slices.Equal(tried, c.tried) {
				t.Errorf("%v, %v with rates %v; want %v with %v", got, err, tried, c.want, c.tried)
			}
		})
	}
}

// Half load is half of what is carried, whatever that is, and the title says both.
func TestHalfLoad(t *testing.T) {
	c := &conductor{Options: Default()}
	result, h := c.pipeCase("half")
	h.halve(&result, 7_001)
	if h.livePerSecond != 3_500 || h.live != 3_500*liveSeconds {
		t.Errorf("%d records a second, %d of them", h.livePerSecond, h.live)
	}
	if want := "one record a request, 64 in flight; live records at half load, 3,500 a second: the yardstick carries 7,001 while they are produced"; result.Title != want {
		t.Errorf("got %q, want %q", result.Title, want)
	}
}
