package aws

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/pipe"
)

// A mappingStanding is how far a mapping is (event-source-mapping.md 7).
type mappingStanding struct {
	state  string
	busy   bool // a change is being carried out
	result pipe.MappingResult
}

const (
	// restingAfter is how long after a change a mapping that is disabled has left its
	// group for sure, and one that is enabled is only looking for its brokers.
	restingAfter = 2 * time.Minute
	// membersWithin bounds the question who is in a group.
	membersWithin = 5 * time.Second
)

// mappingState says how far a mapping is. It is enabled where this process works for
// it, since all do the same, and disabled when no process of klamm is in its group any
// more.
func (a *API) mappingState(ctx context.Context, doc catalog.Document, b *mappingBody) mappingStanding {
	name := catalog.MappingPipe(doc.Name)
	s := mappingStanding{state: "Enabled", result: pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.NothingProcessed}}
	if doc.Stopped {
		s.state = "Disabled"
	}
	known := false
	if result, ok := a.cfg.Pipes.Result(name); ok {
		s.result, known = result, true
	}
	under := func() mappingStanding {
		s.state, s.busy = mappingUnder[b.Change], true
		return s
	}
	if err := a.cfg.Mappings.Problem(doc.Name); isWaiting(err) {
		s.result = waitingResult(err)
		if !known {
			s.state = mappingUnder[b.Change] // it has never run
		}
		return s
	} else if err != nil {
		s.result = pipe.MappingResult{Reason: "ESM_CONFIG_NOT_VALID", Result: "PROBLEM: The event source is not known."}
		return s
	}
	local, err := a.cfg.Pipes.Local(name)
	switch settled := time.Since(doc.Changed) > restingAfter; {
	case errors.Is(err, pipe.ErrNoPipe), err == nil && local.Version < doc.Version:
		if settled && known {
			return s // this process has just started
		}
		return under()
	case doc.Stopped && local.Running:
		return under()
	case doc.Stopped && !settled:
		asking, cancel := context.WithTimeout(ctx, membersWithin)
		defer cancel()
		if members, err := a.cfg.Pipes.OwnMembers(asking, name); err == nil && members > 0 {
			return under()
		}
		return s
	case doc.Stopped, local.Running:
		return s
	case local.Err != nil:
		s.result = pipe.MappingTrouble(local.Err)
		if !known {
			s.state = mappingUnder[b.Change] // its start is not pinned yet
		}
		return s
	case settled && known:
		return s
	}
	return under()
}

// answerMapping answers with a mapping; state is what it is, or empty where that is to
// be found out.
func (a *API) answerMapping(w http.ResponseWriter, status int, doc catalog.Document, b *mappingBody, state string) error {
	ctx, cancel := context.WithTimeout(context.Background(), membersWithin)
	defer cancel()
	s := mappingStanding{state: state, result: pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.NothingProcessed}}
	if state == "" {
		s = a.mappingState(ctx, doc, b)
	} else if result, ok := a.cfg.Pipes.Result(catalog.MappingPipe(doc.Name)); ok {
		s.result.Result = result.Result
	}
	body, err := json.Marshal(a.showMapping(doc, b, s))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// showMapping is a mapping as answers have it. What was never set is left out.
func (a *API) showMapping(doc catalog.Document, b *mappingBody, s mappingStanding) map[string]any {
	shown := map[string]any{}
	raw, err := json.Marshal(b.Mapping)
	if err == nil {
		err = json.Unmarshal(raw, &shown)
	}
	if err != nil { // it came out of JSON
		shown = map[string]any{}
	}
	shown["UUID"] = doc.Name
	shown["EventSourceMappingArn"] = a.mappingARN(doc.Name)
	shown["FunctionArn"] = b.FunctionARN
	shown["LastModified"] = stamp(doc.Changed)
	shown["State"] = s.state
	shown["StateTransitionReason"] = s.result.Reason
	shown["LastProcessingResult"] = s.result.Result
	return shown
}
