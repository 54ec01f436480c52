package confluent2

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// The objects of this API's metadata (rest-apis.md 4.2).
type (
	topicObject struct {
		Name       string             `json:"name"`
		Configs    map[string]*string `json:"configs"`
		Partitions []partitionObject  `json:"partitions"`
	}
	partitionObject struct {
		Partition int32           `json:"partition"`
		Leader    int32           `json:"leader"`
		Replicas  []replicaObject `json:"replicas"`
	}
	replicaObject struct {
		Broker int32 `json:"broker"`
		Leader bool  `json:"leader"`
		InSync bool  `json:"in_sync"`
	}
	offsetsObject struct {
		Beginning int64 `json:"beginning_offset"`
		End       int64 `json:"end_offset"`
	}
)

// respond answers with a value as JSON.
func (a *api) respond(w http.ResponseWriter, r *http.Request, value any) error {
	media, err := a.accept(r, v2Only)
	if err != nil {
		return err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return write(w, media, body)
}

// listBrokers serves GET /brokers.
func (a *api) listBrokers(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	ids, err := a.gate.Brokers(r.Context(), who)
	if err != nil {
		return err
	}
	return a.respond(w, r, map[string][]int32{"brokers": append([]int32{}, ids...)})
}

// listTopics serves GET /topics: the names of all topics that are not Kafka's
// own, sorted; the original does not sort. Karapace lists Kafka's own too.
func (a *api) listTopics(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list := a.gate.Topics
	if a.habits.internalTopics {
		list = a.gate.AllTopics
	}
	topics, err := list(r.Context(), who)
	if err != nil {
		return err
	}
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	slices.Sort(names)
	return a.respond(w, r, names)
}

// getTopic serves GET /topics/{topic}.
func (a *api) getTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, err := a.topic(r.Context(), r, who)
	if err != nil {
		return err
	}
	settings, err := a.gate.TopicSettings(r.Context(), who, t.Name)
	if err != nil {
		return err
	}
	object := topicObject{Name: t.Name, Configs: map[string]*string{}, Partitions: partitionObjects(t)}
	for _, s := range settings {
		object.Configs[s.Name] = s.Value
	}
	return a.respond(w, r, object)
}

// listPartitions serves GET /topics/{topic}/partitions.
func (a *api) listPartitions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, err := a.topic(r.Context(), r, who)
	if err != nil {
		return err
	}
	return a.respond(w, r, partitionObjects(t))
}

// getPartition serves GET /topics/{topic}/partitions/{partition}.
func (a *api) getPartition(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	_, p, err := a.partition(r, who)
	if err != nil {
		return err
	}
	return a.respond(w, r, object(p))
}

// getOffsets serves GET /topics/{topic}/partitions/{partition}/offsets.
func (a *api) getOffsets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, p, err := a.partition(r, who)
	if err != nil {
		return err
	}
	ranges, err := a.gate.Ranges(r.Context(), who, t.Name, p.ID)
	if err != nil {
		return err
	}
	return a.respond(w, r, offsetsObject{ranges[p.ID].Start, ranges[p.ID].End})
}

// topic looks up the topic that the path names.
func (a *api) topic(ctx context.Context, r *http.Request, who gate.Principal) (kafka.Topic, error) {
	return a.gate.Topic(ctx, who, r.PathValue("topic"))
}

// partition looks up the partition that the path names.
func (a *api) partition(r *http.Request, who gate.Principal) (kafka.Topic, kafka.Partition, error) {
	number, err := partitionNumber(r.PathValue("partition"))
	if errors.Is(err, errNotFound) {
		return kafka.Topic{}, kafka.Partition{}, err
	}
	t, topicErr := a.topic(r.Context(), r, who)
	if topicErr != nil {
		return kafka.Topic{}, kafka.Partition{}, topicErr
	}
	if err != nil {
		return kafka.Topic{}, kafka.Partition{}, errNoPartition
	}
	p, err := t.Partition(number)
	return t, p, err
}

func partitionObjects(t kafka.Topic) []partitionObject {
	objects := make([]partitionObject, len(t.Partitions))
	for i, p := range t.Partitions {
		objects[i] = object(p)
	}
	return objects
}

func object(p kafka.Partition) partitionObject {
	o := partitionObject{Partition: p.ID, Leader: p.Leader, Replicas: []replicaObject{}}
	inSync := map[int32]bool{}
	for _, b := range p.InSync {
		inSync[b] = true
	}
	for _, b := range p.Replicas {
		o.Replicas = append(o.Replicas, replicaObject{Broker: b, Leader: b == p.Leader, InSync: inSync[b]})
	}
	return o
}
