package front

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/shape"
)

// stagedServer serves a dialect that says in which stage and for which path it was
// called, an own one beside it, and one by which klamm is operated.
func stagedServer(t *testing.T, edge Edge, changes ...func(*Config)) *Server {
	t.Helper()
	said := func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		data, release, err := ReadBody(r)
		if err != nil {
			return err
		}
		defer release()
		which := ""
		if at := stagedOf(r); at != nil && at.canary {
			which = " canary"
		}
		_, err = fmt.Fprintf(w, "%s %s%s %s?%s %s%s", StageOf(r), who.TopicPrefix, r.PathValue("t"), r.URL.EscapedPath(), r.URL.RawQuery, data, which)
		return err
	}
	failing := func(_ http.ResponseWriter, r *http.Request, _ gate.Principal) error {
		switch r.PathValue("how") {
		case "throttled":
			return &gate.Error{Kind: gate.Throttled, Message: "slower"}
		case "nobody":
			return &gate.Error{Kind: gate.Unauthenticated, Message: "who"}
		case "key":
			text := "Forbidden"
			return RefuseAWS(gate.Denied, http.StatusForbidden, "ForbiddenException", "message", &text)
		case "late":
			return ErrBackEndTimeout
		case "busy":
			return fmt.Errorf("produce: %w", &gate.Overloaded{Wait: 3 * time.Second})
		case "limited":
			return &gate.Limited{Limit: "per-device", Wait: time.Second}
		case "used":
			return &gate.Limited{Limit: "bronze", Quota: true, Wait: time.Second}
		case "blocked":
			return &Blocked{Rule: "ua"}
		case "big":
			return &Blocked{Rule: "big", status: http.StatusRequestEntityTooLarge}
		case "encoded":
			return &RepeatError{http.StatusUnsupportedMediaType, "what is br"}
		case "body":
			return &shape.Mismatch{Fault: shape.Body, Entries: []shape.Entry{{Violation: schema.Violation{Pointer: "#/device", Keyword: "required", Detail: "is missing"}}}}
		}
		return fmt.Errorf("%s", "an inside that nobody must see")
	}
	write := func(name string) func(http.ResponseWriter, *http.Request, error) {
		return func(w http.ResponseWriter, _ *http.Request, err error) {
			status, text, ok := Status(err)
			if !ok {
				status, text = http.StatusTeapot, "native"
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, name+" "+text)
		}
	}
	main := Dialect{Name: "main", Prefixes: []string{"/"}, WriteError: write("main"), Routes: []Route{
		{Name: "topic", Pattern: "GET /topics/{t}", Serve: said}, {Name: "produce", Pattern: "POST /topics/{t}", Serve: said}, {Name: "fail", Pattern: "GET /fail/{how}", Serve: failing},
	}}
	operation := Dialect{Name: "operation", Prefixes: []string{"/healthy"}, WriteError: write("operation"), Unstaged: true, Routes: []Route{{Name: "healthy", Pattern: "GET /healthy", Serve: said, Public: true}}}
	cfg := Config{Dialects: []Dialect{main, operation}, Anonymous: true, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&cfg)
	}
	s := New(cfg)
	if err := s.Reshape(edge); err != nil {
		t.Fatal(err)
	}
	return s
}

