package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/sink"
)

// The states that a connector is wanted in.
const (
	running = "RUNNING"
	paused  = "PAUSED"
	stopped = "STOPPED"
)

// A body is a connector as it lies in the catalog.
type body struct {
	Config configuration `json:"config"`
	State  string        `json:"state"`
}

// converters are those of Kafka Connect by the end of their class, and what reads the
// same here. Those with schemas are all read by klamm's own client of a registry.
var converters = map[string]string{
	".StringConverter": sink.String, ".ByteArrayConverter": sink.Bytes, ".SimpleHeaderConverter": sink.Simple, ".JsonConverter": sink.JSON,
	".AvroConverter": sink.Registry, ".ProtobufConverter": sink.Registry, ".JsonSchemaConverter": sink.Registry,
	".AWSKafkaAvroConverter": sink.Registry,
	".ShortConverter":        sink.Short, ".IntegerConverter": sink.Integer, ".LongConverter": sink.Long,
	".FloatConverter": sink.Float, ".DoubleConverter": sink.Double, ".BooleanConverter": sink.Boolean,
}

func converterCheck(class string) string {
	for end := range converters {
		if strings.HasSuffix(class, end) {
			return ""
		}
	}
	var names []string
	for end := range converters {
		names = append(names, strings.TrimPrefix(end, "."))
	}
	slices.Sort(names)
	return "klamm has no such converter: want one of " + strings.Join(names, ", ")
}

// converter is what reads keys, values or headers.
func (c configuration) converter(of string) string {
	class := c.get(of + ".converter")
	for end, own := range converters {
		if !strings.HasSuffix(class, end) {
			continue
		}
		if own == sink.JSON && strings.EqualFold(c.get(of+".converter.schemas.enable"), "true") {
			return sink.Enveloped
		}
		return own
	}
	return sink.String
}

// Compile makes the pipe of a connector; there is none while no topic matches its
// topics.regex.
func (a *API) Compile(ctx context.Context, d catalog.Document) ([]catalog.Pipe, error) {
	var b body
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", catalog.ErrInvalid, err)
	}
	p, err := a.compile(ctx, d.Name, b.Config)
	if err != nil || len(p.Topics) == 0 {
		return nil, err
	}
	p.Version, p.Paused = d.Version, d.Stopped
	return []catalog.Pipe{p}, nil
}

// compile checks a configuration and makes its pipe, which has no topics as long as none
// matches topics.regex.
func (a *API) compile(ctx context.Context, name string, c configuration) (catalog.Pipe, error) {
	if found := c.check(); len(found) > 0 {
		return catalog.Pipe{}, fmt.Errorf("%w: %w", catalog.ErrInvalid, found[0])
	}
	class, _ := classOf(c["connector.class"])
	p := catalog.Pipe{
		Name: catalog.ConnectorPipe(name), Topics: c.list("topics"), Group: "connect-" + name, Start: c.get(startAt),
		Connector: &catalog.Connector{
			Name: name, Key: c.converter("key") == sink.Registry, Value: c.converter("value") == sink.Registry,
			Headers: strings.EqualFold(c.get("errors.deadletterqueue.context.headers.enable"), "true"),
		},
	}
	if pattern := c["topics.regex"]; pattern != "" {
		var err error
		if p.Topics, err = a.matching(ctx, pattern); err != nil {
			return p, err
		}
	}
	if c.get("errors.tolerance") == "all" {
		p.Delivery.DeadLetter = c.get("errors.deadletterqueue.topic.name")
	}
	if p.Delivery.DeadLetter == "" {
		p.Delivery.DeadLetter = "klamm.dlq." + legal(p.Name)
	}
	if slices.Contains(p.Topics, p.Delivery.DeadLetter) {
		return p, fmt.Errorf("%w: %w", catalog.ErrInvalid, problem{"topics", fmt.Sprintf("topic %s is where the connector's own dead letters go", p.Delivery.DeadLetter)})
	}
	p.Delivery.Order = catalog.OrderPartition
	p.Delivery.Batch.Records = min(c.number("consumer.override.max.poll.records"), 500)
	var err error
	if class == eventBridge {
		err = a.compileSink(c, &p)
	} else {
		err = compileHTTP(class, c, &p)
	}
	if err != nil {
		return p, err
	}
	if err := a.cfg.Check(p); err != nil {
		return p, fmt.Errorf("%w: %w", catalog.ErrInvalid, err)
	}
	return p, nil
}

