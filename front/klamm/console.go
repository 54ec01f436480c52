package klamm

import (
	"net/http"

	"github.com/klamm-gateway/klamm/console"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// consoleRoutes are the routes of the web console's files. They are public: what they
// show is not.
func (a api) consoleRoutes() []front.Route {
	if !a.cfg.Console {
		return nil
	}
	return []front.Route{
		{Name: "console.page", Pattern: "GET /{$}", Serve: servePage, Public: true, When: console.Wants},
		{Name: "console.start", Pattern: "GET /klamm/console", Serve: servePage, Public: true},
		{Name: "console.file", Pattern: "GET /klamm/console/{file...}", Serve: serveFile, Public: true},
	}
}

// servePage serves GET / to browsers, and GET /klamm/console to everybody.
func servePage(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	console.Serve(w, r, "")
	return nil
}

// serveFile serves GET /klamm/console/{file...}.
func serveFile(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	console.Serve(w, r, r.PathValue("file"))
	return nil
}
