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
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// Sizes is the sizes section of the configuration file.
type Sizes struct {
	// Body is the largest request body; the default is 64MiB.
	Body int64 `yaml:"body" unit:"bytes"`
	// InFlight bounds all request bodies together; the default is 256MiB.
	InFlight int64 `yaml:"in_flight" unit:"bytes"`
}

// Validate reports each problem with the field it lies in.
func (s Sizes) Validate(report func(path, problem string)) {
	if s.Body < 0 || s.Body > 1<<30 {
		report("body", "want a size up to 1GiB")
	}
	if s.InFlight < 0 || s.InFlight != 0 && s.InFlight < max(s.Body, 1<<20) {
		report("in_flight", "want at least the size of one body")
	}
}

// A Config says how a server behaves.
type Config struct {
	Sizes          Sizes
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
	// Claims keeps the answers to requests with an Idempotency-Key; without it
	// the header means nothing.
	Claims  *gate.Claims
	Metrics *Metrics // required
	Log     *slog.Logger
}

// A Server answers HTTP requests in all its dialects.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	prefixes []prefix
	budget   budget
	http     *http.Server
	closing  context.Context // ends when Shutdown begins
	close    func()
	hijacked hijacked
	cors     *cors // nil: there are no pages
}

type prefix struct {
	path    string
	dialect *Dialect
}

// New returns a server for the dialects. Two dialects that claim the same
// pattern are a mistake in the program, and New panics.
func New(cfg Config) *Server {
	if cfg.Sizes.Body == 0 {
		cfg.Sizes.Body = 64 << 20
	}
	if cfg.Sizes.InFlight == 0 {
		cfg.Sizes.InFlight = 256 << 20
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), budget: budget{limit: cfg.Sizes.InFlight}}
	s.closing, s.close = context.WithCancel(context.Background())
	s.cors = newCORS(cfg.CORS, len(cfg.Authenticators) > 0)
	for i := range cfg.Dialects {
		d := &cfg.Dialects[i]
		for _, route := range d.Routes {
			s.mux.Handle(route.Pattern, s.operation(d, route))
		}
		for _, p := range d.Prefixes {
			s.prefixes = append(s.prefixes, prefix{p, d})
		}
	}
	sort.SliceStable(s.prefixes, func(i, j int) bool { return len(s.prefixes[i].path) > len(s.prefixes[j].path) })
	s.mux.HandleFunc("/", s.unrouted)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	if cfg.H2C {
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
		s.http.Protocols.SetUnencryptedHTTP2(true)
	}
	return s
}

// Serve answers requests on l until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
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
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tellKeepAlive(w, r)
	if s.cors.serve(w, r) {
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

// operation stands around one handler.
func (s *Server) operation(d *Dialect, route Route) http.Handler {
	observe := s.cfg.Metrics.route(d.Name, route.Name)
	serve := s.repeatable(d, route)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a := &answer{ResponseWriter: w, server: s}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.cfg.Log.Error("handler panicked", "route", route.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.fail(a, r, d, errors.New("panic"))
			}
			observe(a.status, time.Since(start))
		}()
		var own *body
		if r.ContentLength != 0 {
			own = &body{ReadCloser: r.Body, limit: s.cfg.Sizes.Body, budget: &s.budget, control: http.NewResponseController(w), length: r.ContentLength, closing: s.closing}
			r.Body = own
			defer own.drop()
		}
		who, err := gate.Principal{}, error(nil)
		if !route.Public {
			who, err = s.authenticate(r)
		}
		who, err = s.enter(a, r, route, who, err)
		if own != nil && r.Body != own { // an authenticator looks on while it is read
			watched := *own
			watched.ReadCloser, watched.held = r.Body, nil
			r.Body = &watched
		}
		if err == nil {
			if route.Streams && !who.Expires.IsZero() {
				ctx, end := context.WithDeadline(r.Context(), who.Expires)
				defer end()
				r = r.WithContext(ctx)
			}
			err = serve(a, r, who)
		}
		if err != nil {
			s.fail(a, r, d, err)
		}
	})
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
		if who, err = gate.Anonymous, nil; !s.cfg.Anonymous {
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
	s.report(r, err)
	spareUpload(w, r)
	refused := errors.Is(err, ErrBodyTooLarge) || errors.Is(err, ErrBusy) || errors.Is(err, ErrBodyTimeout)
	if refused {
		w.Header().Set("Connection", "close") // the rest of the body is not worked on
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	if !refuse(w, err) {
		d.WriteError(w, r, err)
	}
	if refused {
		drain(r)
	}
}

// report puts an error into the log that the client is not told.
func (s *Server) report(r *http.Request, err error) {
	if gate.Classify(err) == gate.Internal && !known(err) {
		s.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
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
	_, _ = io.CopyN(io.Discard, b.ReadCloser, drainBytes)
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
	for _, e := range []error{ErrNoRoute, ErrMethod, ErrBodyTooLarge, ErrBodyTimeout, ErrBusy, io.ErrUnexpectedEOF} {
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
	d := s.dialectOf(r.URL.Path)
	a := &answer{ResponseWriter: w, server: s}
	start := time.Now()
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(a, r, d, ErrMethod)
	} else {
		s.fail(a, r, d, ErrNoRoute)
	}
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
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
