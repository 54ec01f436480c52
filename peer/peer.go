// Package peer lets the klamm processes of one cluster find and call each other.
//
// They need nothing but Kafka for it: each process that others may have to reach
// announces itself in the table of the topic __klamm_nodes and renews what it has
// written there every two seconds. One that has not renewed for six seconds, by
// the clock of whoever looks, is dead; clocks of different machines are never
// compared for that. The same table holds a secret that the first process has made
// up. Calls between processes are ordinary HTTP requests to the listener that
// clients use, signed with the secret (sign.go, call.go), and go to addresses of the
// table only. Where that listener speaks TLS, both ends show that they know the secret
// before anything is said (tls.go).
package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// topic holds a node/ID for each process, and the secret.
const topic = "__klamm_nodes"

const (
	nodePrefix = "node/"
	secretKey  = "secret"

	// renewEvery is how often a process renews its entry.
	renewEvery = 2 * time.Second
	// deadAfter is how long a process may be silent before it counts as dead.
	deadAfter = 6 * time.Second
	// refusedAfter is the same for one whose address refuses connections.
	refusedAfter = 3 * time.Second
	// sureFor is how long after a renewal a process can be sure that nobody takes
	// it for dead. It is less than deadAfter, by more than a write may take to be
	// read.
	sureFor = 4 * time.Second
	// lookEvery is how often entries are looked at.
	lookEvery = 500 * time.Millisecond
	// removeAfter is how long the entry of a dead process is kept.
	removeAfter = time.Minute
	// writeTimeout bounds one write of an entry.
	writeTimeout = 5 * time.Second
)

// A Config says how a process is one of several.
type Config struct {
	Cluster *kafka.Cluster
	// Listen is where this process serves HTTP.
	Listen net.Addr
	// Advertise is where others reach that, HOST:PORT; "" stands for Listen, and
	// where that is every address of the machine, for the one that leads to the
	// brokers.
	Advertise string
	// TLS says that Listen speaks TLS, and asks Greet about each hello.
	TLS bool
	Log *slog.Logger
}

// Peers are the klamm processes of a cluster as one of them sees them. It is safe
// for concurrent use.
type Peers struct {
	cfg     Config
	id      string
	address string // where others reach this process; set by Open
	lines   lines
	stop    context.CancelFunc // of the goroutine that renews; nil before Open
	running sync.WaitGroup
	now     chan struct{} // holds a token: renew at once
	opening sync.Mutex    // held while Open works

	mu     sync.Mutex // guards what follows
	closed bool
	table  *table.Table
	signer *signer // nil before Open
	// identity is how processes show each other who they are where they speak TLS;
	// nil before Open.
	identity *tls.Config
	nodes    map[string]*node
	held     int           // how many things of this process others must be able to reach
	renewed  time.Time     // when the last renewal that succeeded was begun
	turned   chan struct{} // closed and replaced at each renewal that succeeds
}

// A node is another process, or this one.
type node struct {
	address place
	version table.Version
	seen    time.Time       // when its last renewal was read
	refused time.Time       // when its address last refused a connection
	warned  time.Time       // when the log was last told that it cannot be reached
	lost    context.Context // ends when it has died
	end     context.CancelFunc
}

// entry is what a process writes about itself.
type entry struct {
	Address string `json:"address"`
	TLS     bool   `json:"tls,omitempty"`
}

// A place is where a process is reached.
type place struct {
	hostPort string
	tls      bool
}

// New returns the peers of this process. It does nothing before Open.
func New(cfg Config) *Peers {
	var id [12]byte
	_, _ = rand.Read(id[:])
	return &Peers{
		cfg: cfg, id: hex.EncodeToString(id[:]), nodes: map[string]*node{}, now: make(chan struct{}, 1), turned: make(chan struct{}),
		lines: lines{idle: map[place][]*line{}},
	}
}

