package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// records is the proof that no record is lost: a stream of records is delivered
// by several klamms while events happen.
type records struct {
	*stage
	nodes      nodes // "": none can be stopped
	total      int
	keys       int
	size       int // of a value, in bytes
	partitions int
	klamms     int
	inFlight   int
	backlog    int // so many records wait to be delivered
	refuse     int // one request in so many is answered 503; 0: none
	kills      int
	rebalances int
	broker     bool // one is lost and returns
	seed       uint64

	ledger  *ledger
	allowed atomic.Int64 // how many records may have been written, as far as the events go
	samples samples
	events  []event
}

func recordsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	r := &records{stage: s, nodes: nodes(os.Getenv("KLAMM_KAFKA_CONTROL"))}
	flags.IntVar(&r.total, "records", 1_000_000, "how many records")
	flags.IntVar(&r.keys, "keys", 10_000, "how many keys")
	flags.IntVar(&r.size, "size", 200, "bytes of a value")
	flags.IntVar(&r.partitions, "partitions", 12, "partitions of the topic")
	flags.IntVar(&r.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&r.inFlight, "in-flight", 64, "requests at once of each klamm")
	flags.IntVar(&r.backlog, "backlog", 20_000, "so many records wait to be delivered, at most")
	flags.IntVar(&r.refuse, "refuse", 500, "one request in so many is answered 503; 0: none")
	flags.IntVar(&r.kills, "kills", 10, "how often a klamm is killed")
	flags.IntVar(&r.rebalances, "rebalances", 20, "forced rebalances, of two kinds in turn")
	flags.BoolVar(&r.broker, "broker", true, "a broker is lost, and returns")
	flags.Uint64Var(&r.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		switch {
		case r.total < 1 || r.keys < 1 || r.partitions < 1 || r.klamms < 1 || r.inFlight < 1 || r.backlog < 1 || r.size < 24 || r.kills < 0 || r.rebalances < 0 || r.refuse < 0:
			return false, errors.New("a number is too small")
		case r.broker && r.nodes == "":
			return false, errors.New("to lose a broker needs deploy/kafka/run --control; -broker=false goes without")
		}
		return r.run(ctx)
	}
}

// run returns whether the proof holds.
func (r *records) run(ctx context.Context) (bool, error) {
	r.ledger = newLedger(r.total, r.keys, r.size)
	url, stop, err := listen(http.HandlerFunc(r.receive))
	if err != nil {
		return false, err
	}
	defer stop()
	topic, err := r.topic(ctx, int32(r.partitions))
	if err != nil {
		return false, err
	}
	for range r.klamms {
		if _, err := r.start(fmt.Sprintf(`pipes:
  - name: chaos
    topics: [%[1]s]
    group: %[1]s
    start: earliest
    target: {webhook: {url: %[2]q}}
    delivery: {in_flight: %[3]d, backoff: {min: 20ms, max: 1s}}
`, topic, url, r.inFlight)); err != nil {
			return false, err
		}
	}
	t := &trouble{stage: r.stage, group: topic, topic: topic, nodes: r.nodes, random: rand.New(rand.NewPCG(r.seed, 1))}
	if err := t.rest(ctx, nil, 0); err != nil {
		return false, err
	}
	r.say("%d klamms run the pipe; %d records, %d keys, %d partitions, seed %d", r.klamms, r.total, r.keys, r.partitions, r.seed)

	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.sample(ctx) })
	running.Go(func() {
		if err := r.write(ctx, topic); err != nil {
			cancel(err)
		}
	})
	err = r.goThrough(ctx, t)
	cancel(errors.New("over"))
	running.Wait()
	if err != nil {
		r.say("stopped: %v", err)
	}
	return r.report() && err == nil, err
}

// receive is the webhook.
func (r *records) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // half a request is no delivery
	}
	if r.refuse > 0 && rand.IntN(r.refuse) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	partition, err := strconv.ParseInt(req.Header.Get("Klamm-Partition"), 10, 32)
	offset, wrong := strconv.ParseInt(req.Header.Get("Klamm-Offset"), 10, 64)
	if errors.Join(err, wrong) != nil {
		body = nil // which no record has
	}
	r.ledger.note(arrival{key: []byte(req.Header.Get("Klamm-Key")), value: body, id: req.Header.Get("Klamm-Delivery-Id"), partition: int32(partition), offset: offset})
}

