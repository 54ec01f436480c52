package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/peer"
	"github.com/klamm-gateway/klamm/table"
)

// consumerTopic holds the definitions of all consumer instances of a cluster.
const consumerTopic = "__klamm_consumers"

const (
	// openPatience is how long a call waits for the definitions to be read, which
	// happens at the first call. A cluster that has never seen a transaction takes
	// seconds for its first one.
	openPatience = 20 * time.Second
	// syncTimeout bounds looking at what others have written.
	syncTimeout = 5 * time.Second
	// giveTimeout bounds handing an instance over, and removing one.
	giveTimeout = 5 * time.Second
	// keepTimeout bounds asking what is committed of an instance that is handed over.
	keepTimeout = 3 * time.Second
	// orphansEvery is how often instances are looked for whose process has died.
	orphansEvery = 2 * time.Second
)

// sharing is what makes consumer instances the cluster's and not a process's: their
// definitions lie in a table, each with the process that holds it. Only the holder
// answers for an instance. Whoever is asked for one whose holder has died or let go
// writes itself into the definition, at the version that it has seen, and thereby
// becomes the holder. Methods of a nil sharing do nothing.
type sharing struct {
	peers   *peer.Peers
	cluster *kafka.Cluster
	further map[string]*kafka.Cluster
	log     *slog.Logger
	ctx     context.Context // of opening
	cancel  context.CancelFunc

	mu      sync.Mutex // guards what follows
	table   *table.Table
	attempt chan struct{} // closed when the present attempt to open has ended; nil: there is none
	err     error         // of the last attempt
	opening sync.WaitGroup

	orphans map[string]orphan // belongs to the sweeper
}

// An orphan is a definition as long as nobody holds it.
type orphan struct {
	version table.Version
	holder  string
	idle    time.Duration
	since   time.Time // when it was last seen to have a holder
}

// ShareConsumers makes the consumer instances those of all processes of the cluster:
// each process answers for any of them, by itself or by naming the one that does. It
// is called before there is any. Nothing happens before the first call that is about
// an instance; CloseConsumers ends it.
func (g *Gate) ShareConsumers(peers *peer.Peers, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	g.consumers.share = &sharing{peers: peers, cluster: g.cluster, further: g.further, log: log, ctx: ctx, cancel: cancel, orphans: map[string]orphan{}}
}

// ready waits until the definitions can be used.
func (s *consumers) ready(ctx context.Context) error {
	if s.share == nil {
		return nil
	}
	opened, err := s.share.open(ctx)
	if opened {
		s.mu.Lock()
		if !s.closed {
			s.startSweeper() // for those that died before this process began
		}
		s.mu.Unlock()
	}
	return err
}

// open opens the tables if they are not. It says whether this call has waited for
// it.
func (sh *sharing) open(ctx context.Context) (bool, error) {
	sh.mu.Lock()
	if sh.table != nil {
		sh.mu.Unlock()
		return false, nil
	}
	if sh.attempt == nil {
		done := make(chan struct{})
		sh.attempt = done
		sh.opening.Go(func() {
			t, err := sh.try()
			sh.mu.Lock()
			sh.table, sh.err, sh.attempt = t, err, nil
			sh.mu.Unlock()
			close(done)
		})
	}
	attempt := sh.attempt
	sh.mu.Unlock()
	if err := sh.await(ctx, attempt); err != nil {
		return false, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case sh.table != nil:
		return true, nil
	case sh.err != nil:
		return false, unavailable(sh.err)
	}
	return false, unavailable(kafka.ErrUnreachable)
}

