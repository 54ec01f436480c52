package front

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestLinks(t *testing.T) {
	loopback := []string{"127.0.0.0/8", "::1"}
	for _, c := range []struct {
		name, public string
		trusted      []string
		remote       string
		header       http.Header
		secure       bool
		want         string
	}{
		{"the request's own host", "", nil, "127.0.0.1:5", nil, false, "http://klamm:8082"},
		{"over TLS", "", nil, "127.0.0.1:5", nil, true, "https://klamm:8082"},
		{"public_url", "https://a.example/gate/", loopback, "127.0.0.1:5", http.Header{"X-Forwarded-Host": {"b"}}, false, "https://a.example/gate"},
		{"nobody is trusted", "", nil, "127.0.0.1:5", http.Header{"X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"}}, false, "http://klamm:8082"},
		{"somebody else is trusted", "", []string{"192.0.2.0/24"}, "127.0.0.1:5", http.Header{"Forwarded": {"host=evil"}}, false, "http://klamm:8082"},
		{"X-Forwarded", "", loopback, "127.0.0.1:5", http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"a.example:8443, b"}, "X-Forwarded-Path": {"/gate/"}}, false, "https://a.example:8443/gate"},
		{"only the protocol", "", loopback, "127.0.0.1:5", http.Header{"X-Forwarded-Proto": {"HTTPS"}}, false, "https://klamm:8082"},
		{"Forwarded wins", "", loopback, "[::1]:5", http.Header{"Forwarded": {`for=192.0.2.1;host="b.example";proto=https, for=192.0.2.9`}, "X-Forwarded-Host": {"a"}}, false, "https://b.example"},
		{"Forwarded without a host", "", loopback, "127.0.0.1:5", http.Header{"Forwarded": {"for=192.0.2.1;proto=https"}, "X-Forwarded-Host": {"a"}, "X-Forwarded-Proto": {"http"}}, false, "http://a"},
		{"Forwarded without a protocol", "", loopback, "127.0.0.1:5", http.Header{"Forwarded": {"host=b"}}, false, "http://klamm:8082"},
		{"Forwarded and a path", "", loopback, "127.0.0.1:5", http.Header{"Forwarded": {"host=b;proto=https"}, "X-Forwarded-Path": {"/gate"}}, false, "https://b/gate"},
		{"the whole path", "", loopback, "127.0.0.1:5", http.Header{"Forwarded": {"host=b;proto=https"}, "X-Forwarded-Path": {"/gate/consumers/g"}}, false, "https://b/gate"},
		{"IPv4 in IPv6", "", loopback, "[::ffff:127.0.0.1]:5", http.Header{"Forwarded": {"host=b;proto=http"}}, false, "http://b"},
		{"not a host", "", loopback, "127.0.0.1:5", http.Header{"X-Forwarded-Host": {"a/b?c"}, "X-Forwarded-Proto": {"javascript"}, "X-Forwarded-Path": {"//evil"}}, false, "http://klamm:8082"},
		{"an odd peer", "", loopback, "@", http.Header{"X-Forwarded-Host": {"a"}}, false, "http://klamm:8082"},
	} {
		l, err := NewLinks(c.public, c.trusted)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		r := &http.Request{Host: "klamm:8082", RemoteAddr: c.remote, Header: c.header, URL: &url.URL{Path: "/consumers/g/"}}
		if c.secure {
			r.TLS = &tls.ConnectionState{}
		}
		if got := l.Base(r); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	for _, wrong := range []string{"a.example", "ftp://a", "http://", "http://a?b", "http://a#b", "http://u:p@a", "http://%"} {
		if _, err := NewLinks(wrong, nil); err == nil {
			t.Errorf("%q was taken for a public URL", wrong)
		}
	}
	if _, err := NewLinks("", []string{"10.0.0.0/40"}); err == nil {
		t.Error("10.0.0.0/40 was taken for a prefix")
	}
}

// FuzzLinks sees that no header can make more of a link than its beginning.
func FuzzLinks(f *testing.F) {
	f.Add(`for=1;host="b";proto=https`, "a, b", "https", "/p")
	f.Fuzz(func(t *testing.T, element, host, proto, path string) {
		l, err := NewLinks("", []string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Host: "klamm", RemoteAddr: "127.0.0.1:1", URL: &url.URL{Path: "/p"}, Header: http.Header{
			"Forwarded": {element}, "X-Forwarded-Host": {host}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Path": {path}}}
		base := l.Base(r)
		if strings.ContainsAny(base, "\r\n\"<> ?#") {
			t.Fatalf("%q", base)
		}
		if u, err := url.Parse("http://x" + strings.TrimPrefix(strings.TrimPrefix(base, "https://"), "http://")); err == nil && u.User != nil {
			t.Fatalf("%q has a user", base)
		}
	})
}
