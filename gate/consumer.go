package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// A Consumer is one call's use of a consumer instance. The caller has to
// Release it.
type Consumer struct {
	Config ConsumerConfig
	gate   *Gate
	c      *consumer
	who    Principal
}

// Release ends the use of the instance; from now on it counts as idle.
func (u *Consumer) Release() {
	u.c.mu.Lock()
	u.c.using--
	u.c.used = time.Now()
	u.c.mu.Unlock()
}

// exclusive is the conflict of the two ways to get partitions.
var exclusive = illegalState("Subscription to topics, partitions and pattern are mutually exclusive")

func illegalState(form string, args ...any) error {
	return &Error{Conflict, "Illegal state: " + fmt.Sprintf(form, args...)}
}

// take waits for the turn of a call that reads or moves positions.
func (u *Consumer) take(ctx context.Context) error {
	select {
	case <-u.c.end:
		return u.ended(nil)
	default:
	}
	select {
	case <-u.c.turn:
		return nil
	case <-u.c.end:
		return u.ended(nil)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *Consumer) give() { u.c.turn <- struct{}{} }

// ended is the error of a call during which the instance has ended.
func (u *Consumer) ended(err error) error {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	if u.c.cause != nil {
		return u.gate.consumers.passing(u.c.cause)
	}
	return err
}

// definition returns a copy of what the instance is.
func (u *Consumer) definition() consumerDefinition {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	return u.c.definition
}

// writeTimeout bounds writing a definition. A caller who goes away does not end that:
// nobody would know what is written.
const writeTimeout = 15 * time.Second

// define replaces what the instance is, for this process and all others. What
// change makes nothing of is not written. It fails with ErrConsumerMoved if another
// process has taken the instance over.
func (u *Consumer) define(ctx context.Context, change func(consumerDefinition) (d consumerDefinition, changed bool)) error {
	u.c.writing.Lock()
	defer u.c.writing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err := u.write(ctx, change)
	if errors.Is(err, table.ErrConflict) && u.gate.consumers.share.catchUp(u.c) {
		err = u.write(ctx, change)
	}
	if !errors.Is(err, table.ErrConflict) {
		return err
	}
	if err := u.gate.consumers.share.takenOver(u.c); err != nil {
		u.gate.consumers.lose(u.c, err)
		return err
	}
	return ErrConsumerMoved
}

// write is define for whoever has writing. The error of its own is table.ErrConflict.
func (u *Consumer) write(ctx context.Context, change func(consumerDefinition) (d consumerDefinition, changed bool)) error {
	u.c.mu.Lock()
	d, changed := change(u.c.definition)
	version, cause := u.c.version, u.c.cause
	u.c.mu.Unlock()
	if cause != nil {
		return u.gate.consumers.passing(cause)
	}
	if !changed {
		return nil
	}
	if share := u.gate.consumers.share; share != nil {
		var err error
		if version, err = share.put(ctx, d, version); err != nil {
			return err
		}
	}
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	u.c.definition, u.c.version = d, version
	return nil
}

// redefine replaces what the instance reads; it begins anew. The caller has the
// turn.
func (u *Consumer) redefine(ctx context.Context, topics []string, pattern string, partitions []kafka.TopicPartition) error {
	err := u.define(ctx, func(d consumerDefinition) (consumerDefinition, bool) {
		d.Topics, d.Pattern, d.Partitions, d.Places, d.Answers = topics, pattern, partitions, nil, nil
		return d, true
	})
	if err == nil {
		u.c.drop(false)
	}
	return err
}

// allowTopics asks whether the caller may read the topics.
func (u *Consumer) allowTopics(ctx context.Context, topics []string) error {
	if !u.gate.Guarded() {
		return nil
	}
	group := u.definition().Group
	for _, t := range topics {
		if err := u.gate.check(ctx, &Call{Principal: u.who, Action: ReadData, Resource: Resource{Kind: "topic", Name: t}, Group: group}); err != nil {
			return err
		}
	}
	return nil
}

// maxPattern bounds the pattern of a subscription, in bytes.
const maxPattern = 1000

// Subscribe replaces the subscription by topics or by a pattern that the whole
// name of a topic matches. No topics and no pattern is no subscription. It is a
// Conflict where partitions are assigned by hand; a pattern that is none is
// Invalid.
func (u *Consumer) Subscribe(ctx context.Context, topics []string, pattern string) error {
	topics = u.who.realAll(topics)
	if err := u.allowTopics(ctx, topics); err != nil {
		return err
	}
	if pattern != "" {
		if _, err := compilePattern(pattern); err != nil {
			return err
		}
	}
	if err := u.take(ctx); err != nil {
		return err
	}
	defer u.give()
	d := u.definition()
	if len(d.Partitions) > 0 {
		return exclusive
	}
	topics = slices.Clone(topics)
	slices.Sort(topics)
	return u.redefine(ctx, slices.Compact(topics), pattern, nil)
}

// compilePattern compiles a pattern that has to match the whole name.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, &Error{Invalid, fmt.Sprintf("the pattern has more than %d bytes", maxPattern)}
	}
	compiled, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return nil, &Error{Invalid, fmt.Sprintf("the pattern %q cannot be used: %v", pattern, err)}
	}
	return compiled, nil
}

