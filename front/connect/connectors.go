package connect

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// A taskID names a task.
type taskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

// A view is a connector as it is shown.
type view struct {
	Name   string        `json:"name"`
	Config configuration `json:"config"`
	Tasks  []taskID      `json:"tasks"`
	Type   string        `json:"type"`
}

var connectorName = regexp.MustCompile(`^[^/\x00-\x1f\x7f]{1,200}$`)

// read decodes the JSON body of a request.
func read(r *http.Request, into any) error {
	raw, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	if err := json.Unmarshal(raw, into); err != nil {
		return refuse(http.StatusBadRequest, "The request body cannot be read: %v", err)
	}
	return nil
}

// respond answers with a value as JSON.
func respond(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// find returns a connector.
func (a *API) find(r *http.Request, name string) (catalog.Document, body, error) {
	d, err := a.cfg.Store.Get(r.Context(), catalog.KindConnector, name)
	if errors.Is(err, catalog.ErrNotFound) {
		return d, body{}, refuse(http.StatusNotFound, "Connector %s not found", clip(name))
	}
	var b body
	if err == nil {
		err = json.Unmarshal(d.Body, &b)
	}
	return d, b, err
}

// findFor returns the connector of the path to a caller who may do this to it; whether
// there is one, others do not learn.
func (a *API) findFor(r *http.Request, who gate.Principal, action gate.Action) (catalog.Document, body, error) {
	name := r.PathValue("name")
	if err := a.admin(r, who, action, name); err != nil {
		return catalog.Document{}, body{}, err
	}
	return a.find(r, name)
}

// list serves GET /connectors, with expand=info and expand=status.
func (a *API) list(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.admin(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	all, err := a.cfg.Store.List(r.Context(), catalog.KindConnector, "")
	if err != nil {
		return err
	}
	expand := r.URL.Query()["expand"]
	names := []string{}
	shown := map[string]map[string]any{}
	for _, d := range all {
		names = append(names, d.Name)
		if len(expand) == 0 {
			continue
		}
		var b body
		if json.Unmarshal(d.Body, &b) != nil {
			continue
		}
		of := map[string]any{}
		for _, what := range expand {
			switch what {
			case "info":
				of["info"] = a.show(r, d.Name, b)
			case "status":
				of["status"] = a.statusOf(r, d, b)
			}
		}
		shown[d.Name] = of
	}
	if len(expand) > 0 {
		return respond(w, http.StatusOK, shown)
	}
	return respond(w, http.StatusOK, names)
}

// show makes the view of a connector.
func (a *API) show(r *http.Request, name string, b body) view {
	v := view{Name: name, Config: b.Config, Tasks: []taskID{}, Type: "sink"}
	for i := range a.taskCount(r, name, b) {
		v.Tasks = append(v.Tasks, taskID{name, i})
	}
	return v
}

// create serves POST /connectors.
func (a *API) create(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var in struct {
		Name   string        `json:"name"`
		Config configuration `json:"config"`
		State  string        `json:"initial_state"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if in.Name == "" {
		in.Name = in.Config["name"]
	}
	if !connectorName.MatchString(in.Name) {
		return refuse(http.StatusBadRequest, "Invalid connector name %s: want 1 to 200 characters without slashes", clip(in.Name))
	}
	if given, ok := in.Config["name"]; ok && given != in.Name {
		return refuse(http.StatusBadRequest, "Connector name configuration (%s) doesn't match connector name in the request body (%s)", clip(given), clip(in.Name))
	}
	switch in.State = strings.ToUpper(in.State); in.State {
	case "":
		in.State = running
	case running, paused, stopped:
	default:
		return refuse(http.StatusBadRequest, "Unknown initial_state %s: want RUNNING, PAUSED or STOPPED", clip(in.State))
	}
	b := body{Config: withName(in.Config, in.Name), State: in.State}
	if err := a.store(r, who, in.Name, b, catalog.Absent); err != nil {
		if errors.Is(err, catalog.ErrExists) {
			return refuse(http.StatusConflict, "Connector %s already exists", clip(in.Name))
		}
		return err
	}
	at(w, in.Name)
	return respond(w, http.StatusCreated, a.show(r, in.Name, b))
}

// at says where a connector is that was made.
func at(w http.ResponseWriter, name string) {
	w.Header().Set("Location", "/connectors/"+url.PathEscape(name))
}

// withName is a configuration with the connector's name in it, as Connect keeps it.
func withName(c configuration, name string) configuration {
	out := configuration{}
	maps.Copy(out, c)
	out["name"] = name
	return out
}

// store checks a connector and keeps it.
func (a *API) store(r *http.Request, who gate.Principal, name string, b body, expect int64) error {
	if err := a.admin(r, who, gate.AdminWrite, name); err != nil {
		return err
	}
	if found := b.Config.check(); len(found) > 0 {
		var texts []string
		for _, p := range found {
			texts = append(texts, p.text)
		}
		return refuse(http.StatusBadRequest, "Connector configuration is invalid and contains the following %d error(s):\n%s\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
			len(texts), strings.Join(texts, "\n"))
	}
	if _, err := a.compile(r.Context(), name, b.Config); err != nil {
		if errors.Is(err, catalog.ErrInvalid) {
			return refuse(http.StatusBadRequest, "Connector configuration is invalid: %v", err)
		}
		return err
	}
	if class, _ := classOf(b.Config["connector.class"]); class == eventBridge {
		if bus, own := a.ownBus(b.Config); own {
			switch err := a.cfg.EnsureBus(r.Context(), bus); {
			case errors.Is(err, gate.ErrNoBus):
				return refuse(http.StatusBadRequest, "Connector configuration is invalid: the event bus %s does not exist", clip(bus))
			case err != nil:
				return err
			}
		}
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = a.cfg.Store.Put(r.Context(), catalog.Document{Kind: catalog.KindConnector, Name: name, Dialect: "connect", By: who.Name, Stopped: b.State != running, Body: raw}, expect)
	return err
}

// get serves GET /connectors/{name}.
func (a *API) get(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, a.show(r, name, b))
}

// getConfig serves GET /connectors/{name}/config.
func (a *API) getConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	_, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, b.Config)
}

// putConfig serves PUT /connectors/{name}/config: a connector is made or changed.
func (a *API) putConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	var in configuration
	if err := read(r, &in); err != nil {
		return err
	}
	if !connectorName.MatchString(name) {
		return refuse(http.StatusBadRequest, "Invalid connector name %s", clip(name))
	}
	if given, ok := in["name"]; ok && given != name {
		return refuse(http.StatusBadRequest, "Connector name configuration (%s) doesn't match connector name in the URL (%s)", clip(given), clip(name))
	}
	d, b, err := a.find(r, name)
	var gone *refusal
	status := http.StatusOK
	switch {
	case errors.As(err, &gone):
		status, b.State = http.StatusCreated, running
	case err != nil:
		return err
	}
	b.Config = withName(in, name)
	if err := a.store(r, who, name, b, d.Version); err != nil {
		return err
	}
	if status == http.StatusCreated {
		at(w, name)
	} else if err := a.anew(r); err != nil {
		return err
	}
	return respond(w, status, a.show(r, name, b))
}

// patchConfig serves PATCH /connectors/{name}/config: members with null go.
func (a *API) patchConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	var in map[string]*scalar
	if err := read(r, &in); err != nil {
		return err
	}
	d, b, err := a.find(r, name)
	if err != nil {
		return err
	}
	b.Config = withName(b.Config, name)
	for key, value := range in {
		if value == nil {
			delete(b.Config, key)
		} else {
			b.Config[key] = string(*value)
		}
	}
	if b.Config["name"] != name {
		return refuse(http.StatusBadRequest, "The name of a connector cannot be changed")
	}
	if err := a.store(r, who, name, b, d.Version); err != nil {
		return err
	}
	if err := a.anew(r); err != nil {
		return err
	}
	return respond(w, http.StatusOK, a.show(r, name, b))
}

// remove serves DELETE /connectors/{name}. The consumer group keeps its offsets, as with
// Connect: a connector of the same name goes on where this one was.
func (a *API) remove(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	d, _, err := a.findFor(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	if err := a.cfg.Store.Delete(r.Context(), catalog.KindConnector, name, d.Version); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// become changes the state that a connector is wanted in.
func (a *API) become(r *http.Request, who gate.Principal, state string) error {
	d, b, err := a.findFor(r, who, gate.AdminWrite)
	if err != nil || b.State == state {
		return err
	}
	b.State = state
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	d.Body, d.Stopped, d.By = raw, state != running, who.Name
	_, err = a.cfg.Store.Put(r.Context(), d, d.Version)
	return err
}

// pause serves PUT /connectors/{name}/pause.
func (a *API) pause(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.become(r, who, paused); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// stop serves PUT /connectors/{name}/stop.
func (a *API) stop(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.become(r, who, stopped); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// resume serves PUT /connectors/{name}/resume. It lets one run again that has halted by
// itself, too.
func (a *API) resume(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.become(r, who, running); err != nil {
		return err
	}
	if err := a.unhalt(r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// unhalt lets a pipe run that has stopped by itself.
func (a *API) unhalt(r *http.Request) error {
	name := catalog.ConnectorPipe(r.PathValue("name"))
	s, err := a.cfg.Pipes.Status(r.Context(), name)
	if err != nil || !failed(s.State) {
		return nil //nolint:nilerr // it does not run yet, so there is nothing that has halted
	}
	return a.cfg.Pipes.Resume(r.Context(), name)
}

// anew lets tasks run again that have failed, as Connect starts them anew when a connector
// is given another configuration. It waits until that is carried out: they would fail again
// for what they failed for. Where it cannot be, they are left for a restart.
func (a *API) anew(r *http.Request) error {
	s, err := a.cfg.Pipes.Status(r.Context(), catalog.ConnectorPipe(r.PathValue("name")))
	if err != nil || !failed(s.State) || a.cfg.Applied(r.Context()) != nil {
		return nil //nolint:nilerr // the configuration is stored, which is what was asked for
	}
	return a.unhalt(r)
}

// restart serves POST /connectors/{name}/restart. A connector that runs goes on; one that
// has failed begins again.
func (a *API) restart(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	d, b, err := a.findFor(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	if err := a.unhalt(r); err != nil {
		return err
	}
	if r.URL.Query().Get("includeTasks") == "true" || r.URL.Query().Get("onlyFailed") == "true" {
		return respond(w, http.StatusAccepted, a.statusOf(r, d, b))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// restartTask serves POST /connectors/{name}/tasks/{task}/restart.
func (a *API) restartTask(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	if _, err := a.task(r, name, b); err != nil {
		return err
	}
	if err := a.unhalt(r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// topics serves GET /connectors/{name}/topics.
func (a *API) topics(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	_, b, err := a.findFor(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	topics := b.Config.list("topics")
	if s, err := a.cfg.Pipes.Status(r.Context(), catalog.ConnectorPipe(name)); err == nil {
		topics = s.Topics
	}
	return respond(w, http.StatusOK, map[string]any{name: map[string]any{"topics": append([]string{}, topics...)}})
}

// resetTopics serves PUT /connectors/{name}/topics/reset: klamm keeps no such list.
func (a *API) resetTopics(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, _, err := a.findFor(r, who, gate.AdminWrite); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
