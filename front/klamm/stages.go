package klamm

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// stageRoutes are those that say where records stop, and how targets are.
func (a api) stageRoutes() []front.Route {
	return []front.Route{
		{Name: "pipes.stages", Pattern: "GET /klamm/v1/pipes/{pipe}/stages", Serve: a.listStages},
		{Name: "targets.list", Pattern: "GET /klamm/v1/targets", Serve: a.listTargets},
	}
}

// listStages serves GET /klamm/v1/pipes/{pipe}/stages: {"pipe", "process", "stages":
// [Stage]}, as far as this process runs the pipe. Of a record whose topic is masked, or which
// the caller may not read, the answer says where it lies, and not what it holds.
func (a api) listStages(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	stages, err := a.cfg.Pipes.Stages(name)
	if err != nil {
		return err
	}
	reads := map[string]bool{}
	may := func(s *pipe.StageSample) *pipe.StageSample {
		if s == nil {
			return nil
		}
		ok, asked := reads[s.Topic]
		if !asked {
			ok = a.shows(r, who, s.Topic)
			reads[s.Topic] = ok
		}
		if !ok {
			return s.Withhold()
		}
		return s
	}
	for i := range stages {
		stages[i].Passed, stages[i].Stopped = may(stages[i].Passed), may(stages[i].Stopped)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"pipe": name, "process": a.process(), "stages": stages})
}

// shows says whether a caller may see what lies in a topic, which is not masked.
func (a api) shows(r *http.Request, who gate.Principal, topic string) bool {
	return !a.cfg.Gate.Masked(who, topic) && a.cfg.Gate.Admin(r.Context(), who, gate.ReadData, gate.Resource{Kind: "topic", Name: topic}) == nil
}

// listTargets serves GET /klamm/v1/targets ?search= &after= &limit=: {"targets":
// [EndpointStatus], "next"?, "process"}, what this process delivers to, by name.
func (a api) listTargets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "search", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	out := struct {
		Targets []pipe.EndpointStatus `json:"targets"`
		Next    string                `json:"next,omitempty"`
		Process string                `json:"process"`
	}{Targets: []pipe.EndpointStatus{}, Process: a.process()}
	if a.cfg.Pipes != nil {
		search, after := q.text("search"), q.text("after")
		for _, e := range a.cfg.Pipes.Targets(func(name string) bool { return a.allow(r, who, gate.AdminRead, name) == nil }) {
			if e.Endpoint <= after && after != "" || !strings.Contains(e.Endpoint, search) {
				continue
			}
			if len(out.Targets) == limit {
				out.Next = out.Targets[limit-1].Endpoint
				break
			}
			out.Targets = append(out.Targets, e)
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// A pipeRow is a pipe in a page of the list.
type pipeRow struct {
	pipe.Status
	// BehindSeconds is how old the record is that the pipe comes to next; null: not known.
	BehindSeconds *float64 `json:"behind_seconds"`
	// Counts are what this process has done for the pipe.
	Counts pipe.Counts `json:"counts"`
}

// knownFor is how long what brokers say of a pipe is good for other callers of a page:
// ten people with the list open cost no more than one.
const knownFor = 4 * time.Second

// pipeRows are rows that were asked for a moment ago. They are safe for concurrent use.
type pipeRows struct {
	mu  sync.Mutex // held while brokers are asked, so that two callers do not ask the same
	all map[string]knownRow
}

type knownRow struct {
	row pipeRow
	at  time.Time
}

// of returns the rows of pipes, without what this process has counted. A pipe that is gone
// meanwhile is left out.
func (p *pipeRows) of(ctx context.Context, runner *pipe.Runner, names []string) ([]pipeRow, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.all, func(_ string, k knownRow) bool { return now.Sub(k.at) > knownFor })
	var unknown []string
	for _, name := range names {
		if _, ok := p.all[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	list, err := runner.ListOf(ctx, unknown)
	if err != nil {
		return nil, err
	}
	looking, done := context.WithTimeout(ctx, behindTime)
	defer done()
	behind := runner.Behind(looking, list)
	if p.all == nil {
		p.all = map[string]knownRow{}
	}
	for i, s := range list {
		p.all[s.Pipe] = knownRow{pipeRow{Status: whole(s), BehindSeconds: seconds(behind[i])}, time.Now()}
	}
	rows := []pipeRow{}
	for _, name := range names {
		if k, ok := p.all[name]; ok {
			rows = append(rows, k.row)
		}
	}
	return rows, nil
}

// behindTime bounds how long a page looks for how far behind its pipes are.
const behindTime = 2 * time.Second

// pagePipes serves GET /klamm/v1/pipes with ?limit=, ?after=, ?search= or ?state=:
// {"pipes": [pipeRow], "next"?, "total", "process"}, those that the caller may see, by
// name. Total is how many there are by search and state.
func (a api) pagePipes(w http.ResponseWriter, r *http.Request, who gate.Principal, q query) error {
	limit, err := q.limit()
	if err != nil {
		return err
	}
	limit = min(limit, 1_000)
	out := struct {
		Pipes   []pipeRow `json:"pipes"`
		Next    string    `json:"next,omitempty"`
		Total   int       `json:"total"`
		Process string    `json:"process"`
	}{Pipes: []pipeRow{}, Process: a.process()}
	if a.cfg.Pipes == nil {
		return writeJSON(w, http.StatusOK, "application/json", out)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	if err := a.reachable(ctx); err != nil {
		return err
	}
	search, state, after := q.text("search"), q.text("state"), q.text("after")
	var names []string
	for _, name := range a.cfg.Pipes.Names() {
		if !strings.Contains(name, search) {
			continue
		}
		if state != "" {
			if now, _ := a.cfg.Pipes.State(name); now != state {
				continue
			}
		}
		if a.allow(r, who, gate.AdminRead, name) != nil {
			continue
		}
		out.Total++
		switch {
		case name <= after && after != "":
		case len(names) < limit:
			names = append(names, name)
		default:
			out.Next = names[limit-1]
		}
	}
	if out.Pipes, err = a.rows.of(ctx, a.cfg.Pipes, names); err != nil {
		return err
	}
	for i := range out.Pipes {
		out.Pipes[i].Counts = a.cfg.Pipes.CountsOf(out.Pipes[i].Pipe)
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.Seconds()
	return &s
}
