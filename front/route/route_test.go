package route

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

func TestExpressions(t *testing.T) {
	r := httptest.NewRequest("POST", "http://host/devices/d-7?count=3", nil)
	r.SetPathValue("id", "d-7")
	r.Header.Set("X-Name", " Alice ")
	f := &facts{
		r: r, who: gate.Principal{Name: "User:alice", Claims: map[string]any{"a": map[string]any{"b": "c"}}}, id: "id-1", stage: "dev", variables: map[string]string{"v": "w"}, source: "192.0.2.1",
		raw: []byte(`{"a":{"b":[1,{"c":12345678901234567890}]},"t":"x\"y","n":null}`), now: time.UnixMilli(1700000000123).UTC(),
	}
	tests := []struct{ in, want string }{
		{`"${path.id}"`, `"d-7"`}, {`"id is ${path.id}!"`, `"id is d-7!"`}, {`"${query.count | number}"`, `3`}, {`"${query.none}"`, `null`}, {`"${query.none | default:\"x | y\"}"`, `"x | y"`},
		{`"${header.x-name | trim | lower}"`, `"alice"`}, {`"${identity.principal}"`, `"User:alice"`}, {`"${identity.name | upper}"`, `"ALICE"`}, {`"${claims.a.b}"`, `"c"`}, {`"${stage.v}"`, `"w"`},
		{`"${request.stage}"`, `"dev"`}, {`"$.a.b[1].c"`, `12345678901234567890`}, {`"$.a['b'][0]"`, `1`}, {`"$.none.at.all"`, `null`}, {`"${body.t}"`, `"x\"y"`}, {`"<${body.t}>"`, `"<x\"y>"`},
		{`"${now.iso}"`, `"2023-11-14T22:13:20.123Z"`}, {`"${now.unix_ms}"`, `1700000000123`}, {`"${path.id | sha256}"`, `"7b8a5d6e"`}, {`{"a":["${path.id}",1.50,true],"b":"$.a"}`, `{"a":["d-7",1.50,true],"b":{"b":[1,{"c":12345678901234567890}]}}`},
		{`"plain"`, `"plain"`}, {`"${body.a | string}"`, `"{\"b\":[1,{\"c\":12345678901234567890}]}"`},
	}
	for _, tt := range tests {
		d, err := parseDocument(json.RawMessage(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		v, err := d.value(f)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		got, _ := encode(v)
		if strings.Contains(tt.in, "sha256") {
			if len(got) != 66 {
				t.Errorf("%s: %s", tt.in, got)
			}
			continue
		}
		if string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
	for _, in := range []string{`"${other.x}"`, `"${path}"`, `"${identity.secret}"`, `"${path.a | exec}"`, `"${path.a"`, `"$.a..b"`, `"$.a[x]"`, `"$x"`} {
		if _, err := parseDocument(json.RawMessage(in)); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}

func TestRecordOfARequest(t *testing.T) {
	routes := New(Env{})
	make := func(q *Request) *producer {
		p, err := routes.producer(Config{Topic: "t", Request: q})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	facts := func(body string) *facts {
		return &facts{r: httptest.NewRequest("POST", "/", nil), raw: []byte(body), now: time.UnixMilli(5), who: gate.Principal{Name: "User:a"}}
	}
	body := `{"deviceid":"d-1","ts":1700000000000,"debug":{"x":1},"v":[1,2]}`
	record, err := make(&Request{
		Key: "$.deviceid", Timestamp: &Timestamp{From: "$.ts"}, Headers: map[string]string{"who": "${identity.principal}", "none": "${query.none}"},
		Set: map[string]json.RawMessage{"$.in.at": json.RawMessage(`"${now.unix_ms}"`), "$.same": json.RawMessage(`"$.debug.x"`)}, Remove: []string{"$.debug", "$.none.x"},
	}).record(facts(body))
	if err != nil || string(record.Value) != `{"deviceid":"d-1","in":{"at":5},"same":1,"ts":1700000000000,"v":[1,2]}` || string(record.Key) != "d-1" ||
		record.Timestamp.UnixMilli() != 1700000000000 || len(record.Headers) != 1 || string(record.Headers[0].Value) != "User:a" || record.Partition != -1 {
		t.Errorf("%+v, %v", record, err)
	}
	record, err = make(&Request{Value: json.RawMessage(`{"v":"$.v","by":"${identity.principal}"}`), Partition: "$.v[1]"}).record(facts(body))
	if err != nil || string(record.Value) != `{"by":"User:a","v":[1,2]}` || record.Partition != 2 {
		t.Errorf("%+v, %v", record, err)
	}
	if record, err = make(nil).record(facts("\x00 no JSON")); err != nil || string(record.Value) != "\x00 no JSON" {
		t.Errorf("%+v, %v", record, err)
	}
	for _, q := range []*Request{{Key: "$.a"}, {Partition: "$.deviceid"}, {Timestamp: &Timestamp{From: "$.deviceid"}}, {Set: map[string]json.RawMessage{"$.ts.x": json.RawMessage("1")}}} {
		in := body
		if q.Key != "" {
			in = "{"
		}
		if _, err := make(q).record(facts(in)); err == nil {
			t.Errorf("%+v is taken", q)
		}
	}
}

// passed is a back end that says what it got.
func passed(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Got", r.Method+" "+r.RequestURI+" "+r.Host)
		h.Set("X-Principal", r.Header.Get(principalHeader))
		h.Set("X-Credentials", r.Header.Get("Authorization")+r.Header.Get("Cookie")+r.Header.Get("X-Api-Key"))
		h.Set("X-From", r.Header.Get("X-Forwarded-For"))
		if r.URL.Path == "/v1/away" {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s
}

func proxyOf(t *testing.T, cfg Config, transport http.RoundTripper) (*proxied, shape.Pattern) {
	t.Helper()
	p, err := shape.ParsePattern(cfg.Route)
	if err != nil {
		t.Fatal(err)
	}
	one, err := New(Env{Transport: transport, Log: slog.New(slog.DiscardHandler)}).proxy(cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	return one, p
}

func TestProxyPassesRequestsOn(t *testing.T) {
	back := passed(t)
	host := strings.TrimPrefix(back.URL, "http://")
	one, _ := proxyOf(t, Config{Route: "ANY /old/{proxy+}", URL: back.URL + "/v1/{proxy}"}, http.DefaultTransport)
	serve := func(target, value string, header ...string) (*httptest.ResponseRecorder, error) {
		r := httptest.NewRequest("GET", target, nil)
		r.SetPathValue("proxy", value)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		return w, one.serve(w, r, gate.Principal{Name: "User:a"})
	}
	w, err := serve("/old/a/b%20c?x=1&access_token=secret", "a/b%20c", "Authorization", "secret", "Cookie", "secret", "X-Api-Key", "secret", principalHeader, "User:root", "X-Forwarded-For", "203.0.113.9")
	h := w.Header()
	if err != nil || w.Code != 201 || h.Get("X-Got") != "GET /v1/a/b%20c?x=1 "+host || h.Get("X-Principal") != "User:a" || h.Get("X-Credentials") != "" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("X-From") != "192.0.2.1" {
		t.Errorf("%v %d %v", err, w.Code, h)
	}
	if w, err := serve("/old/away", "away"); err != nil || w.Code != 302 || w.Header().Get("Location") != "http://192.0.2.1/" {
		t.Errorf("%v %d", err, w.Code)
	}
	for _, value := range []string{"..", "%2e%2e", "a/%2E%2E/b", "a%2Fb", "a%5cb", "%00"} {
		if _, err := serve("/old/x", value); !errors.Is(err, front.ErrNoRoute) {
			t.Errorf("%s: %v", value, err)
		}
	}
	one.cfg.Credentials = true
	if w, _ := serve("/old/a", "a", "Authorization", "secret"); w.Header().Get("X-Credentials") != "secret" {
		t.Error("credentials are not passed on where the route says so")
	}
}

type failing struct{ err error }

func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.err == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return nil, f.err
}

func TestBackEndsThatFail(t *testing.T) {
	for want, transport := range map[error]http.RoundTripper{front.ErrBackEnd: failing{errors.New("refused")}, front.ErrBackEndTimeout: failing{}} {
		one, _ := proxyOf(t, Config{Route: "GET /a", URL: "http://192.0.2.1/", Timeout: 50 * time.Millisecond}, transport)
		w := httptest.NewRecorder()
		if err := one.serve(w, httptest.NewRequest("GET", "/a", nil), gate.Principal{}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// A call that is too much says by whose word (gateway-policies.md 3.5).
func TestErrorsOfLimits(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		want   front.Problem
	}{
		{&gate.Limited{Limit: "per-device", Unit: "requests"}, 429, front.Problem{Type: "https://iana.org/assignments/http-problem-types#quota-exceeded", Title: "Too Many Requests", Violated: []string{"per-device"}}},
		{&gate.Overloaded{}, 503, front.Problem{Type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity", Title: "Service Unavailable"}},
	} {
		w := httptest.NewRecorder()
		writeError(w, nil, tt.err)
		var got front.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if tt.want.Status, tt.want.Detail = tt.status, got.Detail; w.Code != tt.status || !cmp.Equal(tt.want, got) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func TestTargetsThatCannotBe(t *testing.T) {
	p, _ := shape.ParsePattern("GET /{id}/{proxy+}")
	for _, in := range []string{"", "ftp://h/", "http://", "http://{id}/", "http://u:p@h/", "http://h/?a={id}", "http://h/{other}", "http://h/#x"} {
		if _, err := parseTarget(in, p); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	target, err := parseTarget("http://h/x/{id}/y/{proxy}", p)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/a/b", nil)
	r.SetPathValue("id", "a b%41")
	r.SetPathValue("proxy", "c/d%20e")
	u, ok := target.url(r)
	if diff := cmp.Diff("http://h/x/a%20b%2541/y/c/d%20e", u.String()); !ok || diff != "" {
		t.Error(diff)
	}
	if _, err := url.Parse(u.String()); err != nil {
		t.Error(err)
	}
}

func TestConfigsThatCannotBe(t *testing.T) {
	p, _ := shape.ParsePattern("GET /a")
	tests := []struct {
		in   Config
		want string
	}{
		{Config{Type: "other"}, "type"}, {Config{Topic: "t"}, "topic"}, {Config{Type: typeProduce}, "topic"}, {Config{Type: typeProduce, Topic: "${kafka.topic}"}, "topic"},
		{Config{Type: typeProxy}, "url"}, {Config{Type: typeProxy, URL: "http://h/", Timeout: time.Hour}, "timeout"}, {Config{Type: typeMock}, "response"},
		{Config{Type: typeMock, Response: &Response{}, URL: "http://h/"}, "url"},
	}
	for _, tt := range tests {
		var got []string
		tt.in.Validate(p, func(path, _ string) { got = append(got, path) })
		if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
			t.Errorf("%+v: %s", tt.in, diff)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(`{"a":"${body.x | default:\"y\"}","b":["$.z[0]"]}`, `{"x":1,"z":[2]}`)
	f.Fuzz(func(t *testing.T, document, body string) {
		d, err := parseDocument(json.RawMessage(document))
		if err != nil {
			return
		}
		v, err := d.value(&facts{r: httptest.NewRequest("POST", "/", nil), raw: []byte(body)})
		if err != nil {
			return
		}
		if out, err := encode(v); err != nil || !json.Valid(out) {
			t.Errorf("%s: %v", out, err)
		}
	})
}

func TestRewrite(t *testing.T) {
	p, _ := shape.ParsePattern("POST /beats/{region}/{proxy+}")
	for _, to := range []string{"", "topics", "/topics/", "/a//b", "/a/../b", "/a?b=c", "/topics/{name}", "/a%2fb"} {
		if _, err := New(Env{}).Rewrite(Config{Type: "rewrite", To: to}, p); err == nil {
			t.Errorf("%q: no error", to)
		}
	}
	rewrite, err := New(Env{}).Rewrite(Config{Type: "rewrite", To: "/topics/beats-{region}/{proxy}"}, p)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, region, proxy, path, escaped string }{
		{"plain", "eu", "partitions/1", "/topics/beats-eu/partitions/1", "/topics/beats-eu/partitions/1"}, {"escaped", "e u", "a%20b", "/topics/beats-e u/a b", "/topics/beats-e%20u/a%20b"},
		{"a way out", "..", "x", "", ""}, {"a slash", "a/b", "x", "", ""}, {"a way out below", "eu", "../x", "", ""}, {"an escaped slash", "eu", "a%2fb", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://host/beats?q=1", nil)
			r.SetPathValue("region", tt.region)
			r.SetPathValue("proxy", tt.proxy)
			ok := rewrite(r)
			if ok != (tt.path != "") || ok && (r.URL.Path != tt.path || r.URL.EscapedPath() != tt.escaped || r.URL.RawQuery != "q=1") {
				t.Errorf("got %v, %s, %s", ok, r.URL.Path, r.URL.EscapedPath())
			}
		})
	}
}