// await waits for an attempt to open, as long as there are brokers that answer.
func (sh *sharing) await(ctx context.Context, attempt chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	ask := time.NewTicker(time.Second)
	defer ask.Stop()
	for {
		select {
		case <-attempt:
			return nil
		case <-ask.C:
			if err := sh.cluster.Ready(ctx); err != nil {
				return unavailable(err)
			}
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
	}
}

// unavailable says that definitions cannot be read or written now.
func unavailable(err error) error {
	return &Error{Unavailable, fmt.Sprintf("the consumer instances of the cluster cannot be reached now: %v", err)}
}

// try opens the tables; it goes on while no broker answers.
func (sh *sharing) try() (*table.Table, error) {
	if err := sh.peers.Open(sh.ctx); err != nil {
		sh.log.Warn("consumer instances cannot be shared", "err", err)
		return nil, err
	}
	t, err := table.Open(sh.ctx, sh.cluster, consumerTopic, table.Options{Log: sh.log})
	if err != nil {
		sh.log.Warn("consumer instances cannot be shared", "err", err)
		return nil, err
	}
	return t, nil
}

// close ends everything, when no instance is left.
func (sh *sharing) close() {
	if sh == nil {
		return
	}
	sh.cancel()
	sh.opening.Wait()
	sh.mu.Lock()
	t := sh.table
	sh.mu.Unlock()
	if t != nil {
		t.Close()
	}
	sh.peers.Close()
}

// sync waits until what others have written can be seen.
func (sh *sharing) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := sh.table.Sync(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// look returns the definition of an instance. That there is none is said only after
// a look at all that was written by now.
func (sh *sharing) look(ctx context.Context, key consumerKey) (table.Entry, error) {
	e, ok := sh.table.Get(key.text())
	if !ok {
		if err := sh.sync(ctx); err != nil {
			return e, err
		}
		if e, ok = sh.table.Get(key.text()); !ok {
			return e, ErrNoConsumer
		}
	}
	return e, nil
}

// put writes a definition.
func (sh *sharing) put(ctx context.Context, d consumerDefinition, expect table.Version) (table.Version, error) {
	value, err := d.encode()
	if err != nil {
		return 0, err
	}
	key := d.key()
	e, err := sh.table.Put(ctx, key.text(), value, expect)
	if errors.Is(err, table.ErrUnknown) {
		if sh.sync(ctx) == nil {
			// What is written names this process, so nobody else has written it.
			if now, ok := sh.table.Get(key.text()); ok && bytes.Equal(now.Value, value) {
				return now.Version, nil
			}
		}
	}
	switch {
	case err == nil, errors.Is(err, table.ErrConflict):
		return e.Version, err
	case errors.Is(err, table.ErrInvalid):
		return 0, &Error{TooLarge, "the definition of the consumer instance is too large"}
	}
	return 0, unavailable(err)
}

// take makes this process the holder of an instance. Each take that succeeds is ended
// by peers.Drop.
func (sh *sharing) take(ctx context.Context, d *consumerDefinition, expect table.Version) (table.Version, error) {
	if err := sh.peers.Hold(ctx); err != nil {
		return 0, unavailable(err)
	}
	before := d.Holder
	d.Holder = sh.peers.ID()
	version, err := sh.put(ctx, *d, expect)
	if err != nil {
		sh.peers.Drop()
		return 0, err
	}
	if before != "" && before != sh.peers.ID() && d.subscribed() {
		sh.evict(ctx, d, before)
	}
	return version, nil
}

// evict takes the members of a process that has died out of the group of an instance
// that this process goes on with: that of the instance, and those of all others that
// nobody goes on with yet. The group would keep partitions for them, and would wait for
// them before it hands out any.
func (sh *sharing) evict(ctx context.Context, d *consumerDefinition, dead string) {
	cluster := sh.further[d.Cluster]
	if cluster == nil {
		cluster = sh.cluster
	}
	err := cluster.Evict(ctx, d.Group, func(names []string) []string {
		gone := []string{d.Name}
		// Who has gone on with one before the group was asked has written so.
		if sh.sync(ctx) != nil {
			return gone
		}
		for _, name := range names {
			e, ok := sh.table.Get(consumerKey{d.Group, name}.text())
			if !ok || holderOf(e.Value) != dead {
				continue
			}
			if other, err := decodeDefinition(e.Key, e.Value); err == nil && other.Cluster == d.Cluster {
				gone = append(gone, name)
			}
		}
		return gone
	})
	if err != nil {
		sh.log.Debug("members that have died could not be taken out of their group", "group", d.Group, "err", err)
	}
}

// keepRead notes how far an instance has been read without a commit, for whoever goes
// on with it: only the death of a process makes records come again. It is called with
// the turn.
func (sh *sharing) keepRead(c *consumer) {
	if sh == nil || c.live == nil {
		return
	}
	read := c.live.Positions()
	c.mu.Lock()
	d, cluster := c.definition, c.loan.cluster
	c.mu.Unlock()
	if len(read) == 0 || d.Config.AutoCommit {
		return
	}
	if cluster == nil {
		cluster = sh.cluster
	}
	partitions := make([]kafka.TopicPartition, len(read))
	for i, o := range read {
		partitions[i] = o.TopicPartition
	}
	ctx, cancel := context.WithTimeout(context.Background(), keepTimeout)
	defer cancel()
	committed, err := cluster.CommittedOffsets(ctx, d.Group, partitions)
	if err != nil {
		sh.log.Debug("where a consumer instance has been read to could not be kept", "group", d.Group, "err", err)
		return
	}
	at := map[kafka.TopicPartition]int64{}
	for _, o := range committed {
		at[o.TopicPartition] = o.Offset
	}
	var places []kafka.Place
	for _, o := range read {
		if before := committedOr(at, o.TopicPartition); before != o.Offset {
			places = append(places, kafka.Place{TopicPartition: o.TopicPartition, Offset: o.Offset, Committed: before})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.definition = c.definition.placed(places)
}

// give lets an instance go that has ended here.
func (sh *sharing) give(c *consumer, becomes fate) error {
	if sh == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveTimeout)
	defer cancel()
	err := sh.letGo(ctx, c, becomes)
	if errors.Is(err, table.ErrConflict) && sh.catchUp(c) {
		err = sh.letGo(ctx, c, becomes)
	}
	switch {
	case err == nil, becomes == remove && errors.Is(err, table.ErrConflict): // somebody else has it, or has removed it
		return nil
	case becomes == remove:
		return unavailable(err)
	}
	c.mu.Lock()
	group := c.definition.Group
	c.mu.Unlock()
	sh.log.Warn("a consumer instance could not be handed over; another process goes on with it when this one counts as dead", "group", group, "err", err)
	return err
}

// letGo removes a definition, or writes that nobody holds it.
func (sh *sharing) letGo(ctx context.Context, c *consumer, becomes fate) error {
	c.mu.Lock()
	d, version := c.definition, c.version
	c.mu.Unlock()
	if becomes == remove {
		return sh.table.Delete(ctx, d.key().text(), version)
	}
	d.Holder = ""
	_, err := sh.put(ctx, d, version)
	return err
}

// catchUp takes what an earlier write of this process has made of a definition, though
// its outcome was not known: that was an error then. It says whether there was one.
func (sh *sharing) catchUp(c *consumer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := sh.table.Get(c.definition.key().text())
	if !ok || e.Version <= c.version || holderOf(e.Value) != sh.peers.ID() {
		return false
	}
	d, err := decodeDefinition(e.Key, e.Value)
	if err != nil {
		return false
	}
	c.definition, c.version = d, e.Version
	return true
}

// takenOver says why an instance is not this process's any more, as far as that can
// be seen; nil if it is.
func (sh *sharing) takenOver(c *consumer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := sh.table.Get(c.definition.key().text())
	if !ok {
		return ErrNoConsumer
	}
	if e.Version <= c.version {
		return nil
	}
	if holderOf(e.Value) != sh.peers.ID() {
		return ErrConsumerMoved
	}
	return nil // a write of this process whose outcome it does not know yet
}

// adopt takes an instance over whose process has died or let it go. It returns nil
// when it is worth looking again.
func (s *consumers) adopt(ctx context.Context, key consumerKey) error {
	e, err := s.share.look(ctx, key)
	if err != nil {
		return err
	}
	if holder := holderOf(e.Value); holder != "" && holder != s.share.peers.ID() {
		alive, err := s.share.peers.Alive(ctx, holder)
		if err != nil {
			return unavailable(err)
		}
		if alive {
			return &ConsumerElsewhere{holder}
		}
	}
	if s.ending() {
		return s.elsewhere()
	}
	d, err := decodeDefinition(e.Key, e.Value)
	if err != nil {
		return err
	}
	err = s.make(ctx, d, e.Version)
	if errors.Is(err, table.ErrConflict) || errors.Is(err, errHeld) || errors.Is(err, ErrStopping) {
		return nil
	}
	if err == nil {
		s.share.log.Info("took a consumer instance over", "group", d.Group, "instance", d.Name)
	}
	return err
}

// sweepOrphans removes definitions that nobody has held for as long as an instance
// lives without calls.
func (sh *sharing) sweepOrphans(now time.Time, held func(consumerKey) bool) {
	self := sh.peers.ID()
	there := map[string]orphan{}
	var due []table.Entry
	for e := range sh.table.All() {
		o, known := sh.orphans[e.Key]
		if !known || o.version != e.Version {
			d, err := decodeDefinition(e.Key, e.Value)
			if err != nil {
				continue
			}
			o = orphan{version: e.Version, holder: d.Holder, idle: d.Config.Idle, since: now}
		}
		key, _ := consumerKeyOf(e.Key)
		if o.holder == self && held(key) || o.holder != "" && o.holder != self && sh.peers.Seen(o.holder) {
			o.since = now
		}
		there[e.Key] = o
		if now.Sub(o.since) >= o.idle {
			due = append(due, e)
		}
	}
	sh.orphans = there
	for _, e := range due {
		sh.removeOrphan(e, there[e.Key].holder)
	}
}

func (sh *sharing) removeOrphan(e table.Entry, holder string) {
	ctx, cancel := context.WithTimeout(context.Background(), giveTimeout)
	defer cancel()
	if holder != "" && holder != sh.peers.ID() {
		if alive, err := sh.peers.Alive(ctx, holder); alive || err != nil {
			return
		}
	}
	// A conflict says that somebody has gone on with it, or removed it.
	_ = sh.table.Delete(ctx, e.Key, e.Version)
}