// Open reads the table, which it creates if there is none, and begins to look at
// the others. While no broker answers, it tries on until ctx ends. When it has
// succeeded, it does nothing any more.
func (p *Peers) Open(ctx context.Context) error {
	p.opening.Lock()
	defer p.opening.Unlock()
	if p.stop != nil {
		return nil
	}
	t, err := table.Open(ctx, p.cfg.Cluster, topic, table.Options{Log: p.cfg.Log})
	if err != nil {
		return err
	}
	secret, err := secretOf(ctx, t)
	if err != nil {
		t.Close()
		return err
	}
	identity, err := newIdentity(secret)
	if err != nil {
		t.Close()
		return err
	}
	p.lines.identity = identity
	p.address = p.cfg.address() // only now: brokers have been reached
	renewing, stop := context.WithCancel(context.Background())
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		stop()
		t.Close()
		return errors.New("this process is stopping")
	}
	p.identity = identity
	p.table, p.signer, p.stop = t, &signer{secret: secret, id: p.id, now: time.Now}, stop
	p.observe()
	p.running.Go(func() { p.run(renewing) })
	p.mu.Unlock()
	return nil
}

// secretOf returns the secret of a table. The first process makes it up.
func secretOf(ctx context.Context, t *table.Table) ([]byte, error) {
	e, ok := t.Get(secretKey)
	if !ok {
		var b [32]byte
		_, _ = rand.Read(b[:])
		var err error
		e, err = t.Put(ctx, secretKey, []byte(base64.StdEncoding.EncodeToString(b[:])), table.Absent)
		if errors.Is(err, table.ErrConflict) || errors.Is(err, table.ErrUnknown) {
			if err = t.Sync(ctx); err == nil {
				e, _ = t.Get(secretKey)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	secret, err := base64.StdEncoding.DecodeString(string(e.Value))
	if err != nil || len(secret) < 16 {
		return nil, fmt.Errorf("the secret in table %s is none; delete the topic while no klamm runs", topic)
	}
	return secret, nil
}

// Close takes this process out of the table, within a few seconds, and ends all
// connections. Before it, everything that others could want of this process has
// to be over.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	t, stop, announced := p.table, p.stop, !p.renewed.IsZero()
	p.mu.Unlock()
	if t != nil {
		stop()
		p.running.Wait()
		if announced {
			ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
			_ = t.Delete(ctx, nodePrefix+p.id, table.Any) // else it is found to be dead
			cancel()
		}
		t.Close()
	}
	p.lines.close()
}

// ID returns the name of this process, which is random.
func (p *Peers) ID() string { return p.id }

// Hold announces this process, and returns when others can find it: it has
// something now that they may want. Each Hold that succeeds is ended by a Drop.
func (p *Peers) Hold(ctx context.Context) error {
	p.mu.Lock()
	p.held++
	for !p.sure() {
		turned := p.turned
		p.mu.Unlock()
		select {
		case p.now <- struct{}{}:
		default:
		}
		select {
		case <-turned:
			p.mu.Lock()
		case <-ctx.Done():
			p.Drop()
			return fmt.Errorf("announce this process to the others: %w", ctx.Err())
		}
	}
	p.mu.Unlock()
	return nil
}

// Drop ends a Hold. A process that holds nothing renews nothing.
func (p *Peers) Drop() {
	p.mu.Lock()
	p.held--
	p.mu.Unlock()
}

// Sure says whether nobody can have taken this process for dead. If not, whoever
// believes to hold something has to look whether that is still so.
func (p *Peers) Sure() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sure()
}

// sure is Sure with mu held.
func (p *Peers) sure() bool { return time.Since(p.renewed) < sureFor }

// run renews this process's entry while it holds something, and looks at the
// others, until ctx ends.
func (p *Peers) run(ctx context.Context) {
	renew, look := time.NewTicker(renewEvery), time.NewTicker(lookEvery)
	defer renew.Stop()
	defer look.Stop()
	for {
		select {
		case <-renew.C:
			p.mu.Lock()
			held := p.held > 0
			p.mu.Unlock()
			if held {
				p.renew(ctx)
			}
		case <-p.now:
			if !p.Sure() {
				p.renew(ctx)
			}
		case <-look.C:
			p.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// renew writes this process's entry.
func (p *Peers) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	start := time.Now()
	value, _ := json.Marshal(entry{p.address, p.cfg.TLS}) // they always can be
	if _, err := p.table.Put(ctx, nodePrefix+p.id, value, table.Any); err != nil {
		if ctx.Err() == nil {
			p.cfg.Log.Warn("this process could not announce itself to the others", "err", err)
		}
		return
	}
	p.mu.Lock()
	p.renewed = start
	close(p.turned)
	p.turned = make(chan struct{})
	p.mu.Unlock()
}

// look finds out who has renewed and who has died, and removes the entries of
// those that died long ago.
func (p *Peers) look(ctx context.Context) {
	if p.table.Health() != nil {
		return // everybody would seem dead
	}
	p.lines.prune()
	p.mu.Lock()
	p.observe()
	gone := map[string]table.Version{}
	for id, n := range p.nodes {
		if !n.alive() {
			n.end()
		}
		if time.Since(n.seen) > removeAfter && id != p.id {
			gone[id] = n.version
		}
	}
	p.mu.Unlock()
	for id, version := range gone {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		_ = p.table.Delete(ctx, nodePrefix+id, version) // another process may have been first
		cancel()
	}
}

// observe notes what has changed in the table. It is called with mu held.
func (p *Peers) observe() {
	there := map[string]bool{}
	for _, e := range p.table.List(nodePrefix) {
		id := strings.TrimPrefix(e.Key, nodePrefix)
		there[id] = true
		n := p.nodes[id]
		if n == nil {
			n = &node{}
			p.nodes[id] = n
		}
		if n.version == e.Version {
			continue
		}
		var said entry
		if json.Unmarshal(e.Value, &said) == nil {
			n.address = place{said.Address, said.TLS}
		}
		n.version, n.seen = e.Version, time.Now()
		if n.lost == nil || n.lost.Err() != nil {
			n.lost, n.end = context.WithCancel(context.Background())
		}
	}
	for id, n := range p.nodes {
		if !there[id] {
			n.end()
			delete(p.nodes, id)
		}
	}
}

func (n *node) alive() bool {
	silent := time.Since(n.seen)
	return silent < deadAfter && (silent < refusedAfter || n.refused.Before(n.seen))
}

// Alive says whether a process lives. That one is dead is said only after a look
// at all that was written by now; an error says that this was not possible.
func (p *Peers) Alive(ctx context.Context, id string) (bool, error) {
	if p.Seen(id) {
		return true, nil
	}
	if err := p.table.Sync(ctx); err != nil {
		return false, err
	}
	return p.Seen(id), nil
}

// Seen says whether a process was seen lately. It does not wait; Alive is sure.
func (p *Peers) Seen(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observe()
	n := p.nodes[id]
	return n != nil && n.alive()
}

// Another returns a process that lives and is not this one; "" is none. Only those
// are known that have something that others may want.
func (p *Peers) Another() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.table != nil {
		p.observe()
	}
	for id, n := range p.nodes {
		if id != p.id && n.alive() {
			return id
		}
	}
	return ""
}

// address returns where others reach this process.
func (c Config) address() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	host, port, err := net.SplitHostPort(c.Listen.String())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return c.Listen.String()
	}
	for _, b := range c.Cluster.Brokers() {
		conn, err := net.DialTimeout("udp", b, time.Second) // nothing is sent
		if err != nil {
			continue
		}
		local, _, err := net.SplitHostPort(conn.LocalAddr().String())
		_ = conn.Close()
		if err == nil {
			return net.JoinHostPort(local, port)
		}
	}
	return net.JoinHostPort("127.0.0.1", port)
}
