package klamm

import (
	"context"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// A History is the configurations that have counted in this process.
type History struct {
	// List returns them, the one that counts first.
	List func() []Generation
	// Compare says how the text of a file differs from the one that counts; nil: there
	// is no file that could be changed. Errors of kind Invalid say what is wrong with
	// it.
	Compare func(text []byte) ([]Change, error)
	// Back takes over the one that counted before; nil as Compare.
	Back func(context.Context) error
}

// A Generation is a configuration that counts or has counted.
type Generation struct {
	// Number is counted from 1, which is the one that klamm has started with.
	Number int `json:"generation"`
	// Hash tells configurations apart.
	Hash string `json:"hash"`
	// Since is when it began to count.
	Since time.Time `json:"since"`
}

// A Change is what differs between the configuration that counts and another.
type Change struct {
	// Path is the key, such as limits[per-device].requests.rate.
	Path string `json:"path"`
	// Was and Is are the values, where they may be shown.
	Was *string `json:"was"`
	Is  *string `json:"is"`
	// Restart says that it counts only after a restart.
	Restart bool `json:"restart"`
}

// generationRoutes are the routes for configurations.
func (a api) generationRoutes() []front.Route {
	return []front.Route{
		{Name: "configuration.list", Pattern: "GET /klamm/v1/configuration", Serve: a.listGenerations},
		{Name: "configuration.diff", Pattern: "POST /klamm/v1/configuration/diff", Serve: a.diffConfiguration},
		{Name: "configuration.rollback", Pattern: "POST /klamm/v1/configuration/rollback", Serve: a.rollbackConfiguration},
	}
}

// overCluster asks whether the caller may look at, or change, what is about all of
// klamm.
func (a api) overCluster(r *http.Request, who gate.Principal, action gate.Action) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	return a.allow(r, who, action, "")
}

// listGenerations serves GET /klamm/v1/configuration.
func (a api) listGenerations(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.overCluster(r, who, gate.AdminRead); err != nil {
		return err
	}
	return a.tellGenerations(w)
}

func (a api) tellGenerations(w http.ResponseWriter) error {
	list := []Generation{}
	if h := a.cfg.History; h != nil {
		list = h.List()
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"generations": list})
}

var errNoFile = &gate.Error{Kind: gate.Conflict, Message: "this klamm was started without a configuration file"}

// diffConfiguration serves POST /klamm/v1/configuration/diff, whose body is the text of
// a configuration file. Nothing is changed, and no file that it names is read.
func (a api) diffConfiguration(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.overCluster(r, who, gate.AdminRead); err != nil {
		return err
	}
	if a.cfg.History == nil || a.cfg.History.Compare == nil {
		return errNoFile
	}
	text, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	changes, err := a.cfg.History.Compare(text)
	if err != nil {
		return err
	}
	if changes == nil {
		changes = []Change{}
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"changes": changes})
}

// rollbackConfiguration serves POST /klamm/v1/configuration/rollback, for this process
// alone.
func (a api) rollbackConfiguration(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.overCluster(r, who, gate.AdminWrite); err != nil {
		return err
	}
	if a.cfg.History == nil || a.cfg.History.Back == nil {
		return errNoFile
	}
	if err := a.cfg.History.Back(r.Context()); err != nil {
		return err
	}
	return a.tellGenerations(w)
}
