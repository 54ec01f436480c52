package front

import (
	"net/http"
	"net/netip"
	"strings"
)

// The ways to find a client's address (gateway-policies.md 5.10).
const (
	clientForwarded = "xff_rightmost_untrusted"
	clientPeer      = "remote_addr"
	clientProxy     = "proxy_protocol"
)

// ByClientIP returns links by which a request comes from where a client_ip of the waf
// section says; "" is xff_rightmost_untrusted.
func (l Links) ByClientIP(clientIP string) Links {
	l.client = clientIP
	return l
}

// Source returns the address that a request comes from, unmapped: its peer's, or,
// where that is a trusted proxy, the last address of X-Forwarded-For that is no
// trusted proxy's, unless ByClientIP says otherwise. It is the zero value where that cannot be told.
func (l Links) Source(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if l.client == clientPeer || l.client == clientProxy || !l.trusts(addr) {
		return addr
	}
	if name, ok := strings.CutPrefix(l.client, "header:"); ok {
		if said, ok := addressIn(r.Header.Get(name)); ok {
			return said
		}
		return addr
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := addressIn(hops[i])
		if !ok { // what stands before it is nobody's word
			break
		}
		if addr = hop; !l.trusts(addr) {
			break
		}
	}
	return addr
}

// addressIn returns the address in an element of a proxy's header, unmapped. Some proxies
// add the port that they were called from, and some put brackets around IPv6.
func addressIn(text string) (addr netip.Addr, ok bool) {
	text = strings.TrimSpace(text)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		at, err := netip.ParseAddrPort(text)
		if addr = at.Addr(); err != nil {
			bare, open := strings.CutPrefix(text, "[")
			bare, shut := strings.CutSuffix(bare, "]")
			if addr, err = netip.ParseAddr(bare); err != nil || !open || !shut || !addr.Is6() {
				return netip.Addr{}, false
			}
		}
	}
	return addr.Unmap().WithZone(""), true
}

// Secure says whether a request came over TLS, to klamm or to a trusted proxy.
func (l Links) Secure(r *http.Request) bool {
	return r.TLS != nil || l.fromProxy(r.RemoteAddr) && strings.HasPrefix(l.Base(r), "https:") && l.public == ""
}

// FromProxy says whether a request's peer is a trusted proxy.
func (l Links) FromProxy(r *http.Request) bool { return l.fromProxy(r.RemoteAddr) }

// disown takes away the headers in which proxies tell of client certificates, unless a
// trusted one has sent them: nobody behind klamm must take a client's word for them
// (gateway-policies.md 1.7).
func (l Links) disown(r *http.Request) {
	for _, name := range [...]string{"Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-Ssl-Client-Cert"} {
		if _, there := r.Header[name]; there && !l.FromProxy(r) {
			delete(r.Header, name)
		}
	}
}

func (l Links) trusts(addr netip.Addr) bool {
	for _, p := range l.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
