package front

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// A GatewayResponse replaces the answers of one type that klamm itself makes, as API
// Gateway's gateway responses do (gateway-policies.md 5.6).
type GatewayResponse struct {
	// Type is such as THROTTLED or UNAUTHORIZED; DEFAULT_4XX and DEFAULT_5XX stand for
	// all of their class that no other entry is about. REQUEST_TOO_LARGE cannot be
	// replaced.
	Type string `yaml:"type"`
	// Status replaces the status of the answer, 100 to 599.
	Status int `yaml:"status"`
	// Headers are added to the answer: 'literal', context.NAME, stageVariables.NAME or
	// method.request.header.NAME.
	Headers map[string]string `yaml:"headers"`
	// Templates are bodies by media type, in which $context.error.messageString,
	// $context.error.message, $context.error.responseType,
	// $context.error.validationErrorString, $context.requestId, $context.stage,
	// $stageVariables.NAME and so on are replaced, and nothing else is done.
	Templates map[string]string `yaml:"templates"`
}

// The types of gateway responses that there are other names for nowhere.
const (
	default4xx      = "DEFAULT_4XX"
	default5xx      = "DEFAULT_5XX"
	requestTooLarge = "REQUEST_TOO_LARGE"

	authorizerFailure = "AUTHORIZER_FAILURE"
)

// The forms of errors, and the answers where there is nothing.
const (
	profileNative    = "native"
	profileAWS       = "aws"
	profileConfluent = "confluent"
	profileProblem   = "problem"

	unknown404 = "404"
	unknownAWS = "aws-403"
)

// responseTypes are all types, with their statuses and names of errors.
var responseTypes = map[string]struct {
	status int
	name   string
}{
	"ACCESS_DENIED":                  {403, "AccessDeniedException"},
	"API_CONFIGURATION_ERROR":        {500, "ApiConfigurationException"},
	"AUTHORIZER_CONFIGURATION_ERROR": {500, "AuthorizerConfigurationException"},
	authorizerFailure:                {500, "AuthorizerFailureException"},
	"BAD_REQUEST_PARAMETERS":         {400, "BadRequestException"},
	"BAD_REQUEST_BODY":               {400, "BadRequestException"},
	default4xx:                       {400, "BadRequestException"},
	default5xx:                       {500, "InternalServerErrorException"},
	"EXPIRED_TOKEN":                  {403, "ExpiredTokenException"},
	"INTEGRATION_FAILURE":            {504, "InternalServerErrorException"},
	"INTEGRATION_TIMEOUT":            {504, "InternalServerErrorException"},
	"INVALID_API_KEY":                {403, "ForbiddenException"},
	"INVALID_SIGNATURE":              {403, "InvalidSignatureException"},
	"MISSING_AUTHENTICATION_TOKEN":   {403, "MissingAuthenticationTokenException"},
	"QUOTA_EXCEEDED":                 {429, "LimitExceededException"},
	requestTooLarge:                  {413, "RequestTooLargeException"},
	"RESOURCE_NOT_FOUND":             {404, "ResourceNotFoundException"},
	"THROTTLED":                      {429, "TooManyRequestsException"},
	"UNAUTHORIZED":                   {401, "UnauthorizedException"},
	"UNSUPPORTED_MEDIA_TYPE":         {415, "BadRequestException"},
	"WAF_FILTERED":                   {403, "ForbiddenException"},
}

// headerMapping is where the value of a header comes from.
var headerMapping = regexp.MustCompile(`^('[^']*'|context\.[A-Za-z0-9_.]+|stageVariables\.[A-Za-z0-9_]+|method\.request\.header\.[A-Za-z0-9-]+)$`)

// Validate reports each problem with the field it lies in.
func (g GatewayResponse) Validate(report func(path, problem string)) {
	if _, ok := responseTypes[g.Type]; !ok {
		report("type", "want one of "+strings.Join(slices.Sorted(maps.Keys(responseTypes)), ", "))
	}
	if g.Type == requestTooLarge {
		report("type", "this type cannot be replaced")
	}
	if g.Status != 0 && (g.Status < 200 || g.Status > 599) {
		report("status", "want a status from 200 to 599")
	}
	for name, from := range g.Headers {
		if !token(name) || !headerMapping.MatchString(from) || strings.ContainsAny(from, "\r\n") {
			report("headers", fmt.Sprintf("%s: want 'literal', context.NAME, stageVariables.NAME or method.request.header.NAME", clipped(name)))
		}
	}
	for media, text := range g.Templates {
		if _, _, err := mime.ParseMediaType(media); err != nil || len(text) > 64<<10 {
			report("templates", fmt.Sprintf("%s: want a media type and up to 64KiB of text", clipped(media)))
		}
	}
}

