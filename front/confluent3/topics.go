package confluent3

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
)

type topicResource struct {
	head
	Name          string    `json:"topic_name"`
	Internal      bool      `json:"is_internal"`
	Replication   int       `json:"replication_factor"`
	Count         int       `json:"partitions_count"`
	Partitions    *relation `json:"partitions"`
	Configs       *relation `json:"configs"`
	Reassignments *relation `json:"partition_reassignments"`
	Operations    []string  `json:"authorized_operations"`
}

func (c *call) topic(t kafka.Topic, operations []string) topicResource {
	if operations == nil {
		operations = []string{}
	}
	r := topicResource{
		head: c.head("KafkaTopic", c.url("topics", t.Name), c.crn("topic="+t.Name)), Name: t.Name, Internal: t.Internal, Count: len(t.Partitions),
		Partitions: c.to("topics", t.Name, "partitions"), Configs: c.to("topics", t.Name, "configs"),
		Reassignments: c.to("topics", t.Name, "partitions", "-", "reassignment"), Operations: operations,
	}
	if len(t.Partitions) > 0 {
		r.Replication = len(t.Partitions[0].Replicas)
	}
	return r
}

// operations says whether authorized operations are asked for; the list and the
// single topic spell it differently, and klamm takes both on both.
func (c *call) operations() bool {
	q := c.r.URL.Query()
	return strings.EqualFold(q.Get("include_authorized_operations"), "true") || strings.EqualFold(q.Get("includeAuthorizedOperations"), "true")
}

// listTopics serves GET C/topics. The authorized operations are those of klamm's
// own identity towards Kafka.
func (a *api) listTopics(c *call) error {
	topics, err := a.gate.AllTopics(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var allowed map[string][]string
	if c.operations() {
		names := make([]string, len(topics))
		for i, t := range topics {
			names[i] = t.Name
		}
		if allowed, err = a.gate.TopicOperations(c.r.Context(), c.who, names...); err != nil {
			return err
		}
	}
	data := make([]topicResource, len(topics))
	for i, t := range topics {
		data[i] = c.topic(t, allowed[t.Name])
	}
	return c.answer(http.StatusOK, listOf("KafkaTopicList", c.url("topics"), data))
}

// getTopic serves GET C/topics/{t}.
func (a *api) getTopic(c *call) error {
	t, err := a.gate.Topic(c.r.Context(), c.who, c.r.PathValue("topic"))
	if err != nil {
		return err
	}
	var allowed map[string][]string
	if c.operations() {
		if allowed, err = a.gate.TopicOperations(c.r.Context(), c.who, t.Name); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, c.topic(t, allowed[t.Name]))
}

// createBody is the body of POST C/topics (rest-apis.md 5.4).
type createBody struct {
	Name        *string              `json:"topic_name"`
	Count       *integer             `json:"partitions_count"`
	Replication *integer             `json:"replication_factor"`
	Assignments map[string][]integer `json:"replicas_assignments"`
	Configs     []struct {
		Name  *string `json:"name"`
		Value *string `json:"value"`
	} `json:"configs"`
	ValidateOnly truth `json:"validate_only"`
}

// createTopic serves POST C/topics.
func (a *api) createTopic(c *call) error {
	var body createBody
	if err := c.decode(&body, "Request body is empty. Data is required."); err != nil {
		return err
	}
	t, err := body.topic()
	if err != nil {
		return err
	}
	r := c.topic(kafka.Topic{Name: t.Name}, nil)
	if body.ValidateOnly {
		partitions, replication, err := a.gate.CheckTopic(c.r.Context(), c.who, t)
		if err != nil {
			return err
		}
		r.Count, r.Replication = int(partitions), int(replication)
		return c.answer(http.StatusOK, r)
	}
	if err := a.gate.CreateTopic(c.r.Context(), c.who, t); err != nil {
		return err
	}
	if made, err := a.gate.Topic(c.r.Context(), c.who, t.Name); err == nil { // one may create what one may not describe
		r = c.topic(made, nil)
	}
	c.w.Header().Set("Location", r.Metadata.Self)
	return c.answer(http.StatusCreated, r)
}

// topic checks the body and makes of it what the cluster understands.
func (b *createBody) topic() (t kafka.NewTopic, err error) {
	if b.Name == nil {
		return t, badRequest("Missing required creator property 'topic_name'")
	}
	if !kafka.ValidTopic(*b.Name) {
		return t, payload("Invalid topic name.")
	}
	t = kafka.NewTopic{Name: *b.Name}
	for _, s := range b.Configs {
		if s.Name == nil {
			return t, badRequest("Missing required creator property 'name'")
		}
		t.Settings = append(t.Settings, kafka.Setting{Name: *s.Name, Value: s.Value})
	}
	if len(b.Assignments) > 0 {
		t.Replicas, err = replicas(b.Assignments)
		return t, err
	}
	if b.Count != nil {
		if *b.Count < 1 {
			return t, refuse(http.StatusBadRequest, 40002, "Number of partitions must be larger than 0.")
		}
		t.Partitions = int32(*b.Count)
	}
	if b.Replication != nil {
		if *b.Replication < 1 || *b.Replication > math.MaxInt16 {
			return t, refuse(http.StatusBadRequest, 40002, "Replication factor must be larger than 0.")
		}
		t.Replication = int16(*b.Replication)
	}
	return t, nil
}

// replicas reads the brokers of each partition.
func replicas(assignments map[string][]integer) (map[int32][]int32, error) {
	all := make(map[int32][]int32, len(assignments))
	for name, brokers := range assignments {
		p, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, wrongType("replicas_assignments", "int", clipped(name))
		}
		all[int32(p)] = make([]int32, len(brokers)) // none is for the broker to refuse
		for i, id := range brokers {
			all[int32(p)][i] = int32(id)
		}
	}
	return all, nil
}

// patchTopic serves PATCH C/topics/{t}, which raises the number of partitions.
func (a *api) patchTopic(c *call) error {
	var body struct {
		Count *integer `json:"partitions_count"`
	}
	const empty = "Request body is empty. Partitions_count is required."
	if err := c.decode(&body, empty); err != nil {
		return err
	}
	if body.Count == nil {
		return payload(empty)
	}
	name, want := c.r.PathValue("topic"), int32(*body.Count)
	t, err := a.gate.Topic(c.r.Context(), c.who, name)
	if err != nil {
		return err
	}
	have := int32(len(t.Partitions))
	if want == have {
		return refuse(http.StatusBadRequest, 40002, "Topic already has %d partitions.", have)
	}
	if want < have {
		return refuse(http.StatusBadRequest, 40002, "The topic %s currently has %d partition(s); %d would not be an increase.", name, have, want)
	}
	if err := a.gate.GrowTopic(c.r.Context(), c.who, name, want); err != nil {
		return err
	}
	// Metadata may lag behind the controller for a moment; the answer does not.
	r := c.topic(t, nil)
	r.Count = int(want)
	return c.answer(http.StatusOK, r)
}

// deleteTopic serves DELETE C/topics/{t}.
func (a *api) deleteTopic(c *call) error {
	if err := a.gate.DeleteTopic(c.r.Context(), c.who, c.r.PathValue("topic")); err != nil {
		return err
	}
	return c.done()
}
