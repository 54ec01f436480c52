package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// A connection is how an endpoint is called, as it lies in the catalog (event-bus.md
// 7). Whatever is secret in Auth is sealed.
type connection struct {
	ID                string
	Description       *string `json:",omitempty"`
	KmsKeyIdentifier  *string `json:",omitempty"`
	AuthorizationType string
	Auth              authParameters
	Connectivity      *connectivity `json:",omitempty"`
	State             string
	StateReason       string    `json:",omitempty"`
	Authorized        time.Time `json:",omitzero"`
	Revoked           bool      `json:",omitempty"` // its secrets are gone
	Round             int       `json:",omitempty"` // how often it has begun again

	name string
}

// The states of connections that klamm has.
const (
	authorized    = "AUTHORIZED"
	authorizing   = "AUTHORIZING"
	deauthorized  = "DEAUTHORIZED"
	basic, apiKey = "BASIC", "API_KEY"
	oauth         = "OAUTH_CLIENT_CREDENTIALS"
)

type authParameters struct {
	BasicAuthParameters      *basicParameters  `json:",omitempty"`
	OAuthParameters          *oauthParameters  `json:",omitempty"`
	ApiKeyAuthParameters     *apiKeyParameters `json:",omitempty"`
	InvocationHttpParameters *connectionHTTP   `json:",omitempty"`
	ConnectivityParameters   *connectivity     `json:",omitempty"`
}

type basicParameters struct {
	Username *string `json:",omitempty"`
	Password *string `json:",omitempty"`
}

type apiKeyParameters struct {
	ApiKeyName  *string `json:",omitempty"`
	ApiKeyValue *string `json:",omitempty"`
}

type oauthParameters struct {
	ClientParameters      *clientParameters `json:",omitempty"`
	AuthorizationEndpoint *string           `json:",omitempty"`
	HttpMethod            *string           `json:",omitempty"`
	OAuthHttpParameters   *connectionHTTP   `json:",omitempty"`
}

type clientParameters struct {
	ClientID     *string `json:",omitempty"`
	ClientSecret *string `json:",omitempty"`
}

type connectionHTTP struct {
	HeaderParameters      []parameter `json:",omitempty"`
	QueryStringParameters []parameter `json:",omitempty"`
	BodyParameters        []parameter `json:",omitempty"`
}

type parameter struct {
	Key           *string `json:",omitempty"`
	Value         *string `json:",omitempty"`
	IsValueSecret *bool   `json:",omitempty"`
}

func (p parameter) secret() bool { return p.IsValueSecret != nil && *p.IsValueSecret }

// lists returns the parameters by where they go.
func (h *connectionHTTP) lists() map[string][]parameter {
	if h == nil {
		return nil
	}
	return map[string][]parameter{"headers": h.HeaderParameters, "query": h.QueryStringParameters, "body": h.BodyParameters}
}

