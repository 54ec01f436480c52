// Package front is the HTTP side of klamm: the listener, the way from a path to
// an operation of a dialect, authentication, limits and metrics.
//
// A Dialect is data: routes, handlers and one way to write errors. The Server
// puts the routes of all dialects on one listener and stands around every
// handler, so that a dialect is nothing but translation.
package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/gate"
)

// Sizes is the sizes section of the configuration file.
type Sizes struct {
	// Body is the largest request body; the default is 64MiB.
	Body int64 `yaml:"body" unit:"bytes"`
	// InFlight bounds all request bodies together; the default is 256MiB.
	InFlight int64 `yaml:"in_flight" unit:"bytes"`
	// Headers bounds the headers of a request together, up to 64KiB; the default is
	// 16KiB.
	Headers int64 `yaml:"headers" unit:"bytes"`
	// Records is how many records one request may write, up to 1000000; the default is
	// 10000. Streams may write any number.
	Records int `yaml:"records"`
	// URL bounds the path of a request with its query, up to 64KiB; the default is
	// 8KiB.
	URL int64 `yaml:"url" unit:"bytes"`
}

// Validate reports each problem with the field it lies in.
func (s Sizes) Validate(report func(path, problem string)) {
	if s.Body < 0 || s.Body > 1<<30 {
		report("body", "want a size up to 1GiB")
	}
	if s.InFlight < 0 || s.InFlight != 0 && s.InFlight < max(s.Body, 1<<20) {
		report("in_flight", "want at least the size of one body")
	}
	if s.Records < 0 || s.Records > 1_000_000 {
		report("records", "want a number up to 1000000")
	}
	for field, size := range map[string]int64{"headers": s.Headers, "url": s.URL} {
		if size < 0 || size > largestHeaders {
			report(field, "want a size up to 64KiB")
		}
	}
}

// RecordsPerRequest is Records, or its default.
func (s Sizes) RecordsPerRequest() int {
	if s.Records == 0 {
		return 10_000
	}
	return s.Records
}

// A Config says how a server behaves.
type Config struct {
	Sizes          Sizes
	Connections    Connections
	Dialects       []Dialect
	Authenticators []Authenticator
	// H2C accepts HTTP/2 without TLS from clients that begin with it.
	H2C bool
	// Anonymous lets callers without credentials in.
	Anonymous bool
	// CORS says which pages of other origins may call.
	CORS CORS
	// Links says whose word is taken on where a request comes from; the zero value
	// takes nobody's.
	Links Links
	// Gate is asked whether a caller may call a route; nil: everybody may.
	Gate *gate.Gate
	// Limits hold callers to rates and quotas; nil: nobody. PassedOn says whether a
	// request claims to be passed on by another klamm process, where it was counted;
	// nil: none does.
	Limits   *gate.Limits
	PassedOn func(*http.Request) bool
	// Claims keeps the answers to requests with an Idempotency-Key; without it
	// the header means nothing.
	Claims  *gate.Claims
	Metrics *Metrics // required
	Log     *slog.Logger
	// AccessLog gets every request; nil: there is none.
	AccessLog *accesslog.Log
	// Recent remembers requests for people to look at; nil: nothing does.
	Recent *Recent
	// Tracing says what becomes of traces; the zero value is nothing.
	Tracing Tracing
	// TrustRequestID takes the ids that clients give their requests.
	TrustRequestID bool
	// IDs has IDOf know the ids of all requests, and not only of those that stages or
	// routes of the configuration may serve.
	IDs bool
	// Account is klamm's own in names of AWS.
	Account string
	// Firewall turns requests away before anything else; nil: there are no rules.
	Firewall *Firewall
	// Challenge returns what the authority of ACME is answered about a token, which may
	// be any text; nil: it asks nothing.
	Challenge func(token string) (answer string, ok bool)
	// Compression says which answers are compressed.
	Compression Compression
	// Cache says which answers are kept.
	Cache Cache
}

// A Server answers HTTP requests in all its dialects.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	prefixes []prefix
	instead  []instead
	*connections
	cache cache
	cors  *cors                // nil: there are no pages
	edge  atomic.Pointer[edge] // nil: there are neither stages nor routes of the configuration
}

type prefix struct {
	path    string
	dialect *Dialect
}

// New returns a server for the dialects. Two dialects that claim the same
// pattern are a mistake in the program, and New panics.
func New(cfg Config) *Server {
	return newServer(cfg, nil)
}

