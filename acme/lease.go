package acme

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// A lease is the right to order certificates with what a directory holds. It is a file
// that its holder writes again and again. Others take it over when they have seen it
// unchanged for a while by their own clocks, so that clocks need not agree. Two who take
// over at the same moment can both get it for a while; that costs an order, no more. It
// belongs to one goroutine.
type lease struct {
	path  string
	mine  string        // what the file begins with while it is ours
	stale time.Duration // after which an unchanged file counts for nothing
	seen  string        // what somebody else has written
	since time.Time     // when that was first seen
}

func newLease(path string, stale time.Duration) *lease {
	return &lease{path: path, mine: rand.Text() + " ", stale: stale}
}

// take says whether the lease is ours now.
func (l *lease) take() (bool, error) {
	ok, err := l.create()
	if ok || err != nil {
		return ok, err
	}
	text, err := readFile(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case l.since.IsZero() || string(text) != l.seen:
		l.seen, l.since = string(text), time.Now()
		return false, nil
	case time.Since(l.since) < l.stale:
		return false, nil
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return l.create()
}

func (l *lease) create() (bool, error) {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.since = time.Time{}
	_, err = f.WriteString(l.mine)
	return err == nil, errors.Join(err, f.Close())
}

// held says whether nobody has taken it over.
func (l *lease) held() bool {
	text, err := readFile(l.path)
	return err == nil && strings.HasPrefix(string(text), l.mine)
}

// during carries out work while the lease is ours, and gives it back. The context of the
// work ends when somebody else has taken it over.
func (l *lease) during(ctx context.Context, work func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(l.stale / 6)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !l.held() {
				cancel()
				return
			}
			_ = writeFile(l.path, fmt.Appendf(nil, "%s%d", l.mine, n)) // others see whether it was
		}
	}()
	work(ctx)
	cancel()
	<-ended
	if l.held() {
		_ = os.Remove(l.path)
	}
}
