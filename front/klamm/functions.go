package klamm

import (
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
)

// functionRoutes are those for what functions have done. All else of them has the API of
// the Lambda service.
func (a api) functionRoutes() []front.Route {
	return []front.Route{{Name: "functions.list", Pattern: "GET /klamm/v1/functions", Serve: a.listTallies}}
}

// A tallyDoc is what this process has run a function for since it began to know it.
type tallyDoc struct {
	Function    string `json:"function"`
	Invocations int64  `json:"invocations"`
	Errors      int64  `json:"errors"`
	Throttled   int64  `json:"throttled"`
	// LatencyP50 and LatencyP95 are of the last invocations; null: none was answered.
	LatencyP50 *float64 `json:"latency_p50"`
	LatencyP95 *float64 `json:"latency_p95"`
}

// listTallies serves GET /klamm/v1/functions ?search= &after= &limit=: {"functions":
// [tallyDoc], "next"?, "total", "process"}, by name. It is of this process alone, which the
// answer names.
func (a api) listTallies(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "search", "after", "limit")
	if err != nil {
		return err
	}
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	var all []function.Tally
	if a.cfg.Functions != nil {
		all = a.cfg.Functions()
	}
	name := func(t function.Tally) string { return t.Function }
	page, err := choose(q, all, name, func(t function.Tally) []string { return []string{name(t)} })
	if err != nil {
		return err
	}
	docs := make([]tallyDoc, len(page.list))
	for i, t := range page.list {
		docs[i] = tallyDoc{Function: t.Function, Invocations: t.Invocations, Errors: t.Errors, Throttled: t.Throttled}
		if t.P95 > 0 {
			docs[i].LatencyP50, docs[i].LatencyP95 = seconds(&t.P50), seconds(&t.P95)
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Functions []tallyDoc `json:"functions"`
		Next      string     `json:"next,omitempty"`
		Total     int        `json:"total"`
		Process   string     `json:"process,omitempty"`
	}{docs, page.next, page.total, a.process()})
}