// Subscription returns the topics subscribed to, sorted; for a pattern those
// that match it now.
func (u *Consumer) Subscription(ctx context.Context) ([]string, error) {
	d := u.definition()
	if d.Pattern == "" {
		return u.who.shownAll(append([]string{}, d.Topics...)), nil
	}
	topics, err := u.match(ctx, d.Pattern)
	return u.who.shownAll(topics), err
}

// match returns the topics that match a pattern and that the caller may read.
func (u *Consumer) match(ctx context.Context, pattern string) ([]string, error) {
	compiled, err := compilePattern(pattern)
	if err != nil {
		return nil, err
	}
	all, err := u.gate.topicsBy(ctx, u.cluster(), u.who)
	if err != nil {
		return nil, err
	}
	names, sees := []string{}, u.gate.sees(ctx, u.who, ReadData, "topic")
	for _, t := range all {
		if name := u.who.real(t.Name); compiled.MatchString(t.Name) && sees.of(name) {
			names = append(names, name)
		}
	}
	return names, sees.err
}

// Unsubscribe ends the subscription and what is assigned by hand.
func (u *Consumer) Unsubscribe(ctx context.Context) error {
	if err := u.take(ctx); err != nil {
		return err
	}
	defer u.give()
	return u.redefine(ctx, nil, "", nil)
}

// Assign replaces what is assigned by hand; reading begins at what the group has
// committed now. Whether the partitions exist is not asked. It is a Conflict
// where there is a subscription.
func (u *Consumer) Assign(ctx context.Context, partitions []kafka.TopicPartition) error {
	partitions = u.who.realPartitions(partitions)
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, comparePartitions)
	partitions = slices.Compact(partitions)
	if err := u.allowTopics(ctx, topicsOf(partitions)); err != nil {
		return err
	}
	if err := u.take(ctx); err != nil {
		return err
	}
	defer u.give()
	d := u.definition()
	if len(d.Topics) > 0 || d.Pattern != "" {
		return exclusive
	}
	from, err := u.committed(ctx, d.Group, partitions)
	if err != nil {
		return err
	}
	if err := u.redefine(ctx, nil, "", partitions); err != nil {
		return err
	}
	u.c.from = from
	return nil
}

// committed returns what a group has committed on partitions.
func (u *Consumer) committed(ctx context.Context, group string, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	at, err := u.cluster().CommittedOffsets(ctx, group, partitions)
	if err != nil {
		return nil, err
	}
	offsets := make(map[kafka.TopicPartition]int64, len(at))
	for _, o := range at {
		offsets[o.TopicPartition] = o.Offset
	}
	return offsets, nil
}

