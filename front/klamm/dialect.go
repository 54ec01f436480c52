// Package klamm is the HTTP API of klamm itself: what none of the dialects has.
//
// /healthy, /ready and /metrics are for what watches klamm; /klamm/v1 is for who
// operates it: its pipes, and the topics that they read. Each operation asks the gate
// and then the pipe.Runner, which answers for every pipe of the cluster, or the
// cluster itself through the gate. What takes long answers with a stream of JSON
// lines (stream.go), and so does who watches (watch.go). Errors are those of RFC 9457 (errors.go).
// openapi.json describes it all, and a test compares it with the routes.
package klamm

import (
	"context"
	_ "embed" // the description
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/history"
	"github.com/klamm-gateway/klamm/peer"
	"github.com/klamm-gateway/klamm/pipe"
)

// A Config is what the operations report on and act upon.
type Config struct {
	// Ready returns nil while klamm can produce and poll, and otherwise an
	// error that names what is wrong; several may be joined.
	Ready func(context.Context) error
	// Configuration returns what there is to tell of a changed configuration file; nil
	// or a nil result: nothing.
	Configuration func() *Configuration
	// History are the configurations that have counted; nil: there are none.
	History *History
	// Metrics answers with the Prometheus series.
	Metrics http.Handler
	// Gate is asked before each operation below /klamm/v1. It is required
	// where there are pipes.
	Gate *gate.Gate
	// Pipes runs the pipes; nil: there are none.
	Pipes *pipe.Runner
	// Catalog is what pipes are defined with; without it they are as the configuration
	// file says.
	Catalog Catalog
	// Keys are the API keys; nil: none are taken.
	Keys *auth.Keys
	// Limits know what API keys have used of usage plans; nil: there are none.
	Limits *gate.Limits
	// Policies are the policies that can be changed; nil: none decide.
	Policies *gate.Policies
	// Buses is the way onto event buses; nil: there are none.
	Buses *gate.Buses
	// Version is the program's, for people; empty: not known.
	Version string
	// Brokers returns the bootstrap servers; nil: not known.
	Brokers func() []string
	// Started is when this process began; the zero time: not known.
	Started time.Time
	// Peers are the klamm processes of the cluster; nil: there is only this one.
	Peers *peer.Peers
	// Stopping is closed when klamm begins to stop: streams and what takes long
	// then end in good order. Nil: they end with their connections.
	Stopping <-chan struct{}
	// Explain says what the gate would decide; nil: nobody can be asked.
	Explain func(context.Context, gate.Question) (gate.Explanation, error)
	// Auth is by whom people sign in to the web console; nil: everybody is served
	// without.
	Auth *auth.Chain
	// Account is klamm's own in names of AWS.
	Account string
	// Recent are requests of a moment ago; nil: none are remembered.
	Recent *front.Recent
	// Trends are how things were a while ago; nil: nobody knows.
	Trends *history.Keeper
	// Functions returns what functions have been run for here, by name; nil: there are none.
	Functions func() []function.Tally
	// Console serves the web console.
	Console bool
	// Log takes the errors that a stream cannot show; nil: nothing does.
	Log *slog.Logger
}

