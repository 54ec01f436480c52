package front

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// stagedServer serves a dialect that says in which stage and for which path it was
// called, an own one beside it, and one by which klamm is operated.
func stagedServer(t *testing.T, edge Edge) *Server {
	t.Helper()
	said := func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		data, release, err := ReadBody(r)
		if err != nil {
			return err
		}
		defer release()
		_, err = fmt.Fprintf(w, "%s %s%s %s?%s %s%s", StageOf(r), who.TopicPrefix, r.PathValue("t"), r.URL.EscapedPath(), r.URL.RawQuery, data, map[bool]string{true: " canary"}[IsCanary(r)])
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
	s := New(Config{Dialects: []Dialect{main, operation}, Anonymous: true, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
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
		{"/confluent/fail/nobody", nil, 401, `{"error_code":40101,"message":"Unauthorized"}`, "UnauthorizedException"},
		{"/confluent/nope", nil, 404, `{"error_code":404,"message":"Not Found"}`, "ResourceNotFoundException"},
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
			if strings.HasPrefix(tt.path, "/own/fail/t") {
				h := got.Header()
				if diff := cmp.Diff([]string{"a", "own", `"quoted"`, "in"}, []string{h.Get("X-A"), h.Get("X-B"), h.Get("X-C"), h.Get("X-D")}); diff != "" {
					t.Error(diff)
				}
			}
		})
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