func askStaged(s *Server, method, url, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestStagesAreFoundByPathAndHost(t *testing.T) {
	no := false
	three := []Stage{
		{Name: "dev", Variables: map[string]string{"p": "d-"}, TopicPrefix: "${stage.p}"}, {Name: "prod", TopicPrefix: "p-"},
		{Name: "shop", Hosts: []string{"shop.example", "*.shop.example"}, TopicPrefix: "s-"},
	}
	tests := []struct {
		name   string
		stages []Stage
		url    string
		status int
		want   string
	}{
		{"by path", three, "http://x/dev/topics/t?a=1", 200, "dev d-t /topics/t?a=1 "},
		{"another", three, "http://x/prod/topics/t", 200, "prod p-t /topics/t? "},
		{"encoded", three, "http://x/prod/topics/a%2Fb", 200, "prod p-a/b /topics/a%2Fb? "},
		{"by host", three, "http://Shop.Example:8082/topics/t", 200, "shop s-t /topics/t? "},
		{"by host, one label below", three, "http://eu.shop.example/topics/t", 200, "shop s-t /topics/t? "},
		{"two labels below", three, "http://a.eu.shop.example/topics/t", 404, "main There is nothing at this path."},
		{"host does not name others", three, "http://shop.example/dev/topics/t", 404, "main There is nothing at this path."},
		{"none", three, "http://x/topics/t", 404, "main There is nothing at this path."},
		{"unknown", three, "http://x/nope/topics/t", 404, "main There is nothing at this path."},
		{"other case", three, "http://x/DEV/topics/t", 404, "main There is nothing at this path."},
		{"encoded name", three, "http://x/dev%2F..%2Fprod/topics/t", 404, "main There is nothing at this path."},
		{"dots", three, "http://x/dev/../prod/topics/t", 404, "main There is nothing at this path."},
		{"twice", three, "http://x/dev/prod/topics/t", 404, "main There is nothing at this path."},
		{"stage alone", three, "http://x/dev", 404, "main There is nothing at this path."},
		{"operation", three, "http://x/healthy", 200, "  /healthy? "},
		{"one stage needs no name", []Stage{{Name: "v1", TopicPrefix: "v-"}}, "http://x/topics/t", 200, "v1 v-t /topics/t? "},
		{"the rest", append(three[:2:2], Stage{Name: "rest", Prefix: &no, TopicPrefix: "r-"}), "http://x/topics/t", 200, "rest r-t /topics/t? "},
		{"no stages", nil, "http://x/topics/t", 200, " t /topics/t? "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := askStaged(stagedServer(t, Edge{Stages: tt.stages}), "GET", tt.url, "")
			if got.Code != tt.status || got.Body.String() != tt.want {
				t.Errorf("got %d %q, want %d %q", got.Code, got.Body, tt.status, tt.want)
			}
		})
	}
}

