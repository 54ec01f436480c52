package front

import (
	"net/http/httptest"
	"testing"
)

// TestSourceBehindProxies checks whose address counts, in all the forms in which proxies
// write addresses down.
func TestSourceBehindProxies(t *testing.T) {
	links, err := NewLinks("", []string{"10.0.0.0/8", "2001:db8:1::/48"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"203.0.113.9:1", "192.0.2.7", "203.0.113.9"},
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"10.0.0.1:1", "192.0.2.7", "192.0.2.7"},
		{"10.0.0.1:1", "198.51.100.1, 192.0.2.7,10.2.0.1", "192.0.2.7"},
		{"10.0.0.1:1", "192.0.2.7:51234", "192.0.2.7"},
		{"10.0.0.1:1", "192.0.2.7:51234, 10.2.0.1:80", "192.0.2.7"},
		{"10.0.0.1:1", "2001:db8::7", "2001:db8::7"},
		{"10.0.0.1:1", "[2001:db8::7]:443", "2001:db8::7"},
		{"[2001:db8:1::2]:1", "[2001:db8::7]", "2001:db8::7"},
		{"10.0.0.1:1", "::ffff:192.0.2.7", "192.0.2.7"},
		{"10.0.0.1:1", "[::ffff:192.0.2.7]:80, 10.1.1.1", "192.0.2.7"},
		{"10.0.0.1:1", "192.0.2.7, unknown", "10.0.0.1"},
		{"10.0.0.1:1", "192.0.2.7, unknown, 10.3.0.1", "10.3.0.1"},
		{"10.0.0.1:1", "[192.0.2.7]", "10.0.0.1"},
		{"10.0.0.1:1", "2001:db8::7]", "10.0.0.1"},
		{"10.0.0.1:1", "192.0.2.7:port", "10.0.0.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("X-Forwarded-For", c.forwarded)
		r.Header.Set("X-Client", c.forwarded)
		if got := links.Source(r).String(); got != c.want {
			t.Errorf("from %s for %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:1"
	r.Header.Set("X-Client", " [2001:db8::7]:443 ")
	if got := links.ByClientIP("header:X-Client").Source(r).String(); got != "2001:db8::7" {
		t.Errorf("by a header of its own: %s", got)
	}
}
