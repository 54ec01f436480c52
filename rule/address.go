package rule

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseAddress reads an IPv4 address of four decimal groups, leading zeros
// allowed, or an IPv6 address without a zone and without IPv4 inside.
func parseAddress(s string) (netip.Addr, bool) {
	if len(s) < 2 || len(s) > 45 {
		return netip.Addr{}, false
	}
	if strings.IndexByte(s, ':') >= 0 {
		if strings.ContainsAny(s, ".%") {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(s)
		return a, err == nil
	}
	if c := s[0]; c < '0' || c > '9' {
		return netip.Addr{}, false
	}
	var octets [4]byte
	groups := strings.Split(s, ".")
	if len(groups) != 4 {
		return netip.Addr{}, false
	}
	for i, g := range groups {
		n, err := strconv.ParseUint(g, 10, 8)
		if err != nil || len(g) > 3 || g[0] == '+' {
			return netip.Addr{}, false
		}
		octets[i] = byte(n)
	}
	return netip.AddrFrom4(octets), true
}

func compileCIDR(n *node) (matcher, error) {
	if n.kind != '"' {
		return matcher{}, invalid("prefix match pattern must be a string")
	}
	host, mask, ok := strings.Cut(n.text, "/")
	if !ok || strings.Contains(mask, "/") {
		return matcher{}, invalid("Malformed CIDR, one '/' required")
	}
	bits, err := strconv.Atoi(mask)
	if err != nil {
		return matcher{}, invalid("Malformed CIDR, mask bits must be an integer")
	}
	if bits < 0 {
		return matcher{}, invalid("Malformed CIDR, mask bits must not be negative")
	}
	address, ok := parseAddress(host)
	switch {
	case !ok:
		return matcher{}, invalid("Nonstandard IP address: %s", host)
	case address.Is4() && bits >= 32:
		return matcher{}, invalid("IPv4 mask bits must be < 32")
	case address.Is6() && bits >= 128:
		return matcher{}, invalid("IPv6 mask bits must be < 128")
	}
	return matcher{kind: isCIDR, network: netip.PrefixFrom(address, bits).Masked()}, nil
}
