package front_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// byName takes the caller's name from a header; "nobody" is refused.
type byName struct{}

func (byName) Authenticate(r *http.Request) (gate.Principal, error) {
	switch name := r.Header.Get("X-Name"); name {
	case "":
		return gate.Principal{}, front.ErrNotMine
	case "nobody":
		return gate.Principal{}, &front.Refusal{Kind: gate.Unauthenticated, Message: "no such key"}
	case "visitor":
		return gate.Principal{Name: "User:visitor", Scheme: gate.SchemeAuthorizer, Policy: json.RawMessage(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)}, nil
	default:
		return gate.Principal{Name: "User:" + name}, nil
	}
}

func TestEveryRequestComesInByTheGate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	authority, err := gate.NewAuthority(gate.Law{Account: "111122223333", Region: "r", Policies: []gate.PolicyConfig{{Name: "p", Kind: "identity", Attach: []string{"User:alice"}, Document: json.RawMessage(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"execute-api:/$default/GET/things/a b","Condition":{"StringEquals":{"klamm:Route":"GET /things/{thing}"}}}}`)}}}, nil, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	audit, err := gate.NewAudit(gate.AuditConfig{File: path}, nil, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	g := gate.New(nil, authority)
	g.Record(audit)
	served := 0
	serve := func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
		served++
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s := front.New(front.Config{
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log, Gate: g, Authenticators: []front.Authenticator{byName{}},
		Dialects: []front.Dialect{{Name: "d", Prefixes: []string{"/"}, Routes: []front.Route{
			{Name: "get", Pattern: "GET /things/{thing}", Serve: serve}, {Name: "put", Pattern: "PUT /things/{thing}", Serve: serve}, {Name: "open", Pattern: "GET /open", Serve: serve, Public: true},
		}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := map[gate.Kind]int{gate.Denied: 403, gate.Unauthenticated: 401}[gate.Classify(err)]
			if repeat := (*front.RepeatError)(nil); errors.As(err, &repeat) {
				status = repeat.Status
			}
			http.Error(w, err.Error(), max(status, 400))
		}}},
	})
	for _, c := range []struct {
		name, method, path, who string
		want                    int
	}{
		{"allowed", "GET", "/things/a%20b", "alice", 204},
		{"allowed, in another spelling", "GET", "/things/%61%20%62/", "alice", 204},
		{"its head", "HEAD", "/things/a%20b", "alice", 204},
		{"other path", "GET", "/things/b", "alice", 403},
		{"other method", "PUT", "/things/a%20b", "alice", 403},
		{"other caller", "GET", "/things/a%20b", "bob", 403},
		{"a policy of an HTTP authorizer", "GET", "/things/a%20b", "visitor", 403},
		{"bad credentials", "GET", "/things/a%20b", "nobody", 401},
		{"no credentials", "GET", "/things/a%20b", "", 401},
		{"a path too long to be named", "GET", "/things/" + strings.Repeat("a", 2000), "alice", 414},
		{"for everybody", "GET", "/open", "", 204},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, nil)
			r.Header.Set("X-Name", c.who)
			w, before := httptest.NewRecorder(), served
			s.ServeHTTP(w, r)
			if w.Code != c.want || (served > before) != (c.want == 204) {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
			if c.who == "visitor" && (w.Body.String() != `{"Message":"User is not authorized to access this resource with an explicit deny"}` || w.Header().Get("X-Amzn-Errortype") != "AccessDeniedException") {
				t.Errorf("got %s %v", w.Body, w.Header())
			}
			if c.path != "/open" && w.Header().Get("X-Request-Id") == "" {
				t.Error("the answer has no request id")
			}
		})
	}
	audit.Close()
	text, _ := os.ReadFile(path)
	if lines := strings.Count(string(text), "\n"); lines != 6 || strings.Count(string(text), `"unauthenticated"`) != 2 {
		t.Errorf("audit log:\n%s", text)
	}
	if err := s.Shutdown(withTimeout(t)); err != nil {
		t.Error(err)
	}
}

func withTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestPoliciesKnowTheSizeOfBodiesThatAreThere checks that a condition on the size of a
// request holds too where the client has not announced it, or has compressed it.
func TestPoliciesKnowTheSizeOfBodiesThatAreThere(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	authority, err := gate.NewAuthority(gate.Law{Account: "111122223333", Region: "r", Policies: []gate.PolicyConfig{{Name: "p", Kind: "identity", Attach: []string{"User:alice"}, Document: json.RawMessage(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
			{"Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"*","Condition":{"NumericGreaterThan":{"klamm:RequestBytes":"100"}}}]}`)}}}, nil, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	s := front.New(front.Config{
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log, Gate: gate.New(nil, authority), Authenticators: []front.Authenticator{byName{}},
		Sizes: front.Sizes{Body: 1 << 20, InFlight: 1 << 20},
		Dialects: []front.Dialect{{Name: "d", Prefixes: []string{"/"}, Routes: []front.Route{{Name: "put", Pattern: "PUT /things/{thing}", Serve: func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			_, release, err := front.ReadBody(r)
			if err != nil {
				return err
			}
			defer release()
			if err = authority.Check(r.Context(), &gate.Call{Principal: who, Action: gate.WriteData, Resource: gate.Resource{Kind: "topic", Name: "t"}}); err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
			return err
		}}}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), map[gate.Kind]int{gate.Denied: 403}[gate.Classify(err)])
		}}},
	})
	server := httptest.NewServer(s)
	defer server.Close()
	squeezed := new(bytes.Buffer)
	z := gzip.NewWriter(squeezed)
	_, _ = z.Write(bytes.Repeat([]byte("a"), 101))
	_ = z.Close()
	for _, c := range []struct {
		name     string
		body     io.Reader
		encoding string
		want     int
	}{
		{"announced", strings.NewReader(strings.Repeat("a", 100)), "", 204},
		{"announced, too long", strings.NewReader(strings.Repeat("a", 101)), "", 403},
		{"in chunks", io.MultiReader(strings.NewReader(strings.Repeat("a", 100))), "", 204},
		{"in chunks, too long", io.MultiReader(strings.NewReader(strings.Repeat("a", 101))), "", 403},
		{"compressed, too long", squeezed, "gzip", 403},
		{"none", nil, "", 204},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/things/a", c.body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("X-Name", "alice")
		if c.encoding != "" {
			q.Header.Set("Content-Encoding", c.encoding)
		}
		answer, err := server.Client().Do(q)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, answer.StatusCode, c.want)
		}
	}
}

// asking notes the ids of the requests that it is asked about.
type asking struct{ ids *[]string }

func (a asking) Authenticate(r *http.Request) (gate.Principal, error) {
	*a.ids = append(*a.ids, front.IDOf(r))
	return gate.Principal{Name: "User:a"}, nil
}

// TestAuthenticatorsKnowTheIDsOfRequests checks that who is asked to authenticate a request
// can be told its id, without stages too.
func TestAuthenticatorsKnowTheIDsOfRequests(t *testing.T) {
	var ids []string
	s := front.New(front.Config{Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Authenticators: []front.Authenticator{asking{&ids}}, IDs: true,
		Dialects: []front.Dialect{{Name: "d", Prefixes: []string{"/"}, Routes: []front.Route{{Name: "get", Pattern: "GET /things", Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}}}}}})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/things", nil))
	if id := w.Header().Get("X-Request-Id"); w.Code != 204 || id == "" || len(ids) != 1 || ids[0] != id {
		t.Errorf("%d with the id %q, asked about %q", w.Code, id, ids)
	}
}
