package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
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

var (
	// ErrConsumerMoved says that another process has taken an instance over during
	// a call. The call may be made again, by UseConsumer.
	ErrConsumerMoved = &Error{Unavailable, "Another process has taken the consumer instance over; try again."}
	// ErrStopping says that this process is about to end and knows of no other one
	// that could go on with an instance, or make one.
	ErrStopping = &Error{Unavailable, "klamm is stopping; try again"}
)

// A ConsumerElsewhere says that another process has to answer the call: it holds the
// consumer instance, or this one is about to end.
type ConsumerElsewhere struct {
	Process string // its id, as package peer knows it
}

func (e *ConsumerElsewhere) Error() string {
	return "process " + e.Process + " answers for the consumer instance"
}

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

// A consumer is a consumer instance that this process holds: its definition and
// what is alive of it.
type consumer struct {
	// turn holds a token that calls take which read or move positions; they
	// queue up. It guards the fields up to writing.
	turn    chan struct{}
	live    *kafka.Instance                // nil until something is read
	from    map[kafka.TopicPartition]int64 // committed offsets when partitions were assigned by hand; nil: not known
	sought  map[kafka.TopicPartition]int64
	checked time.Time // when topics were last compared with the pattern
	matched []string  // what the pattern matched then
	waited  bool      // a read has waited for the group to hand out partitions

	writing sync.Mutex // held while the definition is being changed

	mu         sync.Mutex // guards what follows
	loan       loan       // whose cluster it is
	definition consumerDefinition
	version    table.Version   // of the definition, where it is shared
	shown      *kafka.Instance // live, for those who only look
	using      int             // calls under way
	used       time.Time       // end of the last call
	committed  time.Time       // of automatic commits
	answers    answers
	cause      error         // why it has ended; nil: it has not
	end        chan struct{} // closed when cause is set
	over       chan struct{} // closed when nothing is left of it
}

func newConsumer(d consumerDefinition, version table.Version) *consumer {
	c := &consumer{
		turn: make(chan struct{}, 1), end: make(chan struct{}), over: make(chan struct{}), used: time.Now(),
		definition: d, version: version,
	}
	c.turn <- struct{}{}
	return c
}

// consumers are the consumer instances that a process holds. The zero value is
// ready; without share, they are all that there are.
type consumers struct {
	share *sharing

	mu      sync.Mutex // guards what follows
	all     map[consumerKey]*consumer
	making  map[consumerKey]chan struct{} // those being created or taken over; closed when that is done
	stop    chan struct{}                 // ends the sweeper; nil: there is none
	closed  bool
	closing sync.WaitGroup // the sweeper, and instances that begin or end
}

// CreateConsumer makes a consumer instance in a group. An empty name gets a
// random one that begins with "rest-consumer-". It takes part in the group only
// when it is read from. The errors of its own are ErrConsumerExists, one of kind
// Throttled where the process has too many, and a *ConsumerElsewhere or ErrStopping
// where it is about to end.
func (g *Gate) CreateConsumer(ctx context.Context, who Principal, group, name string, cfg ConsumerConfig) (string, error) {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return "", err
	}
	if name == "" {
		var b [16]byte
		_, _ = rand.Read(b[:])
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a random UUID
		text := hex.EncodeToString(b[:])
		name = fmt.Sprintf("rest-consumer-%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
	}
	if group == "" || len(group) > maxConsumerName || len(name) > maxConsumerName {
		return "", &Error{Invalid, fmt.Sprintf("the names of a group and of an instance have from 1 to %d bytes", maxConsumerName)}
	}
	s := &g.consumers
	if err := s.ready(ctx); err != nil {
		return "", err
	}
	if _, err := g.as(ctx, &who); err != nil {
		return "", err
	}
	err := s.make(ctx, consumerDefinition{Group: group, Name: name, Owner: who.Name, Cluster: who.Cluster, Config: cfg}, table.Absent)
	switch {
	case errors.Is(err, table.ErrConflict), errors.Is(err, errHeld):
		return "", ErrConsumerExists
	case errors.Is(err, ErrStopping):
		return "", s.elsewhere()
	case err != nil:
		return "", err
	}
	if c := s.held(consumerKey{group, name}); c != nil {
		return name, g.lend(ctx, c, &who)
	}
	return name, nil
}

