package app

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front/connect"
)

// lookForTopics is how often it is looked for topics that connectors name by a pattern.
const lookForTopics = 20 * time.Second

// connectors are the sinks of Kafka Connect's API.
type connectors struct {
	api         *connect.API
	definitions *catalog.Definitions
}

// openConnect makes the connectors; what their pipes run by is there already.
func (a *App) openConnect() {
	d, c := &a.defined, &a.connect
	c.api = connect.New(connect.Config{
		Gate: a.gate, Store: d.store, Pipes: a.runner, Problem: func(name string) error { return c.definitions.Problem(name) },
		Applied: func(ctx context.Context) error { return c.definitions.Sync(ctx) }, EnsureBus: d.buses.Ensure,
		Account: a.cfg.AWS.Account, Region: a.cfg.AWS.Region, Environment: os.LookupEnv, Worker: a.Addr, Check: a.runner.Check, Topics: a.topicNames, Log: a.log,
	})
	c.definitions = catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: d.store, Kind: catalog.KindConnector, Compile: c.api.Compile, Suspends: func(error) bool { return false }, Set: a.runner.Set, Remove: a.runner.Remove, Log: a.log,
	})
}

// topicNames lists the topics of the cluster, without Kafka's internal ones.
func (a *App) topicNames(ctx context.Context) ([]string, error) {
	all, err := a.cluster.Topics(ctx)
	var names []string
	for _, t := range all {
		if !t.Internal {
			names = append(names, t.Name)
		}
	}
	return names, err
}

// followConnectors carries out what connectors say until ctx ends.
func (a *App) followConnectors(ctx context.Context, parts *sync.WaitGroup) {
	parts.Go(func() { a.connect.definitions.Run(ctx) })
	parts.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookForTopics):
			}
			if a.byPattern(ctx) {
				a.connect.definitions.Again()
			}
		}
	})
}

// byPattern says whether a connector names its topics by a pattern.
func (a *App) byPattern(ctx context.Context) bool {
	select {
	case <-a.defined.store.Opened():
	default:
		return false
	}
	all, err := a.defined.store.List(ctx, catalog.KindConnector, "")
	for _, d := range all {
		var b struct {
			Config map[string]string `json:"config"`
		}
		if json.Unmarshal(d.Body, &b) == nil && b.Config["topics.regex"] != "" {
			return true
		}
	}
	return err != nil
}
