package confluent2

import (
	_ "embed"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

//go:embed openapi.json
var openAPI []byte

// operationRoutes are what the other implementers of this API serve for those who
// operate it; it is there whatever the profile (rest-apis.md 7).
func operationRoutes(a *api) []front.Route {
	return []front.Route{
		{Name: "openapi", Pattern: "GET /openapi", Serve: a.describe, Public: true},
		{Name: "openapi.v3", Pattern: "GET /openapi/v3", Serve: a.describe, Public: true},
		{Name: "health", Pattern: "GET /_health", Serve: a.health, Public: true},
		{Name: "status.ready", Pattern: "GET /status/ready", Serve: a.ready, Public: true},
	}
}

// describe serves GET /openapi and GET /openapi/v3: this API as an OpenAPI 3.1
// document, with what klamm has added to it.
func (a *api) describe(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return write(w, mediaPlain, openAPI)
}

// health serves GET /_health, which is Karapace's: 200 as long as the process
// serves at all. The version is klamm's.
func (a *api) health(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	b := append([]byte(`{"process_uptime_sec":`), strconv.FormatInt(int64(time.Since(a.start)/time.Second), 10)...)
	b = append(b, `,"karapace_version":`...)
	return write(w, mediaPlain, append(appendText(b, version()), '}'))
}

// ready serves GET /status/ready, which is Redpanda's: 200 without a body while
// klamm can produce and poll, otherwise 503 with what is wrong.
func (a *api) ready(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	if a.cfg.Ready != nil {
		if err := a.cfg.Ready(r.Context()); err != nil {
			return refuse(http.StatusServiceUnavailable, 50302, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// version is klamm's own, as the Go tool has stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
