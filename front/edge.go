package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// An Edge is what stands between the listener and the routes of the dialects: stages
// and routes of the configuration. The zero value is nothing.
type Edge struct {
	Stages []Stage
	Routes []OwnRoute
}

// An OwnRoute is a route of the configuration: what a route of a dialect asks for
// beyond what the dialect does, or a route that klamm would not have without it.
type OwnRoute struct {
	Pattern shape.Pattern
	// Stages are those that it is in; none stands for all.
	Stages []string
	// Shape is what requests must look like; nil: whatever they do.
	Shape *shape.Shape
	// Route is served at the pattern, in the name and with the errors of Dialect; its
	// own pattern is not looked at. Nil: the dialects' own routes are.
	Route   *Route
	Dialect *Dialect
	// Access is what callers of the route have to show; nil: the same as everywhere.
	Access *Access
	// Identity and Stamp are those of Stage, for this route; empty and nil: as the stage
	// has it.
	Identity string
	Stamp    *bool
	// Rewrite gives requests another path, where a dialect has a route, and says
	// whether it could. Nil: they are served where they came.
	Rewrite func(*http.Request) bool
}

// An ownRoute is an OwnRoute made ready.
type ownRoute struct {
	OwnRoute
	serve http.Handler // nil: what the dialects have
}

// An edge is an Edge made ready.
type edge struct {
	stages *stages
	tables map[string]*shape.Table[*ownRoute] // by stage; "" for requests that are in none
}

// Reshape replaces stages and routes, for requests that begin from now on. If it
// returns an error, everything is as before.
func (s *Server) Reshape(cfg Edge) error {
	tables, err := cfg.tables(func(r OwnRoute) http.Handler {
		if r.Route == nil {
			return nil
		}
		route := *r.Route
		route.Pattern = r.Pattern.String()
		return s.operation(r.Dialect, route)
	})
	if err != nil {
		return err
	}
	e := &edge{stages: newStages(cfg.Stages, len(s.cfg.Authenticators) > 0), tables: tables}
	if e.stages == nil && len(cfg.Routes) == 0 {
		e = nil
	}
	s.edge.Store(e)
	return nil
}

// Check returns the error that Reshape would return.
func (e Edge) Check() error {
	_, err := e.tables(func(OwnRoute) http.Handler { return nil })
	return err
}

// tables puts the routes of each stage into one table, so that the most special of
// them is found: those of all stages too, unless the stage has one for the same
// requests.
func (e Edge) tables(serve func(OwnRoute) http.Handler) (map[string]*shape.Table[*ownRoute], error) {
	tables := map[string]*shape.Table[*ownRoute]{"": {}}
	for _, st := range e.Stages {
		tables[st.Name] = &shape.Table[*ownRoute]{}
	}
	for _, r := range e.Routes {
		one := &ownRoute{r, serve(r)}
		in := r.Stages
		if len(in) == 0 {
			in = []string{""}
		}
		for _, name := range in {
			if tables[name] == nil {
				return nil, fmt.Errorf("route %s: there is no stage %q", r.Pattern, name)
			}
			if err := tables[name].Add(r.Pattern, one); err != nil {
				return nil, fmt.Errorf("route %s: %w", r.Pattern, err)
			}
		}
	}
	for _, r := range e.Routes {
		if len(r.Stages) > 0 {
			continue
		}
		one := &ownRoute{r, serve(r)}
		for _, st := range e.Stages {
			if err := tables[st.Name].Add(r.Pattern, one); err != nil && !errors.Is(err, shape.ErrTaken) {
				return nil, fmt.Errorf("route %s, in stage %s: %w", r.Pattern, st.Name, err)
			}
		}
	}
	return tables, nil
}

// place finds the stage of a request. The context is the only thing that goes with
// a request through the router to its handler.
func (s *Server) place(r *http.Request) (*http.Request, *staged) {
	e := s.edge.Load()
	if e == nil && !s.cfg.IDs {
		return r, nil
	}
	at := &staged{}
	r = r.WithContext(context.WithValue(r.Context(), stageKey{}, at))
	if e != nil {
		r = e.stages.enter(r, at)
	}
	return r, at
}

// corsOf returns the rules for pages of other origins that hold for a request.
func (s *Server) corsOf(at *staged) *cors {
	if at != nil && at.stage != nil && at.cors != nil {
		return at.cors
	}
	return s.cors
}

// find finds the route of the configuration that fits a request whose path is clean,
// and returns what serves it; nil: the dialects do.
func (s *Server) find(r *http.Request, at *staged) http.Handler {
	e := s.edge.Load()
	if at == nil || e == nil || e.tables[StageOf(r)] == nil {
		return nil
	}
	if own, path, ok := e.tables[StageOf(r)].Find(r.Method, r.URL.EscapedPath()); ok {
		at.own, at.path = own, path
	}
	if at.own == nil || at.own.serve == nil && at.own.Rewrite == nil || at.own.Pattern.Greedy() && s.routed(r) {
		return nil
	}
	for _, v := range at.path {
		r.SetPathValue(v.Name, v.Value)
	}
	if at.own.Rewrite == nil {
		return at.own.serve
	}
	called := r.URL.Path
	if !at.own.Rewrite(r) {
		return http.HandlerFunc(s.unrouted)
	}
	at.called = called
	return nil
}

