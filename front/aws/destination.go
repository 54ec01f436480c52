package aws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// A destination is an HTTP endpoint as it lies in the catalog (event-bus.md 6).
type destination struct {
	ID                           string
	Description                  *string `json:",omitempty"`
	ConnectionArn                string
	InvocationEndpoint           string
	HTTPMethod                   string
	InvocationRateLimitPerSecond *number `json:",omitempty"`
}

// usualRate is how many requests a second a destination takes that does not say.
const usualRate = 300

func (d *destination) rate() int {
	if d.InvocationRateLimitPerSecond != nil {
		return int(*d.InvocationRateLimitPerSecond)
	}
	return usualRate
}

var (
	connectionArn   = like(1, 1600, `^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:connection\/[\.\-_A-Za-z0-9]+\/[\-A-Za-z0-9]+$`)
	endpointShape   = like(1, 2048, `^((%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@\x26=+$,A-Za-z0-9])+)([).!';/?:,])?$`)
	destinationKeys = []string{"POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
)

// A destinationRequest is what calls about API destinations have.
type destinationRequest struct {
	Name                         *string
	Description                  *string
	ConnectionArn                *string
	InvocationEndpoint           *string
	HttpMethod                   *string
	InvocationRateLimitPerSecond *number
	pageRequest
}

func (q *destinationRequest) check(v *violations, creates bool) {
	v.required("name", q.Name, nameShape)
	v.text("description", q.Description, long(0, 512))
	v.text("connectionArn", q.ConnectionArn, connectionArn)
	v.text("invocationEndpoint", q.InvocationEndpoint, endpointShape)
	v.oneOf("httpMethod", q.HttpMethod, destinationKeys...)
	v.number("invocationRateLimitPerSecond", q.InvocationRateLimitPerSecond.int(), 1, math.MaxInt32)
	if creates {
		v.required("connectionArn", q.ConnectionArn, shape{})
		v.required("invocationEndpoint", q.InvocationEndpoint, shape{})
		v.required("httpMethod", q.HttpMethod, shape{})
	}
}

// destinationARN is the ARN of an API destination.
func (a *API) destinationARN(name, id string) string {
	return a.eventsARN("api-destination/" + name + "/" + id)
}

func (a *API) eventsARN(rest string) string {
	return "arn:aws:events:" + a.cfg.Region + ":" + a.cfg.Account + ":" + rest
}

// destinationOf finds what an ARN names, as far as this process has heard of it.
func (a *API) destinationOf(arn string) (*destination, error) {
	m := destinationArn.FindStringSubmatch(arn)
	if m == nil {
		return nil, fmt.Errorf("%s is no API destination", clip(arn))
	}
	doc, ok := a.cfg.Store.Look(catalog.KindDestination, m[1])
	if !ok {
		return nil, &absent{"the API destination " + arn + " does not exist"}
	}
	d, err := readDestination(doc)
	if err == nil && d.ID != m[2] {
		return nil, &absent{"the API destination " + arn + " does not exist"}
	}
	return d, err
}

// An absent is the error of something that a definition names and that is not there.
type absent struct{ text string }

func (e *absent) Error() string { return e.text }

// upToDate looks for what a call names once more if it is absent, when this process has
// heard of all that was stored before the call: another process may have just made it.
func (a *API) upToDate(ctx context.Context, look func() error) error {
	err := look()
	var gone *absent
	if !errors.As(err, &gone) {
		return err
	}
	if err := a.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	return look()
}

func readDestination(doc catalog.Document) (*destination, error) {
	d := &destination{}
	return d, json.Unmarshal(doc.Body, d)
}

// createAPIDestination serves CreateApiDestination.
func (a *API) createAPIDestination(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q destinationRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v, true)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:CreateApiDestination", a.eventsARN("api-destination/"+*q.Name)); err != nil {
		return nil, err
	}
	if err := a.checkDestination(r.Context(), &q); err != nil {
		return nil, err
	}
	d := destination{ID: newID(), Description: q.Description, ConnectionArn: *q.ConnectionArn, InvocationEndpoint: *q.InvocationEndpoint, HTTPMethod: *q.HttpMethod, InvocationRateLimitPerSecond: q.InvocationRateLimitPerSecond}
	doc, err := a.put(r.Context(), who, catalog.KindDestination, *q.Name, d, catalog.Absent)
	if err != nil {
		return nil, named(err, "An api-destination '"+*q.Name+"' already exists.", "")
	}
	return a.destinationState(doc, &d), nil
}

