package target

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ErrEgress says that a target lies at an address klamm must not reach.
var ErrEgress = errors.New("refused by egress")

// An Egress says which addresses targets may have. Private, loopback,
// link-local, metadata and other special addresses are refused unless they are
// allowed, and what is decided about is the address a connection is made to,
// after DNS has been asked. It is safe for concurrent use.
type Egress struct {
	all   bool
	allow []netip.Prefix
}

// NewEgress returns an Egress that allows public addresses and those of the
// given prefixes ("10.1.0.0/16", "192.0.2.7"); all allows every address.
func NewEgress(allow []string, all bool) (*Egress, error) {
	e := &Egress{all: all}
	for _, text := range allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("egress.allow: %q is neither an address nor a prefix such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		e.allow = append(e.allow, p.Masked())
	}
	return e, nil
}

// special are the ranges that net/netip has no word for: carrier-grade NAT,
// "this network", benchmarks, protocol assignments, documentation, reserved and
// broadcast, IPv4 inside IPv6 (NAT64, 6to4), and the metadata addresses of
// clouds that lie outside the link-local range.
var special = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "2002::/16", "fd00:ec2::254/128", "168.63.129.16/32")

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// Check returns nil if targets may have that address, and otherwise an error
// that wraps ErrEgress and says how to allow it.
func (e *Egress) Check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if e.all {
		return nil
	}
	for _, p := range e.allow {
		if p.Contains(addr) {
			return nil
		}
	}
	closed := !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
	for _, p := range special {
		closed = closed || p.Contains(addr)
	}
	if closed {
		return fmt.Errorf("%w: %s is not a public address; allow it with egress: {allow: [%s]}", ErrEgress, addr, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return nil
}

// CheckHost is Check for a host that is written as an address, or is localhost.
// Other names pass: what they resolve to is checked when a connection is made.
func (e *Egress) CheckHost(host string) error {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return e.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return e.Check(addr)
	}
	return nil
}

// Transport returns an HTTP transport that connects to allowed addresses only.
// It follows no redirects and uses no proxy.
func (e *Egress) Transport() *http.Transport {
	dialer := &net.Dialer{
		Timeout:   5 * time.Second,
		KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrEgress, address)
			}
			return e.Check(ap.Addr())
		},
	}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 5 * time.Second,
		// Go's default of two idle connections a host makes a new connection
		// for nearly every concurrent delivery.
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}
