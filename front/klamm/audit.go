package klamm

import (
	"context"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// auditRoutes are the routes for the audit log.
func (a api) auditRoutes() []front.Route {
	return []front.Route{{Name: "audit.list", Pattern: "GET /klamm/v1/audit", Serve: a.listAudit}}
}

// listAudit serves GET /klamm/v1/audit ?from= &who= &act= &after= &limit=: lines of the
// audit log, the latest first. After is next of the answer before.
func (a api) listAudit(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "from", "who", "act", "after", "limit")
	if err != nil {
		return err
	}
	if a.cfg.Gate == nil {
		return front.ErrNoRoute
	}
	ask := gate.AuditQuery{Who: q.text("who"), Act: q.text("act")}
	if ask.Limit, err = q.limit(); err != nil {
		return err
	}
	if text := q.text("from"); text != "" {
		if ask.From, err = (query{"since": {text}}).since(); err != nil {
			return invalid("from: want a time such as 2026-01-31T12:00:00Z, or how long ago such as -15m")
		}
	}
	if text := q.text("after"); text != "" {
		if ask.Before, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return invalid("after: want next of the answer before")
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	answer, err := a.cfg.Gate.Audited(ctx, who, ask)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", answer)
}
