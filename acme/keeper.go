package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/klamm-gateway/klamm/secret"
)

// orderFor bounds an order, without dns_wait.
const orderFor = 15 * time.Minute

// A pace is how fast a Keeper goes about it.
type pace struct {
	look  time.Duration // between two looks at what is stored
	turn  time.Duration // between two looks whether another process has finished
	poll  time.Duration // between two questions whether the authority has finished
	retry time.Duration // after a first failure
	stale time.Duration // after which a process that orders counts for nothing
}

var usual = pace{look: time.Minute, turn: 2 * time.Second, poll: pollEvery, retry: 2 * time.Minute, stale: time.Minute}

// Env is what a Keeper may use.
type Env struct {
	// Read reads a file that the configuration names.
	Read func(path string) ([]byte, error)
	// Secret looks the key of the external account up.
	Secret secret.Lookup
	Log    *slog.Logger
}

// A Keeper keeps one certificate in its directory. What it answers may be asked at any
// time; Run belongs to one goroutine.
type Keeper struct {
	cfg   Config
	env   Env
	log   *slog.Logger
	store store
	name  string
	pace  pace
	now   func() time.Time
	where float64 // of the time around two thirds of a life, from -1 to 1

	// What follows belongs to Run.
	lease  *lease
	known  protocol.Account // once it is opened
	advice advice
	said   string    // the kind of failure that was logged last
	broken string    // what was logged of a stored certificate
	rested time.Time // before which nothing is ordered after our last order, whatever is stored

	succeeded, failed atomic.Int64
}

// Open makes a keeper. It talks to nobody and writes nothing before Run. The error says
// that the file of roots or the key of the external account cannot be read.
func Open(ctx context.Context, cfg Config, env Env) (*Keeper, error) {
	cfg = cfg.normal()
	if len(cfg.Names) == 0 {
		return nil, errors.New("acme: names: want the names that the certificate is for")
	}
	k := &Keeper{
		cfg: cfg, env: env, log: env.Log, store: store{cfg.Storage}, name: cfg.name(), pace: usual, now: time.Now, where: 2*rand.Float64() - 1,
		lease: newLease(store{cfg.Storage}.lock(), usual.stale),
	}
	if _, err := k.roots(); err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	if !cfg.EAB.Key.IsZero() {
		if _, err := env.Secret(ctx, cfg.EAB.Key); err != nil {
			return nil, fmt.Errorf("acme: eab.key: %w", err)
		}
	}
	return k, nil
}

// Names are those that the certificate is for. They are not to be changed.
func (k *Keeper) Names() []string { return k.cfg.Names }

// Certificate returns what is to be shown now: the stored certificate, or until there is
// one that of an earlier configuration for one of the names; nil: there is none. The
// error says that a stored file cannot be used, and comes with what there is instead.
func (k *Keeper) Certificate() (*tls.Certificate, error) {
	return k.store.best(k.name, k.cfg.Names)
}

// Renewals returns how many orders have gone well, and how many have not.
func (k *Keeper) Renewals() (succeeded, failed int64) {
	return k.succeeded.Load(), k.failed.Load()
}

// Run keeps the certificate until ctx ends. What goes wrong is logged, once a kind, and
// tried again later.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := k.step(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// step does what there is to do, and returns when to look again.
func (k *Keeper) step(ctx context.Context) time.Duration {
	wait, needed := k.needed(ctx)
	if !needed {
		return wait
	}
	err := k.store.prepare()
	if err == nil {
		var ours bool
		if ours, err = k.lease.take(); err == nil && !ours {
			return k.pace.turn
		}
	}
	if err != nil {
		k.fail(fmt.Errorf("acme: storage: %w", err), k.pace.look)
		return k.pace.look
	}
	k.lease.during(ctx, func(ctx context.Context) {
		if wait, needed = k.needed(ctx); needed { // nobody was faster
			wait = k.renew(ctx)
		}
	})
	return wait
}

