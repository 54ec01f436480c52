package app

import (
	"context"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
	"github.com/klamm-gateway/klamm/secret"
)

// frontOf makes the front door's settings. Nothing of it counts before a server is
// made of it.
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
		Tracing: front.Tracing{Tracer: a.tracer, Propagate: propagate}, TrustRequestID: cfg.TrustRequestID, Firewall: g.firewall, Compression: cfg.Compression, Cache: cfg.Cache,
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
