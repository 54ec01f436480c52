package pipe

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
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
	// packsWaiting bounds the records that wait for the topic to be made.
	packsWaiting = 1_000
)

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

// logAttempt writes what an attempt at a batch meant for some of its items into the
// delivery log, as delivery.log asks for; without items it writes nothing.
func (f *flow) logAttempt(b *batch, items []*item, outcome string, began time.Time, took time.Duration, err error, report *target.Report, next time.Duration) {
	mode := f.def.Delivery.Log
	kept := mode == "all" || mode == "failed" && err != nil
	if len(items) == 0 || !kept && (mode == "none" || b.attempt == 1) {
		return
	}
	first, last := items[0], items[len(items)-1]
	id := first.ID
	if id == "" { // it was not the first of what was sent
		id = event.DeliveryID(f.def.Name, first.Record)
	}
	e := entry{
		ID: id, Pipe: f.def.Name, Topic: first.Record.Topic, Partition: first.Record.Partition,
		Offset: first.Record.Offset, Last: last.Record.Offset, Count: len(items), Outcome: outcome, Kept: kept,
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
	f.runner.journal.write(&e)
}

// appendTo appends the entry as encoding/json writes it.
func (e *entry) appendTo(dst []byte) []byte {
	text := func(name, value string) { dst = scan.AppendString(append(dst, name...), value) }
	number := func(name string, value int64) { dst = strconv.AppendInt(append(dst, name...), value, 10) }
	at := func(name string, t time.Time) {
		dst = append(t.AppendFormat(append(append(dst, name...), '"'), time.RFC3339Nano), '"')
	}
	part := func(name string, millis float64) {
		if millis != 0 {
			dst = strconv.AppendFloat(append(dst, name...), millis, 'f', -1, 64)
		}
	}
	text(`{"delivery_id":`, e.ID)
	text(`,"pipe":`, e.Pipe)
	text(`,"topic":`, e.Topic)
	number(`,"partition":`, int64(e.Partition))
	number(`,"offset":`, e.Offset)
	number(`,"last_offset":`, e.Last)
	number(`,"count":`, int64(e.Count))
	text(`,"outcome":`, e.Outcome)
	dst = strconv.AppendBool(append(dst, `,"kept":`...), e.Kept)
	number(`,"attempt":`, int64(e.Number))
	at(`,"at":`, e.At)
	number(`,"status":`, int64(e.Status))
	if e.Error != "" {
		text(`,"error":`, e.Error)
	}
	if e.Response != "" {
		text(`,"response":`, e.Response)
	}
	dst = strconv.AppendFloat(append(dst, `,"took_ms":`...), e.TookMillis, 'f', -1, 64)
	part(`,"dns_ms":`, e.DNSMillis)
	part(`,"connect_ms":`, e.ConnectMillis)
	part(`,"tls_ms":`, e.TLSMillis)
	part(`,"wait_ms":`, e.WaitMillis)
	if !e.Next.IsZero() {
		at(`,"next":`, e.Next)
	}
	return append(dst, '}')
}

// entriesOf yields the entries of a record of the log, as far as they can be read.
func entriesOf(record *kgo.Record) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for line := range bytes.Lines(record.Value) {
			var e entry
			if json.Unmarshal(line, &e) == nil && !yield(&e) {
				return
			}
		}
	}
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
