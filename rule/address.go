package rule

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseAddress reads an IPv4 address of four decimal groups, leading zeros
// allowed, or an IPv6 address without a zone and without IPv4 inside. It is a
// parser of its own because net/netip refuses the zeros and wants a string.
func parseAddress[T string | []byte](text T) (netip.Addr, bool) {
	if len(text) < 2 || len(text) > 45 {
		return netip.Addr{}, false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == ':':
			return parseIPv6(text)
		case c == '.':
			return parseIPv4(text)
		case hex(c) < 0:
			return netip.Addr{}, false
		}
	}
	return netip.Addr{}, false
}

func parseIPv4[T string | []byte](text T) (netip.Addr, bool) {
	var octets [4]byte
	group, digits, n := 0, 0, 0
	for i := range len(text) {
		c := text[i]
		if c == '.' {
			if digits == 0 || group == 3 {
				return netip.Addr{}, false
			}
			octets[group] = byte(n)
			group, digits, n = group+1, 0, 0
			continue
		}
		if n = n*10 + int(c) - '0'; c < '0' || c > '9' || n > 255 {
			return netip.Addr{}, false
		}
		digits++
	}
	octets[3] = byte(n)
	return netip.AddrFrom4(octets), group == 3 && digits > 0
}

// parseIPv6 reads groups into front, or into back once there was a "::".
func parseIPv6[T string | []byte](text T) (netip.Addr, bool) {
	var octets [16]byte
	groups, gap, i := 0, -1, 0
	if text[0] == ':' {
		if text[1] != ':' {
			return netip.Addr{}, false
		}
		gap, i = 0, 2
	}
	for i < len(text) {
		n, digits := 0, 0
		for ; i < len(text) && digits < 4 && hex(text[i]) >= 0; i++ {
			n = n<<4 | hex(text[i])
			digits++
		}
		if digits == 0 || groups == 8 {
			return netip.Addr{}, false
		}
		octets[2*groups], octets[2*groups+1] = byte(n>>8), byte(n)
		groups++
		if i == len(text) {
			break
		}
		if text[i] != ':' || i+1 == len(text) {
			return netip.Addr{}, false
		}
		if i++; text[i] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap = groups
			i++
		}
	}
	if gap < 0 {
		return netip.AddrFrom16(octets), groups == 8
	}
	if groups == 8 { // "::" stands for one group at least
		return netip.Addr{}, false
	}
	var all [16]byte
	copy(all[:], octets[:2*gap])
	copy(all[16-2*(groups-gap):], octets[2*gap:2*groups])
	return netip.AddrFrom16(all), true
}

// hex is the value of a hexadecimal digit, or -1.
func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// sizeOf names the size of a network over both kinds of addresses: IPv6 begins
// behind IPv4.
func sizeOf(a netip.Addr, bits int) int {
	if a.Is4() {
		return bits
	}
	return 33 + bits
}

// addressKey is the name of a network in an index; buf is scratch.
func addressKey(buf []byte, a netip.Addr, bits int) string {
	return string(appendAddressKey(buf, a, bits))
}

func appendAddressKey(dst []byte, a netip.Addr, bits int) []byte {
	network, _ := a.Prefix(bits)
	dst = append(dst, byte(sizeOf(a, bits)))
	if a.Is4() {
		b := network.Addr().As4()
		return append(dst, b[:]...)
	}
	b := network.Addr().As16()
	return append(dst, b[:]...)
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
	network := netip.PrefixFrom(address, bits).Masked()
	return matcher{
		hint: hint{kind: someAddress, text: addressKey(nil, address, bits)}, sure: true,
		test: func(v *scalar) bool { a, ok := v.address(); return ok && network.Contains(a) },
	}, nil
}
