package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// queuedOps bounds the writes that wait; further callers wait in front.
const queuedOps = 1024

// An op is one Put, Delete or Update on its way.
type op struct {
	run      func(*Tx) error
	arrived  time.Time
	stage    atomic.Int32
	trouble  atomic.Pointer[error] // why the last attempt failed
	done     chan struct{}         // closed when what follows is set
	entry    Entry                 // the first one written
	err      error
	panicked any // what run has panicked with; its caller gets it back
}

// The stages of an op. Until it is committing its caller can take it back.
const (
	queued int32 = iota
	committing
	takenBack // the caller has gone; it is not to be written
	abandoned // the caller has gone; it may be written
)

func (o *op) answer(err error) {
	o.err = err
	close(o.done)
}

// try runs the op. Its panic belongs to its caller, who may have a guard.
func (o *op) try(tx *Tx) (err error) {
	defer func() {
		if o.panicked = recover(); o.panicked != nil {
			err = errPanic
		}
	}()
	if err := o.run(tx); err != nil {
		return err
	}
	return tx.err
}

var errPanic = errors.New("the function has panicked")

// Put writes an entry if it is as expected: Any, Absent, or the version that the
// caller has read. When it returns, the write is durable and every Get in this
// process sees it. The errors are ErrConflict, ErrInvalid, ErrLost and ErrClosed
// (nothing was written), ErrUnknown, and others, among them that of ctx (nothing
// was written). It waits for 30 seconds at most.
func (t *Table) Put(ctx context.Context, key string, value []byte, expect Version) (Entry, error) {
	value = slices.Clone(value) // the caller may have it back before it is written
	e, err := t.submit(ctx, func(tx *Tx) error {
		if err := tx.expect(key, expect); err != nil {
			return err
		}
		tx.Put(key, value)
		return nil
	})
	if err != nil {
		return Entry{}, fmt.Errorf("put %q into table %s: %w", key, t.topic.Name, err)
	}
	return e, nil
}

// Delete removes an entry if it is as expected; one that is not there and need
// not be is no error. The rules of Put hold otherwise.
func (t *Table) Delete(ctx context.Context, key string, expect Version) error {
	_, err := t.submit(ctx, func(tx *Tx) error {
		if err := tx.expect(key, expect); err != nil {
			return err
		}
		tx.Delete(key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %q from table %s: %w", key, t.topic.Name, err)
	}
	return nil
}

// Update changes several entries at once: all that change writes is written, and
// everybody sees all of it or nothing. Nobody else's write comes between what
// change reads and what it writes. It may be called several times, so it must have
// no other effect, and soon return, since no other write goes on meanwhile; it
// must use nothing of the table but its Tx. An error that it returns is Update's,
// and nothing is written then. The rules of Put hold otherwise.
func (t *Table) Update(ctx context.Context, change func(tx *Tx) error) error {
	_, err := t.submit(ctx, func(tx *Tx) error {
		if err := change(tx); err != nil {
			return &changeError{err}
		}
		return nil
	})
	var own *changeError
	switch {
	case errors.As(err, &own):
		return own.error
	case err != nil:
		return fmt.Errorf("update table %s: %w", t.topic.Name, err)
	}
	return nil
}

// A changeError is the error that a change has returned, which is its caller's.
type changeError struct{ error }

func (e *changeError) Unwrap() error { return e.error }

// submit hands an op to the writing goroutine and waits for it.
func (t *Table) submit(ctx context.Context, run func(*Tx) error) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := t.refusal(); err != nil {
		return Entry{}, err
	}
	o := &op{run: run, arrived: time.Now(), done: make(chan struct{})}
	select {
	case t.ops <- o:
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	case <-t.closing:
		return Entry{}, ErrClosed
	}
	select {
	case <-o.done:
	case <-t.ended:
	case <-ctx.Done():
		if err := o.leave(ctx.Err()); err != nil {
			return Entry{}, err
		}
	}
	select {
	case <-o.done:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.entry, o.err
	default:
		return Entry{}, ErrClosed // it still lies in the queue
	}
}

// leave takes an op back whose time is up. It returns nil if it is answered.
func (o *op) leave(cause error) error {
	for {
		select {
		case <-o.done:
			return nil
		default:
		}
		switch {
		case o.stage.CompareAndSwap(queued, takenBack):
			if trouble := o.trouble.Load(); trouble != nil {
				return fmt.Errorf("%w: %w", cause, *trouble)
			}
			return cause
		case o.stage.CompareAndSwap(committing, abandoned):
			return fmt.Errorf("%w: %w", ErrUnknown, cause)
		}
	}
}
