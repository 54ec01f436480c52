package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// Lambda returns the dialect of the Lambda API: functions, and the event source
// mappings of this API (event-source-mapping.md 3).
func (a *API) Lambda(f *gate.Functions) front.Dialect {
	d := Lambda(f)
	const at = "/2015-03-31/event-source-mappings"
	l := lambda{f}
	mappings := []front.Route{
		{Name: "lambda.CreateEventSourceMapping", Pattern: "POST " + at, Serve: a.createMapping(l)},
		{Name: "lambda.ListEventSourceMappings", Pattern: "GET " + at, Serve: a.listMappings(l)},
		{Name: "lambda.GetEventSourceMapping", Pattern: "GET " + at + "/{uuid}", Serve: a.getMapping},
		{Name: "lambda.UpdateEventSourceMapping", Pattern: "PUT " + at + "/{uuid}", Serve: a.updateMapping(l)},
		{Name: "lambda.DeleteEventSourceMapping", Pattern: "DELETE " + at + "/{uuid}", Serve: a.deleteMapping},
	}
	// Older clients end the path of the collection with a slash.
	for _, route := range mappings[:2] {
		route.Pattern += "/{$}"
		mappings = append(mappings, route)
	}
	for i, route := range d.Routes {
		switch route.Name {
		case "lambda.ListTags":
			d.Routes[i].Serve = a.mappingTags(a.listMappingTags, route.Serve)
		case "lambda.TagResource":
			d.Routes[i].Serve = a.mappingTags(a.tagMapping, route.Serve)
		case "lambda.UntagResource":
			d.Routes[i].Serve = a.mappingTags(a.untagMapping, route.Serve)
		}
	}
	d.Routes = append(d.Routes, mappings...)
	return identified(d)
}

// mappingARN is the ARN of an event source mapping.
func (a *API) mappingARN(uuid string) string {
	return "arn:aws:lambda:" + a.cfg.Region + ":" + a.cfg.Account + ":event-source-mapping:" + uuid
}

// errNoMapping is what calls about a mapping answer that is not there.
var errNoMapping = &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: "The resource you requested does not exist."}

// functionOfMapping finds the function that a request names, and how it is shown.
func (a *API) functionOfMapping(ctx context.Context, l lambda, given *string) (name, arn string, err error) {
	if given == nil {
		v := &violations{}
		v.add("functionName", nil, "not be null")
		return "", "", v.validation()
	}
	name, err = l.name(*given, "")
	var f *lambdaFault
	if errors.As(err, &f) && f.name == "InvalidParameterValueException" {
		return "", "", &lambdaFault{name: "ValidationException", status: http.StatusBadRequest, message: f.message}
	}
	if err != nil || a.cfg.Function == nil || !a.cfg.Function(ctx, name) {
		return "", "", invalidParameter("Function does not exist")
	}
	arn = l.functions.ARN(name)
	if m := functionForms.FindStringSubmatch(*given); m[5] != "" {
		arn += ":" + m[5]
	}
	return name, arn, nil
}

// createMapping serves CreateEventSourceMapping.
func (a *API) createMapping(l lambda) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		var q mappingRequest
		if err := l.read(r, &q); err != nil {
			return err
		}
		of := "*"
		if name, err := l.name(textOf(q.FunctionName), ""); err == nil {
			of = l.functions.ARN(name)
		}
		if err := a.allow(r, who, "lambda:CreateEventSourceMapping", of); err != nil {
			return err
		}
		uuid := newID()
		v := &violations{}
		q.check(v)
		if len(v.texts) > 0 {
			return v.validation()
		}
		for _, check := range []func() error{q.checkOthers, func() error { return q.checkSource(a.cfg.Mapping.StrictAWS) }, func() error { return q.checkRules(a.cfg.Mapping.StrictAWS) }} {
			if err := check(); err != nil {
				return err
			}
		}
		if a.cfg.StrictFilters {
			if err := q.checkStrict(); err != nil {
				return err
			}
		}
		b := mappingBody{Mapping: q.mappingDocument, Tags: q.Tags, Change: mappingCreated}
		var err error
		if b.Function, b.FunctionARN, err = a.functionOfMapping(r.Context(), l, q.FunctionName); err != nil {
			return err
		}
		b.complete(uuid)
		b.Own, _ = a.clusterByBrokers(b.Mapping.servers())
		if err := a.tryMapping(r, who, uuid, &b); err != nil {
			return err
		}
		a.mapping.Lock()
		defer a.mapping.Unlock()
		if err := a.mappingIsFree(r.Context(), uuid, &b); err != nil {
			return err
		}
		if err := a.groupHasRoom(r.Context(), uuid, &b.Mapping); err != nil {
			return err
		}
		doc, err := a.putMapping(r.Context(), who, uuid, &b, q.Enabled != nil && !*q.Enabled, catalog.Absent)
		if err != nil {
			return err
		}
		return a.answerMapping(w, http.StatusAccepted, doc, &b, mappingUnder[mappingCreated])
	}
}

