package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
	"github.com/klamm-gateway/klamm/trace"
)

// A Tracing says what becomes of traces.
type Tracing struct {
	// Tracer makes the spans; nil: there are none.
	Tracer *trace.Tracer
	// Propagate puts the trace of a request into the headers of the records that it
	// writes.
	Propagate bool
}

// An exchange is one request with its answer, from the first look at it to the last
// byte: what the access log and traces tell. It stands in for the connection's
// ResponseWriter, below everything else, and compresses what is written.
type exchange struct {
	http.ResponseWriter
	server    *Server
	request   *http.Request // as it came
	conn      *framedConn   // that it came over; nil: nobody looks at that
	path      string        // as it came: routing changes the request's
	start     time.Time
	id, own   string // own is the id that the client cannot choose
	idField   [1]string
	status    int
	sent      int64
	dialect   *Dialect        // nil: none was found
	route     *Route          // nil: none was found
	who       *gate.Principal // the answer's; nil: nobody was asked
	known     bool            // who is
	err       error
	waf       accesslog.Step
	stage     string // "": the default one
	bodyLimit int64  // of a body of unknown length; 0: none but sizes.body
	wafRule   string
	cached    string  // hit or miss; "": the answer may not be kept
	at        *staged // nil: in no stage
	told      string  // the message of an answer in the form of API Gateway; "": it has another
	kind      string  // the type of an answer in the form of a stage (responseTypes); "": it has another
	auth      accesslog.Step
	span      *trace.Span
	context   trace.Context
	trail     *gate.Trail // nil: nobody wants to know
	compress  compression
	opened    bool
	step      int // of gateway-policies.md 0 that it has reached; 0: it has no route
}

// begin begins the exchange of a request; end has to be called. The request that it
// returns carries the trace.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) (*exchange, *http.Request) {
	x := &exchange{ResponseWriter: w, server: s, request: r, conn: framedOf(r), path: r.URL.EscapedPath(), start: time.Now(), own: requestID()}
	x.id = x.own
	if s.cfg.TrustRequestID {
		if id := clientID(r.Header); id != "" {
			x.id = id
		}
	}
	x.idField[0] = x.id
	w.Header()["X-Request-Id"] = x.idField[:]
	x.compress.begin(s, r)
	if t := s.cfg.Tracing; t.Tracer != nil || t.Propagate {
		r = x.trace(r)
	}
	if s.cfg.AccessLog != nil && x.trail == nil {
		x.trail = &gate.Trail{}
	}
	return x, r
}

// trace joins the trace that a request comes with, or begins one.
func (x *exchange) trace(r *http.Request) *http.Request {
	// The method is a client's text; a span's name is one of few.
	x.span, x.context = x.server.cfg.Tracing.Tracer.Start(traceOf(r.Header), "HTTP", trace.Server)
	if !x.context.Valid() {
		return r
	}
	x.trail = &gate.Trail{}
	if x.server.cfg.Tracing.Propagate {
		x.trail.Traceparent, x.trail.Tracestate = x.context.Traceparent(), x.context.State
	}
	if r.Header.Get("X-Amzn-Trace-Id") != "" {
		x.Header().Set("X-Amzn-Trace-Id", x.context.XRay())
	}
	return r.WithContext(trace.With(r.Context(), x.context))
}

// traceOf is the trace that a request names; not valid: it names none.
func traceOf(h http.Header) trace.Context {
	named := trace.Parse(h.Get("Traceparent"), strings.Join(h["Tracestate"], ","))
	if xray := h.Get("X-Amzn-Trace-Id"); !named.Valid() && xray != "" {
		named = trace.ParseXRay(xray)
	}
	return named
}

