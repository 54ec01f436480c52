package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

// MakeArchive makes the topic of a new archive of a bus. What an archive of the same name
// has left there is deleted. The topic has as many partitions as that of the bus, so
// that events stay in the order that they have there, and keeps them for so many days;
// 0: for ever.
func (b *Buses) MakeArchive(ctx context.Context, archive, bus string, days int64) error {
	if err := b.Ensure(ctx, bus); err != nil {
		return err
	}
	of, err := b.cfg.Cluster.Topic(ctx, event.BusTopic(bus))
	if err != nil {
		return fmt.Errorf("topic of event bus %q: %w", bus, err)
	}
	if err := b.UnmakeArchive(ctx, archive); err != nil {
		return err
	}
	largest, retention := strconv.FormatInt(max(leastBusMessage, 3*b.cfg.MaxEntries), 10), retentionOf(days)
	settings := map[string]*string{"max.message.bytes": &largest, "retention.ms": &retention, "cleanup.policy": new("delete")}
	return b.cfg.Cluster.EnsureTopic(ctx, event.ArchiveTopic(archive), int32(len(of.Partitions)), settings)
}

// KeepArchive changes how long an archive keeps its events.
func (b *Buses) KeepArchive(ctx context.Context, archive string, days int64) error {
	retention := retentionOf(days)
	return b.cfg.Cluster.Alter(ctx, kafka.OfTopic, event.ArchiveTopic(archive), []kafka.SettingChange{{Name: "retention.ms", Value: &retention}}, false)
}

func retentionOf(days int64) string {
	if days == 0 {
		return "-1"
	}
	return strconv.FormatInt(days*24*time.Hour.Milliseconds(), 10)
}

// UnmakeArchive deletes the topic of an archive, unless there is none.
func (b *Buses) UnmakeArchive(ctx context.Context, archive string) error {
	topic := event.ArchiveTopic(archive)
	if err := b.cfg.Cluster.DeleteTopic(ctx, topic); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}

// ArchiveSize returns how many events an archive has, and how many bytes they take.
func (b *Buses) ArchiveSize(ctx context.Context, archive string) (events, bytes int64, err error) {
	topic := event.ArchiveTopic(archive)
	ranges, err := b.cfg.Cluster.Ranges(ctx, topic)
	if err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			err = nil // it is being made, or deleted
		}
		return 0, 0, err
	}
	for _, r := range ranges {
		events += r.End - r.Start
	}
	bytes, err = b.cfg.Cluster.TopicBytes(ctx, topic)
	return events, bytes, err
}