// complete fills in what a new mapping has by default.
func (b *mappingBody) complete(uuid string) {
	d := &b.Mapping
	d.tidy()
	if d.BatchSize == nil {
		hundred := number(100)
		d.BatchSize = &hundred
	}
	if d.StartingPosition == nil {
		position := trimHorizon
		d.StartingPosition = &position
	}
	if d.kafka() == nil {
		k := &mappingKafka{}
		if d.EventSourceArn == nil {
			d.SelfManagedKafkaEventSourceConfig = k
		} else {
			d.AmazonManagedKafkaEventSourceConfig = k
		}
	}
	if k := d.kafka(); k.ConsumerGroupID == nil {
		k.ConsumerGroupID = &uuid
	}
}

// tryMapping refuses a mapping that cannot work, or that its maker may not make: it
// must not be a way around the rules of topics.
func (a *API) tryMapping(r *http.Request, who gate.Principal, uuid string, b *mappingBody) error {
	p, err := a.compileMapping(uuid, b)
	if err != nil {
		return invalidParameter("The event source mapping cannot work: " + err.Error() + ".")
	}
	if p.SourceCluster == "" && p.SourceLogin == nil {
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.ReadData, gate.Resource{Kind: "topic", Name: p.Topics[0]}); err != nil {
			return err
		}
		if to := p.Envelope.FailureTopic; to != "" {
			if err := a.cfg.Gate.Admin(r.Context(), who, gate.WriteData, gate.Resource{Kind: "topic", Name: to}); err != nil {
				return err
			}
		}
	}
	if t := p.Envelope.FailureTarget; t != nil && t.Kind == "topic" {
		var config struct{ Name string }
		if err := json.Unmarshal(t.Config, &config); err != nil {
			return err
		}
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.WriteData, gate.Resource{Kind: "topic", Name: config.Name}); err != nil {
			return err
		}
	}
	if err := a.cfg.Pipes.Check(p); err != nil {
		return invalidParameter("The event source mapping cannot work: " + err.Error() + ".")
	}
	return nil
}

// mappingIsFree refuses a mapping like another that there is already: of the same function
// with a broker and a topic in common, or with its consumer group, which may be no pipe's
// either.
func (a *API) mappingIsFree(ctx context.Context, uuid string, b *mappingBody) error {
	docs, err := a.cfg.Store.List(ctx, catalog.KindMapping, "")
	if err != nil {
		return err
	}
	for _, doc := range docs {
		have, err := readMapping(doc)
		if err != nil || doc.Name == uuid {
			continue
		}
		source := strings.Join(b.Mapping.servers(), ",")
		same := have.Mapping.EventSourceArn != nil && b.Mapping.EventSourceArn != nil && *have.Mapping.EventSourceArn == *b.Mapping.EventSourceArn
		if b.Mapping.EventSourceArn != nil {
			source = *b.Mapping.EventSourceArn
		} else {
			same = slices.ContainsFunc(b.Mapping.servers(), func(s string) bool { return slices.Contains(have.Mapping.servers(), s) })
		}
		if same && have.Function == b.Function && slices.Equal(have.Mapping.Topics, b.Mapping.Topics) {
			return &lambdaFault{name: "ResourceConflictException", status: http.StatusConflict, message: fmt.Sprintf(
				"An event source mapping with event source (\"%s\"), function (\"%s\"), topics (\"%s\") already exists. Please update or delete the existing mapping with UUID %s",
				source, b.FunctionARN, strings.Join(b.Mapping.Topics, ","), doc.Name)}
		}
		if have.group() == b.group() {
			return &lambdaFault{name: "ResourceConflictException", status: http.StatusConflict, message: "The consumer group " + clip(b.group()) + " is that of the event source mapping with UUID " + doc.Name + " already."}
		}
	}
	pipe, err := a.pipeOfGroup(ctx, b.group())
	if err == nil && pipe != "" {
		err = &lambdaFault{name: "ResourceConflictException", status: http.StatusConflict, message: "The consumer group " + clip(b.group()) + " is that of the pipe " + pipe + " already."}
	}
	return err
}

