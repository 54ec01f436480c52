package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

// A takeover is a generation that is prepared, and how it comes to count.
type takeover struct {
	next    generation
	server  *front.Server
	metrics *staged
	commit  []func() // each switches one part over; none fails
	undo    []func() // each frees a part that was prepared, if none of them is to count
	freed   []func() // each frees a part that was replaced
}

func call(all []func()) {
	for _, f := range all {
		f()
	}
}

// replace prepares everything, and then takes it over. Nothing fails once that has
// begun. Retire frees what was replaced.
func (a *App) replace(ctx context.Context, cfg *config.Config, changed []string, forced bool) (retire func(), err error) {
	differs := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(changed, k) })
	}
	t := &takeover{next: a.now, metrics: &staged{to: a.registry}}
	t.next.cfg = cfg
	if err = a.prepare(ctx, t, differs, forced); err == nil {
		err = a.takeOver(t, differs("pipes"))
	}
	if err != nil {
		call(t.undo)
		return nil, err
	}
	return func() { call(t.freed) }, nil
}

// prepare makes the parts of the next generation that differ from those of the one that
// counts. With an error, undo frees those that were made.
func (a *App) prepare(ctx context.Context, t *takeover, differs func(keys ...string) bool, forced bool) (err error) {
	cfg := t.next.cfg
	if err = guardDoor(cfg); err != nil {
		return err
	}
	if t.next.links, t.next.firewall, err = wallOf(cfg); err != nil {
		return err
	}
	secured, err := a.secure(ctx, cfg)
	if err != nil {
		return err
	}
	t.commit = append(t.commit, secured)
	if err = a.tryOut(cfg); err != nil {
		return err
	}
	if a.now.auth != nil && (forced || differs("auth", "public_url", "waf", "console")) {
		if err = a.prepareChain(ctx, t); err != nil {
			return err
		}
	}
	if differs("limits", "usage_plans", "ratelimit") {
		t.next.limits = a.now.limits.Next(ctx, limitsOf(cfg), a.cluster, t.metrics, a.log)
		t.undo, t.freed = append(t.undo, t.next.limits.Close), append(t.freed, a.now.limits.Close)
	}
	if differs("access_log") {
		log, change, stay, err := a.relog(cfg.AccessLog)
		if err != nil {
			return err
		}
		t.next.log = log
		t.commit, t.undo = append(t.commit, change), append(t.undo, stay)
	}
	t.server, err = a.serverOf(ctx, t.next, a.server.Next)
	return err
}

// tryOut says what is wrong with the parts that takeOver changes in place.
func (a *App) tryOut(cfg *config.Config) error {
	if a.law != nil {
		if _, err := gate.NewAuthority(lawOf(cfg), nil, nil, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
	}
	if problems := checkShape(cfg); len(problems) > 0 {
		return errors.Join(problems...)
	}
	return a.checkPipes(cfg, a.now.cfg)
}

// prepareChain makes the authentication, and waits a while for the API keys it has.
func (a *App) prepareChain(ctx context.Context, t *takeover) (err error) {
	if t.next.auth, err = a.chainOf(ctx, t.next.cfg, t.next.links, t.metrics); err != nil {
		return err
	}
	t.undo, t.freed = append(t.undo, t.next.auth.Close), append(t.freed, a.now.auth.Close)
	if keys := t.next.auth.Keys(); keys != nil {
		within, cancel := context.WithTimeout(ctx, awaitKeys)
		defer cancel()
		_ = keys.Await(within) // without them, calls with such keys wait for it
	}
	return nil
}

// takeOver has what was prepared count. Its errors are those that tryOut would have
// found, so that there are none.
func (a *App) takeOver(t *takeover, pipes bool) error {
	cfg := t.next.cfg
	if a.law != nil {
		if err := a.law.Replace(a.lawOf(cfg)); err != nil {
			return err
		}
	}
	if err := a.revalidate(cfg); err != nil {
		return err
	}
	t.metrics.commit()
	call(t.commit)
	if links, err := front.NewLinks("", cfg.WAF.TrustedProxies); err == nil { // wallOf has made the same
		a.doors[0].limit.Change(cfg.Connections, links)
	}
	a.protection.Change(cfg.Adaptive)
	a.gate.Bound(cfg.Sizes.RecordsPerRequest())
	a.gate.Stamp(cfg.Stamping())
	if pipes {
		a.defined.definitions.ChangeFile(cfg.Pipes)
	}
	a.auth.Store(t.next.auth)
	a.limits = t.next.limits
	a.server.Become(t.server)
	a.now = t.next
	return nil
}

// relog prepares another access log. There is one for the life of the process, once
// there is any: answers that have begun are logged in it.
func (a *App) relog(cfg accesslog.Config) (log *accesslog.Log, commit, abort func(), err error) {
	if !cfg.Enabled() {
		return nil, func() {}, func() {}, nil
	}
	if a.accessLog == nil {
		if log, err = accesslog.Open(cfg, a.logMetrics, a.log); err != nil {
			return nil, nil, nil, err
		}
		return log, func() { a.accessLog = log }, log.Close, nil
	}
	commit, abort, err = a.accessLog.Change(cfg)
	return a.accessLog, commit, abort, err
}

// secure prepares the TLS side of all doors.
func (a *App) secure(ctx context.Context, cfg *config.Config) (commit func(), err error) {
	var all []func()
	for i, l := range append([]config.Listener{{TLS: cfg.TLS}}, cfg.Listeners...) {
		if i >= len(a.doors) || a.doors[i].tls == nil || l.TLS == nil {
			continue
		}
		s, err := certificate.Open(ctx, *l.TLS, files, secret.Local, a.log)
		if err != nil {
			return nil, err
		}
		if err := s.Fresh(); err != nil {
			return nil, err
		}
		now, _ := a.doors[i].tls.now()
		s.Follow(now)
		all = append(all, func() { a.doors[i].tls.become(s) })
	}
	return func() { call(all) }, nil
}

// staged keeps series until the parts that they belong to count.
type staged struct {
	to  *prometheus.Registry
	all []prometheus.Collector
}

func (s *staged) Register(c prometheus.Collector) error {
	s.all = append(s.all, c)
	return nil
}

func (s *staged) MustRegister(all ...prometheus.Collector) { s.all = append(s.all, all...) }

func (s *staged) Unregister(prometheus.Collector) bool { return false }

// commit registers the series, in place of those of the same names.
func (s *staged) commit() {
	for _, c := range s.all {
		err := s.to.Register(c)
		if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			s.to.Unregister(there.ExistingCollector)
			err = s.to.Register(c)
		}
		if err != nil {
			panic(fmt.Sprintf("app: register metrics again: %v", err)) // a mistake in the program
		}
	}
}
