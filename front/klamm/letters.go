package klamm

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// listLetters serves GET /klamm/v1/pipes/{pipe}/dead-letters?limit=&reason=:
// {"dead_letters": [Letter], "more": bool, "topic": NAME}, the oldest first, with a reason
// only those that were given up for it. The topic is the one that they lie in, at the
// partition and offset of their ids.
func (a api) listLetters(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	q, err := queryOf(r, "limit", "reason")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime) // the whole topic may be read
	defer cancel()
	topic, err := a.cfg.Pipes.LetterTopic(name)
	if err != nil {
		return err
	}
	letters, more := []pipe.Letter{}, false
	for l, err := range a.cfg.Pipes.Letters(ctx, name) {
		if err != nil {
			return err
		}
		if len(q["reason"]) > 0 && l.Reason != q.text("reason") {
			continue
		}
		if more = len(letters) == limit; more {
			break
		}
		letters = append(letters, l)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"dead_letters": letters, "more": more, "topic": topic})
}

// finished is the last line of a long operation that has done what was asked for.
type finished struct {
	Finished bool `json:"finished"`
	pipe.Progress
}

// redrive serves POST /klamm/v1/pipes/{pipe}/dead-letters/redrive {"letters"?, "value"?}:
// lines of Progress, the last one with "finished". Without ids all letters go. A value
// takes the place of that of the one letter that is named: a text, {"base64": TEXT}, or
// null for none.
func (a api) redrive(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var ask struct {
		Letters *[]string       `json:"letters"`
		Value   json.RawMessage `json:"value"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	ids, err := lettersOf(ask.Letters, "leave it out to redrive all")
	if err != nil {
		return err
	}
	act := func(ctx context.Context, report func(pipe.Progress)) (pipe.Progress, error) {
		return a.cfg.Pipes.Redrive(ctx, name, ids, report)
	}
	if ask.Value != nil {
		if len(ids) != 1 {
			return invalid("value: letters has to name one letter, which gets it")
		}
		value, err := valueOf(ask.Value)
		if err != nil {
			return err
		}
		act = func(ctx context.Context, report func(pipe.Progress)) (pipe.Progress, error) {
			return a.cfg.Pipes.RedriveEdited(ctx, name, ids[0], value, report)
		}
	}
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		p, err := act(ctx, func(p pipe.Progress) { emit(p) })
		if err == nil {
			emit(finished{true, p})
		}
		return err
	})
}

// valueOf reads the value of a record: a text, {"base64": TEXT}, or null.
func valueOf(raw json.RawMessage) ([]byte, error) {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text == nil {
			return nil, nil
		}
		return []byte(*text), nil
	}
	var packed struct {
		Base64 *[]byte `json:"base64"`
	}
	if err := json.Unmarshal(raw, &packed); err != nil || packed.Base64 == nil {
		return nil, invalid(`value: want a text, {"base64": TEXT}, or null`)
	}
	return *packed.Base64, nil
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
