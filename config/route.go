package config

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/front/route"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/shape"
)

// A Route is an entry of the routes section: what one of klamm's routes asks for
// beyond what its API does, or a route of your own.
type Route struct {
	// Route is METHOD /PATH, as in POST /p/{topic}: segments are names, variables in
	// braces, and at the end {proxy+} for one or several. ANY stands for all methods.
	// A segment that is spelled out comes before a variable, that before {proxy+}.
	Route string `yaml:"route"`
	// Type is webhook, produce, which makes records of requests, proxy, which passes
	// requests on, mock, which answers by itself, or rewrite, which serves at this path
	// what klamm has at another; without it, the entry is about routes that klamm has.
	Type string `yaml:"type"`
	// Stages are those that the route is in; without them, it is in all.
	Stages []string `yaml:"stages"`

	// Auth lists the ways in that count on the route, in the order in which they are asked:
	// sigv4, jwt, introspect, mtls, basic, apikey, authorizer and anonymous. The default is all that
	// auth names, or with scopes those that take tokens.
	Auth []string `yaml:"auth"`
	// Scopes are those of which a token must have one, up to 10; who comes by another way
	// that counts needs none.
	Scopes []string `yaml:"scopes"`
	// ScopesMatch is any (the default), or all.
	ScopesMatch string `yaml:"scopes_match"`

	// Identity is as whom calls are made: gateway, mapped or passthrough; the default is
	// that of the stage, or of kafka.
	Identity string `yaml:"identity"`
	// StampPrincipal writes the caller's name into the header klamm-principal of records;
	// the default is that of the stage, or of kafka.
	StampPrincipal *bool `yaml:"stamp_principal"`

	// Parameters are what parameters of the path, the query and headers must be.
	Parameters []shape.Parameter `yaml:"parameters"`
	// UnknownQuery is allow (the default), or reject, which refuses query parameters
	// that parameters does not name.
	UnknownQuery string `yaml:"unknown_query"`
	// Body has JSON Schemas of bodies by media type, $default for all others: each
	// {file: NAME} or the schema itself. Without a Content-Type it is application/json.
	Body map[string]json.RawMessage `yaml:"body"`
	// RecordsSchema is the schema of each value in an envelope {"records": [...]}; values
	// in base64 are what they hold. A body that is one record is a value itself.
	RecordsSchema json.RawMessage `yaml:"records_schema"`
	// Draft is that of schemas without $schema; the default is 2020-12.
	Draft string `yaml:"draft"`
	// AssertFormat makes format refuse values.
	AssertFormat bool `yaml:"assert_format"`
	// SuffixFallback has types such as application/x+json checked as application/json.
	SuffixFallback bool `yaml:"suffix_fallback"`
	// Passthrough says what becomes of bodies whose type has no schema: when_no_match
	// (the default), they pass unseen, or never, they are answered 415; when_no_templates
	// is the same where there is any schema.
	Passthrough string `yaml:"passthrough"`
	// JSONStrict refuses JSON objects that name a member twice.
	JSONStrict bool `yaml:"json_strict"`
	// MaxBody is the largest body, up to 64MiB; the default is 10MiB where bodies are
	// looked at, and otherwise sizes.body.
	MaxBody int64 `yaml:"max_body" unit:"bytes"`

	// URL is where a proxy passes requests on to; {NAME} is a variable of the route,
	// as in http://10.0.0.5:8080/v1/{proxy}.
	URL string `yaml:"url"`
	// To is the path that a rewrite stands for, as in /topics/{topic}. Policies for
	// routes see the path that was called, those for topics the topic.
	To string `yaml:"to"`
	// Timeout bounds a proxied request, 50ms to 15m; the default is 30s.
	Timeout time.Duration `yaml:"timeout"`
	// Credentials passes the caller's own credentials on to the back end of a proxy:
	// Authorization, Cookie and API keys.
	Credentials bool `yaml:"pass_credentials"`
	// Request makes the record of a produce route.
	Request *route.Request `yaml:"request"`
	// Response makes the answer of a produce or mock route.
	Response *route.Response `yaml:"response"`

	// Path is where a webhook is received, such as /in/github.
	Path string `yaml:"path"`
	// Scheme says how the sender of a webhook signs: standard, github, stripe, slack,
	// svix, or generic, which the signature section describes.
	Scheme string `yaml:"scheme"`
	// Topic gets the records of a webhook or a produce route; of the latter it may be
	// an expression, as in beats-${path.region}.
	Topic string `yaml:"topic"`
	// Secrets are what the sender of a webhook signs with, up to 10. Each counts.
	Secrets []secret.Ref `yaml:"secrets"`
	// Key says where the key of a webhook's record is: $.NAME or $.NAME.NAME and so on
	// for a member of a JSON body, or id for the id of the delivery.
	Key string `yaml:"key"`
	// Pings writes GitHub's pings to the topic too.
	Pings bool `yaml:"pings"`
	// Gone answers 410 to a webhook, whatever comes, so that the sender stops.
	Gone bool `yaml:"gone"`
	// Signature describes the scheme generic.
	Signature *ingress.Signature `yaml:"signature"`
}

