package pipe

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// packFor is how long an entry waits at most for others to be written with it.
	packFor = 20 * time.Millisecond
	// packBytes is how large a record of the log gets.
	packBytes = 64 << 10
)

// A journal writes the delivery log. A record of its topic holds the entries of one
// pipe, a line each; the oldest logs have one in each record.
type journal struct {
	cluster  *kafka.Cluster
	metrics  *Metrics
	underway atomic.Int64 // entries

	ready   atomic.Bool // the topic exists
	mu      sync.Mutex
	packs   map[packOf]*pack
	closing bool // a timer runs that closes all packs
	making  bool
	tried   time.Time
	waiting []*pack
}

// A packOf says what entries go into the same record.
type packOf struct {
	pipe      string
	partition int32
}

// A pack is entries that are written together.
type pack struct {
	packOf
	lines   *[]byte // of linesPool
	entries int64
}

// linesPool is memory for packs and for entries that are added to them.
var linesPool = sync.Pool{New: func() any { return new([]byte) }}

// mostLines bounds the memory that is kept for the next pack.
const mostLines = 2 * packBytes

// giveBack gives memory back that nobody reads any more.
func giveBack(lines *[]byte) {
	if cap(*lines) <= mostLines {
		*lines = (*lines)[:0]
		linesPool.Put(lines)
	}
}

// write adds an entry to the log and does not wait.
func (j *journal) write(e *entry) {
	if j.underway.Add(1) > entriesUnderway {
		j.underway.Add(-1)
		j.metrics.unlogged.Inc()
		return
	}
	of := packOf{e.Pipe, logPartition(e.ID)}
	line := linesPool.Get().(*[]byte) // not made under the mutex, for which all deliveries wait
	defer giveBack(line)
	*line = append(e.appendTo(*line), '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.packs[of]
	if p == nil {
		p = &pack{packOf: of, lines: linesPool.Get().(*[]byte)}
		if j.packs == nil {
			j.packs = map[packOf]*pack{}
		}
		j.packs[of] = p
		if !j.closing {
			j.closing = true
			time.AfterFunc(packFor, j.closeAll)
		}
	}
	*p.lines = append(*p.lines, *line...)
	if p.entries++; len(*p.lines) >= packBytes {
		j.close(p)
	}
}

// closeAll has all packs written, together, so that the producer needs one request.
func (j *journal) closeAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closing = false
	for _, p := range j.packs {
		j.close(p)
	}
}

// close has a pack written, unless it is already. The journal's mutex is held.
func (j *journal) close(p *pack) {
	if j.packs[p.packOf] != p {
		return
	}
	delete(j.packs, p.packOf)
	if j.ready.Load() {
		j.send(p)
		return
	}
	if len(j.waiting) == packsWaiting {
		j.drop(p)
	} else {
		j.waiting = append(j.waiting, p)
	}
	if j.making || time.Since(j.tried) < 5*time.Second {
		return
	}
	j.making, j.tried = true, time.Now()
	go j.makeTopic()
}

// drop counts entries that do not get into the log.
func (j *journal) drop(p *pack) {
	j.underway.Add(-p.entries)
	j.metrics.unlogged.Add(float64(p.entries))
}

// send hands a pack to the producer, which blocks only while its buffer is full.
func (j *journal) send(p *pack) {
	record := &kgo.Record{Topic: DeliveryTopic, Partition: p.partition, Value: *p.lines, Headers: []kgo.RecordHeader{{Key: "pipe", Value: []byte(p.pipe)}}}
	j.cluster.Send(context.Background(), record, func(err error) {
		if err != nil {
			j.drop(p) // and its memory, in which a request may still be read
			return
		}
		j.underway.Add(-p.entries)
		giveBack(p.lines)
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
	for _, p := range j.waiting {
		j.send(p)
	}
	j.waiting = nil
	j.ready.Store(true)
}

// end has everything written, and waits for it for at most five seconds.
func (j *journal) end() {
	j.closeAll()
	for until := time.Now().Add(5 * time.Second); j.underway.Load() > 0 && j.works() && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
}

// works says whether there is the topic, or will be soon.
func (j *journal) works() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.making || j.ready.Load()
}
