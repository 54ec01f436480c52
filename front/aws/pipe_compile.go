package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/target/log"
)

// A pipeBody is how a pipe lies in the catalog.
type pipeBody struct {
	Pipe pipeDocument
	// Group is the consumer group, where the user has not named one.
	Group string
	// Change is the call that made this state: CREATE, UPDATE, START or STOP. While
	// it is being carried out the pipe is CREATING and so on.
	Change string
}

// group is the consumer group of a pipe.
func (b *pipeBody) group() string {
	if k := b.Pipe.kafka(); k != nil && k.ConsumerGroupID != nil && *k.ConsumerGroupID != "" {
		return *k.ConsumerGroupID
	}
	return b.Group
}

// readPipe takes a pipe out of the catalog.
func readPipe(d catalog.Document) (b pipeBody, err error) {
	if d.Dialect != dialect {
		return b, fmt.Errorf("%w: pipe %q was not made through this API", catalog.ErrReadOnly, d.Name)
	}
	err = json.Unmarshal(d.Body, &b)
	return b, err
}

// dialect marks what these APIs have stored.
const dialect = "aws"

// An unsupported is a target that klamm does not have.
type unsupported struct{ text string }

func (e *unsupported) Error() string { return e.text }

var (
	topicArn    = regexp.MustCompile(`^arn:klamm:kafka:::topic/([A-Za-z0-9._-]{1,249})$`)
	clusterArn  = regexp.MustCompile(`^arn:klamm:kafka:::cluster/([A-Za-z0-9._-]{1,64})$`)
	logGroupArn = regexp.MustCompile(`^arn:aws[a-z-]*:logs:[a-z0-9-]*:[0-9]{0,12}:log-group:([.\-_/#A-Za-z0-9]{1,512}?)(:\*)?$`)
)

// kindOfTarget sorts targets by their ARNs.
func kindOfTarget(arn string) string {
	switch {
	case destinationArn.MatchString(arn):
		return "api-destination"
	case topicArn.MatchString(arn):
		return "topic"
	case logGroupArn.MatchString(arn):
		return "log"
	case ruleQueueArn.MatchString(arn):
		return "queue"
	case executeArn.MatchString(arn):
		return "gateway"
	}
	parts := strings.SplitN(arn, ":", 7)
	switch {
	case len(parts) > 5 && parts[2] == "lambda":
		return "function"
	case len(parts) > 5 && parts[2] == "events" && strings.HasPrefix(parts[5], "event-bus/"):
		return "bus"
	}
	return ""
}

// topicOfTarget returns the topic of klamm's own cluster in which all that goes to a
// target ends up; empty: it is no topic.
func topicOfTarget(arn string) string {
	if m := logGroupArn.FindStringSubmatch(arn); m != nil {
		return log.Topic(m[1])
	}
	if m := busArn.FindStringSubmatch(arn); m != nil {
		return event.BusTopic(m[3])
	}
	return topicOfQueue(arn)
}

// Compile makes of a pipe that lies in the catalog one that can be run. What it names
// has to exist.
func (a *API) Compile(ctx context.Context, d catalog.Document) (catalog.Pipe, error) {
	b, err := readPipe(d)
	if err != nil {
		return catalog.Pipe{}, err
	}
	p, err := a.compile(ctx, d.Name, &b)
	p.Version, p.Paused = d.Version, d.Stopped
	return p, err
}

