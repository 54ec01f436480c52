package confluent2

import (
	"github.com/klamm-gateway/klamm/kafka"
)

// commit serves POST .../offsets: the offset of the last record that was worked
// on, so that the one after it is committed; without a body everything that was
// read. It returns when the broker has answered, with or without async.
func (k consumerAPI) commit(c consumerCall) error {
	body, err := k.text(c)
	if err != nil {
		return err
	}
	at, all, err := parseCommit(body, k.habits)
	switch {
	case err != nil:
		return err
	case all:
		err = c.CommitRead(c.r.Context())
	default:
		err = c.Commit(c.r.Context(), at)
	}
	if err != nil {
		return err
	}
	if k.habits.commitIsEmpty {
		return c.done()
	}
	return write(c.w, c.media, []byte("[]"))
}

// committed serves GET .../offsets, which names partitions in its body; beyond
// the original ?topic=T&partition=P does too, as often as needed.
func (k consumerAPI) committed(c consumerCall) error {
	body, err := k.text(c)
	if err != nil {
		return err
	}
	var partitions []kafka.TopicPartition
	switch {
	case !blank(body):
		partitions, err = parsePartitions(body)
	case c.r.URL.RawQuery != "":
		partitions, err = queryPartitions(c.r.URL.Query())
	default:
		err = errNoPartition
	}
	if err != nil {
		return err
	}
	at, err := c.Committed(c.r.Context(), partitions)
	if err != nil {
		return err
	}
	return c.respond(map[string][]committedOffset{"offsets": k.listed(partitions, at)})
}

// A committedOffset is what a group has committed on a partition.
type committedOffset struct {
	partitionName
	Offset   int64  `json:"offset"`
	Metadata string `json:"metadata"`
}

// listed are the committed offsets in the shape of the profile. They are in the
// order of the partitions that were asked for.
func (k consumerAPI) listed(partitions []kafka.TopicPartition, at []kafka.Commit) []committedOffset {
	offsets := []committedOffset{}
	for _, p := range partitions {
		switch {
		case len(at) > 0 && at[0].TopicPartition == p:
			o := committedOffset{partitionName{p.Topic, p.Partition}, at[0].Offset, at[0].Metadata}
			if k.habits.offsets != committedOnly {
				o.Metadata = ""
			}
			offsets, at = append(offsets, o), at[1:]
		case k.habits.offsets == minusOneIfAbsent:
			offsets = append(offsets, committedOffset{partitionName{p.Topic, p.Partition}, -1, ""})
		}
	}
	return offsets
}