func TestErrorsInTheFormOfTheStage(t *testing.T) {
	responses := []GatewayResponse{
		{Type: "THROTTLED", Status: 420, Headers: map[string]string{"X-A": "'a'", "X-B": "context.stage", "X-C": "stageVariables.v", "X-D": "method.request.header.X-In"},
			Templates: map[string]string{"application/json": `{"m":$context.error.messageString,"t":"$context.error.responseType","v":"$stageVariables.v"}`}},
		{Type: "DEFAULT_4XX", Status: 444},
	}
	s := stagedServer(t, Edge{Stages: []Stage{
		{Name: "aws", Errors: "aws"}, {Name: "confluent", Errors: "confluent"}, {Name: "problem", Errors: "problem"}, {Name: "native"},
		{Name: "own", Variables: map[string]string{"v": `"quoted"`}, GatewayResponses: responses}, {Name: "hidden", UnknownRoute: "aws-403"},
		{Name: "walled", GatewayResponses: []GatewayResponse{{Type: "WAF_FILTERED", Status: 418, Templates: map[string]string{"application/json": `{"t":"$context.error.responseType","r":"$context.routeKey"}`}}}},
	}})
	tests := []struct {
		path   string
		header []string
		status int
		body   string
		kind   string // of the error
	}{
		{"/aws/nope", nil, 403, `{"message":"Missing Authentication Token"}`, "MissingAuthenticationTokenException"},
		{"/aws/nope", []string{"Authorization", "Bearer abc"}, 403, `{"message":"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY='."}`, "IncompleteSignatureException"},
		{"/aws/fail/throttled", nil, 429, `{"message":"Too Many Requests"}`, "TooManyRequestsException"},
		{"/aws/fail/nobody", nil, 401, `{"message":"Unauthorized"}`, "UnauthorizedException"},
		{"/aws/fail/key", nil, 403, `{"message":"Forbidden"}`, "ForbiddenException"},
		{"/aws/fail/late", nil, 504, `{"message":"Endpoint request timed out"}`, "InternalServerErrorException"},
		{"/aws/fail/inside", nil, 500, `{"message":"Internal server error"}`, "ApiConfigurationException"},
		{"/aws/fail/busy", nil, 503, `{"message":"Service Unavailable"}`, "ServiceUnavailableException"},
		{"/aws/fail/limited", nil, 429, `{"message":"Too Many Requests"}`, "TooManyRequestsException"},
		{"/aws/fail/used", nil, 429, `{"message":"Limit Exceeded"}`, "LimitExceededException"},
		{"/aws/fail/blocked", nil, 403, `{"message":"Forbidden"}`, "ForbiddenException"},
		{"/aws/fail/big", nil, 413, `{"message":"Request Entity Too Large"}`, "ForbiddenException"},
		{"/aws/fail/encoded", nil, 415, `{"message":"Unsupported Media Type"}`, "BadRequestException"},
		{"/aws/fail/body", nil, 400, `{"message":"Invalid request body"}`, "BadRequestException"},
		{"/confluent/fail/body", nil, 422, `{"error_code":42206,"message":"1 problem in the body: #/device: is missing (required)"}`, "BadRequestException"},
		{"/confluent/fail/encoded", nil, 415, `{"error_code":415,"message":"HTTP 415 Unsupported Media Type"}`, "BadRequestException"},
		{"/confluent/fail/busy", nil, 503, `{"error_code":50003,"message":"Service Unavailable"}`, "ServiceUnavailableException"},
		{"/problem/fail/limited", nil, 429, `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,"detail":"","violated-policies":["per-device"]}`, "TooManyRequestsException"},
		{"/problem/fail/busy", nil, 503, `{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Service Unavailable","status":503,"detail":"produce: "}`, "ServiceUnavailableException"},
		{"/walled/fail/blocked", nil, 418, `{"t":"WAF_FILTERED","r":"GET /fail/{how}"}`, "ForbiddenException"},
		{"/walled/fail/big", nil, 413, `{"t":"WAF_FILTERED","r":"GET /fail/{how}"}`, "ForbiddenException"},
		{"/confluent/fail/nobody", nil, 401, `{"error_code":40101,"message":"Unauthorized"}`, "UnauthorizedException"},
		{"/confluent/fail/key", nil, 403, `{"error_code":40301,"message":"Forbidden"}`, "ForbiddenException"},
		{"/problem/fail/key", nil, 403, `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Forbidden"}`, "ForbiddenException"},
		{"/confluent/nope", nil, 404, `{"error_code":404,"message":"HTTP 404 Not Found"}`, "ResourceNotFoundException"},
		{"/problem/fail/throttled", nil, 429, `{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Too Many Requests"}`, "TooManyRequestsException"},
		{"/native/fail/throttled", nil, 418, `main native`, ""},
		{"/native/nope", nil, 404, `main There is nothing at this path.`, ""},
		{"/own/fail/throttled", []string{"X-In", "in"}, 420, `{"m":"Too Many Requests","t":"THROTTLED","v":"\"quoted\""}`, "TooManyRequestsException"},
		{"/own/fail/nobody", nil, 444, `{"message":"Unauthorized"}`, "UnauthorizedException"},
		{"/own/fail/inside", nil, 418, `main native`, ""},
		{"/hidden/nope", nil, 403, `{"message":"Missing Authentication Token"}`, "MissingAuthenticationTokenException"},
		{"/hidden/fail/nobody", nil, 418, `main native`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			got := askStaged(s, "GET", "http://x"+tt.path, "", tt.header...)
			if got.Code != tt.status || got.Body.String() != tt.body || got.Header().Get("X-Amzn-Errortype") != tt.kind {
				t.Errorf("got %d %s %s", got.Code, got.Header().Get("X-Amzn-Errortype"), got.Body)
			}
			if strings.HasSuffix(tt.path, "/busy") && got.Header().Get("Retry-After") != "3" {
				t.Errorf("Retry-After: %q", got.Header().Get("Retry-After"))
			}
			if strings.HasPrefix(tt.path, "/own/fail/t") {
				h := got.Header()
				if diff := cmp.Diff([]string{"a", "own", `"quoted"`, "in"}, []string{h.Get("X-A"), h.Get("X-B"), h.Get("X-C"), h.Get("X-D")}); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestAnswersHaveTheIDsOfTheStage checks that answers of a stage that is as API Gateway's
// have its ids, refused or not, and that the log knows them, what was told, and the canary.
func TestAnswersHaveTheIDsOfTheStage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	log, err := accesslog.Open(accesslog.Config{File: file, Template: "$context.requestId|$context.extendedRequestId|$context.error.message|$context.canary"},
		accesslog.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	all := &Canary{Percent: json.RawMessage("100")}
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "aws", Errors: "aws"}, {Name: "native"}, {Name: "new", Canary: all}}}, func(c *Config) { c.AccessLog = log })
	var want []string
	for _, tt := range []struct {
		path, told, canary string
		aws                bool
	}{
		{"/aws/topics/t", "-", "-", true}, {"/aws/fail/key", "Forbidden", "-", true}, {"/aws/fail/limited", "Too Many Requests", "-", true},
		{"/native/topics/t", "-", "-", false}, {"/native/fail/nobody", "who", "-", false}, {"/new/topics/t", "-", "true", false},
	} {
		h := askStaged(s, "GET", "http://x"+tt.path, "").Header()
		id, extended := h.Get("X-Request-Id"), h.Get("X-Amz-Apigw-Id")
		if tt.aws != (extended != "") || tt.aws && h.Get("X-Amzn-Requestid") != id {
			t.Errorf("%s: %v", tt.path, h)
		}
		if !tt.aws {
			extended = id
		}
		want = append(want, strings.Join([]string{id, extended, tt.told, tt.canary}, "|"))
	}
	log.Close()
	text, err := os.ReadFile(file)
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(text)), "\n")); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestLogNamesTheTracesOfClients checks that the access log knows the trace that a request
// names, also where klamm takes no part in traces.
func TestLogNamesTheTracesOfClients(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	log, err := accesslog.Open(accesslog.Config{File: file, Template: "$context.xrayTraceId $context.traceId"}, accesslog.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := stagedServer(t, Edge{}, func(c *Config) { c.AccessLog = log })
	const trace, xray = "5759e988bd862e3fe1be46a994272793", "1-5759e988-bd862e3fe1be46a994272793"
	askStaged(s, "GET", "http://x/topics/t", "", "X-Amzn-Trace-Id", "Root="+xray+";Parent=53995c3f42cd8ad8;Sampled=1")
	askStaged(s, "GET", "http://x/topics/t", "", "Traceparent", "00-"+trace+"-53995c3f42cd8ad8-01")
	askStaged(s, "GET", "http://x/topics/t", "", "Traceparent", "00-nonsense-01")
	log.Close()
	text, err := os.ReadFile(file)
	if want := xray + " " + trace + "\n" + xray + " " + trace + "\n- -\n"; string(text) != want || err != nil {
		t.Errorf("got %q, %v; want %q", text, err, want)
	}
}

// TestConfluentFormHasConfluentsWords checks what the form confluent says where there is
// nothing, and that errors have the media type of the API that was called.
func TestConfluentFormHasConfluentsWords(t *testing.T) {
	other := Dialect{Name: "other", Prefixes: []string{"/v3"}, WriteError: func(http.ResponseWriter, *http.Request, error) {}}
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "c", Errors: "confluent"}}}, func(c *Config) {
		c.Dialects[0].ErrorMedia = "application/vnd.kafka.v2+json"
		c.Dialects = append(c.Dialects, other)
	})
	for _, tt := range []struct{ method, path, media, want string }{
		{"GET", "/nothing/here", "application/vnd.kafka.v2+json", `{"error_code":404,"message":"HTTP 404 Not Found"}`},
		{"DELETE", "/topics/t", "application/vnd.kafka.v2+json", `{"error_code":405,"message":"HTTP 405 Method Not Allowed"}`},
		{"GET", "/fail/throttled", "application/vnd.kafka.v2+json", `{"error_code":429,"message":"Too Many Requests"}`},
		{"GET", "/v3/nothing", "application/json", `{"error_code":404,"message":"HTTP 404 Not Found"}`},
	} {
		got := askStaged(s, tt.method, "http://x"+tt.path, "")
		if got.Body.String() != tt.want || got.Header().Get("Content-Type") != tt.media {
			t.Errorf("%s %s: %s %s", tt.method, tt.path, got.Header().Get("Content-Type"), got.Body)
		}
	}
}

