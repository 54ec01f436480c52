package pipe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/rule"
)

// This file is how the runner's methods go for pipes that are targets of rules.

// OpenBuses says that every target of a rule and every archive that there is has been
// Set. No event bus is read before: what is read for all passes by a target that nobody
// has told of. It may be called more than once.
func (r *Runner) OpenBuses() { r.openBuses() }

// setTarget makes a bus deliver to a target. The runner's mutex is held.
func (r *Runner) setTarget(def catalog.Pipe) {
	b := r.buses[def.Bus.Bus]
	if b == nil {
		b = newBus(def.Bus.Bus, r)
		r.buses[b.name] = b
		if r.tend != nil {
			r.tend(b)
		}
	}
	u := r.pipes[def.Name]
	if u == nil {
		u = &unit{name: def.Name, bus: b}
		r.pipes[def.Name] = u
		r.names = nil
	}
	u.def = busDefaults(def)
	b.put(u.def)
}

// checkTarget says whether a target of a rule could be run.
func (r *Runner) checkTarget(def catalog.Pipe) error {
	if p := def.Bus.Pattern; len(p) > 0 {
		if _, err := rule.Compile(p); err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
	}
	if _, err := compileInput(def); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	f, err := newFlow(busDefaults(def), r)
	if err == nil {
		f.closeTargets()
	}
	return err
}

// groupOfTarget is busGroup by the name of the pipe.
func groupOfTarget(pipe string) string {
	return "klamm-" + strings.Replace(strings.TrimPrefix(pipe, "klamm."), ".", "-", 1)
}

// busOf returns the bus of a target.
func (r *Runner) busOf(def catalog.Pipe) *bus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buses[def.Bus.Bus]
}

// statusOfTarget is Status of a target of a rule: what its bus's group has of partitions
// that it has no own offset of is its own.
func (r *Runner) statusOfTarget(ctx context.Context, def catalog.Pipe, b *bus) (Status, error) {
	if _, err := r.memory.open(ctx); err != nil {
		return Status{}, err
	}
	state, _ := r.standing(def)
	s := Status{Pipe: def.Name, Topics: def.Topics, Group: def.Group, Target: def.Target.Kind, State: state.State, Reason: state.Reason, Since: state.Since}
	group, err := r.cfg.Cluster.Group(ctx, b.group())
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return Status{}, err
	}
	s.Members, s.Consumers = len(group.Members), consumers(group)
	own, err := r.positions(ctx, def)
	if err != nil {
		return Status{}, err
	}
	shared := def
	shared.Group = b.group()
	all, err := r.positions(ctx, shared)
	if err != nil {
		return Status{}, err
	}
	at := map[place]int64{}
	for _, p := range own {
		at[place{p.at.Topic, p.at.Partition}] = p.committed
	}
	for _, p := range all {
		if o, ok := at[place{p.at.Topic, p.at.Partition}]; ok && o >= 0 {
			p.committed = o
		}
		s.Lag += p.lag()
		s.Partitions = append(s.Partitions, PartitionStatus{p.at.Topic, p.at.Partition, p.committed, p.log.Start, p.log.End, p.lag(), ""})
	}
	return s, nil
}
