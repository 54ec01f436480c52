package pipe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/scan"
)

// This file tells an event's way through the rules of a bus as one story: the records of
// the bus's topic that hold it, the targets that they go to, and what the delivery log,
// the books and the dead letters say of each.

// The states of an event for a target.
const (
	// StoryDelivered: the log knows that the target has accepted it.
	StoryDelivered = outcomeDelivered
	// StoryFailed: an attempt has failed, and another one follows.
	StoryFailed = outcomeFailed
	// StoryGivenUp: there is no further attempt.
	StoryGivenUp = outcomeDead
	// StorySettled: the target is past it, and the log, which keeps failures unless it
	// is told otherwise, knows nothing: it was delivered at the first attempt, or the
	// target did not exist yet.
	StorySettled = "settled"
	// StoryWaiting: it has not been attempted yet.
	StoryWaiting = "waiting"
)

// A StoryCopy is one record of a bus's topic that holds the event: the one that was put,
// or one that a replay has put there once more.
type StoryCopy struct {
	Bus       string    `json:"bus"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Intake    time.Time `json:"intake"`
	// Replay names the replay that has put it there; empty: it was put by PutEvents, a
	// schedule or another bus.
	Replay string `json:"replay,omitempty"`
	// Schedule names the rule whose schedule has made it.
	Schedule string `json:"schedule,omitempty"`
	// Rules are those that it is for alone; none: it is for all.
	Rules []string `json:"rules,omitempty"`
	// Hops counts the buses that it has come through before.
	Hops int `json:"hops,omitempty"`
	// Event is the envelope.
	Event json.RawMessage `json:"event,omitempty"`
	// Targets are those that it goes to by the rules of now, sorted by rule and target.
	Targets []StoryTarget `json:"targets"`
}

// A StoryTarget is what has become of an event for one target of a rule, or an archive.
type StoryTarget struct {
	Pipe      string `json:"pipe"`
	Rule      string `json:"rule,omitempty"`
	Target    string `json:"target,omitempty"`
	TargetARN string `json:"target_arn,omitempty"`
	Archive   string `json:"archive,omitempty"`
	State     string `json:"state"`
	// Delivery is the delivery's id, by which it can be shown and tried again.
	Delivery string `json:"delivery_id"`
	// Attempts are those that the log has kept, the oldest first.
	Attempts []Attempt `json:"attempts"`
	// Next is when the next attempt is to be made, where one has failed.
	Next time.Time `json:"next,omitzero"`
	// DeadLetter is where the event has gone that was given up; nil: it was dropped, or
	// has not been given up.
	DeadLetter *StoryLetter `json:"dead_letter,omitempty"`
}

// A StoryLetter is a dead letter of a rule's target (event-bus.md 8).
type StoryLetter struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Code      string `json:"error_code,omitempty"`
	Message   string `json:"error_message,omitempty"`
	Condition string `json:"exhausted_retry_condition,omitempty"`
	Attempts  string `json:"retry_attempts,omitempty"`
}

// mostCopies bounds the records of a story.
const mostCopies = 20

// Story tells the way of an event on a bus, by its id: what has come into the bus since a
// time (the zero time: since ever), at most 20 records. An empty story says that there is none. It reads the partition
// that the event's key belongs to, and all others where it is not there: a bus that keeps
// order by something else has it anywhere.
func (r *Runner) Story(ctx context.Context, bus, id string, since time.Time) ([]StoryCopy, error) {
	name, targets := event.BusTopic(bus), r.targetsOf(bus)
	if len(targets) > 0 {
		name = targets[0].Topics[0]
	}
	t, err := r.cfg.Cluster.Topic(ctx, name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ranges, err := r.cfg.Cluster.Ranges(ctx, name)
	if err != nil {
		return nil, err
	}
	after := map[int32]int64{}
	if !since.IsZero() {
		if after, err = r.cfg.Cluster.OffsetsAfter(ctx, name, since.UnixMilli()); err != nil {
			return nil, err
		}
	}
	usual := int32(-1)
	if n := len(t.Partitions); n > 0 {
		usual = int32(kgo.StickyKeyPartitioner(nil).ForTopic(name).Partition(&kgo.Record{Key: []byte(id)}, n))
	}
	var found []*kgo.Record
	for _, here := range []bool{true, false} {
		for p, span := range ranges {
			if here != (p == usual) {
				continue
			}
			if o, ok := after[p]; ok {
				span.Start = max(span.Start, o)
			}
			records, err := r.holding(ctx, t, p, span, id)
			if err != nil {
				return nil, err
			}
			found = append(found, records...)
		}
		if len(found) > 0 {
			break
		}
	}
	slices.SortFunc(found, func(a, b *kgo.Record) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.Offset, b.Offset))
	})
	story := []StoryCopy{}
	for _, record := range found[:min(len(found), mostCopies)] {
		c, err := r.copyOf(ctx, targets, bus, id, record)
		if err != nil {
			return nil, err
		}
		story = append(story, c)
	}
	return story, nil
}

// holding returns the records of a range whose value is the envelope of an event.
func (r *Runner) holding(ctx context.Context, t kafka.Topic, partition int32, span kafka.Range, id string) (found []*kgo.Record, err error) {
	quoted := scan.AppendString(nil, id)
	err = r.scan(ctx, r.cfg.Cluster, t, partition, span, func(record *kgo.Record) bool {
		if bytes.Contains(record.Value, quoted) && idOf(record.Value) == id {
			found = append(found, record)
		}
		return ctx.Err() == nil && len(found) < mostCopies
	})
	if errors.Is(err, errStopped) {
		err = ctx.Err()
	}
	return found, err
}

// idOf is the id in an envelope; empty: it is none.
func idOf(envelope []byte) string {
	var e struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(envelope, &e) != nil {
		return ""
	}
	return e.ID
}

// copyOf tells what becomes of one record of a bus.
func (r *Runner) copyOf(ctx context.Context, targets []catalog.Pipe, bus, id string, record *kgo.Record) (StoryCopy, error) {
	c := StoryCopy{Bus: bus, Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Intake: record.Timestamp.UTC(), Event: record.Value, Targets: []StoryTarget{}}
	c.Hops = event.Hops(record.Headers, event.HeaderBusHops)
	for _, h := range record.Headers {
		switch h.Key {
		case event.HeaderReplay:
			c.Replay = string(h.Value)
		case event.HeaderSchedule:
			c.Schedule = string(h.Value)
		case event.HeaderRules:
			c.Rules = strings.Split(string(h.Value), ",")
		}
	}
	shared := map[string]int64{}
	books := func(group string) (at int64, err error) {
		if at, ok := shared[group]; ok {
			return at, nil
		}
		commits, err := r.cfg.Cluster.CommittedOffsets(ctx, group, []kafka.TopicPartition{{Topic: record.Topic, Partition: record.Partition}})
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return -1, err
		}
		at = -1
		for _, o := range commits {
			at = max(at, o.Offset)
		}
		shared[group] = at
		return at, nil
	}
	logged, defs := map[string]*loggedWay{}, map[string]catalog.Pipe{}
	for _, def := range targets {
		if !c.goesTo(def.Bus.Rule, def.Bus.Archive, def.Bus.Pattern) {
			continue
		}
		id := event.DeliveryID(def.Name, record)
		logged[id], defs[id] = &loggedWay{attempts: []Attempt{}}, def
		c.Targets = append(c.Targets, StoryTarget{Pipe: def.Name, Rule: def.Bus.Rule, Target: def.Bus.Target, TargetARN: def.Bus.TargetARN, Archive: def.Bus.Archive, State: StoryWaiting, Delivery: id})
	}
	if err := r.lookUp(ctx, logged, record.Timestamp); err != nil {
		return c, err
	}
	for i := range c.Targets {
		s := &c.Targets[i]
		way, def := logged[s.Delivery], defs[s.Delivery]
		s.Attempts = way.attempts
		if way.ID != "" {
			s.State, s.Next = way.Outcome, way.Next
		} else {
			at, err := books(def.Group)
			if err == nil && at < 0 {
				at, err = books("klamm-bus-" + bus)
			}
			if err != nil {
				return c, err
			}
			if at > record.Offset {
				s.State = StorySettled
			}
		}
		if def.Bus.DeadLetter != "" && (s.State == StoryGivenUp || s.State == StorySettled) {
			var err error
			if s.DeadLetter, err = r.storyLetter(ctx, def.Bus.DeadLetter, def.Bus.RuleARN, def.Bus.TargetARN, id, record.Timestamp); err != nil {
				return c, err
			}
			if s.DeadLetter != nil {
				s.State = StoryGivenUp
			}
		}
	}
	slices.SortFunc(c.Targets, func(a, b StoryTarget) int {
		return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Target, b.Target))
	})
	return c, nil
}

// targetsOf are the targets and archives of a bus.
func (r *Runner) targetsOf(bus string) (all []catalog.Pipe) {
	r.mu.Lock()
	b := r.buses[bus]
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		all = append(all, s.def)
	}
	return all
}

// A loggedWay is what the delivery log knows of a delivery.
type loggedWay struct {
	Delivery
	attempts []Attempt
}

// lookUp finds in the delivery log what it knows of deliveries of one record, which came
// into the bus at a time.
func (r *Runner) lookUp(ctx context.Context, ways map[string]*loggedWay, intake time.Time) error {
	if len(ways) == 0 {
		return nil
	}
	var end string // of all ids: they differ in the pipe
	for id := range ways {
		end = id[strings.IndexByte(id, ':'):] + `"`
		break
	}
	// Clocks differ.
	err := r.lookBack(ctx, intake.Add(-time.Minute), nil, func(record *kgo.Record) {
		if !bytes.Contains(record.Value, []byte(end)) {
			return
		}
		for e := range entriesOf(record) {
			way := ways[e.ID]
			if way == nil {
				continue
			}
			if way.add(e); e.Kept {
				way.attempts = append(way.attempts, e.Attempt)
			}
		}
	}, func() bool { return false })
	for _, way := range ways {
		slices.SortStableFunc(way.attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
	}
	return err
}

