package klamm

import (
	"fmt"
	"net/http"
	"strings"

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

// down are targets whose breaker is not closed.
const down = "down"

// shows says whether a caller may see what lies in a topic, which is not masked.
func (a api) shows(r *http.Request, who gate.Principal, topic string) bool {
	return !a.cfg.Gate.Masked(who, topic) && a.cfg.Gate.Admin(r.Context(), who, gate.ReadData, gate.Resource{Kind: "topic", Name: topic}) == nil
}

// listTargets serves GET /klamm/v1/targets ?search= &state= &after= &limit=: {"targets":
// [EndpointStatus], "next"?, "process"}, what this process delivers to, by name. State is
// that of the breaker, or down: any but closed.
func (a api) listTargets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "search", "state", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	state := q.text("state")
	if state != "" && state != down && state != pipe.BreakerOpen && state != pipe.BreakerProbing && state != pipe.BreakerClosed {
		return invalid(fmt.Sprintf("state %.100q: want %s, %s, %s or %s", state, down, pipe.BreakerOpen, pipe.BreakerProbing, pipe.BreakerClosed))
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
			if state == down && e.State == pipe.BreakerClosed || state != "" && state != down && e.State != state {
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
