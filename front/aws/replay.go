package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// mostReplays is how many replays may be starting or running (event-bus.md 10).
const mostReplays = 10

// mostRuleNames bounds the names of the rules that a replay is for, in bytes: every event
// of it carries them.
const mostRuleNames = 16 << 10

var replayStates = []string{catalog.ReplayStarting, catalog.ReplayRunning, catalog.ReplayCancelling, catalog.ReplayCompleted, catalog.ReplayCancelled, catalog.ReplayFailed}

// An eventTime is a time in a request: seconds since 1970, or RFC 3339.
type eventTime time.Time

func (m *eventTime) UnmarshalJSON(b []byte) error {
	wrong := &json.UnmarshalTypeError{Value: "value that is no time", Field: "a timestamp"}
	if bytes.HasPrefix(b, []byte(`"`)) {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return wrong
		}
		*m = eventTime(at)
		return nil
	}
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return wrong
	}
	// The years 0 to 9999 are those that events can have.
	if at := time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(); math.Abs(seconds) < 1e12 && at.Year() >= 0 && at.Year() <= 9999 {
		*m = eventTime(at)
		return nil
	}
	return wrong
}

// A replayRequest is what StartReplay has.
type replayRequest struct {
	ReplayName, Description, EventSourceArn *string
	EventStartTime, EventEndTime            *eventTime
	Destination                             *struct {
		Arn        *string
		FilterArns []string
	}
}

func (q *replayRequest) check() error {
	v := &violations{}
	v.required("replayName", q.ReplayName, nameShape)
	v.text("description", q.Description, long(0, 512))
	v.required("eventSourceArn", q.EventSourceArn, archivedShape)
	if q.EventStartTime == nil {
		v.add("eventStartTime", nil, "not be null")
	}
	if q.EventEndTime == nil {
		v.add("eventEndTime", nil, "not be null")
	}
	if q.Destination == nil {
		v.add("destination", nil, "not be null")
		return v.fault()
	}
	v.required("destination.arn", q.Destination.Arn, long(1, 1600))
	for i := range q.Destination.FilterArns {
		v.text(fmt.Sprintf("destination.filterArns.%d.member", i+1), &q.Destination.FilterArns[i], long(1, 1600))
	}
	return v.fault()
}

// wrongParameter is the error for a member of StartReplay that cannot be used.
func wrongParameter(name, reason string) error {
	return invalid("Parameter " + name + " is not valid. Reason: " + reason)
}

// startReplay serves StartReplay. The replay itself is carried out by package replay, in
// one of the processes.
func (a *API) startReplay(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q replayRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	name, ctx := *q.ReplayName, r.Context()
	if err := a.allow(r, who, "events:StartReplay", a.replayARN(name)); err != nil {
		return nil, err
	}
	b, err := a.newReplay(ctx, &q)
	if err != nil {
		return nil, err
	}
	all, err := a.cfg.Store.List(ctx, catalog.KindReplay, "")
	if err != nil {
		return nil, err
	}
	active := 0
	for _, doc := range all {
		var other catalog.Replay
		if json.Unmarshal(doc.Body, &other) == nil && (other.State == catalog.ReplayStarting || other.State == catalog.ReplayRunning) {
			active++
		}
		if doc.Name == name {
			return nil, takenReplay(name)
		}
	}
	if active >= mostReplays {
		return nil, errLimit
	}
	_, err = a.put(ctx, who, catalog.KindReplay, name, b, catalog.Absent)
	if errors.Is(err, catalog.ErrExists) {
		err = takenReplay(name)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"ReplayArn": a.replayARN(name), "State": b.State, "ReplayStartTime": millis(b.Began)}, nil
}

func takenReplay(name string) error {
	return eventsFault(events.taken.name, "Replay "+name+" already exists.")
}

func (a *API) replayARN(name string) string { return a.eventsARN("replay/" + name) }

func millis(ms int64) stamp { return stamp(time.UnixMilli(ms)) }

// newReplay checks what a replay asks for against what there is.
func (a *API) newReplay(ctx context.Context, q *replayRequest) (b catalog.Replay, err error) {
	archive := a.archiveOf(*q.EventSourceArn)
	if archive == "" {
		return b, wrongParameter("EventSourceArn", "Must contain an archive ARN.")
	}
	_, of, err := a.archive(ctx, archive)
	var f *fault
	if errors.As(err, &f) && f.name == events.missing.name {
		return b, wrongParameter("EventSourceArn", "Archive "+clip(archive)+" does not exist.")
	}
	if err != nil {
		return b, err
	}
	if !strings.HasPrefix(*q.Destination.Arn, a.cfg.Buses.ARN("")) {
		return b, wrongParameter("Destination.Arn", "Must contain an event bus ARN.")
	}
	if *q.Destination.Arn != of.EventSourceArn {
		return b, wrongParameter("Destination.Arn", "Cross event bus replay is not permitted.")
	}
	if _, _, err := a.bus(ctx, of.Bus); err != nil { // an archive may outlive its bus
		return b, err
	}
	from, to := time.Time(*q.EventStartTime), time.Time(*q.EventEndTime)
	if !from.Before(to) {
		return b, wrongParameter("EventEndTime", "EventStartTime must be before EventEndTime.")
	}
	b = catalog.Replay{
		Archive: archive, EventSourceArn: *q.EventSourceArn, Bus: of.Bus, Description: q.Description, Start: from.UnixMilli(), End: to.UnixMilli(),
		FilterArns: q.Destination.FilterArns, State: catalog.ReplayStarting, Began: time.Now().UnixMilli(),
	}
	b.Rules, err = a.replayedRules(ctx, of.Bus, b.FilterArns)
	return b, err
}

