package pipe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// ErrElsewhere says that a cluster which is not klamm's own cannot be asked about a pipe
// that reads from it.
var ErrElsewhere = errors.New("its cluster cannot be asked")

const (
	// askTime bounds how long another cluster is asked about one pipe.
	askTime = 3 * time.Second
	// sparedFor is how long one that has not answered is not asked again: pipes that read
	// from it must not hold up who looks at all of them.
	sparedFor = 10 * time.Second
)

// A sourceKey tells the clusters apart that pipes read from.
type sourceKey struct {
	cluster string
	login   catalog.Login
}

// A silence is that a cluster has not answered.
type silence struct {
	at  time.Time
	err error
}

// silences are the clusters that have not answered a moment ago. They are safe for
// concurrent use; the zero value knows none.
type silences struct {
	mu  sync.Mutex
	all map[sourceKey]silence
}

func (s *silences) get(key sourceKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.all, func(_ sourceKey, one silence) bool { return time.Since(one.at) > sparedFor })
	return s.all[key].err
}

func (s *silences) put(key sourceKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[sourceKey]silence{}
	}
	s.all[key] = silence{time.Now(), err}
}

// ask has do ask the cluster that a pipe reads from. Where that is another one than klamm's
// own, its errors are ErrElsewhere as well, unless ctx has ended.
func (r *Runner) ask(ctx context.Context, def catalog.Pipe, do func(context.Context, *kafka.Cluster) error) error {
	if def.SourceLogin == nil && def.SourceCluster == "" {
		return do(ctx, r.cfg.Cluster)
	}
	key := sourceKey{cluster: def.SourceCluster}
	if def.SourceLogin != nil {
		key.login = *def.SourceLogin
	}
	if err := r.silences.get(key); err != nil {
		return err
	}
	defer r.sources.use(def.SourceLogin)()
	source, err := r.source(def)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		err = do(within, source)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("%w: %w", ErrElsewhere, err)
	r.silences.put(key, err)
	return err
}
