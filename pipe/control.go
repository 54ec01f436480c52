package pipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// The states of a pipe.
const (
	Running = "running"
	Paused  = "paused" // by an operator
	Halted  = "halted" // by itself, with a reason
	// Disabled is a pipe that has stopped itself because its target has failed for
	// delivery.disable_after.
	Disabled = "disabled"
)

// A Status is what is known of a pipe in the whole cluster.
type Status struct {
	Pipe   string   `json:"pipe"`
	Topics []string `json:"topics"`
	Group  string   `json:"group"`
	Target string   `json:"target"` // the kind
	State  string   `json:"state"`  // Running, Paused, Halted or Disabled
	// Reason says why it does not run, or, if it does, that a topic is missing.
	Reason string `json:"reason,omitempty"`
	// Missing are those of Topics that do not exist. A pipe reads them from their
	// beginning once somebody makes them.
	Missing []string  `json:"missing_topics,omitempty"`
	Since   time.Time `json:"since,omitzero"` // of the state, where it is not Running
	Members int       `json:"members"`        // of the group
	// Consumers is how many members have partitions, and Wanted how many there
	// should be (pipes.md 11). Limited says that no more than that may read,
	// since the target is overloaded.
	Consumers int   `json:"consumers"`
	Wanted    int   `json:"consumers_wanted"`
	Limited   bool  `json:"limited,omitempty"`
	Lag       int64 `json:"lag"` // offsets that are not yet committed
	// Partitions are in the order of topics and numbers.
	Partitions []PartitionStatus `json:"partitions"`
}

// A PartitionStatus is how far a pipe has come in a partition.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	Start     int64  `json:"start"`     // of the log
	End       int64  `json:"end"`       // of the log
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"` // client id of who reads it
}

// A Move is what a seek does to one partition.
type Move struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // -1: nothing was committed
	To        int64  `json:"to"`
	// Records is how many offsets are delivered again; below zero, how many are
	// passed over.
	Records int64 `json:"records"`
}

const (
	// askers bounds how many pipes of other clusters are asked about at once, and
	// askedTogether how many of klamm's own are asked about in one call.
	askers        = 16
	askedTogether = 500
)

// List returns the status of every pipe, by name.
func (r *Runner) List(ctx context.Context) ([]Status, error) { return r.ListOf(ctx, r.Names()) }

// ListOf returns the status of pipes, in the order of their names. One that is gone
// meanwhile is left out. It asks about many pipes together: what a thousand cost one by one
// is a thousand times three calls.
func (r *Runner) ListOf(ctx context.Context, names []string) ([]Status, error) {
	all := make([]Status, len(names))
	errs := make([]error, len(names))
	var here []int // those of klamm's own cluster, by their places
	var defs []catalog.Pipe
	free := make(chan struct{}, askers)
	var asking sync.WaitGroup
	for i, name := range names {
		def, err := r.definition(name)
		if err != nil {
			errs[i] = err
			continue
		}
		if def.Bus == nil && def.SourceLogin == nil && def.SourceCluster == "" {
			here, defs = append(here, i), append(defs, def)
			continue
		}
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				all[i], errs[i] = r.Status(ctx, name)
			}
		})
	}
	err := r.listHere(ctx, defs, func(i int, s Status) { all[here[i]] = s })
	asking.Wait()
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for i, err := range errs {
		switch {
		case err == nil:
			kept = append(kept, all[i])
		case !errors.Is(err, ErrNoPipe):
			return nil, err
		}
	}
	return kept, nil
}

// listHere gives the status of each of some pipes of klamm's own cluster to use.
func (r *Runner) listHere(ctx context.Context, defs []catalog.Pipe, use func(int, Status)) error {
	if len(defs) == 0 {
		return nil
	}
	if _, err := r.memory.open(ctx); err != nil {
		return err
	}
	for from := 0; from < len(defs); from += askedTogether {
		some := defs[from:min(from+askedTogether, len(defs))]
		seen, err := lookAt(ctx, r.cfg.Cluster, some...)
		if err != nil {
			return err
		}
		for i, def := range some {
			s := r.statusOf(def)
			s.add(seen, def)
			use(from+i, s)
		}
	}
	return nil
}

