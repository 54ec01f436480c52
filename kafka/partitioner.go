package kafka

import "github.com/twmb/franz-go/pkg/kgo"

// partitioner sends a record to the partition it names and leaves the choice
// for records with partition -1 to the standard one: murmur2 over the key, and
// records without a key in runs of 64 KiB over all partitions, as Kafka's own
// producer does it.
type partitioner struct{ standard kgo.Partitioner }

func newPartitioner() kgo.Partitioner {
	return partitioner{kgo.UniformBytesPartitioner(64<<10, true, true, nil)}
}

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return &topicPartitioner{p.standard.ForTopic(topic).(backupPartitioner)}
}

type backupPartitioner interface {
	kgo.TopicPartitioner
	kgo.TopicBackupPartitioner
}

type topicPartitioner struct{ backupPartitioner }

// RequiresConsistency says that a named partition is used even if it has no
// leader at the moment.
func (p *topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.backupPartitioner.RequiresConsistency(r)
}

func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.backupPartitioner.Partition(r, n)
}

func (p *topicPartitioner) PartitionByBackup(r *kgo.Record, n int, backup kgo.TopicBackupIter) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.backupPartitioner.PartitionByBackup(r, n, backup)
}