// A gatewayError is an answer that klamm itself makes, in the terms of API Gateway.
type gatewayError struct {
	kind    string // of responseTypes
	status  int
	name    string // of the error
	message *string
	member  string   // that holds the message
	detail  string   // of what is wrong with a request
	problem *Problem // with more to say in this form; nil: there is none
	fixed   bool     // a rule of the waf section has said which status
	code    int      // of the confluent form; 0: by kind and status
	header  http.Header
	body    []byte // already made; nil: not
}

// gatewayErrorOf finds the type of an error; nil: it was not klamm itself that made
// it, but Kafka or an API.
func (at *staged) gatewayErrorOf(r *http.Request, err error) *gatewayError {
	var mismatch *shape.Mismatch
	var invalid *gate.Invalidity
	var refused *Refusal
	var blocked *Blocked
	var overload *gate.Overloaded
	switch {
	case errors.As(err, &blocked):
		e := gatewayErr("WAF_FILTERED", "Forbidden")
		if blocked.status != 0 {
			e.status, *e.message, e.fixed = blocked.status, http.StatusText(blocked.status), true
		}
		return e
	case errors.As(err, &overload):
		e := gatewayErr(default5xx, "Service Unavailable")
		e.status, e.name, e.code, e.problem = http.StatusServiceUnavailable, "ServiceUnavailableException", 50003, limitProblem(err)
		return e
	case errors.As(err, &mismatch):
		e := gatewayErr(map[shape.Fault]string{
			shape.Parameters: "BAD_REQUEST_PARAMETERS", shape.Body: "BAD_REQUEST_BODY", shape.MediaType: "UNSUPPORTED_MEDIA_TYPE", shape.TooLarge: requestTooLarge,
		}[mismatch.Fault], mismatch.AWS())
		e.detail, e.problem = mismatch.Error(), InvalidProblem(err)
		return e
	case errors.As(err, &invalid):
		e := gatewayErr("BAD_REQUEST_BODY", "Invalid request body")
		e.detail, e.problem = invalid.Error(), InvalidProblem(err)
		return e
	case errors.Is(err, ErrNoRoute), errors.Is(err, ErrMethod):
		return at.unknown(r, err)
	case errors.Is(err, ErrBodyTooLarge):
		return gatewayErr(requestTooLarge, "Request Too Long")
	case errors.Is(err, ErrBackEnd):
		return gatewayErr("INTEGRATION_FAILURE", "Internal server error")
	case errors.Is(err, ErrBackEndTimeout):
		return gatewayErr("INTEGRATION_TIMEOUT", "Endpoint request timed out")
	case errors.As(err, &refused):
		e := refusalType(refused)
		if e.kind == authorizerFailure && at.Errors == profileAWS {
			e.status = http.StatusInternalServerError // elsewhere it is 503: gateway-policies.md 1.8
		}
		return e
	}
	denial := gate.DenialOf(err)
	if denial != nil && gate.Classify(err) == gate.Denied {
		e := gatewayErr("ACCESS_DENIED", denial.Error())
		e.member = "Message"
		return e
	}
	var broker *kerr.Error
	if errors.As(err, &broker) {
		return nil
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return gatewayErr("UNAUTHORIZED", "Unauthorized")
	case gate.Throttled:
		if usedUp(err) {
			return throttledErr("QUOTA_EXCEEDED", "Limit Exceeded", err)
		}
		return throttledErr("THROTTLED", "Too Many Requests", err)
	}
	if status, text, ok := Status(err); ok {
		return plainErr(status, text)
	}
	if at.own != nil && at.own.serve != nil && gate.Classify(err) == gate.Invalid { // there is no API whose error it could be
		e := gatewayErr("BAD_REQUEST_BODY", "Invalid request body")
		e.detail = err.Error()
		return e
	}
	if gate.Classify(err) == gate.Internal && !known(err) {
		return gatewayErr("API_CONFIGURATION_ERROR", "Internal server error")
	}
	return nil
}

