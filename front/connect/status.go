package connect

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// failed says whether a pipe has stopped by itself.
func failed(state string) bool { return state == pipe.Halted || state == pipe.Disabled }

// A taskState is how a task, or the connector itself, is.
type taskState struct {
	ID       *int   `json:"id,omitempty"`
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
}

// A statusView is the answer about the status of a connector.
type statusView struct {
	Name      string      `json:"name"`
	Connector taskState   `json:"connector"`
	Tasks     []taskState `json:"tasks"`
	Type      string      `json:"type"`
}

// statusOf finds out how a connector is.
func (a *API) statusOf(r *http.Request, d catalog.Document, b body) statusView {
	v := statusView{Name: d.Name, Connector: taskState{State: b.State, WorkerID: a.cfg.Worker()}, Tasks: []taskState{}, Type: "sink"}
	if b.State == stopped {
		return v
	}
	s, err := a.cfg.Pipes.Status(r.Context(), catalog.ConnectorPipe(d.Name))
	switch problem := a.cfg.Problem(d.Name); {
	case problem != nil:
		v.Connector.State, v.Connector.Trace = "FAILED", problem.Error()
		return v
	case errors.Is(err, pipe.ErrNoPipe) && a.waits(r, b):
		return v
	case err != nil:
		v.Connector.State = "UNASSIGNED"
		return v
	}
	state := taskState{State: b.State, WorkerID: v.Connector.WorkerID}
	if failed(s.State) {
		state.State, state.Trace = "FAILED", s.Reason
	}
	for i := range tasksOf(b, len(s.Partitions)) {
		one := state
		one.ID = &i
		v.Tasks = append(v.Tasks, one)
	}
	return v
}

// waits says whether a connector waits for a topic that matches its topics.regex.
func (a *API) waits(r *http.Request, b body) bool {
	pattern := b.Config["topics.regex"]
	if pattern == "" {
		return false
	}
	topics, err := a.matching(r.Context(), pattern)
	return err == nil && len(topics) == 0
}

// tasksOf is the number of tasks: as many as are wanted, and never more than partitions.
func tasksOf(b body, partitions int) int {
	return max(1, min(b.Config.number("tasks.max"), max(partitions, 1)))
}

// taskCount is the number of tasks of a connector as far as it is known.
func (a *API) taskCount(r *http.Request, name string, b body) int {
	if b.State == stopped {
		return 0
	}
	s, err := a.cfg.Pipes.Status(r.Context(), catalog.ConnectorPipe(name))
	if err != nil {
		return 0
	}
	return tasksOf(b, len(s.Partitions))
}

// status serves GET /connectors/{name}/status.
func (a *API) status(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	d, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, a.statusOf(r, d, b))
}

// tasks serves GET /connectors/{name}/tasks.
func (a *API) tasks(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	out := []any{}
	for i := range a.taskCount(r, name, b) {
		out = append(out, map[string]any{"id": taskID{name, i}, "config": b.Config})
	}
	return respond(w, http.StatusOK, out)
}

// task reads the number of a task that exists.
func (a *API) task(r *http.Request, name string, b body) (int, error) {
	n, err := strconv.Atoi(r.PathValue("task"))
	if err != nil || n < 0 || n >= a.taskCount(r, name, b) {
		return 0, refuse(http.StatusNotFound, "No status found for task %s-%s", clip(name), clip(r.PathValue("task")))
	}
	return n, nil
}

// taskStatus serves GET /connectors/{name}/tasks/{task}/status.
func (a *API) taskStatus(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	d, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	n, err := a.task(r, name, b)
	if err != nil {
		return err
	}
	if v := a.statusOf(r, d, b); n < len(v.Tasks) {
		return respond(w, http.StatusOK, v.Tasks[n])
	}
	return refuse(http.StatusNotFound, "No status found for task %s-%d", clip(name), n)
}

// An offset is how far a connector has come in a partition.
type offset struct {
	Partition struct {
		Topic     string `json:"kafka_topic"`
		Partition *int32 `json:"kafka_partition"`
	} `json:"partition"`
	Offset *struct {
		Offset int64 `json:"kafka_offset"`
	} `json:"offset"`
}

// offsets serves GET /connectors/{name}/offsets.
func (a *API) offsets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	s, err := a.cfg.Pipes.Status(r.Context(), catalog.ConnectorPipe(name))
	if err != nil && !(errors.Is(err, pipe.ErrNoPipe) && a.waits(r, b)) {
		return err
	}
	out := []offset{}
	for _, p := range s.Partitions {
		if p.Committed < 0 {
			continue
		}
		var o offset
		o.Partition.Topic, o.Partition.Partition = p.Topic, &p.Partition
		o.Offset = &struct {
			Offset int64 `json:"kafka_offset"`
		}{p.Committed}
		out = append(out, o)
	}
	return respond(w, http.StatusOK, map[string]any{"offsets": out})
}

// mayMove refuses to move a connector that is not stopped. It returns the name of its pipe,
// and the connector.
func (a *API) mayMove(r *http.Request, who gate.Principal) (string, body, error) {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminWrite)
	if err == nil && b.State != stopped {
		err = refuse(http.StatusBadRequest, "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/%s/stop' endpoint", clip(name))
	}
	return catalog.ConnectorPipe(name), b, err
}

// alterOffsets serves PATCH /connectors/{name}/offsets. A partition whose offset is null is
// read from where the connector begins.
func (a *API) alterOffsets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, b, err := a.mayMove(r, who)
	if err != nil {
		return err
	}
	var in struct {
		Offsets []offset `json:"offsets"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	var moves []string
	for _, o := range in.Offsets {
		to := int64(0) // of the log at least, wherever that begins
		switch {
		case o.Offset != nil:
			to = o.Offset.Offset
		case b.Config.get(startAt) == "latest":
			to = math.MaxInt64
		}
		if to < 0 || o.Partition.Partition == nil || o.Partition.Topic == "" || strings.ContainsAny(o.Partition.Topic, "/=,") {
			return refuse(http.StatusBadRequest, "An offset needs a kafka_topic, a kafka_partition and a kafka_offset of zero or more, or null in its place")
		}
		moves = append(moves, fmt.Sprintf("%s/%d=%d", o.Partition.Topic, *o.Partition.Partition, to))
	}
	if len(moves) == 0 {
		return refuse(http.StatusBadRequest, "Partitions / offsets need to be provided for an alter offsets request")
	}
	if _, err := a.cfg.Pipes.Seek(r.Context(), name, strings.Join(moves, ","), false); err != nil {
		return err
	}
	return respond(w, http.StatusOK, map[string]string{"message": "The offsets for this connector have been altered successfully"})
}

// resetOffsets serves DELETE /connectors/{name}/offsets: it begins as one that is new.
func (a *API) resetOffsets(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, b, err := a.mayMove(r, who)
	if err != nil {
		return err
	}
	if _, err := a.cfg.Pipes.Seek(r.Context(), name, b.Config.get(startAt), false); err != nil {
		return err
	}
	return respond(w, http.StatusOK, map[string]string{"message": "The offsets for this connector have been reset successfully"})
}
