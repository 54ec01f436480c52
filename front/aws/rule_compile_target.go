package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/webhook"
	"github.com/klamm-gateway/klamm/transform"
)

// A RuleHTTPConfig says how rules call HTTP targets.
type RuleHTTPConfig struct {
	// UserAgent is the header of requests; the default is klamm/VERSION.
	UserAgent string `yaml:"user_agent"`
	// ExactHeaders sends the headers that EventBridge sends and no others: its User-Agent
	// unless user_agent says another one, and Connection: close, which costs a connection
	// for each request.
	ExactHeaders bool `yaml:"exact_headers"`
	// Conflict says what the status 409 means: retry (the default) or permanent.
	Conflict string `yaml:"conflict"`
	// ExecuteAPI are the URLs of targets arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/
	// METHOD/PATH: by API, where /STAGE/PATH is added, or by API/STAGE, where /PATH is.
	ExecuteAPI map[string]string `yaml:"execute_api"`
}

// Validate reports each problem with the field it lies in.
func (c *RuleHTTPConfig) Validate(report func(path, problem string)) {
	if len(c.UserAgent) > 512 || strings.ContainsFunc(c.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		report("user_agent", "want printable ASCII, at most 512 characters")
	}
	if c.Conflict != "" && c.Conflict != "retry" && c.Conflict != "permanent" {
		report("conflict", "want retry or permanent")
	}
	for name, base := range c.ExecuteAPI {
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" || strings.Contains(base, "*") {
			report("execute_api."+name, "want http://HOST or https://HOST, and a path if there is one")
		}
	}
}

const (
	// exactAgent is what EventBridge calls itself (event-bus.md 6).
	exactAgent = "Amazon/EventBridge/ApiDestinations"
	httpRange  = "bytes=0-1048575"
)

var (
	executeArn = regexp.MustCompile(`^arn:aws[a-z-]*:execute-api:[a-z0-9-]*:[0-9]{0,12}:([A-Za-z0-9._-]+)/([^/?#]+)/([A-Z*]+)((?:/[^?#]*)?)$`)
	busArn     = regexp.MustCompile(`^arn:aws[a-z-]*:events:([a-z0-9-]*):([0-9]{0,12}):event-bus/([/.\-_A-Za-z0-9]{1,256})$`)
)

// traceOnly are the headers of an event's record that one in a topic keeps; the others
// are klamm's own.
var traceOnly = []string{event.HeaderTrace}

// ruleTarget makes the target of a rule (event-bus.md 4). The errors are *dead, *absent
// and what else keeps it from being made.
func (a *API) ruleTarget(ctx context.Context, t *catalog.RuleTarget, p *catalog.Pipe) (made catalog.Target, rate catalog.Rate, err error) {
	switch kindOfTarget(t.Arn) {
	case "api-destination":
		p.Delivery.Timeout = ruleHTTPTime
		return a.ruleDestination(ctx, t)
	case "topic":
		return targetOfKind("topic", map[string]any{"name": topicArn.FindStringSubmatch(t.Arn)[1], "headers": traceOnly})
	case "log":
		return targetOfKind("log", map[string]any{"name": logGroupArn.FindStringSubmatch(t.Arn)[1], "headers": traceOnly})
	case "bus":
		made, err = a.busOf(ctx, t.Arn, map[string]any{"forward": true})
		return made, catalog.Rate{}, err
	case "function":
		m := functionForms.FindStringSubmatch(t.Arn)
		if m == nil {
			return made, rate, &dead{code: target.CodeParameter, text: "not the ARN of a function: " + clip(t.Arn)}
		}
		return targetOfKind("function", map[string]any{"name": m[4], "asynchronous": true})
	}
	if topic := topicOfQueue(t.Arn); topic != "" {
		return targetOfKind("topic", map[string]any{"name": topic, "headers": traceOnly})
	}
	if executeArn.MatchString(t.Arn) {
		p.Delivery.Timeout = ruleHTTPTime
		made, err = a.ruleGateway(t)
		return made, catalog.Rate{}, err
	}
	service := strings.SplitN(t.Arn+":::", ":", 4)[2]
	return made, rate, &dead{code: target.CodeNoResource, text: "klamm has nothing to deliver to for " + clip(t.Arn) + ": no endpoint of the service " + clip(service) + " is configured"}
}

// busOf makes a target of a bus.
func (a *API) busOf(ctx context.Context, arn string, config map[string]any) (catalog.Target, error) {
	m := busArn.FindStringSubmatch(arn)
	switch {
	case m == nil:
		return catalog.Target{}, &dead{code: target.CodeParameter, text: "not the ARN of an event bus: " + clip(arn)}
	case m[2] != a.cfg.Account:
		return catalog.Target{}, &dead{code: "CROSS_ACCOUNT_INGESTION_FAILED", text: "the event bus " + arn + " belongs to another account"}
	case m[1] != a.cfg.Region:
		return catalog.Target{}, &dead{code: "CROSS_REGION_INGESTION_FAILED", text: "the event bus " + arn + " lies in another region"}
	}
	_, b, err := a.cfg.Buses.Get(ctx, m[3])
	if errors.Is(err, gate.ErrNoBus) {
		return catalog.Target{}, &absent{"the event bus " + arn + " does not exist"}
	}
	if err != nil {
		return catalog.Target{}, err
	}
	// The default bus may never have been used; every other one has its topic.
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := a.cfg.Buses.Ensure(within, m[3]); err != nil {
		a.cfg.Log.Warn("the topic of an event bus cannot be made yet", "bus", m[3], "err", err)
	}
	config["name"], config["order_key"] = m[3], b.Tags[catalog.TagOrderKey]
	t, _, err := targetOfKind("bus", config)
	return t, err
}

