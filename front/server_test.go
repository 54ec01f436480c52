package front

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/gate"
)

// echo is a dialect that says what it was asked.
func echo(name, prefix string) Dialect {
	said := func(text string) Handler {
		return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			_, err := fmt.Fprint(w, text, " ", r.PathValue("x"), who.Name)
			return err
		}
	}
	return Dialect{
		Name: name, Prefixes: []string{prefix},
		Routes: []Route{
			{Name: "get", Pattern: "GET " + strings.TrimSuffix(prefix, "/") + "/things/{x}", Serve: said("get")},
			{Name: "put", Pattern: "PUT " + strings.TrimSuffix(prefix, "/") + "/things/{x}", Serve: said("put")},
			{Name: "body", Pattern: "POST " + strings.TrimSuffix(prefix, "/") + "/body", Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
				data, release, err := ReadBody(r)
				if err != nil {
					return err
				}
				defer release()
				_, err = fmt.Fprintf(w, "%d %c", len(data), append(data, '-')[0])
				return err
			}},
			{Name: "tree", Pattern: "GET " + strings.TrimSuffix(prefix, "/") + "/tree/{x...}", Serve: said("tree")},
			{Name: "panic", Pattern: "GET " + strings.TrimSuffix(prefix, "/") + "/panic", Serve: func(http.ResponseWriter, *http.Request, gate.Principal) error { panic("oh") }},
		},
		WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusInternalServerError
			switch {
			case errors.Is(err, ErrNoRoute):
				status = http.StatusNotFound
			case errors.Is(err, ErrMethod):
				status = http.StatusMethodNotAllowed
			case errors.Is(err, ErrBodyTooLarge):
				status = http.StatusRequestEntityTooLarge
			case errors.Is(err, ErrBusy):
				status = http.StatusServiceUnavailable
			case gate.Classify(err) == gate.Unauthenticated:
				status = http.StatusUnauthorized
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, name)
		},
	}
}

func serve(t *testing.T, cfg Config) string {
	t.Helper()
	cfg.Metrics, cfg.Log = NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)
	cfg.Dialects = append(cfg.Dialects, echo("root", "/"), echo("three", "/v3"))
	s := New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func ask(t *testing.T, method, url string, body io.Reader) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(said), resp.Header
}

func TestRouting(t *testing.T) {
	url := serve(t, Config{Anonymous: true})
	for _, c := range []struct {
		name, method, path string
		status             int
		said               string
	}{
		{"a route", "GET", "/things/a", 200, "get aUser:ANONYMOUS"},
		{"another dialect", "GET", "/v3/things/a", 200, "get aUser:ANONYMOUS"},
		{"one slash at the end", "GET", "/things/a/", 200, "get aUser:ANONYMOUS"},
		{"an encoded slash", "GET", "/things/a%2Fb", 200, "get a/bUser:ANONYMOUS"},
		{"below a tree", "GET", "/tree/a/b", 200, "tree a/bUser:ANONYMOUS"},
		{"the root of a tree", "GET", "/tree", 200, "tree User:ANONYMOUS"},
		{"the root of a tree with its slash", "GET", "/v3/tree/", 200, "tree User:ANONYMOUS"},
		{"two slashes at the end", "GET", "/things/a//", 404, "root"},
		{"a double slash", "GET", "//things/a", 404, "root"},
		{"dots", "GET", "/x/../things/a", 404, "root"},
		{"encoded dots are a name", "GET", "/things/%2E%2E", 200, "get ..User:ANONYMOUS"},
		{"unknown", "GET", "/nothing", 404, "root"},
		{"unknown below a prefix", "GET", "/v3/nothing", 404, "three"},
		{"not below that prefix", "GET", "/v33", 404, "root"},
		{"another method", "DELETE", "/things/a", 405, "root"},
		{"a panic", "GET", "/panic", 500, "root"},
	} {
		status, said, header := ask(t, c.method, url+c.path, nil)
		if status != c.status || said != c.said {
			t.Errorf("%s: got %d %q, want %d %q", c.name, status, said, c.status, c.said)
		}
		if status == 405 && header.Get("Allow") != "GET, HEAD, PUT" {
			t.Errorf("%s: Allow is %q", c.name, header.Get("Allow"))
		}
	}
}

