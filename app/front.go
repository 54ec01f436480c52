package app

import (
	"context"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/front/route"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
	"github.com/klamm-gateway/klamm/secret"
)

// openFront makes the front door.
func (a *App) openFront(ctx context.Context) (err error) {
	if a.now.auth, err = a.chainOf(ctx, a.cfg, a.now.links, a.registry); err != nil {
		return err
	}
	a.auth.Store(a.now.auth)
	if err = a.look(); err != nil {
		return err
	}
	a.server, err = a.serverOf(ctx, a.now, func(settings front.Config) (*front.Server, error) {
		a.streams = streamsOf(settings.Dialects)
		return front.New(settings), nil
	})
	return err
}

// serverOf makes a server with the stages and routes of a generation. Nothing of it
// counts before that serves.
func (a *App) serverOf(ctx context.Context, g generation, open func(front.Config) (*front.Server, error)) (*front.Server, error) {
	settings, err := a.frontOf(ctx, g)
	if err != nil {
		return nil, err
	}
	server, err := open(settings)
	if err != nil {
		return nil, err
	}
	edge, err := edgeOf(g.cfg, route.Env{Gate: a.gate, Transport: a.egress.Transport(), Links: g.links, Log: a.log})
	if err != nil {
		return nil, err
	}
	if err := server.Reshape(edge); err != nil {
		return nil, err
	}
	warnOpen(g.cfg, a.log)
	warnUnrouted(g.cfg, settings.Dialects, a.log)
	return server, nil
}

// frontOf makes the front door's settings.
func (a *App) frontOf(ctx context.Context, g generation) (front.Config, error) {
	cfg := g.cfg
	hooks, err := ingress.Dialect(ctx, ingress.Config{Routes: cfg.Webhooks(), Gate: a.gate, Claims: a.claims, Secret: secret.Local, Log: a.log})
	if err != nil {
		return front.Config{}, err
	}
	dialects := append(a.dialects(g), hooks)
	dialects = a.dialectsOfRegistry(a.dialectsOfCatalog(dialects))
	propagate := a.tracer != nil
	if cfg.Trace.Propagate != nil {
		propagate = *cfg.Trace.Propagate
	}
	return front.Config{
		Sizes: cfg.Sizes, Connections: cfg.Connections, H2C: cfg.H2C, CORS: cfg.CORS, Dialects: dialects, Anonymous: cfg.Auth.Anonymous || g.auth == nil, Claims: a.claims, Gate: a.gate, Links: g.links,
		Limits: g.limits, PassedOn: peer.Forwarded, Metrics: a.frontMetrics, Log: a.log, Authenticators: a.authenticators(g.auth), AccessLog: g.log, Account: cfg.AWS.Account,
		Tracing: front.Tracing{Tracer: a.tracer, Propagate: propagate}, TrustRequestID: cfg.TrustRequestID, IDs: len(cfg.Auth.Authorizers) > 0, Firewall: g.firewall, Compression: cfg.Compression, Cache: cfg.Cache,
		Recent: &a.recent, Challenge: a.challenge,
	}, nil
}

// wallOf makes what is asked before anything else.
func wallOf(cfg *config.Config) (links front.Links, firewall *front.Firewall, err error) {
	if links, err = front.NewLinks(cfg.PublicURL, cfg.WAF.TrustedProxies); err != nil {
		return links, nil, err
	}
	firewall, err = front.NewFirewall(cfg.WAF, readFile)
	return links.ByClientIP(cfg.WAF.ClientIP), firewall, err
}

func limitsOf(cfg *config.Config) gate.LimitsConfig {
	return gate.LimitsConfig{Rules: cfg.Limits, Plans: cfg.UsagePlans, Fields: cfg.RateLimit}
}
