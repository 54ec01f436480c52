package klamm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

const (
	// watchEvery is how often those who watch look, at most.
	watchEvery = time.Second
	// watchShare bounds what looking costs: after a look that took so long, there is
	// none for so many times as long.
	watchShare = 4
	// lookTime bounds one look at all pipes.
	lookTime = time.Minute
)

// What can be watched.
const (
	watchStatus  = "status"
	watchMembers = "members"
	watchPipes   = "pipes"
)

// A lookout looks at the pipes for everybody who watches them: however many they are,
// brokers are asked once.
type lookout struct {
	look func(context.Context) ([]pipe.Status, error)

	mu    sync.Mutex // guards what follows
	under chan struct{}
	next  time.Time // before it, what was seen is good enough
	seen  []pipe.Status
	err   error
}

// pipes returns how all pipes are. The list is shared.
func (l *lookout) pipes(ctx context.Context) ([]pipe.Status, error) {
	l.mu.Lock()
	for l.under != nil {
		under := l.under
		l.mu.Unlock()
		select {
		case <-under:
			l.mu.Lock()
			if l.under == nil {
				defer l.mu.Unlock()
				return l.seen, l.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if time.Now().Before(l.next) {
		defer l.mu.Unlock()
		return l.seen, l.err
	}
	under := make(chan struct{})
	l.under = under
	l.mu.Unlock()

	// The look is for all that wait, so it does not end with the one who began it.
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	start := time.Now()
	seen, err := l.look(looking)
	took := time.Since(start)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.err, l.under = seen, err, nil
	l.next = time.Now().Add(max(watchEvery/2, watchShare*took))
	close(under)
	return seen, err
}

// A change is a line of a watch: one of its members says what is new.
type change struct {
	Status  *statusDoc   `json:"status,omitempty"`
	Members []memberDoc  `json:"members,omitempty"`
	Pipe    *pipe.Status `json:"pipe,omitempty"`
	Gone    string       `json:"gone,omitempty"` // a pipe that is no more, or that the caller may no longer see
}

// A watcher tells one caller what has changed since it was last told.
type watcher struct {
	api  api
	r    *http.Request
	who  gate.Principal
	only []string // of what can be watched
	pipe string   // empty: all that the caller may see

	told map[string]string // what was told last, as JSON, by what it is about
}

// watch serves GET /klamm/v1/watch ?only= &pipe=: what there is, and from then on what
// changes, as lines of JSON or as an event stream. Each line is a change. Only lists,
// with commas, what is told: status, members and pipes; it is all three if it is not
// given, and pipes alone where a pipe is named.
func (a api) watch(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "only", "pipe")
	if err != nil {
		return err
	}
	see := &watcher{api: a, r: r, who: who, only: []string{watchStatus, watchMembers, watchPipes}, pipe: q.text("pipe"), told: map[string]string{}}
	if see.pipe != "" {
		see.only = []string{watchPipes}
	}
	if text := q.text("only"); text != "" {
		see.only = strings.Split(text, ",")
		for _, one := range see.only {
			if one != watchStatus && one != watchMembers && one != watchPipes {
				return invalid("only: want status, members or pipes, or several with commas between them")
			}
		}
		if see.pipe != "" && !slices.Contains(see.only, watchPipes) {
			return invalid("pipe: only has to name pipes, too")
		}
	}
	if err := see.allowed(); err != nil {
		return err
	}
	return a.stream(w, r, see.run)
}

// allowed asks the gate whether the caller may see what is watched.
func (s *watcher) allowed() error {
	if slices.Contains(s.only, watchStatus) || slices.Contains(s.only, watchMembers) {
		if err := s.api.allow(s.r, s.who, gate.AdminRead, ""); err != nil {
			return err
		}
	}
	if s.pipe == "" {
		return nil // each pipe is asked for
	}
	if err := s.api.allow(s.r, s.who, gate.AdminRead, s.pipe); err != nil {
		return err
	}
	if s.api.cfg.Pipes == nil || !slices.Contains(s.api.cfg.Pipes.Names(), s.pipe) {
		return missing(s.pipe)
	}
	return nil
}

// run looks again and again until the caller has gone or may no longer watch.
func (s *watcher) run(ctx context.Context, emit func(any)) error {
	ticks := time.NewTicker(watchEvery)
	defer ticks.Stop()
	for first := true; ; first = false {
		if err := s.tell(ctx, emit); err != nil {
			// Brokers come back; what keeps the first look from succeeding is told.
			if first || ctx.Err() != nil || gate.Classify(err) != gate.Unavailable {
				return err
			}
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.allowed(); err != nil && !errors.Is(err, pipe.ErrNoPipe) {
			return err // that may have ended since the stream began
		}
	}
}

// tell emits what has changed.
func (s *watcher) tell(ctx context.Context, emit func(any)) error {
	for _, what := range s.only {
		var err error
		switch what {
		case watchStatus:
			status := s.api.statusNow(ctx)
			s.emit(emit, "status", change{Status: &status})
		case watchMembers:
			var members []memberDoc
			if members, err = s.api.members(s.r.WithContext(ctx), s.who); err == nil {
				s.emit(emit, "members", change{Members: members})
			}
		case watchPipes:
			err = s.tellPipes(ctx, emit)
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pipePrefix begins the names of pipes among what was told.
const pipePrefix = "pipe/"

// tellPipes emits the pipes that are new, have changed or are gone.
func (s *watcher) tellPipes(ctx context.Context, emit func(any)) error {
	all, err := s.pipes(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(all))
	for _, p := range all {
		if s.pipe != "" && p.Pipe != s.pipe || s.api.allow(s.r, s.who, gate.AdminRead, p.Pipe) != nil {
			continue
		}
		p = whole(p)
		there[pipePrefix+p.Pipe] = true
		s.emit(emit, pipePrefix+p.Pipe, change{Pipe: &p})
	}
	for about := range s.told {
		if name, ok := strings.CutPrefix(about, pipePrefix); ok && !there[about] {
			delete(s.told, about)
			emit(change{Gone: name})
		}
	}
	return nil
}

// pipes returns the pipes that are watched, and perhaps others.
func (s *watcher) pipes(ctx context.Context) ([]pipe.Status, error) {
	switch {
	case s.api.cfg.Pipes == nil:
		return nil, nil
	case s.pipe == "":
		return s.api.lookout.pipes(ctx)
	}
	return s.api.cfg.Pipes.ListOf(ctx, []string{s.pipe})
}

// emit tells something if it is new.
func (s *watcher) emit(emit func(any), about string, c change) {
	text, err := json.Marshal(c)
	if err != nil || s.told[about] == string(text) {
		return
	}
	s.told[about] = string(text)
	emit(c)
}
