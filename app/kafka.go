package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// openKafka starts the embedded broker, where there is one, and makes all clients of
// brokers and of schema registries.
func (a *App) openKafka(ctx context.Context) (err error) {
	if a.opts.Broker != nil {
		if a.broker, err = startBroker(ctx, *a.opts.Broker); err != nil {
			return err
		}
	}
	if err = a.openClusters(); err != nil {
		return err
	}
	a.embedRegistry()
	if err = a.openSchemas(ctx); err != nil {
		return err
	}
	a.schemas.observe(a.registry)
	return nil
}

// startBroker starts the embedded broker; its errors name the flags that help.
func startBroker(ctx context.Context, cfg broker.Config) (*broker.Broker, error) {
	b, err := broker.Start(ctx, cfg)
	switch {
	case errors.Is(err, broker.ErrListen):
		return nil, fmt.Errorf("embedded broker: %w; choose another address with --kafka-listen", err)
	case err != nil:
		return nil, fmt.Errorf("embedded broker: %w; choose another directory with --data", err)
	}
	return b, nil
}

// kafkaOf is the kafka section with what it is given beside it.
func kafkaOf(cfg *config.Config) kafka.Config {
	k := cfg.Kafka
	k.Producing = cfg.Rest.Produce
	k.Secrets, k.Region = secret.NewStore(cfg.Secrets, cfg.AWS.Region), cfg.AWS.Region
	return k
}

// openClusters makes the clients of klamm's own cluster and of the further ones. The
// embedded broker is logged in to without anything.
func (a *App) openClusters() (err error) {
	k := kafkaOf(a.cfg)
	own := k
	if a.broker != nil {
		own = kafka.Config{Brokers: a.broker.Addrs(), Producing: k.Producing}
	}
	if a.cluster, err = kafka.Open(own, a.log); err != nil {
		return err
	}
	a.further = map[string]*kafka.Cluster{}
	for _, f := range k.Clusters {
		if a.further[f.Name], err = kafka.Open(f.Config(k), a.log.With("cluster", f.Name)); err != nil {
			return fmt.Errorf("kafka.clusters: %s: %w", f.Name, err)
		}
	}
	return nil
}

// openLogin makes the client of a pipe that logs in by credentials of its own
// (pipes.md 12). Brokers that the configuration does not name have to be ones that
// targets may reach, too. The embedded broker is logged in to without anything.
func (a *App) openLogin(l catalog.Login) (*kafka.Cluster, error) {
	k := kafkaOf(a.cfg)
	c, at := k, slices.IndexFunc(k.Clusters, func(f kafka.Further) bool { return f.Name == l.Cluster })
	switch {
	case l.Brokers != "":
		c = kafka.Config{Brokers: strings.Split(l.Brokers, ","), Producing: k.Producing, Secrets: k.Secrets, Region: k.Region, Reach: a.egress.Check}
	case l.Cluster != "" && at < 0:
		return nil, fmt.Errorf("there is no cluster %q in kafka.clusters", l.Cluster)
	case l.Cluster != "":
		c = k.Clusters[at].Config(k)
	case a.broker != nil:
		return kafka.Open(kafka.Config{Brokers: a.broker.Addrs(), Producing: k.Producing}, a.log)
	}
	if l.Auth != "" {
		c.Auth, c.Credentials, c.OAuth = l.Auth, &kafka.Credentials{Secret: l.Credentials}, nil
	}
	if l.RootCA != "" {
		c.RootCA = &kafka.Source{Secret: l.RootCA}
	}
	return kafka.Open(c, a.log)
}

// identify makes calls in the name of callers where the configuration, a route or a
// stage says so, and in the clusters of their stages. The embedded broker knows nobody by
// name.
func (a *App) identify() {
	a.gate.Reach(a.further)
	if a.broker == nil {
		a.identities = a.cluster.Identities()
		a.gate.Identify(a.identities, a.cfg.Kafka, a.log)
	}
}

// login returns what asks Kafka about callers' credentials; nil: they are not passed
// on.
func (a *App) login() func(context.Context, kafka.Caller) error {
	if a.identities == nil {
		return nil
	}
	return a.gate.Login
}
