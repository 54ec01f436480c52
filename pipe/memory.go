package pipe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// MemoryTopic is the compacted topic that holds what pipes must remember beside
// their offsets.
const MemoryTopic = "klamm.pipes"

// memory is what pipes must remember beside their offsets, shared by all
// processes of the cluster:
//
//	state/PIPE              paused, halted or disabled, and why; no entry: running
//	scale/PIPE              how many consumers it is to have
//	result/PIPE             how an event source mapping fares
//	begun/PIPE              the partitions that have a committed offset
//	redrive/PIPE            who redrives its dead letters, and until when for sure
//	settled/PIPE/PARTITION  which dead letters are redriven or discarded
//
// Without begun/PIPE, offsets that have vanished would look like those of a pipe
// that never ran.
type memory struct {
	runner  *Runner
	opening chan struct{} // holds a token while somebody opens the table

	mu      sync.Mutex
	table   *table.Table
	changed chan struct{}            // closed and replaced when anything changes
	news    map[string]chan struct{} // by pipe, closed and removed when its state or scale changes
	read    map[string]readStanding  // by pipe, what its state was when it was last asked for
}

// A readStanding is a state of the table, and what it says. Lists of thousands of pipes ask
// for all states each few seconds, and they hardly ever change.
type readStanding struct {
	text     []byte
	standing standing
}

