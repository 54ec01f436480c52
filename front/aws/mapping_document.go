package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/rule"
)

// A MappingConfig says how event source mappings differ from those of AWS.
type MappingConfig struct {
	// StrictAWS refuses what AWS refuses: features of provisioned mode without
	// ProvisionedPollerConfig, self-managed clusters without
	// SourceAccessConfigurations, filters on anything but value, and destinations
	// that AWS does not have.
	StrictAWS bool `yaml:"strict_aws"`
	// FilterMismatch says what becomes of a record whose key or value has not the
	// form that a filter asks for: deliver (the default), as far as the rest of the
	// filter matches, or drop.
	FilterMismatch string `yaml:"filter_mismatch"`
	// DestinationFailure says what becomes of records that the on-failure destination
	// does not take: retry (the default), without end, or drop.
	DestinationFailure string `yaml:"destination_failure"`
}

// Validate reports each problem with the field it lies in.
func (c *MappingConfig) Validate(report func(path, problem string)) {
	if f := c.FilterMismatch; f != "" && f != "deliver" && f != "drop" {
		report("filter_mismatch", "want deliver or drop")
	}
	if d := c.DestinationFailure; d != "" && d != "retry" && d != "drop" {
		report("destination_failure", "want retry or drop")
	}
}

// A moment is a time in a request: seconds since 1970, or RFC 3339.
type moment struct{ time.Time }

// latestMoment is what later ones count as, so that they can be computed with: the year
// 9999.
const latestMoment = 253402300799

// UnmarshalJSON reads a number or a text.
func (m *moment) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err == nil {
		if seconds < 0 {
			return &json.UnmarshalTypeError{Value: "number " + clip(string(b)), Field: "a time"}
		}
		m.Time = time.UnixMilli(int64(min(seconds, latestMoment)*1000 + 0.5)).UTC()
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "text", Field: "a time"}
	}
	m.Time = t.UTC()
	return nil
}

// MarshalJSON writes seconds.
func (m moment) MarshalJSON() ([]byte, error) { return stamp(m.Time).MarshalJSON() }

// A mappingDocument is an event source mapping in the words of the API
// (event-source-mapping.md 4).
type mappingDocument struct {
	EventSourceArn         *string `json:",omitempty"`
	SelfManagedEventSource *struct {
		Endpoints map[string][]string `json:",omitempty"`
	} `json:",omitempty"`
	Topics                              []string          `json:",omitempty"`
	BatchSize                           *number           `json:",omitempty"`
	MaximumBatchingWindowInSeconds      *number           `json:",omitempty"`
	StartingPosition                    *string           `json:",omitempty"`
	StartingPositionTimestamp           *moment           `json:",omitempty"`
	FilterCriteria                      *filterCriteria   `json:",omitempty"`
	KMSKeyArn                           *string           `json:",omitempty"`
	SourceAccessConfigurations          []mappingAccess   `json:",omitempty"`
	AmazonManagedKafkaEventSourceConfig *mappingKafka     `json:",omitempty"`
	SelfManagedKafkaEventSourceConfig   *mappingKafka     `json:",omitempty"`
	DestinationConfig                   *mappingDestinies `json:",omitempty"`
	BisectBatchOnFunctionError          *bool             `json:",omitempty"`
	MaximumRetryAttempts                *number           `json:",omitempty"`
	MaximumRecordAgeInSeconds           *number           `json:",omitempty"`
	FunctionResponseTypes               *[]string         `json:",omitempty"`
	ProvisionedPollerConfig             *mappingPollers   `json:",omitempty"`
	MetricsConfig                       *mappingMetrics   `json:",omitempty"`
	LoggingConfig                       *mappingLogging   `json:",omitempty"`
}

