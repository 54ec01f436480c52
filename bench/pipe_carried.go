package bench

import (
	"context"
	"fmt"
)

// This file finds what half load is. What the yardstick makes of a backlog is far more
// than it carries of records that somebody produces meanwhile: the producer and the
// broker then take their part of the same machine. So the yardstick gets live records,
// at one rate after the other, until it cannot follow.

const (
	// leastRate is the first rate that is tried, in records a second, and mostRates how
	// many are: each is twice the one before.
	leastRate = 1_000
	mostRates = 8
	// following is which part of a rate a side must deliver at least to be said to
	// follow it.
	following = 0.9
)

// rates are those that are tried, each for one second.
func rates() []int64 {
	all := make([]int64, mostRates)
	for i := range all {
		all[i] = leastRate << i
	}
	return all
}

// carried returns how many live records a second the yardstick delivers at most. It takes
// some ten seconds, and each rate a minute at most.
func (c *conductor) carried(ctx context.Context, h haul) (float64, error) {
	h.group = c.run + "pipe-carried"
	h.liveTopic = h.group
	w, _, err := c.begin(ctx, h, rates(), c.startPipeYardstick)
	if err != nil {
		return 0, err
	}
	defer w.end()
	most, err := climb(rates(), func(rate int64) (float64, error) {
		live, err := w.trickle(ctx, rate, rate)
		return live.RecordsPerSecond, err
	})
	if err != nil {
		return 0, fmt.Errorf("find out what the yardstick carries: %w", err)
	}
	c.progress("pipe: the yardstick carries %s live records a second", thousands(most))
	return most, nil
}

// climb tries rates, in rising order, until one is not reached, and returns the best that
// was reached.
func climb(rates []int64, try func(rate int64) (float64, error)) (most float64, err error) {
	for _, rate := range rates {
		reached, err := try(rate)
		if err != nil {
			return 0, err
		}
		most = max(most, min(reached, float64(rate)))
		if reached < following*float64(rate) {
			break
		}
	}
	return most, nil
}