// open returns the table, and opens it first if nobody has.
func (m *memory) open(ctx context.Context) (*table.Table, error) {
	if t := m.opened(); t != nil {
		return t, nil
	}
	select {
	case m.opening <- struct{}{}:
		defer func() { <-m.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t := m.opened(); t != nil {
		return t, nil
	}
	log := m.runner.cfg.Log
	t, err := table.Open(ctx, m.runner.cfg.Cluster, MemoryTopic, table.Options{Log: log, Alarm: func(err error) {
		log.Error("what pipes remember is lost; pipes go on, and pausing, seeking and redriving do not work until klamm is started again", "topic", MemoryTopic, "err", err)
	}})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.table = t
	m.mu.Unlock()
	t.Watch(func(changes []table.Change) {
		m.mu.Lock()
		defer m.mu.Unlock()
		close(m.changed)
		m.changed = make(chan struct{})
		for _, c := range changes {
			if kind, pipe, _ := strings.Cut(c.Key, "/"); kind == "state" || kind == "scale" {
				m.tell(pipe)
			}
		}
	})
	return t, nil
}

// tell wakes those who wait for news of a pipe. The mutex is held.
func (m *memory) tell(pipe string) {
	if news, ok := m.news[pipe]; ok {
		close(news)
		delete(m.news, pipe)
	}
}

// drop forgets a pipe that is gone, and who waits for news of it.
func (m *memory) drop(pipe string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(pipe)
	delete(m.read, pipe)
}

// opened returns the table if it is open, and nil otherwise.
func (m *memory) opened() *table.Table {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table
}

func (m *memory) close() {
	if t := m.opened(); t != nil {
		t.Close()
	}
}

// A standing is why a pipe does not run.
type standing struct {
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// standing returns the state of a pipe, and a channel that is closed when that or its
// scale may have changed. There may be thousands of pipes, and nobody wants all of
// them to look up whenever one has something to note. Without a name the channel is
// closed whenever anything is noted.
func (m *memory) standing(pipe string) (s standing, changed <-chan struct{}) {
	m.mu.Lock()
	t := m.table
	changed = m.changed
	if pipe != "" {
		news, ok := m.news[pipe]
		if !ok {
			news = make(chan struct{})
			m.news[pipe] = news
		}
		changed = news
	}
	m.mu.Unlock()
	s.State = Running
	if t == nil {
		return s, changed
	}
	e, ok := t.Get("state/" + pipe)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !ok {
		delete(m.read, pipe)
		return s, changed
	}
	known, ok := m.read[pipe]
	if !ok || !bytes.Equal(known.text, e.Value) {
		known = readStanding{e.Value, s}
		if err := json.Unmarshal(e.Value, &known.standing); err != nil {
			known.standing = standing{State: Halted, Reason: "its state in " + MemoryTopic + " cannot be read: " + err.Error(), Since: e.Time}
		}
		m.read[pipe] = known
	}
	return known.standing, changed
}

// stop keeps a pipe from running. One that has stopped already keeps its reason.
func (m *memory) stop(ctx context.Context, pipe, state, reason string) error {
	t, err := m.open(ctx)
	if err != nil {
		return err
	}
	value, err := json.Marshal(standing{state, reason, time.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	first := false
	err = t.Update(ctx, func(tx *table.Tx) error {
		_, ok := tx.Get("state/" + pipe)
		if first = !ok; first {
			tx.Put("state/"+pipe, value)
		}
		return nil
	})
	if err == nil && first { // with an error the table may still be asking
		m.runner.announce(ctx, pipe, state, reason)
	}
	return err
}

// start lets a pipe run.
func (m *memory) start(ctx context.Context, pipe string) error {
	t, err := m.open(ctx)
	if err != nil {
		return err
	}
	stopped := false
	err = t.Update(ctx, func(tx *table.Tx) error {
		if _, stopped = tx.Get("state/" + pipe); stopped {
			tx.Delete("state/" + pipe)
		}
		return nil
	})
	if err == nil && stopped {
		m.runner.announce(ctx, pipe, Running, "")
	}
	return err
}

// begun is what is remembered of a pipe's group.
type begun struct {
	Group  string                `json:"group"`
	Topics map[string]begunTopic `json:"topics"`
}

type begunTopic struct {
	ID         []byte  `json:"id"` // another topic of the same name has another one
	Partitions []int32 `json:"partitions"`
}

func (m *memory) begun(pipe, group string) (b begun) {
	if t := m.opened(); t != nil {
		if e, ok := t.Get("begun/" + pipe); ok {
			_ = json.Unmarshal(e.Value, &b) // what cannot be read is as if it were not there
		}
	}
	if b.Group != group {
		b = begun{Group: group}
	}
	if b.Topics == nil {
		b.Topics = map[string]begunTopic{}
	}
	return b
}

// knows says whether a partition has had a committed offset.
func (b begun) knows(t kafka.Topic, partition int32) bool {
	have, ok := b.Topics[t.Name]
	return ok && string(have.ID) == string(t.ID[:]) && slices.Contains(have.Partitions, partition)
}

// another says whether there was another topic of that name, which has had a committed
// offset.
func (b begun) another(t kafka.Topic) bool {
	have, ok := b.Topics[t.Name]
	return ok && string(have.ID) != string(t.ID[:])
}

// remember notes partitions that have a committed offset now.
func (m *memory) remember(ctx context.Context, pipe, group string, partitions map[string][]int32) error {
	t, err := m.open(ctx)
	if err != nil {
		return err
	}
	was := m.begun(pipe, group)
	missing := false
	ids := map[string]kafka.Topic{}
	def, err := m.runner.definition(pipe)
	if err != nil {
		return err
	}
	source, err := m.runner.source(def)
	if err != nil {
		return err
	}
	for name, numbers := range partitions {
		topic, err := source.Topic(ctx, name)
		if err != nil {
			return err
		}
		ids[name] = topic
		for _, n := range numbers {
			missing = missing || !was.knows(topic, n)
		}
	}
	if !missing {
		return nil
	}
	// A topic may have been made anew since its offsets were committed: only those count
	// that the group still has.
	if partitions, err = stillCommitted(ctx, source, group, partitions); err != nil || len(partitions) == 0 {
		return err
	}
	return t.Update(ctx, func(tx *table.Tx) error {
		b := begun{Group: group, Topics: map[string]begunTopic{}}
		if e, ok := tx.Get("begun/" + pipe); ok {
			var have begun
			if json.Unmarshal(e.Value, &have) == nil && have.Group == group && have.Topics != nil {
				b = have
			}
		}
		for name, numbers := range partitions {
			topic, have := ids[name], b.Topics[name]
			if string(have.ID) != string(topic.ID[:]) {
				have = begunTopic{ID: topic.ID[:]}
			}
			have.Partitions = append(have.Partitions, numbers...)
			slices.Sort(have.Partitions)
			have.Partitions = slices.Compact(have.Partitions)
			b.Topics[name] = have
		}
		value, err := json.Marshal(b)
		if err != nil {
			return err
		}
		tx.Put("begun/"+pipe, value)
		return nil
	})
}

// stillCommitted returns those of some partitions that have a committed offset of a group.
func stillCommitted(ctx context.Context, source *kafka.Cluster, group string, partitions map[string][]int32) (map[string][]int32, error) {
	var asked []kafka.TopicPartition
	for topic, numbers := range partitions {
		for _, n := range numbers {
			asked = append(asked, kafka.TopicPartition{Topic: topic, Partition: n})
		}
	}
	committed, err := source.CommittedOffsets(ctx, group, asked)
	if err != nil {
		return nil, err
	}
	still := map[string][]int32{}
	for _, c := range committed {
		still[c.Topic] = append(still[c.Topic], c.Partition)
	}
	return still, nil
}

// A settled says which letters of a partition of a dead-letter topic are done
// with: half-open ranges of offsets, ascending and apart from each other.
type settled [][2]int64

func (s settled) has(offset int64) bool {
	_, found := slices.BinarySearchFunc(s, offset, func(r [2]int64, offset int64) int {
		switch {
		case r[1] <= offset:
			return -1
		case r[0] > offset:
			return 1
		default:
			return 0
		}
	})
	return found
}

// with returns the ranges with more offsets; from start on, what lies before is
// forgotten, since it is not in the topic any more.
func (s settled) with(start int64, offsets ...int64) settled {
	all := slices.Clone(s)
	for _, o := range offsets {
		all = append(all, [2]int64{o, o + 1})
	}
	slices.SortFunc(all, func(a, b [2]int64) int { return int(min(max(a[0]-b[0], -1), 1)) })
	var out settled
	for _, r := range all {
		switch last := len(out) - 1; {
		case r[1] <= start:
		case last >= 0 && r[0] <= out[last][1]:
			out[last][1] = max(out[last][1], r[1])
		default:
			out = append(out, r)
		}
	}
	return out
}

func settledKey(pipe string, partition int32) string {
	return fmt.Sprintf("settled/%s/%d", pipe, partition)
}

// settledOf returns which letters of a partition are done with.
func (m *memory) settledOf(ctx context.Context, pipe string, partition int32) (s settled, err error) {
	t, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	if e, ok := t.Get(settledKey(pipe, partition)); ok {
		err = json.Unmarshal(e.Value, &s)
	}
	return s, err
}

// settle notes that letters are done with. The start is that of the partition's
// log.
func (m *memory) settle(ctx context.Context, pipe string, partition int32, start int64, offsets ...int64) error {
	t, err := m.open(ctx)
	if err != nil {
		return err
	}
	return t.Update(ctx, func(tx *table.Tx) error {
		var have settled
		if e, ok := tx.Get(settledKey(pipe, partition)); ok {
			if err := json.Unmarshal(e.Value, &have); err != nil {
				return err
			}
		}
		value, err := json.Marshal(have.with(start, offsets...))
		if err != nil {
			return err
		}
		tx.Put(settledKey(pipe, partition), value)
		return nil
	})
}
