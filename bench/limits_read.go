package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	mediaV2 = "application/vnd.kafka.v2+json"
	// consumerRecords is how many records each consumer instance reads.
	consumerRecords = 1_000
	// listTimes is how often all topics are listed.
	listTimes = 20
	// createAtOnce is how many topics one request makes.
	createAtOnce = 100
)

// createConsumer makes a consumer instance that begins with the first record,
// and returns its path.
func (k tested) createConsumer(ctx context.Context, group string) (string, error) {
	const create = `{"name":"one","format":"json","auto.offset.reset":"earliest","auto.commit.enable":"false"}`
	_, err := k.ask(ctx, http.MethodPost, "/consumers/"+group, mediaV2, []byte(create))
	return "/consumers/" + group + "/instances/one", err
}

// readLarge reads the one record of a topic by a consumer instance.
func (k tested) readLarge(ctx context.Context, topic string, partitions int, value []byte) error {
	path, err := k.createConsumer(ctx, topic)
	if err != nil {
		return err
	}
	assign := []byte(`{"partitions":[`)
	for i := range partitions {
		if i > 0 {
			assign = append(assign, ',')
		}
		assign = fmt.Appendf(assign, `{"topic":%q,"partition":%d}`, topic, i)
	}
	if _, err := k.ask(ctx, http.MethodPost, path+"/assignments", mediaV2, append(assign, "]}"...)); err != nil {
		return err
	}
	for {
		answer, err := k.ask(ctx, http.MethodGet, path+"/records", mediaV2JSON, nil)
		if err != nil {
			return err
		}
		if string(answer) == "[]" {
			continue // ctx bounds the repetition
		}
		if !bytes.Contains(answer, value) {
			return fmt.Errorf("%w: %.200q", errDocument, answer)
		}
		_, err = k.ask(ctx, http.MethodDelete, path, mediaV2, nil)
		return err
	}
}

// manyConsumers lets consumer instances, each the one member of its group, read
// the same topic at the same time.
func (c *conductor) manyConsumers(ctx context.Context, o LimitOptions) ([]Limit, error) {
	topic := c.run + "consumers"
	if err := c.createTopic(ctx, topic); err != nil {
		return nil, err
	}
	if err := c.fill(ctx, fillRole{Brokers: c.brokers, Topic: topic, Count: consumerRecords, Size: o.ValueBytes}); err != nil {
		return nil, err
	}
	groups := make([]string, o.Consumers)
	for i := range groups {
		groups[i] = c.run + "group-" + strconv.Itoa(i)
	}
	defer c.endGroups(groups)
	title := fmt.Sprintf("%s consumer instances, each reading %s records", thousands(float64(o.Consumers)), thousands(consumerRecords))
	l, err := c.limit(ctx, "consumers", title, func(ctx context.Context, k tested) (int64, int64, error) {
		var requests atomic.Int64
		readers := make([]*instance, len(groups))
		for i, group := range groups {
			readers[i] = &instance{tested: k, group: group, topic: topic, size: o.ValueBytes, requests: &requests}
		}
		// No instance ends before all have read everything.
		for _, step := range []func(*instance, context.Context) error{(*instance).open, (*instance).readAll, (*instance).close} {
			if err := together(ctx, readers, step); err != nil {
				return 0, 0, err
			}
		}
		return requests.Load(), int64(len(groups)) * consumerRecords * int64(o.ValueBytes), nil
	})
	c.deleteTopic(ctx, topic)
	return []Limit{l}, err
}

// endGroups deletes groups whose members have left.
func (c *conductor) endGroups(groups []string) {
	if len(c.Brokers) == 0 {
		return // they go with the broker
	}
	// The run's own context may have ended.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if resp, err := c.admin.DeleteGroups(ctx, groups...); err != nil || resp.Error() != nil {
		c.progress("left groups %sgroup-* behind: %v, %v", c.run, err, resp.Error())
	}
}

