package klamm

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// requestsEvery is how often those who follow requests are told.
const requestsEvery = 500 * time.Millisecond

// requestRoutes are the routes for requests of a moment ago.
func (a api) requestRoutes() []front.Route {
	return []front.Route{
		{Name: "requests.list", Pattern: "GET /klamm/v1/requests", Serve: a.listRequests},
		{Name: "requests.tail", Pattern: "GET /klamm/v1/requests/tail", Serve: a.tailRequests, Streams: true},
	}
}

// recentQuery reads which requests are asked for.
func (a api) recentQuery(r *http.Request, who gate.Principal, more ...string) (front.RecentQuery, query, error) {
	q, err := queryOf(r, append([]string{"status", "principal", "route", "topic"}, more...)...)
	if err != nil {
		return front.RecentQuery{}, nil, err
	}
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return front.RecentQuery{}, nil, err
	}
	ask := front.RecentQuery{Status: q.text("status"), Principal: q.text("principal"), Route: q.text("route"), Topic: q.text("topic")}
	if s := ask.Status; s != "" && s != "failed" {
		_, err := strconv.ParseUint(strings.Replace(s, "xx", "00", 1), 10, 16)
		if len(s) != 3 || err != nil {
			return ask, nil, invalid("status: want failed, a class such as 4xx or a status such as 403")
		}
	}
	return ask, q, nil
}

// listRequests serves GET /klamm/v1/requests ?status= &principal= &route= &topic= &after=
// &limit=: requests that this process remembers, the latest first: those that were refused
// or have failed, and a sample of the others. After is next of the answer before.
func (a api) listRequests(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	ask, q, err := a.recentQuery(r, who, "after", "limit")
	if err != nil {
		return err
	}
	if ask.Limit, err = q.limit(); err != nil {
		return err
	}
	if text := q.text("after"); text != "" {
		if ask.Before, err = strconv.ParseUint(text, 10, 64); err != nil || ask.Before == 0 {
			return invalid("after: want next of the answer before")
		}
	}
	list, complete := a.cfg.Recent.Select(ask)
	all, most, skipped := a.cfg.Recent.Counts()
	doc := map[string]any{"requests": list, "complete": complete, "remembered": all, "most": most, "skipped": skipped}
	if id := a.process(); id != "" {
		doc["process"] = id
	}
	if !complete {
		doc["next"] = fmt.Sprint(list[len(list)-1].Number)
	}
	return writeJSON(w, http.StatusOK, "application/json", doc)
}

// tailRequests serves GET /klamm/v1/requests/tail ?status= &principal= &route= &topic=:
// requests as they are remembered, oldest first.
func (a api) tailRequests(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	ask, _, err := a.recentQuery(r, who)
	if err != nil {
		return err
	}
	ask.Limit = mostRows
	ask.After, _, _ = a.cfg.Recent.Counts()
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		ticks := time.NewTicker(requestsEvery)
		defer ticks.Stop()
		asked := time.Now()
		for {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if time.Since(asked) > time.Second { // that may have ended since the stream began
				if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
					return err
				}
				asked = time.Now()
			}
			// All that are new have to be looked at, whether they are wanted or not.
			to, _, _ := a.cfg.Recent.Counts()
			list, _ := a.cfg.Recent.Select(ask)
			for _, one := range slices.Backward(list) {
				emit(one)
				to = max(to, one.Number)
			}
			ask.After = to
		}
	})
}
