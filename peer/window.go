package peer

import "time"

const (
	// windowCalls is how far calls of one process may overtake each other.
	windowCalls = 4096
	// forgetAfter is how long a process that is silent is remembered: longer than
	// any of its signatures may be good.
	forgetAfter = 10 * time.Minute
)

// A window knows which calls of another process have come: none counts twice.
//
//	      newest-4095 ................ newest
//	older | 1 1 0 1 1 1 1 1 1 1 1 0 1 1 1 | newer
//	"came"     one bit for each call         "did not come"
type window struct {
	newest uint64
	came   [windowCalls / 64]uint64
	last   time.Time // when a call came
}

// take says whether a call comes for the first time.
func (w *window) take(serial uint64) bool {
	switch {
	case serial > w.newest:
		if serial-w.newest >= windowCalls {
			clear(w.came[:])
		} else {
			for n := w.newest + 1; n < serial; n++ {
				w.came[n/64%uint64(len(w.came))] &^= 1 << (n % 64)
			}
		}
		w.newest = serial
	case w.newest-serial >= windowCalls:
		return false // too old to know
	case w.came[serial/64%uint64(len(w.came))]&(1<<(serial%64)) != 0:
		return false
	}
	w.came[serial/64%uint64(len(w.came))] |= 1 << (serial % 64)
	return true
}

// windows are those of all processes that call this one, by their ids.
type windows map[string]*window

func (w windows) take(from string, serial uint64, now time.Time) bool {
	one := w[from]
	if one == nil {
		for id, old := range w { // rare: a new process
			if now.Sub(old.last) > forgetAfter {
				delete(w, id)
			}
		}
		one = &window{}
		w[from] = one
	}
	one.last = now
	return one.take(serial)
}
