package bench

import (
	"slices"
	"time"
)

// latencies collects how long things took. The zero value is ready; it is not
// safe for concurrent use.
type latencies []time.Duration

func (l *latencies) add(d time.Duration) { *l = append(*l, d) }

// quantile returns the smallest duration that at least the part q (0 to 1) of
// all durations does not exceed, 0 if there are none. It sorts l.
func (l latencies) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	at := int(q*float64(len(l)) + 0.999999)
	return l[min(max(at-1, 0), len(l)-1)]
}

// median returns the middle value, the mean of the two middle ones of an even
// number, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Clone(values)
	slices.Sort(v)
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return (v[m-1] + v[m]) / 2
}

// medianOf is the median of one figure of several.
func medianOf[T any](all []T, figure func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, a := range all {
		values[i] = figure(a)
	}
	return median(values)
}
