package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options say what to measure and for how long. Start from Default.
type Options struct {
	// Front and Pipe choose the doors.
	Front, Pipe bool
	// Cases chooses what is measured at the doors by name, see CaseNames; none
	// is all.
	Cases []string
	// SSE measures event streams at the front door, and nothing else there.
	SSE bool
	// SSEClients is how many clients listen, 1 to 10,000, and SSERate how many
	// records a second each of them is sent, 1 to 100,000.
	SSEClients, SSERate int
	// Auth measures, and nothing else at the front door, requests of callers who show
	// who they are; it is apikey, jwt or sigv4.
	Auth string
	// Policies measures, and nothing else at the front door, requests that meet a token,
	// a group, limits and a JSON Schema.
	Policies bool
	// Brokers are bootstrap servers; none starts the embedded broker.
	Brokers []string
	// Rounds is how often each side is measured, 1 to 100.
	Rounds int
	// Seconds is how long one measurement at the front door lasts, 1 to 600.
	Seconds int
	// Records is the backlog of a measurement at the back door that delivers
	// one record a request, and what readers at the front door find; 0 takes
	// 40,000 for each of Seconds. Batches get five times as many, because they
	// take about a fifth of the time.
	Records int
	// Connections is how many requests are under way at once, 1 to 10,000; at
	// the back door it is the pipe's in_flight.
	Connections int
	// ValueBytes is the length of a record's value.
	ValueBytes int
	// Partitions is how many partitions the topics have, 1 to 1,000.
	Partitions int
	// Executable is the klamm that is measured and that plays all roles; empty
	// is the running program.
	Executable string
	// Progress is told what is being done, a line at a time; nil is silent.
	Progress io.Writer
}

// Default returns the options of klamm bench without flags.
func Default() Options {
	return Options{Front: true, Pipe: true, Rounds: 3, Seconds: 5, Connections: 64, SSEClients: 2000, SSERate: 100, ValueBytes: 1024, Partitions: 4}
}

// CaseNames returns the names of what can be measured: the first two at both doors,
// then what is measured at the front door, and at the back door, alone.
func CaseNames() []string {
	return []string{"one", "batch", "stream", "events", "avro", "read", "log", "half", "keys", "bus"}
}

// wants says whether a case is chosen.
func (o Options) wants(name string) bool { return len(o.Cases) == 0 || slices.Contains(o.Cases, name) }

// backlog is how many records are there before they are read.
func (o Options) backlog() int64 {
	if o.Records > 0 {
		return int64(o.Records)
	}
	return recordsASecond * int64(o.Seconds)
}

// ErrOptions says that an option is out of its range.
var ErrOptions = errors.New("option out of range")

// Validate returns ErrOptions, with the name of the flag, for the first option
// that is out of its range.
func (o Options) Validate() error {
	for _, v := range []struct {
		flag        string
		value       int
		least, most int
	}{
		{"runs", o.Rounds, 1, 100},
		{"seconds", o.Seconds, 1, 600},
		{"records", o.Records, 0, 100_000_000},
		{"connections", o.Connections, 1, 10_000},
		{"clients", o.SSEClients, 1, 10_000},
		{"rate", o.SSERate, 1, 100_000},
		{"value-bytes", o.ValueBytes, minDocument, maxDocument},
		{"partitions", o.Partitions, 1, 1_000},
	} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrOptions, v.flag, v.value, v.least, v.most)
		}
	}
	if err := o.validAuth(); err != nil {
		return err
	}
	for _, name := range o.Cases {
		if !slices.Contains(CaseNames(), name) {
			return fmt.Errorf("%w: --cases %s: want some of %s", ErrOptions, name, strings.Join(CaseNames(), ","))
		}
	}
	if o.Pipe && !o.Front && !slices.ContainsFunc(pipeNames(), o.wants) {
		return fmt.Errorf("%w: --cases %s: a pipe has %s", ErrOptions, strings.Join(o.Cases, ","), strings.Join(pipeNames(), ","))
	}
	return nil
}

const (
	// warmUp comes before each measurement at the front door.
	warmUp = time.Second
	// adminTimeout bounds one administrative request.
	adminTimeout = 20 * time.Second
	// topicPrefix begins the names of all topics and groups that are made.
	topicPrefix = "klamm-bench-"
)

// Run measures and reports. It ends all processes that it started and removes
// all topics, groups and files that it made, also when ctx ends early, which is
// then the error. It works on Linux only.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c, err := o.assemble(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	r := &Report{
		Machine:    thisMachine(),
		Broker:     c.brokerName(),
		ValueBytes: o.ValueBytes,
		Seconds:    o.Seconds,
		Rounds:     o.Rounds,
		Cases:      []Case{},
	}
	doors := []struct {
		open bool
		run  func(context.Context) ([]Case, error)
	}{{o.Front, c.front}, {o.Pipe, c.pipe}}
	for _, d := range doors {
		if !d.open {
			continue
		}
		cases, err := d.run(ctx)
		if err != nil {
			return nil, err
		}
		r.Cases = append(r.Cases, cases...)
	}
	return r, nil
}

// assemble makes a conductor with a crew and brokers.
func (o Options) assemble(ctx context.Context) (*conductor, error) {
	if !supported {
		_, err := peakMemory(0)
		return nil, err
	}
	if o.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the running program: %w", err)
		}
		o.Executable = self
	}
	crew, err := newCrew(o.Executable)
	if err != nil {
		return nil, err
	}
	c := &conductor{Options: o, crew: crew, run: fmt.Sprintf("%s%x-", topicPrefix, time.Now().UnixNano())}
	if err := c.connect(ctx); err != nil {
		crew.dismiss()
		return nil, err
	}
	return c, nil
}

