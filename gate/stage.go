package gate

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// real returns the name by which Kafka and policies know a topic that a caller names
// (gateway-policies.md 5.2).
func (p *Principal) real(topic string) string {
	if p.TopicPrefix == "" || topic == "" {
		return topic
	}
	return p.TopicPrefix + topic
}

// shown returns the name by which a caller knows a topic; ok is false for one that
// the caller's stage does not have.
func (p *Principal) shown(topic string) (name string, ok bool) {
	name, ok = strings.CutPrefix(topic, p.TopicPrefix)
	return name, ok && name != ""
}

// called is shown for a topic that the stage has.
func (p *Principal) called(topic string) string {
	name, _ := p.shown(topic)
	return name
}

// shownError returns an error about a topic that Kafka knows by this name, with the
// caller's name for it in what klamm or the broker says.
func (p *Principal) shownError(err error, topic string) error {
	if err == nil || p.TopicPrefix == "" {
		return err
	}
	return kafka.Reworded(err, func(text string) string { return renamed(text, topic, p.called(topic)) })
}

// renamed puts one name of a topic in the place of another wherever that stands on its own.
func renamed(text, from, to string) string {
	var out strings.Builder
	done := 0
	for from != "" {
		i := strings.Index(text[done:], from)
		if i < 0 {
			break
		}
		begin, end := done+i, done+i+len(from)
		next := strings.TrimLeft(text[end:], ".") // a sentence may end behind it
		out.WriteString(text[done:begin])
		if (begin == 0 || !inName(text[begin-1])) && (next == "" || !inName(next[0])) {
			out.WriteString(to)
		} else {
			out.WriteString(from)
		}
		done = end
	}
	out.WriteString(text[done:])
	return out.String()
}

// inName says whether a byte may be part of a topic's name.
func inName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

func (p *Principal) realAll(topics []string) []string {
	if p.TopicPrefix == "" {
		return topics
	}
	all := make([]string, len(topics))
	for i, t := range topics {
		all[i] = p.real(t)
	}
	return all
}

// shownAll returns the names of the topics that the stage has.
func (p *Principal) shownAll(topics []string) []string {
	if p.TopicPrefix == "" {
		return topics
	}
	all := make([]string, 0, len(topics))
	for _, t := range topics {
		if name, ok := p.shown(t); ok {
			all = append(all, name)
		}
	}
	return all
}

// shownTopics returns the topics that the stage has, under the caller's names for
// them. The slice is used again.
func (p *Principal) shownTopics(all []kafka.Topic) []kafka.Topic {
	if p.TopicPrefix == "" {
		return all
	}
	seen := all[:0]
	for _, t := range all {
		if name, ok := p.shown(t.Name); ok {
			t.Name = name
			seen = append(seen, t)
		}
	}
	return seen
}

// shownRecords returns copies of records with the caller's name of their topic.
func (p *Principal) shownRecords(all []*kgo.Record) []*kgo.Record {
	if p.TopicPrefix == "" {
		return all
	}
	out := make([]*kgo.Record, len(all))
	for i, r := range all {
		one := *r
		one.Topic = p.called(r.Topic)
		out[i] = &one
	}
	return out
}

// shownNames is a map by names that the stage has.
func shownNames[V any](p *Principal, all map[string]V) map[string]V {
	if p.TopicPrefix == "" {
		return all
	}
	out := make(map[string]V, len(all))
	for topic, v := range all {
		if name, ok := p.shown(topic); ok {
			out[name] = v
		}
	}
	return out
}

// realPartitions names partitions as Kafka does.
func (p *Principal) realPartitions(all []kafka.TopicPartition) []kafka.TopicPartition {
	if p.TopicPrefix == "" {
		return all
	}
	out := make([]kafka.TopicPartition, len(all))
	for i, one := range all {
		out[i] = kafka.TopicPartition{Topic: p.real(one.Topic), Partition: one.Partition}
	}
	return out
}

// shownPartitions returns the partitions of topics that the stage has.
func (p *Principal) shownPartitions(all []kafka.TopicPartition) []kafka.TopicPartition {
	if p.TopicPrefix == "" {
		return all
	}
	out := make([]kafka.TopicPartition, 0, len(all))
	for _, one := range all {
		if name, ok := p.shown(one.Topic); ok {
			out = append(out, kafka.TopicPartition{Topic: name, Partition: one.Partition})
		}
	}
	return out
}

// shownDeliveries returns deliveries under the caller's names of their topics.
func (p *Principal) shownDeliveries(all []Delivery) []Delivery {
	if p.TopicPrefix == "" {
		return all
	}
	out := make([]Delivery, len(all))
	for i, d := range all {
		if d.Record != nil {
			one := *d.Record
			one.Topic = p.called(one.Topic)
			d.Record = &one
		}
		d.Bad = p.shownBad(d.Bad)
		out[i] = d
	}
	return out
}

func (p *Principal) shownBad(bad *BadRecord) *BadRecord {
	if bad == nil || p.TopicPrefix == "" {
		return bad
	}
	one := *bad
	one.Topic = p.called(one.Topic)
	return &one
}

// wholeCluster refuses what would show or change topics of other stages.
func (p *Principal) wholeCluster() error {
	if p.TopicPrefix == "" {
		return nil
	}
	return &Error{Denied, "this is about the whole cluster, and the stage has topics of its own only"}
}