func (a *API) compile(ctx context.Context, name string, b *pipeBody) (catalog.Pipe, error) {
	doc := &b.Pipe
	k := doc.kafka()
	if k == nil || k.TopicName == nil || doc.Source == nil || doc.Target == nil {
		return catalog.Pipe{}, fmt.Errorf("pipe %q has no Kafka source or no target", name)
	}
	source, err := a.sourceOf(doc)
	if err != nil {
		return catalog.Pipe{}, err
	}
	p := catalog.Pipe{Name: name, Topics: []string{*k.TopicName}, Group: b.group(), Start: "earliest", SourceCluster: source.cluster, SourceLogin: source.login}
	if k.StartingPosition != nil && *k.StartingPosition == "LATEST" {
		p.Start = "latest"
	}
	x := &catalog.Execution{PipeARN: a.pipeARN(name), SourceARN: *doc.Source, TargetARN: *doc.Target, TargetTakes: int(mostTaken(doc.Target)), EventSource: source.kind, Bootstrap: source.bootstrap, StopAfter: a.cfg.StopPipesAfter}
	if f := doc.SourceParameters.FilterCriteria; f != nil {
		for _, one := range f.Filters {
			if one.Pattern != nil && *one.Pattern != "" {
				x.Filters = append(x.Filters, json.RawMessage(*one.Pattern))
			}
		}
	}
	var input inputParameters
	if doc.TargetParameters != nil {
		input = doc.TargetParameters.inputParameters
	}
	if kindOfTarget(*doc.Target) == "bus" {
		p.Target, err = a.busOfPipe(ctx, name, source.kind, doc)
	} else {
		p.Target, x.TargetRate, err = a.targetOf(ctx, *doc.Target, input)
	}
	if err != nil {
		return catalog.Pipe{}, fmt.Errorf("target: %w", err)
	}
	x.TargetTemplate = textOf(input.InputTemplate)
	if doc.TargetParameters != nil && fireAndForget(doc.TargetParameters.LambdaFunctionParameters) && p.Target.Kind == "function" {
		x.Queue, x.Function = gate.AsyncTopic, functionForms.FindStringSubmatch(*doc.Target)[4]
	}
	if doc.Enrichment != nil && *doc.Enrichment != "" {
		input = inputParameters{}
		if doc.EnrichmentParameters != nil {
			input = *doc.EnrichmentParameters
		}
		t, rate, err := a.enrichmentOf(ctx, *doc.Enrichment, input)
		if err != nil {
			return catalog.Pipe{}, fmt.Errorf("enrichment: %w", err)
		}
		x.Enrichment, x.EnrichmentRate = &t, rate
		x.EnrichmentARN, x.EnrichmentTemplate = *doc.Enrichment, textOf(input.InputTemplate)
	}
	x.Log = a.logOf(doc.LogConfiguration)
	p.Execution = x
	p.Delivery = catalog.Delivery{
		Timeout: 5 * time.Minute, Order: catalog.OrderPartition, InFlight: 1000, Backoff: catalog.Backoff{Min: time.Second, Max: time.Minute}, Log: "none",
		Batch: catalog.Batch{Records: doc.batchSize(), Bytes: 6 << 20},
	}
	if k.MaximumBatchingWindowInSeconds != nil {
		p.Delivery.Batch.Wait = time.Duration(*k.MaximumBatchingWindowInSeconds) * time.Second
	}
	return p, nil
}

// logOf says where executions are logged; nil: nowhere.
func (a *API) logOf(l *logConfiguration) *catalog.ExecutionLog {
	if l == nil || textOf(l.Level) == "OFF" {
		return nil
	}
	x := &catalog.ExecutionLog{Level: textOf(l.Level), Data: len(l.IncludeExecutionData) > 0}
	if d := l.CloudwatchLogsLogDestination; d != nil {
		if m := logGroupArn.FindStringSubmatch(textOf(d.LogGroupArn)); m != nil {
			x.Topic = log.Topic(m[1])
		}
	}
	if d := l.S3LogDestination; d != nil {
		x.Bucket, x.Prefix = textOf(d.BucketName), textOf(d.Prefix)
	}
	if x.Topic == "" && x.Bucket == "" {
		return nil
	}
	return x
}

