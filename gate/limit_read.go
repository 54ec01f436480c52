package gate

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// limitRead asks the limits for a read of a consumer instance, for each of its topics.
// It may wait as long as the client lets the read take.
func (u *Consumer) limitRead(ctx context.Context, d consumerDefinition, patience time.Duration) error {
	if u.who.visit == nil {
		return nil
	}
	topics := append(topicsOf(d.Partitions), d.Topics...)
	if d.Pattern != "" {
		topics = u.c.matched
	}
	end := time.Now().Add(patience)
	for _, topic := range topics {
		if err := u.who.visit.consume(ctx, topic, d.Group, -1, max(time.Until(end), 0)); err != nil {
			return err
		}
	}
	return nil
}

// countRead counts what a read has returned.
func (u *Consumer) countRead(group string, got []Delivery) {
	if u.who.visit == nil {
		return
	}
	byTopic := map[string][]*kgo.Record{}
	for _, d := range got {
		byTopic[d.Record.Topic] = append(byTopic[d.Record.Topic], d.Record)
	}
	for topic, records := range byTopic {
		u.who.visit.consumed(topic, group, -1, records...)
	}
}

// limitFollow asks the limits for a stream of records.
func (s *Streams) limitFollow(ctx context.Context, who Principal, topic, group string) error {
	return who.visit.consume(ctx, topic, group, -1, 0)
}

// Sent counts records that a stream has taken for a caller, and says for how long it
// should take no more: streams are slowed down where others are refused.
func (s *Streams) Sent(who Principal, topic, group string, records ...*kgo.Record) time.Duration {
	return who.visit.consumed(topic, group, -1, records...)
}

// Limited says whether Sent has anything to count for a caller.
func (s *Streams) Limited(who Principal) bool { return who.visit != nil }
