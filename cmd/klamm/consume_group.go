package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	// memberWait is how long one read of a group's member waits for records.
	memberWait = 2 * time.Second
	// v2Type is what Confluent's API v2 speaks.
	v2Type = "application/vnd.kafka.v2+json"
)

// A membership is a consumer instance of Confluent's API v2.
type membership struct {
	c               *client
	group, instance string
}

// call asks for something of the instance.
func (m membership) call(ctx context.Context, method string, header, query map[string]string, body any, path ...string) (answer, error) {
	q := url.Values{}
	for name, value := range query {
		q.Set(name, value)
	}
	if header == nil {
		header = map[string]string{"Accept": v2Type}
	}
	if body != nil {
		header["Content-Type"] = v2Type
	}
	return m.c.ask(ctx, request{method: method, other: true, path: append([]string{"consumers", m.group, "instances", m.instance}, path...), query: q, header: header, body: body, within: readTime})
}

// member reads topics as a member of a group, and commits what it has printed.
func (x *consumption) member(ctx context.Context, topics []string) error {
	switch {
	case len(topics) == 0:
		return usage("-G: give the topics as arguments")
	case x.partition >= 0 || x.stops || x.from != "beginning" && x.from != "end" && x.from != "stored":
		return usage("-G takes no -p, and of -o beginning, end and stored only: the group says what is read")
	}
	for _, t := range topics {
		if err := checkTopic(t); err != nil {
			return err
		}
	}
	reset := "latest"
	if x.earliest {
		reset = "earliest"
	}
	a, err := x.c.ask(ctx, request{
		method: http.MethodPost, other: true, path: []string{"consumers", x.group}, header: map[string]string{"Content-Type": v2Type, "Accept": v2Type}, within: changeTime,
		body: map[string]string{"format": "binary", "auto.offset.reset": reset, "auto.commit.enable": "false"},
	})
	if err != nil {
		return err
	}
	m := membership{c: x.c, group: x.group}
	var made struct {
		ID string `json:"instance_id"`
	}
	if json.Unmarshal(a.text, &made) != nil || made.ID == "" {
		return x.c.wrongServer(a.Response)
	}
	m.instance = made.ID
	defer func() { // leave, also after Ctrl-C: others are waiting for the partitions
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
		defer cancel()
		_, _ = m.call(leaving, http.MethodDelete, nil, nil, nil)
	}()
	if _, err := m.call(ctx, http.MethodPost, nil, nil, map[string]any{"topics": topics}, "subscription"); err != nil {
		return err
	}
	if err := x.missing(ctx, topics); err != nil {
		return err
	}
	if err := x.follow(ctx, m, topics); !errors.Is(err, errInterrupted) {
		return err
	}
	return nil
}

// missing looks for topics that are not there: they have no end to stop at, and who does
// not want to stop is told what is waited for.
func (x *consumption) missing(ctx context.Context, topics []string) error {
	for _, name := range topics {
		_, err := x.c.topic(ctx, name)
		switch {
		case isMissing(err) && x.exit:
			return err
		case isMissing(err):
			fmt.Fprintf(x.c.errs, "klamm: there is no topic %s yet; it is read as soon as there is\n", name)
		}
	}
	return nil
}

// follow prints what the member gets.
func (x *consumption) follow(ctx context.Context, m membership, topics []string) error {
	x.print.leaders = map[int32]int32{}
	if x.envelope && len(topics) == 1 {
		shown, err := x.c.topic(ctx, topics[0])
		if err != nil {
			return err
		}
		for _, p := range shown.Partitions {
			x.print.leaders[p.Partition] = p.Leader
		}
	}
	for {
		a, err := m.call(ctx, http.MethodGet, map[string]string{"Accept": exactType}, map[string]string{"timeout": fmt.Sprint(memberWait.Milliseconds())}, nil, "records")
		if err != nil {
			return err
		}
		var records []exactRecord
		if json.Unmarshal(a.text, &records) != nil {
			return x.c.wrongServer(a.Response)
		}
		if x.count > 0 && len(records) > x.left {
			records = records[:x.left]
		}
		for _, r := range records {
			if r.Code != 0 {
				return fmt.Errorf("%s [%d] at offset %d: %s", r.Topic, r.Partition, r.Offset, printable(r.Error))
			}
		}
		if err := x.show(records); err != nil {
			return err
		}
		if err := m.commit(ctx, records); err != nil {
			return err
		}
		if x.count > 0 && x.left <= 0 {
			return nil
		}
		if len(records) == 0 && x.exit {
			if over, err := x.over(ctx, m); over || err != nil {
				return err
			}
		}
	}
}

type memberPosition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset,omitempty"`
}

