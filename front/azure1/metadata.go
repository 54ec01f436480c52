package azure1

import (
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// The objects of this API. Its mixed spelling is the original's.
type (
	brokerObject struct {
		HostName string  `json:"hostName"`
		Port     int32   `json:"port"`
		ID       int32   `json:"id"`
		Rack     *string `json:"rack"`
	}
	partitionObject struct {
		ID       int32          `json:"partition_id"`
		Earliest int64          `json:"earliest_offset"`
		Latest   int64          `json:"latest_offset"`
		Leader   *brokerObject  `json:"leader"`
		Replicas []brokerObject `json:"replicas"`
		InSync   []brokerObject `json:"isr"`
	}
)

// listTopics serves GET /v1/metadata/topics: the names of all topics that are
// not Kafka's own, sorted. The original's list lags behind; this one does not.
func (a *api) listTopics(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	topics, err := a.gate.Topics(r.Context(), who)
	if err != nil {
		return err
	}
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	return respond(w, map[string][]string{"topics": names})
}

// listBrokers serves GET /v1/metadata/brokers.
func (a *api) listBrokers(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	info, err := a.gate.Cluster(r.Context(), who)
	if err != nil {
		return err
	}
	brokers := make([]brokerObject, len(info.Brokers))
	for i, b := range info.Brokers {
		brokers[i] = brokerObject{b.Host, b.Port, b.ID, b.Rack}
	}
	return respond(w, map[string][]brokerObject{"brokers": brokers})
}

// listPartitions serves GET /v1/metadata/topics/{topic}/partitions.
func (a *api) listPartitions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, live, ranges, err := a.describe(r, who)
	if err != nil {
		return err
	}
	partitions := make([]partitionObject, len(t.Partitions))
	for i, p := range t.Partitions {
		partitions[i] = object(p, live, ranges[p.ID])
	}
	return respond(w, struct {
		Topic      string            `json:"topic"`
		Partitions []partitionObject `json:"partitions"`
	}{t.Name, partitions})
}

// getPartition serves GET /v1/metadata/topics/{topic}/partitions/{partition}.
func (a *api) getPartition(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	number, err := partitionNumber(r.PathValue("partition"))
	if err != nil {
		return err
	}
	t, live, ranges, err := a.describe(r, who, number)
	if err != nil {
		return err
	}
	p, err := t.Partition(number)
	if err != nil {
		return err
	}
	return respond(w, object(p, live, ranges[p.ID]))
}

// describe looks up the topic that the path names, with the brokers and the
// ends of its logs, of those in only if there are some.
func (a *api) describe(r *http.Request, who gate.Principal, only ...int32) (kafka.Topic, map[int32]kafka.Broker, map[int32]kafka.Range, error) {
	t, live, err := a.gate.LocatedTopic(r.Context(), who, r.PathValue("topic"))
	if err != nil {
		return t, nil, nil, err
	}
	ranges, err := a.gate.Ranges(r.Context(), who, t.Name, only...)
	return t, live, ranges, err
}

func object(p kafka.Partition, live map[int32]kafka.Broker, r kafka.Range) partitionObject {
	o := partitionObject{ID: p.ID, Earliest: r.Start, Latest: r.End, Replicas: brokersOf(p.Replicas, live), InSync: brokersOf(p.InSync, live)}
	if p.Leader >= 0 {
		o.Leader = &brokersOf([]int32{p.Leader}, live)[0]
	}
	return o
}

// brokersOf returns brokers as objects. One that is down has an id and no
// address, as in Kafka's own client.
func brokersOf(ids []int32, live map[int32]kafka.Broker) []brokerObject {
	brokers := make([]brokerObject, len(ids))
	for i, id := range ids {
		brokers[i] = brokerObject{Port: -1, ID: id}
		if b, ok := live[id]; ok {
			brokers[i] = brokerObject{b.Host, b.Port, b.ID, b.Rack}
		}
	}
	return brokers
}

// partitionNumber reads a partition in a path.
func partitionNumber(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, invalid("The partition must be a number from 0 to 2147483647.")
	}
	return int32(n), nil
}