// calledPath is the path that a request came with, below its stage.
func calledPath(r *http.Request) string {
	if at := stagedOf(r); at != nil && at.called != "" {
		return at.called
	}
	return r.URL.Path
}

// routed says whether a dialect has a route for a request.
func (s *Server) routed(r *http.Request) bool {
	_, pattern := s.mux.Handler(r)
	return pattern != "/" && pattern != ""
}

// ownMethods are the methods for which the configuration has a route at a path.
func (s *Server) ownMethods(r *http.Request) (methods []string) {
	e := s.edge.Load()
	if e == nil {
		return nil
	}
	t := e.tables[StageOf(r)]
	if t == nil { // the stage is gone since the request came
		return nil
	}
	for _, m := range t.Methods(r.URL.EscapedPath()) {
		if own, _, _ := t.Find(m, r.URL.EscapedPath()); own.serve != nil || own.Rewrite != nil {
			methods = append(methods, m)
		}
	}
	return methods
}

// bound bounds the body of a request as its route asks.
func (at *staged) bound(b *body) {
	if at != nil && at.own != nil && at.own.Shape != nil && at.own.Shape.Most() > 0 {
		b.limit = min(b.limit, at.own.Shape.Most())
	}
}

// fits returns a *shape.Mismatch for a request that does not look as its route asks.
func (s *Server) fits(w http.ResponseWriter, r *http.Request, at *staged) error {
	if at == nil || at.own == nil || at.own.Shape == nil {
		return nil
	}
	form := at.own.Shape
	wrong := form.CheckHead(r, at.path)
	if wrong == nil && form.Checks() {
		data, err := HoldBody(r)
		if err != nil {
			return err
		}
		wrong = form.CheckBody(r, data)
	}
	if wrong == nil {
		return nil
	}
	if wrong.Fault == shape.MediaType {
		w.Header()["Accept-Post"] = []string{joined(wrong.Accepts)}
	}
	return wrong
}

func joined(list []string) string {
	text := ""
	for i, one := range list {
		if i > 0 {
			text += ", "
		}
		text += one
	}
	return text
}

// The errors of routes that pass requests on to a back end.
var (
	// ErrBackEnd says that the back end cannot be reached, or breaks off.
	ErrBackEnd error = &backEndError{http.StatusBadGateway, "the back end cannot be reached"}
	// ErrBackEndTimeout says that it has not answered in time.
	ErrBackEndTimeout error = &backEndError{http.StatusGatewayTimeout, "the back end has not answered in time"}
)

type backEndError struct {
	status int
	text   string
}

func (e *backEndError) Error() string { return e.text }

// Reported says that there is nothing about it that the log should know: the route
// has told it.
func (e *backEndError) Reported() {}

// edgeStatus is the status of a request that does not look as its route asks, or whose
// back end fails.
func edgeStatus(err error) (status int, text string, ok bool) {
	var failed *backEndError
	if errors.As(err, &failed) {
		return failed.status, failed.text, true
	}
	var wrong *shape.Mismatch
	if !errors.As(err, &wrong) {
		return 0, "", false
	}
	status = map[shape.Fault]int{shape.MediaType: http.StatusUnsupportedMediaType, shape.TooLarge: http.StatusRequestEntityTooLarge}[wrong.Fault]
	if status == 0 {
		status = http.StatusBadRequest
	}
	return status, wrong.Text(), true
}

// mismatchProblem is the problem of a request that does not look as its route asks;
// nil for any other error.
func mismatchProblem(err error) *Problem {
	var wrong *shape.Mismatch
	if !errors.As(err, &wrong) {
		return nil
	}
	p := invalidity(wrong.Summary())
	p.Status, _, _ = edgeStatus(err)
	if p.Status != http.StatusBadRequest {
		p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	}
	p.Truncated = wrong.Truncated
	for _, e := range wrong.Entries {
		one := ProblemEntry{Pointer: e.Pointer, In: e.In, Name: e.Name, Keyword: e.Keyword, Detail: e.Detail, Actual: json.RawMessage(e.Actual), Schema: e.Schema}
		if e.In != "" {
			one.Pointer, one.Schema = "", ""
		}
		p.Errors = append(p.Errors, one)
	}
	return p
}

// OwnCaller returns a caller who has come in by an Own route, after the route has found
// out who that is, as one in the stage of the request whose calls are made for it. The
// error is that of a limit.
func OwnCaller(w http.ResponseWriter, r *http.Request, who gate.Principal) (gate.Principal, error) {
	at := stagedOf(r)
	if at != nil {
		who = at.stamped(who)
	}
	if at != nil && at.stage != nil {
		who.Stage, who.TopicPrefix, who.Cluster = at.Name, at.variant.prefix, at.variant.cluster
	}
	a := answerOf(w)
	if a == nil {
		return who, nil
	}
	if !who.Source.IsValid() {
		who.Source, who.Secure = a.server.cfg.Links.Source(r), a.server.cfg.Links.Secure(r)
	}
	if trail := trailOf(w); trail != nil {
		who = who.Within(&gate.Request{ID: idOf(w, r), Method: r.Method, Path: calledPath(r), Pattern: r.Pattern, Time: time.Now(), Stage: StageOf(r), Trail: trail})
	}
	return a.visit.Enter(r.Context(), who, false)
}