// errHeld says that this process holds an instance already.
var errHeld = errors.New("the instance is held already")

// make makes an instance of its definition and, where it is shared, writes this
// process into it. The errors of its own are errHeld and table.ErrConflict, if the
// definition is not at the version that is expected.
func (s *consumers) make(ctx context.Context, d consumerDefinition, expect table.Version) error {
	made, err := s.reserve(ctx, d.key())
	if err != nil {
		return err
	}
	defer made()
	var version table.Version
	if s.share != nil {
		if version, err = s.share.take(ctx, &d, expect); err != nil {
			return err
		}
	}
	c := newConsumer(d, version)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[d.key()] = c
	if s.closed {
		// It is made, and another process goes on with it.
		s.closing.Go(func() { _ = s.finish(c, ErrStopping, release) })
		return nil
	}
	s.startSweeper()
	return nil
}

// reserve keeps others from making the same instance, until made is called.
func (s *consumers) reserve(ctx context.Context, key consumerKey) (made func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.making[key] != nil {
		done := s.making[key]
		s.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	switch {
	case s.closed:
		return nil, ErrStopping
	case s.all[key] != nil:
		return nil, errHeld
	case len(s.all)+len(s.making) >= maxConsumers:
		return nil, &Error{Throttled, fmt.Sprintf("there are %d consumer instances already, which is the limit; delete those that are no longer needed", maxConsumers)}
	}
	if s.all == nil {
		s.all, s.making = map[consumerKey]*consumer{}, map[consumerKey]chan struct{}{}
	}
	done := make(chan struct{})
	s.making[key] = done
	s.closing.Add(1)
	return func() {
		s.mu.Lock()
		delete(s.making, key)
		s.mu.Unlock()
		close(done)
		s.closing.Done()
	}, nil
}

// allowGroup asks whether the caller may take part in a group.
func (g *Gate) allowGroup(ctx context.Context, who Principal, group string) error {
	return g.allow(ctx, who, AlterGroup, "group", group)
}

// UseConsumer returns a consumer instance for one call of the caller who made it. The instance does not
// expire before Release. Where instances are shared, one whose process has died is
// taken over first, and one that another process holds is a *ConsumerElsewhere, as is one
// that this process lets go because it is about to end.
func (g *Gate) UseConsumer(ctx context.Context, who Principal, group, name string) (*Consumer, error) {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return nil, err
	}
	c, err := g.consumers.find(ctx, consumerKey{group, name})
	if err != nil {
		return nil, err
	}
	if err := g.lend(ctx, c, &who); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return nil, g.consumers.passing(c.cause)
	case c.definition.Owner != who.Name: // to others it looks as if it did not exist
		return nil, ErrNoConsumer
	}
	c.using++
	return &Consumer{gate: g, c: c, who: who, Config: c.definition.Config}, nil
}

// HasConsumer says whether there is a consumer instance, in whichever process.
func (g *Gate) HasConsumer(ctx context.Context, who Principal, group, name string) (bool, error) {
	if err := g.allowGroup(ctx, who, group); err != nil {
		return false, err
	}
	s := &g.consumers
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	key := consumerKey{group, name}
	if s.held(key) != nil || s.share == nil {
		return s.held(key) != nil, nil
	}
	_, err := s.share.look(ctx, key)
	if errors.Is(err, ErrNoConsumer) {
		return false, nil
	}
	return err == nil, err
}

// held returns an instance that this process holds, or nil.
func (s *consumers) held(key consumerKey) *consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[key]
}

// find returns an instance that this process holds or takes over.
func (s *consumers) find(ctx context.Context, key consumerKey) (*consumer, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	for {
		if c := s.held(key); c != nil {
			err := s.verify(ctx, c)
			switch {
			case s.share != nil && errors.Is(err, ErrStopping):
				select { // whoever is asked next can take it over then
				case <-c.over:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			case !errors.Is(err, ErrConsumerMoved):
				return c, err
			}
			s.forget(c)
		}
		if s.share == nil {
			return nil, ErrNoConsumer
		}
		if err := s.adopt(ctx, key); err != nil {
			return nil, err
		}
	}
}

// verify returns nil if this process still holds an instance. That is asked only if
// the others may have taken this process for dead.
func (s *consumers) verify(ctx context.Context, c *consumer) error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause != nil {
		return cause
	}
	return s.verifyWithTurn(ctx, c)
}