// fireAndForget says whether nobody waits for a function.
func fireAndForget(parameters json.RawMessage) bool {
	var p struct{ InvocationType string }
	return len(parameters) > 0 && unmarshal(parameters, &p) == nil && p.InvocationType == "FIRE_AND_FORGET"
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// pipeARN is the ARN of a pipe.
func (a *API) pipeARN(name string) string {
	return "arn:aws:pipes:" + a.cfg.Region + ":" + a.cfg.Account + ":pipe/" + name
}

// A source is where a pipe reads.
type source struct {
	kind      string         // as it stands in the records
	bootstrap string         // of a self-managed one
	cluster   string         // in kafka.clusters; empty: klamm's own
	login     *catalog.Login // instead of cluster; nil: as klamm logs in to it
}

// sourceOf finds the cluster that a source names, and how it is logged in to: by the
// credentials of the source if it has some, and otherwise as its configuration says. No
// other way is tried when that one fails (pipes.md 12).
func (a *API) sourceOf(doc *pipeDocument) (source, error) {
	s, err := a.clusterOf(doc)
	if err != nil {
		return s, err
	}
	k := doc.kafka()
	login := catalog.Login{Cluster: s.cluster, RootCA: textOf(k.ServerRootCaCertificate)}
	if s.login != nil {
		login.Brokers = s.login.Brokers
	}
	for way, secret := range k.Credentials {
		login.Auth, login.Credentials = methods[way], textOf(secret)
	}
	if s.login != nil || login.Auth != "" || login.RootCA != "" {
		s.login, s.cluster = &login, ""
	}
	return s, nil
}

// methods are how one logs in with which credentials.
var methods = map[string]string{"ClientCertificateTlsAuth": "mtls", "SaslScram512Auth": "scram-512", "SaslScram256Auth": "scram-256", "BasicAuth": "plain"}

// clusterOf finds the cluster that a source names.
func (a *API) clusterOf(doc *pipeDocument) (source, error) {
	name := *doc.Source
	s := source{kind: "aws:kafka"}
	if doc.SourceParameters.SelfManagedKafkaParameters != nil {
		s.kind = "SelfManagedKafka"
	}
	if host, ok := strings.CutPrefix(name, "smk://"); ok {
		servers := append([]string{host}, doc.SourceParameters.SelfManagedKafkaParameters.AdditionalBootstrapServers...)
		s.bootstrap = strings.Join(servers, ",")
		if slices.ContainsFunc(a.cfg.Brokers(), func(b string) bool { return slices.Contains(servers, b) }) {
			return s, nil
		}
		for _, c := range a.cfg.Clusters {
			if slices.ContainsFunc(c.Brokers, func(b string) bool { return slices.Contains(servers, b) }) {
				s.cluster = c.Name
				return s, nil
			}
		}
		s.login = &catalog.Login{Brokers: s.bootstrap}
		return s, nil
	}
	if m := clusterArn.FindStringSubmatch(name); m != nil {
		if s.kind == "SelfManagedKafka" {
			s.bootstrap = strings.Join(a.cfg.Brokers(), ",")
		}
		if m[1] == "klamm" {
			return s, nil
		}
		for _, c := range a.cfg.Clusters {
			if c.Name == m[1] {
				if s.kind == "SelfManagedKafka" {
					s.bootstrap = strings.Join(c.Brokers, ",")
				}
				s.cluster = c.Name
				return s, nil
			}
		}
		return s, fmt.Errorf("there is no cluster %q in kafka.clusters", m[1])
	}
	for _, c := range a.cfg.Clusters {
		if slices.Contains(c.ARNs, name) {
			s.cluster = c.Name
			return s, nil
		}
	}
	return s, fmt.Errorf("the source %s does not exist: no cluster of kafka.clusters has that ARN", name)
}

// targetOf makes the target of an ARN.
func (a *API) targetOf(ctx context.Context, arn string, input inputParameters) (catalog.Target, catalog.Rate, error) {
	switch kindOfTarget(arn) {
	case "api-destination", "gateway":
		return a.webhookOf(ctx, arn, input.HttpParameters, true)
	case "topic", "queue":
		return targetOfKind("topic", map[string]any{"name": topicOfQueue(arn)})
	case "log":
		return targetOfKind("log", map[string]any{"name": logGroupArn.FindStringSubmatch(arn)[1]})
	case "function":
		return a.functionOf(ctx, arn)
	}
	return catalog.Target{}, catalog.Rate{}, &unsupported{"klamm has no target of this kind: " + clip(arn) + "; want an API destination, a method of an API, a function, an event bus, arn:klamm:kafka:::topic/NAME, a queue or a log group"}
}

// enrichmentOf makes who is asked of an ARN.
func (a *API) enrichmentOf(ctx context.Context, arn string, input inputParameters) (catalog.Target, catalog.Rate, error) {
	switch kindOfTarget(arn) {
	case "api-destination", "gateway":
		return a.webhookOf(ctx, arn, input.HttpParameters, false)
	case "function":
		return a.functionOf(ctx, arn)
	}
	return catalog.Target{}, catalog.Rate{}, &unsupported{"klamm has no enrichment of this kind: " + clip(arn) + "; want an API destination, a method of an API or a function"}
}

// functionTarget makes the target of a function's ARN: it gets arrays.
func functionTarget(arn string) (catalog.Target, catalog.Rate, error) {
	m := functionForms.FindStringSubmatch(arn)
	if m == nil || m[5] != "" && m[5] != "$LATEST" {
		return catalog.Target{}, catalog.Rate{}, &unsupported{"not the ARN of a function without versions and aliases: " + clip(arn)}
	}
	return targetOfKind("function", map[string]any{"name": m[4], "array": true})
}

// functionOf is functionTarget for a function that has to exist.
func (a *API) functionOf(ctx context.Context, arn string) (catalog.Target, catalog.Rate, error) {
	m := functionForms.FindStringSubmatch(arn)
	if m != nil && (a.cfg.Function == nil || !a.cfg.Function(ctx, m[4])) {
		return catalog.Target{}, catalog.Rate{}, &absent{"the function " + clip(arn) + " does not exist"}
	}
	return functionTarget(arn)
}

func targetOfKind(kind string, config map[string]any) (catalog.Target, catalog.Rate, error) {
	raw, err := json.Marshal(config)
	return catalog.Target{Kind: kind, Config: raw}, catalog.Rate{}, err
}

// webhookOf makes a webhook of the parameters of a pipe and of an API destination with
// its connection, or of a method of an API (event-bus.md 6 and 7). The secrets in it
// never leave the process. Where the answer is only looked at for records that were not
// accepted it may be compressed.
func (a *API) webhookOf(ctx context.Context, arn string, params *httpParameters, isTarget bool) (catalog.Target, catalog.Rate, error) {
	var config map[string]any
	var endpoint string
	var rate catalog.Rate
	var err error
	if executeArn.MatchString(arn) {
		config, endpoint, err = a.gatewayOf(arn)
	} else {
		var d *destination
		if d, config, err = a.requestOf(ctx, arn); err == nil {
			endpoint, rate = d.InvocationEndpoint, catalog.Rate{Of: arn, PerSecond: d.rate()}
		}
	}
	if err != nil {
		return catalog.Target{}, catalog.Rate{}, err
	}
	var p catalog.RuleHTTP
	if params != nil {
		p = catalog.RuleHTTP(*params)
	}
	plain, named := maps.Clone(p.QueryStringParameters), map[string]string{}
	for name, value := range p.QueryStringParameters {
		if placeholder := dynamic(name); placeholder != name {
			named[placeholder] = dynamic(value)
			delete(plain, name)
		}
	}
	p.QueryStringParameters = plain
	a.callWith(config, endpoint, &p)
	config["named_query"] = named
	config["reported"] = isTarget
	if !isTarget {
		delete(config["headers"].(map[string]string), "Accept-Encoding") // the answer is read
	}
	t, _, err := targetOfKind("webhook", config)
	return t, rate, err
}

// requestOf finds an API destination, and begins the configuration of a webhook with its
// URL and what its connection adds.
func (a *API) requestOf(ctx context.Context, arn string) (*destination, map[string]any, error) {
	d, err := a.destinationOf(arn)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.connectionOf(d.ConnectionArn)
	if err != nil {
		return nil, nil, err
	}
	config := map[string]any{"url": d.InvocationEndpoint, "method": d.HTTPMethod}
	return d, config, a.authorize(ctx, c, config)
}

// secretOf is how a webhook is given a secret that is already known.
func secretOf(text string) map[string]string { return map[string]string{"value": text} }
