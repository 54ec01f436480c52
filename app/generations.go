package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
)

// mostGenerations is how many configurations are kept, the one that counts included.
const mostGenerations = 10

// generations are the configurations that have counted in this process.
type generations struct {
	back chan chan error // asks watch for the one before

	mu  sync.Mutex // guards what follows
	all []past     // the last counts
}

// A past is a configuration that counts or has counted.
type past struct {
	klamm.Generation
	cfg *config.Config
}

// took notes that a configuration counts from now on.
func (g *generations) took(cfg *config.Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := 1
	if n := len(g.all); n > 0 {
		number = g.all[n-1].Number + 1
	}
	g.all = append(g.all, past{klamm.Generation{Number: number, Hash: cfg.Hash(), Since: time.Now().UTC().Truncate(time.Second)}, cfg})
	if len(g.all) > mostGenerations {
		g.all = slices.Delete(g.all, 0, len(g.all)-mostGenerations)
	}
}

// list returns them, the one that counts first.
func (g *generations) list() []klamm.Generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]klamm.Generation, 0, len(g.all))
	for _, p := range slices.Backward(g.all) {
		list = append(list, p.Generation)
	}
	return list
}

// current is the one that counts, and before the last that was another; nil: there is
// none.
func (g *generations) current() (current, before *past) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range slices.Backward(g.all) {
		switch {
		case current == nil:
			current = &g.all[i]
		case g.all[i].Hash != current.Hash:
			return current, &g.all[i]
		}
	}
	return current, nil
}

var errNoGeneration = &gate.Error{Kind: gate.Conflict, Message: "there is no configuration to go back to: none has counted in this process before"}

// rollBack takes over the configuration that counted before. Calls must not overlap
// each other or those of Reload.
func (a *App) rollBack(ctx context.Context) error {
	_, before := a.past.current()
	if before == nil {
		return errNoGeneration
	}
	if err := a.Reload(ctx, before.cfg, true); err != nil {
		return &gate.Error{Kind: gate.Conflict, Message: fmt.Sprintf("configuration %d cannot be used any more: %v", before.Number, err)}
	}
	a.log.Warn("went back to an earlier configuration; the file counts again when it changes, on SIGHUP and after a restart", "generation", before.Number)
	return nil
}

// history is what the API does with configurations.
func (a *App) history() *klamm.History {
	h := &klamm.History{List: a.past.list, Compare: a.compare, Back: func(ctx context.Context) error {
		done := make(chan error, 1)
		select {
		case a.past.back <- done:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.stop:
			return &gate.Error{Kind: gate.Unavailable, Message: "klamm is stopping"}
		}
		select {
		case err := <-done:
			return err
		case <-a.stop:
			return &gate.Error{Kind: gate.Unavailable, Message: "klamm is stopping"}
		}
	}}
	if s := a.opts.Source; s == nil || s.Parse == nil {
		h.Compare, h.Back = nil, nil
	}
	return h
}

// compare says how the text of a configuration file differs from the one that counts.
func (a *App) compare(text []byte) ([]klamm.Change, error) {
	cfg, err := a.opts.Source.Parse(text)
	if err != nil {
		return nil, &gate.Error{Kind: gate.Invalid, Message: err.Error()}
	}
	current, _ := a.past.current()
	waits := waiting(a, cfg)
	var all []klamm.Change
	for _, c := range config.Diff(current.cfg, cfg) {
		all = append(all, klamm.Change{Path: c.Path, Was: c.Was, Is: c.Is, Restart: waits(c)})
	}
	return all, nil
}

// Restarting returns a function that says of a difference whether it would count only
// after a restart of a klamm that was started with a configuration and reads another.
func Restarting(was, is *config.Config) func(config.Change) bool { return waiting(&App{cfg: was}, is) }

func waiting(a *App, cfg *config.Config) func(config.Change) bool {
	_, keys := a.merged(cfg)
	return func(c config.Change) bool {
		return slices.ContainsFunc(keys, func(key string) bool {
			rest, ok := strings.CutPrefix(c.Path, key)
			return ok && (rest == "" || strings.ContainsAny(rest[:1], ".[ "))
		})
	}
}