// throttledErr is the error of a call that is too much for a limit.
func throttledErr(kind, message string, err error) *gatewayError {
	e := gatewayErr(kind, message)
	e.problem = limitProblem(err)
	return e
}

// limitProblem is the problem of a call that is too much for a limit, or for the
// cluster; nil for any other error.
func limitProblem(err error) *Problem {
	kind, title, violated := LimitType(err)
	if kind == "" {
		return nil
	}
	p := &Problem{Type: kind, Title: title, Status: http.StatusTooManyRequests, Detail: err.Error(), Violated: violated}
	if violated == nil {
		p.Status = http.StatusServiceUnavailable
	}
	return p
}

// plainErr is the error of a request that is answered with a status.
func plainErr(status int, text string) *gatewayError {
	kind := default4xx
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return gatewayErr(requestTooLarge, "Request Too Long")
	case status == http.StatusUnsupportedMediaType:
		kind, text = "UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type"
	case status >= http.StatusInternalServerError:
		kind, text = default5xx, http.StatusText(status)
	}
	e := gatewayErr(kind, text)
	e.status = status
	return e
}

func gatewayErr(kind, message string) *gatewayError {
	t := responseTypes[kind]
	return &gatewayError{kind: kind, status: t.status, name: t.name, message: &message, member: "message"}
}

// unknown is the error where there is nothing. Clients of API Gateway know it by a
// text that depends on the Authorization header (gateway-policies.md 1.3.4).
func (at *staged) unknown(r *http.Request, err error) *gatewayError {
	how := at.UnknownRoute
	if how == "" && at.Errors == profileAWS {
		how = unknownAWS
	}
	if how != unknownAWS {
		e := gatewayErr("RESOURCE_NOT_FOUND", "Not Found")
		if errors.Is(err, ErrMethod) {
			e.status, *e.message = http.StatusMethodNotAllowed, "Method Not Allowed"
		}
		return e
	}
	if values := r.Header["Authorization"]; len(values) > 0 && !signedHeader(values[0]) {
		sum := sha256.Sum256([]byte(values[0]))
		e := gatewayErr("MISSING_AUTHENTICATION_TOKEN", "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"+
			base64.StdEncoding.EncodeToString(sum[:])+"'.")
		e.name = "IncompleteSignatureException"
		return e
	}
	return gatewayErr("MISSING_AUTHENTICATION_TOKEN", "Missing Authentication Token")
}

// signedHeader says whether all items of an Authorization header are key=value.
func signedHeader(value string) bool {
	_, items, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok {
		return false
	}
	for item := range strings.SplitSeq(items, ",") {
		if !strings.Contains(item, "=") {
			return false
		}
	}
	return true
}

// refusalKinds are the types of the refusals that have a name in AWS's APIs.
var refusalKinds = map[string]string{
	"ForbiddenException": "INVALID_API_KEY", "UnauthorizedException": "UNAUTHORIZED", "MissingAuthenticationTokenException": "MISSING_AUTHENTICATION_TOKEN",
	"AccessDeniedException": "ACCESS_DENIED", "ExpiredTokenException": "EXPIRED_TOKEN", "TooManyRequestsException": "THROTTLED", "LimitExceededException": "QUOTA_EXCEEDED",
	"AuthorizerConfigurationException": "AUTHORIZER_CONFIGURATION_ERROR", "AuthorizerFailureException": authorizerFailure, "RequestTooLongException": requestTooLarge,
}

// refusalType finds the type of a refusal.
func refusalType(refused *Refusal) *gatewayError {
	name := refused.Header.Get("X-Amzn-Errortype")
	kind := refusalKinds[name]
	switch {
	case kind != "":
	case name != "" && refused.Status == http.StatusForbidden:
		kind = "INVALID_SIGNATURE"
	case refused.Kind == gate.Unauthenticated:
		kind = "UNAUTHORIZED"
	case refused.Kind == gate.Throttled:
		kind = "THROTTLED"
	case refused.Kind == gate.Denied:
		kind = "ACCESS_DENIED"
	case refused.Kind == gate.TooLarge:
		kind = requestTooLarge
	case refused.Kind == gate.Unavailable:
		kind = default5xx
	default:
		kind = default4xx
	}
	e := gatewayErr(kind, refused.Message)
	e.header, e.body = refused.Header, refused.Body
	switch {
	case refused.Status != 0:
		e.status = refused.Status
	case refused.Kind == gate.Unavailable:
		e.status = http.StatusServiceUnavailable
	case refused.Body == nil && kind == "UNAUTHORIZED":
		*e.message = "Unauthorized"
	}
	if name != "" {
		e.name = name
	}
	return e
}