// groupHasRoom refuses a mapping for which there is no room in its poller group.
func (a *API) groupHasRoom(ctx context.Context, uuid string, d *mappingDocument) error {
	group := d.pollerGroup()
	if group == "" {
		return nil
	}
	docs, err := a.cfg.Store.List(ctx, catalog.KindMapping, "")
	if err != nil {
		return err
	}
	mappings := 1
	_, pollers := d.pollers()
	for _, doc := range docs {
		have, err := readMapping(doc)
		if err != nil || doc.Name == uuid || have.Mapping.pollerGroup() != group {
			continue
		}
		_, most := have.Mapping.pollers()
		mappings, pollers = mappings+1, pollers+most
	}
	switch {
	case mappings > mostGroupMappings:
		return invalidParameter(fmt.Sprintf("The poller group %s has %d event source mappings already, which is the most that a poller group can have.", clip(group), mostGroupMappings))
	case pollers > mostGroupPollers:
		return invalidParameter(fmt.Sprintf("The MaximumPollers of all event source mappings in the poller group %s would add up to %d; at most %d are allowed. What is not set counts as %d.", clip(group), pollers, mostGroupPollers, defaultMostPollers))
	}
	return nil
}

func (a *API) putMapping(ctx context.Context, who gate.Principal, uuid string, b *mappingBody, stopped bool, expect int64) (catalog.Document, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return catalog.Document{}, err
	}
	return a.cfg.Store.Put(ctx, catalog.Document{Kind: catalog.KindMapping, Name: uuid, Dialect: dialect, By: who.Name, Stopped: stopped, Body: raw}, expect)
}

// oneMapping finds the mapping that a path names.
func (a *API) oneMapping(r *http.Request, who gate.Principal, action gate.Action) (catalog.Document, mappingBody, error) {
	uuid := r.PathValue("uuid")
	if err := a.allow(r, who, action, a.mappingARN(uuid)); err != nil {
		return catalog.Document{}, mappingBody{}, err
	}
	return a.findMapping(r.Context(), uuid)
}

func (a *API) findMapping(ctx context.Context, uuid string) (catalog.Document, mappingBody, error) {
	if !validUUID(uuid) {
		return catalog.Document{}, mappingBody{}, errNoMapping
	}
	doc, err := a.cfg.Store.Get(ctx, catalog.KindMapping, uuid)
	if errors.Is(err, catalog.ErrNotFound) {
		return doc, mappingBody{}, errNoMapping
	}
	if err != nil {
		return doc, mappingBody{}, err
	}
	b, err := readMapping(doc)
	return doc, b, err
}

// getMapping serves GetEventSourceMapping.
func (a *API) getMapping(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	doc, b, err := a.oneMapping(r, who, "lambda:GetEventSourceMapping")
	if err != nil {
		return err
	}
	return a.answerMapping(w, http.StatusOK, doc, &b, "")
}

