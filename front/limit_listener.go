package front

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Connections is the connections section of the configuration file.
type Connections struct {
	// MaxConnections bounds the connections of all addresses that klamm listens on;
	// further ones are closed at once. The default, 0, is no bound.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerIP bounds those of one address, of IPv6 those of a network of 64
	// bits, trusted proxies excepted. The default, 0, is no bound.
	MaxConnectionsPerIP int `yaml:"max_connections_per_ip"`
	// AcceptRate bounds new connections in a second; others wait to be accepted. The
	// default, 0, is no bound.
	AcceptRate int `yaml:"accept_rate"`
	// MaxStreamsPerConnection bounds the requests that go on at once on one connection
	// of HTTP/2; the default is 100.
	MaxStreamsPerConnection int `yaml:"max_streams_per_connection"`
	// HeaderTimeout is how long a request's head may take; the default is 10s.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// BodyMinRate is how many bytes of a body have to come in a second, from the fifth
	// second on; streams may take their time. The default is 1KiB.
	BodyMinRate int64 `yaml:"body_min_rate" unit:"bytes"`
	// Idle is how long a connection may be without a request; the default is 75s.
	Idle time.Duration `yaml:"idle"`
}

// Validate reports each problem with the field it lies in.
func (c Connections) Validate(report func(path, problem string)) {
	for _, f := range []struct {
		name string
		n    int
	}{{"max_connections", c.MaxConnections}, {"max_connections_per_ip", c.MaxConnectionsPerIP}, {"accept_rate", c.AcceptRate}, {"max_streams_per_connection", c.MaxStreamsPerConnection}} {
		if f.n < 0 || f.n > 1_000_000 {
			report(f.name, "want a number up to 1000000")
		}
	}
	if c.HeaderTimeout < 0 || c.HeaderTimeout > 10*time.Minute {
		report("header_timeout", "want a time up to 10m")
	}
	if c.BodyMinRate < 0 || c.BodyMinRate > 1<<30 {
		report("body_min_rate", "want a size up to 1GiB")
	}
	if c.Idle < 0 || c.Idle > time.Hour {
		report("idle", "want a time up to 1h")
	}
}

// withDefaults returns the settings that a server goes by.
func (c Connections) withDefaults() Connections {
	if c.MaxStreamsPerConnection == 0 {
		c.MaxStreamsPerConnection = 100
	}
	if c.HeaderTimeout == 0 {
		c.HeaderTimeout = 10 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = 75 * time.Second
	}
	if c.BodyMinRate == 0 {
		c.BodyMinRate = 1 << 10
	}
	return c
}

// A ConnectionLimit counts the connections of several listeners. It is safe for
// concurrent use, and a prometheus.Collector of what it counts.
type ConnectionLimit struct {
	refused *prometheus.CounterVec
	opened  prometheus.GaugeFunc

	mu     sync.Mutex // guards what follows
	cfg    Connections
	links  Links
	open   int
	byAddr map[netip.Addr]int
	next   time.Time // when the next connection may be accepted
}

// Change makes other bounds count for connections that come from now on.
func (c *ConnectionLimit) Change(cfg Connections, links Links) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg, c.links = cfg, links
}

// NewConnectionLimit returns a limit, which may bound nothing. The addresses of
// trusted proxies are those of links.
func NewConnectionLimit(cfg Connections, links Links) *ConnectionLimit {
	c := &ConnectionLimit{cfg: cfg, links: links, byAddr: map[netip.Addr]int{}, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_front_connections_refused_total", Help: "Connections closed as soon as they came, since there were too many: of all (total) or of their address (address).",
	}, []string{"reason"})}
	c.opened = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "klamm_front_connections", Help: "Connections that are open.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(c.open)
	})
	return c
}

// Describe is part of prometheus.Collector.
func (c *ConnectionLimit) Describe(ch chan<- *prometheus.Desc) {
	c.refused.Describe(ch)
	c.opened.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (c *ConnectionLimit) Collect(ch chan<- prometheus.Metric) {
	c.refused.Collect(ch)
	c.opened.Collect(ch)
}

// Listen returns a listener whose connections are counted.
func (c *ConnectionLimit) Listen(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, limit: c, closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	limit  *ConnectionLimit
	close  sync.Once
	closed chan struct{}
}

// Close ends Accept also while it waits.
func (l *limitedListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// Accept returns the next connection that there is room for.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		if wait := l.limit.turn(time.Now()); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-l.closed:
				t.Stop()
				return nil, net.ErrClosed
			}
		}
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at := addressOf(conn)
		if l.limit.enter(at) {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.limit.leave(at) })}, nil
		}
		_ = conn.Close()
	}
}

// turn takes a place among the connections that are accepted in a second, and says how
// long it is until it comes. A second's worth may come at once.
func (c *ConnectionLimit) turn(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.AcceptRate == 0 {
		return 0
	}
	if earliest := now.Add(-time.Second); c.next.Before(earliest) {
		c.next = earliest
	}
	c.next = c.next.Add(time.Second / time.Duration(c.cfg.AcceptRate))
	return c.next.Sub(now)
}

// enter counts a connection, unless there are too many.
func (c *ConnectionLimit) enter(at netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cfg.MaxConnections > 0 && c.open >= c.cfg.MaxConnections:
		c.refused.WithLabelValues("total").Inc()
		return false
	case c.cfg.MaxConnectionsPerIP > 0 && c.byAddr[at] >= c.cfg.MaxConnectionsPerIP && !c.links.trusts(at):
		c.refused.WithLabelValues("address").Inc()
		return false
	}
	c.open++
	c.byAddr[at]++
	return true
}

func (c *ConnectionLimit) leave(at netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.byAddr[at]--; c.byAddr[at] == 0 {
		delete(c.byAddr, at)
	}
}

// addressOf is what connections are counted by.
func addressOf(conn net.Conn) netip.Addr {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr, ok := netip.AddrFromSlice(at.IP)
	if !ok {
		return netip.Addr{}
	}
	if addr = addr.Unmap(); addr.Is6() {
		network, _ := addr.Prefix(64) // it has so many bits
		addr = network.Addr()
	}
	return addr
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close counts the connection no longer.
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// ReadFrom lets the kernel move an answer from another connection.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// errNotTCP says that half of a connection cannot be closed.
var errNotTCP = errors.New("the connection has no halves")

// CloseWrite ends what is sent, as net/http does before it closes a connection that
// still sends: the client can then read the answer to its end.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errNotTCP
}