type (
	mappingAccess struct{ Type, URI *string }
	mappingKafka  struct {
		ConsumerGroupID      *string         `json:"ConsumerGroupId,omitempty"`
		SchemaRegistryConfig *mappingSchemas `json:",omitempty"`
	}
	mappingDestiny   struct{ Destination *string }
	mappingDestinies struct {
		OnSuccess *mappingDestiny `json:",omitempty"`
		OnFailure *mappingDestiny `json:",omitempty"`
	}
	mappingPollers struct {
		MinimumPollers  *number `json:",omitempty"`
		MaximumPollers  *number `json:",omitempty"`
		PollerGroupName *string `json:",omitempty"`
	}
	mappingMetrics struct{ Metrics []string }
	mappingLogging struct {
		SystemLogLevel *string `json:",omitempty"`
	}
)

// A mappingRequest is the body of CreateEventSourceMapping and
// UpdateEventSourceMapping.
type mappingRequest struct {
	FunctionName *string
	Enabled      *bool
	Tags         map[string]string
	mappingDocument

	// These are of other sources.
	ParallelizationFactor, TumblingWindowInSeconds, Queues, ScalingConfig, DocumentDBEventSourceConfig json.RawMessage
}

// bootstrapKey is the name of the brokers among the endpoints of a self-managed
// cluster.
const bootstrapKey = "KAFKA_BOOTSTRAP_SERVERS"

// The starting positions.
const (
	trimHorizon = "TRIM_HORIZON"
	latest      = "LATEST"
	atTimestamp = "AT_TIMESTAMP"
)

// The types of access that are client credentials, and what each is called in a
// login.
var mappingLogins = map[string]string{"BASIC_AUTH": "plain", "SASL_SCRAM_256_AUTH": "scram-256", "SASL_SCRAM_512_AUTH": "scram-512", "CLIENT_CERTIFICATE_TLS_AUTH": "mtls"}

const rootCertificate = "SERVER_ROOT_CA_CERTIFICATE"