var illegal = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// legal makes a name that a topic may have. Two connectors whose names differ in other
// characters alone share their dead letters.
func legal(name string) string {
	name = illegal.ReplaceAllString(name, "-")
	return name[:min(len(name), 230)]
}

// matching finds the topics that a pattern names, in the order of their names. Kafka's own
// and klamm's are none: they would be read by every pattern that is wide enough, dead
// letters of the connector included.
func (a *API) matching(ctx context.Context, pattern string) (topics []string, err error) {
	whole, err := wholly(pattern)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", catalog.ErrInvalid, err)
	}
	all, err := a.cfg.Topics(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if whole.MatchString(name) && !strings.HasPrefix(name, "__") && !strings.HasPrefix(name, "klamm.") {
			topics = append(topics, name)
		}
	}
	slices.Sort(topics)
	return topics, nil
}

// compileSink makes the target of an EventBridge sink.
func (a *API) compileSink(c configuration, p *catalog.Pipe) error {
	config := sink.Config{
		Connector: c.get("aws.eventbridge.connector.id"), Account: a.cfg.Account, Region: a.cfg.Region, Resources: c.list("aws.eventbridge.eventbus.resources"),
		Key: c.converter("key"), Value: c.converter("value"), Header: c.converter("header"),
	}
	if c.mapsByPath() {
		config.DetailPath = c.get(detailPath)
	} else {
		config.DetailTypes = c.list(detailTypes)
	}
	arn := c.get("aws.eventbridge.eventbus.arn")
	login := sink.Login{Profile: c.get(profile), Role: c.get("aws.eventbridge.iam.role.arn"), ExternalID: c.get("aws.eventbridge.iam.external.id"), Session: session(config.Connector)}
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		if _, set := a.cfg.Environment(name); set && login.Profile != "" {
			return fmt.Errorf("%w: %w", catalog.ErrInvalid, problem{profile, fmt.Sprintf("%s cannot be used while the environment variable %s is set", profile, name)})
		}
	}
	if bus, own := a.ownBus(c); own {
		config.Bus = bus
	} else {
		config.Remote = &sink.Remote{BusARN: arn, Region: c.get("aws.eventbridge.region"), Endpoint: c.get("aws.eventbridge.endpoint.uri"),
			EndpointID: c.get("aws.eventbridge.eventbus.global.endpoint.id"), Login: login}
		p.Delivery.Batch.Records = min(p.Delivery.Batch.Records, 100)
		p.Connector.Attempts = c.number("aws.eventbridge.retries.max") + 1
	}
	bucket, topic := c.get(offloadBucket), strings.TrimPrefix(c.get(offloadTopic), sink.TopicARN)
	if bucket != "" || topic != "" {
		config.Offload = &sink.Offload{Bucket: bucket, Topic: topic, AtLeast: c.number("klamm.offloading.min.bytes"), Region: c.get("aws.eventbridge.region"), Endpoint: c.get("aws.eventbridge.offloading.default.s3.endpoint.uri"),
			Field: c.get(offloadField), Login: login}
	}
	var wrong []error
	config.Validate(func(path, problem string) { wrong = append(wrong, fmt.Errorf("%s: %s", path, problem)) })
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %w", catalog.ErrInvalid, errors.Join(wrong...))
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	p.Target = catalog.Target{Kind: "sink", Config: raw}
	delay := time.Duration(max(c.number("aws.eventbridge.retries.delay"), 10)) * time.Millisecond
	p.Delivery.Backoff = catalog.Backoff{Min: delay, Max: max(delay, 10*time.Second)}
	if p.Connector.Attempts > 0 {
		p.Delivery.Backoff.Max = delay
	}
	return nil
}

// session is the name of a session of an assumed role.
func session(id string) string {
	id = regexp.MustCompile(`[^\w+=,.@-]`).ReplaceAllString(id, "-")
	return id[:min(len(id), 64)]
}

// ownBus returns the name of the bus if it is one of klamm's own: of its account and
// region, and no other endpoint is named.
func (a *API) ownBus(c configuration) (string, bool) {
	parts := strings.SplitN(c.get("aws.eventbridge.eventbus.arn"), ":", 6)
	if len(parts) != 6 || c.get("aws.eventbridge.endpoint.uri") != "" || parts[3] != a.cfg.Region || parts[4] != a.cfg.Account {
		return "", false
	}
	return strings.TrimPrefix(parts[5], "event-bus/"), true
}
