package gate

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// keptAnswers and keptBytes bound the answers that can be repeated.
	keptAnswers = 64
	keptBytes   = 16 << 20
)

// answers are what was returned under tokens, oldest first.
type answers struct {
	tokens []string
	got    [][]Delivery
	sizes  []int
	size   int
}

func (a *answers) find(token string) ([]Delivery, bool) {
	if token == "" {
		return nil, false
	}
	if i := slices.Index(a.tokens, token); i >= 0 {
		return a.got[i], true
	}
	return nil, false
}

// keep keeps an answer, and the older ones as long as there is room. One without
// records is not kept: whoever asks again wants to know whether there are some
// by now.
func (a *answers) keep(token string, got []Delivery, size int) {
	if token == "" || len(got) == 0 {
		return
	}
	a.tokens, a.got, a.sizes = append(a.tokens, token), append(a.got, got), append(a.sizes, size)
	a.size += size
	for len(a.tokens) > 1 && (len(a.tokens) > keptAnswers || a.size > keptBytes) {
		a.size -= a.sizes[0]
		a.tokens, a.got, a.sizes = a.tokens[1:], a.got[1:], a.sizes[1:]
	}
}

// repeat returns the answer that was given under a token: from memory, or, where
// another process has given it, from the log.
func (u *Consumer) repeat(ctx context.Context, d consumerDefinition, token string) ([]Delivery, bool, error) {
	if token == "" {
		return nil, false, nil
	}
	u.c.mu.Lock()
	again, ok := u.c.answers.find(token)
	u.c.mu.Unlock()
	if ok {
		return again, true, nil
	}
	digest := digestOf(token)
	i := slices.IndexFunc(d.Answers, func(a writtenAnswer) bool { return bytes.Equal(a.Token, digest) })
	if i < 0 {
		return nil, false, nil
	}
	if err := u.allowTopics(ctx, topicsOfRuns(d.Answers[i].Runs)); err != nil {
		return nil, false, err
	}
	again, size, err := u.rebuild(ctx, d, d.Answers[i].Runs)
	if err != nil {
		return nil, false, err
	}
	u.c.mu.Lock()
	u.c.answers.keep(token, again, size)
	u.c.mu.Unlock()
	return again, true, nil
}

func topicsOfRuns(runs []run) []string {
	var topics []string
	for _, r := range runs {
		if !slices.Contains(topics, r.Topic) {
			topics = append(topics, r.Topic)
		}
	}
	return topics
}

// keepAnswer keeps an answer under its token, also for other processes, before
// positions move past it. An answer without records is not kept: whoever asks again
// wants to know whether there are some by now.
func (u *Consumer) keepAnswer(ctx context.Context, token string, r *read) error {
	if token == "" || len(r.got) == 0 {
		return nil
	}
	answer := writtenAnswer{digestOf(token), runsOf(r.got)}
	// One of thousands of bad records is repeated by this process only. Nor are
	// positions kept then: the next process reads its records again.
	if sizeOf(answer) <= answerBytes {
		at := map[kafka.TopicPartition]int64{}
		for _, p := range r.live.Positions() {
			at[p.TopicPartition] = p.Offset
		}
		for _, d := range r.got {
			at[kafka.TopicPartition{Topic: d.Record.Topic, Partition: d.Record.Partition}] = d.Record.Offset + 1
		}
		err := u.keepPlaces(ctx, at, func(d consumerDefinition) consumerDefinition { return d.answered(answer) })
		if err != nil {
			return err
		}
	}
	u.c.mu.Lock()
	u.c.answers.keep(token, r.got, r.size)
	u.c.mu.Unlock()
	return nil
}

// rebuildTimeout bounds reading an answer again.
const rebuildTimeout = 10 * time.Second

// rebuild reads the records of an answer that another process has given. It is a
// Conflict if they are not all there any more.
func (u *Consumer) rebuild(ctx context.Context, d consumerDefinition, runs []run) (got []Delivery, size int, err error) {
	first, last := map[kafka.TopicPartition]int64{}, map[kafka.TopicPartition]int64{}
	var partitions []kafka.TopicPartition
	for _, r := range runs {
		p := kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}
		if at, ok := first[p]; !ok {
			partitions = append(partitions, p)
			first[p], last[p] = r.First, r.Last
		} else {
			first[p], last[p] = min(at, r.First), max(last[p], r.Last)
		}
	}
	cfg := kafka.InstanceConfig{Group: d.Group, ClientID: d.Name, Reset: kafka.ResetEarliest, Committed: d.Config.Committed}
	again, err := u.cluster().Assign(cfg, partitions, first, nil)
	if err != nil {
		return nil, 0, err
	}
	defer again.Close()
	ctx, cancel := context.WithTimeout(ctx, rebuildTimeout)
	defer cancel()
	records, whole := map[kafka.TopicPartition][]*kgo.Record{}, map[kafka.TopicPartition]bool{}
	for left := len(partitions); left > 0; {
		if ctx.Err() != nil {
			return nil, 0, errAnswerGone
		}
		if _, err := again.Poll(ctx); err != nil {
			return nil, 0, err
		}
		again.Take(func(r *kgo.Record) bool {
			p := kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			if r.Offset <= last[p] {
				records[p] = append(records[p], r)
			}
			if r.Offset >= last[p] && !whole[p] {
				whole[p] = true
				left--
			}
			return true
		})
	}
	for _, r := range runs {
		some := between(records[kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}], r.First, r.Last)
		if len(some) != r.Count {
			return nil, 0, errAnswerGone
		}
		for _, record := range some {
			one := Delivery{Record: record}
			if r.Bad != "" {
				one.Bad = &BadRecord{r.Topic, r.Partition, record.Offset, r.TooLarge, r.Bad}
			} else {
				size += len(record.Key) + len(record.Value)
			}
			got = append(got, one)
		}
	}
	return got, size, nil
}

var errAnswerGone = &Error{Conflict, fmt.Sprintf("the answer cannot be repeated: its records were not found in the log within %s", rebuildTimeout)}

// between returns the records whose offsets lie between two, both included.
func between(records []*kgo.Record, first, last int64) []*kgo.Record {
	from, _ := slices.BinarySearchFunc(records, first, func(r *kgo.Record, at int64) int { return int(min(max(r.Offset-at, -1), 1)) })
	to := from
	for to < len(records) && records[to].Offset <= last {
		to++
	}
	return records[from:to]
}
