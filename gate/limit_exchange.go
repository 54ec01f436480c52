package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

const (
	// usageTopic holds the counters of quotas.
	usageTopic = "__klamm_usage"
	// exchangeEvery is how often counters are exchanged where nothing makes it
	// happen earlier.
	exchangeEvery = 10 * time.Second
	// exchangePatience is how long a call waits for an exchange.
	exchangePatience = 10 * time.Second
	// silentFor is how long a process may be silent and is still one of those that
	// share what is left.
	silentFor = 25 * time.Second
	// forgetAfter is when the entry of a process is removed that has ended without a
	// word.
	forgetAfter = time.Hour
	// mostExchanged bounds the bytes of the counters of one transaction.
	mostExchanged = table.MaxUpdateBytes / 2
)

// processPrefix begins the keys of processes in the table. What a process writes about
// itself is the number of its last exchange: an exchange whose outcome is not known is
// repeated, and counts once.
const processPrefix = "process/"

// An exchange adds what is used here to the counters that all processes share. One
// goroutine does it.
type exchange struct {
	id      string
	log     *slog.Logger
	every   time.Duration
	ctx     context.Context // of the goroutine
	end     context.CancelFunc
	running sync.WaitGroup
	opened  chan struct{}               // closed when table is set
	table   atomic.Pointer[table.Table] // nil: it is being opened
	now     chan struct{}               // holds a token: exchange at once
	gone    chan struct{}               // closed when the goroutine has ended
	// processes is how many share what is left; at least 1.
	processes atomic.Int64
	failed    prometheus.Counter
	done      chan struct{} // closed and replaced at each exchange that succeeds; guarded by plans.mu
	batch     int64         // the number of the last exchange; belongs to the goroutine
}

// newPlans returns plans whose counters are kept in a cluster. It begins to read them
// at once, and has to be closed.
func newPlans(list []UsagePlan, cluster *kafka.Cluster, every time.Duration, metrics prometheus.Registerer, log *slog.Logger) *plans {
	p := newPlanList(list)
	var id [12]byte
	_, _ = rand.Read(id[:])
	p.ex.id, p.ex.log, p.ex.every = hex.EncodeToString(id[:]), log, every
	p.ex.opened, p.ex.now, p.ex.done, p.ex.gone = make(chan struct{}), make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	p.ex.processes.Store(1)
	p.ex.failed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_usage_exchange_failures_total", Help: "Exchanges of the counters of quotas that have failed; they are repeated.",
	})
	metrics.MustRegister(p.ex.failed)
	p.ex.ctx, p.ex.end = context.WithCancel(context.Background())
	quotas := false
	for _, one := range p.list {
		quotas = quotas || one.Quota != nil
	}
	if !quotas {
		close(p.ex.opened)
		return p
	}
	p.ex.running.Go(func() { p.run(cluster) })
	return p
}

// close exchanges a last time, and ends the goroutine.
func (p *plans) close() {
	p.ex.end()
	p.ex.running.Wait()
}

// run opens the table and exchanges until close.
func (p *plans) run(cluster *kafka.Cluster) {
	ex := &p.ex
	defer close(ex.gone)
	for {
		t, err := table.Open(ex.ctx, cluster, usageTopic, table.Options{Log: ex.log})
		if err == nil {
			ex.table.Store(t)
			break
		}
		if ex.ctx.Err() != nil {
			return
		}
		ex.log.Warn("the counters of quotas cannot be read", "err", err)
		if sleep(ex.ctx, time.Second) != nil {
			return
		}
	}
	defer ex.table.Load().Close()
	p.reread(nil)
	_ = p.settle(ex.ctx) // from now on the others know that there is one more
	close(ex.opened)
	stop := ex.table.Load().Watch(p.reread)
	defer stop()
	tick := time.NewTicker(ex.every)
	defer tick.Stop()
	for {
		select {
		case <-ex.ctx.Done():
			p.leave()
			return
		case <-tick.C:
		case <-ex.now:
		}
		if err := p.settle(ex.ctx); err != nil && ex.ctx.Err() == nil {
			ex.failed.Inc()
			ex.log.Warn("the counters of quotas could not be exchanged; it is tried again", "err", err)
			_ = sleep(ex.ctx, time.Second)
			ex.kick()
		}
	}
}

// leave writes what is left to write when the process ends.
func (p *plans) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := p.settle(ctx); err != nil {
		p.ex.log.Warn("what was used of quotas last could not be written", "err", err)
	}
	_ = p.ex.table.Load().Delete(ctx, processPrefix+p.ex.id, table.Any) // else it is forgotten in a while
}

// await waits until the counters have been read.
func (ex *exchange) await(ctx context.Context) error {
	select {
	case <-ex.opened:
		return nil
	default:
	}
	t := time.NewTimer(exchangePatience)
	defer t.Stop()
	select {
	case <-ex.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return &Error{Unavailable, "the counters of usage plans cannot be read yet; try again"}
	}
}

// next returns what is closed when everything that is used by now was exchanged, for
// whoever has the lock.
func (ex *exchange) next() <-chan struct{} { return ex.done }

// flush waits until everything that was used before it is exchanged.
func (p *plans) flush(ctx context.Context) error {
	for range 2 { // one that is under way may have begun before
		p.mu.Lock()
		settled, done := true, p.ex.next()
		for _, c := range p.counters {
			settled = settled && c.waiting == 0 && c.sending == 0
		}
		p.mu.Unlock()
		if settled {
			break
		}
		if err := p.ex.ask(ctx, done); err != nil {
			return err
		}
	}
	return nil
}

