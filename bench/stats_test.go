package bench

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make(latencies, 0, 100)
	for i := range 100 {
		hundred.add(time.Duration(100 - i))
	}
	for _, c := range []struct {
		name string
		in   latencies
		q    float64
		want time.Duration
	}{
		{"nothing", nil, 0.5, 0},
		{"one", latencies{7}, 0.99, 7},
		{"median of three", latencies{3, 1, 2}, 0.5, 2},
		{"median of a hundred", hundred, 0.5, 50},
		{"99th of a hundred", hundred, 0.99, 99},
		{"least", hundred, 0, 1},
		{"greatest", hundred, 1, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.in.quantile(c.q); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []float64
		want float64
	}{
		{"nothing", nil, 0},
		{"one", []float64{4}, 4},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{9, 1, 5, 7}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := median(c.in); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