// secrets visits everything that is secret, and may replace it.
func (p *authParameters) secrets(visit func(**string) error) error {
	var all []**string
	if p.BasicAuthParameters != nil {
		all = append(all, &p.BasicAuthParameters.Password)
	}
	if p.ApiKeyAuthParameters != nil {
		all = append(all, &p.ApiKeyAuthParameters.ApiKeyValue)
	}
	https := []*connectionHTTP{p.InvocationHttpParameters}
	if o := p.OAuthParameters; o != nil {
		if o.ClientParameters != nil {
			all = append(all, &o.ClientParameters.ClientSecret)
		}
		https = append(https, o.OAuthHttpParameters)
	}
	for _, h := range https {
		for _, list := range h.lists() {
			for i := range list {
				if list[i].secret() {
					all = append(all, &list[i].Value)
				}
			}
		}
	}
	for _, s := range all {
		if *s == nil {
			continue
		}
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

// copied returns parameters that can be changed on their own.
func (p authParameters) copied() (own authParameters, err error) {
	raw, err := json.Marshal(p)
	if err == nil {
		err = json.Unmarshal(raw, &own)
	}
	return own, err
}

// A connectionRequest is what calls about connections have.
type connectionRequest struct {
	Name              *string
	Description       *string
	AuthorizationType *string
	AuthParameters    *authParameters
	KmsKeyIdentifier  *string

	InvocationConnectivityParameters *connectivity
}

// complete reports what a connection of its kind must have.
func (p *authParameters) complete(kind string) error {
	missing := func(what string) error {
		return invalid("Authorization type " + kind + " needs AuthParameters." + what + ".")
	}
	switch kind {
	case basic:
		if b := p.BasicAuthParameters; b == nil || b.Username == nil || b.Password == nil {
			return missing("BasicAuthParameters with Username and Password")
		}
		p.ApiKeyAuthParameters, p.OAuthParameters = nil, nil
	case apiKey:
		if k := p.ApiKeyAuthParameters; k == nil || k.ApiKeyName == nil || k.ApiKeyValue == nil {
			return missing("ApiKeyAuthParameters with ApiKeyName and ApiKeyValue")
		}
		p.BasicAuthParameters, p.OAuthParameters = nil, nil
	case oauth:
		o := p.OAuthParameters
		if o == nil || o.ClientParameters == nil || o.ClientParameters.ClientID == nil || o.ClientParameters.ClientSecret == nil || o.AuthorizationEndpoint == nil || o.HttpMethod == nil {
			return missing("OAuthParameters with ClientParameters, AuthorizationEndpoint and HttpMethod")
		}
		p.BasicAuthParameters, p.ApiKeyAuthParameters = nil, nil
	}
	return nil
}

// place is where the secrets of a connection belong: elsewhere they cannot be opened.
func (c *connection) place() string { return "connection/" + c.name + "/" + c.ID }

// seal seals the secrets of parameters that came with a call.
func (a *API) seal(ctx context.Context, c *connection, p *authParameters) error {
	return p.secrets(func(s **string) error {
		sealed, err := a.cfg.Seal.Close(ctx, c.place(), **s)
		*s = &sealed
		return err
	})
}

func readConnection(doc catalog.Document) (*connection, error) {
	c := &connection{name: doc.Name}
	return c, json.Unmarshal(doc.Body, c)
}

// connectionOf finds what an ARN names, as far as this process has heard of it.
func (a *API) connectionOf(arn string) (*connection, error) {
	parts := strings.Split(arn, "/")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%s is no connection", clip(arn))
	}
	doc, ok := a.cfg.Store.Look(catalog.KindConnection, parts[1])
	if !ok {
		return nil, &absent{"the connection " + clip(arn) + " does not exist"}
	}
	c, err := readConnection(doc)
	if err == nil && c.ID != parts[2] {
		return nil, &absent{"the connection " + clip(arn) + " does not exist"}
	}
	return c, err
}

// authorize gives a webhook what its connection has.
func (a *API) authorize(ctx context.Context, c *connection, config map[string]any) error {
	if c.Revoked {
		return &revoked{absent{"the connection " + c.name + " is not authorized: " + c.StateReason}}
	}
	p, err := c.Auth.copied()
	if err != nil {
		return err
	}
	err = p.secrets(func(s **string) error {
		text, err := a.cfg.Seal.Open(ctx, c.place(), **s)
		*s = &text
		return err
	})
	if err != nil {
		return fmt.Errorf("connection %s: %w", c.name, err)
	}
	switch c.AuthorizationType {
	case basic:
		config["auth"] = map[string]any{"basic": map[string]any{"username": *p.BasicAuthParameters.Username, "password": secretOf(*p.BasicAuthParameters.Password)}}
	case apiKey:
		config["auth"] = map[string]any{"api_key": map[string]any{"header": *p.ApiKeyAuthParameters.ApiKeyName, "value": secretOf(*p.ApiKeyAuthParameters.ApiKeyValue)}}
	case oauth:
		o := p.OAuthParameters
		token := map[string]any{"token_url": *o.AuthorizationEndpoint, "method": *o.HttpMethod, "client_id": *o.ClientParameters.ClientID, "client_secret": secretOf(*o.ClientParameters.ClientSecret)}
		token["connection"] = c.login()
		o.OAuthHttpParameters.into(token)
		config["auth"] = map[string]any{"oauth": token}
	}
	if p.InvocationHttpParameters != nil {
		more := map[string]any{}
		p.InvocationHttpParameters.into(more)
		if len(more) > 0 {
			config["connection"] = more
		}
	}
	return nil
}

// A revoked is the error of a connection that was deauthorized.
type revoked struct{ absent }

func (e *revoked) Unwrap() error { return &e.absent }

// into adds parameters to what a webhook is configured with. A header or a part of the
// query without a value is none; a member of the body may be an empty string.
func (h *connectionHTTP) into(config map[string]any) {
	for where, list := range h.lists() {
		to, blank := map[string]any{}, map[string]bool{}
		for _, p := range list {
			switch {
			case p.Value == nil:
			case *p.Value != "":
				to[*p.Key] = secretOf(*p.Value)
				delete(blank, *p.Key)
			case where == "body":
				blank[*p.Key] = true
				delete(to, *p.Key)
			}
		}
		if len(blank) > 0 {
			config["blank"] = slices.Sorted(maps.Keys(blank))
		}
		if len(to) > 0 {
			config[where] = to
		}
	}
}

// createConnection serves CreateConnection.
func (a *API) createConnection(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q connectionRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v, true)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := q.AuthParameters.complete(*q.AuthorizationType); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:CreateConnection", a.eventsARN("connection/"+*q.Name)); err != nil {
		return nil, err
	}
	c := &connection{ID: newID(), Description: q.Description, KmsKeyIdentifier: q.KmsKeyIdentifier, AuthorizationType: *q.AuthorizationType, Auth: *q.AuthParameters, Connectivity: q.InvocationConnectivityParameters, name: *q.Name}
	c.begin()
	if err := a.seal(r.Context(), c, &c.Auth); err != nil {
		return nil, err
	}
	doc, err := a.put(r.Context(), who, catalog.KindConnection, *q.Name, c, catalog.Absent)
	if err != nil {
		return nil, named(err, "Connection "+*q.Name+" already exists.", "")
	}
	a.prove(doc, c)
	return a.connectionState(doc, c), nil
}

