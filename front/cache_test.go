package front_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// A counting server says how often it was asked for metadata.
type counting struct {
	*front.Server
	authority *gate.Authority
	made      int
}

func lawOfCaches(t *testing.T, who ...string) gate.Law {
	t.Helper()
	document := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:%s","Resource":"*"}}`
	law := gate.Law{Account: "111122223333", Region: "r", Policies: []gate.PolicyConfig{
		{Name: "call", Kind: "identity", Attach: []string{"User:alice", "User:bob"}, Document: json.RawMessage(strings.Replace(document, "%s", "Invoke", 1))},
	}}
	if len(who) > 0 {
		law.Policies = append(law.Policies, gate.PolicyConfig{Name: "anew", Kind: "identity", Attach: who, Document: json.RawMessage(strings.Replace(document, "%s", "InvalidateCache", 1))})
	}
	return law
}

// startCounting starts a server; guarded says that policies decide.
func startCounting(t *testing.T, cfg front.Cache, guarded bool) *counting {
	t.Helper()
	log, c := slog.New(slog.DiscardHandler), &counting{}
	g := gate.New(nil)
	if guarded {
		var err error
		if c.authority, err = gate.NewAuthority(lawOfCaches(t, "User:bob"), nil, nil, log); err != nil {
			t.Fatal(err)
		}
		g = gate.New(nil, c.authority)
	}
	tell := func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		c.made++
		w.Header().Set("Content-Type", "application/json")
		switch r.PathValue("topic") {
		case "none":
			return front.ErrNoRoute
		case "slow":
			w.WriteHeader(http.StatusAccepted)
		case "large":
			for range 3 {
				_, _ = w.Write(make([]byte, 500_000))
			}
			return nil
		}
		_, err := w.Write([]byte(who.Name + " " + strconv.Itoa(c.made)))
		return err
	}
	c.Server = front.New(front.Config{
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log, Gate: g, Authenticators: []front.Authenticator{byName{}}, Cache: cfg,
		Dialects: []front.Dialect{{Name: "d", Prefixes: []string{"/"}, Routes: []front.Route{
			{Name: "get", Pattern: "GET /topics/{topic}", Serve: tell, Metadata: front.TellsMetadata},
			{Name: "records", Pattern: "GET /topics/{topic}/records", Serve: tell},
			{Name: "create", Pattern: "POST /topics", Serve: func(http.ResponseWriter, *http.Request, gate.Principal) error { return nil }, Metadata: front.ChangesMetadata},
		}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(max(map[gate.Kind]int{gate.Denied: 403}[gate.Classify(err)], 404))
		}}},
	})
	return c
}

// ask makes a request with headers, each "NAME: VALUE".
func (c *counting) ask(method, path, who string, headers ...string) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
	r.Header.Set("X-Name", who)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	c.ServeHTTP(w, r)
	return w
}