// ask has an exchange made and waits for it.
func (ex *exchange) ask(ctx context.Context, done <-chan struct{}) error {
	ex.kick()
	t := time.NewTimer(exchangePatience)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return &Error{Unavailable, "the counters of usage plans cannot be exchanged with the other processes now; try again"}
	}
}

func (ex *exchange) kick() {
	select {
	case ex.now <- struct{}{}:
	default:
	}
}

// get returns a counter of the table.
func (ex *exchange) get(name string) (u usage, ok bool) {
	t := ex.table.Load()
	if t == nil {
		return u, false
	}
	e, ok := t.Get(name)
	if !ok {
		return u, false
	}
	return decodeUsage(e.Value)
}

// of lists the counters of a plan.
func (ex *exchange) of(plan string) (list []usage) {
	t := ex.table.Load()
	if t == nil {
		return nil
	}
	for _, e := range t.List(usagePrefix + plan + "/") {
		if u, ok := decodeUsage(e.Value); ok {
			list = append(list, u)
		}
	}
	return list
}

// reread takes over what others have written; of nil, everything. Who has used more
// than its share of what is left now, exchanges.
func (p *plans) reread(changes []table.Change) {
	names, others := map[string]bool{}, changes == nil
	for _, c := range changes {
		names[c.Key] = true
		others = others || strings.HasPrefix(c.Key, processPrefix)
	}
	if others {
		p.ex.count()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.counters {
		if changes != nil && !names[c.name()] {
			continue
		}
		p.read(c)
		if c.waiting > c.share(p.ex.processes.Load()) {
			p.ex.kick()
		}
	}
}

// count finds out how many processes there are.
func (ex *exchange) count() {
	n, now := int64(1), time.Now()
	for _, e := range ex.table.Load().List(processPrefix) {
		if e.Key != processPrefix+ex.id && now.Sub(e.Time) < silentFor {
			n++
		}
	}
	ex.processes.Store(n)
}

// settle exchanges everything that is used by now.
func (p *plans) settle(ctx context.Context) error {
	p.mu.Lock()
	done := p.ex.done
	var list []*counter
	for _, c := range p.counters {
		p.roll(c)
		if c.sending == 0 {
			c.sending, c.waiting = c.waiting, 0
		}
		if c.sending != 0 || len(c.demands) > 0 {
			list = append(list, c)
		}
	}
	p.mu.Unlock()
	for {
		batch, size := list[:0:0], 0
		for len(list) > 0 && size < mostExchanged {
			batch, size = append(batch, list[0]), size+len(list[0].name())+len(list[0].key)+150
			list = list[1:]
		}
		if err := p.send(ctx, batch); err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
	}
	p.ex.count()
	p.mu.Lock()
	p.ex.done = make(chan struct{})
	p.mu.Unlock()
	close(done)
	return nil
}

// delta is what one counter is to be changed by.
type delta struct {
	*counter
	name    string
	period  time.Time
	n       int64
	demands []*demand
}

// send writes some counters and the sign of life of this process in one transaction.
func (p *plans) send(ctx context.Context, batch []*counter) error {
	p.mu.Lock()
	deltas := make([]delta, 0, len(batch))
	for _, c := range batch {
		deltas = append(deltas, delta{c, c.name(), c.period, c.sending, c.demands})
		c.demands = nil
	}
	p.mu.Unlock()
	ex := &p.ex
	ex.batch++
	own, _ := json.Marshal(ex.batch)             // a number always can be
	var granted atomic.Pointer[map[*demand]bool] // of the last attempt: one that was given up may still be under way
	postponed := false
	for doubt := false; ; doubt = true {
		err := ex.table.Load().Update(ctx, func(tx *table.Tx) error {
			if e, ok := tx.Get(processPrefix + ex.id); ok && string(e.Value) == string(own) {
				return errDone // the last attempt has been done after all
			}
			tx.Put(processPrefix+ex.id, own)
			passing := map[*demand]bool{}
			for _, d := range deltas {
				e, ok := tx.Get(d.name)
				u := usage{}
				if ok {
					u, ok = decodeUsage(e.Value)
				}
				u = u.plus(d.key, d.plan.Quota.kind(), d.period.Unix(), d.n, ok).grant(d.plan.Quota, d.demands, passing)
				b, _ := json.Marshal(u) // of texts and numbers
				tx.Put(d.name, b)
			}
			ex.sweep(tx)
			granted.Store(&passing)
			return nil
		})
		if err == nil || errors.Is(err, errDone) {
			break
		}
		if !errors.Is(err, table.ErrUnknown) {
			p.postpone(deltas)
			postponed = true
			if doubt { // it is over; what is in doubt is not counted twice
				break
			}
			return fmt.Errorf("exchange what was used of quotas: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range deltas {
		d := &deltas[i]
		if d.period.Equal(d.counter.period) {
			d.sending = 0
			p.read(d.counter)
		}
		if !postponed {
			d.decide(*granted.Load())
		}
	}
	return nil
}

var errDone = errors.New("it is done")

// sweep removes processes that have ended long ago.
func (ex *exchange) sweep(tx *table.Tx) {
	for _, e := range tx.List(processPrefix) {
		if e.Version != table.Absent && time.Since(e.Time) > forgetAfter {
			tx.Delete(e.Key)
		}
	}
}