// refuse answers in the form of the stage, and says so.
func (at *staged) refuse(w http.ResponseWriter, r *http.Request, err error) bool {
	if at == nil || at.stage == nil || len(at.responses) == 0 && (at.Errors == "" || at.Errors == profileNative) && at.UnknownRoute != unknownAWS {
		return false
	}
	e := at.gatewayErrorOf(r, err)
	if e == nil {
		return false
	}
	x := exchangeOf(w)
	if x != nil && at.Errors == profileAWS && e.message != nil {
		x.told = *e.message
	}
	custom := at.custom(e)
	if custom == nil && (at.Errors == "" || at.Errors == profileNative) && e.kind != "MISSING_AUTHENTICATION_TOKEN" {
		return false
	}
	if x != nil {
		x.kind = e.kind
	}
	h := w.Header()
	maps.Copy(h, e.header)
	h["X-Amzn-Errortype"] = []string{e.name}
	nameForAWS(h)
	if e.kind == "BAD_REQUEST_BODY" && at.Errors == profileConfluent {
		e.status = http.StatusUnprocessableEntity // gateway-policies.md 4.5
	}
	media, body := "application/json", e.body
	if body == nil || at.Errors == profileConfluent || at.Errors == profileProblem {
		media, body = at.errorBody(e, x)
	}
	if custom != nil {
		if custom.Status != 0 && !e.fixed {
			e.status = custom.Status
		}
		values := at.values(r, e, h, x)
		for name, from := range custom.Headers {
			h.Set(name, values.header(r, from))
		}
		if m, text, ok := custom.template(r); ok {
			media, body = m, []byte(values.fill(text, m))
		}
	}
	h["Content-Type"] = []string{media}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
	return true
}

// custom is the entry of the configuration that is about an error; nil: there is none.
func (at *staged) custom(e *gatewayError) *GatewayResponse {
	one := at.responses[e.kind]
	if one == nil && e.kind != requestTooLarge {
		one = at.responses[map[int]string{4: default4xx, 5: default5xx}[responseTypes[e.kind].status/100]]
	}
	return one
}

// errorMedia is the media type of a Confluent error: that of the API which was called.
func errorMedia(x *exchange) string {
	if x != nil && x.dialect != nil && x.dialect.ErrorMedia != "" {
		return x.dialect.ErrorMedia
	}
	return "application/json"
}

// errorBody is an answer in the form of the stage.
func (at *staged) errorBody(e *gatewayError, x *exchange) (media string, body []byte) {
	text := ""
	if e.message != nil {
		text = *e.message
	}
	if e.detail != "" && at.Errors != profileAWS {
		text = e.detail
	}
	switch at.Errors {
	case profileConfluent:
		if e.status == http.StatusUnsupportedMediaType || e.kind == "RESOURCE_NOT_FOUND" { // gateway-policies.md 4.6, rest-apis.md 3.1
			text = fmt.Sprintf("HTTP %d %s", e.status, http.StatusText(e.status))
		}
		body, _ = json.Marshal(struct {
			Code    int    `json:"error_code"`
			Message string `json:"message"`
		}{confluentCode(e), text})
		return errorMedia(x), body
	case profileProblem:
		if p := e.problem; p != nil {
			p.Status = e.status
			body, _ = json.Marshal(p)
			return "application/problem+json", body
		}
		body, _ = json.Marshal(Problem{Type: "about:blank", Title: http.StatusText(e.status), Status: e.status, Detail: text})
		return "application/problem+json", body
	}
	body, _ = json.Marshal(map[string]*string{e.member: e.message})
	return "application/json", body
}

func confluentCode(e *gatewayError) int {
	switch {
	case e.code != 0:
		return e.code
	case e.status == http.StatusUnauthorized:
		return 40101
	case e.status == http.StatusForbidden:
		return 40301
	case e.kind == "BAD_REQUEST_BODY":
		return 42206
	}
	return e.status
}