// TestGatewayResponsesAreChosenByAccept checks that the body of a gateway response is the
// one that the client wants, and that the log knows the type whatever the status is.
func TestGatewayResponsesAreChosenByAccept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	log, err := accesslog.Open(accesslog.Config{File: file, Template: "$context.status $context.error.responseType"}, accesslog.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "a", Errors: "aws", GatewayResponses: []GatewayResponse{
		{Type: "THROTTLED", Status: 420, Templates: map[string]string{"text/html": "html", "application/json": "json", "application/a+xml": "xml"}},
	}}}}, func(c *Config) { c.AccessLog = log })
	var want []string
	for accept, body := range map[string]string{
		"": "json", "*/*": "json", "text/html": "html", "application/json;q=0.1, text/html": "html", "text/html;q=0, */*;q=0.1": "json", "Application/A+XML": "xml",
		"text/*": "html", "application/*": "json", "image/png": "json", "application/json;q=0.2, application/a+xml;q=0.3": "xml",
	} {
		if got := askStaged(s, "GET", "http://x/fail/throttled", "", "Accept", accept); got.Code != 420 || got.Body.String() != body {
			t.Errorf("%q: got %d %q, want %q", accept, got.Code, got.Body, body)
		}
		want = append(want, "420 THROTTLED")
	}
	log.Close()
	text, err := os.ReadFile(file)
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(text)), "\n")); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRoutesOfTheConfiguration(t *testing.T) {
	rules := func(r shape.Rules) *shape.Shape {
		s, err := shape.Compile(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	pattern := func(text string) shape.Pattern {
		p, err := shape.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	own := &Dialect{Name: "own", WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
		_, text, _ := Status(err)
		http.Error(w, "own "+text, http.StatusBadRequest)
	}}
	serve := func(text string) *Route {
		return &Route{Name: text, Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			_, err := io.WriteString(w, text+" "+r.PathValue("x")+r.PathValue("proxy"))
			return err
		}}
	}
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "a", Errors: "aws"}, {Name: "b"}}, Routes: []OwnRoute{
		{Pattern: pattern("POST /topics/{name}"), Shape: rules(shape.Rules{
			Parameters: []shape.Parameter{{In: "path", Name: "name", Pattern: "^t"}, {In: "query", Name: "q", Required: true}},
			Body:       map[string]json.RawMessage{"application/json": json.RawMessage(`{"type":"object"}`)},
		})},
		{Pattern: pattern("POST /topics/big"), Shape: rules(shape.Rules{MaxBody: 4})},
		{Pattern: pattern("GET /own/{x}"), Route: serve("own"), Dialect: own},
		{Pattern: pattern("POST /beats/{x}"), Rewrite: func(r *http.Request) bool {
			r.URL.Path, r.URL.RawPath = "/topics/"+r.PathValue("x"), ""
			return r.PathValue("x") != "none"
		}},
		{Pattern: pattern("GET /only/{x}"), Stages: []string{"b"}, Route: serve("only"), Dialect: own},
		{Pattern: pattern("ANY /{proxy+}"), Stages: []string{"b"}, Route: serve("rest"), Dialect: own},
	}})
	tests := []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/b/topics/t?q=1", `{}`, 200, "b t /topics/t?q=1 {}"},
		{"POST", "/a/topics/t", `{}`, 400, `{"message":"Missing required request parameters: [q]"}`},
		{"POST", "/a/topics/t?q=1", `[]`, 400, `{"message":"Invalid request body"}`},
		{"POST", "/a/topics/x?q=1", `{}`, 400, `{"message":"Invalid request parameters: [name]"}`},
		{"POST", "/b/topics/x?q=1", `{}`, 200, "rest topics/x"},
		{"POST", "/a/topics/big", `12345`, 413, `{"message":"Request Too Long"}`},
		{"POST", "/a/topics/big", `1234`, 200, "a big /topics/big? 1234"},
		{"GET", "/a/own/1", "", 200, "own 1"},
		{"POST", "/a/beats/t", "{}", 200, "a t /topics/t? {}"},
		{"POST", "/a/beats/none", "{}", 403, `{"message":"Missing Authentication Token"}`},
		{"GET", "/b/only/1", "", 200, "only 1"},
		{"GET", "/a/only/1", "", 403, `{"message":"Missing Authentication Token"}`},
		{"GET", "/b/topics/t", "", 200, "b t /topics/t? "},
		{"DELETE", "/b/any/thing", "", 200, "rest any/thing"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			got := askStaged(s, tt.method, "http://x"+tt.path, tt.body, "Content-Type", "application/json")
			if tt.want == "rest topics/x" {
				tt.status, tt.want = 400, got.Body.String() // the dialect's route is there, and its rule refuses
				if !strings.Contains(tt.want, "path parameter name") {
					t.Errorf("got %s", tt.want)
				}
			}
			if got.Code != tt.status || got.Body.String() != tt.want {
				t.Errorf("got %d %q, want %d %q", got.Code, got.Body, tt.status, tt.want)
			}
		})
	}
	if got := askStaged(s, "DELETE", "http://x/a/own/1", ""); got.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %s", got.Header().Get("Allow"))
	}
	if err := s.Reshape(Edge{Routes: []OwnRoute{{Pattern: pattern("GET /a"), Stages: []string{"none"}}}}); err == nil {
		t.Error("a stage that is not there")
	}
	if got := askStaged(s, "GET", "http://x/b/only/1", ""); got.Code != 200 {
		t.Error("a refused change has changed something")
	}
}

