package klamm

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// mostWrong bounds what a status names as wrong; the numbers by state have the rest.
const mostWrong = 100

// A statusDoc is what this process says of itself, of the pipes, and of what is wrong
// with them.
type statusDoc struct {
	Ready    bool     `json:"ready"`
	Problems []string `json:"problems"`
	Version  string   `json:"version,omitempty"`
	Brokers  []string `json:"brokers"`
	// States are the numbers of pipes by state.
	States map[string]int `json:"states"`
	// Wrong are pipes that have stopped by themselves and definitions that are not
	// carried out, at most mostWrong.
	Wrong []wrongDoc `json:"wrong"`
	// Catalog is what is wrong with the topic of definitions; empty: nothing.
	Catalog string `json:"catalog,omitempty"`
}

// A wrongDoc is a pipe that somebody has to look after.
type wrongDoc struct {
	Pipe   string `json:"pipe"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// undefined is the state of a pipe whose definition is not carried out.
const undefined = "undefined"

// status serves GET /klamm/v1/status: whether this process is ready, its version
// and its brokers, and how the pipes are as far as this process has heard. It asks no
// broker about pipes, and answers 200 also where klamm is not ready.
func (a api) status(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", a.statusNow(r.Context()))
}

func (a api) statusNow(ctx context.Context) statusDoc {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	s := statusDoc{Problems: a.problems(ctx), Version: a.cfg.Version, Brokers: []string{}, States: map[string]int{}, Wrong: []wrongDoc{}}
	if s.Ready = s.Problems == nil; s.Ready {
		s.Problems = []string{}
	}
	if a.cfg.Brokers != nil {
		s.Brokers = append(s.Brokers, a.cfg.Brokers()...)
	}
	a.addPipes(&s)
	a.addCatalog(&s)
	if len(s.Wrong) > mostWrong {
		s.Wrong = s.Wrong[:mostWrong]
	}
	return s
}

// addPipes adds what this process knows of pipes.
func (a api) addPipes(s *statusDoc) {
	if a.cfg.Pipes == nil {
		return
	}
	now := a.tally.of(a.cfg.Pipes)
	maps.Copy(s.States, now.states)
	s.Wrong = append(s.Wrong, now.wrong...)
}

// A tallied is how the pipes are as this process knows it.
type tallied struct {
	states map[string]int // numbers of pipes
	wrong  []wrongDoc     // the first mostWrong by name
	given  []givenUp      // those that have given records up here, the most first
}

// A givenUp is how many records a pipe has given up.
type givenUp struct {
	pipe    string
	records int64
}

// A pipeTally counts how the pipes are. Where there are more than
// mostPipes it is counted once in a moment for all who ask: pages that are open ask for it
// every few seconds. It is safe for concurrent use; the zero value knows nothing.
type pipeTally struct {
	mu    sync.Mutex
	last  tallied
	until time.Time
}

// tallyFor is for how long a tally of very many pipes is good.
const tallyFor = 4 * time.Second

// of returns how the pipes are, which the caller may not change.
func (p *pipeTally) of(runner *pipe.Runner) tallied {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.until) {
		return p.last
	}
	names := runner.Names()
	now := tallied{states: map[string]int{}}
	for _, name := range names {
		local, err := runner.Local(name)
		if err != nil {
			continue // gone meanwhile
		}
		state, reason := runner.Standing(name)
		now.states[state]++
		if n := runner.CountsOf(name).DeadLettered; n > 0 {
			now.given = append(now.given, givenUp{name, n})
		}
		if len(now.wrong) == mostWrong {
			continue
		}
		switch {
		case state == pipe.Halted || state == pipe.Disabled:
			now.wrong = append(now.wrong, wrongDoc{name, state, reason})
		case state == pipe.Running && local.Err != nil:
			now.wrong = append(now.wrong, wrongDoc{name, state, oneLine(local.Err)})
		}
	}
	slices.SortStableFunc(now.given, func(x, y givenUp) int { return cmp.Compare(y.records, x.records) })
	if len(names) > mostPipes {
		p.last, p.until = now, time.Now().Add(tallyFor)
	}
	return now
}

// addCatalog adds definitions that are not carried out.
func (a api) addCatalog(s *statusDoc) {
	c := a.cfg.Catalog
	if c.Store == nil {
		return
	}
	if err := c.Store.Health(); err != nil {
		s.Catalog = oneLine(err)
	}
	for _, odd := range c.Store.Unreadable() {
		if odd.Kind == catalog.KindPipe {
			s.Wrong = append(s.Wrong, wrongDoc{odd.Name, undefined, oneLine(odd.Err)})
		}
	}
	problems := c.Definitions.Problems()
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		s.Wrong = append(s.Wrong, wrongDoc{name, undefined, oneLine(problems[name])})
	}
}
