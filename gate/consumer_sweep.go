package gate

import (
	"context"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// startSweeper starts the sweeper if there is none. It is called with mu held.
func (s *consumers) startSweeper() {
	if s.stop == nil {
		stop := make(chan struct{})
		s.stop = stop
		s.closing.Go(func() { s.sweep(stop) })
	}
}

// sweep closes instances that have expired and commits for those that commit
// automatically. It ends when stop is closed or, where instances are not shared,
// with the last one.
func (s *consumers) sweep(stop chan struct{}) {
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	var orphans time.Time
	for {
		select {
		case now := <-ticks.C:
			if !s.look(now) {
				return
			}
			if s.share != nil && now.Sub(orphans) >= orphansEvery {
				orphans = now
				s.share.sweepOrphans(now, func(key consumerKey) bool { return s.held(key) != nil })
			}
		case <-stop:
			return
		}
	}
}

// look is one sweep; false says that there is nothing left to sweep.
func (s *consumers) look(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for _, c := range s.all {
		expired, commit := c.due(now)
		if s.share != nil {
			if cause := s.share.takenOver(c); cause != nil {
				s.closing.Go(func() { _ = s.finish(c, cause, disown) })
				continue
			}
		}
		if expired {
			s.closing.Go(func() { _ = s.finish(c, ErrNoConsumer, remove) })
		}
		if commit != nil {
			s.closing.Go(func() { // one that fails is tried again, and nobody is there to be told
				if s.verify(context.Background(), c) == nil {
					_ = commit.CommitMoved(context.Background())
				}
			})
		}
	}
	if len(s.all) == 0 && s.share == nil {
		s.stop = nil
		return false
	}
	return true
}

// due says whether a consumer has expired, and returns what is to commit now.
func (c *consumer) due(now time.Time) (expired bool, commit *kafka.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false, nil
	}
	if c.using == 0 && now.Sub(c.used) >= c.definition.Config.Idle {
		return true, nil
	}
	if c.shown != nil && c.definition.Config.AutoCommit && now.Sub(c.committed) >= autoCommitEvery {
		c.committed = now
		return false, c.shown
	}
	return false, nil
}