// together does a step for all at once; the first error ends it.
func together(ctx context.Context, all []*instance, step func(*instance, context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	for _, i := range all {
		wait.Go(func() {
			if err := step(i, ctx); err != nil {
				cancel(fmt.Errorf("group %q: %w", i.group, err))
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// An instance is one client with a consumer instance of its own.
type instance struct {
	tested
	group, topic, path string
	size               int
	requests           *atomic.Int64
}

func (i *instance) open(ctx context.Context) (err error) {
	if i.path, err = i.createConsumer(ctx, i.group); err != nil {
		return err
	}
	_, err = i.ask(ctx, http.MethodPost, i.path+"/subscription", mediaV2, fmt.Appendf(nil, `{"topics":[%q]}`, i.topic))
	i.requests.Add(2)
	return err
}

// readAll reads until every record of the topic was there once.
func (i *instance) readAll(ctx context.Context) error {
	p := passes{pid: i.pid(), count: consumerRecords, size: i.size}
	for p.begin(); !p.complete(); {
		answer, err := i.ask(ctx, http.MethodGet, i.path+"/records", mediaV2JSON, nil)
		if err != nil {
			return fmt.Errorf("after %d of %d records: %w", p.seen, p.count, err)
		}
		i.requests.Add(1)
		if _, err := p.meet(func(found func(int64)) (int, error) { return readRecords(answer, i.topic, i.size, found) }); err != nil {
			return err
		}
	}
	return nil
}

func (i *instance) close(ctx context.Context) error {
	i.requests.Add(1)
	_, err := i.ask(ctx, http.MethodDelete, i.path, mediaV2, nil)
	return err
}

// manyTopics lists very many topics by each API.
func (c *conductor) manyTopics(ctx context.Context, o LimitOptions) ([]Limit, error) {
	names := make([]string, o.Topics)
	for i := range names {
		names[i] = fmt.Sprintf("%stopic-%06d", c.run, i)
	}
	c.progress("limits: creating %s topics", thousands(float64(len(names))))
	if err := c.createTopics(ctx, names); err != nil {
		return nil, err
	}
	var limits []Limit
	for _, api := range []struct {
		name, title, path, media string
		names                    func([]byte) ([]string, error)
	}{
		{"topics-v1", "HDInsight's v1", "/v1/metadata/topics", "application/json", namesOfV1},
		{"topics-v2", "v2", "/topics", mediaV2, namesOfV2},
		{"topics-v3", "v3", "", "application/json", namesOfV3},
	} {
		title := fmt.Sprintf("%s topics listed %d times by %s", thousands(float64(len(names))), listTimes, api.title)
		l, err := c.limit(ctx, api.name, title, func(ctx context.Context, k tested) (answered, size int64, err error) {
			path := api.path
			if path == "" {
				if path, err = k.topicsOfV3(ctx); err != nil {
					return 0, 0, err
				}
			}
			for range listTimes {
				answer, err := k.ask(ctx, http.MethodGet, path, api.media, nil)
				if err == nil {
					err = lists(answer, names, api.names)
				}
				if err != nil {
					return 0, 0, err
				}
				size += int64(len(answer))
			}
			return listTimes, size, nil
		})
		if err != nil {
			return nil, err
		}
		limits = append(limits, l)
	}
	return limits, nil
}

// topicsOfV3 returns the path of the list of topics, which names the cluster.
func (k tested) topicsOfV3(ctx context.Context) (string, error) {
	answer, err := k.ask(ctx, http.MethodGet, "/v3/clusters", "application/json", nil)
	if err != nil {
		return "", err
	}
	var list struct {
		Data []struct {
			ID string `json:"cluster_id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil || len(list.Data) != 1 {
		return "", fmt.Errorf("%w: clusters %.200q", errAnswer, answer)
	}
	return "/v3/clusters/" + list.Data[0].ID + "/topics", nil
}

// lists verifies that all names are in a list of topics, among which may be
// others.
func lists(answer []byte, want []string, names func([]byte) ([]string, error)) error {
	got, err := names(answer)
	if err != nil {
		return fmt.Errorf("topics %.200q: %w", answer, err)
	}
	slices.Sort(got)
	for _, name := range want {
		if _, found := slices.BinarySearch(got, name); !found {
			return fmt.Errorf("topic %q is missing among %d", name, len(got))
		}
	}
	return nil
}

func namesOfV1(answer []byte) ([]string, error) {
	var list struct {
		Topics []string `json:"topics"`
	}
	err := json.Unmarshal(answer, &list)
	return list.Topics, err
}

func namesOfV2(answer []byte) (names []string, err error) {
	err = json.Unmarshal(answer, &names)
	return names, err
}

func namesOfV3(answer []byte) ([]string, error) {
	var list struct {
		Data []struct {
			Name string `json:"topic_name"`
		} `json:"data"`
	}
	err := json.Unmarshal(answer, &list)
	var names []string
	for _, t := range list.Data {
		names = append(names, t.Name)
	}
	return names, err
}

// createTopics makes topics of one partition.
func (c *conductor) createTopics(ctx context.Context, names []string) error {
	for some := range slices.Chunk(names, createAtOnce) {
		if err := c.createSome(ctx, some); err != nil {
			return fmt.Errorf("create %d topics: %w", len(some), err)
		}
	}
	return nil
}

func (c *conductor) createSome(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	resp, err := c.admin.CreateTopics(ctx, 1, -1, nil, names...)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	return c.awaitTopics(ctx, names)
}