// newServer returns a server that shares the connections of another; nil: it has its
// own.
func newServer(cfg Config, shared *connections) *Server {
	cfg.Sizes, cfg.Connections = cfg.Sizes.withDefaults(), cfg.Connections.withDefaults()
	s := &Server{cfg: cfg, mux: http.NewServeMux(), connections: shared}
	s.cors = newCORS(cfg.CORS, len(cfg.Authenticators) > 0)
	trees := map[string]http.Handler{}
	for i := range cfg.Dialects {
		d := &cfg.Dialects[i]
		for _, route := range d.Routes {
			if route.When != nil {
				s.instead = append(s.instead, newInstead(route, s.operation(d, route)))
				continue
			}
			h := s.operation(d, route)
			s.mux.Handle(route.Pattern, h)
			if i := strings.LastIndex(route.Pattern, "/{"); strings.HasSuffix(route.Pattern, "...}") {
				trees[route.Pattern[:i]] = h
			}
		}
		for _, p := range d.Prefixes {
			s.prefixes = append(s.prefixes, prefix{p, d})
		}
	}
	sort.SliceStable(s.prefixes, func(i, j int) bool { return len(s.prefixes[i].path) > len(s.prefixes[j].path) })
	s.mux.HandleFunc("/", s.unrouted)
	for root, h := range trees {
		// A slash at the end is cut off, and the mux would send those who ask for the root
		// of a tree back there, for ever.
		method, path, _ := strings.Cut(root, " ")
		if _, pattern := s.mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}}); pattern != root {
			s.mux.Handle(root, h)
		}
	}
	if shared == nil {
		s.connections = connect(s)
	}
	return s
}

// Serve answers requests on l until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(framedListener{l}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops listening, ends streams, lets other requests and the connections
// that handlers have taken over end and returns when they have, or when ctx ends:
// then their connections are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return errors.Join(err, s.hijacked.wait(ctx))
}

// ServeHTTP makes a Server an http.Handler. Paths that are not in their
// simplest form are not redirected but have no route: a policy must not be
// dodged by spelling a path in another way.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.current.Load().answer(w, r) }

// answer answers a request from the first look at it on.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	tellKeepAlive(w, r)
	x, r := s.begin(w, r)
	w = x
	defer x.end()
	s.cfg.Links.disown(r)
	if s.challenged(w, r) {
		return
	}
	err := s.bounds(w, r)
	if strings.Contains(r.URL.RawQuery, ";") { // which net/url takes a parameter for broken by
		r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, ";", "%3B")
	}
	r, at := s.place(r)
	if at != nil {
		at.id = x.id
	}
	x.within(r)
	if err != nil {
		s.corsOf(at).mark(w.Header(), r.Header.Get("Origin"))
		s.reject(x, r, 2, err)
		return
	}
	if s.corsOf(at).serve(w, r) {
		return
	}
	if err = x.wall(r); err != nil {
		s.reject(x, r, 5, err)
		return
	}
	path := r.URL.EscapedPath()
	if len(path) > 1 && path[len(path)-1] == '/' {
		trimSlash(r)
		path = path[:len(path)-1]
	}
	if path == "" || path[0] != '/' || unclean(path) {
		s.fail(w, r, s.dialectOf(path), ErrNoRoute)
		return
	}
	if own := s.find(r, at); own != nil {
		own.ServeHTTP(w, r)
		return
	}
	if other := s.insteadFor(r); other != nil {
		other.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func trimSlash(r *http.Request) {
	r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
	if r.URL.RawPath != "" {
		r.URL.RawPath = strings.TrimSuffix(r.URL.RawPath, "/")
	}
}

// unclean says whether a path has an empty, "." or ".." segment.
func unclean(path string) bool {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path != "/" && path[len(path)-1] == '/'
	}
	for _, segment := range strings.Split(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// operation stands around one handler. What is on its stack is there as long as a stream
// lasts: all that comes before what lasts has functions of its own.
func (s *Server) operation(d *Dialect, route Route) http.Handler {
	observe := s.cfg.Metrics.route(d.Name, route.Name)
	serve, name := s.cached(route, s.repeatable(d, route)), gate.RouteName(route.Pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, server: s, began: time.Now()}
		defer func() {
			if p := recover(); p != nil {
				s.panicked(p, a, r, d, &route)
			}
			observe(a.status, time.Since(a.began))
		}()
		defer a.finish()
		s.perform(a, r, d, &route, name, serve)
		if a.rest != nil {
			a.rest()
		}
	})
}

