package nametest

import (
	"errors"
	"net"
	"testing"
)

func TestNoNameIsKnown(t *testing.T) {
	for _, name := range []string{"klamm.invalid", "example.com", "a.b.c.example.org"} {
		_, err := net.DefaultResolver.LookupHost(t.Context(), name)
		var unknown *net.DNSError
		if !errors.As(err, &unknown) || !unknown.IsNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if addrs, err := net.DefaultResolver.LookupHost(t.Context(), "127.0.0.1"); err != nil || len(addrs) != 1 {
		t.Errorf("an address: %q, %v", addrs, err)
	}
}