// verifyWithTurn is verify for whoever has the turn: an instance that the process is
// about to let go is held as long as the turn is not given back.
func (s *consumers) verifyWithTurn(ctx context.Context, c *consumer) error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause != nil && !errors.Is(cause, ErrStopping) {
		return cause
	}
	if s.share == nil || s.share.peers.Sure() {
		return nil
	}
	if err := s.share.sync(ctx); err != nil {
		return err
	}
	cause = s.share.takenOver(c)
	if cause != nil {
		s.lose(c, cause)
	}
	return cause
}

// lose ends an instance that is another process's now.
func (s *consumers) lose(c *consumer, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Go(func() { _ = s.finish(c, cause, disown) })
}

// Delete ends the instance and returns when it has left its group.
func (u *Consumer) Delete() error {
	s := &u.gate.consumers
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.passing(ErrStopping)
	}
	s.closing.Add(1)
	s.mu.Unlock()
	defer s.closing.Done()
	return s.passing(s.finish(u.c, ErrNoConsumer, remove))
}

// passing is the error of a call whose instance has ended for a cause. Where
// instances are shared, one that this process lets go goes on in another one.
func (s *consumers) passing(cause error) error {
	if s.share != nil && errors.Is(cause, ErrStopping) {
		return ErrConsumerMoved
	}
	return cause
}

// elsewhere names a process that can go on, as this one is about to end.
func (s *consumers) elsewhere() error {
	if s.share != nil {
		if other := s.share.peers.Another(); other != "" {
			return &ConsumerElsewhere{other}
		}
	}
	return ErrStopping
}

// ending says whether this process takes no instances any more.
func (s *consumers) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// ReleaseConsumers ends all consumer instances of this process, waits until they have
// left their groups or ctx ends, and lets nobody make new ones. Where instances are
// shared, they go on in another process with the next call, and calls of those that
// other processes hold are still answered.
func (g *Gate) ReleaseConsumers(ctx context.Context) error {
	s := &g.consumers
	s.mu.Lock()
	s.closed = true
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
	for _, c := range s.all {
		s.closing.Go(func() { _ = s.finish(c, ErrStopping, release) })
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

// CloseConsumers is ReleaseConsumers for when no call is left: it also leaves the
// processes that share instances.
func (g *Gate) CloseConsumers(ctx context.Context) error {
	err := g.ReleaseConsumers(ctx)
	s := &g.consumers
	if err != nil {
		go func() { s.closing.Wait(); s.share.close() }()
		return err
	}
	s.share.close()
	return nil
}

// A fate says what becomes of the definition of an instance that ends.
type fate int

const (
	remove  fate = iota // it is deleted
	release             // any process may go on with it
	disown              // another process goes on with it already
)

// finish ends an instance: calls under way and later ones return the cause. It
// returns when nothing is left of it. If another finish was first, that one's cause
// and fate count.
func (s *consumers) finish(c *consumer, cause error, becomes fate) (err error) {
	c.mu.Lock()
	if c.cause != nil {
		cause = c.cause
		c.mu.Unlock()
		<-c.over
		return cause
	}
	c.cause = cause
	close(c.end)
	c.mu.Unlock()
	defer close(c.over)
	if becomes == disown {
		s.forget(c) // a successor must not wait for the brokers to let this one go
	}
	<-c.turn // never given back
	if becomes == release {
		s.share.keepRead(c)
	}
	c.drop(becomes == disown)
	c.repay()
	if becomes != disown {
		err = s.share.give(c, becomes)
		s.forget(c)
	}
	if s.share != nil {
		s.share.peers.Drop()
	}
	return err
}

// forget takes an instance out of those that the process holds.
func (s *consumers) forget(c *consumer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := c.definition.key(); s.all[key] == c {
		delete(s.all, key)
	}
}

// drop ends what is alive of a consumer; one that is disowned commits nothing.
// Whoever calls it has the turn.
func (c *consumer) drop(disowned bool) {
	switch {
	case c.live == nil:
	case disowned:
		c.live.Disown()
	default:
		c.live.Close()
	}
	c.show(nil)
	c.from, c.sought, c.matched, c.checked, c.waited = nil, nil, nil, time.Time{}, false
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