// replayedRules returns the names of the rules that a replay is for.
func (a *API) replayedRules(ctx context.Context, bus string, arns []string) (names []string, err error) {
	size := 0
	for _, arn := range arns {
		name := arn[strings.LastIndexByte(arn, '/')+1:]
		if name == "" || arn != a.ruleARN(bus, name) {
			return nil, wrongParameter("Destination.FilterArns", clip(arn)+" is not the ARN of a rule of event bus "+bus+".")
		}
		if _, _, err := a.rule(ctx, bus, name); err != nil {
			var f *fault
			if errors.As(err, &f) && f.name == events.missing.name {
				err = wrongParameter("Destination.FilterArns", f.message)
			}
			return nil, err
		}
		if size += len(name) + 1; size > mostRuleNames {
			return nil, wrongParameter("Destination.FilterArns", "There are too many rules; without any, all get the events.")
		}
		names = append(names, name)
	}
	return names, nil
}

// replay finds a replay that a request names.
func (a *API) replay(r *http.Request, who gate.Principal, action gate.Action, body []byte) (doc catalog.Document, b catalog.Replay, err error) {
	var q struct{ ReplayName *string }
	if err := parse(body, &q); err != nil {
		return doc, b, err
	}
	v := &violations{}
	v.required("replayName", q.ReplayName, nameShape)
	if err := v.fault(); err != nil {
		return doc, b, err
	}
	if err := a.allow(r, who, action, a.replayARN(*q.ReplayName)); err != nil {
		return doc, b, err
	}
	return a.findReplay(r.Context(), *q.ReplayName)
}

func (a *API) findReplay(ctx context.Context, name string) (doc catalog.Document, b catalog.Replay, err error) {
	doc, err = a.cfg.Store.Get(ctx, catalog.KindReplay, name)
	if errors.Is(err, catalog.ErrNotFound) {
		return doc, b, eventsFault(events.missing.name, "Replay "+clip(name)+" does not exist.")
	}
	if err == nil {
		err = json.Unmarshal(doc.Body, &b)
	}
	return doc, b, err
}

// describeReplay serves DescribeReplay.
func (a *API) describeReplay(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, b, err := a.replay(r, who, "events:DescribeReplay", body)
	if err != nil {
		return nil, err
	}
	out := shownReplay(doc, &b)
	out["ReplayArn"] = a.replayARN(doc.Name)
	if b.Description != nil {
		out["Description"] = *b.Description
	}
	destination := map[string]any{"Arn": a.cfg.Buses.ARN(b.Bus)}
	if len(b.FilterArns) > 0 {
		destination["FilterArns"] = b.FilterArns
	}
	out["Destination"] = destination
	return out, nil
}

// shownReplay is a replay as lists show it.
func shownReplay(doc catalog.Document, b *catalog.Replay) map[string]any {
	out := map[string]any{
		"ReplayName": doc.Name, "EventSourceArn": b.EventSourceArn, "State": b.State,
		"EventStartTime": millis(b.Start), "EventEndTime": millis(b.End), "ReplayStartTime": millis(b.Began),
	}
	if b.Reason != "" {
		out["StateReason"] = b.Reason
	}
	if b.LastReplayed != 0 {
		out["EventLastReplayedTime"] = millis(b.LastReplayed)
	}
	if b.Ended != 0 {
		out["ReplayEndTime"] = millis(b.Ended)
	}
	return out
}

// listReplays serves ListReplays.
func (a *API) listReplays(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix, State, EventSourceArn *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, nameShape)
	v.oneOf("state", q.State, replayStates...)
	v.text("eventSourceArn", q.EventSourceArn, archivedShape)
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	filters := 0
	for _, given := range []*string{q.NamePrefix, q.State, q.EventSourceArn} {
		if given != nil {
			filters++
		}
	}
	if filters > 1 {
		return nil, invalid("At most one filter is allowed for ListReplays. Use either : State, EventSourceArn, or NamePrefix.")
	}
	if err := a.allow(r, who, "events:ListReplays", a.replayARN("*")); err != nil {
		return nil, err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindReplay, textOf(q.NamePrefix))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, doc := range docs {
		var b catalog.Replay
		if json.Unmarshal(doc.Body, &b) != nil || !page.wants(doc.Name) || q.State != nil && b.State != *q.State ||
			q.EventSourceArn != nil && b.EventSourceArn != *q.EventSourceArn {
			continue
		}
		if page.full(len(list)) {
			break
		}
		list = append(list, shownReplay(doc, &b))
		page.last = doc.Name
	}
	return page.answer("Replays", list), nil
}

// cancelReplay serves CancelReplay. What has been replayed by then stays so.
func (a *API) cancelReplay(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, b, err := a.replay(r, who, "events:CancelReplay", body)
	for attempt := 1; ; attempt++ {
		if err != nil {
			return nil, err
		}
		if b.State != catalog.ReplayStarting && b.State != catalog.ReplayRunning {
			return nil, eventsFault("IllegalStatusException", "Replay "+doc.Name+" is not in a valid state for this operation.")
		}
		b.State = catalog.ReplayCancelling
		_, err = a.put(r.Context(), who, catalog.KindReplay, doc.Name, b, doc.Version)
		if err == nil {
			return map[string]any{"ReplayArn": a.replayARN(doc.Name), "State": b.State}, nil
		}
		if attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return nil, err
		}
		doc, b, err = a.findReplay(r.Context(), doc.Name)
	}
}
