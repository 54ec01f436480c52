package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// streamYardstick configures the program that produces one record after the
// other with kgo and does not wait, but where kgo's buffer is full.
type streamYardstick struct {
	Stretch stretch  `json:"stretch"`
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
	Size    int      `json:"size"` // of a document, in bytes
}

func runStreamYardstick(ctx context.Context, c streamYardstick, out io.Writer) error {
	if c.Size < minDocument || c.Size > maxDocument || c.Stretch.Measure <= 0 {
		return fmt.Errorf("%w: nothing to stream", ErrRole)
	}
	client, err := newProducer(c.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := tally{stretch: c.Stretch, pid: os.Getpid()}
	t.begin()
	var producing sync.WaitGroup
	producing.Go(func() {
		if err := c.produce(ctx, client, &t, func(err error) { cancel(err) }); err != nil {
			cancel(err)
		}
	})
	f, err := t.measure(ctx)
	if err != nil {
		cancel(err)
	}
	producing.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.Bytes = f.Records * int64(c.Size)
	t.latency(&f)
	if f.PeakBytes, err = peakMemory(os.Getpid()); err != nil {
		return err
	}
	return printResult(out, loadResult{Figures: f, Acknowledged: t.count.Load()})
}

// produce produces until the stretch is over, and waits for all that is on its
// way then. Each 64th record is timed.
func (c streamYardstick) produce(ctx context.Context, client *kgo.Client, t *tally, failed func(error)) error {
	values := make([][]byte, ringRecords)
	for i := range values {
		values[i] = appendDocument(nil, int64(i), time.Now(), c.Size)
	}
	count := func(_ *kgo.Record, err error) {
		if err != nil {
			failed(err)
			return
		}
		t.count.Add(1)
	}
	// kgo calls back from one goroutine, so that the times need no lock.
	for n := 0; ctx.Err() == nil; n++ {
		record := &kgo.Record{Topic: c.Topic, Value: values[n%len(values)]}
		if n%64 != 0 {
			client.Produce(ctx, record, count)
			continue
		}
		begin := time.Now()
		if !begin.Before(t.end) {
			break
		}
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			count(r, err)
			t.took(begin)
		})
	}
	return client.Flush(ctx)
}
