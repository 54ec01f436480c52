package pipe

import (
	"sync"

	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/catalog"
)

// rates are the limits that pipes and rules of this process share, by what is called. The
// zero value is ready for use, by many goroutines.
//
// Where rules call something, the rate holds over all processes without a word between
// them: a process has that part of it which it has of the partitions of the buses that
// have such rules, on average. All processes know of the same rules, and every partition
// belongs to one process, so that their parts are the whole together.
type rates struct {
	mu    sync.Mutex // guards what follows
	all   map[string]*sharedRate
	parts map[string]float64 // of the partitions of a bus, those of this process
}

// A sharedRate is one of the limits.
type sharedRate struct {
	limiter   *rate.Limiter
	perSecond int
	buses     map[string]int // how many targets of rules there are
}

// at returns what is known of something that is called. The mutex is held.
func (rs *rates) at(of string) *sharedRate {
	if rs.all == nil {
		rs.all = map[string]*sharedRate{}
	}
	s := rs.all[of]
	if s == nil {
		s = &sharedRate{limiter: rate.NewLimiter(rate.Inf, 1), buses: map[string]int{}}
		rs.all[of] = s
	}
	return s
}

// of returns the limiter of a rate, which has that rate from now on for all who share
// it; nil: there is none.
func (rs *rates) of(c catalog.Rate) *rate.Limiter {
	if c.Of == "" || c.PerSecond <= 0 {
		return nil
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := rs.at(c.Of)
	s.perSecond = c.PerSecond
	rs.fit(s)
	return s.limiter
}

// use notes that a bus has so many more targets that call something, or fewer.
func (rs *rates) use(of, bus string, more int) {
	if of == "" {
		return
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := rs.at(of)
	if s.buses[bus] += more; s.buses[bus] <= 0 {
		delete(s.buses, bus)
	}
	rs.fit(s)
}

// hold notes which part of the partitions of a bus this process has, from 0 to 1.
func (rs *rates) hold(bus string, part float64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.parts == nil {
		rs.parts = map[string]float64{}
	}
	if rs.parts[bus] == part {
		return
	}
	rs.parts[bus] = part
	for _, s := range rs.all {
		if s.buses[bus] > 0 {
			rs.fit(s)
		}
	}
}

// fit gives a limiter this process's part of the rate; who has no partition has nothing
// to deliver, but for what is under way. The mutex is held.
func (rs *rates) fit(s *sharedRate) {
	if s.perSecond <= 0 {
		return
	}
	part := 1.0
	if len(s.buses) > 0 {
		part = 0
		for bus := range s.buses {
			part += rs.parts[bus] / float64(len(s.buses))
		}
	}
	limit := max(float64(s.perSecond)*part, 0.1)
	if s.limiter.Limit() != rate.Limit(limit) {
		s.limiter.SetLimit(rate.Limit(limit))
		// A hundredth of a second's requests at once, so that late timers do not cost
		// throughput.
		s.limiter.SetBurst(max(1, int(limit/100)))
	}
}