// Dialect returns klamm's own API.
func Dialect(cfg Config) front.Dialect {
	if cfg.Pipes != nil && cfg.Gate == nil {
		panic("klamm: pipes without a gate")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := api{cfg: cfg, searches: make(chan struct{}, mostSearches), tried: make(chan struct{}, trials), rows: &pipeRows{}, lags: &lagsSeen{}, behind: &behindPage{}, tally: &pipeTally{}}
	if cfg.Pipes != nil {
		a.lookout = &lookout{look: cfg.Pipes.List}
	}
	d := front.Dialect{
		Name:     "klamm",
		Unstaged: true,
		Prefixes: []string{"/klamm", "/_klamm", "/healthy", "/ready", "/metrics"},
		Routes: []front.Route{
			{Name: "healthy", Pattern: "GET /healthy", Serve: a.healthy, Public: true},
			{Name: "ready", Pattern: "GET /ready", Serve: a.ready, Public: true},
			{Name: "metrics", Pattern: "GET /metrics", Serve: a.metrics, Public: true},
			{Name: "openapi", Pattern: "GET /klamm/v1/openapi.json", Serve: serveOpenAPI, Public: true},

			{Name: "status", Pattern: "GET /klamm/v1/status", Serve: a.status},
			{Name: "members", Pattern: "GET /klamm/v1/members", Serve: a.listMembers},
			{Name: "watch", Pattern: "GET /klamm/v1/watch", Serve: a.watch, Streams: true},
			{Name: "access.explain", Pattern: "GET /klamm/v1/access/explain", Serve: a.explainAccess},
			{Name: "pipes.list", Pattern: "GET /klamm/v1/pipes", Serve: a.listPipes},
			{Name: "pipes.get", Pattern: "GET /klamm/v1/pipes/{pipe}", Serve: a.getPipe},
			{Name: "pipes.pause", Pattern: "POST /klamm/v1/pipes/{pipe}/pause", Serve: a.pause},
			{Name: "pipes.resume", Pattern: "POST /klamm/v1/pipes/{pipe}/resume", Serve: a.resume},
			{Name: "pipes.seek", Pattern: "POST /klamm/v1/pipes/{pipe}/seek", Serve: a.seek},
			{Name: "pipes.replay", Pattern: "POST /klamm/v1/pipes/{pipe}/replay", Serve: a.replay},
			{Name: "letters.list", Pattern: "GET /klamm/v1/pipes/{pipe}/dead-letters", Serve: a.listLetters},
			{Name: "letters.reasons", Pattern: "GET /klamm/v1/pipes/{pipe}/dead-letters/reasons", Serve: a.groupLetters},
			{Name: "letters.redrive", Pattern: "POST /klamm/v1/pipes/{pipe}/dead-letters/redrive", Serve: a.redrive},
			{Name: "letters.discard", Pattern: "POST /klamm/v1/pipes/{pipe}/dead-letters/discard", Serve: a.discard},
			{Name: "deliveries.list", Pattern: "GET /klamm/v1/deliveries", Serve: a.listDeliveries},
			{Name: "deliveries.tail", Pattern: "GET /klamm/v1/deliveries/tail", Serve: a.tail},
			{Name: "deliveries.get", Pattern: "GET /klamm/v1/deliveries/{id}", Serve: a.getDelivery},
			{Name: "deliveries.retry", Pattern: "POST /klamm/v1/deliveries/{id}/retry", Serve: a.retry},
		},
		WriteError: writeError,
	}
	d.Routes = append(d.Routes, a.topicRoutes()...)
	d.Routes = append(d.Routes, a.recordRoutes()...)
	d.Routes = append(d.Routes, a.groupRoutes()...)
	d.Routes = append(d.Routes, a.keyRoutes()...)
	d.Routes = append(d.Routes, a.definitionRoutes()...)
	d.Routes = append(d.Routes, a.usageRoutes()...)
	d.Routes = append(d.Routes, a.functionRoutes()...)
	d.Routes = append(d.Routes, a.policyRoutes()...)
	d.Routes = append(d.Routes, a.busRoutes()...)
	d.Routes = append(d.Routes, a.stageRoutes()...)
	d.Routes = append(d.Routes, a.sandboxRoutes()...)
	d.Routes = append(d.Routes, a.generationRoutes()...)
	d.Routes = append(d.Routes, a.sessionRoutes()...)
	d.Routes = append(d.Routes, a.trendRoutes()...)
	d.Routes = append(d.Routes, a.requestRoutes()...)
	d.Routes = append(d.Routes, a.auditRoutes()...)
	d.Routes = append(d.Routes, a.consoleRoutes()...)
	for i := range d.Routes {
		d.Routes[i].Serve = translated(d.Routes[i].Serve)
	}
	return d
}

type api struct {
	cfg     Config
	lookout *lookout // nil without pipes
	// searches holds a token for each search for records that is under way.
	searches chan struct{}
	rows     *pipeRows
	lags     *lagsSeen
	behind   *behindPage
	tally    *pipeTally
	// tried holds a token for each trial of the sandbox that reads records.
	tried chan struct{}
}

// allow asks the gate whether the caller may look at a pipe, or act on it. An
// empty name stands for all of them.
func (a api) allow(r *http.Request, who gate.Principal, action gate.Action, name string) error {
	if a.cfg.Gate == nil {
		return nil // there is nothing to look at
	}
	what := gate.Resource{Kind: "pipe", Name: name}
	if name == "" {
		what = gate.Resource{Kind: "cluster"}
	}
	return a.cfg.Gate.Admin(r.Context(), who, action, what)
}

const (
	// readyTime is how long brokers may take to show that they are there.
	readyTime = 5 * time.Second
	// readTime and writeTime bound an operation that is no stream: brokers that
	// do not answer must not keep callers waiting for ever. A seek waits for up
	// to half a minute until nobody reads any more.
	readTime  = 25 * time.Second
	writeTime = time.Minute
)

// healthy answers 200 as long as the process serves at all.
func (a api) healthy(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"healthy": true})
}

// ready answers 200 while klamm can produce and poll, and otherwise 503 with
// what is wrong.
func (a api) ready(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	problems := a.problems(r.Context())
	if problems == nil {
		return writeJSON(w, http.StatusOK, "application/json", a.tell(map[string]any{"ready": true}))
	}
	return writeJSON(w, http.StatusServiceUnavailable, "application/json", a.tell(map[string]any{"ready": false, "problems": problems}))
}

// reachable is an error while brokers cannot be reached. What opens a table then
// goes on trying until its time is up, and callers are to know at once.
func (a api) reachable(ctx context.Context) error {
	if a.cfg.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := a.cfg.Ready(ctx); err != nil {
		return &gate.Error{Kind: gate.Unavailable, Message: oneLine(err)}
	}
	return nil
}

// problems are what keeps klamm from being ready; nil: nothing does.
func (a api) problems(ctx context.Context) []string {
	err := a.cfg.Ready(ctx)
	if err == nil {
		return nil
	}
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	var problems []string
	for _, e := range several.Unwrap() {
		problems = append(problems, e.Error())
	}
	return problems
}

func (a api) metrics(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	a.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

//go:embed openapi.json
var openAPI []byte

// serveOpenAPI serves GET /klamm/v1/openapi.json: this API as an OpenAPI 3.1
// document.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openAPI)
	return err
}

func writeJSON(w http.ResponseWriter, status int, media string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}