var (
	mappingArnShape    = like(0, 1024, `arn:(aws[a-zA-Z0-9-]*|klamm):([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?(-iso([a-z])?)?-[a-z]+-\d{1})?:(\d{12})?:(.*)`)
	mappingServerShape = like(1, 300, `(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9]):[0-9]{1,5}`)
	mappingTopicShape  = like(1, 249, `[^.]([a-zA-Z0-9\-_.]*)`).as(`[^.]([a-zA-Z0-9\-_.]+)`)
	mappingGroupShape  = like(1, 200, `[ a-zA-Z0-9-\/*:_+=.@-]*`)
	accessURIShape     = like(1, 200, `[a-zA-Z0-9-\/*:_+=.@-]*`)
	keyArnShape        = like(0, 2048, `(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()`)
	pollerGroupShape   = like(0, 128, `[a-zA-Z0-9-_]*`)
	strictDestination  = regexp.MustCompile(`^(arn:aws[a-zA-Z0-9-]*:([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?(-iso([a-z])?)?-[a-z]+-\d{1})?:(\d{12})?:(.*)|kafka://([^.]([a-zA-Z0-9\-_.]+)))$`)
	mskArn             = regexp.MustCompile(`^arn:aws[a-zA-Z0-9-]*:kafka:`)
	bucketArn          = regexp.MustCompile(`^arn:aws[a-zA-Z0-9-]*:s3:::([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$`)
	queueArn           = regexp.MustCompile(`^arn:aws[a-zA-Z0-9-]*:sqs:[a-z0-9-]*:[0-9]{12}:([A-Za-z0-9_-]{1,80})(\.fifo)?$`)
	snsArn             = regexp.MustCompile(`^arn:aws[a-zA-Z0-9-]*:sns:[a-z0-9-]*:[0-9]{12}:([A-Za-z0-9_-]{1,249})$`)
	mappingAccessTypes = []string{"BASIC_AUTH", "VPC_SUBNET", "VPC_SECURITY_GROUP", "SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "VIRTUAL_HOST", "CLIENT_CERTIFICATE_TLS_AUTH", rootCertificate}
)

// kafka returns the section with the consumer group.
func (d *mappingDocument) kafka() *mappingKafka {
	if d.SelfManagedKafkaEventSourceConfig != nil {
		return d.SelfManagedKafkaEventSourceConfig
	}
	return d.AmazonManagedKafkaEventSourceConfig
}

// servers are the brokers of a self-managed cluster.
func (d *mappingDocument) servers() []string {
	if d.SelfManagedEventSource == nil {
		return nil
	}
	return d.SelfManagedEventSource.Endpoints[bootstrapKey]
}

// check reports what the model of the API does not allow.
func (d *mappingDocument) check(v *violations) {
	if d.EventSourceArn != nil {
		v.text("eventSourceArn", d.EventSourceArn, mappingArnShape)
	}
	if s := d.SelfManagedEventSource; s != nil {
		v.count("selfManagedEventSource.endpoints", len(s.Endpoints), 0, 2)
		for name, servers := range s.Endpoints {
			v.oneOf("selfManagedEventSource.endpoints", &name, bootstrapKey)
			v.count("selfManagedEventSource.endpoints."+bootstrapKey, len(servers), 1, 10)
			for _, server := range servers[:min(len(servers), 10)] {
				v.text("selfManagedEventSource.endpoints."+bootstrapKey, &server, mappingServerShape)
			}
		}
	}
	if d.Topics != nil {
		v.count("topics", len(d.Topics), 1, 1)
		for _, topic := range d.Topics[:min(len(d.Topics), 1)] {
			v.text("topics", &topic, mappingTopicShape)
		}
	}
	v.number("batchSize", d.BatchSize.int(), 1, 10_000)
	v.number("maximumBatchingWindowInSeconds", d.MaximumBatchingWindowInSeconds.int(), 0, 300)
	v.oneOf("startingPosition", d.StartingPosition, latest, atTimestamp, trimHorizon)
	if f := d.FilterCriteria; f != nil {
		v.count("filterCriteria.filters", len(f.Filters), 0, mostMappingFilters)
		for i := range f.Filters {
			v.text("filterCriteria.filters."+strconv.Itoa(i+1)+".member.pattern", f.Filters[i].Pattern, long(0, 4096))
		}
	}
	v.text("kMSKeyArn", d.KMSKeyArn, keyArnShape)
	v.count("sourceAccessConfigurations", len(d.SourceAccessConfigurations), 0, 23)
	for i, access := range d.SourceAccessConfigurations[:min(len(d.SourceAccessConfigurations), 23)] {
		at := "sourceAccessConfigurations." + strconv.Itoa(i+1) + ".member."
		v.oneOf(at+"type", access.Type, mappingAccessTypes...)
		v.text(at+"uRI", access.URI, accessURIShape)
	}
	for name, k := range map[string]*mappingKafka{"amazonManagedKafkaEventSourceConfig": d.AmazonManagedKafkaEventSourceConfig, "selfManagedKafkaEventSourceConfig": d.SelfManagedKafkaEventSourceConfig} {
		if k != nil {
			v.text(name+".consumerGroupId", k.ConsumerGroupID, mappingGroupShape)
			k.SchemaRegistryConfig.constrain(v, name+".schemaRegistryConfig.")
		}
	}
	if c := d.DestinationConfig; c != nil && c.OnFailure != nil {
		v.text("destinationConfig.onFailure.destination", c.OnFailure.Destination, long(0, 350))
	}
	v.number("maximumRetryAttempts", d.MaximumRetryAttempts.int(), -1, 10_000)
	v.number("maximumRecordAgeInSeconds", d.MaximumRecordAgeInSeconds.int(), -1, 604_800)
	if types := d.FunctionResponseTypes; types != nil {
		v.count("functionResponseTypes", len(*types), 0, 1)
		for _, t := range (*types)[:min(len(*types), 1)] {
			v.oneOf("functionResponseTypes", &t, "ReportBatchItemFailures")
		}
	}
	if p := d.ProvisionedPollerConfig; p != nil {
		v.number("provisionedPollerConfig.minimumPollers", p.MinimumPollers.int(), 1, 200)
		v.number("provisionedPollerConfig.maximumPollers", p.MaximumPollers.int(), 1, 2000)
		v.text("provisionedPollerConfig.pollerGroupName", p.PollerGroupName, pollerGroupShape)
	}
	if m := d.MetricsConfig; m != nil {
		v.count("metricsConfig.metrics", len(m.Metrics), 0, 3)
		for _, one := range m.Metrics[:min(len(m.Metrics), 3)] {
			v.oneOf("metricsConfig.metrics", &one, "EventCount", "ErrorCount", "KafkaMetrics")
		}
	}
	if l := d.LoggingConfig; l != nil {
		v.oneOf("loggingConfig.systemLogLevel", l.SystemLogLevel, "DEBUG", "INFO", "WARN")
	}
}

const (
	// mostMappingFilters is AWS's quota.
	mostMappingFilters = 10
	// The pollers of a mapping that says nothing else (event-source-mapping.md 4).
	defaultLeastPollers, defaultMostPollers = 1, 200
	// A poller group has at most so many mappings, whose MaximumPollers together are at
	// most so many (event-source-mapping.md 16).
	mostGroupMappings, mostGroupPollers = 100, 2000
)

// validation returns what was collected in the words of the Lambda API.
func (v *violations) validation() error {
	var f *fault
	if errors.As(v.fault(), &f) {
		return &lambdaFault{name: f.name, status: f.status, message: f.message}
	}
	return nil
}

// checkSource reports what is wrong with where a new mapping reads.
func (d *mappingDocument) checkSource(strict bool) error {
	self := d.SelfManagedEventSource != nil && len(d.servers()) > 0
	switch {
	case d.EventSourceArn == nil && !self, d.EventSourceArn != nil && !mskArn.MatchString(*d.EventSourceArn) && !clusterArn.MatchString(*d.EventSourceArn):
		return invalidParameter("Unrecognized event source.")
	case d.EventSourceArn != nil && d.SelfManagedEventSource != nil:
		return invalidParameter("EventSourceArn and SelfManagedEventSource cannot be specified together.")
	case len(d.Topics) != 1:
		return invalidParameter("Exactly one topic is required in Topics.")
	case self && d.AmazonManagedKafkaEventSourceConfig != nil:
		return invalidParameter("AmazonManagedKafkaEventSourceConfig is not supported for self-managed Kafka.")
	case !self && d.SelfManagedKafkaEventSourceConfig != nil:
		return invalidParameter("SelfManagedKafkaEventSourceConfig is not supported for Amazon MSK.")
	case self && strict && len(d.SourceAccessConfigurations) == 0:
		return invalidParameter("Required 'sourceAccessConfigurations' parameter is missing.")
	}
	at := d.StartingPosition != nil && *d.StartingPosition == atTimestamp
	switch {
	case at && d.StartingPositionTimestamp == nil:
		return invalidParameter("StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP.")
	case !at && d.StartingPositionTimestamp != nil:
		return invalidParameter("StartingPositionTimestamp can only be specified when StartingPosition is AT_TIMESTAMP.")
	case at && d.StartingPositionTimestamp.After(time.Now().Add(time.Second)):
		return invalidParameter("StartingPositionTimestamp cannot be in the future.")
	}
	for _, server := range d.servers() {
		if port, err := strconv.Atoi(server[strings.LastIndexByte(server, ':')+1:]); err != nil || port < 1 || port > 65535 {
			return invalidParameter("The port of " + clip(server) + " is not from 1 to 65535.")
		}
	}
	return nil
}

// checkRules reports what the model allows and a mapping of Kafka does not.
func (d *mappingDocument) checkRules(strict bool) error {
	if err := d.checkAccess(); err != nil {
		return err
	}
	if err := d.checkFilters(strict); err != nil {
		return err
	}
	if age := d.MaximumRecordAgeInSeconds; age != nil && *age >= 0 && *age < 60 {
		return invalidParameter("MaximumRecordAgeInSeconds must be -1, or from 60 to 604800.")
	}
	if least, most := d.pollers(); least > most {
		return invalidParameter("MaximumPollers must not be less than MinimumPollers.")
	}
	if k := d.kafka(); k != nil && k.SchemaRegistryConfig != nil {
		if err := k.SchemaRegistryConfig.check(); err != nil {
			return err
		}
	}
	if err := d.checkDestination(strict); err != nil {
		return err
	}
	if strict {
		return d.checkMode()
	}
	return nil
}

// pollers are the fewest and the most pollers of a mapping, which has the defaults
// where nothing else is said.
func (d *mappingDocument) pollers() (least, most int64) {
	least, most = defaultLeastPollers, defaultMostPollers
	if p := d.ProvisionedPollerConfig; p != nil {
		if p.MinimumPollers != nil {
			least = int64(*p.MinimumPollers)
		}
		if p.MaximumPollers != nil {
			most = int64(*p.MaximumPollers)
		}
	}
	return least, most
}

// pollerGroup is the group whose pollers a mapping shares; empty: none.
func (d *mappingDocument) pollerGroup() string {
	if p := d.ProvisionedPollerConfig; p != nil {
		return textOf(p.PollerGroupName)
	}
	return ""
}

// checkAccess reports credentials that cannot be used.
func (d *mappingDocument) checkAccess() error {
	logins, roots := 0, 0
	for _, access := range d.SourceAccessConfigurations {
		if access.Type == nil || access.URI == nil {
			return invalidParameter("A source access configuration needs Type and URI.")
		}
		kind := *access.Type
		managed := kind == "SASL_SCRAM_512_AUTH" || kind == "CLIENT_CERTIFICATE_TLS_AUTH"
		if kind == "VIRTUAL_HOST" || d.SelfManagedEventSource == nil && !managed {
			return invalidParameter("Source access configuration type " + kind + " is not supported for the given event source.")
		}
		if mappingLogins[kind] != "" {
			logins++
		}
		if kind == rootCertificate {
			roots++
		}
	}
	switch {
	case logins > 1:
		return invalidParameter("At most one of BASIC_AUTH, SASL_SCRAM_256_AUTH, SASL_SCRAM_512_AUTH and CLIENT_CERTIFICATE_TLS_AUTH can be specified.")
	case roots > 1:
		return invalidParameter("At most one " + rootCertificate + " can be specified.")
	}
	return nil
}

// checkFilters reports patterns that cannot work.
func (d *mappingDocument) checkFilters(strict bool) error {
	if d.FilterCriteria == nil {
		return nil
	}
	bad := invalidParameter("Invalid filter pattern definition.")
	for _, f := range d.FilterCriteria.Filters {
		var members map[string]json.RawMessage
		if f.Pattern == nil || json.Unmarshal([]byte(*f.Pattern), &members) != nil || len(members) == 0 {
			return bad
		}
		p, err := rule.CompileRecord([]byte(*f.Pattern))
		if err != nil || strict && slices.ContainsFunc(p.Fields(), func(name string) bool { return name != "value" && !(name == "key" && d.kafka().decodesKeys()) }) {
			return bad
		}
	}
	return nil
}

// checkStrict reports operators that AWS does not have in filters of mappings.
func (d *mappingDocument) checkStrict() error {
	if d.FilterCriteria == nil {
		return nil
	}
	for _, f := range d.FilterCriteria.Filters {
		if operator := unlisted(f.Pattern); operator != "" {
			return invalidParameter("Invalid filter pattern definition. Filters of event source mappings do not have " + operator + ", and aws.strict_filters is on.")
		}
	}
	return nil
}

// onFailure is where records go that are given up; empty: nowhere.
func (d *mappingDocument) onFailure() string {
	if c := d.DestinationConfig; c != nil && c.OnFailure != nil {
		return textOf(c.OnFailure.Destination)
	}
	return ""
}

// checkDestination reports a destination that cannot be one.
func (d *mappingDocument) checkDestination(strict bool) error {
	if c := d.DestinationConfig; c != nil && c.OnSuccess != nil {
		return invalidParameter("Unsupported DestinationConfig parameter for given event source mapping type.")
	}
	to := d.onFailure()
	if to == "" {
		return nil
	}
	if strict && !strictDestination.MatchString(to) {
		v := &violations{}
		v.add("destinationConfig.onFailure.destination", to, "satisfy regular expression pattern: "+strictDestination.String())
		return v.validation()
	}
	if topic, ok := strings.CutPrefix(to, "kafka://"); ok {
		switch {
		case catalog.TopicProblem(topic) != "":
			return invalidParameter("The Kafka on-failure destination is not valid: " + catalog.TopicProblem(topic) + ".")
		case slices.Contains(d.Topics, topic):
			return invalidParameter("The Kafka on-failure destination must not be the topic that the event source mapping reads.")
		}
		return nil
	}
	if m := queueArn.FindStringSubmatch(to); m != nil && m[2] == "" {
		return nil
	}
	switch {
	case bucketArn.MatchString(to), topicArn.MatchString(to), snsArn.MatchString(to):
		return nil
	case strings.HasPrefix(to, "https://"), strings.HasPrefix(to, "http://"):
		return nil
	case strings.HasSuffix(to, ".fifo"):
		return invalidParameter("FIFO queues and topics are not supported as on-failure destinations.")
	}
	return invalidParameter("The on-failure destination is not supported: " + clip(to) + "; use kafka://TOPIC, the ARN of an S3 bucket, of an SQS queue or of an SNS topic, or an https:// URL.")
}

// checkMode reports features of provisioned mode in on-demand mode.
func (d *mappingDocument) checkMode() error {
	if p := d.ProvisionedPollerConfig; p != nil && *p != (mappingPollers{}) {
		return nil
	}
	features := []struct {
		name string
		used bool
	}{
		{"MaximumRetryAttempts", d.MaximumRetryAttempts != nil}, {"MaximumRecordAgeInSeconds", d.MaximumRecordAgeInSeconds != nil},
		{"BisectBatchOnFunctionError", d.BisectBatchOnFunctionError != nil}, {"FunctionResponseTypes", d.FunctionResponseTypes != nil && len(*d.FunctionResponseTypes) > 0},
		{"LoggingConfig", d.LoggingConfig != nil}, {"SchemaRegistryConfig", d.kafka().registry()}, {"A Kafka topic as on-failure destination", strings.HasPrefix(d.onFailure(), "kafka://")},
	}
	for _, f := range features {
		if f.used {
			return invalidParameter(fmt.Sprintf("%s is only supported with ProvisionedPollerConfig.", f.name))
		}
	}
	return nil
}

// checkOthers reports members that are of other sources.
func (q *mappingRequest) checkOthers() error {
	for name, value := range map[string]json.RawMessage{
		"ParallelizationFactor": q.ParallelizationFactor, "TumblingWindowInSeconds": q.TumblingWindowInSeconds, "Queues": q.Queues,
		"ScalingConfig": q.ScalingConfig, "DocumentDBEventSourceConfig": q.DocumentDBEventSourceConfig,
	} {
		if len(value) > 0 && string(value) != "null" {
			return invalidParameter("Unsupported " + name + " parameter for given event source mapping type.")
		}
	}
	if len(q.Tags) > 0 {
		if problem := tagProblem(q.Tags); problem != "" {
			return invalidParameter(problem)
		}
	}
	return nil
}

// mappingInUse refuses a change of a mapping that is busy with the one before.
func mappingInUse(verb string) error {
	return &lambdaFault{name: "ResourceInUseException", status: http.StatusBadRequest, message: "Cannot " + verb + " the event source mapping because it is in use."}
}

// validUUID says whether a text can be the name of a mapping.
func validUUID(text string) bool {
	return len(text) <= 64 && utf8.ValidString(text) && uuidForm.MatchString(text)
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
