package gate

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// auditBatch bounds the records that are on their way to the topic together.
	auditBatch = 500
	// auditPause is how long it takes until records are written again that were not
	// acknowledged.
	auditPause = time.Second
	// auditFlush is for how long it is tried to write what is left at the end.
	auditFlush = 10 * time.Second
)

// An auditTopic is a topic that gets the audit log. What it does not take is written
// again until it does, so a line may be there twice; meanwhile lines wait, up to the
// bound of their queue. It writes as klamm itself, past the policies, which would
// have something to say about each line. It is used by one goroutine, but for hurry.
type auditTopic struct {
	cluster *kafka.Cluster
	topic   string
	lost    prometheus.Counter
	log     *slog.Logger
	ctx     context.Context // ends when there is no more time
	cancel  context.CancelFunc
	made    bool // the topic is there
	failing bool
}

func newAuditTopic(cluster *kafka.Cluster, topic string, lost prometheus.Counter, log *slog.Logger) *auditTopic {
	t := &auditTopic{cluster: cluster, topic: topic, lost: lost, log: log}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// hurry lets the last lines have only so much time.
func (t *auditTopic) hurry() { time.AfterFunc(auditFlush, t.cancel) }

func (t *auditTopic) close() { t.cancel() }

// write writes lines; it returns when they are acknowledged, or there is no more time.
func (t *auditTopic) write(batch []auditEntry) {
	for len(batch) > 0 {
		n := min(len(batch), auditBatch)
		records := make([]*kgo.Record, n)
		for i, entry := range batch[:n] {
			records[i] = t.record(entry)
		}
		batch = batch[n:]
		for records = t.send(records); len(records) > 0; records = t.send(records) {
			select {
			case <-time.After(auditPause):
				continue
			case <-t.ctx.Done():
			}
			t.lost.Add(float64(len(records)))
			break
		}
	}
}

func (t *auditTopic) record(entry auditEntry) *kgo.Record {
	r := &kgo.Record{Topic: t.topic, Partition: -1, Value: entry.text[:len(entry.text)-1]}
	if entry.who != "" {
		r.Key = []byte(entry.who)
	}
	return r
}

// send writes records once, and returns those that have to be written again.
func (t *auditTopic) send(records []*kgo.Record) (left []*kgo.Record) {
	err := t.make()
	if err != nil {
		left = records
	} else {
		for i, result := range t.cluster.Produce(t.ctx, records...) {
			if result.Err != nil {
				// The client may still have the record that was not acknowledged.
				err, left = result.Err, append(left, &kgo.Record{Topic: t.topic, Partition: -1, Key: records[i].Key, Value: records[i].Value})
			}
		}
	}
	if err != nil {
		t.made = false
		if !t.failing {
			t.log.Error("the audit log cannot be written; lines wait until it can", "topic", t.topic, "err", err)
		}
	}
	t.failing = err != nil
	return left
}

// make sees to it that the topic is there.
func (t *auditTopic) make() error {
	if t.made {
		return nil
	}
	if _, err := t.cluster.Topic(t.ctx, t.topic); err != nil {
		// Who may write need not be allowed to make topics: then the first of these
		// errors is the one to tell.
		if t.cluster.EnsureTopic(t.ctx, t.topic, -1, nil) != nil {
			return err
		}
	}
	t.made = true
	return nil
}
