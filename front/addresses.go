package front

import "net/netip"

// addresses are prefixes among which an address is looked up, in as many steps as
// there are different lengths, however long the list is. Nil has none.
type addresses struct {
	bits     []int // the lengths, of both families
	prefixes map[netip.Prefix]struct{}
}

// newAddresses returns the addresses of masked prefixes.
func newAddresses(all []netip.Prefix) *addresses {
	a := &addresses{prefixes: make(map[netip.Prefix]struct{}, len(all))}
	var seen [129]bool
	for _, p := range all {
		a.prefixes[p] = struct{}{}
		if !seen[p.Bits()] {
			seen[p.Bits()] = true
			a.bits = append(a.bits, p.Bits())
		}
	}
	return a
}

// contains says whether an address lies in one of the prefixes.
func (a *addresses) contains(addr netip.Addr) bool {
	if a == nil || !addr.IsValid() {
		return false
	}
	addr = addr.WithZone("")
	for _, n := range a.bits {
		p, err := addr.Prefix(n)
		if err != nil { // longer than addresses of this family are
			continue
		}
		if _, ok := a.prefixes[p]; ok {
			return true
		}
	}
	return false
}