func TestCanary(t *testing.T) {
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "s", TopicPrefix: "${stage.p}", Variables: map[string]string{"p": "old-"},
		Canary: &Canary{Percent: json.RawMessage("30"), Variables: map[string]string{"p": "new-"}, Sticky: "ip"}}}})
	for how, want := range map[string]string{"always": "s new-t /topics/t?  canary", "never": "s old-t /topics/t? "} {
		if got := askStaged(s, "GET", "http://x/topics/t", "", "X-Klamm-Canary", how); got.Body.String() != want {
			t.Errorf("%s: %q", how, got.Body)
		}
	}
	first, canaries := askStaged(s, "GET", "http://x/topics/t", "").Body.String(), 0
	for range 20 {
		if got := askStaged(s, "GET", "http://x/topics/t", "").Body.String(); got != first {
			t.Fatalf("one caller gets %q and %q", first, got)
		}
	}
	at := &staged{stage: &stage{Stage: Stage{Name: "s"}}}
	for i := range 10_000 {
		if at.draw(stickyIP, "", fmt.Sprint("10.0.", i/250, ".", i%250)) < 300_000 {
			canaries++
		}
	}
	if canaries < 2700 || canaries > 3300 { // the numbers are always the same
		t.Errorf("%d of 10,000 callers belong to a canary of 30 percent", canaries)
	}
}

