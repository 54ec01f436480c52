package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// A mappingBody is how an event source mapping lies in the catalog.
type mappingBody struct {
	Mapping mappingDocument
	// Function is the name of the function, and FunctionARN how the API calls it.
	Function, FunctionARN string
	Tags                  map[string]string
	// Own says that its brokers were klamm's own when it was made: they may have other
	// addresses by now.
	Own bool `json:",omitempty"`
	// Change is the call that made this state; while it is being carried out the
	// mapping is Creating and so on.
	Change string
}

// The changes of a mapping.
const (
	mappingCreated  = "create"
	mappingUpdated  = "update"
	mappingEnabled  = "enable"
	mappingDisabled = "disable"
)

// mappingUnder is what a mapping is while a change is carried out.
var mappingUnder = map[string]string{mappingCreated: "Creating", mappingUpdated: "Updating", mappingEnabled: "Enabling", mappingDisabled: "Disabling"}

func readMapping(d catalog.Document) (b mappingBody, err error) {
	if d.Dialect != dialect {
		return b, fmt.Errorf("%w: mapping %q was not made through this API", catalog.ErrReadOnly, d.Name)
	}
	err = json.Unmarshal(d.Body, &b)
	return b, err
}

// group is the consumer group.
func (b *mappingBody) group() string { return textOf(b.Mapping.kafka().ConsumerGroupID) }

// A mappingSource is where a mapping reads.
type mappingSource struct {
	cluster   string         // of kafka.clusters; empty: klamm's own, or that of login
	login     *catalog.Login // nil: as klamm logs in to the cluster
	bootstrap string
}

// mappingSourceOf finds the cluster that a mapping names.
func (a *API) mappingSourceOf(b *mappingBody) (s mappingSource, err error) {
	d, login := &b.Mapping, catalog.Login{}
	for _, access := range d.SourceAccessConfigurations {
		if method := mappingLogins[*access.Type]; method != "" {
			login.Auth, login.Credentials = method, *access.URI
		}
		if *access.Type == rootCertificate {
			login.RootCA = *access.URI
		}
	}
	shown := login != catalog.Login{}
	if d.EventSourceArn == nil {
		servers := d.servers()
		s.bootstrap = strings.Join(servers, ",")
		switch own, cluster := a.clusterByBrokers(servers); {
		case b.Own && !shown:
		case shown, !own && cluster == "":
			login.Brokers = s.bootstrap
			s.login = &login
		default:
			s.cluster = cluster
		}
		return s, nil
	}
	arn := *d.EventSourceArn
	if m := clusterArn.FindStringSubmatch(arn); m != nil && m[1] == "klamm" {
		s.bootstrap = strings.Join(a.cfg.Brokers(), ",")
	} else {
		i := slices.IndexFunc(a.cfg.Clusters, func(c Cluster) bool { return slices.Contains(c.ARNs, arn) || m != nil && c.Name == m[1] })
		if i < 0 {
			return s, &absent{"no cluster of kafka.clusters has the ARN " + clip(arn)}
		}
		s.cluster, s.bootstrap = a.cfg.Clusters[i].Name, strings.Join(a.cfg.Clusters[i].Brokers, ",")
	}
	if shown {
		login.Cluster = s.cluster
		s.login = &login
	}
	return s, nil
}

// clusterByBrokers says whether brokers are klamm's own, or those of which of
// kafka.clusters.
func (a *API) clusterByBrokers(servers []string) (own bool, cluster string) {
	shared := func(b string) bool { return slices.Contains(servers, b) }
	if slices.ContainsFunc(a.cfg.Brokers(), shared) {
		return true, ""
	}
	for _, c := range a.cfg.Clusters {
		if slices.ContainsFunc(c.Brokers, shared) {
			return false, c.Name
		}
	}
	return false, ""
}

const (
	// mappingTimeout bounds one call of a function, with the time until there is an
	// instance: functions themselves take at most a quarter of an hour.
	mappingTimeout = 16 * time.Minute
	// mappingWindow is how long a batch is collected where nothing else is said.
	mappingWindow = 500 * time.Millisecond
	// retriesWithDestination is how often is retried where nothing else is said, and
	// there is an on-failure destination.
	retriesWithDestination = 10
	// callsOfPoller is how many calls one poller makes at once.
	callsOfPoller = 5
	// mostCalls is how many calls one process makes at once for a mapping.
	mostCalls = 1000
)

// CompileMapping makes of an event source mapping that lies in the catalog a pipe that
// can be run.
func (a *API) CompileMapping(ctx context.Context, d catalog.Document) (catalog.Pipe, error) {
	b, err := readMapping(d)
	if err != nil {
		return catalog.Pipe{}, err
	}
	p, err := a.compileMapping(d.Name, &b)
	if err == nil && !d.Stopped {
		err = a.mayRead(ctx, &b, &p)
	}
	p.Version, p.Paused = d.Version, d.Stopped
	return p, err
}

