package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Tx is what an Update sees and writes. It belongs to the function that it was
// given to, and only while that runs.
type Tx struct {
	state   *state
	touched map[string]bool // keys that are written by others in the same transaction
	crossed bool            // one of them was asked for or written
	writes  []write         // the last one of each key
	at      map[string]int  // where in writes a key is
	bytes   int             // of writes
	err     error           // the first that was wrong with a write
}

// A write is one record in the making.
type write struct {
	key   string
	value []byte // nil: delete
}

// recordBytes is more than what a record needs besides its key and value.
const recordBytes = 32

// Get returns an entry as this Tx has left it. The version of one that it has
// written itself is Absent, since there is none yet.
func (tx *Tx) Get(key string) (Entry, bool) {
	tx.crossed = tx.crossed || tx.touched[key]
	if i, ok := tx.at[key]; ok {
		return Entry{Key: key, Value: tx.writes[i].value}, tx.writes[i].value != nil
	}
	return tx.state.get(key)
}

// List returns the entries whose keys begin with prefix as this Tx has left them,
// sorted by key.
func (tx *Tx) List(prefix string) []Entry {
	for key := range tx.touched {
		tx.crossed = tx.crossed || strings.HasPrefix(key, prefix)
	}
	entries := tx.state.list(prefix)
	for _, w := range tx.writes {
		if !strings.HasPrefix(w.key, prefix) {
			continue
		}
		at, found := slices.BinarySearchFunc(entries, w.key, func(e Entry, key string) int { return strings.Compare(e.Key, key) })
		e := Entry{Key: w.key, Value: w.value}
		switch {
		case found && w.value == nil:
			entries = slices.Delete(entries, at, at+1)
		case found:
			entries[at] = e
		case w.value != nil:
			entries = slices.Insert(entries, at, e)
		}
	}
	return entries
}

// Put writes an entry. Update fails with ErrInvalid if the key or the value is
// outside the limits.
func (tx *Tx) Put(key string, value []byte) {
	if len(value) > MaxValueBytes {
		tx.refuse(fmt.Errorf("%w: a value of %d bytes, more than %d", ErrInvalid, len(value), MaxValueBytes))
		return
	}
	tx.write(key, append(make([]byte, 0, len(value)), value...))
}

// Delete removes an entry if there is one.
func (tx *Tx) Delete(key string) {
	if _, ok := tx.Get(key); ok {
		tx.write(key, nil)
	}
}

func (tx *Tx) write(key string, value []byte) {
	if len(key) == 0 || len(key) > MaxKeyBytes {
		tx.refuse(fmt.Errorf("%w: a key of %d bytes, not between 1 and %d", ErrInvalid, len(key), MaxKeyBytes))
		return
	}
	tx.crossed = tx.crossed || tx.touched[key]
	if i, ok := tx.at[key]; ok {
		tx.bytes += len(value) - len(tx.writes[i].value)
		tx.writes[i].value = value
	} else {
		tx.at[key] = len(tx.writes)
		tx.writes = append(tx.writes, write{key, value})
		tx.bytes += len(key) + len(value) + recordBytes
	}
	if tx.bytes > MaxUpdateBytes {
		tx.refuse(fmt.Errorf("%w: an update of more than %d bytes", ErrInvalid, MaxUpdateBytes))
	}
}

func (tx *Tx) refuse(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// expect returns ErrConflict unless an entry is as expected.
func (tx *Tx) expect(key string, expect Version) error {
	if expect == Any {
		return nil
	}
	e, _ := tx.Get(key)
	if e.Version == expect {
		return nil
	}
	return fmt.Errorf("%w: %q is at version %d and not %d", ErrConflict, key, e.Version, expect)
}

// records turns the writes into records of a topic.
func (tx *Tx) records(topic string) []*kgo.Record {
	records := make([]*kgo.Record, len(tx.writes))
	for i, w := range tx.writes {
		records[i] = &kgo.Record{Topic: topic, Partition: 0, Key: []byte(w.key), Value: w.value}
	}
	return records
}
