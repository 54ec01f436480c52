package klamm

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// describeBus is the action of looking at a bus, as EventBridge has it.
const describeBus gate.Action = "events:DescribeEventBus"

// mostBusRules bounds the rules and the targets of one look at a bus.
const mostBusRules = 200

// A busLookDoc is what this process knows of a bus.
type busLookDoc struct {
	Bus     string    `json:"bus"`
	Topic   string    `json:"topic"`
	Process string    `json:"process"`
	Started time.Time `json:"started,omitzero"` // of the process, since when it counts
	pipe.BusLook
	// Samples are the latest events that no rule matched.
	Samples []pipe.Sample `json:"samples"`
	// Withheld says that the caller does not see samples, since the topic of the bus is
	// masked, or not for the caller to read.
	Withheld bool `json:"withheld,omitempty"`
}

// lookAtBus serves GET /klamm/v1/buses/{bus} ?rules=A,B: busLookDoc, what this process has
// counted of the bus and of its rules, and how their targets are. Definitions are what the
// EventBridge API is for.
func (a api) lookAtBus(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "rules")
	if err != nil {
		return err
	}
	if a.cfg.Buses == nil || a.cfg.Gate == nil {
		return &gate.Error{Kind: gate.NotFound, Message: "there are no event buses"}
	}
	name := r.PathValue("bus")
	if err := a.cfg.Gate.Admin(r.Context(), who, describeBus, gate.Resource{Kind: "arn", Name: a.cfg.Buses.ARN(name)}); err != nil {
		return err
	}
	if _, _, err := a.cfg.Buses.Get(r.Context(), name); err != nil {
		if errors.Is(err, gate.ErrNoBus) {
			return &gate.Error{Kind: gate.NotFound, Message: err.Error()}
		}
		return err
	}
	var rules []string
	if text := q.text("rules"); text != "" {
		if rules = strings.Split(text, ","); len(rules) > mostBusRules {
			return invalid(fmt.Sprintf("rules: at most %d names", mostBusRules))
		}
	}
	doc := busLookDoc{Bus: name, Topic: event.BusTopic(name), Process: a.process(), Started: a.cfg.Started, Samples: []pipe.Sample{},
		BusLook: pipe.BusLook{Rules: []pipe.RuleCounts{}, Targets: []pipe.BusTarget{}}}
	if a.cfg.Pipes != nil {
		doc.BusLook = a.cfg.Pipes.LookAtBus(name, rules, mostBusRules)
		doc.Withheld = !a.shows(r, who, doc.Topic)
		if samples := a.cfg.Pipes.Unmatched(name); samples != nil && !doc.Withheld {
			doc.Samples = samples
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", doc)
}
