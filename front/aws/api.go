// Package aws speaks AWS's control planes, so that its SDKs and its command line work
// with klamm unchanged: EventBridge Pipes (pipes.go, tags.go; REST with JSON bodies) and
// EventBridge (POST / with X-Amz-Target): events, buses, rules and their targets
// (put_events.go, bus.go, rule.go, rule_targets.go), connections and API destinations
// (connection.go, destination.go). Beside them are functions
// (function.go) and event source mappings (mapping.go) of the Lambda API. What they
// make lies in the catalog, in their own words; pipe_compile.go and mapping_compile.go
// make of it what package pipe runs.
// Requests are checked by constraint.go, and errors named by wire.go.
package aws

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A Config is what the operations work with. All fields but Clusters are required.
type Config struct {
	Gate  *gate.Gate
	Store *catalog.Store
	Seal  *catalog.Seal
	// Definitions says what became of what is in the store.
	Definitions *catalog.Definitions
	// Mappings says what became of event source mappings, and Mapping how they
	// differ from those of AWS.
	Mappings *catalog.Definitions
	Mapping  MappingConfig
	Pipes    *pipe.Runner
	// Buses is the way onto event buses, and Bus how they differ from those of AWS,
	// with its defaults.
	Buses *gate.Buses
	Bus   BusConfig
	// Account and Region are those of all ARNs.
	Account, Region string
	// StopPipesAfter is catalog.Execution.StopAfter of all pipes.
	StopPipesAfter time.Duration
	// StrictFilters refuses filters of pipes and event source mappings whose operators AWS
	// does not have there.
	StrictFilters bool
	// Version is the program's, for the User-Agent of requests.
	Version string
	// Brokers returns the bootstrap servers of klamm's own cluster.
	Brokers func() []string
	// Clusters are those of kafka.clusters.
	Clusters []Cluster
	// Authority decides about what is done in the name of functions' roles; nil: nobody
	// does, and clusters have no policies.
	Authority *gate.Authority
	// Function says whether there is a function of that name; nil: there are none.
	Function func(ctx context.Context, name string) bool
	// Egress says which hosts may be called, and Transport calls them.
	Egress    *target.Egress
	Transport http.RoundTripper
	// Metrics registers the series of PutEvents; nil: nobody counts.
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// A Cluster is one of kafka.clusters.
type Cluster struct {
	Name          string
	ARNs, Brokers []string
}

// An API serves both control planes. It is safe for concurrent use.
type API struct {
	cfg      Config
	ctx      context.Context // of what goes on after an answer; ends with Close
	cancel   context.CancelFunc
	proving  sync.WaitGroup
	mapping  sync.Mutex  // held while a new mapping is compared with those that there are
	deciding atomic.Bool // mappings will be compiled again soon
	served   map[string]operation
	puts     *putMetrics
}

// New returns an API. Definitions of the config may be set later, before it is used.
func New(cfg Config) *API {
	a := &API{cfg: cfg, puts: newPutMetrics(cfg.Metrics)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.served = a.operations()
	return a
}

// Use sets what says what became of the definitions and of event source mappings.
func (a *API) Use(d, mappings *catalog.Definitions) {
	a.cfg.Definitions, a.cfg.Mappings = d, mappings
}

// Close ends what goes on after an answer.
func (a *API) Close() {
	a.cancel()
	a.proving.Wait()
}

// allow asks the gate whether the caller may do something to what an ARN names.
func (a *API) allow(r *http.Request, who gate.Principal, action gate.Action, arn string) error {
	return a.cfg.Gate.Admin(r.Context(), who, action, gate.Resource{Kind: "arn", Name: arn})
}

// pipes and events are how errors are called in the two services.
var (
	pipes = namesOf{
		media:   "application/json",
		missing: fault{name: "NotFoundException", status: http.StatusNotFound}, taken: fault{name: "ConflictException", status: http.StatusConflict},
		full: fault{name: "ServiceQuotaExceededException", status: http.StatusPaymentRequired}, conflict: fault{name: "ConflictException", status: http.StatusConflict},
		internal: fault{name: "InternalException", status: http.StatusInternalServerError}, slow: fault{name: "ThrottlingException", status: http.StatusTooManyRequests},
		denied: http.StatusForbidden, service: "pipes", resource: "pipe",
	}
	events = namesOf{
		media:   "application/x-amz-json-1.1",
		missing: fault{name: "ResourceNotFoundException", status: http.StatusBadRequest}, taken: fault{name: "ResourceAlreadyExistsException", status: http.StatusBadRequest},
		full: fault{name: "LimitExceededException", status: http.StatusBadRequest}, conflict: fault{name: "ConcurrentModificationException", status: http.StatusBadRequest},
		internal: fault{name: "InternalException", status: http.StatusInternalServerError}, slow: fault{name: "ThrottlingException", status: http.StatusBadRequest},
		denied: http.StatusBadRequest,
	}
)

// Pipes returns the control plane of EventBridge Pipes.
func (a *API) Pipes() front.Dialect {
	d := front.Dialect{
		Name:     "aws/pipes",
		Prefixes: []string{"/v1/pipes", "/tags"},
		Routes: []front.Route{
			{Name: "pipes.create", Pattern: "POST /v1/pipes/{pipe}", Serve: a.createPipe},
			{Name: "pipes.describe", Pattern: "GET /v1/pipes/{pipe}", Serve: a.describePipe},
			{Name: "pipes.update", Pattern: "PUT /v1/pipes/{pipe}", Serve: a.updatePipe},
			{Name: "pipes.delete", Pattern: "DELETE /v1/pipes/{pipe}", Serve: a.deletePipe},
			{Name: "pipes.list", Pattern: "GET /v1/pipes", Serve: a.listPipes},
			{Name: "pipes.start", Pattern: "POST /v1/pipes/{pipe}/start", Serve: a.startPipe},
			{Name: "pipes.stop", Pattern: "POST /v1/pipes/{pipe}/stop", Serve: a.stopPipe},
			{Name: "tags.list", Pattern: "GET /tags/{arn...}", Serve: a.listTags},
			{Name: "tags.add", Pattern: "POST /tags/{arn...}", Serve: a.tag},
			{Name: "tags.remove", Pattern: "DELETE /tags/{arn...}", Serve: a.untag},
		},
		WriteError: pipes.writeError,
	}
	return identified(d)
}

// Events returns a handler of POST / that serves the control plane of EventBridge, and
// leaves calls that are none of its to next. It writes its errors itself: the path is
// another dialect's.
func (a *API) Events(next front.Handler) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		if r.Header.Get("X-Amz-Target") == "" && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json") {
			return next(w, r, who)
		}
		identify(w)
		if err := a.serveEvents(w, r, who); err != nil {
			if r.Context().Err() != nil {
				return err
			}
			if f := events.faultOf(err); f.name == events.internal.name && f.status == events.internal.status {
				a.cfg.Log.Error("request failed", "operation", r.Header.Get("X-Amz-Target"), "err", err)
			}
			events.writeError(w, r, err)
		}
		return nil
	}
}

