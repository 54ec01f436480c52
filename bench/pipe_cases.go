package bench

import (
	"fmt"
	"strings"
)

const (
	// keyedInFlight, keyedMillis and keyedKeys are the case "keys": a receiver that
	// takes its time, and records of so many keys in one partition.
	keyedInFlight = 50
	keyedMillis   = 100
	keyedKeys     = 1_000
	// keyedPerSecond is what the backlog of that case is made for.
	keyedPerSecond = keyedInFlight * 1_000 / keyedMillis
	// halfBacklog comes before the live records of the cases "half" and "bus", so that
	// connections and code are warm.
	halfBacklog = 10_000
)

// pipeNames are the cases of the back door, in the order in which they are measured.
func pipeNames() []string { return []string{"one", "batch", "log", "half", "keys", "bus"} }

// A haul is one measurement at the back door: a backlog is delivered, then live
// records.
type haul struct {
	backlogTopic, liveTopic string
	backlog, live           int64
	livePerSecond           int64
	batch                   int    // records in one request
	inFlight                int    // requests at once
	partitions              int    // of the topics
	keys                    int64  // of the records; 0: they have none
	millis                  int    // that the receiver takes for a request
	log                     string // which attempts klamm's delivery log keeps
	bus                     bool   // records come in over HTTP, for klamm as events of a bus
	group                   string
	url                     string
}

// pipeCase says what a case measures. How many live records a second the cases "half" and
// "bus" have is found out later, see halve.
func (c *conductor) pipeCase(name string) (Case, haul) {
	result := Case{Door: "pipe", Name: name}
	h := haul{
		backlogTopic: c.run + "backlog-" + name, backlog: c.backlog(), livePerSecond: livePerSecond,
		batch: 1, inFlight: c.Connections, partitions: c.Partitions, log: "failed",
	}
	switch name {
	case "one":
		result.Title = fmt.Sprintf("one record a request, %d in flight", h.inFlight)
	case "batch":
		h.batch, h.backlog = 100, h.backlog*batchFactor
		result.Title = fmt.Sprintf("batches of up to %d records, %d in flight", h.batch, h.inFlight)
	case "log":
		h.log = "all"
		result.Title = fmt.Sprintf("one record a request, %d in flight, delivery.log: all", h.inFlight)
	case "half":
		h.backlog = min(h.backlog, halfBacklog)
		result.Title = fmt.Sprintf("one record a request, %d in flight; live records at half load", h.inFlight)
	case "bus":
		h.bus, h.backlog = true, min(h.backlog, halfBacklog)
		result.Title = fmt.Sprintf("one event a request in and out, %d in flight; live events at half load", h.inFlight)
	case "keys":
		h.inFlight, h.partitions, h.keys, h.millis = keyedInFlight, 1, keyedKeys, keyedMillis
		h.backlog, h.livePerSecond = min(h.backlog, int64(keyedPerSecond*c.Seconds)), 100
		result.Title = fmt.Sprintf("%d keys in one partition, %d in flight, a receiver that takes %d ms", h.keys, h.inFlight, h.millis)
	}
	h.live = h.livePerSecond * liveSeconds
	return result, h
}

// halve sets the live records to half of what the yardstick carries.
func (h *haul) halve(result *Case, most float64) {
	h.livePerSecond = max(int64(most/2), 1)
	h.live = h.livePerSecond * liveSeconds
	result.Title += fmt.Sprintf(", %s a second: the yardstick carries %s while they are produced", thousands(float64(h.livePerSecond)), thousands(most))
}

// config is klamm's configuration file with the one pipe.
func (h haul) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `egress: {allow: [127.0.0.0/8]}
pipes:
  - name: bench
    topics: [%s, %s]
    group: %s
    start: earliest
    target:
      webhook: {url: %q, method: POST}
    delivery:
      timeout: 30s
      log: %s
      in_flight: %d
`, h.backlogTopic, h.liveTopic, h.group, h.url, h.log, h.inFlight)
	if h.batch > 1 {
		fmt.Fprintf(&b, "      batch: {records: %d, bytes: 16MiB, wait: 0s, format: json}\n", h.batch)
	}
	return b.String()
}
