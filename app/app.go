// Package app makes a running klamm of its parts and owns the order in which
// they start and stop.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/front/azure1"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/front/light"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/history"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/peer"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/registry"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/trace"
)

// Options are what the command line adds to the configuration file.
type Options struct {
	// Broker starts the embedded broker, as klamm dev does, with this
	// configuration; nil uses the brokers of the configuration file.
	Broker *broker.Config
	// Ready is called once, when everything is up: the address of the HTTP
	// listener, and the brokers.
	Ready func(http string, kafka []string)
	Log   *slog.Logger // required
	// Source is where the configuration comes from while klamm runs; nil: it stays as
	// it is.
	Source *Source
	// Trace says where spans are sent; the zero value is nowhere.
	Trace trace.Settings
	// Guard is the command of the process that function.Guard is the life of; empty:
	// functions go without.
	Guard []string
	// Version is the program's, for people.
	Version string
	// Now is the clock that schedules of rules are fired by; nil: the machine's.
	Now func() time.Time
}

// An App is a running klamm.
type App struct {
	cfg      *config.Config
	opts     Options
	log      *slog.Logger
	listener net.Listener
	doors    []door                     // the listener and all others
	auth     atomic.Pointer[auth.Chain] // nil: everybody is served without
	streams  map[string]bool            // the patterns of routes that are streams
	broker   *broker.Broker
	cluster  *kafka.Cluster
	further  map[string]*kafka.Cluster // of kafka.clusters, by name

	identities   *kafka.Identities // callers' own clients of cluster; nil: every call is klamm's own
	gate         *gate.Gate
	subjects     schema.Registry // the embedded one; nil: there is none
	schemas      schemas
	embedded     *registry.Registry // the same; nil: there is none
	law          *gate.Authority    // decides for the gate; nil: everybody may do everything
	roles        *gate.Authority    // decides on the roles of functions: law, or one beside the gate
	policies     *gate.Policies     // of law, those that are made at run time
	audit        *gate.Audit        // nil: there is none
	claims       *gate.Claims
	invalid      *prometheus.CounterVec // counts records that break the rules of their topics
	limits       *gate.Limits           // nil: there are none
	protection   *gate.Protection       // of the cluster
	peers        *peer.Peers
	connections  *light.Connections
	server       *front.Server
	runner       *pipe.Runner
	defined      defined
	connect      connectors
	functions    functions
	objects      objects
	registry     *prometheus.Registry
	frontMetrics *front.Metrics
	pipeMetrics  *pipe.Metrics
	logMetrics   *accesslog.Metrics
	accessLog    *accesslog.Log // nil: there was none so far
	tracer       *trace.Tracer  // nil: there is no tracing
	egress       *target.Egress
	now          generation // what counts; only a reload changes it
	loaded       stamp      // of the configuration file
	reloads      *reloads
	past         generations
	retired      sync.WaitGroup // parts that were replaced, until they are freed
	started      time.Time      // when New was called
	stopping     atomic.Bool
	stop         chan struct{} // closed when klamm begins to stop
	trends       *history.Keeper
	recent       front.Recent
	sessionSeed  []byte // what sessions of the console are sealed with, unless the configuration says
}

// errOpenDoor says that klamm would serve everybody on an address that others
// can reach.
var errOpenDoor = errors.New("no authentication is configured")

// New makes all parts, listens on the HTTP address and, where asked, starts the
// embedded broker. It does not wait for brokers. A part that fails undoes the
// others.
func New(ctx context.Context, cfg *config.Config, opts Options) (*App, error) {
	a := &App{
		cfg: cfg, opts: opts, log: opts.Log, registry: prometheus.NewRegistry(), now: generation{cfg: cfg},
		started: time.Now().UTC().Truncate(time.Second), stop: make(chan struct{}), sessionSeed: make([]byte, 32),
	}
	_, _ = rand.Read(a.sessionSeed)
	if opts.Source != nil {
		a.loaded = stampOf(opts.Source.Path)
	}
	a.past.back = make(chan chan error)
	a.past.took(cfg)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, open := range []func(context.Context) error{a.listen, a.openKafka, a.openBack, a.openRoom, a.openFront} {
		if err := open(ctx); err != nil {
			a.close()
			return nil, err
		}
	}
	return a, nil
}