// exchangeOf finds the exchange of an answer; nil if w is none of a server's.
func exchangeOf(w http.ResponseWriter) *exchange {
	for {
		switch a := w.(type) {
		case *exchange:
			return a
		case interface{ Unwrap() http.ResponseWriter }:
			w = a.Unwrap()
		default:
			return nil
		}
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if status >= 200 && x.status == 0 {
		x.status = status
		x.compress.header(x, status)
		x.open()
		if x.compress.waiting {
			return // until it is known how much there is
		}
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write compresses and counts.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.compress.active() {
		return x.compress.write(x, b)
	}
	return x.pass(b)
}

// ReadFrom lets the kernel move an answer from another connection.
func (x *exchange) ReadFrom(r io.Reader) (int64, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	through, ok := x.ResponseWriter.(io.ReaderFrom)
	if !ok || x.compress.active() {
		return io.Copy(struct{ io.Writer }{x}, r)
	}
	n, err := through.ReadFrom(r)
	x.sent += n
	return n, err
}

// pass writes to the connection.
func (x *exchange) pass(b []byte) (int, error) {
	n, err := x.ResponseWriter.Write(b)
	x.sent += int64(n)
	return n, err
}

// FlushError sends what there is.
func (x *exchange) FlushError() error {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.compress.active() {
		if err := x.compress.flush(x); err != nil {
			return err
		}
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Flush is for those who do not ask for an error.
func (x *exchange) Flush() { _ = x.FlushError() }

// Hijack gives the connection away; what goes over it is not counted.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil {
		x.status = http.StatusSwitchingProtocols
		x.open()
	}
	return conn, rw, err
}

// serves notes which operation it is.
func (x *exchange) serves(d *Dialect, route *Route) {
	if x != nil {
		x.dialect, x.route = d, route
	}
}

// within notes the stage of the request. Answers of one that is as API Gateway's have its
// ids (gateway-policies.md 5.8).
func (x *exchange) within(r *http.Request) {
	if x.stage = StageOf(r); x.stage == "" {
		return
	}
	if x.at = stagedOf(r); x.at.Errors == profileAWS {
		nameForAWS(x.Header())
	}
}

// canary says whether a stage's canary has the request, once that is decided; empty: there
// is none.
func (x *exchange) canary() string {
	if x.at == nil || x.at.stage.Canary == nil {
		return ""
	}
	return strconv.FormatBool(x.at.canary)
}

// bound makes a body of unknown length end where a rule says.
func (x *exchange) bound(b *body) {
	if x != nil && x.bodyLimit > 0 && x.bodyLimit < b.limit {
		b.limit = x.bodyLimit
	}
}

// entered notes who is calling, or why that is not known. What is noted later on in who
// counts too.
func (x *exchange) entered(who *gate.Principal, err error, took time.Duration) {
	if x == nil || x.route != nil && x.route.Public {
		return
	}
	x.who, x.known = who, err == nil
	x.auth = accesslog.Step{Status: http.StatusOK, Latency: took}
	if err != nil {
		x.auth.Status, x.auth.Error = http.StatusUnauthorized, reasonOf(err)
	}
}

// failed notes why a request is not served.
func (x *exchange) failed(d *Dialect, err error) {
	if x == nil {
		return
	}
	x.err = err
	if x.dialect == nil {
		x.dialect = d
	}
}

// trailOf is what the calls of a request write their trail on; nil if nobody wants
// to know.
func trailOf(w http.ResponseWriter) *gate.Trail {
	if x := exchangeOf(w); x != nil {
		return x.trail
	}
	return nil
}

// open counts and logs that an answer without an end begins.
func (x *exchange) open() {
	if x.opened || x.route == nil || !x.route.Streams || x.status >= 300 {
		return
	}
	x.opened = true
	x.server.cfg.Metrics.edge.streams.WithLabelValues(x.route.Name).Inc()
	if l := x.server.cfg.AccessLog; l != nil {
		e := x.entry()
		e.Event = "open"
		l.Write(e)
	}
}

// end ends the exchange: the answer is complete, or its connection cut.
func (x *exchange) end() {
	panicked := recover()
	x.conn.nextHeader()
	if panicked == nil {
		x.compress.end(x)
	}
	took := time.Since(x.start)
	if x.opened {
		x.server.cfg.Metrics.edge.streams.WithLabelValues(x.route.Name).Dec()
	}
	x.server.cfg.Metrics.edge.observe(x, took)
	x.server.cfg.Recent.note(x, took)
	if l := x.server.cfg.AccessLog; l != nil {
		e := x.entry()
		if x.opened {
			e.Event = "close"
		}
		l.Write(e)
	}
	if x.span != nil {
		x.endSpan()
	}
	if panicked != nil {
		panic(panicked) // net/http cuts the connection
	}
}

// endSpan tells what the span is about.
func (x *exchange) endSpan() {
	name, pattern := methodLabel(x.request.Method), x.pattern()
	if pattern != "" {
		name += " " + pattern
		x.span.Set(trace.Text("http.route", pattern))
	}
	x.span.Rename(name)
	x.span.Set(trace.Text("http.request.method", methodLabel(x.request.Method)), trace.Text("url.path", x.path), trace.Int("http.response.status_code", int64(x.status)),
		trace.Text("client.address", x.server.sourceOf(x.request)), trace.Text("klamm.request_id", x.id))
	if x.dialect != nil {
		x.span.Set(trace.Text("klamm.dialect", x.dialect.Name))
	}
	if x.known && x.who.Name != "" {
		x.span.Set(trace.Text("enduser.id", x.who.Name))
	}
	if x.status >= 500 || x.status == 0 {
		x.span.Fail(http.StatusText(x.status))
	}
	if d := x.trail.Deed(); d.Calls > 0 {
		child := x.span.Child("send "+d.Topic, trace.Producer, d.Begun, d.Took)
		child.Set(trace.Text("messaging.system", "kafka"), trace.Text("messaging.operation.type", "send"), trace.Text("messaging.destination.name", d.Topic), trace.Int("messaging.batch.message_count", int64(d.Records)))
		if d.Error != "" {
			child.Fail(d.Error)
		}
		child.End()
	}
	x.span.End()
}

// pattern is the path of the route's pattern.
func (x *exchange) pattern() string {
	if x.route == nil {
		return ""
	}
	if _, path, ok := strings.Cut(x.route.Pattern, " "); ok {
		return path
	}
	return x.route.Pattern
}

// entry is what the access log tells.
func (x *exchange) entry() *accesslog.Entry {
	r := x.request
	e := &accesslog.Entry{
		Event: "request", RequestID: x.id, ExtendedID: x.own, Account: x.server.cfg.Account, API: "klamm", Stage: gate.DefaultStage, Method: r.Method, Path: x.path,
		Query: r.URL.RawQuery, Protocol: r.Proto, Pattern: x.pattern(), Time: x.start, Latency: time.Since(x.start), Status: x.status, Sent: x.sent,
		WAF: x.waf, WAFRule: x.wafRule, Authenticate: x.auth,
	}
	e.Domain = r.Host
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		e.Domain = host
	}
	if x.dialect != nil {
		e.Dialect = x.dialect.Name
	}
	if x.route != nil {
		e.Route = x.route.Name
	}
	if r.ContentLength > 0 {
		e.Received = r.ContentLength
	}
	context := x.context
	if !context.Valid() { // nobody follows it here, and its client does
		context = traceOf(r.Header)
	}
	if context.Valid() {
		e.TraceID = context.TraceID()
	}
	if x.stage != "" {
		e.Stage = x.stage
	}
	if named := x.Header().Get("X-Amz-Apigw-Id"); named != "" {
		e.ExtendedID = named
	}
	e.Canary, e.Cache = x.canary(), x.cached
	x.identity(e)
	x.deed(e)
	x.outcome(e)
	// The limit that was nearest stands in the answer (gateway-policies.md 3.5).
	e.LimitRule, e.LimitLeft = nearestLimit(x.Header().Get("Ratelimit"))
	if r.TLS != nil {
		e.TLS = accesslog.TLS{Version: tls.VersionName(r.TLS.Version), Cipher: tls.CipherSuiteName(r.TLS.CipherSuite), SNI: r.TLS.ServerName}
	}
	return e
}

// identity tells who has called.
func (x *exchange) identity(e *accesslog.Entry) {
	id := &e.Identity
	id.Source, id.UserAgent = x.server.sourceOf(x.request), x.request.UserAgent()
	if !x.known {
		return
	}
	who := x.who
	id.Name, id.Scheme, id.ARN, id.APIKeyID, id.Claims, id.Context = who.Name, who.Scheme, who.ARN, who.KeyID, who.Claims, who.Context
	if who.Source.IsValid() {
		id.Source = who.Source.String()
	}
	if who.ARN != "" {
		id.User, id.Caller, id.Account = who.Name, who.Name, who.AccountID
		if id.Account == "" {
			id.Account = x.server.cfg.Account
		}
	}
	if c := who.Certificate; c != nil {
		id.Certificate = &accesslog.Certificate{Subject: c.SubjectDN, Issuer: c.IssuerDN, Serial: c.Serial, NotBefore: c.NotBefore, NotAfter: c.NotAfter, PEM: x.certificate}
	}
}

// certificate is the client's, on one line.
func (x *exchange) certificate() string {
	if x.request.TLS == nil || len(x.request.TLS.PeerCertificates) == 0 {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.request.TLS.PeerCertificates[0].Raw}))
}

