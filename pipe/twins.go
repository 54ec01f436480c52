package pipe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/table"
)

// One record can have two dead letters: a process was killed between writing the
// letter and committing, or the record was replayed and given up again. They are
// twins, and are listed, redriven and discarded as one.

// A mark stands for the record that a letter is about, in a word of memory.
type mark uint64

func markOf(topic string, partition int32, offset int64) mark {
	var h maphash.Hash
	h.SetSeed(seed)
	var where [12]byte
	binary.BigEndian.PutUint32(where[:], uint32(partition))
	binary.BigEndian.PutUint64(where[4:], uint64(offset))
	_, _ = h.Write(where[:])
	_, _ = h.WriteString(topic)
	return mark(h.Sum64())
}

// supersede takes letters off the list whose records a feed has given up once more,
// and which have newer ones for that. It goes on for a while after ctx has ended.
func (r *Runner) supersede(ctx context.Context, def catalog.Pipe, fd *feed) error {
	fd.flow.mu.Lock()
	died := fd.tally.died
	fd.flow.mu.Unlock()
	if len(died) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	s := settling{runner: r, pipe: def.Name}
	newest := map[mark]openLetter{}
	for l, err := range r.unsettled(ctx, def) {
		if err != nil {
			return err
		}
		if !died[l.mark] {
			continue
		}
		l.record.Key, l.record.Value, l.record.Headers = nil, nil, nil
		have, ok := newest[l.mark]
		if ok && l.letter.At.Before(have.letter.At) {
			have, l = l, have
		}
		newest[l.mark] = l
		if ok {
			s.add(have)
		}
	}
	return s.flush(ctx)
}

// ErrBusy says that somebody else redrives the letters of the pipe.
var ErrBusy = errors.New("the letters of the pipe are being redriven already")

const (
	// leaseTime is how long a redrive is believed to go on without a sign.
	leaseTime = time.Minute
	// leaseRenewal is how often it gives one.
	leaseRenewal = 15 * time.Second
)

// A lease says that somebody redrives the letters of a pipe.
type lease struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

func leaseKey(pipe string) string { return "redrive/" + pipe }

// take makes the caller the only one in the cluster who redrives the letters of a
// pipe; the error is ErrBusy if somebody else is. The context that it returns ends
// when that cannot be said any more; release gives the lease back.
func (m *memory) take(ctx context.Context, pipe string) (held context.Context, release func(), err error) {
	t, err := m.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	own := lease{Holder: rand.Text()}
	hold := func(ctx context.Context) error {
		own.Until = time.Now().Add(leaseTime).UTC().Truncate(time.Millisecond)
		value, err := json.Marshal(own)
		if err != nil {
			return err
		}
		return t.Update(ctx, func(tx *table.Tx) error {
			var have lease
			if e, ok := tx.Get(leaseKey(pipe)); ok && json.Unmarshal(e.Value, &have) == nil && have.Holder != own.Holder && time.Now().Before(have.Until) {
				return fmt.Errorf("%w: %q, until %s at least", ErrBusy, pipe, have.Until.Format(time.RFC3339))
			}
			tx.Put(leaseKey(pipe), value)
			return nil
		})
	}
	if err := hold(ctx); err != nil {
		return nil, nil, err
	}
	held, lose := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() { // ends with release
		defer close(over)
		tick := time.NewTicker(leaseRenewal)
		defer tick.Stop()
		for good := own.Until; ; {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			switch err := hold(held); {
			case err == nil:
				good = own.Until
			case errors.Is(err, ErrBusy) || time.Now().Add(leaseRenewal).After(good):
				lose(fmt.Errorf("the redrive is not the only one for sure any more: %w", err))
			}
		}
	}()
	return held, func() {
		lose(nil)
		<-over
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = t.Update(end, func(tx *table.Tx) error { // what cannot be given back runs out
			var have lease
			if e, ok := tx.Get(leaseKey(pipe)); ok && json.Unmarshal(e.Value, &have) == nil && have.Holder == own.Holder {
				tx.Delete(leaseKey(pipe))
			}
			return nil
		})
	}, nil
}
