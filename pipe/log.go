package pipe

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
)

// DeliveryTopic is the topic of the delivery log: what delivery.log asks for, kept
// for deliveryRetention.
const DeliveryTopic = "klamm.deliveries"

const (
	deliveryPartitions = 4
	deliveryRetention  = "604800000" // seven days, in milliseconds
	// entriesUnderway bounds the entries that are not yet acknowledged; what is
	// beyond is dropped and counted: the log must not hold up deliveries.
	entriesUnderway = 10_000
	// entriesWaiting bounds those that wait for the topic to be made.
	entriesWaiting = 1_000
)

// A journal writes the delivery log.
type journal struct {
	cluster  *kafka.Cluster
	metrics  *Metrics
	underway atomic.Int64

	ready   atomic.Bool // the topic exists
	mu      sync.Mutex
	making  bool
	tried   time.Time
	waiting []*kgo.Record
}

// The outcomes of an attempt.
const (
	outcomeDelivered = "delivered"
	outcomeFailed    = "failed" // another attempt follows
	outcomeDead      = "dead_lettered"
)

// An entry is one record of the delivery log.
type entry struct {
	ID        string `json:"delivery_id"`
	Pipe      string `json:"pipe"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Last      int64  `json:"last_offset"`
	Count     int    `json:"count"`
	Outcome   string `json:"outcome"`
	// Kept says that this attempt itself is kept; otherwise the entry only says
	// how a delivery ended whose failures are kept.
	Kept bool `json:"kept"`
	Attempt
}

// logAttempt writes an attempt into the delivery log, as delivery.log asks for.
func (f *flow) logAttempt(b *batch, outcome string, began time.Time, took time.Duration, err error, report *target.Report, next time.Duration) {
	mode := f.def.Delivery.Log
	kept := mode == "all" || mode == "failed" && err != nil
	if !kept && (mode == "none" || b.attempt == 1) {
		return
	}
	first, last := b.items[0], b.items[len(b.items)-1]
	e := entry{
		ID: first.ID, Pipe: f.def.Name, Topic: first.Record.Topic, Partition: first.Record.Partition,
		Offset: first.Record.Offset, Last: last.Record.Offset, Count: len(b.items), Outcome: outcome, Kept: kept,
		Attempt: Attempt{Number: b.attempt, At: began.UTC().Truncate(time.Millisecond), TookMillis: millis(took)},
	}
	if report != nil {
		e.Status, e.Response = report.Status, excerptOf(report.Response)
		e.DNSMillis, e.ConnectMillis, e.TLSMillis, e.WaitMillis = millis(report.DNS), millis(report.Connect), millis(report.TLS), millis(report.Wait)
	}
	if err != nil {
		failure := target.FailureOf(err)
		e.Status, e.Response, e.Error = failure.Status, excerptOf(failure.Response), strings.ToValidUTF8(err.Error(), "?")
	}
	if outcome == outcomeFailed {
		e.Next = time.Now().Add(next).UTC().Truncate(time.Millisecond)
	}
	value, err := json.Marshal(e)
	if err != nil {
		return // there is no value that cannot be encoded
	}
	f.runner.journal.write(&kgo.Record{Topic: DeliveryTopic, Partition: logPartition(e.ID), Key: []byte(e.ID), Value: value,
		Headers: []kgo.RecordHeader{{Key: "pipe", Value: []byte(e.Pipe)}}})
}

// logPartition is where the entries of a delivery lie, so that they can be found
// by its id.
func logPartition(id string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int32(h.Sum32() % deliveryPartitions)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func excerptOf(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), responseExcerpt)]), "?")
}

// write hands an entry to the producer and does not wait.
func (j *journal) write(r *kgo.Record) {
	if j.ready.Load() {
		j.send(r)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.waiting) == entriesWaiting {
		j.metrics.unlogged.Inc()
	} else {
		j.waiting = append(j.waiting, r)
	}
	if j.making || time.Since(j.tried) < 5*time.Second {
		return
	}
	j.making, j.tried = true, time.Now()
	go j.makeTopic()
}

func (j *journal) send(r *kgo.Record) {
	if j.underway.Add(1) > entriesUnderway {
		j.underway.Add(-1)
		j.metrics.unlogged.Inc()
		return
	}
	j.cluster.Send(context.Background(), r, func(err error) {
		j.underway.Add(-1)
		if err != nil {
			j.metrics.unlogged.Inc()
		}
	})
}

// makeTopic creates the topic of the log before its first entry; left to the
// broker, it would have the retention of any other.
func (j *journal) makeTopic() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	retention := deliveryRetention
	err := j.cluster.EnsureTopic(ctx, DeliveryTopic, deliveryPartitions, map[string]*string{"retention.ms": &retention})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.making = false
	if err != nil {
		return
	}
	for _, r := range j.waiting {
		j.send(r)
	}
	j.waiting = nil
	j.ready.Store(true)
}

// end waits for entries that are under way, for at most five seconds.
func (j *journal) end() {
	for until := time.Now().Add(5 * time.Second); j.underway.Load() > 0 && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
}
