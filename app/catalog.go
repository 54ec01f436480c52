package app

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/aws"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/replay"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/tick"
)

// defined is what is defined while klamm runs.
type defined struct {
	store       *catalog.Store
	definitions *catalog.Definitions
	mappings    *catalog.Definitions
	rules       *catalog.Definitions
	archives    *catalog.Definitions
	ticks       *tick.Clock
	replays     *replay.Runner
	buses       *gate.Buses
	aws         *aws.API
}

// define makes the catalog, and what carries out what lies in it. The runner and the
// gate are there already.
func (a *App) define(ctx context.Context) (err error) {
	d := &a.defined
	d.store = catalog.NewStore(catalog.StoreConfig{Cluster: a.cluster, Metrics: a.registry, Log: a.log})
	seal, err := catalog.NewSeal(ctx, a.cfg.Catalog, d.store, secret.Local)
	if err != nil {
		return err
	}
	var clusters []aws.Cluster
	for _, c := range a.cfg.Kafka.Clusters {
		clusters = append(clusters, aws.Cluster{Name: c.Name, ARNs: c.ARNs, Brokers: c.Brokers})
	}
	a.ruleClusters()
	bus := a.cfg.Bus.WithDefaults()
	d.buses = gate.NewBuses(gate.BusesConfig{
		Gate: a.gate, Store: d.store, Cluster: a.cluster, Account: a.cfg.AWS.Account, Region: a.cfg.AWS.Region, MaxEntries: bus.Entries, Strict: bus.Unknown == "refuse",
		Metrics: a.registry, Log: a.log,
	})
	d.aws = aws.New(aws.Config{
		Gate: a.gate, Authority: a.roles, Store: d.store, Seal: seal, Pipes: a.runner, Buses: d.buses, Bus: bus, Version: a.opts.Version, Metrics: a.registry, Account: a.cfg.AWS.Account, Region: a.cfg.AWS.Region, StopPipesAfter: a.cfg.AWS.StopPipesAfter, StrictFilters: a.cfg.AWS.StrictFilters,
		Brokers: a.Brokers, Clusters: clusters, Egress: a.egress, Transport: a.egress.Transport(), Log: a.log, Mapping: a.cfg.ESM,
		Function: func(ctx context.Context, name string) bool {
			for _, f := range a.cfg.Functions {
				if f.Name == name {
					return true
				}
			}
			_, err := d.store.Get(ctx, catalog.KindFunction, name)
			return err == nil
		},
	})
	d.definitions = catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: d.store, InFile: a.cfg.Pipes, Compile: catalog.One(a.compile), Suspends: d.aws.Suspends, Set: a.runner.Set, Remove: a.runner.Remove, Log: a.log,
	})
	d.mappings = catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: d.store, Kind: catalog.KindMapping, Compile: catalog.One(d.aws.CompileMapping), Suspends: d.aws.Suspends, Set: a.runner.Set, Remove: a.runner.Remove, Log: a.log,
	})
	known := after(2, a.runner.OpenBuses) // of rules and of archives
	d.rules = catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: d.store, Kind: catalog.KindRule, Compile: d.aws.CompileRule, Suspends: d.aws.Suspends, Set: a.runner.Set, Remove: a.runner.Remove, Known: known, Log: a.log,
	})
	d.archives = catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: d.store, Kind: catalog.KindArchive, Compile: catalog.One(d.aws.CompileArchive), Suspends: d.aws.Suspends, Set: a.runner.Set, Remove: a.runner.Remove, Known: known, Log: a.log,
	})
	d.ticks = tick.New(tick.Config{
		Cluster: a.cluster, Store: d.store, Account: a.cfg.AWS.Account, Region: a.cfg.AWS.Region, Now: a.opts.Now, Metrics: a.registry, Log: a.log,
		RuleARN: func(rule string) string {
			return "arn:aws:events:" + a.cfg.AWS.Region + ":" + a.cfg.AWS.Account + ":rule/" + rule
		},
		Ensure: func(ctx context.Context) error { return d.buses.Ensure(ctx, catalog.DefaultBus) },
	})
	d.replays = replay.New(replay.Config{Cluster: a.cluster, Store: d.store, Rate: bus.ReplayRate, Metrics: a.registry, Log: a.log})
	d.aws.Use(d.definitions, d.mappings)
	a.openConnect()
	a.roles.Watch(d.mappings.Again)
	return a.openFunctions()
}

