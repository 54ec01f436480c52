package gate

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// idempotencyTopic is the compacted topic that the keys of all processes lie in.
const idempotencyTopic = "__klamm_idempotency"

const (
	// tidyEvery is how often what has expired is removed. Every process does it,
	// at times of its own.
	tidyEvery = 10 * time.Second
	// tidyBatch is how many keys are removed at once.
	tidyBatch = 1000
	// spared is how long an answer is kept even if there are too many.
	spared = 10 * time.Minute
	// reopenAfter is how long a table that could not be opened is left alone.
	reopenAfter = time.Second
)

// Claims keeps the keys of requests that may be repeated, and the answers to
// them, in a table that all processes share (gateway-policies.md 6.6). The table
// is opened by the first request that needs it, so klamm starts without a broker,
// and a topic is made only where somebody uses it.
//
// Keys are removed when they expire. Where there are nearly as many as the
// configuration allows, the oldest answers go early, but none within ten minutes;
// if that does not help, no new key is taken.
type Claims struct {
	cluster *kafka.Cluster
	cfg     Idempotency
	log     *slog.Logger
	metrics claimMetrics

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	parts  sync.WaitGroup // goroutines that open and tidy

	mu      sync.Mutex // guards what follows
	ledger  *ledger    // nil: not open
	opening chan struct{}
	failed  time.Time // when opening failed last
	closed  bool
}

type claimMetrics struct {
	requests   *prometheus.CounterVec
	evicted    prometheus.Counter
	unfinished prometheus.Counter
	keys       prometheus.Gauge
	bytes      prometheus.Gauge
}

// NewClaims returns the keys of a cluster. It does not wait for a broker.
func NewClaims(cluster *kafka.Cluster, cfg Idempotency, r prometheus.Registerer, log *slog.Logger) *Claims {
	c := &Claims{cluster: cluster, cfg: cfg.WithDefaults(), log: log, metrics: claimMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klamm_gate_idempotency_requests_total", Help: "Requests under an idempotency key or with a delivery id, by outcome: first, repeated, running, reused, refused, unavailable.",
		}, []string{"outcome"}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klamm_gate_idempotency_evicted_total", Help: "Answers that were forgotten before their time because there were too many.",
		}),
		unfinished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klamm_gate_idempotency_unfinished_total", Help: "Requests whose answer could not be kept: a repetition may write their records again.",
		}),
		keys:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "klamm_gate_idempotency_keys", Help: "Idempotency keys and delivery ids that are kept."}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "klamm_gate_idempotency_bytes", Help: "Bytes that the kept answers take."}),
	}}
	r.MustRegister(c.metrics.requests, c.metrics.evicted, c.metrics.unfinished, c.metrics.keys, c.metrics.bytes)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Config returns the configuration with its defaults.
func (c *Claims) Config() Idempotency { return c.cfg }

// Close ends the claims within about five seconds. Requests after it are
// Unavailable. It may be called more than once.
func (c *Claims) Close() {
	c.mu.Lock()
	c.closed = true
	l := c.ledger
	c.ledger = nil
	c.mu.Unlock()
	c.cancel()
	if l != nil {
		l.table.Close()
	}
	c.parts.Wait()
}

// Prepare opens the table and writes to it, so that the first request finds it
// ready. Its errors are those of a claim that cannot begin; requests may come
// nevertheless.
func (c *Claims) Prepare(ctx context.Context) error {
	claim := c.New([]string{"prepare"}, time.Now().String(), time.Second)
	if err := claim.begin(ctx); err != nil {
		return err
	}
	return claim.Abandon()
}

// A ledger is an open table with what must be known to bound it.
type ledger struct {
	table *table.Table
	cfg   Idempotency
	tidy  chan struct{} // asks for a look before its time
	over  chan struct{} // closed when the ledger is given up

	written atomic.Bool // by this process

	mu    sync.Mutex // guards what follows
	all   map[string]account
	bytes int64
}

// An account is what a ledger knows of one key.
type account struct {
	version          table.Version
	expires, written time.Time
	bytes            int64
	done             bool
}

// An aged is a key with what the ledger knew of it when it was found to be due.
type aged struct {
	key string
	account
}

