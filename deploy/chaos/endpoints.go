package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// endpoints is the proof that dead endpoints cost the others nothing: one pipe
// delivers to thousands of URLs, first all alive and then some dead, at the same
// rate. What is compared is how long records take from the topic to a healthy
// endpoint, and klamm's memory. Dead endpoints answer 503, break the connection or
// do not answer, in turn.
type endpoints struct {
	*stage
	count      int
	dead       int // per cent
	partitions int
	rate       int           // records a second
	lasting    time.Duration // of a round
	rounds     int           // of each kind
	inFlight   int
	growth     int64 // bytes that memory may grow by
}

// A round is one run of klamm.
type round struct {
	dead    int // endpoints
	p50     time.Duration
	p99     time.Duration
	healthy int   // records that arrived at healthy endpoints, each for the first time
	missing int   // records for healthy endpoints that did not arrive
	memory  int64 // most that was resident
}

// longest is how long records are waited for at the end of a round; those that have
// not come by then are missing, and count as taken so long.
const longest = time.Minute

func endpointsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	e := &endpoints{stage: s}
	flags.IntVar(&e.count, "endpoints", 10_000, "how many")
	flags.IntVar(&e.dead, "dead", 5, "per cent of them that are dead")
	flags.IntVar(&e.partitions, "partitions", 12, "partitions of the topic")
	flags.IntVar(&e.rate, "rate", 500, "records a second")
	flags.DurationVar(&e.lasting, "lasting", 30*time.Second, "how long a round measures")
	flags.IntVar(&e.rounds, "rounds", 3, "rounds with dead endpoints, and as many without")
	flags.IntVar(&e.inFlight, "in-flight", 256, "requests at once")
	flags.Int64Var(&e.growth, "growth", 20e6, "bytes that memory may grow by")
	return func(ctx context.Context) (bool, error) {
		if e.count < 1 || e.dead < 0 || e.dead > 99 || e.partitions < 1 || e.rate < 1 || e.lasting <= 0 || e.rounds < 1 || e.inFlight < 1 {
			return false, errors.New("a number is out of range")
		}
		return e.run(ctx)
	}
}

// run returns whether the proof holds.
func (e *endpoints) run(ctx context.Context) (bool, error) {
	var alive, some []round
	for i := range 2 * e.rounds {
		dead := 0
		if i%2 == 1 {
			dead = e.count * e.dead / 100
		}
		e.say("round %d of %d: %d of %d endpoints are dead", i+1, 2*e.rounds, dead, e.count)
		r, err := e.round(ctx, dead)
		if err != nil {
			return false, err
		}
		e.say("p99 %s, %d records missing, %.1f MB", r.p99, r.missing, float64(r.memory)/1e6)
		if dead == 0 {
			alive = append(alive, r)
		} else {
			some = append(some, r)
		}
	}
	return e.report(alive, some), nil
}

// A letter is what a record says.
type letter struct {
	N  int   `json:"n"`
	To int   `json:"to"`
	At int64 `json:"at"` // when it was written, in Unix nanoseconds
}

// A street is all endpoints of a round. Those with the lowest numbers are dead.
type street struct {
	dead int
	mu   sync.Mutex
	took map[int]time.Duration // by the number of a record for a healthy endpoint
}

func (s *street) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var l letter
	err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<16)).Decode(&l)
	if to, wrong := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/to/")); err != nil || wrong != nil || to != l.To {
		w.WriteHeader(http.StatusBadRequest) // for good: the record is missing in the end
		return
	}
	if l.To < s.dead {
		switch l.To % 3 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			panic(http.ErrAbortHandler)
		default:
			<-req.Context().Done()
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.took[l.N]; !known {
		s.took[l.N] = time.Since(time.Unix(0, l.At))
	}
}

