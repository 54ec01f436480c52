package history

import (
	"math"
	"strconv"
)

const (
	// narrow and wide are how many points a ring has of an hour and of a day.
	narrow = int64(Hour / step)
	wide   = int64(Day / wideStep)
	// perWide is how many points of the one make a point of the other.
	perWide = int64(wideStep / step)
)

// A ring is the history of one series. Slots are counted from the keeper's beginning;
// slot s lies at s modulo the size. A point of the day is the mean of those of its
// minute.
type ring struct {
	hour [narrow]float32
	day  [wide]float32
	sum  float64 // of the minute that is not over
	n    int
}

var nothing = float32(math.NaN())

func newRing() *ring {
	r := &ring{}
	for i := range r.hour {
		r.hour[i] = nothing
	}
	for i := range r.day {
		r.day[i] = nothing
	}
	return r
}

// put sets the value of the slots behind last, up to slot: what was measured holds for
// all of them. NaN is nothing.
func (r *ring) put(last, slot int64, value float64) {
	for s := max(last+1, slot-narrow+1); s <= slot; s++ {
		r.hour[s%narrow] = nothing
		if s > slot-perWide { // longer ago, nothing is known
			r.hour[s%narrow] = float32(value)
		}
	}
	was, now := last/perWide, slot/perWide
	if last >= 0 && now > was {
		r.day[was%wide] = r.mean()
		for m := max(was+1, now-wide+1); m <= now; m++ {
			r.day[m%wide] = nothing
		}
		r.sum, r.n = 0, 0
	}
	if !math.IsNaN(value) {
		r.sum += value
		r.n++
	}
}

func (r *ring) mean() float32 {
	if r.n == 0 {
		return nothing
	}
	return float32(r.sum / float64(r.n))
}

// points returns the values from one slot to another of the hour, or of the day;
// current is the slot of the last sample.
func (r *ring) points(first, last, current int64, day bool) Points {
	out := make(Points, 0, last-first+1)
	for s := first; s <= last; s++ {
		switch {
		case s < 0 || current < 0:
			out = append(out, nothing)
		case !day:
			out = append(out, r.hour[s%narrow])
		case s == current/perWide:
			out = append(out, r.mean())
		default:
			out = append(out, r.day[s%wide])
		}
	}
	return out
}

// Points are values, with NaN where there is none: null in JSON.
type Points []float32

// MarshalJSON writes four digits or more of each value.
func (p Points) MarshalJSON() ([]byte, error) {
	out := append(make([]byte, 0, 8*len(p)+2), '[')
	for i, v := range p {
		if i > 0 {
			out = append(out, ',')
		}
		f := float64(v)
		switch {
		case math.IsNaN(f) || math.IsInf(f, 0):
			out = append(out, "null"...)
		case math.Abs(f) >= 1000:
			out = strconv.AppendFloat(out, math.Round(f), 'f', -1, 64)
		default:
			out = strconv.AppendFloat(out, f, 'g', 4, 64)
		}
	}
	return append(out, ']'), nil
}
