package klamm

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// mostReasons is how many groups of dead letters are told apart; the letters of others are
// counted together.
const mostReasons = 200

// A letterGroup are the dead letters that were given up for the same reason.
type letterGroup struct {
	Reason string `json:"reason"`
	Status int    `json:"status"` // of the last answer; 0: there was none
	Count  int    `json:"count"`
	// Oldest and Newest are when the first and the last of them were given up, and Example
	// is the id of the last.
	Oldest  time.Time `json:"oldest"`
	Newest  time.Time `json:"newest"`
	Example string    `json:"example"`
}

// groupLetters serves GET /klamm/v1/pipes/{pipe}/dead-letters/reasons: {"groups":
// [letterGroup], "letters": N, "others": N}, the largest group first. Others are the letters
// for reasons beyond the first 200. It reads the whole dead-letter topic.
func (a api) groupLetters(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	type why struct {
		status int
		reason string
	}
	groups := map[why]*letterGroup{}
	all, others := 0, 0
	for l, err := range a.cfg.Pipes.Letters(ctx, name) {
		if err != nil {
			return err
		}
		all++
		at := why{l.Status, l.Reason}
		g := groups[at]
		switch {
		case g == nil && len(groups) == mostReasons:
			others++
			continue
		case g == nil:
			g = &letterGroup{Reason: l.Reason, Status: l.Status, Oldest: l.At}
			groups[at] = g
		}
		g.Count++
		if l.At.Before(g.Oldest) {
			g.Oldest = l.At
		}
		if !l.At.Before(g.Newest) {
			g.Newest, g.Example = l.At, l.ID
		}
	}
	list := make([]letterGroup, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b letterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Newest.Compare(a.Newest), cmp.Compare(a.Reason, b.Reason))
	})
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"groups": list, "letters": all, "others": others})
}