// needed says whether a certificate is to be ordered now, and if not, when to look
// again.
func (k *Keeper) needed(ctx context.Context) (time.Duration, bool) {
	now, at := k.now(), time.Time{}
	p := k.store.readProgress(k.name, k.cfg.attempt())
	if c, err := k.stored(); err == nil && k.good(c.Leaf) {
		at = k.due(ctx, c.Leaf)
	} else if p.Failures == 0 { // somebody has taken it away
		p.NotBefore = k.rested
	}
	if p.NotBefore.After(at) && p.NotBefore.Before(now.Add(2*longestTold)) {
		at = p.NotBefore
	}
	if wait := at.Sub(now); wait > 0 {
		return min(wait, k.pace.look), false
	}
	return 0, true
}

// good says whether a certificate is what the configuration asks for.
func (k *Keeper) good(leaf *x509.Certificate) bool {
	for _, n := range k.cfg.Names {
		if !covers(leaf, n) {
			return false
		}
	}
	return true
}

// stored returns the certificate of this configuration. One that cannot be used is told
// of once.
func (k *Keeper) stored() (*tls.Certificate, error) {
	c, err := k.store.read(k.store.certificate(k.name))
	if err == nil {
		k.broken = ""
	} else if text := err.Error(); !errors.Is(err, fs.ErrNotExist) && text != k.broken {
		k.broken = text
		k.log.Error("a stored certificate cannot be used; another one is ordered", "err", err)
	}
	return c, err
}

// renew orders a certificate and stores it, and returns when to look again. The lease is
// held.
func (k *Keeper) renew(ctx context.Context) time.Duration {
	p := k.store.readProgress(k.name, k.cfg.attempt())
	var replaced *x509.Certificate
	if c, err := k.stored(); err == nil && p.Failures == 0 {
		replaced = c.Leaf // after a failure it is left out, as it may be the reason
	}
	// What is written before it begins counts for an order that klamm does not survive.
	p.Failures++
	p.NotBefore = k.now().Add(pause(k.pace.retry, p.Failures, 0))
	if err := k.store.writeProgress(k.name, p); err != nil {
		k.fail(fmt.Errorf("acme: storage: %w", err), k.pace.look)
		return k.pace.look
	}
	k.store.sweep()
	leaf, told, err := k.obtain(ctx, replaced)
	if err != nil && ctx.Err() != nil {
		// Broken off by a reload, a stop or another process; nobody's failure.
		p.Failures--
		p.NotBefore = k.now().Add(k.pace.turn)
		_ = k.store.writeProgress(k.name, p)
		return k.pace.turn
	}
	if err != nil {
		wait := pause(k.pace.retry, p.Failures, told)
		p.NotBefore, p.Error = k.now().Add(wait), bounded(err.Error())
		k.fail(errors.Join(err, k.store.writeProgress(k.name, p)), wait)
		return min(wait, k.pace.look)
	}
	k.rested = k.now().Add(respite(leaf))
	p = progress{Of: p.Of, NotBefore: k.rested}
	if err := k.store.writeProgress(k.name, p); err != nil {
		k.log.Warn("what became of an order cannot be written down", "err", err)
	}
	k.said = ""
	k.succeeded.Add(1)
	k.log.Info("certificate issued by ACME", "names", k.cfg.Names, "authority", k.cfg.DirectoryURL, "serial", leaf.SerialNumber.Text(16), "ends", leaf.NotAfter)
	return 0
}

// obtain orders and stores. Told is how long the authority wants to be left alone.
func (k *Keeper) obtain(ctx context.Context, replaced *x509.Certificate) (leaf *x509.Certificate, told time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, orderFor+k.cfg.DNSWait)
	defer cancel()
	c, err := k.client()
	if err != nil {
		return nil, 0, err
	}
	defer c.close()
	text, leaf, err := k.order(ctx, c, replaced)
	if err != nil {
		return nil, c.transport.told(), err
	}
	return leaf, 0, writeFile(k.store.certificate(k.name), text)
}

// fail tells of a failure.
func (k *Keeper) fail(err error, wait time.Duration) {
	k.failed.Add(1)
	kind := err.Error()
	if problem, ok := errors.AsType[protocol.Problem](err); ok {
		kind = problem.Type // their texts hold numbers that are new each time
	}
	level := slog.LevelError
	if kind == k.said {
		level = slog.LevelDebug
	}
	k.said = kind
	k.log.Log(context.Background(), level, "no certificate by ACME", "names", k.cfg.Names, "authority", k.cfg.DirectoryURL, "again_in", wait.Round(time.Second), "err", bounded(err.Error()))
}