// goesTo says whether a record is for a rule or an archive, by the pattern that it has.
func (c *StoryCopy) goesTo(name, archive string, pattern json.RawMessage) bool {
	switch {
	case archive != "" && c.Replay != "":
		return false
	case archive != "" && len(pattern) == 0:
		return true
	case c.Schedule != "" && archive == "":
		return c.Schedule == name
	case len(c.Rules) > 0 && archive == "" && !slices.Contains(c.Rules, name), len(pattern) == 0:
		return false
	}
	p, err := rule.Compile(pattern)
	if err != nil {
		return false
	}
	matches, err := p.Match(c.Event)
	return err == nil && matches
}

// storyLetter finds the dead letter of an event.
func (r *Runner) storyLetter(ctx context.Context, topic, ruleARN, targetARN, id string, since time.Time) (*StoryLetter, error) {
	t, err := r.cfg.Cluster.Topic(ctx, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ranges, err := r.cfg.Cluster.Ranges(ctx, topic)
	if err != nil {
		return nil, err
	}
	after, err := r.cfg.Cluster.OffsetsAfter(ctx, topic, since.UnixMilli())
	if err != nil {
		return nil, err
	}
	for p, span := range ranges {
		if o, ok := after[p]; ok {
			span.Start = max(span.Start, o)
		}
		found, err := r.holding(ctx, t, p, span, id)
		if err != nil {
			return nil, err
		}
		for _, record := range found {
			l, of := StoryLetter{Topic: topic, Partition: record.Partition, Offset: record.Offset}, map[string]*string{}
			var fromRule, fromTarget string
			for name, to := range map[string]*string{"RULE_ARN": &fromRule, "TARGET_ARN": &fromTarget, "ERROR_CODE": &l.Code, "ERROR_MESSAGE": &l.Message, "EXHAUSTED_RETRY_CONDITION": &l.Condition, "RETRY_ATTEMPTS": &l.Attempts} {
				of[name] = to
			}
			for _, h := range record.Headers {
				if to := of[h.Key]; to != nil {
					*to = string(h.Value)
				}
			}
			if fromRule == ruleARN && fromTarget == targetARN {
				return &l, nil
			}
		}
	}
	return nil, nil
}
