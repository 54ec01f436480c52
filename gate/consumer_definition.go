package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
)

// A consumerKey is the name of a consumer instance: its group's and its own.
type consumerKey [2]string

// text is the key of an instance in the table. Names may have any bytes, so the
// group's length says where it ends.
func (k consumerKey) text() string { return strconv.Itoa(len(k[0])) + "/" + k[0] + "/" + k[1] }

// consumerKeyOf is the inverse of text.
func consumerKeyOf(text string) (consumerKey, bool) {
	length, rest, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || n >= len(rest) || rest[n] != '/' || strconv.Itoa(n) != length {
		return consumerKey{}, false
	}
	return consumerKey{rest[:n], rest[n+1:]}, true
}

// A consumerDefinition is all that there is to know about a consumer instance in
// order to go on with it in another process, beside the offsets that its group has
// committed.
type consumerDefinition struct {
	Group      string                 `json:"-"`
	Name       string                 `json:"-"`
	Holder     string                 `json:"-"`                 // the process that answers for it; "": the next one that is asked
	Owner      string                 `json:"owner,omitempty"`   // the caller who made it, and who alone may use it
	Cluster    string                 `json:"cluster,omitempty"` // the further cluster that it reads; "": klamm's own
	Config     ConsumerConfig         `json:"config"`
	Topics     []string               `json:"topics,omitempty"`  // subscribed to
	Pattern    string                 `json:"pattern,omitempty"` // of the names of topics subscribed to
	Partitions []kafka.TopicPartition `json:"partitions,omitempty"`
	// Places are positions that are not committed and must outlive the process all
	// the same: those of seeks and of repeatable answers, and the ends of logs at
	// which reading has begun.
	Places  []kafka.Place   `json:"places,omitempty"`
	Answers []writtenAnswer `json:"answers,omitempty"` // oldest first
}

func (d *consumerDefinition) key() consumerKey { return consumerKey{d.Group, d.Name} }

// subscribed says whether the instance is a member of its group, once it is read.
func (d *consumerDefinition) subscribed() bool { return len(d.Topics) > 0 || d.Pattern != "" }

const (
	// writtenAnswers and answerBytes bound the repeatable answers of a definition,
	// the latter with all that was written about them.
	writtenAnswers = 16
	answerBytes    = 64 << 10
)

// encode returns a definition as the table keeps it: the holder, a line feed, and all
// else as JSON. Whoever passes a call on needs the first line only.
func (d *consumerDefinition) encode() ([]byte, error) {
	rest, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return append(append(make([]byte, 0, len(d.Holder)+1+len(rest)), d.Holder+"\n"...), rest...), nil
}

// holderOf returns who holds the instance of an encoded definition.
func holderOf(value []byte) string {
	holder, _, _ := bytes.Cut(value, []byte("\n"))
	return string(holder)
}

// decodeDefinition reads a definition from the table.
func decodeDefinition(key string, value []byte) (consumerDefinition, error) {
	var d consumerDefinition
	names, ok := consumerKeyOf(key)
	if !ok {
		return d, fmt.Errorf("%q is no name of a consumer instance", key)
	}
	_, rest, _ := bytes.Cut(value, []byte("\n"))
	if err := json.Unmarshal(rest, &d); err != nil {
		return d, fmt.Errorf("definition of consumer instance %q: %w", key, err)
	}
	if d.Config.Idle <= 0 || d.Config.Timeout < 0 {
		return d, fmt.Errorf("definition of consumer instance %q: its times are none", key)
	}
	d.Group, d.Name, d.Holder = names[0], names[1], holderOf(value)
	return d, nil
}

// placed returns the definition with places instead of those that it had for the
// same partitions.
func (d consumerDefinition) placed(places []kafka.Place) consumerDefinition {
	d.Places = slices.DeleteFunc(slices.Clone(d.Places), func(p kafka.Place) bool {
		return slices.ContainsFunc(places, func(q kafka.Place) bool { return q.TopicPartition == p.TopicPartition })
	})
	d.Places = append(d.Places, places...)
	slices.SortFunc(d.Places, func(a, b kafka.Place) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	return d
}

// A writtenAnswer is what is kept of a repeatable answer beyond the process that
// gave it: which records it had.
type writtenAnswer struct {
	Token []byte `json:"token"` // its digest
	Runs  []run  `json:"runs"`
}

// A run is a part of an answer whose records follow each other in one partition.
type run struct {
	Topic     string `json:"t"`
	Partition int32  `json:"p"`
	First     int64  `json:"f"`
	Last      int64  `json:"l"`
	Count     int    `json:"n"`
	// Bad says why the only record of the run was not returned.
	Bad      string `json:"bad,omitempty"`
	TooLarge bool   `json:"large,omitempty"`
}

func digestOf(token string) []byte {
	digest := sha256.Sum256([]byte(token))
	return digest[:16]
}

// runsOf describes an answer.
func runsOf(got []Delivery) []run {
	var runs []run
	for _, d := range got {
		r := d.Record
		if n := len(runs) - 1; n >= 0 && d.Bad == nil && runs[n].Bad == "" && runs[n].Topic == r.Topic && runs[n].Partition == r.Partition && runs[n].Last < r.Offset {
			runs[n].Last, runs[n].Count = r.Offset, runs[n].Count+1
			continue
		}
		one := run{Topic: r.Topic, Partition: r.Partition, First: r.Offset, Last: r.Offset, Count: 1}
		if d.Bad != nil {
			one.Bad, one.TooLarge = d.Bad.Reason, d.Bad.TooLarge
		}
		runs = append(runs, one)
	}
	return runs
}

// answered returns the definition with one more repeatable answer, and without the
// oldest ones if there are too many.
func (d consumerDefinition) answered(answer writtenAnswer) consumerDefinition {
	// An answer may have been kept and not given, and is given anew with more records.
	d.Answers = slices.DeleteFunc(slices.Clone(d.Answers), func(a writtenAnswer) bool { return bytes.Equal(a.Token, answer.Token) })
	d.Answers = append(d.Answers, answer)
	for len(d.Answers) > writtenAnswers || sizeOf(d.Answers...) > answerBytes {
		d.Answers = d.Answers[1:]
	}
	return d
}

// sizeOf is about how many bytes answers have in the table.
func sizeOf(answers ...writtenAnswer) (n int) {
	for _, a := range answers {
		for _, r := range a.Runs {
			n += 80 + len(r.Topic) + len(r.Bad)
		}
	}
	return n
}