// perform takes a request to its handler, and answers where it is not served. It is never
// inlined: its stack is needed only for as long as that takes.
//
//go:noinline
func (s *Server) perform(a *answer, r *http.Request, d *Dialect, route *Route, name string, serve Handler) {
	r, err := s.prepare(a, r, d, route, name)
	if err == nil {
		err = serve(a, r, a.who)
	}
	if err != nil {
		a.rest = nil
		a.failure = err
		s.fail(a, r, d, err)
		exchangeOf(a.ResponseWriter).refused()
	}
}

// panicked answers for a handler that has panicked, unless it meant to cut the connection.
func (s *Server) panicked(p any, a *answer, r *http.Request, d *Dialect, route *Route) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.cfg.Log.Error("handler panicked", "route", route.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	s.fail(a, r, d, errors.New("panic"))
}

// prepare takes a request to its handler: bounds its body, asks the gate, and notes in the
// answer whose it is and what has to be undone.
//
//go:noinline
func (s *Server) prepare(a *answer, r *http.Request, d *Dialect, route *Route, name string) (*http.Request, error) {
	x := exchangeOf(a.ResponseWriter)
	route = closed(r, route)
	x.serves(d, route)
	if r.ContentLength != 0 {
		a.body = &body{ReadCloser: r.Body, limit: s.cfg.Sizes.Body, rate: s.cfg.Connections.BodyMinRate, budget: &s.budget, control: http.NewResponseController(a.ResponseWriter), length: r.ContentLength, closing: s.closing, size: &a.size}
		a.size.Store(-1)
		stagedOf(r).bound(a.body)
		x.bound(a.body)
		r.Body = a.body
	}
	s.visit(a, r, route, name)
	err := s.decide(a, r, d, route)
	if a.body != nil && r.Body != a.body { // an authenticator looks on while it is read
		watched := *a.body
		watched.ReadCloser, watched.held = r.Body, nil
		r.Body = &watched
	}
	if err != nil {
		return r, err
	}
	if route.Streams && !a.who.Expires.IsZero() {
		ctx, end := context.WithDeadline(r.Context(), a.who.Expires)
		a.end, r = end, r.WithContext(ctx)
	}
	x.reach(stepServed, nil)
	if !route.Raw {
		if a.release, err = inflate(a, r); err != nil {
			return r, err
		}
	}
	return r, s.fits(a, r, stagedOf(r))
}

// decide takes a request through the gate up to its own step.
func (s *Server) decide(a *answer, r *http.Request, d *Dialect, route *Route) error {
	x := exchangeOf(a.ResponseWriter)
	x.reach(stepAddress, nil)
	passedOn, err := s.arrive(a.visit, r)
	var who gate.Principal
	if !route.Public && err == nil {
		x.reach(stepCredentials, nil)
		who, err = s.authenticate(r)
		a.who = who
		x.entered(&a.who, err, time.Since(a.began))
		if err == nil {
			err = Scoped(r, who)
		}
	}
	if err == nil {
		who, err = s.inStage(r, d, asPlaced(r, who))
	}
	x.reach(stepRoutePolicy, err)
	who, err = s.enter(a, r, route, who, err)
	x.reach(stepRequests, err)
	a.who, err = s.admit(r.Context(), a.visit, route, who, passedOn, err)
	return err
}

// authenticate asks the authenticators in order.
func (s *Server) authenticate(r *http.Request) (gate.Principal, error) {
	who, err := gate.Principal{}, ErrNotMine
	for _, a := range s.cfg.Authenticators {
		if who, err = a.Authenticate(r); !errors.Is(err, ErrNotMine) {
			break
		}
	}
	if errors.Is(err, ErrNotMine) {
		if who, err = gate.Anonymous, nil; !AccessOf(r).anonymous(s.cfg.Anonymous) {
			return gate.Principal{}, &gate.Error{Kind: gate.Unauthenticated, Message: "credentials are required"}
		}
	}
	if !who.Source.IsValid() { // a call that was passed on says where it came from
		who.Source, who.Secure = s.cfg.Links.Source(r), s.cfg.Links.Secure(r)
	}
	return who, err
}

