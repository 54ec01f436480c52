package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Streams are the guarded way to follow topics: what is read for one caller is
// shared with all others who follow the same partitions. They are safe for
// concurrent use, and cost nothing while nobody follows anything.
type Streams struct {
	gate  *Gate
	tails *kafka.Tails
}

// NewStreams returns streams behind a gate.
func NewStreams(g *Gate) *Streams {
	return &Streams{gate: g, tails: kafka.NewTails(g.cluster)}
}

// Follow follows a topic, or one of its partitions where partition is not
// negative; see kafka.Tails.Subscribe. The caller has to close the subscription,
// and to ask MayFollow from time to time.
func (s *Streams) Follow(ctx context.Context, who Principal, topic string, partition int32, from kafka.From) (*kafka.Subscription, error) {
	if err := s.MayFollow(ctx, who, topic, partition); err != nil {
		return nil, err
	}
	topic = who.real(topic)
	if err := s.limitFollow(ctx, who, topic, ""); err != nil {
		return nil, err
	}
	tails, err := s.tailsFor(ctx, &who)
	if err != nil {
		return nil, err
	}
	return tails.Subscribe(ctx, topic, partition, from)
}

// MayFollow says whether a caller may still follow a topic, or one of its partitions
// where partition is not negative: grants may end while a stream is open.
func (s *Streams) MayFollow(ctx context.Context, who Principal, topic string, partition int32) error {
	return s.gate.mayRead(ctx, &who, who.real(topic), partition)
}

// Join makes a caller a member of a consumer group that reads a topic; see
// kafka.Cluster.SubscribeFrom. The caller has to close the instance, and to ask
// MayJoin from time to time.
func (s *Streams) Join(ctx context.Context, who Principal, group, topic string, start kafka.Start, reached kafka.Reached) (*kafka.Instance, []kafka.Commit, error) {
	if err := s.MayJoin(ctx, who, group, topic); err != nil {
		return nil, nil, err
	}
	topic = who.real(topic)
	if err := s.limitFollow(ctx, who, topic, group); err != nil {
		return nil, nil, err
	}
	cluster, err := s.gate.as(ctx, &who)
	if err != nil {
		return nil, nil, err
	}
	if _, err := cluster.Topic(ctx, topic); err != nil {
		return nil, nil, err
	}
	return cluster.SubscribeFrom(ctx, group, "klamm-stream", topic, start, reached)
}

// MayJoin is MayFollow for members of a group.
func (s *Streams) MayJoin(ctx context.Context, who Principal, group, topic string) error {
	if err := s.gate.allowGroup(ctx, who, group); err != nil {
		return err
	}
	return s.MayFollow(ctx, who, topic, -1)
}

// Real returns the name by which Kafka knows a topic that a caller follows: what comes
// of it names it so.
func (s *Streams) Real(who Principal, topic string) string { return who.real(topic) }
