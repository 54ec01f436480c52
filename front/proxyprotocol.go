package front

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// proxyPatience is how long a proxy may take to say where a connection comes
	// from.
	proxyPatience = 5 * time.Second
	// longestProxyV1 is that of a line of version 1, and longestProxyV2 what is read
	// of version 2 behind its first 16 bytes.
	longestProxyV1 = 107
	longestProxyV2 = 4 << 10
)

var (
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	errProxy       = errors.New("the PROXY protocol's header is malformed")
)

// ProxyListener returns a listener for connections from proxies that say with the PROXY protocol,
// version 1 or 2, where their clients come from; the connections have that address
// then. Trusted peers have to say it; from others it is not taken
// (gateway-policies.md 5.10).
func ProxyListener(l net.Listener, links Links) net.Listener {
	return &proxyListener{Listener: l, links: links}
}

type proxyListener struct {
	net.Listener
	links Links
}

func (l *proxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || !l.links.trusts(at.Addr().Unmap().WithZone("")) {
		return conn, nil
	}
	return &proxyConn{Conn: conn}, nil
}

// A proxyConn reads the proxy's header when somebody first asks it for anything: that
// is not in Accept, where one silent client would keep all others waiting.
type proxyConn struct {
	net.Conn
	once   sync.Once
	remote net.Addr
	left   []byte // read behind the header
	err    error
}

func (c *proxyConn) Read(p []byte) (int, error) {
	c.once.Do(c.header)
	if c.err != nil {
		return 0, c.err
	}
	if len(c.left) > 0 {
		n := copy(p, c.left)
		c.left = c.left[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *proxyConn) RemoteAddr() net.Addr {
	c.once.Do(c.header)
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func (c *proxyConn) header() {
	_ = c.Conn.SetReadDeadline(time.Now().Add(proxyPatience))
	addr, left, err := readProxy(c.Conn)
	_ = c.Conn.SetReadDeadline(time.Time{})
	if err != nil {
		c.err = err
		_ = c.Conn.Close()
		return
	}
	c.left = left
	if addr.IsValid() {
		c.remote = net.TCPAddrFromAddrPort(addr)
	}
}

// readProxy reads a header. The zero address is the proxy's own: it speaks for
// itself, as for a health check. It reads no more than the header, but for version 1,
// whose end is only found by looking for it.
func readProxy(r io.Reader) (addr netip.AddrPort, left []byte, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return addr, nil, errProxy
	}
	if bytes.HasPrefix(head, proxySignature) {
		addr, err = readProxyV2(r, head)
		return addr, nil, err
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return addr, nil, errProxy
	}
	line := head
	for {
		if end := bytes.Index(line, []byte("\r\n")); end >= 0 {
			addr, err = parseProxyV1(string(line[:end]))
			return addr, line[end+2:], err
		}
		if len(line) > longestProxyV1 {
			return addr, nil, errProxy
		}
		more := make([]byte, longestProxyV1)
		n, err := r.Read(more)
		line = append(line, more[:n]...)
		if err != nil {
			return addr, nil, errProxy
		}
	}
}

// parseProxyV1 reads PROXY TCP4|TCP6|UNKNOWN SOURCE DESTINATION PORT PORT.
func parseProxyV1(line string) (netip.AddrPort, error) {
	words := strings.Split(line, " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, errProxy
	}
	addr, err := netip.ParseAddr(words[2])
	if err != nil || addr.Zone() != "" || addr.Is4() != (words[1] == "TCP4") {
		return netip.AddrPort{}, errProxy
	}
	port, err := strconv.ParseUint(words[4], 10, 16)
	if err != nil {
		return netip.AddrPort{}, errProxy
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// readProxyV2 reads the rest of a binary header.
func readProxyV2(r io.Reader, head []byte) (addr netip.AddrPort, err error) {
	version, command, family := head[12]>>4, head[12]&15, head[13]
	length := int(binary.BigEndian.Uint16(head[14:]))
	if version != 2 || command > 1 || length > longestProxyV2 {
		return addr, errProxy
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return addr, errProxy
	}
	switch {
	case command == 0: // LOCAL
		return addr, nil
	case family == 0x11 && length >= 12: // TCP over IPv4
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[:4])), binary.BigEndian.Uint16(body[8:])), nil
	case family == 0x21 && length >= 36: // TCP over IPv6
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[:16])).Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	case family == 0: // UNSPEC
		return addr, nil
	}
	return addr, errProxy
}