// fail answers with an error, in the dialect's shape, unless the answer has
// begun: then the connection is cut, so that the client does not take what it
// has for the whole.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, d *Dialect, err error) {
	if a, ok := w.(*answer); ok && a.status != 0 {
		s.cfg.Log.Debug("answer cut short", "path", r.URL.Path, "err", err)
		panic(http.ErrAbortHandler)
	}
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // nobody is listening any more
	}
	err = planed(r, later(err))
	exchangeOf(w).failed(d, err)
	overloaded(w, err)
	spareUpload(w, r)
	refused := errors.Is(err, ErrBodyTooLarge) || errors.Is(err, ErrBusy) || errors.Is(err, ErrBodyTimeout)
	if refused {
		w.Header().Set("Connection", "close") // the rest of the body is not worked on
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	staged := stagedOf(r).refuse(w, r, err)
	if !staged && !refuse(w, err) {
		d.WriteError(w, r, err)
	}
	// A stage may give a failure any status.
	if a, ok := w.(*answer); !ok || staged || a.status >= http.StatusInternalServerError {
		s.report(w, r, err)
	}
	if refused {
		drain(r)
	}
}

// report puts an error into the log that the client is not told. An answer that blames
// the client has said what there is to say: it is the dialect that knows so.
func (s *Server) report(w http.ResponseWriter, r *http.Request, err error) {
	if gate.Classify(err) == gate.Internal && !known(err) {
		s.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "request_id", idOf(w, r), "err", err)
	}
}

// drain takes in what a client goes on sending after it was refused. Many
// clients look at the answer only when they have sent everything; cutting the
// connection would make it a "connection reset" for them.
func drain(r *http.Request) {
	b, ok := r.Body.(*body)
	if !ok {
		return
	}
	_ = b.control.Flush()
	_ = b.control.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, b.sent(), drainBytes)
}

const (
	drainTime  = 10 * time.Second
	drainBytes = 256 << 20
)

// A Reported error knows its own answer; it is not news for the log.
type Reported interface{ Reported() }

func known(err error) bool {
	var r Reported
	if errors.As(err, &r) {
		return true
	}
	for _, e := range []error{ErrNoRoute, ErrMethod, ErrBodyTooLarge, ErrBodyTimeout, ErrBodyMalformed, ErrBusy, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unrouted answers what matches no route: 405 where another method would match,
// otherwise 404.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	for _, m := range s.ownMethods(r) {
		if !slices.Contains(allowed, m) {
			allowed = append(allowed, m)
		}
	}
	d := s.dialectOf(r.URL.Path)
	a := &answer{ResponseWriter: w, server: s}
	start := time.Now()
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(a, r, d, ErrMethod)
	} else {
		s.fail(a, r, d, ErrNoRoute)
	}
	s.cfg.Metrics.edge.rejected(6, a.status)
	s.cfg.Metrics.route(d.Name, "none")(a.status, time.Since(start))
}

// dialectOf returns the dialect whose prefix fits a path best.
func (s *Server) dialectOf(path string) *Dialect {
	for _, p := range s.prefixes {
		if p.path == "/" || path == p.path || strings.HasPrefix(path, p.path+"/") {
			return p.dialect
		}
	}
	return s.prefixes[len(s.prefixes)-1].dialect
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	server *Server
	began  time.Time
	status int
	visit  *gate.Visit    // nil: nothing limits the request
	who    gate.Principal // as decide has found
	rest   func()         // of the answer, when the handler has returned; nil: that was all

	failure error // that the answer tells of; nil: it tells of none

	// What finish undoes; nil: there is nothing.
	body    *body
	size    atomic.Int64       // of the body, where there is one; negative until it is there as a whole
	end     context.CancelFunc // of the context of a stream
	release func()             // of what inflates the body
}

// finish undoes what prepare has done.
func (a *answer) finish() {
	if a.release != nil {
		a.release()
	}
	if a.end != nil {
		a.end()
	}
	a.visit.Leave()
	if a.body != nil {
		a.body.drop()
	}
}

func (a *answer) WriteHeader(status int) {
	a.limited(status)
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.limited(http.StatusOK)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// ReadFrom lets the kernel move an answer from another connection.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.limited(http.StatusOK)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if through, ok := a.ResponseWriter.(io.ReaderFrom); ok {
		return through.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{a.ResponseWriter}, r)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
