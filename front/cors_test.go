package front

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPreflight(t *testing.T) {
	shop := CORS{
		AllowOrigins: []string{"https://app.example.com", "https://*.shop.example", "http://localhost:3000"},
		AllowMethods: []string{"GET", "POST"}, AllowHeaders: []string{"Content-Type", "x-api-key"}, MaxAge: 600,
	}
	with := func(change func(*CORS)) CORS { c := shop; change(&c); return c }
	tests := []struct {
		name, origin, method string
		headers              []string
		cfg                  CORS
		want                 map[string]string // nil: nothing is allowed
	}{
		{"exact", "https://app.example.com", "POST", []string{"content-type, X-Api-Key"}, shop,
			map[string]string{"Allow-Origin": "https://app.example.com", "Allow-Methods": "POST", "Allow-Headers": "content-type, x-api-key", "Max-Age": "600"}},
		{"upper case and own port", "HTTPS://APP.example.com:443", "GET", nil, shop, map[string]string{"Allow-Origin": "HTTPS://APP.example.com:443", "Allow-Methods": "GET", "Max-Age": "600"}},
		{"label", "https://a.b.shop.example", "GET", nil, shop, map[string]string{"Allow-Origin": "https://a.b.shop.example", "Allow-Methods": "GET", "Max-Age": "600"}},
		{"port", "http://localhost:3000", "GET", nil, shop, map[string]string{"Allow-Origin": "http://localhost:3000", "Allow-Methods": "GET", "Max-Age": "600"}},
		{"tabs, empty elements, several fields", "https://app.example.com", "GET", []string{" \tcontent-type ,,", ",x-api-key"}, shop,
			map[string]string{"Allow-Origin": "https://app.example.com", "Allow-Methods": "GET", "Allow-Headers": "content-type, x-api-key", "Max-Age": "600"}},
		{"other port", "http://localhost:3001", "GET", nil, shop, nil},
		{"longer host", "https://app.example.com.evil.example", "GET", nil, shop, nil},
		{"suffix without a dot", "https://evilshop.example", "GET", nil, shop, nil},
		{"the domain itself", "https://shop.example", "GET", nil, shop, nil},
		{"other scheme", "http://app.example.com", "GET", nil, shop, nil},
		{"null", "null", "GET", nil, shop, nil},
		{"null that is listed", "null", "GET", nil, with(func(c *CORS) { c.AllowOrigins = []string{"null"} }), map[string]string{"Allow-Origin": "null", "Allow-Methods": "GET", "Max-Age": "600"}},
		{"null is not any", "null", "GET", nil, with(func(c *CORS) { c.AllowOrigins = []string{"*"} }), nil},
		{"null beside any", "null", "GET", nil, with(func(c *CORS) { c.AllowOrigins = []string{"*", "null"} }), map[string]string{"Allow-Origin": "*", "Allow-Methods": "GET", "Max-Age": "600"}},
		{"method", "https://app.example.com", "DELETE", nil, shop, nil},
		{"case of a method", "https://app.example.com", "post", nil, shop, nil},
		{"header", "https://app.example.com", "GET", []string{"x-other"}, shop, nil},
		{"too many empty", "https://app.example.com", "GET", []string{strings.Repeat(",", 17)}, shop, nil},
		{"too many", "https://app.example.com", "GET", []string{strings.Repeat("x-api-key,", 101)}, shop, nil},
		{"any", "https://x.example", "GET", []string{"x-a"}, with(func(c *CORS) { c.AllowOrigins, c.AllowHeaders = []string{"*"}, []string{"*"} }),
			map[string]string{"Allow-Origin": "*", "Allow-Methods": "GET", "Allow-Headers": "x-a", "Max-Age": "600"}},
		{"any header is not Authorization", "https://app.example.com", "GET", []string{"authorization"}, with(func(c *CORS) { c.AllowHeaders = []string{"*"} }), nil},
		{"credentials", "https://app.example.com", "GET", nil, with(func(c *CORS) { c.AllowCredentials, c.MaxAge = true, -1 }),
			map[string]string{"Allow-Origin": "https://app.example.com", "Allow-Methods": "GET", "Allow-Credentials": "true", "Max-Age": "0"}},
		{"any method", "https://app.example.com", "PATCH", nil, with(func(c *CORS) { c.AllowMethods = []string{"*"} }), map[string]string{"Allow-Origin": "https://app.example.com", "Allow-Methods": "PATCH", "Max-Age": "600"}},
		{"no wildcard of methods with credentials", "https://app.example.com", "PATCH", nil, with(func(c *CORS) { c.AllowCredentials, c.AllowMethods = true, []string{"*"} }), nil},
		{"no wildcard with credentials", "https://app.example.com", "GET", []string{"x-a"}, with(func(c *CORS) { c.AllowCredentials, c.AllowHeaders = true, []string{"*"} }), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("OPTIONS", "/topics/t", nil)
			r.Header.Set("Origin", tt.origin)
			r.Header.Set("Access-Control-Request-Method", tt.method)
			for _, h := range tt.headers {
				r.Header.Add("Access-Control-Request-Headers", h)
			}
			w := httptest.NewRecorder()
			if !newCORS(tt.cfg, false).serve(w, r) || w.Code != 204 || w.Body.Len() > 0 {
				t.Errorf("got %d", w.Code)
			}
			if got := w.Header().Get("Vary"); got != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
				t.Errorf("Vary: %s", got)
			}
			var got map[string]string
			for k := range w.Header() {
				if name, ok := strings.CutPrefix(k, "Access-Control-"); ok {
					if got == nil {
						got = map[string]string{}
					}
					got[name] = w.Header().Get(k)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if !newCORS(CORS{AllowOrigins: []string{"*"}, AllowHeaders: []string{"*"}}, true).allowsHeader("authorization") {
		t.Error("where credentials are asked for, any header is Authorization as well")
	}
}

func TestCORSOfAnswers(t *testing.T) {
	c := newCORS(CORS{AllowOrigins: []string{"https://app.example.com"}, ExposeHeaders: []string{"retry-after", "nextoffset"}}, false)
	for _, tt := range []struct{ method, origin, allowed string }{
		{"GET", "https://app.example.com", "https://app.example.com"}, {"GET", "https://evil.example", ""}, {"GET", "", ""}, {"OPTIONS", "https://app.example.com", "https://app.example.com"},
	} {
		r := httptest.NewRequest(tt.method, "/", nil)
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Accept-Encoding")
		if c.serve(w, r) {
			t.Errorf("%v was answered", tt)
		}
		exposed := ""
		if tt.allowed != "" {
			exposed = "retry-after, nextoffset"
		}
		if got := w.Header(); got.Get("Access-Control-Allow-Origin") != tt.allowed || got.Get("Access-Control-Expose-Headers") != exposed || strings.Join(got.Values("Vary"), ", ") != "Accept-Encoding, Origin" {
			t.Errorf("%v: %v", tt, got)
		}
	}
	if newCORS(CORS{}, false).serve(httptest.NewRecorder(), httptest.NewRequest("OPTIONS", "/", nil)) {
		t.Error("without a configuration, a preflight is a request like any other")
	}
	w := httptest.NewRecorder()
	if !newCORS(CORS{Preset: "aws-mock"}, false).serve(w, httptest.NewRequest("OPTIONS", "/", nil)) || w.Code != 200 || w.Header().Get("Access-Control-Allow-Methods") != "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT" {
		t.Errorf("mock: %d %v", w.Code, w.Header())
	}
}

func TestCORSProblems(t *testing.T) {
	for name, c := range map[string]CORS{
		"allow_origins[0]": {AllowOrigins: []string{"https://a.example/path"}}, "allow_origins[1]": {AllowOrigins: []string{"https://a.example", "a.example"}},
		"allow_methods[0]": {AllowMethods: []string{"GET, POST"}}, "allow_headers[0]": {AllowHeaders: []string{""}}, "expose_headers[0]": {ExposeHeaders: []string{"a b"}},
		"max_age": {MaxAge: -2}, "preset": {Preset: "aws"},
	} {
		var got []string
		c.Validate(func(path, _ string) { got = append(got, path) })
		if diff := cmp.Diff([]string{name}, got); diff != "" {
			t.Error(diff)
		}
	}
	found := false
	CORS{AllowOrigins: []string{"*"}, AllowCredentials: true}.Validate(func(string, string) { found = true })
	if !found {
		t.Error("any origin with credentials")
	}
	CORS{AllowOrigins: []string{"*", "null", "https://*.a.example:8443", "http://[::1]:3000"}, AllowHeaders: []string{"*"}}.Validate(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
}