// write writes the records, as many as the events allow and never more than
// backlog ahead of what has arrived.
func (r *records) write(ctx context.Context, topic string) error {
	client, err := r.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for n := 0; n < r.total; {
		arrived, _, _ := r.ledger.standing()
		for limit := min(r.total, arrived+r.backlog, int(r.allowed.Load())); n < limit; n++ {
			client.Produce(ctx, &kgo.Record{Topic: topic, Key: key(n, r.keys), Value: value(n, r.size)}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		if err := failed.Load(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("write the records: %w", *err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
	if err := client.Flush(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("write the records: %w", err)
	}
	if err := failed.Load(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("write the records: %w", *err)
	}
	return nil
}

// goThrough makes the events happen, each in the middle of its share of the
// records, and waits for the end.
func (r *records) goThrough(ctx context.Context, t *trouble) error {
	kinds := plan(r.kills, r.rebalances, r.broker, r.seed)
	share := r.total / (len(kinds) + 1)
	r.events = append(r.events, event{kind: calm, begun: time.Now(), bound: r.klamms * r.inFlight})
	r.allowed.Store(int64(share))
	for i, k := range kinds {
		if err := r.reached(ctx, share*i+share/2); err != nil {
			return err
		}
		had := t.members(ctx)
		arrived, _, _ := r.ledger.standing()
		r.say("%d of %d arrived; event %d of %d: %s", arrived, r.total, i+1, len(kinds), k.name)
		e := event{kind: k, begun: time.Now()}
		r.ledger.begin(t.committed(ctx))
		r.events = append(r.events, e)
		// Records come as long as the event lasts, but not those which the middle
		// of the next share needs.
		r.allowed.Store(int64(share*(i+1) + share/4))
		if err := t.cause(ctx, k); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		if err := t.rest(ctx, had, min(k.gone, len(had))); err != nil {
			return fmt.Errorf("after %s: %w", k.name, err)
		}
		// All that was written up to here is to arrive before the next event, so
		// that what is repeated counts for the event that has caused it.
		if err := r.until(ctx, fmt.Sprintf("the first %d records have arrived", share*(i+1)), patience, func() bool { return r.ledger.allUpTo(share * (i + 1)) }); err != nil {
			return fmt.Errorf("after %s: %w", k.name, err)
		}
		r.allowed.Store(int64(share * (i + 2)))
		last := &r.events[len(r.events)-1]
		last.took = time.Since(e.begun)
		last.bound = r.klamms*r.inFlight + r.samples.between(e.begun.Add(-k.before), e.begun.Add(k.after))
	}
	r.allowed.Store(int64(r.total))
	if err := r.reached(ctx, r.total); err != nil {
		return err
	}
	// What is repeated late shall be seen.
	return r.until(ctx, "nothing comes any more", patience, func() bool {
		_, _, latest := r.ledger.standing()
		return time.Since(latest) > 3*time.Second
	})
}

// reached waits until so many records have arrived, as long as there is progress.
func (r *records) reached(ctx context.Context, n int) error {
	for {
		before, _, _ := r.ledger.standing()
		if before >= n {
			return nil
		}
		err := r.until(ctx, fmt.Sprintf("after record %d of %d another one arrives", before, r.total), patience, func() bool {
			now, _, _ := r.ledger.standing()
			return now > before
		})
		if err != nil {
			return err
		}
	}
}

// sample notes how many records have arrived, and says so now and then.
func (r *records) sample(ctx context.Context) {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return
		case at := <-look.C:
			arrived, repeated, _ := r.ledger.standing()
			r.samples.add(at, arrived)
			if i%100 == 0 {
				r.say("%d of %d arrived, %d repeated since the last event", arrived, r.total, repeated)
			}
		}
	}
}

// samples are how many records had arrived at times. They are safe for concurrent
// use.
type samples struct {
	mu      sync.Mutex
	at      []time.Time
	arrived []int
}

func (s *samples) add(at time.Time, arrived int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.arrived = append(s.at, at), append(s.arrived, arrived)
}

// between returns how many records have arrived between two times, rounded up to
// the next samples; none if the times are the same.
func (s *samples) between(from, to time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !from.Before(to) || len(s.at) == 0 {
		return 0
	}
	first, last := 0, s.arrived[len(s.arrived)-1]
	for i, at := range s.at {
		if !at.After(from) {
			first = s.arrived[i]
		}
		if !at.Before(to) {
			last = s.arrived[i]
			break
		}
	}
	return last - first
}
