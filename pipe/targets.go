package pipe

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// This file is what the targets of a process say of themselves: per endpoint, what became
// of the latest attempts of all pipes that deliver there, and what their breakers think.

// The states of an endpoint.
const (
	// BreakerClosed is an endpoint that attempts are made at as usual.
	BreakerClosed = "closed"
	// BreakerOpen is one at which only probes are made, because it is down.
	BreakerOpen = "open"
	// BreakerProbing is one that is down, with a probe under way.
	BreakerProbing = "probing"
)

// An EndpointStatus is what this process knows of something that pipes deliver to.
type EndpointStatus struct {
	// Endpoint is scheme, host and port of what several pipes can share, or otherwise the
	// kind of the target and the name of its pipe, as in "topic:orders".
	Endpoint string   `json:"endpoint"`
	Kinds    []string `json:"kinds"`
	// Pipes are those that deliver there, at most 20 of them, and Count is how many.
	Pipes []string `json:"pipes"`
	Count int      `json:"pipes_count"`
	// State is BreakerClosed, BreakerOpen or BreakerProbing. It is that of the endpoint, or
	// of a pipe's own target there that is down: Down is how many of those there are.
	State string `json:"state"`
	Down  int    `json:"pipes_down"`
	// NextProbe is when the next one is made; the zero time where none is waited for.
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Attempts and Well are the latest attempts that are remembered, 64 for each pipe, and
	// how many of them succeeded.
	Attempts int `json:"attempts"`
	Well     int `json:"succeeded"`
	// P50Millis and P95Millis are how long those took; nil: there were none.
	P50Millis *float64 `json:"p50_ms,omitempty"`
	P95Millis *float64 `json:"p95_ms,omitempty"`
	InFlight  int      `json:"in_flight"` // attempts under way
	Allowed   int      `json:"allowed"`   // at once
	Most      int      `json:"most"`      // that Allowed could be; less means that it is overloaded
	Held      int      `json:"held"`      // records in memory, waiting included
	// Ailing is how many addresses of targets with several are known to fail.
	Ailing int `json:"ailing_addresses"`
}

// mostEndpointPipes bounds the names of pipes of an endpoint.
const mostEndpointPipes = 20

// recent are the latest attempts of a flow. The flow's mutex guards them.
type recent struct {
	took [stageTimes]int64 // nanoseconds; below zero: it failed
	next int
}

// remembered notes an attempt. The flow's mutex is held.
func (f *flow) remembered(s sign, took time.Duration) {
	if f.recent == nil {
		f.recent = &recent{}
	}
	n := max(int64(took), 1)
	if s != well {
		n = -n
	}
	f.recent.took[f.recent.next%stageTimes] = n
	f.recent.next++
}

// Targets returns what this process knows of everything that it delivers to, by name, as
// far as sees says that the caller may know of a pipe. Pipes that do not run here are not
// among it, nor are targets of rules that are idle.
func (r *Runner) Targets(sees func(pipe string) bool) []EndpointStatus {
	all, times := map[string]*EndpointStatus{}, map[string][]int64{}
	for _, f := range r.delivering() {
		if !sees(f.def.Name) {
			continue
		}
		name := f.def.Target.Kind + ":" + f.def.Name
		if f.endpoint != nil {
			name = f.endpoint.name
		}
		e := all[name]
		if e == nil {
			e = &EndpointStatus{Endpoint: name, State: BreakerClosed}
			all[name] = e
		}
		times[name] = f.tellOf(e, times[name])
	}
	out := make([]EndpointStatus, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		e.P50Millis, e.P95Millis = percentilesOf(times[name])
		slices.Sort(e.Kinds)
		slices.Sort(e.Pipes)
		out = append(out, *e)
	}
	return out
}

// delivering returns the flows of this process, those of the targets of rules included, by
// the names of their pipes.
func (r *Runner) delivering() []*flow {
	r.mu.Lock()
	flows := slices.Collect(maps.Keys(r.flows))
	buses := slices.Collect(maps.Values(r.buses))
	r.mu.Unlock()
	for _, b := range buses {
		b.mu.Lock()
		for _, s := range b.subs {
			if s.flow != nil {
				flows = append(flows, s.flow)
			}
		}
		b.mu.Unlock()
	}
	slices.SortFunc(flows, func(a, b *flow) int { return cmp.Compare(a.def.Name, b.def.Name) })
	return flows
}

// tellOf adds a flow to what is known of its endpoint, and returns the times with its own.
func (f *flow) tellOf(e *EndpointStatus, times []int64) []int64 {
	if !slices.Contains(e.Kinds, f.def.Target.Kind) {
		e.Kinds = append(e.Kinds, f.def.Target.Kind)
	}
	if e.Count++; len(e.Pipes) < mostEndpointPipes {
		e.Pipes = append(e.Pipes, f.def.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &f.governor
	e.InFlight += f.active
	e.Allowed += g.allowed()
	e.Most += g.most
	e.Held += f.records
	e.Ailing += len(f.addresses.ailing)
	if f.down() {
		e.Down++
	}
	e.add(&g.breaker)
	if p := f.endpoint; p.isDown() {
		p.mu.Lock()
		e.add(&p.breaker)
		p.mu.Unlock()
	}
	if f.recent != nil {
		for _, took := range f.recent.took {
			if took == 0 {
				continue
			}
			if e.Attempts++; took > 0 {
				e.Well++
			}
			times = append(times, max(took, -took))
		}
	}
	return times
}

// add takes a breaker into account.
func (e *EndpointStatus) add(b *breaker) {
	if !b.open {
		return
	}
	if b.probing {
		e.State = BreakerProbing
		return
	}
	if e.State == BreakerClosed {
		e.State = BreakerOpen
	}
	if e.NextProbe.IsZero() || b.probeAt.Before(e.NextProbe) {
		e.NextProbe = b.probeAt.UTC()
	}
}