// begin puts a connection into the state that a new or changed one has.
func (c *connection) begin() {
	c.State, c.StateReason, c.Authorized, c.Revoked = authorized, "", now(), false
	c.Round++
	if c.AuthorizationType == oauth {
		c.State, c.Authorized = authorizing, time.Time{}
	}
}

// login names how the connection logs in now: deliveries that still do it as it was
// before a change are told apart.
func (c *connection) login() string { return c.name + "/" + c.ID + "/" + strconv.Itoa(c.Round) }

// connectionState is what calls that change a connection answer.
func (a *API) connectionState(doc catalog.Document, c *connection) map[string]any {
	out := map[string]any{"ConnectionArn": a.eventsARN("connection/" + doc.Name + "/" + c.ID), "ConnectionState": c.State, "CreationTime": stamp(doc.Created), "LastModifiedTime": stamp(doc.Changed)}
	if !c.Authorized.IsZero() {
		out["LastAuthorizedTime"] = stamp(c.Authorized)
	}
	return out
}

// describedConnection is a connection as lists show it.
func (a *API) describedConnection(doc catalog.Document, c *connection) map[string]any {
	out := a.connectionState(doc, c)
	out["Name"], out["AuthorizationType"] = doc.Name, c.AuthorizationType
	if c.StateReason != "" {
		out["StateReason"] = c.StateReason
	}
	return out
}

