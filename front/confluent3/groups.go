package confluent3

import (
	"errors"
	"net/http"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

type (
	groupResource struct {
		head
		ID          string    `json:"consumer_group_id"`
		Simple      bool      `json:"is_simple"`
		Assignor    string    `json:"partition_assignor"`
		State       string    `json:"state"`
		Type        string    `json:"type"`
		Mixed       bool      `json:"is_mixed_consumer_group"`
		Coordinator *relation `json:"coordinator"`
		Consumers   *relation `json:"consumers"`
		LagSummary  *relation `json:"lag_summary"`
	}
	consumerResource struct {
		head
		Group       string    `json:"consumer_group_id"`
		ID          string    `json:"consumer_id"`
		InstanceID  *string   `json:"instance_id"`
		ClientID    string    `json:"client_id"`
		Assignments *relation `json:"assignments"`
	}
	assignmentResource struct {
		head
		Group     string    `json:"consumer_group_id"`
		Consumer  string    `json:"consumer_id"`
		Topic     string    `json:"topic_name"`
		ID        int32     `json:"partition_id"`
		Partition *relation `json:"partition"`
		Lag       *relation `json:"lag"`
	}
	lagResource struct {
		head
		Group      string  `json:"consumer_group_id"`
		Topic      string  `json:"topic_name"`
		Partition  int32   `json:"partition_id"`
		Consumer   string  `json:"consumer_id"`
		InstanceID *string `json:"instance_id"`
		ClientID   string  `json:"client_id"`
		Current    int64   `json:"current_offset"`
		End        int64   `json:"log_end_offset"`
		Lag        int64   `json:"lag"`
	}
	lagSummaryResource struct {
		head
		Group        string    `json:"consumer_group_id"`
		Max          int64     `json:"max_lag"`
		Total        int64     `json:"total_lag"`
		Consumer     string    `json:"max_lag_consumer_id"`
		ConsumerLink *relation `json:"max_lag_consumer"`
		ClientID     string    `json:"max_lag_client_id"`
		InstanceID   *string   `json:"max_lag_instance_id"`
		Topic        string    `json:"max_lag_topic_name"`
		Partition    int32     `json:"max_lag_partition_id"`
		PartitionTo  *relation `json:"max_lag_partition"`
	}
)

func (c *call) group(g kafka.Group) groupResource {
	return groupResource{
		head: c.head("KafkaConsumerGroup", c.url("consumer-groups", g.ID), c.crn("consumer-group="+g.ID)), ID: g.ID, Simple: g.Simple,
		Assignor: g.Assignor, State: g.State, Type: g.Type, Mixed: g.Mixed, Coordinator: c.to("brokers", text(g.Coordinator)),
		Consumers: c.to("consumer-groups", g.ID, "consumers"), LagSummary: c.to("consumer-groups", g.ID, "lag-summary"),
	}
}

func (c *call) consumer(group string, m kafka.Member) consumerResource {
	at := []string{"consumer-groups", group, "consumers", m.ID}
	return consumerResource{
		head: c.head("KafkaConsumer", c.url(at...), c.crn("consumer-group="+group, "consumer="+m.ID)), Group: group, ID: m.ID,
		InstanceID: m.InstanceID, ClientID: m.ClientID, Assignments: c.to(append(at, "assignments")...),
	}
}

func (c *call) assignment(group, member string, p kafka.TopicPartition) assignmentResource {
	at := []string{p.Topic, "partitions", text(p.Partition)}
	return assignmentResource{
		head: c.head("KafkaConsumerAssignment", c.url(append([]string{"consumer-groups", group, "consumers", member, "assignments"}, at...)...),
			c.crn("consumer-group="+group, "consumer="+member, "assignment="+p.Topic, "partition="+text(p.Partition))),
		Group: group, Consumer: member, Topic: p.Topic, ID: p.Partition, Partition: c.to(append([]string{"topics"}, at...)...),
		Lag: c.to(append([]string{"consumer-groups", group, "lags"}, at...)...),
	}
}

func (c *call) lag(group string, l kafka.Lag) lagResource {
	r := lagResource{
		head: c.head("KafkaConsumerLag", c.url("consumer-groups", group, "lags", l.Topic, "partitions", text(l.Partition)),
			c.crn("consumer-group="+group, "lag="+l.Topic, "partition="+text(l.Partition))),
		Group: group, Topic: l.Topic, Partition: l.Partition, Current: l.Committed, End: l.End, Lag: l.Behind(),
	}
	if l.Member != nil {
		r.Consumer, r.InstanceID, r.ClientID = l.Member.ID, l.Member.InstanceID, l.Member.ClientID
	}
	return r
}

// groupError words the error for a group that does not exist.
func (c *call) groupError(err error) error {
	if errors.Is(err, kerr.GroupIDNotFound) {
		return refuse(http.StatusNotFound, 404, "Consumer Group %s could not be found.", clipped(c.r.PathValue("group")))
	}
	return err
}

// pathGroup is the consumer group that the path names.
func (a *api) pathGroup(c *call) (kafka.Group, error) {
	g, err := a.gate.Group(c.r.Context(), c.who, c.r.PathValue("group"))
	return g, c.groupError(err)
}

// listGroups serves GET C/consumer-groups.
func (a *api) listGroups(c *call) error {
	groups, err := a.gate.Groups(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var data []groupResource
	for _, g := range groups {
		data = append(data, c.group(g))
	}
	return c.answer(http.StatusOK, listOf("KafkaConsumerGroupList", c.url("consumer-groups"), data))
}

// getGroup serves GET C/consumer-groups/{g}.
func (a *api) getGroup(c *call) error {
	g, err := a.pathGroup(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.group(g))
}

// listConsumers serves GET C/consumer-groups/{g}/consumers.
func (a *api) listConsumers(c *call) error {
	g, err := a.pathGroup(c)
	if err != nil {
		return err
	}
	var data []consumerResource
	for _, m := range g.Members {
		data = append(data, c.consumer(g.ID, m))
	}
	return c.answer(http.StatusOK, listOf("KafkaConsumerList", c.url("consumer-groups", g.ID, "consumers"), data))
}

// pathMember is the member that the path names; the error is errNotFound.
func (a *api) pathMember(c *call) (kafka.Group, kafka.Member, error) {
	g, err := a.pathGroup(c)
	if err != nil {
		return g, kafka.Member{}, err
	}
	i := slices.IndexFunc(g.Members, func(m kafka.Member) bool { return m.ID == c.r.PathValue("consumer") })
	if i < 0 {
		return g, kafka.Member{}, errNotFound
	}
	return g, g.Members[i], nil
}

// getConsumer serves GET C/consumer-groups/{g}/consumers/{c}.
func (a *api) getConsumer(c *call) error {
	g, m, err := a.pathMember(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.consumer(g.ID, m))
}

// listAssignments serves GET C/consumer-groups/{g}/consumers/{c}/assignments.
func (a *api) listAssignments(c *call) error {
	g, m, err := a.pathMember(c)
	if err != nil {
		return err
	}
	var data []assignmentResource
	for _, p := range m.Assigned {
		data = append(data, c.assignment(g.ID, m.ID, p))
	}
	return c.answer(http.StatusOK, listOf("KafkaConsumerAssignmentList", c.url("consumer-groups", g.ID, "consumers", m.ID, "assignments"), data))
}

// getAssignment serves GET
// C/consumer-groups/{g}/consumers/{c}/assignments/{t}/partitions/{p}.
func (a *api) getAssignment(c *call) error {
	id, err := c.number("partition")
	if err != nil {
		return err
	}
	g, m, err := a.pathMember(c)
	if err != nil {
		return err
	}
	at := kafka.TopicPartition{Topic: c.r.PathValue("topic"), Partition: id}
	if !slices.Contains(m.Assigned, at) {
		return errNotFound
	}
	return c.answer(http.StatusOK, c.assignment(g.ID, m.ID, at))
}

// lags returns the lags of the group that the path names, of which there must be
// one.
func (a *api) lags(c *call) ([]kafka.Lag, error) {
	lags, err := a.gate.Lags(c.r.Context(), c.who, c.r.PathValue("group"))
	if err == nil && len(lags) == 0 {
		err = errNotFound
	}
	return lags, c.groupError(err)
}

// listLags serves GET C/consumer-groups/{g}/lags.
func (a *api) listLags(c *call) error {
	lags, err := a.lags(c)
	if err != nil {
		return err
	}
	group := c.r.PathValue("group")
	var data []lagResource
	for _, l := range lags {
		data = append(data, c.lag(group, l))
	}
	return c.answer(http.StatusOK, listOf("KafkaConsumerLagList", c.url("consumer-groups", group, "lags"), data))
}

// getLag serves GET C/consumer-groups/{g}/lags/{t}/partitions/{p}.
func (a *api) getLag(c *call) error {
	id, err := c.number("partition")
	if err != nil {
		return err
	}
	lags, err := a.lags(c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(lags, func(l kafka.Lag) bool { return l.Topic == c.r.PathValue("topic") && l.Partition == id })
	if i < 0 {
		return errNotFound
	}
	return c.answer(http.StatusOK, c.lag(c.r.PathValue("group"), lags[i]))
}

// getLagSummary serves GET C/consumer-groups/{g}/lag-summary.
func (a *api) getLagSummary(c *call) error {
	lags, err := a.lags(c)
	if err != nil {
		return err
	}
	group, worst := c.r.PathValue("group"), lags[0]
	r := lagSummaryResource{
		head:  c.head("KafkaConsumerGroupLagSummary", c.url("consumer-groups", group, "lag-summary"), c.crn("consumer-group="+group, "lag-summary")),
		Group: group, Max: worst.Behind(), Topic: worst.Topic, Partition: worst.Partition,
		PartitionTo: c.to("topics", worst.Topic, "partitions", text(worst.Partition)),
	}
	for _, l := range lags {
		r.Total += l.Behind()
	}
	if worst.Member != nil {
		r.Consumer, r.ClientID, r.InstanceID = worst.Member.ID, worst.Member.ClientID, worst.Member.InstanceID
	}
	r.ConsumerLink = c.to("consumer-groups", group, "consumers", r.Consumer)
	return c.answer(http.StatusOK, r)
}
