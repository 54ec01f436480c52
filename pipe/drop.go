package pipe

import (
	"context"
	"errors"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// dropTime bounds how long the group of a pipe that was deleted is waited for: as long as
// it takes all processes to leave it, also one that has to be given up first.
const dropTime = 5 * time.Minute

// drop is the wait before the deletion of a group is tried again.
var drop = catalog.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}

// errUsed says that a pipe that was deleted has not ended here yet.
var errUsed = errors.New("the pipe is still ending")

// DropGroup deletes the consumer group of a pipe that there is no more, with its offsets,
// as soon as nobody is in it. It needs the pipe's Name, Group, SourceCluster and SourceLogin,
// and returns at once. A group that cannot be deleted in time stays, and so does one where
// this process ends before: nobody uses it any more.
func (r *Runner) DropGroup(def catalog.Pipe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beside != nil {
		r.beside(func(ctx context.Context) { r.dropGroup(ctx, def) })
	}
}

func (r *Runner) dropGroup(ctx context.Context, def catalog.Pipe) {
	defer r.sources.use(def.SourceLogin)()
	ctx, cancel := context.WithTimeout(ctx, dropTime)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := errUsed
		if !r.uses(def) {
			if err = r.deleteGroup(ctx, def); err == nil {
				return
			}
		}
		select {
		case <-time.After(backoff(drop, attempt, 0)):
		case <-ctx.Done():
			r.cfg.Log.Warn("the consumer group of a deleted pipe stays", "pipe", def.Name, "group", def.Group, "err", err)
			return
		}
	}
}

// uses says whether this process still runs a pipe with its group. Before it has left, the
// group may not even be there yet.
func (r *Runner) uses(def catalog.Pipe) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range []*unit{r.pipes[def.Name], r.ending[def.Name]} {
		if u != nil && u.def.Group == def.Group {
			return true
		}
	}
	return false
}

func (r *Runner) deleteGroup(ctx context.Context, def catalog.Pipe) error {
	source, err := r.source(def)
	if err != nil {
		return err
	}
	return source.DeleteGroup(ctx, def.Group)
}