// Status returns what is known of a pipe. Where a cluster that is not klamm's own cannot be
// asked, that is its reason, and its members, lag and partitions are empty.
func (r *Runner) Status(ctx context.Context, pipe string) (Status, error) {
	def, err := r.definition(pipe)
	if err != nil {
		return Status{}, err
	}
	if def.Bus != nil {
		return r.statusOfTarget(ctx, def, r.busOf(def))
	}
	if _, err := r.memory.open(ctx); err != nil {
		return Status{}, err
	}
	s := r.statusOf(def)
	err = r.ask(ctx, def, func(ctx context.Context, source *kafka.Cluster) error {
		seen, err := lookAt(ctx, source, def)
		if err == nil {
			s.add(seen, def)
		}
		return err
	})
	switch {
	case errors.Is(err, ErrElsewhere):
		if s.Reason != "" {
			s.Reason += "; "
		}
		s.Reason += err.Error()
	case err != nil:
		return Status{}, err
	}
	return s, nil
}

// statusOf is what klamm itself knows of a pipe.
func (r *Runner) statusOf(def catalog.Pipe) Status {
	state, _ := r.standing(def)
	s := Status{Pipe: def.Name, Topics: def.Topics, Group: def.Group, Target: def.Target.Kind, State: state.State, Reason: state.Reason, Since: state.Since}
	if state.State == Running {
		scale := r.memory.scale(def.Name)
		s.Wanted, s.Limited = max(scale.Wanted, 1), scale.Limited
	}
	return s
}

// A look is what a cluster knows of the pipes that read from it.
type look struct {
	groups    map[string]kafka.Group
	ranges    map[string]map[int32]kafka.Range
	committed map[string]map[kafka.TopicPartition]int64
}

// lookAt asks a cluster about pipes.
func lookAt(ctx context.Context, source *kafka.Cluster, defs ...catalog.Pipe) (look, error) {
	seen, err := lookForPositions(ctx, source, defs...)
	if err != nil {
		return look{}, err
	}
	groups := make([]kafka.Group, len(defs))
	for i, def := range defs {
		groups[i].ID = def.Group
	}
	seen.groups, err = source.GroupsNamed(ctx, groups)
	return seen, err
}

// lookForPositions is lookAt without groups.
func lookForPositions(ctx context.Context, source *kafka.Cluster, defs ...catalog.Pipe) (seen look, err error) {
	topics, groups := map[string]bool{}, make([]string, len(defs))
	for i, def := range defs {
		groups[i] = def.Group
		for _, topic := range def.Topics {
			topics[topic] = true
		}
	}
	if seen.ranges, err = source.RangesOf(ctx, slices.Collect(maps.Keys(topics))...); err != nil {
		return look{}, err
	}
	seen.committed, err = source.OffsetsOf(ctx, groups...)
	return seen, err
}

// add fills in what the cluster knows that a pipe reads from.
func (s *Status) add(seen look, def catalog.Pipe) {
	group := seen.groups[def.Group]
	s.Members, s.Consumers = len(group.Members), consumers(group)
	owners := map[kafka.TopicPartition]string{}
	for _, m := range group.Members {
		for _, p := range m.Assigned {
			owners[p] = m.ClientID
		}
	}
	all, missing := seen.positions(def)
	if s.Missing = missing; len(missing) > 0 && s.State == Running {
		s.Reason = missingReason(missing)
	}
	for _, p := range all {
		lag := p.lag()
		s.Lag += lag
		s.Partitions = append(s.Partitions, PartitionStatus{p.at.Topic, p.at.Partition, p.committed, p.log.Start, p.log.End, lag, owners[p.at]})
	}
}

// A position is how far a pipe's group is in a partition.
type position struct {
	at        kafka.TopicPartition
	log       kafka.Range
	committed int64 // -1: nothing
}