// updateMapping serves UpdateEventSourceMapping. What it leaves out stays.
func (a *API) updateMapping(l lambda) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		var q mappingRequest
		if err := l.read(r, &q); err != nil {
			return err
		}
		doc, b, err := a.oneMapping(r, who, "lambda:UpdateEventSourceMapping")
		if err != nil {
			return err
		}
		q.forgetSource()
		v := &violations{}
		if q.check(v); len(v.texts) > 0 {
			return v.validation()
		}
		if err := q.checkOthers(); err != nil {
			return err
		}
		if state := a.mappingState(r.Context(), doc, &b); state.busy {
			return mappingInUse("update")
		}
		if err := b.Mapping.update(&q.mappingDocument); err != nil {
			return err
		}
		if err := b.Mapping.checkRules(a.cfg.Mapping.StrictAWS); err != nil {
			return err
		}
		if a.cfg.StrictFilters {
			if err := q.checkStrict(); err != nil {
				return err
			}
		}
		b.Mapping.tidy()
		before := b.Function
		if q.FunctionName != nil {
			if b.Function, b.FunctionARN, err = a.functionOfMapping(r.Context(), l, q.FunctionName); err != nil {
				return err
			}
		}
		if err := a.tryMapping(r, who, doc.Name, &b); err != nil {
			return err
		}
		a.mapping.Lock()
		defer a.mapping.Unlock()
		if b.Function != before {
			if err := a.mappingIsFree(r.Context(), doc.Name, &b); err != nil {
				return err
			}
		}
		if err := a.groupHasRoom(r.Context(), doc.Name, &b.Mapping); err != nil {
			return err
		}
		stopped := doc.Stopped
		b.Change = mappingUpdated
		if q.Enabled != nil && *q.Enabled == doc.Stopped {
			stopped = !*q.Enabled
			b.Change = map[bool]string{true: mappingDisabled, false: mappingEnabled}[stopped]
		}
		doc, err = a.putMapping(r.Context(), who, doc.Name, &b, stopped, doc.Version)
		if errors.Is(err, catalog.ErrConflict) {
			return mappingInUse("update")
		}
		if err != nil {
			return err
		}
		return a.answerMapping(w, http.StatusAccepted, doc, &b, mappingUnder[b.Change])
	}
}

// deleteMapping serves DeleteEventSourceMapping. A batch that is under way ends, and
// the consumer group stays.
func (a *API) deleteMapping(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	doc, b, err := a.oneMapping(r, who, "lambda:DeleteEventSourceMapping")
	if err != nil {
		return err
	}
	if state := a.mappingState(r.Context(), doc, &b); state.busy {
		return mappingInUse("delete")
	}
	switch err := a.cfg.Store.Delete(r.Context(), catalog.KindMapping, doc.Name, doc.Version); {
	case errors.Is(err, catalog.ErrConflict):
		return mappingInUse("delete")
	case errors.Is(err, catalog.ErrNotFound):
		return errNoMapping
	case err != nil:
		return err
	}
	if err := a.cfg.Pipes.Forget(r.Context(), catalog.MappingPipe(doc.Name)); err != nil {
		a.cfg.Log.Warn("what is remembered of a deleted mapping cannot be forgotten", "mapping", doc.Name, "err", err)
	}
	doc.Changed = now()
	return a.answerMapping(w, http.StatusAccepted, doc, &b, "Deleting")
}

// mostMappings is how many mappings a page has at most.
const mostMappings = 100