// deed tells what was done to Kafka.
func (x *exchange) deed(e *accesslog.Entry) {
	d := x.trail.Deed()
	e.Kafka = accesslog.Kafka{Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Placed: d.Placed, Records: d.Records, Bytes: d.Bytes, Called: d.Calls > 0, Latency: d.Took, Error: d.Error}
	e.Decision, e.Statement = d.Decision, d.Statement
	if e.Kafka.Called {
		e.Kafka.Cluster = "klamm"
	}
	if d.Decision != "" {
		e.Authorize = accesslog.Step{Status: http.StatusOK}
		if d.Decision != "allow" {
			e.Authorize = accesslog.Step{Status: http.StatusForbidden, Error: "denied"}
		}
	}
}

// outcome tells why a request was not served.
func (x *exchange) outcome(e *accesslog.Entry) {
	if x.err == nil {
		return
	}
	e.Error.Type = x.errorType()
	var refused *Refusal
	switch {
	case x.told != "":
		e.Error.Message = x.told
	case x.status >= 500:
	case errors.As(x.err, &refused):
		e.Error.Message = refused.Message
	default:
		e.Error.Message = x.err.Error()
	}
	if e.Error.Type == "BAD_REQUEST_BODY" || e.Error.Type == "BAD_REQUEST_PARAMETERS" {
		e.Error.Validation = x.err.Error()
	}
}