func TestMetadataIsKept(t *testing.T) {
	const minute = time.Minute
	for _, c := range []struct {
		name    string
		cfg     front.Cache
		guarded bool
		first   string // request
		second  string
		headers []string // of the second
		made    int
		status  int // of the second
		field   string
	}{
		{"not unless it is configured", front.Cache{}, false, "GET /topics/a alice", "GET /topics/a alice", nil, 2, 200, ""},
		{"the same request", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a alice", nil, 1, 200, "Age"},
		{"another caller where everybody sees the same", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a bob", nil, 1, 200, "Age"},
		{"another caller where policies decide", front.Cache{TTL: minute}, true, "GET /topics/a alice", "GET /topics/a bob", nil, 2, 200, ""},
		{"the same caller where policies decide", front.Cache{TTL: minute}, true, "GET /topics/a alice", "GET /topics/a alice", nil, 1, 200, "Age"},
		{"a header that policies may ask for", front.Cache{TTL: minute}, true, "GET /topics/a alice", "GET /topics/a alice", []string{"X-Color: red"}, 2, 200, ""},
		{"a caller who may not call", front.Cache{TTL: minute}, true, "GET /topics/a alice", "GET /topics/a eve", nil, 1, 404, ""},
		{"another query", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a?x=1 alice", nil, 2, 200, ""},
		{"another format", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a alice", []string{"Accept: text/plain"}, 2, 200, ""},
		{"another host, which links name", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET http://other/topics/a alice", nil, 2, 200, ""},
		{"records", front.Cache{TTL: minute}, false, "GET /topics/a/records alice", "GET /topics/a/records alice", nil, 2, 200, ""},
		{"an error", front.Cache{TTL: minute}, false, "GET /topics/none alice", "GET /topics/none alice", nil, 2, 404, ""},
		{"another status", front.Cache{TTL: minute}, false, "GET /topics/slow alice", "GET /topics/slow alice", nil, 2, 202, ""},
		{"a large answer", front.Cache{TTL: minute}, false, "GET /topics/large alice", "GET /topics/large alice", nil, 2, 200, ""},
		{"a HEAD", front.Cache{TTL: minute}, false, "GET /topics/a alice", "HEAD /topics/a alice", nil, 2, 200, ""},
		{"one that is too old", front.Cache{TTL: 1}, false, "GET /topics/a alice", "GET /topics/a alice", nil, 2, 200, ""},
		{"made anew where there are no policies", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a alice", []string{"Cache-Control: max-age=0"}, 2, 200, ""},
		{"made anew by who may", front.Cache{TTL: minute, Unauthorized: "FAIL_WITH_403"}, true, "GET /topics/a bob", "GET /topics/a bob", []string{"Cache-Control: no-transform, Max-Age=0"}, 2, 200, ""},
		{"not made anew, with a warning", front.Cache{TTL: minute}, true, "GET /topics/a alice", "GET /topics/a alice", []string{"Cache-Control: max-age=0"}, 1, 200, "Warning"},
		{"not made anew, in silence", front.Cache{TTL: minute, Unauthorized: "SUCCEED_WITHOUT_RESPONSE_HEADER"}, true, "GET /topics/a alice", "GET /topics/a alice", []string{"Cache-Control: max-age=0"}, 1, 200, "Age"},
		{"not answered", front.Cache{TTL: minute, Unauthorized: "FAIL_WITH_403"}, true, "GET /topics/a alice", "GET /topics/a alice", []string{"Cache-Control: max-age=0"}, 1, 404, ""},
		{"compressed", front.Cache{TTL: minute}, false, "GET /topics/a alice", "GET /topics/a alice", []string{"Accept-Encoding: gzip"}, 1, 200, "Age"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := startCounting(t, c.cfg, c.guarded)
			ask := func(line string, headers ...string) *httptest.ResponseRecorder {
				f := strings.Fields(line)
				return k.ask(f[0], f[1], f[2], headers...)
			}
			first := ask(c.first)
			second := ask(c.second, c.headers...)
			if k.made != c.made || second.Code != c.status && (c.status != 404 || second.Code != 403) {
				t.Errorf("made %d times, the second answered %d, want %d and %d", k.made, second.Code, c.made, c.status)
			}
			if c.made == 1 && second.Code == 200 && second.Body.String() != first.Body.String() {
				t.Errorf("got %q, and %q before", second.Body, first.Body)
			}
			if c.field != "" && second.Header().Get(c.field) == "" {
				t.Errorf("no %s in %v", c.field, second.Header())
			}
			if _, warned := second.Header()["Warning"]; warned != (c.field == "Warning") {
				t.Errorf("warning: %v", second.Header()["Warning"])
			}
			if c.cfg.TTL > 0 && second.Code == 200 && strings.HasPrefix(c.second, "GET") && !strings.Contains(c.second, "records") && !strings.Contains(c.second, "large") {
				tag := second.Header().Get("Etag")
				if again := ask(c.second, append(c.headers, `If-None-Match: "x", `+tag)...); c.cfg.TTL == minute && k.made == c.made && (again.Code != http.StatusNotModified || again.Body.Len() != 0 || again.Header().Get("Etag") != tag) {
					t.Errorf("If-None-Match %s: %d %v %q", tag, again.Code, again.Header(), again.Body)
				}
			}
		})
	}
}

func TestKeptAnswersEndWithWhatTheyTell(t *testing.T) {
	k := startCounting(t, front.Cache{TTL: time.Minute}, true)
	expect := func(when string, made int) {
		t.Helper()
		if w := k.ask("GET", "/topics/a", "alice"); w.Code != 200 || k.made != made {
			t.Errorf("%s: answered %d, made %d times, want %d", when, w.Code, k.made, made)
		}
	}
	expect("at first", 1)
	expect("again", 1)
	if w := k.ask("POST", "/topics", "alice"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	expect("after a change of topics", 2)
	expect("again", 2)
	if err := k.authority.Replace(lawOfCaches(t)); err != nil {
		t.Fatal(err)
	}
	expect("after a change of policies", 3)
}

func TestKeptAnswersAreBounded(t *testing.T) {
	k := startCounting(t, front.Cache{TTL: time.Minute}, false)
	// Each counts as a KiB at least.
	for i := range 40_000 {
		k.ask("GET", "/topics/"+strconv.Itoa(i), "alice")
	}
	before := k.made
	k.ask("GET", "/topics/0", "alice")
	k.ask("GET", "/topics/39999", "alice")
	if k.made != before+1 {
		t.Errorf("%d of the first and the last are made again, want only the first", k.made-before)
	}
}