// listMappings serves ListEventSourceMappings.
func (a *API) listMappings(l lambda) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		query := r.URL.Query()
		if err := a.allow(r, who, "lambda:ListEventSourceMappings", "*"); err != nil {
			return err
		}
		v := &violations{}
		most := mostMappings
		if text := query.Get("MaxItems"); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				v.add("maxItems", text, "be a number")
			} else {
				v.number("maxItems", &n, 1, 10_000)
			}
			most = int(min(n, mostMappings))
		}
		p, err := pageRequest{}.page(&violations{})
		if marker := query.Get("Marker"); marker != "" {
			p, err = pageRequest{NextToken: &marker}.named(v, "marker")
		}
		if len(v.texts) > 0 || err != nil {
			return v.validation()
		}
		p.limit = most
		var wanted string
		if given := query.Get("FunctionName"); given != "" {
			if wanted, err = l.name(given, ""); err != nil {
				var f *lambdaFault
				if errors.As(err, &f) && f.status == http.StatusBadRequest {
					return &lambdaFault{name: "ValidationException", status: f.status, message: f.message}
				}
				return write(w, "application/json", map[string]any{"EventSourceMappings": []any{}})
			}
		}
		docs, err := a.cfg.Store.List(r.Context(), catalog.KindMapping, "")
		if err != nil {
			return err
		}
		list := []map[string]any{}
		for _, doc := range docs {
			b, err := readMapping(doc)
			if err != nil || !p.wants(doc.Name) || wanted != "" && b.Function != wanted {
				continue
			}
			if arn := query.Get("EventSourceArn"); arn != "" && arn != textOf(b.Mapping.EventSourceArn) {
				continue
			}
			if p.full(len(list)) {
				break
			}
			shown := a.showMapping(doc, &b, a.mappingState(r.Context(), doc, &b))
			if b.Mapping.KMSKeyArn != nil && b.Mapping.FilterCriteria != nil {
				shown["FilterCriteria"] = nil // it is encrypted
			}
			list = append(list, shown)
			p.last = doc.Name
		}
		answer := p.answer("EventSourceMappings", list)
		if token, ok := answer["NextToken"]; ok {
			delete(answer, "NextToken")
			answer["NextMarker"] = token
		}
		return write(w, "application/json", answer)
	}
}

// mappingTags serves the tags of mappings, and leaves those of functions to next.
func (a *API) mappingTags(own func(w http.ResponseWriter, r *http.Request, who gate.Principal, uuid string) error, next front.Handler) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		arn := r.PathValue("arn")
		if plain, err := url.PathUnescape(arn); err == nil {
			arn = plain
		}
		if parts := strings.SplitN(arn, ":", 7); len(parts) == 7 && parts[2] == "lambda" && parts[5] == "event-source-mapping" {
			if arn != a.mappingARN(parts[6]) {
				return errNoMapping
			}
			return own(w, r, who, parts[6])
		}
		return next(w, r, who)
	}
}

func (a *API) listMappingTags(w http.ResponseWriter, r *http.Request, who gate.Principal, uuid string) error {
	if err := a.allow(r, who, gate.ListFunctionTags, a.mappingARN(uuid)); err != nil {
		return err
	}
	_, b, err := a.findMapping(r.Context(), uuid)
	if err != nil {
		return err
	}
	if b.Tags == nil {
		b.Tags = map[string]string{}
	}
	return write(w, "application/json", map[string]any{"Tags": b.Tags})
}

func (a *API) tagMapping(w http.ResponseWriter, r *http.Request, who gate.Principal, uuid string) error {
	var q struct{ Tags map[string]string }
	if err := (lambda{}).read(r, &q); err != nil {
		return err
	}
	return a.retagMapping(w, r, who, gate.TagFunction, uuid, func(tags map[string]string) {
		for key, value := range q.Tags {
			tags[key] = value
		}
	})
}

func (a *API) untagMapping(w http.ResponseWriter, r *http.Request, who gate.Principal, uuid string) error {
	return a.retagMapping(w, r, who, gate.UntagFunction, uuid, func(tags map[string]string) {
		for _, key := range r.URL.Query()["tagKeys"] {
			delete(tags, key)
		}
	})
}

func (a *API) retagMapping(w http.ResponseWriter, r *http.Request, who gate.Principal, action gate.Action, uuid string, change func(map[string]string)) error {
	if err := a.allow(r, who, action, a.mappingARN(uuid)); err != nil {
		return err
	}
	doc, b, err := a.findMapping(r.Context(), uuid)
	if err != nil {
		return err
	}
	tags := map[string]string{}
	for key, value := range b.Tags {
		tags[key] = value
	}
	change(tags)
	if problem := tagProblem(tags); problem != "" {
		return invalidParameter(problem)
	}
	b.Tags = tags
	if _, err := a.putMapping(r.Context(), who, uuid, &b, doc.Stopped, doc.Version); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
