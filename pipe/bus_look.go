package pipe

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A RuleCounts is what this process has counted of a rule since it began, or since the
// rule got its first target.
type RuleCounts struct {
	Rule         string `json:"rule"`
	Matched      int64  `json:"matched"`
	Created      int64  `json:"invocations_created"`
	Succeeded    int64  `json:"succeeded"` // attempts
	Attempts     int64  `json:"attempts"`
	Retries      int64  `json:"retries"`
	Failed       int64  `json:"failed"` // calls that have failed for good
	DeadLettered int64  `json:"dead_lettered"`
	Throttled    int64  `json:"throttled"`
	// Shared says that there are so many rules that these are counted together with others.
	Shared bool `json:"shared,omitempty"`
}

// A BusTarget is a target of a rule, or an archive, as this process has it.
type BusTarget struct {
	Pipe string `json:"pipe"`
	Rule string `json:"rule,omitempty"` // empty: it is an archive
	ID   string `json:"target_id,omitempty"`
	// Archive is the name of the archive; empty: it is a target.
	Archive string `json:"archive,omitempty"`
	Kind    string `json:"kind"`
	State   string `json:"state"` // Running, Paused, Halted or Disabled
	// Reason is why it does not run, or why it cannot deliver.
	Reason string `json:"reason,omitempty"`
	Held   int    `json:"held"` // records in memory
	Down   bool   `json:"down"` // only probes are sent
}

// A BusLook is what this process knows of an event bus.
type BusLook struct {
	// Partitions are those of its topics that this process reads.
	Partitions int `json:"partitions"`
	// Problem is why it cannot be read; empty: it can, or has no targets.
	Problem   string       `json:"problem,omitempty"`
	Unmatched int64        `json:"unmatched"` // events that no rule matched
	Rules     []RuleCounts `json:"rules"`
	Targets   []BusTarget  `json:"targets"`
}

// LookAtBus returns what this process knows of a bus, of the rules that are named and of
// their targets; without a name of all, the busiest first, at most limit of each. The zero
// value is a bus that has no targets here.
func (r *Runner) LookAtBus(name string, rules []string, limit int) BusLook {
	look := BusLook{Rules: []RuleCounts{}, Targets: []BusTarget{}}
	r.mu.Lock()
	b := r.buses[name]
	r.mu.Unlock()
	if b == nil {
		return look
	}
	wanted := func(rule string) bool { return len(rules) == 0 || slices.Contains(rules, rule) }
	look.Unmatched = counted(b.metrics.unmatched)
	b.metrics.mu.Lock()
	var series []*ruleSeries
	for rule, s := range b.metrics.rules {
		if rule != "" && wanted(rule) {
			series = append(series, s)
		}
	}
	b.metrics.mu.Unlock()
	for _, s := range series {
		look.Rules = append(look.Rules, s.counts())
	}
	slices.SortFunc(look.Rules, func(a, b RuleCounts) int {
		return cmp.Or(cmp.Compare(b.Matched, a.Matched), cmp.Compare(a.Rule, b.Rule))
	})
	look.Rules = look.Rules[:min(len(look.Rules), limit)]
	b.mu.Lock()
	look.Partitions = len(b.parts)
	if b.err != nil && b.consumer == nil {
		look.Problem = b.err.Error()
	}
	for _, s := range b.subs {
		if t := s.look(); wanted(t.Rule) {
			look.Targets = append(look.Targets, t)
		}
	}
	b.mu.Unlock()
	for i := range look.Targets {
		t := &look.Targets[i]
		if state, reason := r.State(t.Pipe); state != Running {
			t.State, t.Reason = state, reason
		}
	}
	slices.SortFunc(look.Targets, func(a, b BusTarget) int { return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Pipe, b.Pipe)) })
	look.Targets = look.Targets[:min(len(look.Targets), limit)]
	return look
}

// look describes a subscriber. The mutex of the bus is held.
func (s *subscriber) look() BusTarget {
	t := BusTarget{Pipe: s.name, Kind: s.def.Target.Kind, State: Running, Rule: s.def.Bus.Rule, ID: s.def.Bus.Target, Archive: s.def.Bus.Archive}
	if s.err != nil {
		t.Reason = s.err.Error()
	}
	if f := s.flow; f != nil {
		f.mu.Lock()
		t.Held, t.Down = f.records, f.down()
		f.mu.Unlock()
	}
	return t
}

// counts reads the counters of a rule.
func (r *ruleSeries) counts() RuleCounts {
	r.bus.mu.Lock()
	c := r.made
	r.bus.mu.Unlock()
	if c == nil {
		return RuleCounts{Rule: r.name}
	}
	return RuleCounts{
		Rule: r.name, Matched: counted(c.matched), Created: counted(c.created), Succeeded: counted(c.succeeded), Attempts: counted(c.attempts), Retries: counted(c.retries),
		Failed: counted(c.failed), DeadLettered: counted(c.sent), Throttled: counted(c.throttled), Shared: c.label != r.name,
	}
}

// counted reads a counter.
func counted(c prometheus.Counter) int64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return int64(m.GetCounter().GetValue())
}
