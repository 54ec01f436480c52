package front

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Links says under which address clients know klamm, for the dialects that put
// URLs into their answers. The zero value takes the request's own Host.
type Links struct {
	public  string
	trusted []netip.Prefix
	client  string // how the client's address is found: one of the client constants, or header:NAME
}

// NewLinks returns links that begin with publicURL; where it is "", they begin
// with what a request was sent to, and for requests from the trusted proxies
// (addresses or prefixes such as 10.0.0.0/8) with what Forwarded, if it has both a
// host and a protocol, or else X-Forwarded-Host and -Proto say, and with
// X-Forwarded-Path, which is what the proxy has taken off the path, or the whole
// path that it was asked for. Nobody else's are believed.
func NewLinks(publicURL string, trusted []string) (Links, error) {
	var l Links
	if publicURL != "" {
		u, err := url.Parse(publicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return l, fmt.Errorf("public_url %q is not an http or https URL without a query", publicURL)
		}
		l.public = strings.TrimRight(publicURL, "/")
	}
	for _, text := range trusted {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, bad := netip.ParseAddr(text)
			if bad != nil {
				return l, fmt.Errorf("trusted proxy %q is not an address or a prefix", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		l.trusted = append(l.trusted, prefix.Masked())
	}
	return l, nil
}

// Base returns the scheme, authority and path prefix that the links in the
// answer to a request begin with, without a slash at the end. A stage that the path
// has named is part of it.
func (l Links) Base(r *http.Request) string {
	stage := ""
	if at := stagedOf(r); at != nil && at.named {
		stage = "/" + at.Name
	}
	if l.public != "" {
		return l.public + stage
	}
	scheme, host, path := "http", r.Host, ""
	if r.TLS != nil {
		scheme = "https"
	}
	if l.fromProxy(r.RemoteAddr) {
		proto, at := forwarded(r.Header)
		if proto == "" || at == "" {
			proto, at = first(r.Header.Get("X-Forwarded-Proto")), first(r.Header.Get("X-Forwarded-Host"))
		}
		path = strings.TrimSuffix(cleanPath(first(r.Header.Get("X-Forwarded-Path"))), stage+strings.TrimRight(r.URL.EscapedPath(), "/"))
		if proto = strings.ToLower(proto); proto == "http" || proto == "https" {
			scheme = proto
		}
		if validHost(at) {
			host = at
		}
	}
	return scheme + "://" + host + path + stage
}

// fromProxy says whether a peer's address is that of a trusted proxy.
func (l Links) fromProxy(remote string) bool {
	if len(l.trusted) == 0 {
		return false
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range l.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// forwarded reads proto and host from the first element of Forwarded (RFC
// 7239), which is what the client itself spoke to.
func forwarded(h http.Header) (proto, host string) {
	element := first(h.Get("Forwarded"))
	for pair := range strings.SplitSeq(element, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "proto":
			proto = value
		case "host":
			host = value
		}
	}
	return proto, host
}

// first is the first element of a list of values.
func first(list string) string {
	value, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(value)
}

// validHost says whether a text can be the authority of a URL and nothing else.
func validHost(host string) bool {
	if host == "" || len(host) > 300 {
		return false
	}
	for _, c := range []byte(host) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// cleanPath returns a path prefix without a slash at its end, or "" for what
// cannot be one.
func cleanPath(path string) string {
	path = strings.TrimRight(path, "/")
	if path == "" || path[0] != '/' || strings.HasPrefix(path, "//") || len(path) > 1000 || strings.ContainsAny(path, "?#\"<>\\ ") {
		return ""
	}
	for _, c := range []byte(path) {
		if c < 0x20 || c >= 0x7f {
			return ""
		}
	}
	return path
}
