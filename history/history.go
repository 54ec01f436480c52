// Package history keeps a short history of a klamm process in memory, so that trends
// can be drawn without a Prometheus: an hour at five seconds and a day at one minute, of
// a fixed list of series.
//
// A Keeper gathers the process's own Prometheus series (sample.go), makes rates and
// percentiles of them, and puts these into rings (ring.go). Of pipes, it keeps the
// busiest. Everything is bounded: a series takes 8.7 kB, and there are a few for the
// process and a few for each of a hundred pipes, 4.5 MB at most. Gathering is done less
// often where it takes long, so that it costs 0.1 % of a core at most, but each minute.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// step and wideStep lie between two points of the last hour and of the last day.
	step     = 5 * time.Second
	wideStep = time.Minute
	// mostPipes is of how many pipes a history is kept.
	mostPipes = 100
	// share is the part of a core that gathering may take: 1 of so many. A point a minute
	// is made whatever it takes.
	share = 1000
	// lagEvery and lagShare say how often brokers are asked how far pipes are behind.
	lagEvery = 15 * time.Second
	lagShare = 300
	lagTime  = time.Minute
)

// Spans that can be asked for.
const (
	Hour = time.Hour
	Day  = 24 * time.Hour
)

// The series of the process. Rates are per second, times in seconds. Requests are those
// of the front door without klamm's own API.
const (
	RequestsGood = "requests_2xx" // and 1xx and 3xx
	RequestsBad  = "requests_4xx"
	RequestsFail = "requests_5xx" // and those whose connection was cut
	LatencyP50   = "latency_p50"
	LatencyP95   = "latency_p95" // also of a pipe: of its attempts at delivery
	LatencyP99   = "latency_p99"
	Records      = "records" // handed to the brokers
	Bytes        = "bytes"
	Throttled    = "throttled"
	Memory       = "memory" // resident, in bytes
	Goroutines   = "goroutines"
)

// The series of a pipe, which are those of all pipes together where none is named.
const (
	Read      = "read"      // records that it is done with
	Delivered = "delivered" // records
	Failed    = "failed"    // attempts
	Lag       = "lag"       // records
)

var (
	ofProcess = []string{RequestsGood, RequestsBad, RequestsFail, LatencyP50, LatencyP95, LatencyP99, Records, Bytes, Throttled, Memory, Goroutines, Read, Delivered, Failed, Lag}
	ofPipe    = []string{Read, Delivered, Failed, Lag, LatencyP95}
)

// ErrNoPipe says that there is no history of a pipe: it is not there, or too many others
// are busier.
var ErrNoPipe = errors.New("no history of such a pipe is kept")

// A Config is what a Keeper looks at.
type Config struct {
	// Gather are the process's series. Those that the history is not made of cost time
	// for nothing.
	Gather prometheus.Gatherer
	// Lag returns how many records each pipe is behind; nil: nobody knows.
	Lag func(context.Context) (map[string]int64, error)
	Log *slog.Logger // required
}

// A Keeper keeps the history. It is safe for concurrent use.
type Keeper struct {
	cfg   Config
	began time.Time

	mu     sync.Mutex // guards what follows
	slot   int64      // of the last sample, counted from began; -1: there was none
	whole  map[string]*ring
	pipes  map[string]*kept
	before snapshot
	behind map[string]int64 // by pipe; nil: not known
	behold time.Time        // when that was found out
}

// kept is the history of a pipe.
type kept struct {
	rings map[string]*ring
	busy  float64 // records a second, the recent ones counting most
	seen  int64   // the slot in which it was there last
}

// New returns a keeper that has seen nothing yet.
func New(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, began: time.Now(), slot: -1, whole: map[string]*ring{}, pipes: map[string]*kept{}}
	for _, name := range ofProcess {
		k.whole[name] = newRing()
	}
	return k
}

// Run takes samples until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var asking sync.WaitGroup
	if k.cfg.Lag != nil {
		asking.Go(func() { k.follow(ctx) })
	}
	defer asking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var took [4]time.Duration // the last few: a busy machine makes one of them long
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		if err := k.sample(start); err != nil {
			k.cfg.Log.Debug("no sample for the history", "err", err)
		}
		took[n%len(took)] = time.Since(start)
		cost := took[n%len(took)]
		if n >= len(took) {
			cost = slices.Min(took[:])
		}
		timer.Reset(pauseFor(cost, time.Since(k.began)))
	}
}

// pauseFor is the pause behind a sample that took so long, so long after the beginning.
func pauseFor(cost, age time.Duration) time.Duration {
	return max(step-age%step, min(cost*share, wideStep))
}

// follow finds out how far pipes are behind.
func (k *Keeper) follow(ctx context.Context) {
	for pause := time.Second; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		asking, cancel := context.WithTimeout(ctx, lagTime)
		start := time.Now()
		behind, err := k.cfg.Lag(asking)
		cancel()
		pause = max(lagEvery, lagShare*time.Since(start))
		if err != nil {
			continue // what was known gets old
		}
		k.mu.Lock()
		k.behind, k.behold = behind, time.Now().Add(pause+lagEvery)
		k.mu.Unlock()
	}
}

// A Series is the history of one thing.
type Series struct {
	Name string `json:"name"`
	// Points are oldest first, one each step; null where nothing was measured.
	Points Points `json:"points"`
}

// An Answer is what a history tells.
type Answer struct {
	// From is the time of the first point, and Step the seconds between two.
	From time.Time `json:"from"`
	Step int       `json:"step"`
	// Series are those asked for, in their order.
	Series []Series `json:"series"`
	// Complete says that the history goes back to From: the process is that old.
	Complete bool `json:"complete"`
	// Pipes says of which pipes there is a history, the busiest, by name.
	Pipes []string `json:"pipes"`
	// Most is of how many there can be one.
	Most int `json:"most_pipes"`
}

// Tell returns the history of some series; of a pipe if one is named. No names are all
// of them. Errors are ErrNoPipe, and others for names and spans that there are not.
func (k *Keeper) Tell(names []string, pipe string, span time.Duration) (Answer, error) {
	if span != Hour && span != Day {
		return Answer{}, errors.New("span: want 1h or 24h")
	}
	known := ofProcess
	if pipe != "" {
		known = ofPipe
	}
	if len(names) == 0 {
		names = known
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	rings := k.whole
	if pipe != "" {
		one := k.pipes[pipe]
		if one == nil {
			return Answer{}, fmt.Errorf("%w: %q; it is that of the %d busiest pipes", ErrNoPipe, pipe, mostPipes)
		}
		rings = one.rings
	}
	a := Answer{Step: int(step / time.Second), Most: mostPipes, Pipes: []string{}, Series: []Series{}}
	last, count, width := k.slot, int64(narrow), step
	if span == Day {
		last, count, width = k.slot/perWide, wide, wideStep
		a.Step = int(wideStep / time.Second)
	}
	last = max(last, 0)
	first := last - count + 1
	a.From, a.Complete = k.began.Add(time.Duration(first)*width).UTC().Truncate(time.Second), first >= 0
	for _, name := range names {
		if !slices.Contains(known, name) {
			return Answer{}, fmt.Errorf("series: there is no %q", name)
		}
		a.Series = append(a.Series, Series{name, rings[name].points(first, last, k.slot, span == Day)})
	}
	for name := range k.pipes {
		a.Pipes = append(a.Pipes, name)
	}
	slices.Sort(a.Pipes)
	return a, nil
}