// ruleDestination makes a target of an API destination.
func (a *API) ruleDestination(ctx context.Context, t *catalog.RuleTarget) (catalog.Target, catalog.Rate, error) {
	d, config, err := a.requestOf(ctx, t.Arn)
	if err != nil {
		return catalog.Target{}, catalog.Rate{}, err
	}
	made, err := a.ruleWebhook(config, d.InvocationEndpoint, t.HttpParameters)
	return made, catalog.Rate{Of: t.Arn, PerSecond: d.rate()}, err
}

// ruleGateway makes a target of a method of an API behind API Gateway.
func (a *API) ruleGateway(t *catalog.RuleTarget) (catalog.Target, error) {
	config, endpoint, err := a.gatewayOf(t.Arn)
	if err != nil {
		return catalog.Target{}, err
	}
	return a.ruleWebhook(config, endpoint, t.HttpParameters)
}

// gatewayOf begins the configuration of a webhook with the URL and the method that the
// ARN of a method of an API names, one that executeArn matches.
func (a *API) gatewayOf(arn string) (config map[string]any, endpoint string, err error) {
	m := executeArn.FindStringSubmatch(arn)
	api, stage, method, path := m[1], m[2], m[3], m[4]
	bases := a.cfg.Bus.HTTP.ExecuteAPI
	base, ok := bases[api+"/"+stage]
	if !ok {
		if base, ok = bases[api]; ok && stage != "$default" {
			path = "/" + stage + path
		}
	}
	if !ok {
		return nil, "", &dead{code: target.CodeNoResource, text: "the API " + clip(api) + " has no URL in bus.http.execute_api"}
	}
	if method == "*" || method == "ANY" {
		method = http.MethodPost
	}
	endpoint = strings.TrimRight(base, "/") + path
	return map[string]any{"url": endpoint, "method": method}, endpoint, nil
}

// ruleWebhook makes a webhook of what a rule's HTTP targets have in common: how they are
// called, and what answers mean to rules (event-bus.md 6).
func (a *API) ruleWebhook(config map[string]any, endpoint string, p *catalog.RuleHTTP) (catalog.Target, error) {
	if p == nil {
		p = &catalog.RuleHTTP{}
	}
	config["plain"], config["fail_unknown_hosts"] = true, true
	config["retry_statuses"] = []int{http.StatusTooManyRequests}
	a.callWith(config, endpoint, p)
	made, _, err := targetOfKind("webhook", config)
	if err != nil {
		return made, err
	}
	return made, a.checkWebhook(made.Config)
}

// callWith adds to the configuration of a webhook what API destinations and APIs have in
// common, whoever calls them: the headers that requests have by themselves, and the
// parameters of the call (event-bus.md 6).
func (a *API) callWith(config map[string]any, endpoint string, p *catalog.RuleHTTP) {
	config["retry_conflict"] = a.cfg.Bus.HTTP.Conflict != "permanent"
	config["close"] = a.cfg.Bus.HTTP.ExactHeaders
	values := make([]string, 0, len(p.PathParameterValues))
	for _, v := range p.PathParameterValues[:min(len(p.PathParameterValues), strings.Count(endpoint, "*"))] {
		values = append(values, dynamic(v))
	}
	config["path_parameters"] = values
	headers := map[string]string{
		"User-Agent": a.userAgent(), "Content-Type": "application/json; charset=utf-8", "Range": httpRange, "Accept-Encoding": "gzip,deflate",
	}
	for _, name := range slices.Sorted(maps.Keys(p.HeaderParameters)) {
		headers[http.CanonicalHeaderKey(name)] = dynamic(p.HeaderParameters[name])
	}
	config["headers"] = headers
	query := make(map[string]string, len(p.QueryStringParameters))
	for name, v := range p.QueryStringParameters {
		query[name] = dynamic(v)
	}
	config["query"] = query
}

// checkWebhook says what keeps a webhook from being opened.
func (a *API) checkWebhook(raw json.RawMessage) error {
	c := &webhook.Config{}
	if err := json.Unmarshal(raw, c); err != nil {
		return err
	}
	var problem error
	c.Validate(func(path, text string) {
		// Where there are too few of them, each delivery says so.
		if problem == nil && path != "path_parameters" {
			problem = &dead{code: target.CodeParameter, text: fmt.Sprintf("the request cannot be made: %s: %s", path, text)}
		}
	})
	if u, err := url.Parse(strings.ReplaceAll(c.URL, "*", "x")); err == nil && problem == nil {
		if err := a.cfg.Egress.CheckHost(u.Hostname()); err != nil {
			problem = &dead{code: target.CodePermissions, text: err.Error()}
		}
	}
	return problem
}

// userAgent is what requests of rules say of who sends them.
func (a *API) userAgent() string {
	switch c := a.cfg.Bus.HTTP; {
	case c.UserAgent != "":
		return c.UserAgent
	case c.ExactHeaders:
		return exactAgent
	}
	version, _, _ := strings.Cut(a.cfg.Version, " ")
	return "klamm/" + version
}

// dynamic makes a placeholder of a webhook of a value that is a JSON path as a whole;
// any other is what it is.
func dynamic(value string) string {
	if !isDynamic(value) {
		return value
	}
	if _, rest, err := transform.CutPath(value); err != nil || rest != "" {
		return value
	}
	return "<" + value + ">"
}
