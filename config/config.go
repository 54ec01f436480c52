// Package config reads the one configuration file, YAML or JSON, strictly.
//
// Sections are structs of the packages that they configure. A field's key is in
// its yaml tag, `unit:"bytes"` makes an int64 a size such as 64MiB, and a
// json.RawMessage takes any YAML as JSON. Load decodes a file into these structs,
// lets each section validate itself and finds every problem together with its
// line and column; the packages' comments are made into the configuration
// reference by config/reference.
//
// Nobody below this package reads files, flags or the environment, and defaults
// are applied where a section is used.
package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/front/aws"
	"github.com/klamm-gateway/klamm/front/azure1"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/objectstore"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/throttle"
)

//go:generate go run ./reference ../docs/configuration.md

// A Config is a whole configuration file.
type Config struct {
	// Listen is the HTTP address, HOST:PORT; port 0 takes a free one. The
	// default is 127.0.0.1:8082.
	Listen string `yaml:"listen"`
	// PublicURL is where clients reach klamm, as in https://kafka.example.com/gate,
	// if that differs from the address they connect to: URLs in answers begin
	// with it.
	PublicURL string `yaml:"public_url"`
	// Advertise is where other klamm processes of the same Kafka cluster reach this
	// one, HOST:PORT. The default is the listen address; where that stands for all
	// addresses of the machine, the one that leads to the brokers.
	Advertise string `yaml:"advertise"`
	// H2C accepts HTTP/2 without TLS from clients that begin with it (prior
	// knowledge), beside HTTP/1.1.
	H2C bool `yaml:"h2c"`
	// ShutdownTimeout bounds stopping in good order, 1s to 1h; the default is
	// 20s.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// Kafka is the cluster that klamm serves. klamm dev uses its embedded broker
	// instead.
	Kafka kafka.Config `yaml:"kafka"`
	// Secrets says where secrets are looked up that have a name.
	Secrets secret.Config `yaml:"secrets"`
	// Auth says who may use klamm.
	Auth auth.Config `yaml:"auth"`
	// Console is the web console, and how people sign in to it.
	Console auth.Console `yaml:"console"`
	// TLS makes the address of listen serve HTTPS.
	TLS *certificate.Config `yaml:"tls"`
	// Listeners are further addresses.
	Listeners []Listener `yaml:"listeners"`
	// AWS names klamm in the terms of AWS: in ARNs.
	AWS AWS `yaml:"aws"`
	// Policies say in IAM's policy documents who may do what.
	Policies []gate.PolicyConfig `yaml:"policies"`
	// Rules say it in plain words. Where there are policies too, both count.
	Rules []gate.Rule `yaml:"rules"`
	// Authorize is what decides beside policies and rules.
	Authorize gate.Authorize `yaml:"authorize"`
	// Audit keeps a log of refusals and administrative acts.
	Audit gate.AuditConfig `yaml:"audit"`
	// Sizes bounds request bodies.
	Sizes front.Sizes `yaml:"sizes"`
	// Connections bounds connections, and the time that they may do nothing.
	Connections front.Connections `yaml:"connections"`
	// Limits bound requests, records, bytes and what goes on at once, by whatever
	// callers and calls can be told apart by.
	Limits []throttle.Rule `yaml:"limits"`
	// UsagePlans say how much the holders of API keys may use.
	UsagePlans []gate.UsagePlan `yaml:"usage_plans"`
	// Adaptive keeps the brokers healthy when more is asked of them than they can do.
	Adaptive gate.Adaptive `yaml:"adaptive"`
	// RateLimit says what callers are told of their limits.
	RateLimit gate.RateLimit `yaml:"ratelimit"`
	// Rest holds the switches of the REST dialects.
	Rest Rest `yaml:"rest"`
	// CloudEvents says what becomes of CloudEvents on POST /topics/{topic}.
	CloudEvents cloudevent.Config `yaml:"cloudevents"`
	// Idempotency says what becomes of requests with an Idempotency-Key.
	Idempotency gate.Idempotency `yaml:"idempotency"`
	// Validation says how klamm tells of records and requests that are not as they must
	// be.
	Validation gate.Checking `yaml:"validation"`
	// Topics say what records must look like.
	Topics []gate.TopicRule `yaml:"topics"`
	// Stages are several ways into the same APIs, with topics, variables and errors of
	// their own.
	Stages []front.Stage `yaml:"stages"`
	// Routes say what routes ask of requests, and add routes of your own: where signed
	// webhooks come in, records are made of requests of any form, or requests are
	// passed on.
	Routes []Route `yaml:"routes"`
	// Catalog is for what is defined while klamm runs.
	Catalog catalog.Config `yaml:"catalog"`
	// Pipes take records from topics to targets.
	Pipes []catalog.Pipe `yaml:"pipes"`
	// Functions are programs that klamm runs, as targets and enrichments of pipes and
	// behind the Lambda API; more of them can be deployed at run time.
	Functions []catalog.Function `yaml:"functions"`
	// ObjectStores are where functions keep objects.
	ObjectStores objectstore.Stores `yaml:"object_stores"`
	// ESM says how event source mappings differ from those of AWS.
	ESM aws.MappingConfig `yaml:"esm"`
	// Bus says how event buses differ from those of AWS.
	Bus aws.BusConfig `yaml:"bus"`
	// FunctionRuntime says how functions are run.
	FunctionRuntime function.Settings `yaml:"function_runtime"`
	// Egress says which addresses targets may have.
	Egress Egress `yaml:"egress"`
	// SchemaRegistry says where the schemas of registries are.
	SchemaRegistry schema.Config `yaml:"schema_registry"`
	// CORS says which pages of other origins may call from a browser.
	CORS front.CORS `yaml:"cors"`
	// WAF says whom the front door believes, and whom it turns away.
	WAF front.WAF `yaml:"waf"`
	// AccessLog writes a line for each request.
	AccessLog accesslog.Config `yaml:"access_log"`
	// Trace says what becomes of traces, beside what the OTEL_* variables of the
	// environment say.
	Trace Trace `yaml:"trace"`
	// TrustRequestID takes the ids that clients give their requests in X-Request-Id.
	TrustRequestID bool `yaml:"trust_request_id"`
	// Compression says which answers are compressed.
	Compression front.Compression `yaml:"compression"`
	// Cache says which answers about topics and settings are kept for a while.
	Cache front.Cache `yaml:"cache"`
}

