package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// WatchPauses has see called whenever a broker asks for a pause, which is what its
// quotas do, and for how long. Requests wait by themselves; see is for whoever could
// ask for less. It must not block. Only one see is called, the last.
func (c *Cluster) WatchPauses(see func(time.Duration)) { c.pauses.Store(&see) }

// pauseHook tells a cluster of its brokers' pauses.
type pauseHook struct{ cluster *Cluster }

// OnBrokerThrottle is part of kgo.HookBrokerThrottle.
func (h pauseHook) OnBrokerThrottle(_ kgo.BrokerMetadata, interval time.Duration, _ bool) {
	if see := h.cluster.pauses.Load(); see != nil {
		(*see)(interval)
	}
}
