package klamm

import (
	"context"
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// usageRoutes are the routes for what usage plans have counted. Plans are shown, and
// changed in the configuration file.
func (a api) usageRoutes() []front.Route {
	return []front.Route{
		{Name: "usage.list", Pattern: "GET /klamm/v1/usage", Serve: a.usage},
		{Name: "usage.plan", Pattern: "GET /klamm/v1/usage/{plan}", Serve: a.usage},
	}
}

// usage serves GET /klamm/v1/usage and /klamm/v1/usage/{plan}: what each API key has
// used of its quotas in the present period.
func (a api) usage(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	if a.cfg.Gate != nil {
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.AdminRead, gate.Resource{Kind: "cluster"}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	list, err := a.cfg.Limits.Usage(ctx, r.PathValue("plan"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"usage": list})
}
