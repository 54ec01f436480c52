package app

import (
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/kafka"
)

// ruleClusters has the policies of clusters count, which lie in the catalog.
func (a *App) ruleClusters() {
	a.roles.FollowClusters(a.defined.store, a.cfg.Kafka.Identity == kafka.IdentityPassthrough, a.log)
}

// homeARN is the ARN that the configuration gives klamm's own cluster: that of the one
// of kafka.clusters with the same brokers; empty: there is none.
func (a *App) homeARN(cfg *config.Config) string {
	own := a.Brokers()
	for _, c := range cfg.Kafka.Clusters {
		if !slices.ContainsFunc(c.Brokers, func(b string) bool { return slices.Contains(own, b) }) {
			continue
		}
		for _, arn := range c.ARNs {
			if strings.Contains(arn, ":cluster/") {
				return arn
			}
		}
	}
	return ""
}