// round runs a klamm of its own.
func (e *endpoints) round(ctx context.Context, dead int) (round, error) {
	st := &street{dead: dead, took: map[int]time.Duration{}}
	url, stop, err := listen(st)
	if err != nil {
		return round{}, err
	}
	defer stop()
	topic, err := e.topic(ctx, int32(e.partitions))
	if err != nil {
		return round{}, err
	}
	p, err := e.start(fmt.Sprintf(`pipes:
  - name: chaos
    topics: [%[1]s]
    group: %[1]s
    start: earliest
    target: {webhook: {url: "%[2]s/to/<$.value.to>"}}
    delivery: {in_flight: %[3]d, timeout: 1s, attempts: 3, backoff: {min: 100ms, max: 1s}}
`, topic, url, e.inFlight))
	if err != nil {
		return round{}, err
	}
	defer p.kill()
	if err := e.until(ctx, "the pipe has its partitions", patience, func() bool {
		g, err := e.cluster.Group(ctx, topic)
		return err == nil && g.State == "STABLE" && len(g.Members) == 1 && len(g.Members[0].Assigned) == e.partitions
	}); err != nil {
		return round{}, err
	}
	// All endpoints and connections are warm before the clock counts.
	warm := e.count
	written, err := e.write(ctx, topic, warm)
	if err != nil {
		return round{}, err
	}
	healthy := 0
	for n := warm; n < written; n++ {
		if e.to(n) >= dead {
			healthy++
		}
	}
	seen := func() (took []time.Duration) {
		st.mu.Lock()
		defer st.mu.Unlock()
		for n, d := range st.took {
			if n >= warm {
				took = append(took, d)
			}
		}
		return took
	}
	r := round{dead: dead}
	err = e.until(ctx, "all records for healthy endpoints have arrived", longest, func() bool { return len(seen()) >= healthy })
	if err != nil && (ctx.Err() != nil || e.failed() != nil) {
		return r, err
	}
	if r.memory, err = p.peak(); err != nil {
		return r, err
	}
	took := seen()
	r.healthy, r.missing = len(took), healthy-len(took)
	for range r.missing {
		took = append(took, longest)
	}
	if len(took) == 0 {
		return r, errors.New("no record was for a healthy endpoint")
	}
	slices.Sort(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// to returns which endpoint a record is for: all in turn, in an order in which the
// dead ones are spread.
func (e *endpoints) to(n int) int { return int(uint64(n) * 7_919 % uint64(e.count)) }

// write writes first as many records as there are endpoints, at twice the rate,
// and then what the round measures. It returns how many that were.
func (e *endpoints) write(ctx context.Context, topic string, warm int) (n int, err error) {
	client, err := e.writer(kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	total := warm + int(e.lasting.Seconds()*float64(e.rate))
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	begun := time.Now()
	warmed := begun
	for n < total {
		due := int(time.Since(begun).Seconds() * float64(2*e.rate))
		if n >= warm {
			due = warm + int(time.Since(warmed).Seconds()*float64(e.rate))
		} else {
			due, warmed = min(due, warm), time.Now()
		}
		for ; n < min(due, total); n++ {
			text, err := json.Marshal(letter{N: n, To: e.to(n), At: time.Now().UnixNano()})
			if err != nil {
				return n, err
			}
			client.Produce(ctx, &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(e.to(n)), 10), Value: text}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		if err := failed.Load(); err != nil {
			return n, fmt.Errorf("write the records: %w", *err)
		}
		if err := e.failed(); err != nil {
			return n, err
		}
		select {
		case <-ctx.Done():
			return n, context.Cause(ctx)
		case <-look.C:
		}
	}
	return n, client.Flush(ctx)
}

// report compares the medians of the rounds. The p99 counts as unchanged if it is
// not beyond that of the rounds without dead endpoints by a quarter and 5 ms,
// which is how much it moves by itself on a machine with other work.
func (e *endpoints) report(alive, some []round) bool {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\ndead\tof\thealthy p50\thealthy p99\tarrived\tmissing\tmemory\n")
	missing := 0
	for _, r := range append(slices.Clone(alive), some...) {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%d\t%.1f MB\n", r.dead, e.count, r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.healthy, r.missing, float64(r.memory)/1e6)
		missing += r.missing
	}
	p99 := func(r round) int64 { return int64(r.p99) }
	memory := func(r round) int64 { return r.memory }
	before, after := time.Duration(median(alive, p99)), time.Duration(median(some, p99))
	bound := before + before/4 + 5*time.Millisecond
	grown := median(some, memory) - median(alive, memory)
	fmt.Fprintf(w, "\nhealthy p99, median\t%s without dead endpoints\t%s with\tat most %s\n", before.Round(10*time.Microsecond), after.Round(10*time.Microsecond), bound.Round(10*time.Microsecond))
	fmt.Fprintf(w, "memory grows by\t%.1f MB\t\tat most %.0f MB\n", float64(grown)/1e6, float64(e.growth)/1e6)
	fmt.Fprintf(w, "missing at healthy endpoints\t%d\t\tmust be 0\n", missing)
	_ = w.Flush()
	holds := missing == 0 && after <= bound && grown <= e.growth
	fmt.Fprintf(e.out, "%s\n", outcome(holds))
	return holds
}

// median returns the middle of a figure of rounds.
func median(rounds []round, of func(round) int64) int64 {
	var all []int64
	for _, r := range rounds {
		all = append(all, of(r))
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
