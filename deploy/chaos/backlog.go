package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// backlog is the proof that a klamm's memory is bounded by its budget, not by what
// waits for a target: gigabytes wait while the target refuses connections, accepts
// them without an answer, and comes back.
type backlog struct {
	*stage
	bytes      int64 // that wait, of values
	size       int   // of a value
	partitions int
	watch      time.Duration // how long each of the three lasts
	most       int64         // bytes that may be resident while the target is down
	mostBack   int64         // and while klamm delivers as fast as it can
}

func backlogFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	b := &backlog{stage: s}
	flags.Int64Var(&b.bytes, "bytes", 5e9, "bytes that wait")
	flags.IntVar(&b.size, "size", 10_000, "bytes of a value")
	flags.IntVar(&b.partitions, "partitions", 12, "partitions of the topic")
	flags.DurationVar(&b.watch, "watch", time.Minute, "how long each state of the target lasts")
	flags.Int64Var(&b.most, "most", 200e6, "bytes that may be resident while the target is down")
	flags.Int64Var(&b.mostBack, "most-back", 200e6, "bytes that may be resident when it is back")
	return func(ctx context.Context) (bool, error) {
		if b.size < 24 || b.bytes < int64(b.size) || b.partitions < 1 || b.watch <= 0 {
			return false, errors.New("a number is too small")
		}
		return b.run(ctx)
	}
}

// run returns whether the proof holds.
func (b *backlog) run(ctx context.Context) (bool, error) {
	topic, err := b.topic(ctx, int32(b.partitions))
	if err != nil {
		return false, err
	}
	count, err := b.fill(ctx, topic)
	if err != nil {
		return false, err
	}
	seat, addr, err := takeSeat()
	if err != nil {
		return false, err
	}
	defer seat.close()
	p, err := b.start(fmt.Sprintf(`pipes:
  - name: chaos
    topics: [%s]
    start: earliest
    target: {webhook: {url: "http://%s/"}}
    delivery: {timeout: 5s}
`, topic, addr))
	if err != nil {
		return false, err
	}
	var phases []phase
	refused, err := b.look(ctx, p, "refuses connections", b.most)
	if err != nil {
		return false, err
	}
	phases = append(phases, refused)

	var answers atomic.Bool
	var arrived atomic.Int64
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !answers.Load() {
			<-req.Context().Done()
			return
		}
		arrived.Add(1)
	})}
	l, err := seat.listen()
	if err != nil {
		return false, err
	}
	go func() { _ = server.Serve(l) }() // until Close
	defer func() { _ = server.Close() }()
	hung, err := b.look(ctx, p, "accepts and does not answer", b.most)
	if err != nil {
		return false, err
	}
	phases = append(phases, hung)

	answers.Store(true)
	if err := b.until(ctx, "something arrives", patience, func() bool { return arrived.Load() > 0 }); err != nil {
		return false, err
	}
	back, err := b.look(ctx, p, "is back", b.mostBack)
	if err != nil {
		return false, err
	}
	return b.report(append(phases, back), count, arrived.Load()), nil
}

// fill writes what is to wait and returns how many records that is.
func (b *backlog) fill(ctx context.Context, topic string) (count int64, err error) {
	client, err := b.writer(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	count = b.bytes / int64(b.size)
	var failed atomic.Pointer[error]
	said := time.Now()
	for n := range count {
		client.Produce(ctx, &kgo.Record{Topic: topic, Key: key(int(n), 10_000), Value: value(int(n), b.size)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		if err := failed.Load(); err != nil {
			return 0, fmt.Errorf("write the backlog: %w", *err)
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			b.say("%d of %d MB written", n*int64(b.size)/1e6, b.bytes/1e6)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return 0, fmt.Errorf("write the backlog: %w", err)
	}
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("write the backlog: %w", *err)
	}
	return count, nil
}

// A phase is how much memory a klamm had while its target was in a state.
type phase struct {
	target string
	most   int64 // bytes that may be
	peak   int64
}

// look watches the memory for a while.
func (b *backlog) look(ctx context.Context, p *process, target string, most int64) (phase, error) {
	b.say("the target %s", target)
	ph := phase{target: target, most: most}
	var failed error
	end := time.Now().Add(b.watch)
	err := b.until(ctx, "watching", b.watch+patience, func() bool {
		var now int64
		if now, failed = p.memory(); failed != nil {
			return true
		}
		ph.peak = max(ph.peak, now)
		return time.Now().After(end)
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return ph, err
	}
	b.say("%.0f MB at most", float64(ph.peak)/1e6)
	return ph, nil
}

func (b *backlog) report(phases []phase, count, arrived int64) bool {
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nwaiting\t%d records\t%.1f GB\n", count, float64(count)*float64(b.size)/1e9)
	holds := true
	for _, p := range phases {
		fmt.Fprintf(w, "most memory while the target %s\t%.0f MB\tat most %.0f MB\n", p.target, float64(p.peak)/1e6, float64(p.most)/1e6)
		holds = holds && p.peak <= p.most
	}
	fmt.Fprintf(w, "delivered when the target was back\t%d records\tin %s\n", arrived, b.watch)
	_ = w.Flush()
	fmt.Fprintf(b.out, "%s\n", outcome(holds))
	return holds
}
