package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A NewTopic describes a topic that is to be created.
type NewTopic struct {
	Name        string
	Partitions  int32 // 0: the broker's default
	Replication int16 // 0: the broker's default
	// Replicas are the brokers of each partition, the preferred leader first;
	// with it, Partitions and Replication must be 0.
	Replicas map[int32][]int32
	Settings []Setting // those without a value keep the broker's default
}

// visibleTimeout is how long a call waits for the brokers to show what it has
// changed.
const visibleTimeout = 5 * time.Second

// ValidTopic says whether Kafka allows a topic of that name.
func ValidTopic(name string) bool {
	if name == "" || len(name) > 249 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// check refuses what Apache Kafka would refuse, since the embedded broker takes
// any name, setting and replica.
func (t NewTopic) check(brokers []Broker) error {
	if !ValidTopic(t.Name) {
		return &explanation{"A topic's name has from 1 to 249 of the characters a-z A-Z 0-9 . _ - and is neither . nor ..", kerr.InvalidTopicException}
	}
	for _, s := range t.Settings {
		if s.Value == nil {
			continue
		}
		if err := (SettingDetail{Setting: Setting{Name: s.Name}, Type: topicSettings[s.Name]}).Check(*s.Value); err != nil {
			return err
		}
	}
	for partition, replicas := range t.Replicas {
		if len(replicas) == 0 {
			return &explanation{fmt.Sprintf("Partition %d of topic %s has no replica.", partition, t.Name), kerr.InvalidReplicaAssignment}
		}
		for _, id := range replicas {
			if !slices.ContainsFunc(brokers, func(b Broker) bool { return b.ID == id }) {
				return &explanation{fmt.Sprintf("There is no broker %d for a replica of topic %s.", id, t.Name), kerr.InvalidReplicaAssignment}
			}
		}
	}
	return nil
}

// CreateTopic creates a topic and waits until all brokers show it with a leader
// for every partition, for five seconds at most. Broker errors wrap a
// *kerr.Error; their text is the broker's own explanation where it gives one.
func (c *Cluster) CreateTopic(ctx context.Context, t NewTopic) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer c.listed.change()
	if _, err := c.askForTopic(ctx, t, false); err != nil {
		return err
	}
	c.until(ctx, t.Name, func(shown kmsg.MetadataResponseTopic) bool {
		return shown.ErrorCode == 0 && len(shown.Partitions) > 0 &&
			!slices.ContainsFunc(shown.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 })
	})
	return nil
}

// CheckTopic asks whether a topic could be created, without creating it, and
// returns how many partitions and replicas of each it would have; 0 where the
// broker does not tell. The errors are those of CreateTopic.
func (c *Cluster) CheckTopic(ctx context.Context, t NewTopic) (partitions int32, replication int16, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	answer, err := c.askForTopic(ctx, t, true)
	return max(answer.NumPartitions, 0), max(answer.ReplicationFactor, 0), err
}

// askForTopic has a broker create a topic, or only check whether it would.
func (c *Cluster) askForTopic(ctx context.Context, t NewTopic, dry bool) (answer kmsg.CreateTopicsResponseTopic, err error) {
	var brokers []Broker
	if len(t.Replicas) > 0 {
		info, err := c.Info(ctx)
		if err != nil {
			return answer, err
		}
		brokers = info.Brokers
	}
	if err := t.check(brokers); err != nil {
		return answer, err
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(adminTimeout / time.Millisecond)
	req.ValidateOnly = dry
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Name, -1, -1
	if t.Partitions != 0 {
		rt.NumPartitions = t.Partitions
	}
	if t.Replication != 0 {
		rt.ReplicationFactor = t.Replication
	}
	for partition, brokers := range t.Replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = partition, brokers
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	}
	for _, s := range t.Settings {
		if s.Value == nil {
			continue // Apache Kafka takes no null here
		}
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = s.Name, s.Value
		rt.Configs = append(rt.Configs, config)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return answer, fmt.Errorf("create topic %s: %w", t.Name, c.unreachable(err))
	}
	if len(resp.Topics) != 1 {
		return answer, fmt.Errorf("create topic %s: the broker answered for %d topics", t.Name, len(resp.Topics))
	}
	answer = resp.Topics[0]
	err = explained(answer.ErrorCode, answer.ErrorMessage)
	if errors.Is(err, kerr.TopicAlreadyExists) { // not every broker names it
		err = &explanation{fmt.Sprintf("Topic '%s' already exists.", t.Name), kerr.TopicAlreadyExists}
	}
	return answer, err
}

// DeleteTopic deletes a topic with all its records and waits until no broker
// shows it any more, for five seconds at most. One that does not exist is
// kerr.UnknownTopicOrPartition.
func (c *Cluster) DeleteTopic(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer c.listed.change()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(adminTimeout / time.Millisecond)
	req.TopicNames = []string{name}
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &name
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", name, c.unreachable(err))
	}
	if len(resp.Topics) != 1 {
		return fmt.Errorf("delete topic %s: the broker answered for %d topics", name, len(resp.Topics))
	}
	if err := explained(resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage); err != nil {
		return err
	}
	c.until(ctx, name, func(shown kmsg.MetadataResponseTopic) bool {
		return shown.ErrorCode == kerr.UnknownTopicOrPartition.Code
	})
	return nil
}

// until asks every broker again and again until it shows a topic as wanted: the
// next call may ask any of them. What was asked for is done already, so nobody is
// told when that takes too long.
func (c *Cluster) until(ctx context.Context, topic string, wanted func(kmsg.MetadataResponseTopic) bool) {
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	for _, b := range c.reader.DiscoveredBrokers() {
		for !c.shows(ctx, b, topic, wanted) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// shows says whether a broker shows a topic as wanted. One that does not answer
// shows nothing else either.
func (c *Cluster) shows(ctx context.Context, b *kgo.Broker, topic string, wanted func(kmsg.MetadataResponseTopic) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, b)
	return err != nil || len(resp.Topics) == 1 && wanted(resp.Topics[0])
}

// explained is the error of a code, in the broker's own words if it has any.
func explained(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil || *message == "" {
		return err
	}
	return &explanation{*message, err}
}

// An explanation is a broker's error in the words of that broker.
type explanation struct {
	text string
	err  error
}

func (e *explanation) Error() string { return e.text }

func (e *explanation) Unwrap() error { return e.err }

// Reworded returns an error that is err in other words: what the broker or this package
// says of it, as change has it. Errors that are Kafka's description alone stay as they
// are.
func Reworded(err error, change func(text string) string) error {
	var said *explanation
	if !errors.As(err, &said) && !errors.Is(err, ErrNoPartition) {
		return err
	}
	return &explanation{change(Message(err)), err}
}

// Message returns the first line of what a broker says about an error: its own
// explanation, else Kafka's description of it. For an error that is no broker's
// it is the error's own text.
func Message(err error) string {
	var said *explanation
	var broker *kerr.Error
	text := err.Error()
	if errors.As(err, &said) {
		text = said.text
	} else if errors.As(err, &broker) {
		text = broker.Description
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}
