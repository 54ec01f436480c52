package klamm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

const (
	// storySince is how far back an event is looked for, unless the caller says.
	storySince = 24 * time.Hour
	// mostEventID bounds the id of an event.
	mostEventID = 256
)

// tellEvent serves GET /klamm/v1/buses/{bus}/events/{id} ?since=: {"id", "bus", "copies":
// [StoryCopy], "withheld"?}, an event's way through the rules of a bus. Whoever may not
// read the bus's topic gets it without the event itself.
func (a api) tellEvent(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "since")
	if err != nil {
		return err
	}
	if a.cfg.Buses == nil || a.cfg.Gate == nil || a.cfg.Pipes == nil {
		return &gate.Error{Kind: gate.NotFound, Message: "there are no event buses"}
	}
	bus, id := r.PathValue("bus"), r.PathValue("id")
	if len(id) > mostEventID {
		return invalid("the id of the event is too long")
	}
	if err := a.cfg.Gate.Admin(r.Context(), who, describeBus, gate.Resource{Kind: "arn", Name: a.cfg.Buses.ARN(bus)}); err != nil {
		return err
	}
	doc, _, err := a.cfg.Buses.Get(r.Context(), bus)
	if errors.Is(err, gate.ErrNoBus) {
		return &gate.Error{Kind: gate.NotFound, Message: err.Error()}
	}
	if err != nil {
		return err
	}
	since, err := q.since()
	if err != nil {
		return err
	}
	if since.IsZero() {
		since = time.Now().Add(-storySince)
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime) // the whole of a partition may be read
	defer cancel()
	copies, err := a.cfg.Pipes.Story(ctx, doc.Name, id, since)
	if err != nil {
		return err
	}
	if len(copies) == 0 {
		return &gate.Error{Kind: gate.NotFound, Message: "event bus " + doc.Name + " has no such event since " + since.UTC().Format(time.RFC3339)}
	}
	answer := struct {
		ID       string           `json:"id"`
		Bus      string           `json:"bus"`
		Copies   []pipe.StoryCopy `json:"copies"`
		Withheld bool             `json:"withheld,omitempty"`
	}{id, doc.Name, copies, !a.shows(r, who, copies[0].Topic)}
	for i := range copies {
		if answer.Withheld {
			copies[i].Event = nil
			for k := range copies[i].Targets {
				copies[i].Targets[k].Attempts = withoutResponses(copies[i].Targets[k].Attempts)
			}
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", answer)
}

// withoutResponses leaves out of attempts what receivers have said, which can be of what
// they were sent.
func withoutResponses(attempts []pipe.Attempt) []pipe.Attempt {
	for i := range attempts {
		attempts[i].Response = ""
	}
	return attempts
}
