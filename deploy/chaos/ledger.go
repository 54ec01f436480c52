package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"time"
)

// A record of the proof is known by its number, 0 to total-1. Records number n,
// n+keys, n+2*keys, ... have the same key and are written in this order.

// key returns the key of a record.
func key(n, keys int) []byte { return fmt.Appendf(nil, "k%d", n%keys) }

// value returns the value of a record: its number and bytes that only this record
// has, size bytes in all (24 at least).
func value(n, size int) []byte {
	b := make([]byte, max(size, 24))
	copy(b, fmt.Appendf(nil, "%016d ", n))
	x := uint64(n)
	for i := 17; i < len(b); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = 'a' + byte(x>>33)%26
	}
	return b
}

// A ledger is told of every record that arrives, and finds what is lost, repeated,
// out of order or not what was written. It is safe for concurrent use.
//
// What was committed before an event must not be repeated by it.
//
// A record is out of order if it arrives for the first time before an earlier one
// of its key has arrived. What comes once more cannot be out of order: it is what
// at least once means.
type ledger struct {
	total, keys, size int

	mu       sync.Mutex
	arrived  []uint64 // a bit for each record
	ids      []uint32 // of the delivery of each record that has arrived
	count    int      // records that have arrived
	repeats  []int    // by the event under which they came
	disorder int
	wrong    int             // records that are not as they were written, or have another delivery id when they come again
	floor    map[int32]int64 // by partition, the offset committed before the event that began last
	settled  int             // repeats of records below it
	first    string          // what was found first
	latest   time.Time       // when something came last
}

// newLedger returns a ledger for total records of size bytes and keys keys.
func newLedger(total, keys, size int) *ledger {
	return &ledger{total: total, keys: keys, size: size, arrived: make([]uint64, (total+63)/64), ids: make([]uint32, total), repeats: make([]int, 1), floor: map[int32]int64{}, latest: time.Now()}
}

// An arrival is a record as a target got it.
type arrival struct {
	key, value []byte
	id         string // of the delivery
	partition  int32
	offset     int64
}

// number returns which record a value is of.
func (l *ledger) number(value []byte) (int, bool) {
	if len(value) < 16 {
		return 0, false
	}
	n, err := strconv.Atoi(string(value[:16]))
	return n, err == nil && n >= 0 && n < l.total
}

// note enters an arrival.
func (l *ledger) note(a arrival) {
	n, ok := l.number(a.value)
	intact := ok && string(a.value) == string(value(n, l.size)) && string(a.key) == string(key(n, l.keys)) && a.id != ""
	id := fingerprint(a.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest = time.Now()
	if !intact {
		l.wrong++
		l.found("not a record that was written: key %.20q, value %.40q, delivery id %q", a.key, a.value, a.id)
		return
	}
	if l.has(n) {
		l.repeats[len(l.repeats)-1]++
		if l.ids[n] != id {
			l.wrong++
			l.found("record %d came again with another delivery id, %s", n, a.id)
		}
		if a.offset < l.floor[a.partition] {
			l.settled++
			l.found("record %d came again, at offset %d of partition %d, although %d was committed", n, a.offset, a.partition, l.floor[a.partition])
		}
		return
	}
	if before := n - l.keys; before >= 0 && !l.has(before) {
		l.disorder++
		l.found("record %d of key %s arrived before record %d of the same key", n, a.key, before)
	}
	l.arrived[n/64] |= 1 << (n % 64)
	l.ids[n] = id
	l.count++
}

func fingerprint(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func (l *ledger) has(n int) bool { return l.arrived[n/64]&(1<<(n%64)) != 0 }

func (l *ledger) found(format string, args ...any) {
	if l.first == "" {
		l.first = fmt.Sprintf(format, args...)
	}
}

// begin begins an event: what is repeated from now on is counted for it. Committed
// are the offsets of partitions up to which all is settled; those it does not name
// are as before.
func (l *ledger) begin(committed map[int32]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, offset := range committed {
		l.floor[p] = max(l.floor[p], offset)
	}
	l.repeats = append(l.repeats, 0)
}

// standing returns how many records have arrived, how many of them more than once
// under the event that began last, and when the last one came.
func (l *ledger) standing() (arrived, repeated int, latest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.repeats[len(l.repeats)-1], l.latest
}

// allUpTo says whether all records below n have arrived.
func (l *ledger) allUpTo(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstMissing() >= n
}

// firstMissing is the lowest number that has not arrived, and total if there is
// none.
func (l *ledger) firstMissing() int {
	for i, word := range l.arrived {
		if word != ^uint64(0) {
			for b := range 64 {
				if n := i*64 + b; n >= l.total || word&(1<<b) == 0 {
					return min(n, l.total)
				}
			}
		}
	}
	return l.total
}

// A verdict is what a ledger has found in the end.
type verdict struct {
	records, lost, disorder, wrong, settled int
	repeats                                 []int // before the first event, and under each
	first                                   string
}

// close returns what was found.
func (l *ledger) close() verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := verdict{records: l.total, lost: l.total - l.count, disorder: l.disorder, wrong: l.wrong, settled: l.settled, repeats: append([]int(nil), l.repeats...), first: l.first}
	if v.first == "" && v.lost > 0 {
		v.first = fmt.Sprintf("record %d has not arrived", l.firstMissing())
	}
	return v
}

// repeated is how many arrivals were of records that had arrived before.
func (v verdict) repeated() (n int) {
	for _, r := range v.repeats {
		n += r
	}
	return n
}

// holds says whether nothing is lost, out of order or wrong, and nothing
// that was committed came again.
func (v verdict) holds() bool {
	return v.lost == 0 && v.disorder == 0 && v.wrong == 0 && v.settled == 0
}