// EventsErrors answers in the words of EventBridge what was refused before an operation
// of it was reached, and leaves other requests to next.
func (a *API) EventsErrors(next func(http.ResponseWriter, *http.Request, error)) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		if front.ControlPlane(r) != "events" {
			next(w, r, err)
			return
		}
		identify(w)
		events.writeError(w, r, err)
	}
}

// An operation of EventBridge has a body and an answer.
type operation func(r *http.Request, who gate.Principal, body []byte) (any, error)

// operations are those of EventBridge, by the last part of X-Amz-Target.
func (a *API) operations() map[string]operation {
	return map[string]operation{
		"PutEvents": a.puts.counting(a.putEvents), "TestEventPattern": a.testEventPattern,
		"CreateEventBus": a.createEventBus, "DescribeEventBus": a.describeEventBus, "UpdateEventBus": a.updateEventBus,
		"DeleteEventBus": a.deleteEventBus, "ListEventBuses": a.listEventBuses, "PutPermission": a.putPermission, "RemovePermission": a.removePermission,
		"PutRule": a.putRule, "DescribeRule": a.describeRule, "ListRules": a.listRules, "EnableRule": a.enableRule, "DisableRule": a.disableRule,
		"DeleteRule": a.deleteRule, "ListRuleNamesByTarget": a.listRuleNamesByTarget,
		"PutTargets": a.putTargets, "ListTargetsByRule": a.listTargetsByRule, "RemoveTargets": a.removeTargets,
		"TagResource": a.tagResource, "UntagResource": a.untagResource, "ListTagsForResource": a.listTagsForResource,
		"CreateConnection": a.createConnection, "DescribeConnection": a.describeConnection, "UpdateConnection": a.updateConnection,
		"DeauthorizeConnection": a.deauthorizeConnection, "DeleteConnection": a.deleteConnection, "ListConnections": a.listConnections,
		"CreateApiDestination": a.createAPIDestination, "DescribeApiDestination": a.describeAPIDestination, "UpdateApiDestination": a.updateAPIDestination,
		"DeleteApiDestination": a.deleteAPIDestination, "ListApiDestinations": a.listAPIDestinations,
		"CreateArchive": a.createArchive, "DescribeArchive": a.describeArchive, "UpdateArchive": a.updateArchive, "DeleteArchive": a.deleteArchive,
		"ListArchives": a.listArchives, "StartReplay": a.startReplay, "DescribeReplay": a.describeReplay, "ListReplays": a.listReplays, "CancelReplay": a.cancelReplay,
	}
}

// serveEvents serves POST / by X-Amz-Target.
func (a *API) serveEvents(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents.")
	serve := a.served[name]
	if !ok || serve == nil {
		return &fault{name: "UnknownOperationException", status: http.StatusBadRequest, message: "There is no such operation."}
	}
	largest := int64(largestBody)
	if name == "PutEvents" {
		largest += 8 * a.cfg.Bus.Entries // texts are escaped twice
	}
	body, release, err := front.ReadBodyWithin(r, largest)
	if err != nil {
		return err
	}
	defer release()
	answer, err := serve(r, who, body)
	if err != nil {
		return err
	}
	if b, ok := answer.(ready); ok {
		w.Header().Set("Content-Type", events.media)
		_, err = w.Write(b)
		return err
	}
	return write(w, events.media, answer)
}

// suspends says whether an error means that a pipe must not go on as it was, rather
// than that its new definition waits: what it named is gone.
func suspends(err error) bool {
	var (
		gone    *absent
		refused *notAllowed
	)
	return errors.As(err, &gone) || errors.As(err, &refused)
}

// Suspends is what catalog.Definitions asks about the errors of Compile.
func (a *API) Suspends(err error) bool { return suspends(err) }