// errorType names the error of the exchange as API Gateway does. The status tells nothing
// where the configuration has given the answer another one.
func (x *exchange) errorType() string {
	if x.kind != "" {
		return x.kind
	}
	return responseType(x.err, x.status)
}

// responseType names an error as API Gateway does (gateway-policies.md 5.6).
func responseType(err error, status int) string {
	var blocked *Blocked
	var refused *Refusal
	var wrong *shape.Mismatch
	switch {
	case errors.As(err, &blocked):
		return "WAF_FILTERED"
	case errors.As(err, &refused):
		return refusalType(refused).kind
	case errors.As(err, &wrong) && wrong.Fault == shape.Parameters:
		return "BAD_REQUEST_PARAMETERS"
	case usedUp(err):
		return "QUOTA_EXCEEDED"
	case errors.Is(err, ErrNoRoute) && status == http.StatusForbidden:
		return "MISSING_AUTHENTICATION_TOKEN"
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "BAD_REQUEST_BODY"
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "ACCESS_DENIED"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "RESOURCE_NOT_FOUND"
	case http.StatusRequestEntityTooLarge:
		return "REQUEST_TOO_LARGE"
	case http.StatusUnsupportedMediaType:
		return "UNSUPPORTED_MEDIA_TYPE"
	case http.StatusTooManyRequests:
		return "THROTTLED"
	case http.StatusGatewayTimeout:
		return "INTEGRATION_TIMEOUT"
	}
	if status < 500 {
		return "DEFAULT_4XX"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "INTEGRATION_TIMEOUT"
	}
	return "INTEGRATION_FAILURE"
}

// nearestLimit reads the first member of a RateLimit field, as in "rule";r=5;t=1.
func nearestLimit(field string) (rule, left string) {
	if field == "" {
		return "", ""
	}
	member, _, _ := strings.Cut(field, ",")
	parts := strings.Split(member, ";")
	for _, p := range parts[1:] {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "r="); ok {
			left = v
		}
	}
	return strings.Trim(strings.TrimSpace(parts[0]), `"`), left
}

// methodLabel is a method as a label: one of few.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "OTHER"
}
