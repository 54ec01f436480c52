// Package klamm is the HTTP API of klamm itself: what none of the dialects has.
package klamm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// A Config is what the operations report on.
type Config struct {
	// Ready returns nil while klamm can produce and poll, and otherwise an
	// error that names what is wrong; several may be joined.
	Ready func(context.Context) error
	// Metrics answers with the Prometheus series.
	Metrics http.Handler
}

// Dialect returns klamm's own API.
func Dialect(cfg Config) front.Dialect {
	a := api{cfg}
	return front.Dialect{
		Name:     "klamm",
		Prefixes: []string{"/klamm", "/healthy", "/ready", "/metrics"},
		Routes: []front.Route{
			{Name: "healthy", Pattern: "GET /healthy", Serve: a.healthy, Public: true},
			{Name: "ready", Pattern: "GET /ready", Serve: a.ready, Public: true},
			{Name: "metrics", Pattern: "GET /metrics", Serve: a.metrics, Public: true},
		},
		WriteError: writeError,
	}
}

type api struct{ cfg Config }

// healthy answers 200 as long as the process serves at all.
func (a api) healthy(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"healthy": true})
}

// ready answers 200 while klamm can produce and poll, and otherwise 503 with
// what is wrong.
func (a api) ready(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	err := a.cfg.Ready(r.Context())
	if err == nil {
		return writeJSON(w, http.StatusOK, "application/json", map[string]any{"ready": true})
	}
	problems := []string{err.Error()}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		problems = problems[:0]
		for _, e := range several.Unwrap() {
			problems = append(problems, e.Error())
		}
	}
	return writeJSON(w, http.StatusServiceUnavailable, "application/json", map[string]any{"ready": false, "problems": problems})
}

func (a api) metrics(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	a.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

// writeError answers in the form of RFC 9457.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	status, detail := http.StatusInternalServerError, "an unexpected error; the log has the details"
	switch {
	case errors.Is(err, front.ErrNoRoute):
		status, detail = http.StatusNotFound, "there is nothing at this path"
	case errors.Is(err, front.ErrMethod):
		status, detail = http.StatusMethodNotAllowed, "this path does not have that method"
	case gate.Classify(err) == gate.Unauthenticated:
		status, detail = http.StatusUnauthorized, err.Error()
	case gate.Classify(err) == gate.Denied:
		status, detail = http.StatusForbidden, err.Error()
	}
	_ = writeJSON(w, status, "application/problem+json", map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}

func writeJSON(w http.ResponseWriter, status int, media string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}