// openBack makes the back door: pipes, and what they deliver by.
func (a *App) openBack(ctx context.Context) (err error) {
	if a.egress, err = target.NewEgress(a.cfg.Egress.Allow, a.broker != nil); err != nil {
		return err
	}
	if err := a.openObjects(ctx); err != nil {
		return err
	}
	if a.opts.Trace.Endpoint != "" {
		a.tracer = trace.Open(a.opts.Trace, trace.NewMetrics(a.registry), a.log)
	}
	a.pipeMetrics = pipe.NewMetrics(a.registry)
	a.runner, err = pipe.New(pipe.Config{
		Cluster: a.cluster, Clusters: a.further, Login: a.openLogin, Kinds: all.All(), Transport: a.egress.Transport(), Egress: a.egress, Secret: secret.Local,
		Metrics: a.pipeMetrics, Log: a.log, Grace: a.cfg.ShutdownTimeout * 3 / 4, LenientTemplates: a.cfg.AWS.LenientTemplates, Invoke: a.invoke, Enqueue: a.enqueue, LoggedIn: a.loggedIn, PutObject: a.putObject(), Tracer: a.tracer, Schemas: a.schemas.client, OpenRegistry: a.openRegistry, Caught: a.caught,
	}, a.cfg.Pipes)
	return err
}

// openRoom makes what both doors need: the gate, what it keeps in topics, the other
// processes, and the catalog.
func (a *App) openRoom(ctx context.Context) (err error) {
	if a.now.links, a.now.firewall, err = wallOf(a.cfg); err != nil {
		return err
	}
	if err = a.guard(); err != nil {
		return err
	}
	a.gate.UseSchemas(a.schemas.client)
	if err = a.validate(); err != nil {
		return err
	}
	a.peers = peer.New(peer.Config{Cluster: a.cluster, Listen: a.listener.Addr(), Advertise: a.cfg.Advertise, TLS: a.cfg.TLS != nil, Log: a.log})
	a.identify()
	a.connections = light.NewConnections(a.peers)
	a.gate.ShareConsumers(a.peers, a.log)
	a.claims = gate.NewClaims(a.cluster, a.cfg.Idempotency, a.registry, a.log)
	if err = a.define(ctx); err != nil {
		return err
	}
	a.limits = gate.NewLimits(limitsOf(a.cfg), a.cluster, a.registry, a.log)
	a.now.limits = a.limits
	return nil
}

// dialects lists the HTTP APIs that klamm speaks.
func (a *App) dialects(g generation) []front.Dialect {
	v2 := g.cfg.Rest.V2
	v2.Peers = a.peers
	v2.Links, v2.Ready, v2.CloudEvents = g.links, a.ready, g.cfg.CloudEvents
	v3 := g.cfg.Rest.V3
	v3.Links = g.links
	return []front.Dialect{
		confluent2.Dialect(a.gate, v2),
		confluent3.Dialect(a.gate, v3),
		azure1.Dialect(a.gate, g.cfg.Rest.V1),
		light.Dialect(a.gate, a.connections),
		klamm.Dialect(klamm.Config{
			Ready: a.ready, Metrics: promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{DisableCompression: true}), Gate: a.gate, Pipes: a.runner, Catalog: a.catalogOf(), Limits: g.limits, Keys: keysOf(g.auth), Configuration: a.reloads.told, History: a.history(), Policies: a.policies, Buses: a.defined.buses,
			Version: a.opts.Version, Brokers: a.Brokers, Stopping: a.stop, Log: a.log, Explain: a.explain, Started: a.started, Peers: a.peers,
			Functions: a.tallies, Trends: a.trends, Recent: &a.recent, Console: g.cfg.Console.On(), Auth: g.auth, Account: g.cfg.AWS.Account,
		}),
	}
}

// Addr returns the bound HTTP address, HOST:PORT.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Brokers returns the bootstrap servers that klamm uses.
func (a *App) Brokers() []string { return a.cluster.Brokers() }

// ready reports whether klamm can produce and poll now.
func (a *App) ready(ctx context.Context) error {
	if a.stopping.Load() {
		return errors.New("klamm is stopping")
	}
	return a.cluster.Ready(ctx)
}

