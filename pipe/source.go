package pipe

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// sources are the clusters that pipes read from by logins of their own: one client for
// each login, which exists as long as somebody uses it, and connects when it is asked
// for the first time.
type sources struct {
	open func(catalog.Login) (*kafka.Cluster, error)

	mu  sync.Mutex // guards all
	all map[catalog.Login]*lent
}

// A lent cluster is used by users; the mutex of sources guards that number.
type lent struct {
	users int

	mu      sync.Mutex // guards what follows, and is held while the cluster is opened
	cluster *kafka.Cluster
	over    bool
}

// errUnused says that a cluster was closed, since nobody needs it any more.
var errUnused = errors.New("the pipe that reads from this cluster is gone")

// use keeps a login's cluster until done is called. It asks nobody, and a nil login is
// nothing to be kept.
func (s *sources) use(l *catalog.Login) (done func()) {
	if l == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[catalog.Login]*lent{}
	}
	one := s.all[*l]
	if one == nil {
		one = &lent{}
		s.all[*l] = one
	}
	one.users++
	return sync.OnceFunc(func() { s.leave(*l, one) })
}

func (s *sources) leave(l catalog.Login, one *lent) {
	s.mu.Lock()
	one.users--
	last := one.users == 0
	if last {
		delete(s.all, l)
	}
	s.mu.Unlock()
	if !last {
		return
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	one.over = true
	if one.cluster != nil {
		one.cluster.Close()
	}
}

// get returns the cluster of a login that is in use.
func (s *sources) get(l catalog.Login) (*kafka.Cluster, error) {
	s.mu.Lock()
	one := s.all[l]
	s.mu.Unlock()
	if one == nil {
		return nil, errUnused
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	switch {
	case one.over:
		return nil, errUnused
	case one.cluster == nil && s.open == nil:
		return nil, errors.New("there are no logins of pipes here")
	case one.cluster == nil:
		var err error
		if one.cluster, err = s.open(l); err != nil {
			return nil, fmt.Errorf("the source cannot be logged in to: %w", err)
		}
	}
	return one.cluster, nil
}

// source returns the cluster that a pipe reads from. One with a login of its own has
// to be in use.
func (r *Runner) source(def catalog.Pipe) (*kafka.Cluster, error) {
	switch {
	case def.SourceLogin != nil:
		return r.sources.get(*def.SourceLogin)
	case def.SourceCluster == "":
		return r.cfg.Cluster, nil
	}
	if c := r.cfg.Clusters[def.SourceCluster]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no cluster %q in kafka.clusters", def.SourceCluster)
}
