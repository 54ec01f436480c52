package front

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAddressesAreThoseOfThePrefixes compares the index with a look at every prefix.
func TestAddressesAreThoseOfThePrefixes(t *testing.T) {
	address := func(t *rapid.T, name string) netip.Addr {
		if rapid.Bool().Draw(t, name+" is of IPv6") {
			var b [16]byte
			b[0], b[15] = 0x20, rapid.Byte().Draw(t, name)
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{10, 0, rapid.ByteRange(0, 3).Draw(t, name+" net"), rapid.Byte().Draw(t, name)})
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []netip.Prefix
		for range rapid.IntRange(0, 8).Draw(t, "prefixes") {
			a := address(t, "prefix")
			p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		of := newAddresses(all)
		a := address(t, "address")
		if got, want := of.contains(a), slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) }); got != want {
			t.Errorf("%s in %v: %v", a, all, got)
		}
	})
	if newAddresses(nil).contains(netip.Addr{}) || (*addresses)(nil).contains(netip.IPv4Unspecified()) {
		t.Error("nothing contains something")
	}
}

func BenchmarkDenyList(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		var all []netip.Prefix
		for i := range n {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(i)<<8)
			all = append(all, netip.PrefixFrom(netip.AddrFrom4(a), 24+i%2*8))
		}
		of, from := newAddresses(all), netip.MustParseAddr("203.0.113.9")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if of.contains(from) {
					b.Fatal("found")
				}
			}
		})
	}
}
