// Package connect is the REST API of Kafka Connect for the connectors that klamm has:
// the EventBridge sink (event-bus.md 13), and the HTTP sinks of Confluent and Aiven as
// far as they can be made a webhook. A connector is a definition in the catalog and runs
// as a pipe; its tasks are the pipe's partitions, divided among the processes.
//
// Of the original's API it does not have: loggers, the hosts of other workers, and
// plugins that are installed at run time.
package connect

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A Config is what the API works with. All fields are required.
type Config struct {
	Gate  *gate.Gate
	Store *catalog.Store
	Pipes *pipe.Runner
	// Problem returns why a connector is not carried out; nil: it is.
	Problem func(name string) error
	// Applied waits until every connector is carried out in this process as it was stored
	// before the call.
	Applied func(ctx context.Context) error
	// EnsureBus makes the topic of a bus of klamm's own; the error is
	// gate.ErrNoBus if there is no such bus.
	EnsureBus       func(ctx context.Context, name string) error
	Account, Region string
	// Environment is os.LookupEnv: a profile of credentials cannot be used where the
	// environment has some, too.
	Environment func(name string) (string, bool)
	// Worker is this process's address, which tasks are shown with.
	Worker func() string
	// Check says whether a pipe could be run.
	Check func(catalog.Pipe) error
	// Topics are the names of the cluster's topics, for topics.regex.
	Topics func(ctx context.Context) ([]string, error)
	Log    *slog.Logger
}

// An API compiles connectors and serves their REST API. It is safe for concurrent use.
type API struct{ cfg Config }

// New returns the API.
func New(cfg Config) *API { return &API{cfg} }

// Dialect returns the routes.
func (a *API) Dialect() front.Dialect {
	return front.Dialect{
		Name:     "connect",
		Prefixes: []string{"/connectors", "/connector-plugins"},
		Routes: []front.Route{
			{Name: "connectors.list", Pattern: "GET /connectors", Serve: a.list},
			{Name: "connectors.create", Pattern: "POST /connectors", Serve: a.create},
			{Name: "connectors.get", Pattern: "GET /connectors/{name}", Serve: a.get},
			{Name: "connectors.delete", Pattern: "DELETE /connectors/{name}", Serve: a.remove},
			{Name: "connectors.config", Pattern: "GET /connectors/{name}/config", Serve: a.getConfig},
			{Name: "connectors.configure", Pattern: "PUT /connectors/{name}/config", Serve: a.putConfig},
			{Name: "connectors.patch", Pattern: "PATCH /connectors/{name}/config", Serve: a.patchConfig},
			{Name: "connectors.status", Pattern: "GET /connectors/{name}/status", Serve: a.status},
			{Name: "connectors.tasks", Pattern: "GET /connectors/{name}/tasks", Serve: a.tasks},
			{Name: "connectors.task", Pattern: "GET /connectors/{name}/tasks/{task}/status", Serve: a.taskStatus},
			{Name: "connectors.task.restart", Pattern: "POST /connectors/{name}/tasks/{task}/restart", Serve: a.restartTask},
			{Name: "connectors.topics", Pattern: "GET /connectors/{name}/topics", Serve: a.topics},
			{Name: "connectors.topics.reset", Pattern: "PUT /connectors/{name}/topics/reset", Serve: a.resetTopics},
			{Name: "connectors.pause", Pattern: "PUT /connectors/{name}/pause", Serve: a.pause},
			{Name: "connectors.resume", Pattern: "PUT /connectors/{name}/resume", Serve: a.resume},
			{Name: "connectors.stop", Pattern: "PUT /connectors/{name}/stop", Serve: a.stop},
			{Name: "connectors.restart", Pattern: "POST /connectors/{name}/restart", Serve: a.restart},
			{Name: "connectors.offsets", Pattern: "GET /connectors/{name}/offsets", Serve: a.offsets},
			{Name: "connectors.offsets.alter", Pattern: "PATCH /connectors/{name}/offsets", Serve: a.alterOffsets},
			{Name: "connectors.offsets.reset", Pattern: "DELETE /connectors/{name}/offsets", Serve: a.resetOffsets},
			{Name: "plugins.list", Pattern: "GET /connector-plugins", Serve: a.plugins},
			{Name: "plugins.config", Pattern: "GET /connector-plugins/{plugin}/config", Serve: a.pluginConfig},
			{Name: "plugins.validate", Pattern: "PUT /connector-plugins/{plugin}/config/validate", Serve: a.validate},
		},
		WriteError: writeError,
	}
}

// admin asks whether the caller may look at connectors, or change them.
func (a *API) admin(r *http.Request, who gate.Principal, action gate.Action, name string) error {
	return a.cfg.Gate.Admin(r.Context(), who, action, gate.Resource{Kind: "connector", Name: name})
}