// describeConnection serves DescribeConnection. Secrets are left out.
func (a *API) describeConnection(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, c, err := a.oneConnection(r, who, "events:DescribeConnection", "describe", body)
	if err != nil {
		return nil, err
	}
	shown, err := c.Auth.copied()
	if err != nil {
		return nil, err
	}
	if err := shown.secrets(func(s **string) error { *s = nil; return nil }); err != nil {
		return nil, err
	}
	out := a.describedConnection(doc, c)
	shown.ConnectivityParameters = a.associated(c, shown.ConnectivityParameters)
	out["AuthParameters"] = shown
	if given := a.associated(c, c.Connectivity); given != nil {
		out["InvocationConnectivityParameters"] = given
	}
	out["SecretArn"] = "arn:aws:secretsmanager:" + a.cfg.Region + ":" + a.cfg.Account + ":secret:events!connection/" + doc.Name + "/" + c.ID + "-" + c.ID[:6]
	if c.Description != nil {
		out["Description"] = *c.Description
	}
	if c.KmsKeyIdentifier != nil {
		out["KmsKeyIdentifier"] = *c.KmsKeyIdentifier
	}
	return out, nil
}

// nameIn reads the name in a call about a connection or a destination, and asks
// whether the caller may make it.
func (a *API) nameIn(r *http.Request, who gate.Principal, action gate.Action, kind string, body []byte) (string, error) {
	var q struct{ Name *string }
	if err := parse(body, &q); err != nil {
		return "", err
	}
	v := &violations{}
	v.required("name", q.Name, nameShape)
	if err := v.fault(); err != nil {
		return "", err
	}
	return *q.Name, a.allow(r, who, action, a.eventsARN(kind+"/"+*q.Name))
}

// oneConnection finds the connection that a call names.
func (a *API) oneConnection(r *http.Request, who gate.Principal, action gate.Action, verb string, body []byte) (catalog.Document, *connection, error) {
	name, err := a.nameIn(r, who, action, "connection", body)
	if err != nil {
		return catalog.Document{}, nil, err
	}
	doc, err := a.cfg.Store.Get(r.Context(), catalog.KindConnection, name)
	if err != nil {
		return doc, nil, named(err, "", "Failed to "+verb+" the connection(s). Connection '"+name+"' does not exist.")
	}
	c, err := readConnection(doc)
	return doc, c, err
}

// updateConnection serves UpdateConnection. What is left out stays, secrets included;
// another kind needs its own parameters.
func (a *API) updateConnection(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q connectionRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v, false)
	if err := v.fault(); err != nil {
		return nil, err
	}
	doc, c, err := a.oneConnection(r, who, "events:UpdateConnection", "update", body)
	if err != nil {
		return nil, err
	}
	if q.AuthParameters != nil {
		if err := a.seal(r.Context(), c, q.AuthParameters); err != nil {
			return nil, err
		}
		c.Auth.update(q.AuthParameters)
	}
	if q.AuthorizationType != nil {
		c.AuthorizationType = *q.AuthorizationType
	}
	if err := c.Auth.complete(c.AuthorizationType); err != nil {
		return nil, err
	}
	replace(&c.Description, q.Description)
	replace(&c.KmsKeyIdentifier, q.KmsKeyIdentifier)
	if q.InvocationConnectivityParameters != nil {
		c.Connectivity = q.InvocationConnectivityParameters
	}
	c.begin()
	if doc, err = a.put(r.Context(), who, catalog.KindConnection, doc.Name, c, doc.Version); err != nil {
		return nil, named(err, "", "")
	}
	a.prove(doc, c)
	return a.connectionState(doc, c), nil
}