func TestBodies(t *testing.T) {
	url := serve(t, Config{Anonymous: true, Sizes: Sizes{Body: 1 << 20, InFlight: 2 << 20}})
	chunked := func(n int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, n))) }
	for _, c := range []struct {
		name   string
		body   io.Reader
		status int
		said   string
	}{
		{"none", nil, 200, "0 -"},
		{"small", strings.NewReader("abc"), 200, "3 a"},
		{"beyond the pooled buffer", bytes.NewReader(bytes.Repeat([]byte("x"), 100_000)), 200, "100000 x"},
		{"at the limit", bytes.NewReader(bytes.Repeat([]byte("y"), 1<<20)), 200, "1048576 y"},
		{"chunked, at the limit", chunked(1 << 20), 200, "1048576 \x00"},
		{"too large", bytes.NewReader(make([]byte, 1<<20+1)), 413, "root"},
		{"chunked, too large", chunked(3 << 20), 413, "root"},
	} {
		if status, said, _ := ask(t, "POST", url+"/body", c.body); status != c.status || said != c.said {
			t.Errorf("%s: got %d %.20q, want %d %q", c.name, status, said, c.status, c.said)
		}
	}
}

func TestBodiesInFlightAreBounded(t *testing.T) {
	url := serve(t, Config{Anonymous: true, Sizes: Sizes{Body: 1 << 20, InFlight: 1 << 20}})
	never, release := io.Pipe()
	defer release.CloseWithError(errors.New("the test is over"))
	go func() {
		// Refused as long as the other one, which may come first, has the room.
		for status := 503; status == 503; {
			begun := io.MultiReader(bytes.NewReader(make([]byte, 20_000)), never)
			req, _ := http.NewRequest("POST", url+"/body", begun)
			req.ContentLength = 900_000
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			resp.Body.Close()
			status = resp.StatusCode
		}
	}()
	end := time.Now().Add(time.Minute)
	for {
		status, _, _ := ask(t, "POST", url+"/body", bytes.NewReader(make([]byte, 500_000)))
		if status == 503 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got %d while 900,000 of 1 MiB are held, want 503", status)
		}
	}
}

// A semicolon is a character of a value as any other (gateway-policies.md 7).
func TestSemicolonsInQueries(t *testing.T) {
	query := Route{Name: "query", Pattern: "GET /query", Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
		_, err := fmt.Fprintf(w, "%q", r.URL.Query())
		return err
	}}
	d := echo("query", "/query")
	d.Routes = []Route{query}
	url := serve(t, Config{Dialects: []Dialect{d}, Anonymous: true})
	for in, want := range map[string]string{
		"key=a;b&x=1": `map["key":["a;b"] "x":["1"]]`, "key=a%3Bb": `map["key":["a;b"]]`, "a;b": `map["a;b":[""]]`, "key=a|b": `map["key":["a|b"]]`,
	} {
		if status, body, _ := ask(t, "GET", url+"/query?"+in, nil); status != 200 || body != want {
			t.Errorf("%s: got %d %s, want %s", in, status, body, want)
		}
	}
}

func TestWithoutCredentialsNobodyIsServed(t *testing.T) {
	url := serve(t, Config{})
	if status, _, _ := ask(t, "GET", url+"/things/a", nil); status != 401 {
		t.Errorf("got %d, want 401", status)
	}
}

// TestLogOfFailures checks that the log has what the client is not told, and nothing that
// an answer has blamed the client for.
func TestLogOfFailures(t *testing.T) {
	taken := errors.New("it stands in the configuration file")
	d := Dialect{
		Name: "one", Prefixes: []string{"/"},
		WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, taken) {
				w.WriteHeader(http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusInternalServerError)
		},
	}
	failing := func(err error) Handler {
		return func(http.ResponseWriter, *http.Request, gate.Principal) error { return err }
	}
	d.Routes = []Route{
		{Name: "taken", Pattern: "GET /taken", Serve: failing(fmt.Errorf("change it: %w", taken))},
		{Name: "broken", Pattern: "GET /broken", Serve: failing(errors.New("the disk is full"))},
	}
	var log bytes.Buffer
	s := New(Config{Anonymous: true, Dialects: []Dialect{d}, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, c := range []struct {
		path   string
		status int
		logged string
	}{{"/taken", 409, ""}, {"/broken", 500, "the disk is full"}} {
		log.Reset()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
		if w.Code != c.status || c.logged == "" && log.Len() > 0 || !strings.Contains(log.String(), c.logged) {
			t.Errorf("%s: got %d, want %d; the log has %q, want %q", c.path, w.Code, c.status, log.String(), c.logged)
		}
	}
}
