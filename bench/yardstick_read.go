package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readYardstick configures the bare reader: what one would write with net/http
// and kgo to give a topic's records, whose values are JSON, to one client.
type readYardstick struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
}

func runReadYardstick(ctx context.Context, c readYardstick, out io.Writer) error {
	r := &bareReader{config: c}
	defer r.close()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reader", r.open)
	mux.HandleFunc("GET /reader/records", r.records)
	mux.HandleFunc("DELETE /reader", func(w http.ResponseWriter, _ *http.Request) {
		r.close()
		w.WriteHeader(http.StatusNoContent)
	})
	return serveHTTP(ctx, mux, out)
}

// A bareReader reads for one client.
type bareReader struct {
	config readYardstick

	mu      sync.Mutex // guards what follows, for a whole request
	client  *kgo.Client
	waiting []*kgo.Record
}

// open begins at the first record of each partition.
func (r *bareReader) open(w http.ResponseWriter, _ *http.Request) {
	r.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	client, err := newReader(r.config.Brokers, r.config.Topic)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	r.client = client
	w.WriteHeader(http.StatusNoContent)
}

func (r *bareReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
	r.client, r.waiting = nil, nil
}

// records answers with what is there, as soon as there is something.
func (r *bareReader) records(w http.ResponseWriter, req *http.Request) {
	maxBytes, err := strconv.Atoi(req.URL.Query().Get("max_bytes"))
	if err != nil {
		http.Error(w, "max_bytes: "+err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		http.Error(w, "no reader is open", http.StatusNotFound)
		return
	}
	if len(r.waiting) == 0 {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		fetches := r.client.PollFetches(ctx)
		cancel()
		r.waiting = fetches.Records()
	}
	body := []byte{'['}
	size, n := 0, 0
	for ; n < len(r.waiting); n++ {
		record := r.waiting[n]
		if size += len(record.Key) + len(record.Value); size >= maxBytes {
			break
		}
		if n > 0 {
			body = append(body, ',')
		}
		body = appendRead(body, record)
	}
	r.waiting = r.waiting[n:]
	w.Header().Set("Content-Type", mediaV2JSON)
	// The connection may be gone; then nobody reads the answer.
	_, _ = w.Write(append(body, ']'))
}

// appendRead appends a record without a key in the shape of Confluent's v2.
func appendRead(b []byte, r *kgo.Record) []byte {
	b = append(b, `{"topic":"`...)
	b = append(b, r.Topic...)
	b = append(b, `","key":null,"value":`...)
	b = append(b, r.Value...)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	return append(b, '}')
}

// newReader is a client that reads a whole topic from its beginning.
func newReader(brokers []string, topic string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
}

// nativeReadYardstick configures the program that reads a topic with kgo and
// does not speak HTTP at all.
type nativeReadYardstick struct {
	Measure time.Duration `json:"measure"` // passes go on until so much time was measured
	Brokers []string      `json:"brokers"`
	Topic   string        `json:"topic"`
	Count   int64         `json:"count"` // of records in the topic
	Size    int           `json:"size"`  // of a document, in bytes
}

func runNativeReadYardstick(ctx context.Context, c nativeReadYardstick, out io.Writer) error {
	if c.Count < 1 || c.Size < minDocument || c.Size > maxDocument {
		return fmt.Errorf("%w: nothing to read", ErrRole)
	}
	p := passes{pid: os.Getpid(), count: c.Count, size: c.Size}
	for p.measured < c.Measure {
		if err := c.pass(ctx, &p); err != nil {
			return fmt.Errorf("read topic %q: %w", c.Topic, err)
		}
	}
	result := loadResult{Figures: p.figures(), Acknowledged: p.records}
	var err error
	if result.Figures.PeakBytes, err = peakMemory(os.Getpid()); err != nil {
		return err
	}
	// It makes no requests, and how long a poll takes says nothing.
	result.Figures.Requests, result.Figures.P50Micros, result.Figures.P99Micros = 0, 0, 0
	return printResult(out, result)
}

// pass reads the topic once, with a client of its own.
func (c nativeReadYardstick) pass(ctx context.Context, p *passes) error {
	client, err := newReader(c.Brokers, c.Topic)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, c.Measure+startTimeout)
	defer cancel()
	for p.begin(); !p.complete(); {
		begin := time.Now()
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		err := p.take(begin, func(found func(int64)) (int, error) {
			records := fetches.Records()
			for n, r := range records {
				seq, _, err := readDocument(r.Value, c.Size)
				if err != nil {
					return n, err
				}
				found(seq)
			}
			return len(records), nil
		})
		if err != nil {
			return err
		}
	}
	return p.end()
}
