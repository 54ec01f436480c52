package front_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// withScopes takes the caller's scopes from a header.
type withScopes struct{ ids *[]string } // ids gets those of requests; nil: nobody wants them

func (a withScopes) Authenticate(r *http.Request) (gate.Principal, error) {
	if a.ids != nil {
		*a.ids = append(*a.ids, front.IDOf(r))
	}
	scopes, ok := r.Header["X-Scopes"]
	if !ok {
		return gate.Principal{}, front.ErrNotMine
	}
	return gate.Principal{Name: "User:alice", Scheme: gate.SchemeJWT, Scopes: strings.Fields(scopes[0])}, nil
}

// TestScopesAreInTheAuditLog has a line for who was known and still not let in.
func TestScopesAreInTheAuditLog(t *testing.T) {
	log, path := slog.New(slog.DiscardHandler), filepath.Join(t.TempDir(), "audit.jsonl")
	audit, err := gate.NewAudit(gate.AuditConfig{File: path}, nil, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	g := gate.New(nil)
	g.Record(audit)
	var asked, answered []string // ids of requests
	s := front.New(front.Config{
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log, Gate: g, Authenticators: []front.Authenticator{withScopes{&asked}},
		Dialects: []front.Dialect{{Name: "d", Prefixes: []string{"/"}, Routes: []front.Route{
			{Name: "get", Pattern: "GET /things/{thing}", Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
				w.WriteHeader(http.StatusNoContent)
				return nil
			}},
		}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), map[gate.Kind]int{gate.Denied: 403, gate.Unauthenticated: 401}[gate.Classify(err)])
		}}},
	})
	pattern, err := shape.ParsePattern("GET /things/{thing}")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reshape(front.Edge{Routes: []front.OwnRoute{{Pattern: pattern, Access: &front.Access{Schemes: []string{gate.SchemeJWT}, Scopes: []string{"see"}}}}}); err != nil {
		t.Fatal(err)
	}
	for scopes, want := range map[string]int{"see more": 204, "more": 403} {
		r := httptest.NewRequest("GET", "/things/one", nil)
		r.Header.Set("X-Scopes", scopes)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: got %d %s, want %d", scopes, w.Code, w.Body, want)
		}
		answered = append(answered, w.Header().Get("X-Request-Id"))
	}
	if !slices.Equal(asked, answered) || answered[0] == "" {
		t.Errorf("authenticators see the ids %q, and answers have %q", asked, answered)
	}
	audit.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil { // there is one line
		t.Fatalf("%v: %s", err, text)
	}
	for name, want := range map[string]string{"decision": "deny", "principal": "User:alice", "action": "execute-api:Invoke", "path": "/things/one", "reason": "insufficient scope: this route asks for one of the scopes see"} {
		if line[name] != want {
			t.Errorf("%s: got %v, want %s", name, line[name], want)
		}
	}
}