func TestStagesThatCannotBe(t *testing.T) {
	tests := []struct {
		in   Stage
		want string
	}{
		{Stage{Name: "a b"}, "name"}, {Stage{Name: "metrics"}, "name"}, {Stage{Name: "a", TopicPrefix: "${stage.x}"}, "topic_prefix"}, {Stage{Name: "a", TopicPrefix: "a/b"}, "topic_prefix"},
		{Stage{Name: "a", Errors: "other"}, "errors"}, {Stage{Name: "a", UnknownRoute: "500"}, "unknown_route"}, {Stage{Name: "a", Hosts: []string{"a:80"}}, "hosts[0]"},
		{Stage{Name: "a", Variables: map[string]string{"a-b": ""}}, "variables"}, {Stage{Name: "a", Canary: &Canary{Percent: json.RawMessage("101")}}, "canary.percent"},
		{Stage{Name: "a", Canary: &Canary{Percent: json.RawMessage("5"), Sticky: "cookie"}}, "canary.sticky"},
	}
	for _, tt := range tests {
		var got []string
		tt.in.Validate(func(path, _ string) { got = append(got, path) })
		if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
			t.Errorf("%+v: %s", tt.in, diff)
		}
	}
	for _, g := range []GatewayResponse{{Type: "OTHER"}, {Type: "REQUEST_TOO_LARGE"}, {Type: "THROTTLED", Status: 99}, {Type: "THROTTLED", Headers: map[string]string{"X": "text"}}, {Type: "THROTTLED", Templates: map[string]string{"": ""}}} {
		n := 0
		if g.Validate(func(string, string) { n++ }); n != 1 {
			t.Errorf("%+v: %d problems", g, n)
		}
	}
}

// TestProblemsNamePlaces checks that the form problem says where a body is wrong.
func TestProblemsNamePlaces(t *testing.T) {
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "problem", Errors: "problem"}}})
	got := askStaged(s, "GET", "http://x/fail/body", "")
	var p Problem
	if err := json.Unmarshal(got.Body.Bytes(), &p); err != nil || got.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%v: %s", err, got.Body)
	}
	want := Problem{Type: "urn:klamm:problem:validation", Title: "The request does not match its schema", Status: 400, Detail: "1 problem in the body", Instance: p.Instance,
		Errors: []ProblemEntry{{Pointer: "#/device", Keyword: "required", Detail: "is missing"}}}
	if diff := cmp.Diff(want, p); diff != "" || !strings.HasPrefix(p.Instance, "urn:uuid:") {
		t.Error(diff)
	}
}

