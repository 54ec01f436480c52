package klamm

import (
	"context"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// listLetters serves GET /klamm/v1/pipes/{pipe}/dead-letters?limit=:
// {"dead_letters": [Letter], "more": bool}, the oldest first.
func (a api) listLetters(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	q, err := queryOf(r, "limit")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime) // the whole topic may be read
	defer cancel()
	letters, more := []pipe.Letter{}, false
	for l, err := range a.cfg.Pipes.Letters(ctx, name) {
		if err != nil {
			return err
		}
		if more = len(letters) == limit; more {
			break
		}
		letters = append(letters, l)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"dead_letters": letters, "more": more})
}

// finished is the last line of a long operation that has done what was asked for.
type finished struct {
	Finished bool `json:"finished"`
	pipe.Progress
}

// redrive serves POST /klamm/v1/pipes/{pipe}/dead-letters/redrive {"letters"?}:
// lines of Progress, the last one with "finished". Without ids all letters go.
func (a api) redrive(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var ask struct {
		Letters *[]string `json:"letters"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	ids, err := lettersOf(ask.Letters, "leave it out to redrive all")
	if err != nil {
		return err
	}
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		p, err := a.cfg.Pipes.Redrive(ctx, name, ids, func(p pipe.Progress) { emit(p) })
		if err == nil {
			emit(finished{true, p})
		}
		return err
	})
}

// lettersOf returns the ids that a body names. An empty list is an error: it
// would mean all of them, which a script that has found none does not mean.
func lettersOf(list *[]string, instead string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	if len(*list) == 0 {
		return nil, invalid("letters is an empty list; " + instead)
	}
	return *list, nil
}

// discard serves POST /klamm/v1/pipes/{pipe}/dead-letters/discard with either
// {"letters"} or {"all": true}: {"discarded": N}.
func (a api) discard(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var ask struct {
		Letters *[]string `json:"letters"`
		All     bool      `json:"all"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	ids, err := lettersOf(ask.Letters, `"all": true discards all`)
	if err != nil {
		return err
	}
	if ask.All == (ids != nil) {
		return invalid(`want either letters, a list of ids, or "all": true`)
	}
	ctx, cancel := a.untilStopping(r.Context())
	defer cancel()
	n, err := a.cfg.Pipes.Discard(ctx, name, ids)
	if err != nil {
		return ended(ctx, err)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"discarded": n})
}