// AWS names klamm in the terms of AWS.
type AWS struct {
	// Account is the number of the account that everything belongs to, twelve digits;
	// the default is 000000000000.
	Account string `yaml:"account"`
	// Region is the region that everything lies in; the default is us-east-1.
	Region string `yaml:"region"`
	// StopPipesAfter stops a pipe of the EventBridge Pipes API when its target and its
	// enrichment have answered nothing but permanent errors for so long, such as 15m, until
	// it is started again; 1s to 720h. 0s, which is the default, means that it goes on trying.
	StopPipesAfter time.Duration `yaml:"stop_pipes_after"`
	// LenientTemplates lets an input template that is nothing but one path, such as
	// <$.value>, deliver an object or array as it is, in all pipes. Otherwise it becomes a
	// string without its quotes, as in EventBridge Pipes. It counts from the start on.
	LenientTemplates bool `yaml:"lenient_templates"`
	// StrictFilters refuses filters of pipes and event source mappings, made through the
	// APIs of AWS, with operators that AWS does not have there: wildcard, and anything-but
	// with prefix, suffix, equals-ignore-case or wildcard inside. Rules may have them, and
	// what there is already stays. It counts from the start on.
	StrictFilters bool `yaml:"strict_filters"`
}

// Validate reports numbers and regions that are none.
func (a AWS) Validate(report func(path, problem string)) {
	if len(a.Account) != 12 || strings.Trim(a.Account, "0123456789") != "" {
		report("account", "want twelve digits, in quotes")
	}
	if a.StopPipesAfter != 0 && (a.StopPipesAfter < time.Second || a.StopPipesAfter > 30*24*time.Hour) {
		report("stop_pipes_after", "want 0s, or a time from 1s to 720h")
	}
	if a.Region == "" || len(a.Region) > 64 || strings.Trim(a.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		report("region", "want a region, such as eu-west-3")
	}
}

// Rest holds the switches of the REST dialects.
type Rest struct {
	// V2 are the switches of Confluent v2.
	V2 confluent2.Config `yaml:"v2"`
	// V3 are the switches of Confluent v3.
	V3 confluent3.Config `yaml:"v3"`
	// V1 are the switches of HDInsight v1.
	V1 azure1.Config `yaml:"v1"`
	// Produce says how records are handed to the brokers, in all of them.
	Produce kafka.Producing `yaml:"produce"`
}