func comparePartitions(a, b kafka.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// topicsOf returns the topics of some partitions.
func topicsOf(partitions []kafka.TopicPartition) []string {
	var topics []string
	for _, p := range partitions {
		if !slices.Contains(topics, p.Topic) {
			topics = append(topics, p.Topic)
		}
	}
	return topics
}

// Assignment returns the partitions that the instance has, sorted; for a
// subscription those that the group has given it, which are none before the
// first read.
func (u *Consumer) Assignment() []kafka.TopicPartition {
	return u.who.shownPartitions(u.assignment())
}

func (u *Consumer) assignment() []kafka.TopicPartition {
	u.c.mu.Lock()
	live, fixed := u.c.shown, u.c.definition.Partitions
	u.c.mu.Unlock()
	if len(fixed) > 0 || live == nil {
		return append([]kafka.TopicPartition{}, fixed...)
	}
	return live.Assignment()
}

// A Point is a place in a partition.
type Point struct {
	kafka.TopicPartition
	Offset int64     // the next record to be read
	At     time.Time // instead of Offset: the first record that is not older
}

// Seek goes on reading at other places, in the order given; whatever was fetched
// of those partitions is dropped. A time that no record has yet is the end of
// the log, as SeekEnds has it. A partition that the instance does not have is a
// Conflict.
func (u *Consumer) Seek(ctx context.Context, points []Point) error {
	points = slices.Clone(points)
	for i := range points {
		points[i].Topic = u.who.real(points[i].Topic)
	}
	return u.seek(ctx, func(ctx context.Context) (map[kafka.TopicPartition]int64, error) {
		at := map[kafka.TopicPartition]int64{}
		for _, p := range points {
			offset := p.Offset
			if !p.At.IsZero() {
				after, err := u.cluster().OffsetsAfter(ctx, p.Topic, p.At.UnixMilli(), p.Partition)
				if err != nil {
					return nil, err
				}
				var ok bool
				if offset, ok = after[p.Partition]; !ok {
					return nil, kerr.UnknownTopicOrPartition
				}
				if u.definition().Config.Committed {
					stable, err := u.ranges(ctx, p.Topic, p.Partition)
					if err != nil {
						return nil, err
					}
					offset = min(offset, stable[p.Partition].End)
				}
			}
			at[p.TopicPartition] = offset
		}
		return at, nil
	}, partitionsOf(points))
}

func partitionsOf(points []Point) []kafka.TopicPartition {
	partitions := make([]kafka.TopicPartition, len(points))
	for i, p := range points {
		partitions[i] = p.TopicPartition
	}
	return partitions
}

// SeekEnds goes on reading where the logs of the partitions begin, or where they
// end now: for an instance that reads committed, before the first transaction that
// is open.
func (u *Consumer) SeekEnds(ctx context.Context, partitions []kafka.TopicPartition, end bool) error {
	partitions = u.who.realPartitions(partitions)
	return u.seek(ctx, func(ctx context.Context) (map[kafka.TopicPartition]int64, error) {
		at, numbers := map[kafka.TopicPartition]int64{}, map[string][]int32{}
		for _, p := range partitions {
			numbers[p.Topic] = append(numbers[p.Topic], p.Partition)
		}
		for topic, only := range numbers {
			ranges, err := u.ranges(ctx, topic, only...)
			if err != nil {
				return nil, err
			}
			for _, n := range only {
				r, ok := ranges[n]
				if !ok {
					return nil, kerr.UnknownTopicOrPartition
				}
				p := kafka.TopicPartition{Topic: topic, Partition: n}
				at[p] = r.Start
				if end {
					at[p] = r.End
				}
			}
		}
		return at, nil
	}, partitions)
}

// ranges returns the ranges of a topic's partitions as far as the instance reads them,
// as kafka's Ranges does.
func (u *Consumer) ranges(ctx context.Context, topic string, only ...int32) (map[int32]kafka.Range, error) {
	if u.definition().Config.Committed {
		return u.cluster().StableRanges(ctx, topic, only...)
	}
	return u.cluster().Ranges(ctx, topic, only...)
}

// seek moves partitions to where resolve says.
func (u *Consumer) seek(ctx context.Context, resolve func(context.Context) (map[kafka.TopicPartition]int64, error), partitions []kafka.TopicPartition) error {
	if err := u.allowTopics(ctx, topicsOf(partitions)); err != nil {
		return err
	}
	if err := u.take(ctx); err != nil {
		return err
	}
	defer u.give()
	have := u.assignment()
	for _, p := range partitions {
		if !slices.Contains(have, p) {
			return illegalState("No current assignment for partition %s-%d", u.who.called(p.Topic), p.Partition)
		}
	}
	at, err := resolve(ctx)
	if err != nil || len(at) == 0 {
		return err
	}
	if err := u.keepPlaces(ctx, at, func(d consumerDefinition) consumerDefinition {
		d.Answers = nil
		return d
	}); err != nil {
		return err
	}
	u.c.mu.Lock()
	u.c.answers = answers{}
	u.c.mu.Unlock()
	if u.c.live != nil {
		return u.c.live.Seek(ctx, at)
	}
	if u.c.sought == nil {
		u.c.sought = map[kafka.TopicPartition]int64{}
	}
	for p, offset := range at {
		u.c.sought[p] = offset
	}
	return nil
}

// keepPlaces writes positions that must outlive this process, and whatever else
// change does to the definition. Where instances are not shared, nothing outlives it.
func (u *Consumer) keepPlaces(ctx context.Context, at map[kafka.TopicPartition]int64, change func(consumerDefinition) consumerDefinition) error {
	if u.gate.consumers.share == nil {
		return nil
	}
	d := u.definition()
	committed, err := u.committed(ctx, d.Group, slices.Collect(maps.Keys(at)))
	if err != nil {
		return err
	}
	var places []kafka.Place
	for p, offset := range at {
		place := kafka.Place{TopicPartition: p, Offset: offset, Committed: -1}
		if o, ok := committed[p]; ok {
			place.Committed = o
		}
		places = append(places, place)
	}
	return u.define(ctx, func(d consumerDefinition) (consumerDefinition, bool) { return change(d.placed(places)), true })
}

// Committed returns the committed offsets of the group on those of the
// partitions that have one.
func (u *Consumer) Committed(ctx context.Context, partitions []kafka.TopicPartition) ([]kafka.Commit, error) {
	partitions = u.who.realPartitions(partitions)
	if err := u.allowTopics(ctx, topicsOf(partitions)); err != nil {
		return nil, err
	}
	at, err := u.cluster().CommittedOffsets(ctx, u.definition().Group, partitions)
	for i := range at {
		at[i].Topic = u.who.called(at[i].Topic)
	}
	return at, err
}