// checkDestination reports what a destination must not name.
func (a *API) checkDestination(ctx context.Context, q *destinationRequest) error {
	if q.ConnectionArn != nil {
		err := a.upToDate(ctx, func() error { _, err := a.connectionOf(*q.ConnectionArn); return err })
		switch {
		case errors.Is(err, catalog.ErrUnavailable):
			return err
		case err != nil:
			return &fault{name: "ResourceNotFoundException", status: http.StatusBadRequest, message: "Failed to find the connection: " + err.Error() + "."}
		}
	}
	if q.InvocationEndpoint == nil {
		return nil
	}
	u, err := url.Parse(strings.ReplaceAll(*q.InvocationEndpoint, "*", "x"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return invalid("Parameter InvocationEndpoint is not valid. Reason: it must be a URL such as https://HOST/PATH.")
	}
	if err := a.cfg.Egress.CheckHost(u.Hostname()); err != nil {
		return invalid("Parameter InvocationEndpoint is not valid. Reason: " + err.Error() + ".")
	}
	return nil
}

// destinationState is what calls that change a destination answer.
func (a *API) destinationState(doc catalog.Document, d *destination) map[string]any {
	state := "INACTIVE"
	if c, err := a.connectionOf(d.ConnectionArn); err == nil && c.State == authorized {
		state = "ACTIVE"
	}
	return map[string]any{"ApiDestinationArn": a.destinationARN(doc.Name, d.ID), "ApiDestinationState": state, "CreationTime": stamp(doc.Created), "LastModifiedTime": stamp(doc.Changed)}
}

// describedDestination is a destination as lists and descriptions show it.
func (a *API) describedDestination(doc catalog.Document, d *destination) map[string]any {
	out := a.destinationState(doc, d)
	out["Name"], out["ConnectionArn"], out["InvocationEndpoint"], out["HttpMethod"] = doc.Name, d.ConnectionArn, d.InvocationEndpoint, d.HTTPMethod
	out["InvocationRateLimitPerSecond"] = d.rate()
	return out
}

// describeAPIDestination serves DescribeApiDestination.
func (a *API) describeAPIDestination(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, d, err := a.oneDestination(r, who, "events:DescribeApiDestination", "describe", body)
	if err != nil {
		return nil, err
	}
	out := a.describedDestination(doc, d)
	if d.Description != nil {
		out["Description"] = *d.Description
	}
	return out, nil
}

// oneDestination finds the destination that a call names.
func (a *API) oneDestination(r *http.Request, who gate.Principal, action gate.Action, verb string, body []byte) (catalog.Document, *destination, error) {
	name, err := a.nameIn(r, who, action, "api-destination", body)
	if err != nil {
		return catalog.Document{}, nil, err
	}
	doc, err := a.cfg.Store.Get(r.Context(), catalog.KindDestination, name)
	if err != nil {
		return doc, nil, named(err, "", "Failed to "+verb+" the api-destination(s). An api-destination '"+name+"' does not exist.")
	}
	d, err := readDestination(doc)
	return doc, d, err
}

// updateAPIDestination serves UpdateApiDestination: what is left out stays.
func (a *API) updateAPIDestination(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q destinationRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v, false)
	if err := v.fault(); err != nil {
		return nil, err
	}
	doc, d, err := a.oneDestination(r, who, "events:UpdateApiDestination", "update", body)
	if err != nil {
		return nil, err
	}
	if err := a.checkDestination(r.Context(), &q); err != nil {
		return nil, err
	}
	if q.Description != nil {
		d.Description = q.Description
	}
	if q.ConnectionArn != nil {
		d.ConnectionArn = *q.ConnectionArn
	}
	if q.InvocationEndpoint != nil {
		d.InvocationEndpoint = *q.InvocationEndpoint
	}
	if q.HttpMethod != nil {
		d.HTTPMethod = *q.HttpMethod
	}
	if q.InvocationRateLimitPerSecond != nil {
		d.InvocationRateLimitPerSecond = q.InvocationRateLimitPerSecond
	}
	if doc, err = a.put(r.Context(), who, catalog.KindDestination, doc.Name, d, doc.Version); err != nil {
		return nil, err
	}
	return a.destinationState(doc, d), nil
}

// deleteAPIDestination serves DeleteApiDestination. Pipes that deliver to it fail from
// then on, and go on when there is one again.
func (a *API) deleteAPIDestination(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, _, err := a.oneDestination(r, who, "events:DeleteApiDestination", "delete", body)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.cfg.Store.Delete(r.Context(), catalog.KindDestination, doc.Name, catalog.Any)
}

// listAPIDestinations serves ListApiDestinations.
func (a *API) listAPIDestinations(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix    *string
		ConnectionArn *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, nameShape)
	v.text("connectionArn", q.ConnectionArn, connectionArn)
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:ListApiDestinations", a.eventsARN("api-destination/*")); err != nil {
		return nil, err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindDestination, textOf(q.NamePrefix))
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, doc := range docs {
		d, err := readDestination(doc)
		if err != nil || q.ConnectionArn != nil && d.ConnectionArn != *q.ConnectionArn || !page.wants(doc.Name) {
			continue
		}
		if page.full(len(list)) {
			break
		}
		list = append(list, a.describedDestination(doc, d))
		page.last = doc.Name
	}
	return page.answer("ApiDestinations", list), nil
}

// put stores what these APIs keep.
func (a *API) put(ctx context.Context, who gate.Principal, kind, name string, body any, expect int64) (catalog.Document, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return catalog.Document{}, err
	}
	return a.cfg.Store.Put(ctx, catalog.Document{Kind: kind, Name: name, Dialect: dialect, By: who.Name, Body: raw}, expect)
}

// newID returns a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// named gives an error of the catalog the words of EventBridge.
func named(err error, taken, missing string) error {
	f := events.faultOf(err)
	switch {
	case taken != "" && f.name == events.taken.name:
		f.message = taken
	case missing != "" && f.name == events.missing.name:
		f.message = missing
	}
	return f
}

// now is when something was authorized.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// replace takes over a member that an update names; nil leaves the field as it is.
func replace[T any](field **T, by *T) {
	if by != nil {
		*field = by
	}
}
