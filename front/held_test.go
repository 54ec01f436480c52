package front

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
)

// TestRestOfAnAnswer: what a handler leaves for later is run when it has returned, with
// the answer and the request's context as they were, and not if it has failed.
func TestRestOfAnAnswer(t *testing.T) {
	returned := false
	d := echo("later", "/later")
	d.Routes = append(d.Routes,
		Route{Name: "later", Pattern: "GET /later/rest", Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			defer func() { returned = true }()
			_, _ = io.WriteString(w, "first ")
			Rest(w, func() {
				if !returned || r.Context().Err() != nil {
					t.Errorf("handler returned: %t, context: %v; want it returned, and the context good", returned, r.Context().Err())
				}
				_, _ = io.WriteString(w, "then")
			})
			return nil
		}},
		Route{Name: "failed", Pattern: "GET /later/failed", Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
			Rest(w, func() { t.Error("the rest of an answer that failed was run") })
			return errors.New("no")
		}},
		Route{Name: "cut", Pattern: "GET /later/cut", Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
			_, _ = io.WriteString(w, "begun")
			Rest(w, func() { panic("oh") })
			return nil
		}},
	)
	url := serve(t, Config{Dialects: []Dialect{d}, Anonymous: true})
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{{"/later/rest", http.StatusOK, "first then"}, {"/later/failed", http.StatusInternalServerError, "later"}} {
		resp, err := http.Get(url + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || string(body) != c.body {
			t.Errorf("GET %s: %d %q, %v; want %d %q", c.path, resp.StatusCode, body, err, c.status, c.body)
		}
	}
	// A client must not take for the whole what ends with a panic.
	if resp, err := http.Get(url + "/later/cut"); err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil {
			t.Error("GET /later/cut: the answer ends well, want it cut short")
		}
	}
	if Rest(httptest.NewRecorder(), func() { t.Error("the rest of somebody else's answer was run") }) {
		t.Error("Rest of an answer that is not a server's: true")
	}
}
