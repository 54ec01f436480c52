package app

import (
	"context"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
)

// A Source is where the configuration comes from while klamm runs. It is read again
// when the file changes and when somebody asks for that. A configuration that cannot
// be used changes nothing.
type Source struct {
	// Path is the file that is watched.
	Path string
	// Load reads it, with what the command line adds. The error says what is wrong
	// with it, without secrets.
	Load func() (*config.Config, error)
	// Parse reads a text as Load reads the file; nil: there are no others to compare
	// with.
	Parse func(text []byte) (*config.Config, error)
	// Again has a value whenever it is to be read although it has not changed, and
	// with it the files and secrets that it names.
	Again <-chan os.Signal
}

const (
	// watchEvery is how often the file is looked at.
	watchEvery = time.Second
	// retireAfter is how long parts that were replaced stay for requests that have
	// begun with them.
	retireAfter = 30 * time.Second
	// awaitKeys bounds the wait for API keys before new authentication counts.
	awaitKeys = 5 * time.Second
)

// live are the keys whose changes count at once. All others count after a restart,
// and so do the parts that differences names.
var live = []string{
	"public_url", "auth", "tls", "listeners", "policies", "rules", "authorize", "sizes", "limits", "usage_plans", "ratelimit", "rest", "cloudevents", "topics", "stages",
	"routes", "cors", "waf", "access_log", "trace", "trust_request_id", "compression", "cache", "connections", "adaptive", "pipes", "console",
}

// A generation is what a reload replaces.
type generation struct {
	cfg      *config.Config
	links    front.Links
	firewall *front.Firewall
	auth     *auth.Chain // nil: everybody is served without
	limits   *gate.Limits
	log      *accesslog.Log // nil: there is none
}

// reloads is how the configuration has fared.
type reloads struct {
	mu      sync.Mutex // guards what follows
	err     error      // of the last attempt
	waiting []string   // keys whose changes need a restart

	total   *prometheus.CounterVec
	well    prometheus.Gauge
	when    prometheus.Gauge
	pending prometheus.Gauge
}

func newReloads(r prometheus.Registerer) *reloads {
	s := &reloads{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "klamm_config_reload_total", Help: "Times that the configuration was read again, by result: ok or failed."}, []string{"result"}),
		well:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "klamm_config_reload_successful", Help: "1 if the configuration that was read last counts; 0 if it could not be used and the one before does."}),
		when:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "klamm_config_reload_success_timestamp_seconds", Help: "When a configuration was taken over last."}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "klamm_config_restart_pending", Help: "Keys of the configuration file that were changed and count only after a restart.",
		}),
	}
	r.MustRegister(s.total, s.well, s.when, s.pending)
	s.well.Set(1)
	s.when.SetToCurrentTime()
	s.total.WithLabelValues("ok").Add(0)
	s.total.WithLabelValues("failed").Add(0)
	return s
}

// told is what /ready says about it.
func (s *reloads) told() *klamm.Configuration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && len(s.waiting) == 0 {
		return nil
	}
	c := &klamm.Configuration{Restart: slices.Clone(s.waiting)}
	if s.err != nil {
		c.Error = s.err.Error()
	}
	return c
}

// done notes how an attempt has ended.
func (s *reloads) done(waiting []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if err != nil {
		s.total.WithLabelValues("failed").Inc()
		s.well.Set(0)
		return
	}
	s.waiting = waiting
	s.total.WithLabelValues("ok").Inc()
	s.well.Set(1)
	s.when.SetToCurrentTime()
	s.pending.Set(float64(len(waiting)))
}

// stamp says whether a file is the same as before. A link counts as what it leads to.
type stamp struct {
	info fs.FileInfo
	gone bool
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	return stamp{info, err != nil}
}

