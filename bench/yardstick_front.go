package bench

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// frontYardstick configures the bare program for the front door: what one would
// write with net/http and kgo to turn a request's bytes into one record, or its lines
// into one record each.
type frontYardstick struct {
	Brokers []string `json:"brokers"`
}

func runFrontYardstick(ctx context.Context, c frontYardstick, out io.Writer) error {
	client, err := newProducer(c.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /topics/{topic}", func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, max(r.ContentLength, 0))
		if _, err := io.ReadFull(r.Body, body); err != nil {
			http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
			return
		}
		var records []*kgo.Record
		if r.Header.Get("Content-Type") == mediaLines {
			for line := range bytes.Lines(body) {
				records = append(records, &kgo.Record{Topic: r.PathValue("topic"), Value: bytes.TrimSuffix(line, []byte("\n"))})
			}
		} else {
			records = []*kgo.Record{{Topic: r.PathValue("topic"), Value: body}}
		}
		if err := produceAll(r.Context(), client, records); err != nil {
			http.Error(w, "produce: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// The connection may be gone; then nobody reads the answer.
		_, _ = w.Write(appendOffsets(make([]byte, 0, 64+64*len(records)), records))
	})
	return serveHTTP(ctx, mux, out)
}

// newProducer is a client that does not wait for more records before it sends.
func newProducer(brokers []string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerLinger(0))
}

// nativeYardstick configures the program that does not speak HTTP at all: it
// produces batches with kgo and waits for each.
type nativeYardstick struct {
	Stretch     stretch  `json:"stretch"`
	Brokers     []string `json:"brokers"`
	Topic       string   `json:"topic"`
	Records     int      `json:"records"` // in one batch
	Size        int      `json:"size"`    // of a document, in bytes
	Connections int      `json:"connections"`
}

func runNativeYardstick(ctx context.Context, c nativeYardstick, out io.Writer) error {
	client, err := newProducer(c.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	m := newMeter(c.Stretch, os.Getpid(), c.Records, c.Size)
	result, err := m.run(ctx, c.Connections, func(ctx context.Context, worker int) (func() error, error) {
		values := make([][]byte, c.Records)
		for i := range values {
			values[i] = appendDocument(nil, int64(worker*c.Records+i), time.Now(), c.Size)
		}
		return func() error {
			records := make([]*kgo.Record, len(values))
			for i, v := range values {
				records[i] = &kgo.Record{Topic: c.Topic, Value: v}
			}
			return produceAll(ctx, client, records)
		}, nil
	})
	if err != nil {
		return err
	}
	if result.Figures.PeakBytes, err = peakMemory(os.Getpid()); err != nil {
		return err
	}
	return printResult(out, result)
}

// produceAll produces records and waits until all are acknowledged.
func produceAll(ctx context.Context, client *kgo.Client, records []*kgo.Record) error {
	if len(records) == 1 {
		produced := make(chan error, 1)
		client.Produce(ctx, records[0], func(_ *kgo.Record, err error) { produced <- err })
		return <-produced
	}
	var all sync.WaitGroup
	var once sync.Once
	var failed error
	all.Add(len(records))
	for _, r := range records {
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
			all.Done()
		})
	}
	all.Wait()
	return failed
}