// Webhook returns the route as one that receives webhooks.
func (r Route) Webhook() ingress.Route {
	return ingress.Route{Path: r.Path, Type: r.Type, Scheme: r.Scheme, Topic: r.Topic, Secrets: r.Secrets, Key: r.Key, Pings: r.Pings, Gone: r.Gone, Signature: r.Signature}
}

// Rules returns what the route asks of requests.
func (r Route) Rules() shape.Rules {
	return shape.Rules{
		Parameters: r.Parameters, RejectUnknownQuery: r.UnknownQuery == "reject", Body: r.Body, Records: r.RecordsSchema, Draft: r.Draft, AssertFormat: r.AssertFormat,
		SuffixFallback: r.SuffixFallback, RejectUnknown: r.Passthrough == "never" || r.Passthrough == "when_no_templates", StrictJSON: r.JSONStrict, MaxBody: r.MaxBody,
	}
}

// Own returns the route as one that klamm would not have without it.
func (r Route) Own() route.Config {
	return route.Config{Route: r.Route, Type: r.Type, Topic: r.Topic, URL: r.URL, To: r.To, Timeout: r.Timeout, Credentials: r.Credentials, Request: r.Request, Response: r.Response}
}

// Validate reports each problem with the field it lies in.
func (r Route) Validate(report func(path, problem string)) {
	if r.Type == "webhook" {
		r.Webhook().Validate(report)
		if r.Identity != "" || r.StampPrincipal != nil {
			report("identity", "webhooks are written as klamm itself, and stamped as kafka and the stage say")
		}
		if len(r.Auth)+len(r.Scopes) > 0 || r.ScopesMatch != "" {
			report("auth", "the sender of a webhook shows who it is by its signature; give the path a route of its own to ask for more")
		}
		if r.Route != "" {
			report("route", "a webhook has a path")
		}
		return
	}
	if r.Path != "" || r.Scheme != "" || len(r.Secrets) > 0 || r.Signature != nil || r.Key != "" || r.Pings || r.Gone {
		report("type", "path, scheme, secrets, key, pings, gone and signature belong to the type webhook")
	}
	r.validateAccess(report)
	p, err := shape.ParsePattern(r.Route)
	if err != nil {
		report("route", err.Error())
	}
	r.Own().Validate(p, report)
	if r.UnknownQuery != "" && r.UnknownQuery != "allow" && r.UnknownQuery != "reject" {
		report("unknown_query", "want allow or reject")
	}
	switch r.Passthrough {
	case "", "never", "when_no_match", "when_no_templates":
	default:
		report("passthrough", "want never, when_no_match or when_no_templates")
	}
	if r.MaxBody < 0 || r.MaxBody > 64<<20 {
		report("max_body", "want a size up to 64MiB")
	}
	names := p.Variables()
	for i, one := range r.Parameters {
		known := false
		for _, name := range names {
			known = known || name == one.Name
		}
		if one.In == "path" && !known && err == nil {
			report(fmt.Sprintf("parameters[%d].name", i), "the route has no such variable")
		}
	}
	// Schemas in files are looked at when they are read.
	if _, err := shape.Compile(r.Rules(), func(string) ([]byte, error) { return []byte("{}"), nil }); err != nil {
		report("", err.Error())
	}
}

// Webhooks returns the routes that receive webhooks.
func (c *Config) Webhooks() (all []ingress.Route) {
	for _, r := range c.Routes {
		if r.Type == "webhook" {
			all = append(all, r.Webhook())
		}
	}
	return all
}

// validateRoutes reports what routes have in common and must not, and stages that are named
// by routes, limits and usage plans and are not there.
func (c *Config) validateRoutes(report func(path, problem string)) {
	c.validateAccess(report)
	seen := map[string]int{}
	tables := map[string]*shape.Table[int]{}
	stages := map[string]bool{}
	for _, s := range c.Stages {
		stages[s.Name] = true
	}
	known := func(path, name string) bool {
		if name != "" && !stages[name] {
			report(path, fmt.Sprintf("there is no stage %q", name))
			return false
		}
		return true
	}
	for i, l := range c.Limits {
		known(fmt.Sprintf("limits[%d].match.stage", i), l.Match.Stage)
	}
	for i, class := range c.Adaptive.Classes {
		known(fmt.Sprintf("adaptive.classes[%d].match.stage", i), class.Match.Stage)
	}
	for i, p := range c.UsagePlans {
		for _, name := range p.Stages {
			known(fmt.Sprintf("usage_plans[%d].stages", i), name)
		}
	}
	for i, r := range c.Routes {
		if r.Type == "webhook" {
			if first, ok := seen[r.Path]; ok && r.Path != "" {
				report(fmt.Sprintf("routes[%d].path", i), fmt.Sprintf("route %d of the list has this path already", first+1))
			} else {
				seen[r.Path] = i
			}
			continue
		}
		p, err := shape.ParsePattern(r.Route)
		if err != nil {
			continue
		}
		in := r.Stages
		if len(in) == 0 {
			in = []string{""}
		}
		for _, name := range in {
			if !known(fmt.Sprintf("routes[%d].stages", i), name) {
				continue
			}
			if tables[name] == nil {
				tables[name] = &shape.Table[int]{}
			}
			if err := tables[name].Add(p, i); err != nil {
				report(fmt.Sprintf("routes[%d].route", i), err.Error())
			}
		}
	}
}
