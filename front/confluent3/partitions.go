package confluent3

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
)

type (
	partitionResource struct {
		head
		Topic        string    `json:"topic_name"`
		ID           int32     `json:"partition_id"`
		Leader       *relation `json:"leader"`
		Replicas     *relation `json:"replicas"`
		Reassignment *relation `json:"reassignment"`
	}
	offsetsResource struct {
		head
		Topic    string `json:"topic_name"`
		ID       int32  `json:"partition_id"`
		Earliest int64  `json:"earliest_offset"`
		Latest   int64  `json:"latest_offset"`
	}
	replicaResource struct {
		head
		Topic     string    `json:"topic_name"`
		Partition int32     `json:"partition_id"`
		BrokerID  int32     `json:"broker_id"`
		Leader    bool      `json:"is_leader"`
		InSync    bool      `json:"is_in_sync"`
		Broker    *relation `json:"broker"`
	}
	reassignmentResource struct {
		head
		Topic     string    `json:"topic_name"`
		Partition int32     `json:"partition_id"`
		Adding    []int32   `json:"adding_replicas"`
		Removing  []int32   `json:"removing_replicas"`
		Replicas  *relation `json:"replicas"`
	}
)

func (c *call) partition(topic string, p kafka.Partition) partitionResource {
	at := []string{"topics", topic, "partitions", text(p.ID)}
	r := partitionResource{
		head: c.head("KafkaPartition", c.url(at...), c.crn("topic="+topic, "partition="+text(p.ID))), Topic: topic, ID: p.ID,
		Replicas: c.to(append(at, "replicas")...), Reassignment: c.to(append(at, "reassignment")...),
	}
	if p.Leader >= 0 {
		r.Leader = c.to(append(at, "replicas", text(p.Leader))...)
	}
	return r
}

func (c *call) replica(topic string, p kafka.Partition, broker int32) replicaResource {
	return replicaResource{
		head: c.head("KafkaReplica", c.url("topics", topic, "partitions", text(p.ID), "replicas", text(broker)),
			c.crn("topic="+topic, "partition="+text(p.ID), "replica="+text(broker))),
		Topic: topic, Partition: p.ID, BrokerID: broker, Leader: p.Leader == broker, InSync: slices.Contains(p.InSync, broker),
		Broker: c.to("brokers", text(broker)),
	}
}

func (c *call) reassignment(r kafka.Reassignment) reassignmentResource {
	at := []string{"topics", r.Topic, "partitions", text(r.Partition)}
	none := func(ids []int32) []int32 {
		if ids == nil {
			return []int32{}
		}
		return ids
	}
	return reassignmentResource{
		head:  c.head("KafkaReassignment", c.url(append(at, "reassignment")...), c.crn("topic="+r.Topic, "partition="+text(r.Partition), "reassignment")),
		Topic: r.Topic, Partition: r.Partition, Adding: none(r.Adding), Removing: none(r.Removing), Replicas: c.to(append(at, "replicas")...),
	}
}

// pathPartition is the partition that the path names. A missing topic and a
// missing partition have different answers.
func (a *api) pathPartition(c *call) (kafka.Topic, kafka.Partition, error) {
	id, err := c.number("partition")
	if err != nil {
		return kafka.Topic{}, kafka.Partition{}, err
	}
	t, err := a.gate.Topic(c.r.Context(), c.who, c.r.PathValue("topic"))
	if err != nil {
		return t, kafka.Partition{}, err
	}
	p, err := t.Partition(id)
	if errors.Is(err, kafka.ErrNoPartition) {
		err = errNotFound
	}
	return t, p, err
}

// listPartitions serves GET C/topics/{t}/partitions.
func (a *api) listPartitions(c *call) error {
	t, err := a.gate.Topic(c.r.Context(), c.who, c.r.PathValue("topic"))
	if err != nil {
		return err
	}
	var data []partitionResource
	for _, p := range t.Partitions {
		data = append(data, c.partition(t.Name, p))
	}
	return c.answer(http.StatusOK, listOf("KafkaPartitionList", c.url("topics", t.Name, "partitions"), data))
}

// getPartition serves GET C/topics/{t}/partitions/{p}.
func (a *api) getPartition(c *call) error {
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.partition(t.Name, p))
}

// getOffsets serves GET C/topics/{t}/partitions/{p}/offset.
func (a *api) getOffsets(c *call) error {
	if kind := c.r.URL.Query().Get("offset_type"); kind != "" && !strings.EqualFold(kind, "earliest_and_latest") {
		return unknownValue("OffsetType", kind)
	}
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	ranges, err := a.gate.Ranges(c.r.Context(), c.who, t.Name, p.ID)
	if err != nil {
		return err
	}
	at, ok := ranges[p.ID]
	if !ok {
		return errNotFound
	}
	return c.answer(http.StatusOK, offsetsResource{
		head: c.head("KafkaPartitionWithOffsets", c.url("topics", t.Name, "partitions", text(p.ID), "offset"),
			c.crn("topic="+t.Name, "partition="+text(p.ID), "offset_type=earliest_and_latest")),
		Topic: t.Name, ID: p.ID, Earliest: at.Start, Latest: at.End,
	})
}

// unknownValue is the answer to a word that is none of an enumeration's.
func unknownValue(enum, value string) *refusal {
	return refuse(http.StatusNotFound, 404, "The valid values for %s do not include '%s'", enum, clipped(value))
}

// listReplicas serves GET C/topics/{t}/partitions/{p}/replicas.
func (a *api) listReplicas(c *call) error {
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	var data []replicaResource
	for _, broker := range slices.Sorted(slices.Values(p.Replicas)) {
		data = append(data, c.replica(t.Name, p, broker))
	}
	return c.answer(http.StatusOK, listOf("KafkaReplicaList", c.url("topics", t.Name, "partitions", text(p.ID), "replicas"), data))
}

// getReplica serves GET C/topics/{t}/partitions/{p}/replicas/{broker_id}.
func (a *api) getReplica(c *call) error {
	broker, err := c.number("broker")
	if err != nil {
		return err
	}
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	if !slices.Contains(p.Replicas, broker) {
		return errNotFound
	}
	return c.answer(http.StatusOK, c.replica(t.Name, p, broker))
}

// listReassignments serves GET C/topics/{t}/partitions/-/reassignment, and the
// same for all topics.
func (a *api) listReassignments(c *call) error {
	name := c.r.PathValue("topic")
	var partitions []int32
	if name != "" {
		t, err := a.gate.Topic(c.r.Context(), c.who, name)
		if err != nil {
			return err
		}
		for _, p := range t.Partitions {
			partitions = append(partitions, p.ID)
		}
	}
	all, err := a.gate.Reassignments(c.r.Context(), c.who, name, partitions...)
	if err != nil {
		return err
	}
	if name == "" {
		name = "-"
	}
	var data []reassignmentResource
	for _, r := range all {
		data = append(data, c.reassignment(r))
	}
	return c.answer(http.StatusOK, listOf("KafkaReassignmentList", c.url("topics", name, "partitions", "-", "reassignment"), data))
}

// getReassignment serves GET C/topics/{t}/partitions/{p}/reassignment.
func (a *api) getReassignment(c *call) error {
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	all, err := a.gate.Reassignments(c.r.Context(), c.who, t.Name, p.ID)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errNotFound
	}
	return c.answer(http.StatusOK, c.reassignment(all[0]))
}