// lag is how many offsets are not yet committed.
func (p position) lag() int64 { return max(p.log.End-max(p.committed, p.log.Start), 0) }

// consumers counts the members that have partitions.
func consumers(g kafka.Group) (n int) {
	for _, m := range g.Members {
		if len(m.Assigned) > 0 {
			n++
		}
	}
	return n
}

// missingReason names topics that do not exist.
func missingReason(topics []string) string {
	if len(topics) == 1 {
		return fmt.Sprintf("the topic %s does not exist; it is read from its beginning when it is made", topics[0])
	}
	return fmt.Sprintf("the topics %s do not exist; they are read from their beginning when they are made", strings.Join(topics, ", "))
}

// positions returns those of all partitions that exist.
func (r *Runner) positions(ctx context.Context, def catalog.Pipe) ([]position, error) {
	source, err := r.source(def)
	if err != nil {
		return nil, err
	}
	seen, err := lookForPositions(ctx, source, def)
	all, _ := seen.positions(def)
	return all, err
}

// positions returns the positions of all partitions that a pipe reads, and the topics that
// do not exist.
func (l look) positions(def catalog.Pipe) (all []position, missing []string) {
	committed := l.committed[def.Group]
	for _, topic := range def.Topics {
		ranges := l.ranges[topic]
		if len(ranges) == 0 {
			missing = append(missing, topic)
		}
		for _, n := range slices.Sorted(maps.Keys(ranges)) {
			p := position{kafka.TopicPartition{Topic: topic, Partition: n}, ranges[n], -1}
			if offset, ok := committed[p.at]; ok {
				p.committed = offset
			}
			all = append(all, p)
		}
	}
	return all, missing
}

// Pause stops a pipe in all processes, within seconds; deliveries under way end
// and are committed. It stays paused over restarts, until Resume.
func (r *Runner) Pause(ctx context.Context, pipe, reason string) error {
	if _, err := r.definition(pipe); err != nil {
		return err
	}
	return r.memory.stop(ctx, pipe, Paused, reason)
}

// Resume lets a pipe that is paused, halted or disabled run again.
func (r *Runner) Resume(ctx context.Context, pipe string) error {
	if _, err := r.definition(pipe); err != nil {
		return err
	}
	return r.memory.start(ctx, pipe)
}

// Seek moves the group of a pipe that is paused, halted or disabled, and lets one that is
// halted run again. Where to is "earliest", "latest", a time in RFC 3339 (the
// first record of that time or later), or offsets as in "orders/0=17,orders/1=4".
// A dry run moves nothing, and may be asked of a running pipe too. The error is
// ErrNotPaused while somebody still reads for the pipe.
func (r *Runner) Seek(ctx context.Context, pipe, to string, dryRun bool) ([]Move, error) {
	def, err := r.definition(pipe)
	if err != nil {
		return nil, err
	}
	if def.Bus != nil {
		return nil, fmt.Errorf("%w: %s is a target of a rule, or an archive; a replay delivers events once more", ErrBadRequest, pipe)
	}
	positions, err := r.positions(ctx, def)
	if err != nil {
		return nil, err
	}
	moves, err := r.moves(ctx, def, positions, to)
	if err != nil || dryRun || len(moves) == 0 {
		return moves, err
	}
	if _, err := r.memory.open(ctx); err != nil {
		return nil, err
	}
	state, _ := r.standing(def)
	if state.State == Running {
		return nil, fmt.Errorf("%w: pause it first", ErrNotPaused)
	}
	if err := r.awaitNoMembers(ctx, def); err != nil {
		return nil, err
	}
	commits := make([]kafka.Commit, len(moves))
	partitions := map[string][]int32{}
	for i, m := range moves {
		commits[i] = kafka.Commit{TopicPartition: kafka.TopicPartition{Topic: m.Topic, Partition: m.Partition}, Offset: m.To}
		partitions[m.Topic] = append(partitions[m.Topic], m.Partition)
	}
	source, err := r.source(def)
	if err != nil {
		return nil, err
	}
	if err := source.CommitOffsets(ctx, def.Group, commits); err != nil {
		return nil, err
	}
	if err := r.memory.remember(ctx, pipe, def.Group, partitions); err != nil {
		return nil, err
	}
	if state.State == Halted {
		return moves, r.memory.start(ctx, pipe)
	}
	return moves, nil
}