// Egress says which addresses targets may have.
type Egress struct {
	// Allow lists prefixes, such as 10.1.0.0/16, and addresses that targets may
	// have although they are private, loopback, link-local or special. klamm
	// dev allows all.
	Allow []string `yaml:"allow"`
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{Listen: "127.0.0.1:8082", ShutdownTimeout: 20 * time.Second, AWS: AWS{Account: "000000000000", Region: "us-east-1"}}
}

// Validate reports what is wrong with the file as a whole; the sections report
// for themselves.
func (c *Config) Validate(report func(path, problem string)) {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !isPort(port) {
		report("listen", "want HOST:PORT, such as 127.0.0.1:8082")
	}
	if host, port, err := net.SplitHostPort(c.Advertise); c.Advertise != "" && (err != nil || host == "" || !isPort(port) || port == "0") {
		report("advertise", "want HOST:PORT, such as 10.0.0.5:8082")
	}
	if c.PublicURL != "" && !isBase(c.PublicURL) {
		report("public_url", "want http://HOST or https://HOST, and a path if there is one")
	}
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		report("shutdown_timeout", "want a time from 1s to 1h")
	}
	c.validateListeners(report)
	c.validatePipes(report)
	c.validatePolicies(report)
	c.validateFunctions(report)
	gate.ValidateLimits(c.Limits, c.UsagePlans, report)
	c.validateRoutes(report)
	c.validateIdentities(report)
	if o := c.Console.OIDC; o != nil && o.Issuer != "" && !c.Auth.Issues(o.Issuer) {
		report("console.oidc.issuer", "want the issuer of one of auth.jwt: it says who somebody is")
	}
	if c.Auth.MTLS != nil && len(c.WAF.TrustedProxies) == 0 {
		report("auth.mtls", "nobody is believed who tells of client certificates: want the proxy's address in waf.trusted_proxies")
	}
	front.ValidateStages(c.Stages, c.Kafka, func(path, problem string) { report("stages"+path, problem) })
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// isBase says whether paths can be put after a URL.
func isBase(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// validatePipes reports what pipes have in common and must not.
func (c *Config) validatePipes(report func(path, problem string)) {
	names := map[string]int{}
	readers := map[[2]string]int{} // of a topic in a group
	clusters := map[string]bool{"": true}
	for _, f := range c.Kafka.Clusters {
		clusters[f.Name] = true
	}
	for i, p := range c.Pipes {
		if first, ok := names[p.Name]; ok && p.Name != "" {
			report(fmt.Sprintf("pipes[%d].name", i), fmt.Sprintf("pipe %d of the list has the name %q already", first+1, p.Name))
			continue
		}
		names[p.Name] = i
		if name := p.Cluster(); !clusters[name] {
			report(fmt.Sprintf("pipes[%d].target", i), fmt.Sprintf("there is no cluster %q in kafka.clusters", name))
		}
		group := p.WithDefaults().Group
		for _, topic := range p.Topics {
			first, ok := readers[[2]string{group, topic}]
			if ok && first != i {
				report(fmt.Sprintf("pipes[%d].group", i), fmt.Sprintf("pipe %q reads topic %q with this group already: each record would reach only one of the two", c.Pipes[first].Name, topic))
			}
			readers[[2]string{group, topic}] = i
		}
	}
}

// validatePolicies reports policies that cannot be told apart in explanations.
func (c *Config) validatePolicies(report func(path, problem string)) {
	names := map[string]int{}
	for i, p := range c.Policies {
		if first, ok := names[p.Name]; ok && p.Name != "" {
			report(fmt.Sprintf("policies[%d].name", i), fmt.Sprintf("policy %d of the list has the name %q already", first+1, p.Name))
			continue
		}
		names[p.Name] = i
	}
}

// Validate reports prefixes that are none.
func (e Egress) Validate(report func(path, problem string)) {
	for i, text := range e.Allow {
		if _, err := target.NewEgress([]string{text}, false); err != nil {
			report(fmt.Sprintf("allow[%d]", i), "want an address or a prefix, such as 10.0.0.0/8")
		}
	}
}

// validateFunctions reports functions of one name.
func (c *Config) validateFunctions(report func(path, problem string)) {
	names := map[string]int{}
	for i, f := range c.Functions {
		if first, ok := names[f.Name]; ok && f.Name != "" {
			report(fmt.Sprintf("functions[%d].name", i), fmt.Sprintf("function %d of the list has the name %q already", first+1, f.Name))
			continue
		}
		names[f.Name] = i
	}
}
