// Package replay carries out the replays of archives (event-bus.md 10).
//
// All processes of a cluster take part in a consumer group for each replay that is
// active, klamm-replay-NAME over the archive's topic, and one of them has all partitions;
// where it dies, another one goes on at the offsets that it has committed. A replay
// (job.go) fixes where the archive ends when it begins, and reads every event up to there
// once: from the archive's own topic and not from the bus's, since that has only what the
// archive's pattern has let through, and nothing that was replayed. Events go through a
// window (window.go) that brings earlier ones forward, and onto the bus's topic under the name of the replay, no faster than a rate. What the replay is and how
// far it has come is a document of the catalog, which the API reads and cancels.
package replay

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// defaultRate is how many events a replay puts on its bus in a second, at most, where the
// configuration does not say.
const defaultRate = 10_000

const (
	// lookEvery is how often the replays are looked at, news or not.
	lookEvery = 5 * time.Second
	// tidyEvery is how often replays that ended long ago are forgotten.
	tidyEvery = time.Hour
)

// A Config is what a Runner works with. All fields but Rate and Metrics are required.
type Config struct {
	Cluster *kafka.Cluster
	Store   *catalog.Store
	// Rate is how many events a second one replay puts on its bus; 0: 10,000.
	Rate    int
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// A Runner carries out replays, together with those of other processes.
type Runner struct {
	cfg      Config
	news     chan struct{}
	replayed prometheus.Counter
	jobs     map[string]*job // belongs to Run
	tidied   time.Time
}

// New returns a runner that works once Run is called. It has to be made before the store
// runs.
func New(cfg Config) *Runner {
	if cfg.Rate <= 0 {
		cfg.Rate = defaultRate
	}
	r := &Runner{cfg: cfg, news: make(chan struct{}, 1), jobs: map[string]*job{}, replayed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_replay_events_total", Help: "Events of archives that this process has put on their buses again.",
	})}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(r.replayed)
	}
	cfg.Store.Watch(func(keys []string) {
		for _, key := range keys {
			if strings.HasPrefix(key, catalog.KindReplay+"/") || strings.HasPrefix(key, catalog.KindArchive+"/") {
				select {
				case r.news <- struct{}{}:
				default:
				}
				return
			}
		}
	})
	return r
}

// Run takes part in replays until ctx ends. What is under way then is finished and
// committed.
func (r *Runner) Run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-r.cfg.Store.Opened():
	}
	var running sync.WaitGroup
	defer running.Wait()
	r.tidied = time.Now()
	timer := time.NewTicker(lookEvery)
	defer timer.Stop()
	for {
		r.look(ctx, &running)
		if time.Since(r.tidied) > tidyEvery {
			r.tidied = time.Now()
			r.tidy(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.news:
		}
	}
}

// look starts and ends jobs as the catalog says.
func (r *Runner) look(ctx context.Context, running *sync.WaitGroup) {
	docs, err := r.cfg.Store.List(ctx, catalog.KindReplay, "")
	if err != nil {
		return // the store says what is wrong
	}
	active := map[string]bool{}
	for _, doc := range docs {
		b, ok := read(doc)
		if !ok || !b.Active() {
			continue
		}
		active[doc.Name] = true
		if j := r.jobs[doc.Name]; j != nil {
			j.wake()
			continue
		}
		j := newJob(r, doc.Name, b)
		jobCtx, cancel := context.WithCancel(ctx)
		j.cancel = cancel
		r.jobs[doc.Name] = j
		running.Go(func() { j.run(jobCtx) })
	}
	for name, j := range r.jobs {
		if !active[name] {
			j.cancel()
			delete(r.jobs, name)
		}
	}
}

// tidy forgets replays that ended long ago.
func (r *Runner) tidy(ctx context.Context) {
	docs, err := r.cfg.Store.List(ctx, catalog.KindReplay, "")
	if err != nil {
		return
	}
	for _, doc := range docs {
		b, ok := read(doc)
		if !ok || b.Active() || time.Since(time.UnixMilli(b.Ended)) < catalog.ReplaysKept {
			continue
		}
		if err := r.cfg.Store.Delete(ctx, catalog.KindReplay, doc.Name, doc.Version); err != nil && !errors.Is(err, catalog.ErrConflict) && !errors.Is(err, catalog.ErrNotFound) {
			r.cfg.Log.Warn("a replay of long ago cannot be forgotten", "replay", doc.Name, "err", err)
			return
		}
	}
}

func read(doc catalog.Document) (b catalog.Replay, ok bool) {
	return b, json.Unmarshal(doc.Body, &b) == nil
}
