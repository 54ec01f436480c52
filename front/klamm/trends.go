package klamm

import (
	"errors"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/history"
)

// trendRoutes are the routes for how things were a while ago.
func (a api) trendRoutes() []front.Route {
	return []front.Route{{Name: "history", Pattern: "GET /klamm/v1/history", Serve: a.trends}}
}

// trends serves GET /klamm/v1/history ?series=A,B &pipe= &span=1h|24h: the history that
// this process keeps in memory. It is of this process alone, which the answer names.
func (a api) trends(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "series", "pipe", "span")
	if err != nil {
		return err
	}
	if err := a.allow(r, who, gate.AdminRead, q.text("pipe")); err != nil {
		return err
	}
	if a.cfg.Trends == nil {
		return front.ErrNoRoute
	}
	span := history.Hour
	switch q.text("span") {
	case "", "1h":
	case "24h":
		span = history.Day
	default:
		return invalid("span: want 1h or 24h")
	}
	var names []string
	if text := q.text("series"); text != "" {
		names = strings.Split(text, ",")
	}
	if len(names) > 50 {
		return invalid("series: want at most 50")
	}
	answer, err := a.cfg.Trends.Tell(names, q.text("pipe"), span)
	if errors.Is(err, history.ErrNoPipe) {
		return &gate.Error{Kind: gate.NotFound, Message: err.Error()}
	}
	if err != nil {
		return invalid(err.Error())
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Process string `json:"process,omitempty"`
		history.Answer
	}{a.process(), answer})
}
