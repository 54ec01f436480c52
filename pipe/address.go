package pipe

import (
	"hash/maphash"
	"slices"
	"time"
)

// This file keeps the addresses of one target apart, where its URL is made from the
// record. Only those are remembered that are ailing: whose last attempt has failed,
// or took much longer than usual. All of them together get a quarter of the
// attempts that are allowed, so that they cost the others nothing, and each has a
// breaker.
//
//	ready --> next --> address is well -----------------------------> attempt
//	            |----> ailing, and a place in the quarter is free --> attempt
//	            |----> ailing, and none is free --> confined, until one is
//	            '----> its breaker is open -------> parked, until a probe is due

// An address is one that is ailing.
type address struct {
	breaker
	parked []*batch
}

const (
	// openAfterAddresses is openAfter of a target with many addresses: so many of
	// them must fail in a row for the target to count as down.
	openAfterAddresses = 20
	// mostAddresses bounds those that a process remembers; each takes some 150
	// bytes.
	mostAddresses = 32_768
	// An attempt is slow that takes so long, and so many times what is usual.
	slowTime, slowTimes = time.Second, 8
)

// addresses are those of a flow that are ailing. The flow's mutex guards them.
type addresses struct {
	ailing   map[uint64]*address
	underway int      // attempts at ailing ones
	confined []*batch // wait for one of those to end
	usual    time.Duration
}

// locate returns the address that an item goes to; 0: there is only one. It belongs
// to the polling goroutine.
func (f *flow) locate(it *item) uint64 {
	if f.router == nil {
		return 0
	}
	text, ok := f.router.AppendAddress(f.scratch[:0], &it.Event)
	f.keepScratch(text)
	if !ok {
		return 0
	}
	return maphash.Bytes(seed, text) | 1
}

// holdsBack keeps a batch from being attempted if its address is ailing and has had
// its share. The batch comes back by itself.
func (f *flow) holdsBack(b *batch) bool {
	if len(f.addresses.ailing) == 0 {
		return false
	}
	a := f.addresses.ailing[b.address()]
	if a == nil {
		return false
	}
	if a.open && !a.may(time.Now()) {
		a.parked = append(a.parked, b)
		return true
	}
	if f.addresses.underway >= max(f.governor.allowed()/4, 1) {
		f.addresses.confined = append(f.addresses.confined, b)
		return true
	}
	if a.open {
		a.begin(b.attempt > 0)
		b.probes |= ofAddress
	}
	b.counted = true
	f.addresses.underway++
	return false
}

// learnAddress takes note of an attempt that has ended.
func (f *flow) learnAddress(b *batch, s sign, took time.Duration, now time.Time) {
	all := &f.addresses
	if b.counted {
		b.counted = false
		all.underway--
		if len(all.confined) > 0 {
			f.offer(all.confined[0])
			all.confined = all.confined[1:]
		}
	}
	key := b.address()
	if key == 0 {
		return
	}
	a := all.ailing[key]
	b.ailing = a != nil
	probe := b.ends(ofAddress)
	switch {
	case s.answered():
		if slow := f.slow(s, took, a == nil); slow && a == nil {
			f.remember(key)
		} else if a != nil {
			f.recover(key, a, slow)
		}
		return
	case s == unreachable && a == nil:
		return // the endpoint's breaker takes care of it
	case a == nil:
		if a = f.remember(key); a == nil {
			return
		}
	}
	a.failed(!b.failed && s != unreachable, probe, openAfter, now)
	if a.waits() {
		f.wakeAt(a.probeAt, func() { f.unpark(key) })
	}
}

// slow says whether a success took so long that the address must not have all
// connections to itself. Others tell what is usual.
func (f *flow) slow(s sign, took time.Duration, isWell bool) bool {
	all := &f.addresses
	slow := took > slowTime && all.usual > 0 && took > slowTimes*all.usual
	if isWell && s == well {
		if all.usual == 0 {
			all.usual = took
		}
		all.usual += (took - all.usual) / 16
	}
	return slow
}

// remember takes note of an address that is ailing; nil: there are too many.
func (f *flow) remember(key uint64) *address {
	all := &f.addresses
	if f.runner.endpoints.addresses.Add(1) > mostAddresses && !f.drop() {
		f.runner.endpoints.addresses.Add(-1)
		return nil
	}
	if all.ailing == nil {
		all.ailing = map[uint64]*address{}
	}
	a := &address{}
	all.ailing[key] = a
	return a
}

// drop forgets an address of which nothing waits, if there is one soon found.
func (f *flow) drop() bool {
	tries := 32
	for key, a := range f.addresses.ailing {
		if len(a.parked) == 0 && !a.probing {
			delete(f.addresses.ailing, key)
			f.runner.endpoints.addresses.Add(-1)
			return true
		}
		if tries--; tries == 0 {
			break
		}
	}
	return false
}

// recover lets the batches of an address go on, which is there. It stays ailing
// if it is slow.
func (f *flow) recover(key uint64, a *address, slow bool) {
	all := &f.addresses
	f.offer(a.parked...)
	a.parked = nil
	a.succeeded()
	if slow {
		return
	}
	delete(all.ailing, key)
	f.runner.endpoints.addresses.Add(-1)
	all.confined = slices.DeleteFunc(all.confined, func(b *batch) bool {
		if b.address() == key {
			f.offer(b)
			return true
		}
		return false
	})
}

// unpark offers the batch that is to be the next probe of an address, and those
// that have become too old.
func (f *flow) unpark(key uint64) {
	a := f.addresses.ailing[key]
	if a == nil || a.probing {
		return
	}
	now, best := time.Now(), -1
	a.parked = slices.DeleteFunc(a.parked, func(b *batch) bool {
		if b.part.let {
			return true
		}
		if f.aged(b, now) {
			b.verdict = newVerdict(b.err, b.attempt)
			f.offer(b)
			return true
		}
		return false
	})
	for i, b := range a.parked {
		if best < 0 || (b.attempt == 0) == a.retried && (a.parked[best].attempt == 0) != a.retried {
			best = i
		}
	}
	if best >= 0 {
		f.offer(a.parked[best])
		a.parked = slices.Delete(a.parked, best, best+1)
	}
}

// unparkAll offers all batches that were held back, so that those which are not to
// be delivered any more can be sorted out.
func (f *flow) unparkAll() {
	for _, a := range f.addresses.ailing {
		f.offer(a.parked...)
		a.parked = nil
	}
	f.offer(f.addresses.confined...)
	f.addresses.confined = nil
}

// forgetAddresses gives back what the flow remembers, at its end.
func (f *flow) forgetAddresses() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runner.endpoints.addresses.Add(-int64(len(f.addresses.ailing)))
	f.addresses = addresses{}
}
