package aws

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// createEventBus serves CreateEventBus. Beside AWS's, tags named klamm:order-key,
// klamm:partitions and klamm:retention-hours have a meaning (docs/event-bus.md).
func (a *API) createEventBus(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		Name, EventSourceName *string
		busDetails
		Tags []tag
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("name", q.Name, busShape)
	v.text("eventSourceName", q.EventSourceName, partnerShape)
	q.check(v)
	tags, err := tagsOf(v, q.Tags)
	if fault := v.fault(); fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, err
	}
	name := *q.Name
	if err := a.allow(r, who, "events:CreateEventBus", a.cfg.Buses.ARN(name)); err != nil {
		return nil, err
	}
	switch {
	case q.EventSourceName != nil:
		return nil, eventsFault(events.missing.name, "Event source "+clip(*q.EventSourceName)+" does not exist.")
	case strings.HasPrefix(name, "aws.partner/") || name == "aws.partner":
		return nil, invalid("Event bus name " + clip(name) + " is not valid: such names are those of partner event buses, which are not supported.")
	}
	if err := gate.CheckBusTags(tags); err != nil {
		return nil, invalid("Parameter Tags is not valid. Reason: " + err.Error())
	}
	taken := eventsFault(events.taken.name, "Event bus "+name+" already exists.")
	switch _, _, err := a.cfg.Buses.Get(r.Context(), name); {
	case err == nil:
		return nil, taken
	case !errors.Is(err, gate.ErrNoBus):
		return nil, err
	}
	if all, err := a.cfg.Store.List(r.Context(), catalog.KindBus, ""); err != nil {
		return nil, err
	} else if isDefault := func(d catalog.Document) bool { return d.Name == catalog.DefaultBus }; len(slices.DeleteFunc(all, isDefault))+1 >= a.cfg.Bus.Buses {
		return nil, errLimit // the default bus counts, also before it is used
	}
	b := catalog.Bus{Tags: tags}
	if err := q.into(&b); err != nil {
		return nil, err
	}
	if err := a.cfg.Buses.Make(r.Context(), name, b); err != nil {
		return nil, twinFault(err, "Event bus", name)
	}
	if _, err := a.put(r.Context(), who, catalog.KindBus, name, b, catalog.Absent); err != nil {
		if errors.Is(err, catalog.ErrExists) {
			err = taken
		}
		return nil, err
	}
	return shownBus(map[string]any{"EventBusArn": a.cfg.Buses.ARN(name)}, &b), nil
}

// twinFault says of a name whose topic Kafka refuses why that is: in its metrics dots and
// underscores are the same, and it makes no topics that differ in nothing else.
func twinFault(err error, what, name string) error {
	if !errors.Is(err, kerr.InvalidTopicException) {
		return err
	}
	return invalid(what + " name " + clip(name) + " is not valid: the Kafka cluster cannot have a topic for it, probably because there is one whose name differs in dots and underscores only.")
}

// errLimit is the answer to what there may be no more of.
var errLimit = &fault{name: "LimitExceededException", status: http.StatusBadRequest, message: "The requested resource exceeds the maximum number allowed."}

// describeEventBus serves DescribeEventBus.
func (a *API) describeEventBus(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct{ Name *string }
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("name", q.Name, busRefShape)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:DescribeEventBus", a.busARN(q.Name)); err != nil {
		return nil, err
	}
	doc, b, err := a.bus(r.Context(), textOf(q.Name))
	if err != nil {
		return nil, err
	}
	out := shownBus(a.listedBus(doc, &b), &b)
	return out, nil
}

// busARN is the ARN of the bus that a request names, by its name or ARN.
func (a *API) busARN(given *string) string {
	name := a.cfg.Buses.Name(textOf(given))
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return a.cfg.Buses.ARN(name)
}

// listedBus is a bus as lists show it.
func (a *API) listedBus(doc catalog.Document, b *catalog.Bus) map[string]any {
	out := map[string]any{"Name": doc.Name, "Arn": a.cfg.Buses.ARN(doc.Name), "CreationTime": stamp(doc.Created), "LastModifiedTime": stamp(doc.Changed)}
	if b.Description != nil {
		out["Description"] = *b.Description
	}
	if b.Policy != "" {
		out["Policy"] = b.Policy
	}
	return out
}

// updateEventBus serves UpdateEventBus: what is left out stays.
func (a *API) updateEventBus(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		Name *string
		busDetails
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.busName("name", q.Name, busShape)
	q.check(v)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:UpdateEventBus", a.busARN(q.Name)); err != nil {
		return nil, err
	}
	doc, b, err := a.changeBus(r.Context(), who, textOf(q.Name), q.into)
	if err != nil {
		return nil, err
	}
	return shownBus(map[string]any{"Name": doc.Name, "Arn": a.cfg.Buses.ARN(doc.Name)}, &b), nil
}

// deleteEventBus serves DeleteEventBus. The topics of the bus go with it, unless an
// archive still reads them.
func (a *API) deleteEventBus(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct{ Name *string }
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	if q.Name == nil {
		v.add("name", nil, "not be null")
	}
	v.busName("name", q.Name, busShape)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:DeleteEventBus", a.busARN(q.Name)); err != nil {
		return nil, err
	}
	ctx, name := r.Context(), a.cfg.Buses.Name(*q.Name)
	if name == catalog.DefaultBus {
		return nil, invalid("Cannot delete event bus default.")
	}
	doc, _, err := a.bus(ctx, name)
	if err != nil {
		return nil, err
	}
	rules, err := a.rulesOf(ctx, name, "")
	if err != nil {
		return nil, err
	}
	if len(rules) > 0 {
		return nil, invalid("Event bus " + name + " can't be deleted since it has rules.")
	}
	if err := a.cfg.Store.Delete(ctx, catalog.KindBus, name, doc.Version); err != nil {
		return nil, named(err, "", "Event bus "+name+" does not exist.")
	}
	archives, err := a.cfg.Store.List(ctx, catalog.KindArchive, "")
	for _, archive := range archives {
		var of struct{ EventSourceArn string }
		if json.Unmarshal(archive.Body, &of) != nil || of.EventSourceArn == a.cfg.Buses.ARN(name) {
			return struct{}{}, nil
		}
	}
	if err == nil {
		err = a.cfg.Buses.Unmake(ctx, name)
	}
	if err != nil {
		a.cfg.Log.Warn("the topics of an event bus that was deleted stay", "bus", name, "err", err)
	}
	return struct{}{}, nil
}

// listEventBuses serves ListEventBuses.
func (a *API) listEventBuses(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, busShape)
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:ListEventBuses", a.cfg.Buses.ARN("*")); err != nil {
		return nil, err
	}
	if _, _, err := a.bus(r.Context(), ""); err != nil { // it exists from now on at the latest
		return nil, err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindBus, textOf(q.NamePrefix))
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, doc := range docs {
		if !page.wants(doc.Name) {
			continue
		}
		if page.full(len(list)) {
			break
		}
		var b catalog.Bus
		if err := json.Unmarshal(doc.Body, &b); err != nil {
			return nil, err
		}
		list = append(list, a.listedBus(doc, &b))
		page.last = doc.Name
	}
	return page.answer("EventBuses", list), nil
}