// loggedIn tells the control plane how a connection has logged in.
func (a *App) loggedIn(ctx context.Context, connection string, err error) {
	a.defined.aws.LoggedIn(ctx, connection, err)
}

// caught waits until all rules and archives run here that were stored before.
func (a *App) caught(ctx context.Context) error {
	if err := a.defined.rules.Sync(ctx); err != nil {
		return err
	}
	return a.defined.archives.Sync(ctx)
}

// after returns a function that calls another one when it is called for the nth time.
func after(n int32, call func()) func() {
	var calls atomic.Int32
	return func() {
		if calls.Add(1) == n {
			call()
		}
	}
}

// compile makes a pipe that can be run of what lies in the catalog.
func (a *App) compile(ctx context.Context, d catalog.Document) (catalog.Pipe, error) {
	if d.Dialect != "" {
		return a.defined.aws.Compile(ctx, d)
	}
	p, err := decodePipe(d.Body)
	if err == nil && p.Name != d.Name {
		err = fmt.Errorf("%w: it lies under the name %q and has the name %q", catalog.ErrInvalid, d.Name, p.Name)
	}
	p.Version, p.Paused = d.Version, d.Stopped
	return p, err
}

// checkPipes says whether the pipes of a configuration that are new or different could
// be run.
func (a *App) checkPipes(cfg, was *config.Config) error {
	before := map[string]catalog.Pipe{}
	for _, p := range was.Pipes {
		before[p.Name] = p
	}
	for _, p := range cfg.Pipes {
		if old, ok := before[p.Name]; ok && reflect.DeepEqual(old, p) {
			continue
		}
		if err := a.runner.Check(p); err != nil {
			return fmt.Errorf("pipe %q: %w", p.Name, err)
		}
	}
	return nil
}

// decodePipe reads a definition in the words of the configuration file.
func decodePipe(text []byte) (catalog.Pipe, error) {
	p, problems := config.LoadPipe(text, all.Kinds())
	if len(problems) == 0 {
		return p, nil
	}
	var said []string
	for _, problem := range problems {
		said = append(said, problem.Text)
	}
	return p, fmt.Errorf("%w: %s", catalog.ErrInvalid, strings.Join(said, "; "))
}

// dialectsOfCatalog adds the APIs that change it, beside klamm's own. EventBridge
// shares POST / with the dialect that has it already.
func (a *App) dialectsOfCatalog(dialects []front.Dialect) []front.Dialect {
	for i := range dialects {
		for j, route := range dialects[i].Routes {
			if route.Pattern == "POST /{$}" {
				dialects[i].Routes[j].Serve = a.defined.aws.Events(route.Serve)
				dialects[i].Routes[j].Repeat = front.RepeatOffered // of PutEvents
				dialects[i].WriteError = a.defined.aws.EventsErrors(dialects[i].WriteError)
			}
		}
	}
	return append(dialects, a.defined.aws.Pipes(), a.defined.aws.ClusterPolicies(), a.defined.aws.Lambda(a.functions.gate), a.connect.api.Dialect())
}

// catalogOf is what klamm's own API needs of it.
func (a *App) catalogOf() klamm.Catalog {
	return klamm.Catalog{Store: a.defined.store, Definitions: a.defined.definitions, Decode: decodePipe, Raw: config.Raw}
}

// follow carries out what is defined until ctx ends.
func (a *App) follow(ctx context.Context, parts *sync.WaitGroup) {
	parts.Go(func() { a.defined.store.Run(ctx) })
	parts.Go(func() { a.defined.definitions.Run(ctx) })
	parts.Go(func() { a.defined.mappings.Run(ctx) })
	parts.Go(func() { a.defined.rules.Run(ctx) })
	a.followConnectors(ctx, parts)
	parts.Go(func() { a.defined.archives.Run(ctx) })
	parts.Go(func() { a.defined.ticks.Run(ctx) })
	parts.Go(func() { a.defined.replays.Run(ctx) })
}
