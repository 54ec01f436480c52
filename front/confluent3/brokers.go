package confluent3

import (
	"net/http"
	"slices"

	"github.com/klamm-gateway/klamm/kafka"
)

type brokerResource struct {
	head
	ID       int32     `json:"broker_id"`
	Host     string    `json:"host"`
	Port     int32     `json:"port"`
	Rack     *string   `json:"rack"`
	Configs  *relation `json:"configs"`
	Replicas *relation `json:"partition_replicas"`
}

func (c *call) broker(n kafka.Broker) brokerResource {
	id := text(n.ID)
	return brokerResource{
		head: c.head("KafkaBroker", c.url("brokers", id), c.crn("broker="+id)), ID: n.ID, Host: n.Host, Port: n.Port, Rack: n.Rack,
		Configs: c.to("brokers", id, "configs"), Replicas: c.to("brokers", id, "partition-replicas"),
	}
}

// listBrokers serves GET C/brokers.
func (a *api) listBrokers(c *call) error {
	info, err := a.gate.Cluster(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var data []brokerResource
	for _, n := range info.Brokers {
		data = append(data, c.broker(n))
	}
	return c.answer(http.StatusOK, listOf("KafkaBrokerList", c.url("brokers"), data))
}

// getBroker serves GET C/brokers/{broker_id}.
func (a *api) getBroker(c *call) error {
	n, err := a.pathBroker(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.broker(n))
}

// pathBroker is the live broker that the path names; the error is errNotFound.
func (a *api) pathBroker(c *call) (kafka.Broker, error) {
	id, err := c.number("broker")
	if err != nil {
		return kafka.Broker{}, err
	}
	info, err := a.gate.Cluster(c.r.Context(), c.who)
	if err != nil {
		return kafka.Broker{}, err
	}
	i := slices.IndexFunc(info.Brokers, func(n kafka.Broker) bool { return n.ID == id })
	if i < 0 {
		return kafka.Broker{}, errNotFound
	}
	return info.Brokers[i], nil
}

// listBrokerReplicas serves GET C/brokers/{broker_id}/partition-replicas: the
// replicas of topics that the caller may describe.
func (a *api) listBrokerReplicas(c *call) error {
	n, err := a.pathBroker(c)
	if err != nil {
		return err
	}
	topics, err := a.gate.AllTopics(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var data []replicaResource
	for _, t := range topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, n.ID) {
				data = append(data, c.replica(t.Name, p, n.ID))
			}
		}
	}
	return c.answer(http.StatusOK, listOf("KafkaReplicaList", c.url("brokers", text(n.ID), "partition-replicas"), data))
}
