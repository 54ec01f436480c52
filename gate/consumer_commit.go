package gate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// settle is done before a commit: answers can no longer be repeated, and places of
// the partitions are of no use any more. It fails if another process has taken the
// instance over, which then has the say.
func (u *Consumer) settle(ctx context.Context, at []kafka.Commit) error {
	if err := u.gate.consumers.verify(ctx, u.c); err != nil {
		return err
	}
	return u.define(ctx, func(d consumerDefinition) (consumerDefinition, bool) {
		places := slices.DeleteFunc(slices.Clone(d.Places), func(p kafka.Place) bool {
			return slices.ContainsFunc(at, func(o kafka.Commit) bool { return o.TopicPartition == p.TopicPartition })
		})
		changed := len(d.Answers) > 0 || len(places) < len(d.Places)
		d.Answers, d.Places = nil, places
		return d, changed
	})
}

// Commit commits offsets, each that of the next record to be read. It does not
// wait for a read that is under way, unless the instance has to join its group first. It is
// a Conflict if the group has given one of the partitions to another member since it was read.
func (u *Consumer) Commit(ctx context.Context, at []kafka.Commit) error {
	at = slices.Clone(at)
	partitions := make([]kafka.TopicPartition, len(at))
	for i := range at {
		at[i].Topic = u.who.real(at[i].Topic)
		partitions[i] = at[i].TopicPartition
	}
	if err := u.allowTopics(ctx, topicsOf(partitions)); err != nil {
		return err
	}
	u.c.mu.Lock()
	live := u.c.shown
	u.c.mu.Unlock()
	err := u.commit(ctx, at, func(ctx context.Context) error {
		if live != nil {
			return live.Commit(ctx, at)
		}
		return u.cluster().CommitOffsets(ctx, u.definition().Group, at)
	})
	if live == nil && u.stranger(err) {
		if err := u.take(ctx); err != nil {
			return err
		}
		defer u.give()
		err = u.commit(ctx, at, func(ctx context.Context) error { return u.join(ctx, at, true) })
	}
	return err
}

// CommitRead commits everything that reads have returned, but for partitions that the
// group has given to another member since: that one reads their records again.
func (u *Consumer) CommitRead(ctx context.Context) error {
	if err := u.take(ctx); err != nil {
		return err
	}
	defer u.give()
	if live := u.c.live; live != nil {
		return u.commit(ctx, live.Positions(), live.CommitPositions)
	}
	positions := map[kafka.TopicPartition]int64{}
	if d := u.definition(); len(d.Places) > 0 {
		var partitions []kafka.TopicPartition
		for _, p := range d.Places {
			partitions = append(partitions, p.TopicPartition)
		}
		committed, err := u.committed(ctx, d.Group, partitions)
		if err != nil {
			return err
		}
		positions = u.placesOf(d, committed)
	}
	maps.Copy(positions, u.c.sought)
	at := make([]kafka.Commit, 0, len(positions))
	for p, offset := range positions {
		at = append(at, kafka.Commit{TopicPartition: p, Offset: offset})
	}
	err := u.commit(ctx, at, func(ctx context.Context) error { return u.cluster().CommitOffsets(ctx, u.definition().Group, at) })
	if u.stranger(err) {
		err = u.commit(ctx, at, func(ctx context.Context) error { return u.join(ctx, at, false) })
	}
	return err
}

// commit commits offsets and ends what could be repeated.
func (u *Consumer) commit(ctx context.Context, at []kafka.Commit, send func(context.Context) error) error {
	if err := u.settle(ctx, at); err != nil {
		return err
	}
	if len(at) > 0 {
		// Who has lost the instance must not go on trying.
		ctx, cancel := u.whileHeld(ctx)
		defer cancel()
		if err := send(ctx); err != nil {
			return u.commitFailed(err)
		}
	}
	u.c.mu.Lock()
	u.c.answers = answers{}
	u.c.mu.Unlock()
	return nil
}

// whileHeld returns a context that ends with ctx, or when the instance does.
func (u *Consumer) whileHeld(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the call at the latest
		select {
		case <-u.c.end:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// commitFailed is the error of a commit that has failed.
func (u *Consumer) commitFailed(err error) error {
	if ended := u.ended(nil); ended != nil {
		return ended
	}
	if errors.Is(err, kafka.ErrTaken) {
		return illegalState("The group has given a partition to another member since it was read; its records come again there")
	}
	return err
}

// stranger says whether a commit was refused because the group has members, and the
// instance, which was not read since another process held it, is none of them.
func (u *Consumer) stranger(err error) bool {
	d := u.definition()
	return errors.Is(err, kerr.UnknownMemberID) && d.subscribed()
}

// join makes an instance a member of its group and commits for the partitions that it
// gets, unless somebody has committed for them meanwhile. It goes on at these offsets
// there. If it does not get all, that is a Conflict where all were asked for. The caller
// has the turn.
func (u *Consumer) join(ctx context.Context, at []kafka.Commit, all bool) error {
	d := u.definition()
	partitions := make([]kafka.TopicPartition, len(at))
	for i, o := range at {
		partitions[i] = o.TopicPartition
	}
	before, err := u.committed(ctx, d.Group, partitions)
	if err != nil {
		return err
	}
	places := make([]kafka.Place, len(at))
	for i, o := range at {
		places[i] = kafka.Place{TopicPartition: o.TopicPartition, Offset: o.Offset, Committed: committedOr(before, o.TopicPartition)}
	}
	deadline := time.Now().Add(joining)
	if ready, err := u.awaken(ctx, d.placed(places), deadline); err != nil || !ready {
		return err
	}
	if _, err := u.await(ctx, time.Now(), 0); err != nil {
		return err
	}
	now, err := u.committed(ctx, d.Group, partitions)
	if err != nil {
		return err
	}
	have := u.c.live.Assignment()
	var mine []kafka.Commit
	for i, o := range at {
		switch {
		case committedOr(now, o.TopicPartition) != places[i].Committed, !slices.Contains(have, o.TopicPartition):
			if all {
				return illegalState("The group has not given partition %s-%d to this instance", u.who.called(o.Topic), o.Partition)
			}
		default:
			mine = append(mine, o)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	return u.c.live.Commit(ctx, mine)
}

// committedOr returns the committed offset of a partition; -1 is none.
func committedOr(at map[kafka.TopicPartition]int64, p kafka.TopicPartition) int64 {
	if offset, ok := at[p]; ok {
		return offset
	}
	return -1
}