// awaitNoMembers waits, for at most 30 seconds, until nobody reads for a group.
func (r *Runner) awaitNoMembers(ctx context.Context, def catalog.Pipe) error {
	for until := time.Now().Add(30 * time.Second); ; {
		members, err := r.members(ctx, def)
		if err != nil || members == 0 {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("%w: its group %s still has %d members", ErrNotPaused, def.Group, members)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// members returns how many members the group of a pipe has.
func (r *Runner) members(ctx context.Context, def catalog.Pipe) (int, error) {
	source, err := r.source(def)
	if err != nil {
		return 0, err
	}
	return membersIn(ctx, source, def)
}

// membersIn is members in a cluster.
func membersIn(ctx context.Context, source *kafka.Cluster, def catalog.Pipe) (int, error) {
	g, err := source.Group(ctx, def.Group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil
	}
	return len(g.Members), err
}

// moves says what a seek does.
func (r *Runner) moves(ctx context.Context, def catalog.Pipe, positions []position, to string) ([]Move, error) {
	target, err := r.seekTarget(ctx, def, positions, to)
	if err != nil {
		return nil, err
	}
	var moves []Move
	for _, p := range positions {
		offset, ok := target[p.at]
		if !ok {
			continue
		}
		offset = min(max(offset, p.log.Start), p.log.End)
		from := max(p.committed, p.log.Start)
		moves = append(moves, Move{p.at.Topic, p.at.Partition, p.committed, offset, from - offset})
	}
	return moves, nil
}

// seekTarget reads what a seek is asked for.
func (r *Runner) seekTarget(ctx context.Context, def catalog.Pipe, positions []position, to string) (map[kafka.TopicPartition]int64, error) {
	source, err := r.source(def)
	if err != nil {
		return nil, err
	}
	target := map[kafka.TopicPartition]int64{}
	if at, err := time.Parse(time.RFC3339, to); err == nil {
		topics := map[string]map[int32]int64{}
		for _, p := range positions {
			if topics[p.at.Topic] == nil {
				if topics[p.at.Topic], err = source.OffsetsAfter(ctx, p.at.Topic, at.UnixMilli()); err != nil {
					return nil, err
				}
			}
			target[p.at] = topics[p.at.Topic][p.at.Partition]
		}
		return target, nil
	}
	for _, p := range positions {
		switch to {
		case "earliest":
			target[p.at] = p.log.Start
		case "latest":
			target[p.at] = p.log.End
		}
	}
	if len(target) == len(positions) && len(target) > 0 {
		return target, nil
	}
	for part := range strings.SplitSeq(to, ",") {
		where, text, ok := strings.Cut(part, "=")
		cut := strings.LastIndexByte(where, '/')
		offset, err := strconv.ParseInt(text, 10, 64)
		if !ok || cut < 0 || err != nil || offset < 0 {
			return nil, fmt.Errorf("%w: %q is not where a pipe can go; want earliest, latest, a time such as 2026-01-31T12:00:00Z, or one or more of TOPIC/PARTITION=OFFSET with commas between them", ErrBadRequest, cmp.Or(part, to))
		}
		number, err := strconv.ParseInt(where[cut+1:], 10, 32)
		at := kafka.TopicPartition{Topic: where[:cut], Partition: int32(number)}
		if err != nil || !slices.ContainsFunc(positions, func(p position) bool { return p.at == at }) {
			return nil, fmt.Errorf("%w: the pipe does not read a partition %s", ErrBadRequest, where)
		}
		target[at] = offset
	}
	return target, nil
}