// update takes over what parameters name. Their secrets are sealed already.
func (p *authParameters) update(u *authParameters) {
	set := func(to **string, from *string) {
		if from != nil {
			*to = from
		}
	}
	if b := u.BasicAuthParameters; b != nil {
		if p.BasicAuthParameters == nil {
			p.BasicAuthParameters = &basicParameters{}
		}
		set(&p.BasicAuthParameters.Username, b.Username)
		set(&p.BasicAuthParameters.Password, b.Password)
	}
	if k := u.ApiKeyAuthParameters; k != nil {
		if p.ApiKeyAuthParameters == nil {
			p.ApiKeyAuthParameters = &apiKeyParameters{}
		}
		set(&p.ApiKeyAuthParameters.ApiKeyName, k.ApiKeyName)
		set(&p.ApiKeyAuthParameters.ApiKeyValue, k.ApiKeyValue)
	}
	if o := u.OAuthParameters; o != nil {
		if p.OAuthParameters == nil {
			p.OAuthParameters = &oauthParameters{}
		}
		set(&p.OAuthParameters.AuthorizationEndpoint, o.AuthorizationEndpoint)
		set(&p.OAuthParameters.HttpMethod, o.HttpMethod)
		if c := o.ClientParameters; c != nil {
			if p.OAuthParameters.ClientParameters == nil {
				p.OAuthParameters.ClientParameters = &clientParameters{}
			}
			set(&p.OAuthParameters.ClientParameters.ClientID, c.ClientID)
			set(&p.OAuthParameters.ClientParameters.ClientSecret, c.ClientSecret)
		}
		p.OAuthParameters.OAuthHttpParameters = o.OAuthHttpParameters.over(p.OAuthParameters.OAuthHttpParameters)
	}
	p.InvocationHttpParameters = u.InvocationHttpParameters.over(p.InvocationHttpParameters)
	if u.ConnectivityParameters != nil {
		p.ConnectivityParameters = u.ConnectivityParameters
	}
}

// over returns parameters in the place of earlier ones: a secret that is named without
// its value keeps the one that it had.
func (h *connectionHTTP) over(was *connectionHTTP) *connectionHTTP {
	if h == nil {
		return was
	}
	before := was.lists()
	for where, list := range h.lists() {
		for i := range list {
			if !list[i].secret() || list[i].Value != nil {
				continue
			}
			for _, p := range before[where] {
				if p.secret() && *p.Key == *list[i].Key {
					list[i].Value = p.Value
				}
			}
		}
	}
	return h
}

// deauthorizeConnection serves DeauthorizeConnection: its secrets are removed.
func (a *API) deauthorizeConnection(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, c, err := a.oneConnection(r, who, "events:DeauthorizeConnection", "deauthorize", body)
	if err != nil {
		return nil, err
	}
	if err := c.Auth.secrets(func(s **string) error { *s = nil; return nil }); err != nil {
		return nil, err
	}
	c.State, c.StateReason, c.Revoked = deauthorized, "The connection was deauthorized by a call.", true
	if doc, err = a.put(r.Context(), who, catalog.KindConnection, doc.Name, c, doc.Version); err != nil {
		return nil, named(err, "", "")
	}
	out := a.connectionState(doc, c)
	out["ConnectionState"] = "DEAUTHORIZING"
	return out, nil
}

// deleteConnection serves DeleteConnection. What uses it turns inactive.
func (a *API) deleteConnection(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, c, err := a.oneConnection(r, who, "events:DeleteConnection", "delete", body)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Store.Delete(r.Context(), catalog.KindConnection, doc.Name, catalog.Any); err != nil {
		return nil, named(err, "", "")
	}
	out := a.connectionState(doc, c)
	out["ConnectionState"] = "DELETING"
	return out, nil
}

// listConnections serves ListConnections.
func (a *API) listConnections(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix      *string
		ConnectionState *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, nameShape)
	v.oneOf("connectionState", q.ConnectionState, "CREATING", "UPDATING", "DELETING", authorized, deauthorized, authorizing, "DEAUTHORIZING", "ACTIVE", "FAILED_CONNECTIVITY")
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:ListConnections", a.eventsARN("connection/*")); err != nil {
		return nil, err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindConnection, textOf(q.NamePrefix))
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, doc := range docs {
		c, err := readConnection(doc)
		if err != nil || q.ConnectionState != nil && c.State != *q.ConnectionState || !page.wants(doc.Name) {
			continue
		}
		if page.full(len(list)) {
			break
		}
		list = append(list, a.describedConnection(doc, c))
		page.last = doc.Name
	}
	return page.answer("Connections", list), nil
}