// Run serves until ctx ends and then stops in good order within
// shutdown_timeout: not ready first, then running requests and deliveries end,
// offsets are committed, groups are left, connections closed.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	serving := make(chan error, len(a.doors))
	for _, d := range a.doors {
		go func() { serving <- a.server.Serve(d) }()
	}

	pipesCtx, stopPipes := context.WithCancel(ctx)
	defer stopPipes()
	var parts sync.WaitGroup
	parts.Go(func() {
		if a.awaitCluster(pipesCtx) {
			a.runner.Run(pipesCtx)
		}
	})
	parts.Go(func() { a.announce(pipesCtx) })
	parts.Go(func() { a.join(pipesCtx) })
	a.follow(pipesCtx, &parts)
	parts.Go(func() { a.trends.Run(pipesCtx) })
	parts.Go(func() { a.watch(pipesCtx) })
	for _, d := range a.doors {
		if d.tls != nil {
			parts.Go(func() { d.tls.Run(pipesCtx) })
		}
	}

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-serving:
	}
	a.stopping.Store(true)
	close(a.stop)
	a.log.Info("stopping", "within", a.cfg.ShutdownTimeout)
	stopPipes()
	end, cancel := context.WithTimeout(context.Background(), a.cfg.ShutdownTimeout)
	defer cancel()
	consumers := make(chan error, 1)
	// Reads that wait for records end, and other processes can go on with the
	// instances, while other requests are still being answered.
	go func() { consumers <- a.gate.ReleaseConsumers(end) }()
	if err := a.server.Shutdown(end); err != nil {
		a.log.Warn("requests cut short by the end of shutdown_timeout", "err", err)
	}
	if err := errors.Join(<-consumers, a.gate.CloseConsumers(end)); err != nil {
		a.log.Warn("consumer instances cut short by the end of shutdown_timeout", "err", err)
	}
	done := make(chan struct{})
	go func() {
		parts.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-end.Done():
		a.log.Warn("pipes cut short by the end of shutdown_timeout; their last records will be delivered again")
	}
	a.closeFunctions(end)
	return failed
}

// awaitCluster waits until the cluster can be reached, with one log line an
// attempt; false means that ctx ended first.
func (a *App) awaitCluster(ctx context.Context) bool {
	wait := 250 * time.Millisecond
	for {
		err := a.cluster.Ready(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.log.Warn("waiting for Kafka", "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// announce calls Options.Ready when everything is up.
func (a *App) announce(ctx context.Context) {
	for a.cluster.Ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	joined, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var prepared sync.WaitGroup
	if len(a.cfg.Webhooks()) > 0 {
		prepared.Go(func() {
			if err := a.claims.Prepare(joined); err != nil && ctx.Err() == nil {
				a.log.Warn("the ids of webhook deliveries cannot be kept yet; deliveries are answered 503 until then", "err", err)
			}
		})
	}
	prepared.Go(func() { a.awaitAccess(joined) })
	a.runner.Joined(joined)
	prepared.Wait()
	if ctx.Err() == nil && a.opts.Ready != nil {
		a.opts.Ready(a.Addr(), a.Brokers())
	}
}

// close frees what New made, in reverse order.
func (a *App) close() {
	a.closeFunctions(stopped()) // nothing is left to do if Run has returned
	a.closeObjects()
	if a.defined.aws != nil {
		a.defined.aws.Close()
	}
	a.retired.Wait()
	if chain := a.auth.Load(); chain != nil {
		chain.Close()
	}
	a.unlook()
	a.limits.Close()
	if a.claims != nil {
		a.claims.Close()
	}
	a.schemas.close()
	a.closeRegistry()
	for _, c := range a.further {
		if c != nil { // nil: it could not be opened
			c.Close()
		}
	}
	if a.policies != nil {
		a.policies.Close()
	}
	if a.audit != nil {
		a.audit.Close()
	}
	if a.identities != nil {
		a.identities.Close()
	}
	if a.cluster != nil {
		a.cluster.Close()
	}
	if a.broker != nil {
		_ = a.broker.Close()
	}
	for _, d := range a.doors {
		_ = d.Close()
	}
	if a.listener != nil {
		_ = a.listener.Close()
	}
}