// commit commits what was printed.
func (m membership) commit(ctx context.Context, records []exactRecord) error {
	var all []memberPosition
	for _, r := range records {
		i := slices.IndexFunc(all, func(p memberPosition) bool { return p.Topic == r.Topic && p.Partition == r.Partition })
		if i < 0 {
			i = len(all)
			all = append(all, memberPosition{Topic: r.Topic, Partition: r.Partition})
		}
		at := r.Offset // the API commits the one behind it
		all[i].Offset = &at
	}
	if all == nil {
		return nil
	}
	_, err := m.call(ctx, http.MethodPost, nil, nil, map[string]any{"offsets": all}, "offsets")
	return err
}

// over says whether the member has come to the ends of its partitions.
func (x *consumption) over(ctx context.Context, m membership) (bool, error) {
	a, err := m.call(ctx, http.MethodGet, nil, nil, nil, "assignments")
	if err != nil {
		return false, err
	}
	var mine struct {
		Partitions []memberPosition `json:"partitions"`
	}
	if json.Unmarshal(a.text, &mine) != nil {
		return false, x.c.wrongServer(a.Response)
	}
	if len(mine.Partitions) == 0 {
		return false, nil // the group is still dealing them out
	}
	group, err := m.call(ctx, http.MethodGet, nil, nil, mine, "offsets")
	if err != nil {
		return false, err
	}
	var committed struct {
		Offsets []memberPosition `json:"offsets"`
	}
	if json.Unmarshal(group.text, &committed) != nil {
		return false, x.c.wrongServer(group.Response)
	}
	topics := map[string]topicShown{}
	for _, p := range mine.Partitions {
		t, ok := topics[p.Topic]
		if !ok {
			if t, err = x.c.topic(ctx, p.Topic); err != nil {
				return false, err
			}
			topics[p.Topic] = t
		}
		i := slices.IndexFunc(t.Partitions, func(q topicPartitionDoc) bool { return q.Partition == p.Partition })
		if i < 0 {
			return false, nil
		}
		at := t.Partitions[i].End // where a group without an offset begins
		if x.earliest {
			at = t.Partitions[i].Start
		}
		for _, o := range committed.Offsets {
			if o.Topic == p.Topic && o.Partition == p.Partition && o.Offset != nil && *o.Offset >= 0 {
				at = *o.Offset
			}
		}
		if at < t.Partitions[i].End {
			return false, nil
		}
	}
	return true, nil
}

// list prints brokers, topics and partitions as kcat -L does.
func (x *consumption) list(ctx context.Context, topic string) error {
	var clusters, brokers struct {
		Data []struct {
			Cluster    string `json:"cluster_id"`
			Controller struct {
				Related string `json:"related"`
			} `json:"controller"`
			Broker int32   `json:"broker_id"`
			Host   *string `json:"host"`
			Port   *int32  `json:"port"`
			Self   struct {
				Self string `json:"self"`
			} `json:"metadata"`
		} `json:"data"`
	}
	if err := x.c.call(ctx, request{method: http.MethodGet, other: true, path: []string{"v3", "clusters"}, within: readTime}, "data", &clusters); err != nil {
		return err
	}
	if len(clusters.Data) == 0 {
		return errors.New("klamm knows of no cluster")
	}
	if err := x.c.call(ctx, request{method: http.MethodGet, other: true, path: []string{"v3", "clusters", clusters.Data[0].Cluster, "brokers"}, within: readTime}, "data", &brokers); err != nil {
		return err
	}
	var names []string
	if topic != "" {
		names = []string{topic}
	} else if err := x.c.topics(ctx, "", func(t topicDoc) error { names = append(names, t.Topic); return nil }); err != nil {
		return err
	}
	of := "all topics"
	if topic != "" {
		of = topic
	}
	fmt.Fprintf(x.c.out, "Metadata for %s (from %s):\n %d brokers:\n", of, x.c.base.Redacted(), len(brokers.Data))
	for _, b := range brokers.Data {
		at, controller := "?", ""
		if b.Host != nil && b.Port != nil {
			at = fmt.Sprintf("%s:%d", printable(*b.Host), *b.Port)
		}
		if b.Self.Self != "" && b.Self.Self == clusters.Data[0].Controller.Related {
			controller = " (controller)"
		}
		fmt.Fprintf(x.c.out, "  broker %d at %s%s\n", b.Broker, at, controller)
	}
	fmt.Fprintf(x.c.out, " %d topics:\n", len(names))
	for _, name := range names {
		t, err := x.c.topic(ctx, name)
		if isMissing(err) && topic == "" {
			continue // deleted in between
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(x.c.out, "  topic \"%s\" with %d partitions:\n", printable(name), len(t.Partitions))
		for _, p := range t.Partitions {
			if _, err := fmt.Fprintf(x.c.out, "    partition %d, leader %d, replicas: %s, isrs: %s\n", p.Partition, p.Leader, joined(p.Replicas), joined(p.InSync)); err != nil {
				return err
			}
		}
	}
	return nil
}
