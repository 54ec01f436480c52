package front

import (
	"net/http/httptest"
	"testing"
)

// Who is no trusted proxy cannot tell of client certificates, to nobody.
func TestDisown(t *testing.T) {
	links, err := NewLinks("", []string{"192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]string{"192.0.2.7:1": "x", "203.0.113.9:1": ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		for _, name := range []string{"client-cert", "client-cert-chain", "x-forwarded-client-cert", "x-ssl-client-cert", "x-other"} {
			r.Header.Set(name, "x")
		}
		links.disown(r)
		for _, name := range []string{"client-cert", "client-cert-chain", "x-forwarded-client-cert", "x-ssl-client-cert"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s from %s: got %q, want %q", name, remote, got, want)
			}
		}
		if r.Header.Get("x-other") != "x" {
			t.Errorf("from %s another header is gone", remote)
		}
	}
}
