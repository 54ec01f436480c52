package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// AlterGroup is the action of everybody who takes part in a consumer group.
const AlterGroup Action = "kafka-cluster:AlterGroup"

// Errors of consumer instances, in the words of the API that has them
// (rest-apis.md 3.1).
var (
	ErrNoConsumer     = &Error{NotFound, "Consumer instance not found."}
	ErrConsumerExists = &Error{Exists, "Consumer with specified consumer ID already exists in the specified consumer group."}
	ErrConsumerIdle   = &Error{Conflict, "Consumer is not subscribed to any topics or assigned any partitions."}
)

const (
	// maxConsumers bounds the consumer instances of a process: each has
	// connections and fetched records of its own.
	maxConsumers = 1000
	// sweepEvery is how often expired instances are looked for.
	sweepEvery = time.Second
	// autoCommitEvery is how often a consumer with automatic commits commits
	// what it has delivered.
	autoCommitEvery = 5 * time.Second
	// maxConsumerName bounds the names of groups and instances, in bytes.
	maxConsumerName = 249
)

// A ConsumerConfig is what a consumer instance is created with.
type ConsumerConfig struct {
	Format     string        // how the dialect writes keys and values; the gate does not look at it
	Reset      kafka.Reset   // where to begin without a committed offset
	AutoCommit bool          // what was delivered is committed every five seconds and at the end
	Committed  bool          // records of open and aborted transactions are left out
	MinBytes   int           // a read returns when it has more than that; -1: not set
	Timeout    time.Duration // of a read
	Idle       time.Duration // the instance expires when it is not used for so long
}

// consumerDefinition is all that there is to know about a consumer instance in
// order to make it again somewhere else, except its positions.
type consumerDefinition struct {
	Group, Name string
	Config      ConsumerConfig
	Topics      []string // subscribed to
	Pattern     string   // of the names of topics subscribed to
	Partitions  []kafka.TopicPartition
}

// A consumer is a consumer instance: its definition and what is alive of it.
type consumer struct {
	// turn holds a token that calls take which read or move positions; they
	// queue up. It guards the fields up to mu.
	turn    chan struct{}
	live    *kafka.Instance                // nil until something is read
	from    map[kafka.TopicPartition]int64 // committed offsets when partitions were assigned by hand
	sought  map[kafka.TopicPartition]int64
	checked time.Time // when topics were last compared with the pattern
	matched []string  // what the pattern matched then
	waited  bool      // a read has waited for the group to hand out partitions

	mu         sync.Mutex // guards what follows
	definition consumerDefinition
	shown      *kafka.Instance // live, for those who only look
	using      int             // calls under way
	used       time.Time       // end of the last call
	committed  time.Time       // of automatic commits
	answers    answers
	gone       bool
	end        chan struct{} // closed when the instance is deleted or expired
}

// consumers are the consumer instances of a process. The zero value is ready.
type consumers struct {
	mu      sync.Mutex // guards what follows
	all     map[[2]string]*consumer
	stop    chan struct{} // ends the sweeper; nil: there is none
	closed  bool
	closing sync.WaitGroup // the sweeper and instances that are leaving their groups
}

// CreateConsumer makes a consumer instance in a group. An empty name gets a
// random one that begins with "rest-consumer-". It takes part in the group only
// when it is read from. The errors of its own are ErrConsumerExists and, where
// the process has too many, one of kind Throttled.
func (g *Gate) CreateConsumer(ctx context.Context, who Principal, group, name string, cfg ConsumerConfig) (string, error) {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return "", err
	}
	if name == "" {
		var b [16]byte
		_, _ = rand.Read(b[:])
		text := hex.EncodeToString(b[:])
		name = fmt.Sprintf("rest-consumer-%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
	}
	if group == "" || len(group) > maxConsumerName || len(name) > maxConsumerName {
		return "", &Error{Invalid, fmt.Sprintf("the names of a group and of an instance have from 1 to %d bytes", maxConsumerName)}
	}
	s := &g.consumers
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{group, name}
	switch {
	case s.closed:
		return "", &Error{Unavailable, "klamm is stopping"}
	case s.all[key] != nil:
		return "", ErrConsumerExists
	case len(s.all) >= maxConsumers:
		return "", &Error{Throttled, fmt.Sprintf("there are %d consumer instances already, which is the limit; delete those that are no longer needed", maxConsumers)}
	}
	if s.all == nil {
		s.all = map[[2]string]*consumer{}
	}
	c := &consumer{
		turn: make(chan struct{}, 1), end: make(chan struct{}), used: time.Now(),
		definition: consumerDefinition{Group: group, Name: name, Config: cfg},
	}
	c.turn <- struct{}{}
	s.all[key] = c
	if s.stop == nil {
		stop := make(chan struct{})
		s.stop = stop
		s.closing.Go(func() { s.sweep(stop) })
	}
	return name, nil
}

