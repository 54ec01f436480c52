package aws

import (
	"encoding/json"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/rule"
)

// testEventPattern serves TestEventPattern (event-patterns.md 6).
func (a *API) testEventPattern(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct{ EventPattern, Event *string }
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("eventPattern", q.EventPattern, long(0, 4096))
	if q.Event == nil {
		v.add("event", nil, "not be null")
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:TestEventPattern", a.eventsARN("*")); err != nil {
		return nil, err
	}
	pattern, err := rule.Compile([]byte(*q.EventPattern))
	if err != nil {
		return nil, patternFault(err)
	}
	wrong := invalid("Parameter Event is not valid.")
	var event map[string]json.RawMessage
	if json.Unmarshal([]byte(*q.Event), &event) != nil {
		return nil, wrong
	}
	for _, member := range []string{"id", "account", "source", "time", "region", "detail-type"} {
		if _, ok := event[member]; !ok {
			return nil, wrong
		}
	}
	matched, err := pattern.Match([]byte(*q.Event))
	if err != nil {
		return nil, wrong
	}
	return map[string]any{"Result": matched}, nil
}