// template chooses the body that the client accepts most; JSON where it says nothing,
// accepts none, or likes several alike (gateway-policies.md 4.6, 5.6).
func (g *GatewayResponse) template(r *http.Request) (media, text string, ok bool) {
	if len(g.Templates) == 0 {
		return "", "", false
	}
	offers := slices.Sorted(maps.Keys(g.Templates))
	if i := slices.Index(offers, "application/json"); i > 0 {
		offers = slices.Insert(slices.Delete(offers, i, i+1), 0, "application/json")
	}
	media = offers[0]
	if i := ParseAccept(r.Header["Accept"]).Preferred(offers); i >= 0 {
		media = offers[i]
	}
	return media, g.Templates[media], true
}

// gatewayValues are what templates and headers may name.
type gatewayValues struct {
	context   map[string]string
	variables map[string]string
}

func (at *staged) values(r *http.Request, e *gatewayError, said http.Header, x *exchange) gatewayValues {
	message, quoted := "null", []byte("null")
	if e.message != nil {
		message = *e.message
		quoted, _ = json.Marshal(message)
	}
	values := map[string]string{
		"error.message": message, "error.messageString": string(quoted), "error.responseType": e.kind, "error.validationErrorString": e.detail,
		"requestId": said.Get("X-Request-Id"), "extendedRequestId": said.Get("X-Amz-Apigw-Id"), "stage": at.Name, "httpMethod": r.Method, "path": r.URL.Path, "protocol": r.Proto, "domainName": r.Host,
		"identity.sourceIp": hostOf(r.RemoteAddr), "identity.userAgent": r.UserAgent(),
	}
	if x != nil { // everything else that the access log knows as well
		entry := x.entry()
		for _, name := range contextNames(at, e) {
			if _, own := values[name]; !own {
				values[name] = accesslog.Value(name, entry)
			}
		}
		values["path"], values["extendedRequestId"], values["identity.sourceIp"] = entry.Path, entry.ExtendedID, entry.Identity.Source
	}
	return gatewayValues{variables: at.variables, context: values}
}

// contextNames are the variables that a gateway response names behind context.
func contextNames(at *staged, e *gatewayError) (names []string) {
	custom := at.custom(e)
	if custom == nil {
		return nil
	}
	for _, from := range custom.Headers {
		if name, ok := strings.CutPrefix(from, "context."); ok {
			names = append(names, name)
		}
	}
	for _, text := range custom.Templates {
		for _, m := range inTemplate.FindAllStringSubmatch(text, -1) {
			if m[2] == "context" {
				names = append(names, m[3])
			}
		}
	}
	return names
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return strings.Trim(addr[:i], "[]")
	}
	return addr
}

// header returns the value of a header.
func (v gatewayValues) header(r *http.Request, from string) string {
	text := strings.Trim(from, "'")
	switch {
	case strings.HasPrefix(from, "'"):
	case strings.HasPrefix(from, "context."):
		text = v.context[from[len("context."):]]
	case strings.HasPrefix(from, "stageVariables."):
		text = v.variables[from[len("stageVariables."):]]
	default:
		text = r.Header.Get(from[len("method.request.header."):])
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, text)
}

// inTemplate finds the variables of a template.
var inTemplate = regexp.MustCompile(`\$(\{)?(context|stageVariables)\.([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\}?`)

// fill replaces variables, written so that they cannot end the text that they stand
// in.
func (v gatewayValues) fill(template, media string) string {
	return inTemplate.ReplaceAllStringFunc(template, func(m string) string {
		parts := inTemplate.FindStringSubmatch(m)
		rest := ""
		if parts[1] == "" && strings.HasSuffix(m, "}") {
			rest = "}"
		}
		text := v.variables[parts[3]]
		if parts[2] == "context" {
			text = v.context[parts[3]]
		}
		if parts[3] == "error.messageString" && parts[2] == "context" {
			return text + rest
		}
		switch {
		case strings.Contains(media, "json"):
			quoted, _ := json.Marshal(text)
			text = string(quoted[1 : len(quoted)-1])
		case strings.Contains(media, "xml"), strings.Contains(media, "html"):
			text = html.EscapeString(text)
		}
		return text + rest
	})
}