// allowGroup asks whether the caller may take part in a group.
func (g *Gate) allowGroup(ctx context.Context, who Principal, group string) error {
	for _, action := range []Action{DescribeGroup, AlterGroup} {
		if err := g.allow(ctx, who, action, "group", group); err != nil {
			return err
		}
	}
	return nil
}

// UseConsumer returns a consumer instance for one call. The instance does not
// expire before Release.
func (g *Gate) UseConsumer(ctx context.Context, who Principal, group, name string) (*Consumer, error) {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return nil, err
	}
	s := &g.consumers
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[[2]string{group, name}]
	if c == nil {
		return nil, ErrNoConsumer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.using++
	return &Consumer{gate: g, c: c, who: who, Config: c.definition.Config}, nil
}

// DeleteConsumer ends a consumer instance and returns when it has left its
// group.
func (g *Gate) DeleteConsumer(ctx context.Context, who Principal, group, name string) error {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return err
	}
	s := &g.consumers
	s.mu.Lock()
	key := [2]string{group, name}
	c := s.all[key]
	delete(s.all, key)
	if c != nil {
		s.closing.Add(1)
	}
	s.mu.Unlock()
	if c == nil {
		return ErrNoConsumer
	}
	defer s.closing.Done()
	c.close()
	return nil
}

// CloseConsumers ends all consumer instances, waits until they have left their
// groups or ctx ends, and lets nobody make new ones.
func (g *Gate) CloseConsumers(ctx context.Context) error {
	s := &g.consumers
	s.mu.Lock()
	s.closed = true
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
	for key, c := range s.all {
		delete(s.all, key)
		s.closing.Go(c.close)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.closing.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the consumer instances: %w", ctx.Err())
	}
}

// sweep closes instances that have expired and commits for those that commit
// automatically. It ends with the last instance, or when stop is closed.
func (s *consumers) sweep(stop chan struct{}) {
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case now := <-ticks.C:
			if !s.look(now) {
				return
			}
		case <-stop:
			return
		}
	}
}

// look is one sweep; false says that there is nothing left to sweep.
func (s *consumers) look(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for key, c := range s.all {
		expired, commit := c.due(now)
		if expired {
			delete(s.all, key)
			s.closing.Go(c.close)
		}
		if commit != nil {
			s.closing.Go(func() { // one that fails is tried again, and nobody is there to be told
				_ = commit.CommitMoved(context.Background())
			})
		}
	}
	if len(s.all) == 0 {
		s.stop = nil
		return false
	}
	return true
}

// due says whether a consumer has expired, and returns what is to commit now.
func (c *consumer) due(now time.Time) (expired bool, commit *kafka.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.using == 0 && now.Sub(c.used) >= c.definition.Config.Idle {
		return true, nil
	}
	if c.shown != nil && c.definition.Config.AutoCommit && now.Sub(c.committed) >= autoCommitEvery {
		c.committed = now
		return false, c.shown
	}
	return false, nil
}

// close ends a consumer: calls under way return ErrNoConsumer.
func (c *consumer) close() {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return
	}
	c.gone = true
	close(c.end)
	c.mu.Unlock()
	<-c.turn // never given back
	c.drop()
}

// drop ends what is alive of a consumer. Whoever calls it has the turn.
func (c *consumer) drop() {
	if c.live != nil {
		c.live.Close()
	}
	c.show(nil)
	c.from, c.sought, c.matched, c.checked, c.waited = nil, nil, nil, time.Time{}, false
	c.forget()
}

// forget drops the answers that could be repeated.
func (c *consumer) forget() {
	c.mu.Lock()
	c.answers = answers{}
	c.mu.Unlock()
}

// show makes an instance the one that is alive.
func (c *consumer) show(live *kafka.Instance) {
	c.live = live
	c.mu.Lock()
	c.shown, c.committed = live, time.Now()
	c.mu.Unlock()
}