// TestRoutesOfTheirOwnHaveTheFormOfTheStage checks that a body that a route cannot use is
// refused in the form of the stage, and that of an API in its own.
func TestRoutesOfTheirOwnHaveTheFormOfTheStage(t *testing.T) {
	at := &staged{stage: &stage{Stage: Stage{Name: "a", Errors: profileAWS}}, own: &ownRoute{}}
	wrong := &gate.Error{Kind: gate.Invalid, Message: "the body is not JSON"}
	r := httptest.NewRequest("POST", "/x", nil)
	if e := at.gatewayErrorOf(r, wrong); e != nil {
		t.Errorf("an API's own error became %+v", e)
	}
	at.own.serve = http.NotFoundHandler()
	w := httptest.NewRecorder()
	if !at.refuse(w, r, wrong) || w.Code != 400 || w.Body.String() != `{"message":"Invalid request body"}` || w.Header().Get("X-Amzn-Errortype") != "BadRequestException" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestWAFPathsMayNameTheStage checks that a rule for a path means it with the stage and
// without.
func TestWAFPathsMayNameTheStage(t *testing.T) {
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "dev"}, {Name: "prod"}}})
	s.cfg.Firewall = firewall(t, WAF{Rules: []WAFRule{
		{Name: "with", Match: WAFMatch{Path: "/prod/topics/secret*"}, Action: "block"}, {Name: "without", Match: WAFMatch{Route: "GET /topics/hidden*"}, Action: "block"},
		{Name: "not", Match: WAFMatch{Methods: []string{"POST"}, NotPath: "/dev/*"}, Action: "block"},
	}})
	for path, want := range map[string]int{
		"GET /prod/topics/secret1": 403, "GET /dev/topics/secret1": 200, "GET /prod/topics/hidden": 403, "GET /dev/topics/hidden": 403, "GET /prod/topics/x": 200,
		"POST /dev/topics/x": 200, "POST /prod/topics/x": 403,
	} {
		method, url, _ := strings.Cut(path, " ")
		if got := askStaged(s, method, "http://x"+url, "").Code; got != want && !(want == 403 && got == http.StatusTeapot) {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// TestLinksNameTheStage checks that links lead back into the stage that the path has
// named.
func TestLinksNameTheStage(t *testing.T) {
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "dev"}, {Name: "prod", Hosts: []string{"prod.example"}}}})
	public, err := NewLinks("https://kafka.example/base", nil)
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string][2]string{
		"http://x/dev/topics/t": {"http://x/dev", "https://kafka.example/base/dev"}, "http://prod.example/topics/t": {"http://prod.example", "https://kafka.example/base"},
	} {
		r, _ := s.place(httptest.NewRequest("GET", url, nil))
		if got := [2]string{Links{}.Base(r), public.Base(r)}; got != want {
			t.Errorf("%s: %v, want %v", url, got, want)
		}
	}
}

func TestStagesNameClustersThatThereAre(t *testing.T) {
	canary := &Canary{Percent: json.RawMessage("5"), Variables: map[string]string{"c": "us"}}
	tests := []struct {
		name     string
		stage    Stage
		identity string
		want     []string
	}{
		{"none", Stage{Name: "a"}, "passthrough", nil},
		{"one", Stage{Name: "a", Cluster: "eu"}, "gateway", nil},
		{"one, but as the caller", Stage{Name: "a", Cluster: "eu"}, "passthrough", []string{"[0].cluster: wants identity: gateway, here or in kafka: with passthrough all calls would be refused, since klamm goes to further clusters as itself"}},
		{"one, as klamm where others are the caller", Stage{Name: "a", Cluster: "eu", Identity: "gateway"}, "passthrough", nil},
		{"by a variable", Stage{Name: "a", Cluster: "${stage.c}", Variables: map[string]string{"c": "eu"}}, "", nil},
		{"unknown", Stage{Name: "a", Cluster: "asia"}, "", []string{`[0].cluster: there is no cluster "asia" in kafka.clusters`}},
		{"unknown in a canary", Stage{Name: "a", Cluster: "${stage.c}", Variables: map[string]string{"c": "eu"}, Canary: canary}, "", []string{`[0].cluster: there is no cluster "us" in kafka.clusters`}},
		{"unknown variable", Stage{Name: "a", Cluster: "${stage.x}"}, "", []string{"cluster: ${stage.x} is no variable of the stage"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			cfg := kafka.Config{Identity: tt.identity, Clusters: []kafka.Further{{Name: "eu"}}}
			report := func(path, problem string) { got = append(got, path+": "+problem) }
			tt.stage.Validate(report)
			ValidateStages([]Stage{tt.stage}, cfg, report)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