// open returns the ledger, and waits for it until ctx ends if it is not open yet.
func (c *Claims) open(ctx context.Context) (*ledger, error) {
	c.mu.Lock()
	if c.ledger != nil {
		defer c.mu.Unlock()
		return c.ledger, nil
	}
	if c.closed || c.opening == nil && time.Since(c.failed) < reopenAfter {
		c.mu.Unlock()
		return nil, unreached(nil)
	}
	if c.opening == nil {
		c.opening = make(chan struct{})
		c.parts.Go(c.openTable)
	}
	opened := c.opening
	c.mu.Unlock()
	if err := c.cluster.Ready(ctx); err != nil {
		return nil, unreached(kafka.ErrUnreachable) // no use to wait for
	}
	select {
	case <-opened:
	case <-ctx.Done():
		return nil, unreached(kafka.ErrUnreachable)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ledger == nil {
		return nil, unreached(nil)
	}
	return c.ledger, nil
}

// openTable opens the table, however long brokers take to answer.
func (c *Claims) openTable() {
	t, err := table.Open(c.ctx, c.cluster, idempotencyTopic, table.Options{Log: c.log})
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.opening)
	c.opening = nil
	switch {
	case err != nil:
		c.failed = time.Now()
		if c.ctx.Err() == nil {
			c.log.Error("idempotency keys cannot be kept; requests with one are answered 503", "err", err)
		}
	case c.closed:
		c.parts.Go(t.Close)
	default:
		l := &ledger{table: t, cfg: c.cfg, tidy: make(chan struct{}, 1), over: make(chan struct{}), all: map[string]account{}}
		stop := t.Watch(func(changes []table.Change) {
			keys, bytes := l.see(changes)
			c.metrics.keys.Set(float64(keys))
			c.metrics.bytes.Set(float64(bytes))
		})
		c.ledger = l
		c.parts.Go(func() {
			defer stop()
			c.keepTidy(l)
		})
	}
}

// lost is the error for a table that failed. One that is gone for good is opened
// anew by the next request.
func (c *Claims) lost(l *ledger, err error) error {
	if errors.Is(err, table.ErrLost) {
		c.mu.Lock()
		if c.ledger == l {
			c.ledger = nil
			close(l.over)
			c.parts.Go(l.table.Close)
			c.log.Warn("the topic of the idempotency keys is gone; keys from before are forgotten", "topic", idempotencyTopic)
		}
		c.mu.Unlock()
	}
	c.log.Debug("idempotency keys", "err", err)
	return unreached(err)
}

// see takes changes of the table in.
func (l *ledger) see(changes []table.Change) (keys int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, change := range changes {
		l.bytes -= l.all[change.Key].bytes
		if change.Deleted {
			delete(l.all, change.Key)
			continue
		}
		k, _ := readKept(change.Value) // what cannot be read has expired
		a := account{version: change.Version, expires: k.expires, written: change.Time, bytes: int64(len(change.Key) + len(change.Value)), done: k.done}
		l.all[change.Key] = a
		l.bytes += a.bytes
	}
	return len(l.all), l.bytes
}

// full says whether no further key can be taken, and asks for room then.
func (l *ledger) full() bool {
	l.mu.Lock()
	full := len(l.all) >= l.cfg.Keys || l.bytes >= l.cfg.Bytes
	l.mu.Unlock()
	if full {
		select {
		case l.tidy <- struct{}{}:
		default:
		}
	}
	return full
}

// keepTidy removes keys until the ledger is closed.
func (c *Claims) keepTidy(l *ledger) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-l.over:
			return
		case <-l.tidy:
		case <-time.After(tidyEvery/2 + rand.N(tidyEvery)):
		}
		expired, evicted := l.due(time.Now())
		if _, err := l.remove(c.ctx, expired); err != nil {
			continue // the next look tries again
		}
		n, err := l.remove(c.ctx, evicted)
		if n > 0 {
			c.metrics.evicted.Add(float64(n))
			c.log.Warn("answers to requests with idempotency keys were forgotten before their time; see idempotency.keys and idempotency.bytes", "answers", n, "err", err)
		}
	}
}

// due returns the keys that have expired, and those that must go before their
// time: as many of the oldest as bring what is left down to four fifths of the
// limits, once it is over nine tenths.
func (l *ledger) due(now time.Time) (expired, evicted []aged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys, bytes := len(l.all), l.bytes
	var old []aged
	crowded := keys > l.cfg.Keys*9/10 || bytes > l.cfg.Bytes/10*9
	for key, a := range l.all {
		switch {
		case !now.Before(a.expires):
			expired = append(expired, aged{key, a})
			keys, bytes = keys-1, bytes-a.bytes
		case crowded && a.done && now.Sub(a.written) > spared:
			old = append(old, aged{key, a})
		}
	}
	if keys <= l.cfg.Keys*9/10 && bytes <= l.cfg.Bytes/10*9 {
		return expired, nil
	}
	slices.SortFunc(old, func(a, b aged) int { return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.key, b.key)) })
	for _, a := range old {
		if keys <= l.cfg.Keys/5*4 && bytes <= l.cfg.Bytes/5*4 {
			break
		}
		evicted = append(evicted, a)
		keys, bytes = keys-1, bytes-a.bytes
	}
	return expired, evicted
}

// remove removes keys unless somebody has used them again since they were due,
// and counts those that were still there.
func (l *ledger) remove(ctx context.Context, due []aged) (removed int, err error) {
	for batch := range slices.Chunk(due, tidyBatch) {
		n := 0
		err := l.table.Update(ctx, func(tx *table.Tx) error {
			n = 0
			for _, a := range batch {
				if e, ok := tx.Get(a.key); ok && e.Version == a.version {
					tx.Delete(a.key)
					n++
				}
			}
			return nil
		})
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}