func (s stamp) same(o stamp) bool {
	if s.gone || o.gone {
		return s.gone == o.gone
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// watch reads the configuration again whenever that is due, until ctx ends.
func (a *App) watch(ctx context.Context) {
	s := a.opts.Source
	if s == nil {
		return
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last := a.loaded; ; {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-s.Again:
			forced = true
		case done := <-a.past.back:
			done <- a.rollBack(ctx)
			continue
		case <-tick.C:
		}
		now := stampOf(s.Path)
		if !forced && now.same(last) {
			continue
		}
		last = now
		cfg, err := s.Load()
		if err == nil {
			err = a.Reload(ctx, cfg, forced)
		} else {
			a.reloads.done(nil, err)
		}
		if err != nil {
			a.log.Error("the configuration cannot be used; the one before stays", "file", s.Path, "err", err)
		}
	}
}

// Reload takes over a configuration, as far as that is possible without a restart:
// all of it or, with an error, nothing. Forced reads files and secrets that it names
// again although the configuration has not changed. What counts only after a restart
// is logged and shown in /ready. Calls must not overlap.
func (a *App) Reload(ctx context.Context, cfg *config.Config, forced bool) error {
	next, waiting := a.merged(cfg)
	changed := differences(a.now.cfg, next)
	retire, err := a.replace(ctx, next, changed, forced)
	a.reloads.done(waiting, err)
	if err != nil {
		return err
	}
	a.past.took(next)
	a.log.Info("configuration read again", "changed", strings.Join(changed, ", "))
	if len(waiting) > 0 {
		a.log.Warn("parts of the configuration count only after a restart", "keys", strings.Join(waiting, ", "))
	}
	a.retired.Go(func() {
		select {
		case <-time.After(retireAfter):
		case <-a.stop:
		}
		retire()
	})
	return nil
}

// keyOf is a field's key in the file.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

// differences lists the keys that two configurations differ in, sorted.
func differences(a, b *config.Config) (keys []string) {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		if key := keyOf(x.Type().Field(i)); key != "" && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// merged returns a configuration in which everything that cannot change while klamm
// runs is as it was at the start, and the keys that this concerns.
func (a *App) merged(cfg *config.Config) (next *config.Config, waiting []string) {
	copied := *cfg
	next = &copied
	into, from := reflect.ValueOf(next).Elem(), reflect.ValueOf(a.cfg).Elem()
	for i := range into.NumField() {
		key := keyOf(into.Type().Field(i))
		if !slices.Contains(live, key) && !reflect.DeepEqual(into.Field(i).Interface(), from.Field(i).Interface()) {
			into.Field(i).Set(from.Field(i))
			waiting = append(waiting, key)
		}
	}
	keep := func(key string, differs bool, restore func()) {
		if differs {
			restore()
			waiting = append(waiting, key)
		}
	}
	was := a.cfg
	keep("rest.produce", !reflect.DeepEqual(cfg.Rest.Produce, was.Rest.Produce), func() { next.Rest.Produce = was.Rest.Produce })
	keep("sizes.in_flight", cfg.Sizes.InFlight != was.Sizes.InFlight, func() { next.Sizes.InFlight = was.Sizes.InFlight })
	conns := cfg.Connections
	conns.HeaderTimeout, conns.Idle, conns.MaxStreamsPerConnection = was.Connections.HeaderTimeout, was.Connections.Idle, was.Connections.MaxStreamsPerConnection
	keep("connections.header_timeout", conns.HeaderTimeout != cfg.Connections.HeaderTimeout, func() { next.Connections = conns })
	keep("connections.idle", conns.Idle != cfg.Connections.Idle, func() { next.Connections = conns })
	keep("connections.max_streams_per_connection", conns.MaxStreamsPerConnection != cfg.Connections.MaxStreamsPerConnection, func() { next.Connections = conns })
	proxied := func(c *config.Config) bool { return c.WAF.ClientIP == "proxy_protocol" }
	keep("waf.client_ip", proxied(cfg) != proxied(was), func() { next.WAF.ClientIP = was.WAF.ClientIP })
	keep("tls", !alike(cfg.TLS, was.TLS), func() { next.TLS = was.TLS })
	same := slices.EqualFunc(cfg.Listeners, was.Listeners, func(x, y config.Listener) bool { return x.Listen == y.Listen && alike(x.TLS, y.TLS) })
	keep("listeners", !same, func() { next.Listeners = was.Listeners })
	passed := func(c *config.Config) bool { return c.Auth.Basic != nil && c.Auth.Basic.Passthrough }
	keep("auth", guarded(next) != guarded(was) || passed(cfg) != passed(was), func() { next.Auth = was.Auth })
	keep("policies", lawful(next) != lawful(was), func() { next.Policies, next.Rules, next.Authorize = was.Policies, was.Rules, was.Authorize })
	slices.Sort(waiting)
	return next, waiting
}

// alike says whether one listener can go over from one TLS section to the other:
// connections are encrypted or not, and ask clients for certificates or not.
func alike(x, y *certificate.Config) bool {
	if x == nil || y == nil {
		return x == nil && y == nil
	}
	return x.AsksClients() == y.AsksClients()
}