// end removes what the conductor left and ends its processes.
func (c *conductor) end() {
	c.disconnect()
	c.crew.dismiss()
}

// A conductor starts what measures and what is measured.
type conductor struct {
	Options
	crew    *crew
	run     string // begins the name of every topic and group of this run
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

// connect starts the embedded broker where none is given.
func (c *conductor) connect(ctx context.Context) error {
	c.brokers = c.Brokers
	if len(c.brokers) == 0 {
		c.progress("starting the embedded broker")
		_, addrs, err := c.crew.serving(ctx, "broker", brokerRole{Dir: filepath.Join(c.crew.dir, "broker")})
		if err != nil {
			return err
		}
		c.brokers = strings.Split(addrs, ",")
	}
	var err error
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.MetadataMinAge(100*time.Millisecond)); err != nil {
		return fmt.Errorf("brokers: %w", err)
	}
	c.admin = kadm.NewClient(c.client)
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err := c.client.Ping(ctx); err != nil {
		c.client.Close()
		return fmt.Errorf("reach the brokers %s: %w", strings.Join(c.brokers, ","), err)
	}
	return nil
}

// disconnect removes what this run left on brokers that are not its own.
func (c *conductor) disconnect() {
	defer c.client.Close()
	if len(c.Brokers) == 0 {
		return
	}
	// The run's own context may have ended.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	topics, err := c.admin.ListTopics(ctx)
	if err != nil {
		c.progress("left topics %s* behind: %v", c.run, err)
		return
	}
	names := slices.DeleteFunc(topics.Names(), func(t string) bool { return !strings.HasPrefix(t, c.run) })
	if len(names) == 0 {
		return
	}
	if _, err := c.admin.DeleteTopics(ctx, names...); err != nil {
		c.progress("left topics %s* behind: %v", c.run, err)
	}
}

func (c *conductor) brokerName() string {
	if len(c.Brokers) == 0 {
		return "embedded"
	}
	return strings.Join(c.Brokers, ",")
}

func (c *conductor) progress(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}

// createTopic makes a topic and waits until it has leaders.
func (c *conductor) createTopic(ctx context.Context, topic string) error {
	return c.createTopicWith(ctx, topic, nil)
}

// createTopicWith is createTopic with settings of the topic.
func (c *conductor) createTopicWith(ctx context.Context, topic string, settings map[string]*string) error {
	return c.createParts(ctx, topic, c.Partitions, settings)
}

// createParts is createTopicWith for some number of partitions.
func (c *conductor) createParts(ctx context.Context, topic string, partitions int, settings map[string]*string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	resp, err := c.admin.CreateTopic(ctx, int32(partitions), -1, settings, topic)
	if err == nil {
		err = resp.Err
	}
	if err != nil {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	return c.awaitTopics(ctx, []string{topic})
}

// awaitTopics waits until topics have leaders.
func (c *conductor) awaitTopics(ctx context.Context, names []string) error {
	for {
		topics, err := c.admin.ListTopics(ctx, names...)
		missing := ""
		for _, name := range names {
			if err != nil || !topics.Has(name) || !ledBySomebody(topics[name]) {
				missing = name
				break
			}
		}
		if missing == "" {
			return nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("wait for topic %q: %w", missing, errors.Join(ctx.Err(), err))
		}
	}
}

func ledBySomebody(t kadm.TopicDetail) bool {
	for _, p := range t.Partitions {
		if p.Err != nil || p.Leader < 0 {
			return false
		}
	}
	return len(t.Partitions) > 0
}

// deleteTopic frees the disk; a topic that stays does no other harm.
func (c *conductor) deleteTopic(ctx context.Context, topic string) {
	if _, err := c.admin.DeleteTopic(ctx, topic); err != nil && ctx.Err() == nil {
		c.progress("left topic %s behind: %v", topic, err)
	}
}

// produced verifies that a topic holds as many records as were acknowledged,
// and that a sample of them are the documents that were sent.
func (c *conductor) produced(ctx context.Context, topic string, acknowledged int64) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	starts, err := c.holdsAll(ctx, topic, acknowledged)
	if err != nil {
		return err
	}
	return c.sample(ctx, topic, starts)
}

// holdsAll verifies how many records a topic has, and returns where the last of each
// partition begin that has some.
func (c *conductor) holdsAll(ctx context.Context, topic string, acknowledged int64) (map[int32]kgo.Offset, error) {
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read the end of topic %q: %w", topic, err)
	}
	var records int64
	starts := make(map[int32]kgo.Offset)
	ends.Each(func(o kadm.ListedOffset) {
		records += o.Offset
		if o.Offset > 0 {
			starts[o.Partition] = kgo.NewOffset().At(max(o.Offset-sampleRecords, 0))
		}
	})
	if records != acknowledged {
		return nil, fmt.Errorf("topic %q holds %d records, but %d were acknowledged", topic, records, acknowledged)
	}
	return starts, nil
}

// sampleRecords is how many records of a partition are verified.
const sampleRecords = 100

func (c *conductor) sample(ctx context.Context, topic string, starts map[int32]kgo.Offset) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))
	if err != nil {
		return fmt.Errorf("read topic %q: %w", topic, err)
	}
	defer client.Close()
	for seen := 0; seen < len(starts); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read topic %q: %w", topic, err)
		}
		for _, r := range fetches.Records() {
			if _, _, err := readDocument(r.Value, c.ValueBytes); err != nil {
				return fmt.Errorf("topic %q, partition %d, offset %d: %w", topic, r.Partition, r.Offset, err)
			}
			seen++
		}
	}
	return nil
}