func (a *API) compileMapping(uuid string, b *mappingBody) (catalog.Pipe, error) {
	d := &b.Mapping
	if len(d.Topics) != 1 || d.kafka() == nil {
		return catalog.Pipe{}, fmt.Errorf("%w: mapping %q has no topic or no consumer group", catalog.ErrInvalid, uuid)
	}
	source, err := a.mappingSourceOf(b)
	if err != nil {
		return catalog.Pipe{}, err
	}
	p := catalog.Pipe{Name: catalog.MappingPipe(uuid), Topics: d.Topics, Group: b.group(), Start: "earliest", SourceCluster: source.cluster, SourceLogin: source.login}
	switch textOf(d.StartingPosition) {
	case latest:
		p.Start = "latest"
	case atTimestamp:
		p.Start = d.StartingPositionTimestamp.Format(time.RFC3339Nano)
	}
	e := &catalog.Envelope{
		Mapping: uuid, Function: b.Function, FunctionARN: b.FunctionARN, EventSource: "aws:kafka", SourceARN: textOf(d.EventSourceArn), Bootstrap: source.bootstrap,
		DropMismatched: a.cfg.Mapping.FilterMismatch == "drop", DropUndelivered: a.cfg.Mapping.DestinationFailure == "drop",
		ReportFailures: d.FunctionResponseTypes != nil && len(*d.FunctionResponseTypes) > 0,
	}
	if d.EventSourceArn == nil {
		e.EventSource = "aws:SelfManagedKafka"
	}
	if d.FilterCriteria != nil {
		for _, f := range d.FilterCriteria.Filters {
			e.Filters = append(e.Filters, json.RawMessage(textOf(f.Pattern)))
		}
	}
	if d.LoggingConfig != nil {
		e.LogLevel = textOf(d.LoggingConfig.SystemLogLevel)
	}
	e.Schemas = d.kafka().SchemaRegistryConfig.compile()
	a.compileFailure(d, e)
	p.Envelope = e
	p.Target = catalog.Target{Kind: "function"}
	p.Delivery = catalog.Delivery{
		Timeout: mappingTimeout, Order: catalog.OrderPartition, InFlight: mostCalls, Log: "none", Bisect: d.BisectBatchOnFunctionError != nil && *d.BisectBatchOnFunctionError,
		Batch: catalog.Batch{Records: 100, Wait: mappingWindow},
	}
	if d.BatchSize != nil {
		p.Delivery.Batch.Records = int(*d.BatchSize)
	}
	if d.MaximumBatchingWindowInSeconds != nil {
		p.Delivery.Batch.Wait = time.Duration(*d.MaximumBatchingWindowInSeconds) * time.Second
	}
	if pollers := d.ProvisionedPollerConfig; pollers != nil && pollers.MaximumPollers != nil {
		p.Delivery.InFlight = min(mostCalls, callsOfPoller*int(*pollers.MaximumPollers))
	}
	return p, nil
}

// compileFailure says what follows a failure.
func (a *API) compileFailure(d *mappingDocument, e *catalog.Envelope) {
	to := d.onFailure()
	if topic, ok := strings.CutPrefix(to, "kafka://"); ok {
		e.FailureTopic = topic
	} else if m := bucketArn.FindStringSubmatch(to); m != nil {
		e.FailureBucket = m[1]
	} else if m := queueArn.FindStringSubmatch(to); m != nil {
		e.FailureTarget = plainTarget("topic", "name", m[1]) // klamm's queues are topics
	} else if m := snsArn.FindStringSubmatch(to); m != nil {
		e.FailureTarget = plainTarget("topic", "name", m[1])
	} else if m := topicArn.FindStringSubmatch(to); m != nil {
		e.FailureTarget = plainTarget("topic", "name", m[1])
	} else if to != "" {
		e.FailureTarget = plainTarget("webhook", "url", to)
	}
	retries := int64(-1)
	if d.MaximumRetryAttempts != nil {
		retries = int64(*d.MaximumRetryAttempts)
	}
	switch {
	case retries >= 0:
		e.Attempts = int(retries) + 1
	case to != "":
		e.Attempts = retriesWithDestination + 1
	}
	if age := d.MaximumRecordAgeInSeconds; age != nil && *age > 0 {
		e.MaxAge = time.Duration(*age) * time.Second
	}
}

// plainTarget is a target with one setting.
func plainTarget(kind, name, value string) *catalog.Target {
	raw, _ := json.Marshal(map[string]string{name: value}) // cannot fail
	return &catalog.Target{Kind: kind, Config: raw}
}
