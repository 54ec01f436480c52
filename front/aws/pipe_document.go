package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/transform"
)

// A pipeDocument is a pipe as its API shows it (pipes.md 17). What klamm does not
// carry out is kept and shown as it came.
type pipeDocument struct {
	Description          *string            `json:",omitempty"`
	Source               *string            `json:",omitempty"`
	SourceParameters     *sourceParameters  `json:",omitempty"`
	Enrichment           *string            `json:",omitempty"`
	EnrichmentParameters *inputParameters   `json:",omitempty"`
	Target               *string            `json:",omitempty"`
	TargetParameters     *targetParameters  `json:",omitempty"`
	RoleArn              *string            `json:",omitempty"`
	Tags                 map[string]*string `json:",omitempty"`
	LogConfiguration     *logConfiguration  `json:",omitempty"`
	KmsKeyIdentifier     *string            `json:",omitempty"`
}

type sourceParameters struct {
	FilterCriteria                  *filterCriteria `json:",omitempty"`
	ManagedStreamingKafkaParameters *kafkaSource    `json:",omitempty"`
	SelfManagedKafkaParameters      *kafkaSource    `json:",omitempty"`
	KinesisStreamParameters         json.RawMessage `json:",omitempty"`
	DynamoDBStreamParameters        json.RawMessage `json:",omitempty"`
	SqsQueueParameters              json.RawMessage `json:",omitempty"`
	ActiveMQBrokerParameters        json.RawMessage `json:",omitempty"`
	RabbitMQBrokerParameters        json.RawMessage `json:",omitempty"`
}

type filterCriteria struct {
	Filters []filter `json:",omitempty"`
}

type filter struct {
	Pattern *string `json:",omitempty"`
}

// A kafkaSource is either of the two Kafka sources.
type kafkaSource struct {
	TopicName                      *string            `json:",omitempty"`
	StartingPosition               *string            `json:",omitempty"`
	AdditionalBootstrapServers     []string           `json:",omitempty"`
	BatchSize                      *number            `json:",omitempty"`
	MaximumBatchingWindowInSeconds *number            `json:",omitempty"`
	ConsumerGroupID                *string            `json:",omitempty"`
	Credentials                    map[string]*string `json:",omitempty"`
	ServerRootCaCertificate        *string            `json:",omitempty"`
	Vpc                            *vpc               `json:",omitempty"`
}

type vpc struct {
	Subnets       []string `json:",omitempty"`
	SecurityGroup []string `json:",omitempty"`
}

type inputParameters struct {
	InputTemplate  *string         `json:",omitempty"`
	HttpParameters *httpParameters `json:",omitempty"`
}

type httpParameters struct {
	PathParameterValues   []string          `json:",omitempty"`
	HeaderParameters      map[string]string `json:",omitempty"`
	QueryStringParameters map[string]string `json:",omitempty"`
}

type targetParameters struct {
	inputParameters
	LambdaFunctionParameters           json.RawMessage `json:",omitempty"`
	StepFunctionStateMachineParameters json.RawMessage `json:",omitempty"`
	KinesisStreamParameters            json.RawMessage `json:",omitempty"`
	EcsTaskParameters                  json.RawMessage `json:",omitempty"`
	BatchJobParameters                 json.RawMessage `json:",omitempty"`
	SqsQueueParameters                 json.RawMessage `json:",omitempty"`
	RedshiftDataParameters             json.RawMessage `json:",omitempty"`
	SageMakerPipelineParameters        json.RawMessage `json:",omitempty"`
	EventBridgeEventBusParameters      json.RawMessage `json:",omitempty"`
	CloudWatchLogsParameters           json.RawMessage `json:",omitempty"`
	TimestreamParameters               json.RawMessage `json:",omitempty"`
}

type logConfiguration struct {
	S3LogDestination *struct {
		BucketName   *string `json:",omitempty"`
		BucketOwner  *string `json:",omitempty"`
		OutputFormat *string `json:",omitempty"`
		Prefix       *string `json:",omitempty"`
	} `json:",omitempty"`
	FirehoseLogDestination *struct {
		DeliveryStreamArn *string `json:",omitempty"`
	} `json:",omitempty"`
	CloudwatchLogsLogDestination *struct {
		LogGroupArn *string `json:",omitempty"`
	} `json:",omitempty"`
	Level                *string  `json:",omitempty"`
	IncludeExecutionData []string `json:",omitempty"`
}

// The forms of pipes.md 17, with the ARNs of klamm's own beside those of AWS.
const (
	hostForm = `(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9]):[0-9]{1,5}`
	arnForm  = `arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-]+):([a-z]{2,4}((-gov)|(-de)|(-iso([a-z]?)))?-[a-z]+(-\d{1})?)?:(\d{12})?:(.+)`
	ownForm  = `arn:klamm:[a-z]+:::(.+)`
	partForm = `([a-z]{2,4}((-gov)|(-de)|(-iso([a-z]?)))?-[a-z]+(-\d{1})?):(\d{12})` // region and account
	pathForm = `(\$(\.[\w/_-]+(\[(\d+|\*)\])*)*)`
)

var (
	nameShape     = like(1, 64, `[\.\-_A-Za-z0-9]+`)
	sourceShape   = like(1, 1600, `smk://`+hostForm+`|`+arnForm+`|`+ownForm).as(`smk://` + hostForm + `|` + arnForm)
	targetShape   = like(1, 1600, arnForm+`|`+ownForm).as(arnForm)
	enrichShape   = like(0, 1600, `$|`+arnForm+`|`+ownForm).as(`$|` + arnForm)
	roleShape     = like(1, 1600, `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z0-9+=,.@\-_/]+`)
	kmsShape      = like(0, 2048, `[a-zA-Z0-9_\-/:]*`)
	kmsAnchored   = kmsShape.as(`^[a-zA-Z0-9_\-/:]*$`) // as EventBridge has it
	topicShape    = like(1, 249, `[^.]([a-zA-Z0-9\-_.]*)`).as(`[^.]([a-zA-Z0-9\-_.]+)`).hidden()
	groupShape    = like(1, 200, `[a-zA-Z0-9-\/*:_+=.@-]*`).hidden()
	serverShape   = like(1, 300, hostForm).hidden()
	secretShape   = like(1, 1600, `(^arn:aws([a-z]|\-)*:secretsmanager:`+partForm+`:secret:.+)`)
	streamShape   = like(1, 1600, `(^arn:aws([a-z]|\-)*:firehose:`+partForm+`:deliverystream/[a-zA-Z0-9_.-]{1,64})`)
	logGroupShape = like(1, 1600, `(^arn:aws([a-z]|\-)*:logs:`+partForm+`:log-group:[\.\-_/#A-Za-z0-9]{1,512}(:\*)?)`)
	subnetShape   = like(1, 1024, `subnet-[0-9a-z]*`).hidden()
	securityShape = like(1, 1024, `sg-[0-9a-zA-Z]*`).hidden()
	pathValue     = regexp.MustCompile(`\S`)
)

// httpShapes are what the parameters of an HTTP call must look like.
type httpShapes struct {
	headerName, headerValue, queryName, queryValue shape
	paths                                          bool // what begins like a path must be one, and names may be paths
}

var (
	pipeHTTP = httpShapes{
		like(0, 512, `[!#$%&'*+-.^_`+"`"+`|~0-9a-zA-Z]+`), like(0, 512, `[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*|`+pathForm).hidden(),
		like(0, 512, `[^\x00-\x1F\x7F]+|`+pathForm), like(0, 512, `[^\x00-\x09\x0B\x0C\x0E-\x1F\x7F]+|`+pathForm).hidden(), true,
	}
	// ruleHTTP is the same in the words of rules (event-bus.md 14): any value that is not a
	// path as a whole is what it is.
	ruleHTTP = httpShapes{headerName: keyShape, headerValue: headerShape, queryName: queryKeyShape, queryValue: queryShape}
)

// destinationArn is the ARN of an API destination.
var destinationArn = regexp.MustCompile(`^arn:aws[a-z-]*:events:[a-z0-9-]*:[0-9]{0,12}:api-destination/([.\-_A-Za-z0-9]{1,64})/([-A-Za-z0-9]+)$`)

// mostTaken returns how many events what an ARN names takes at once (pipes.md 8).
func mostTaken(arn *string) int64 {
	switch kindOfTarget(textOf(arn)) {
	case "api-destination", "gateway":
		return 1
	case "bus", "queue":
		return 10
	}
	return mostBatched
}

// mostBatched is how many records a batch may have, and defaultBatch how many it has where
// nothing is said (pipes.md 3).
const mostBatched, defaultBatch = 10_000, 100

// check reports what is wrong with a document in itself.
func (p *pipeDocument) check(v *violations) {
	v.text("description", p.Description, long(0, 512).hidden())
	v.required("source", p.Source, sourceShape)
	v.required("target", p.Target, targetShape)
	v.required("roleArn", p.RoleArn, roleShape)
	v.text("enrichment", p.Enrichment, enrichShape)
	v.text("kmsKeyIdentifier", p.KmsKeyIdentifier, kmsShape)
	if p.Tags != nil {
		checkTags(v, "tags", p.Tags, 1)
	}
	p.checkSource(v)
	if e := p.EnrichmentParameters; e != nil {
		e.check(v, "enrichmentParameters")
	}
	if t := p.TargetParameters; t != nil {
		t.check(v, "targetParameters")
		t.checkKinds(v)
		t.checkOthers(v)
		checkBus(v, t.EventBridgeEventBusParameters)
	}
	p.LogConfiguration.check(v)
	p.checkBatches(v)
}

// checkKinds reports parameters of several kinds of targets, and those of functions
// that mean nothing (pipes.md 8).
func (p *targetParameters) checkKinds(v *violations) {
	kinds := 0
	for _, one := range []json.RawMessage{p.LambdaFunctionParameters, p.StepFunctionStateMachineParameters, p.KinesisStreamParameters, p.EcsTaskParameters, p.BatchJobParameters, p.SqsQueueParameters,
		p.RedshiftDataParameters, p.SageMakerPipelineParameters, p.EventBridgeEventBusParameters, p.CloudWatchLogsParameters, p.TimestreamParameters} {
		if len(one) > 0 && string(one) != "null" {
			kinds++
		}
	}
	if p.HttpParameters != nil {
		kinds++
	}
	if kinds > 1 {
		v.say("targetParameters", "at most one structure may be given beside InputTemplate, the one of the target's kind")
	}
	var lambda struct{ InvocationType *string }
	if read(v, "targetParameters.lambdaFunctionParameters", p.LambdaFunctionParameters, &lambda) {
		v.oneOf("targetParameters.lambdaFunctionParameters.invocationType", lambda.InvocationType, "REQUEST_RESPONSE", "FIRE_AND_FORGET")
	}
}

// checkOthers reports what is wrong with the parameters of targets that klamm does not
// have, or that mean nothing to it: they are kept and shown.
func (p *targetParameters) checkOthers(v *violations) {
	var machine struct{ InvocationType *string }
	if read(v, "targetParameters.stepFunctionStateMachineParameters", p.StepFunctionStateMachineParameters, &machine) {
		v.oneOf("targetParameters.stepFunctionStateMachineParameters.invocationType", machine.InvocationType, "REQUEST_RESPONSE", "FIRE_AND_FORGET")
	}
	var stream struct{ PartitionKey *string }
	if read(v, "targetParameters.kinesisStreamParameters", p.KinesisStreamParameters, &stream) {
		v.required("targetParameters.kinesisStreamParameters.partitionKey", stream.PartitionKey, long(0, 256).hidden())
	}
	var queue struct{ MessageGroupId, MessageDeduplicationId *string }
	if read(v, "targetParameters.sqsQueueParameters", p.SqsQueueParameters, &queue) {
		v.text("targetParameters.sqsQueueParameters.messageGroupId", queue.MessageGroupId, long(0, 100).hidden())
		v.text("targetParameters.sqsQueueParameters.messageDeduplicationId", queue.MessageDeduplicationId, long(0, 100).hidden())
	}
	var logs struct{ LogStreamName, Timestamp *string }
	if read(v, "targetParameters.cloudWatchLogsParameters", p.CloudWatchLogsParameters, &logs) {
		v.text("targetParameters.cloudWatchLogsParameters.logStreamName", logs.LogStreamName, long(1, 256))
		v.text("targetParameters.cloudWatchLogsParameters.timestamp", logs.Timestamp, busTimeShape)
	}
}

// read takes a structure of parameters apart, and says whether there is one.
func read(v *violations, path string, raw json.RawMessage, into any) bool {
	if len(raw) == 0 {
		return false
	}
	if unmarshal(raw, into) != nil {
		v.say(path, "the structure has members of other types than those that its kind of target has")
		return false
	}
	return string(raw) != "null"
}

func checkTags(v *violations, path string, tags map[string]*string, least int) {
	v.count(path, len(tags), least, 50)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		v.text(path+".key", &key, long(1, 128).hidden())
		v.required(path+".value", tags[key], long(0, 256).hidden())
	}
}

// kafka returns the parameters of the source, those that fit it.
func (p *pipeDocument) kafka() *kafkaSource {
	s := p.SourceParameters
	switch {
	case s == nil:
		return nil
	case s.SelfManagedKafkaParameters != nil:
		return s.SelfManagedKafkaParameters
	default:
		return s.ManagedStreamingKafkaParameters
	}
}

// managed says whether a source is an MSK cluster.
func managed(source string) bool { return strings.HasPrefix(source, "arn:aws") }

func (p *pipeDocument) checkSource(v *violations) {
	s := p.SourceParameters
	if p.Source == nil || v.has("source") {
		return
	}
	if s == nil {
		v.add("sourceParameters", nil, "not be null")
		return
	}
	if managed(*p.Source) && !strings.Contains(*p.Source, ":kafka:") || s.foreign() {
		v.say("source", "klamm reads from Kafka: want smk://HOST:PORT, the ARN of an MSK cluster, or arn:klamm:kafka:::cluster/NAME as the source")
		return
	}
	both := s.ManagedStreamingKafkaParameters != nil && s.SelfManagedKafkaParameters != nil
	fits := s.SelfManagedKafkaParameters != nil
	if managed(*p.Source) {
		fits = s.ManagedStreamingKafkaParameters != nil
	}
	if strings.HasPrefix(*p.Source, "arn:klamm:") {
		fits = p.kafka() != nil
	}
	if both || !fits {
		v.say("sourceParameters", "exactly one structure must be given that fits the source: SelfManagedKafkaParameters for smk://, ManagedStreamingKafkaParameters for an MSK cluster")
		return
	}
	path := "sourceParameters.selfManagedKafkaParameters"
	if s.ManagedStreamingKafkaParameters != nil {
		path = "sourceParameters.managedStreamingKafkaParameters"
	}
	k := p.kafka()
	v.required(path+".topicName", k.TopicName, topicShape)
	v.text(path+".consumerGroupID", k.ConsumerGroupID, groupShape)
	k.check(v, path, s.ManagedStreamingKafkaParameters != nil)
	s.checkFilters(v)
}

func (s *sourceParameters) foreign() bool {
	return s.KinesisStreamParameters != nil || s.DynamoDBStreamParameters != nil || s.SqsQueueParameters != nil || s.ActiveMQBrokerParameters != nil || s.RabbitMQBrokerParameters != nil
}

// check reports what is wrong with what can be changed later, too.
func (k *kafkaSource) check(v *violations, path string, msk bool) {
	v.oneOf(path+".startingPosition", k.StartingPosition, "TRIM_HORIZON", "LATEST")
	v.number(path+".batchSize", k.BatchSize.int(), 1, mostBatched)
	v.number(path+".maximumBatchingWindowInSeconds", k.MaximumBatchingWindowInSeconds.int(), 0, 300)
	v.count(path+".additionalBootstrapServers", len(k.AdditionalBootstrapServers), 0, 2)
	v.each(path+".additionalBootstrapServers", k.AdditionalBootstrapServers, serverShape)
	v.text(path+".serverRootCaCertificate", k.ServerRootCaCertificate, secretShape)
	ways := []string{"BasicAuth", "SaslScram512Auth", "SaslScram256Auth", "ClientCertificateTlsAuth"}
	if msk {
		ways = []string{"SaslScram512Auth", "ClientCertificateTlsAuth"}
	}
	given := slices.Sorted(maps.Keys(k.Credentials))
	if k.Credentials != nil && (len(given) != 1 || !slices.Contains(ways, given[0])) {
		v.say(path+".credentials", "want exactly one of "+strings.Join(ways, ", "))
		given = nil
	}
	for _, way := range given {
		v.required(path+".credentials."+strings.ToLower(way[:1])+way[1:], k.Credentials[way], secretShape)
	}
	if k.Vpc != nil {
		v.count(path+".vpc.subnets", len(k.Vpc.Subnets), 0, 16)
		v.count(path+".vpc.securityGroup", len(k.Vpc.SecurityGroup), 0, 5)
		v.each(path+".vpc.subnets", k.Vpc.Subnets, subnetShape)
		v.each(path+".vpc.securityGroup", k.Vpc.SecurityGroup, securityShape)
	}
}

func (s *sourceParameters) checkFilters(v *violations) {
	if s.FilterCriteria == nil {
		return
	}
	const path = "sourceParameters.filterCriteria.filters"
	v.count(path, len(s.FilterCriteria.Filters), 0, 5)
	for i, f := range s.FilterCriteria.Filters {
		at := fmt.Sprintf("%s.%d.member.pattern", path, i+1)
		v.text(at, f.Pattern, long(0, 4096).hidden())
		if f.Pattern == nil || *f.Pattern == "" || v.has(at) {
			continue
		}
		if _, err := rule.CompileRecord([]byte(*f.Pattern)); err != nil {
			v.say(at, err.Error())
		}
	}
}

// checkStrict reports operators that AWS does not have in filters of pipes. Of what is given
// nothing else may be wrong.
func (s *sourceParameters) checkStrict(v *violations) {
	if s == nil || s.FilterCriteria == nil || len(v.texts) > 0 {
		return
	}
	for i, f := range s.FilterCriteria.Filters {
		if operator := unlisted(f.Pattern); operator != "" {
			v.say(fmt.Sprintf("sourceParameters.filterCriteria.filters.%d.member.pattern", i+1), "filters of pipes do not have "+operator+", and aws.strict_filters is on")
		}
	}
}

// unlisted names an operator of a filter that AWS does not have in filters of pipes and
// mappings (event-patterns.md 10); empty: there is none.
func unlisted(pattern *string) string {
	p, err := rule.CompileRecord([]byte(textOf(pattern)))
	if err != nil {
		return "" // an empty pattern, which filters nothing
	}
	return p.Unlisted()
}

// check reports what is wrong with the input of a target or an enrichment.
func (p *inputParameters) check(v *violations, path string) {
	at := path + ".inputTemplate"
	v.text(at, p.InputTemplate, long(0, 8192).hidden())
	if t := textOf(p.InputTemplate); t != "" && !v.has(at) {
		if _, err := transform.Compile(transform.Spec{Template: t, Encoded: true}, transform.Vars{}); err != nil {
			v.say(at, "the template is not valid: "+err.Error())
		}
	}
	if p.HttpParameters != nil {
		p.HttpParameters.check(v, path+".httpParameters", &pipeHTTP)
	}
}

// check reports what is wrong with the parameters of an HTTP call, which must look like s.
func (h *httpParameters) check(v *violations, path string, s *httpShapes) {
	for i, value := range h.PathParameterValues {
		at := fmt.Sprintf("%s.pathParameterValues.%d.member", path, i+1)
		if !pathValue.MatchString(value) {
			v.add(at, "***", "satisfy regular expression pattern: ^(?!\\s*$).+")
		}
		s.dynamic(v, at, value)
	}
	for _, name := range slices.Sorted(maps.Keys(h.HeaderParameters)) {
		value := h.HeaderParameters[name]
		v.text(path+".headerParameters", &name, s.headerName)
		v.text(path+".headerParameters."+clip(name), &value, s.headerValue)
		if refusedHeader(name) {
			v.say(path+".headerParameters", "the header "+clip(name)+" cannot be set")
		}
		s.dynamic(v, path+".headerParameters", value)
	}
	for _, name := range slices.Sorted(maps.Keys(h.QueryStringParameters)) {
		value := h.QueryStringParameters[name]
		v.text(path+".queryStringParameters", &name, s.queryName)
		v.text(path+".queryStringParameters."+clip(name), &value, s.queryValue)
		s.dynamic(v, path+".queryStringParameters", value)
		if s.paths {
			s.dynamic(v, path+".queryStringParameters", name)
		}
	}
}

// dynamic reports values that look like placeholders, and in pipes those that look like
// paths and are none.
func (s *httpShapes) dynamic(v *violations, path, value string) {
	if !isDynamic(value) {
		if strings.Contains(value, "<$") {
			v.say(path, "a value is either a path such as $.value.id, or a constant without <$")
		}
		return
	}
	if rest, behind, err := transform.CutPath(value); s.paths && (err != nil || behind != "" || rest == "") {
		v.say(path, "a value that begins with $. is a path, and this is none")
	}
}

// isDynamic says whether a value is taken from the event.
func isDynamic(value string) bool {
	return value == "$" || strings.HasPrefix(value, "$.") || strings.HasPrefix(value, "$[")
}

// refusedHeader says whether a header is not the user's to set (event-bus.md 6).
func refusedHeader(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "x-amz") {
		return true
	}
	switch name {
	case "authorization", "connection", "content-encoding", "content-length", "host", "max-forwards", "te", "transfer-encoding", "trailer", "upgrade", "via", "www-authenticate", "x-forwarded-for":
		return true
	}
	return false
}

func (l *logConfiguration) check(v *violations) {
	if l == nil {
		return
	}
	v.required("logConfiguration.level", l.Level, shape{})
	v.oneOf("logConfiguration.level", l.Level, "OFF", "ERROR", "INFO", "TRACE")
	for i, data := range l.IncludeExecutionData {
		v.oneOf(fmt.Sprintf("logConfiguration.includeExecutionData.%d.member", i+1), &data, "ALL")
	}
	if d := l.S3LogDestination; d != nil {
		v.required("logConfiguration.s3LogDestination.bucketName", d.BucketName, long(3, 63))
		v.required("logConfiguration.s3LogDestination.bucketOwner", d.BucketOwner, like(0, 0, `\d{12}`))
		v.oneOf("logConfiguration.s3LogDestination.outputFormat", d.OutputFormat, "json", "plain", "w3c")
		v.text("logConfiguration.s3LogDestination.prefix", d.Prefix, long(0, 256))
		if f := d.OutputFormat; f != nil && (*f == "plain" || *f == "w3c") {
			v.say("logConfiguration.s3LogDestination.outputFormat", "only json is supported")
		}
	}
	if d := l.FirehoseLogDestination; d != nil {
		v.required("logConfiguration.firehoseLogDestination.deliveryStreamArn", d.DeliveryStreamArn, streamShape)
	}
	if d := l.CloudwatchLogsLogDestination; d != nil {
		v.required("logConfiguration.cloudwatchLogsLogDestination.logGroupArn", d.LogGroupArn, logGroupShape)
	}
}

// checkBatches reports batches that the target or the enrichment cannot take
// (pipes.md 2).
func (p *pipeDocument) checkBatches(v *violations) {
	k := p.kafka()
	if k == nil || k.BatchSize == nil || *k.BatchSize > mostBatched { // that is said already
		return
	}
	for _, one := range []struct {
		what string
		arn  *string
	}{{"target", p.Target}, {"enrichment", p.Enrichment}} {
		switch most := mostTaken(one.arn); {
		case int64(*k.BatchSize) <= most:
		case most == 1:
			v.say("sourceParameters.batchSize", "this "+one.what+" takes one event at a time: BatchSize must be 1")
		default:
			v.say("sourceParameters.batchSize", fmt.Sprintf("this %s takes %d events at once: BatchSize must be at most %d", one.what, most, most))
		}
	}
}

// each checks the texts of a list.
func (v *violations) each(path string, list []string, s shape) {
	for i := range list {
		v.text(fmt.Sprintf("%s.%d.member", path, i+1), &list[i], s)
	}
}

// has says whether something was found wrong with a path.
func (v *violations) has(path string) bool {
	return slices.ContainsFunc(v.fields, func(f fieldError) bool { return f.Name == path })
}

// batchSize is how many records a batch has (pipes.md 3).
func (p *pipeDocument) batchSize() int {
	if k := p.kafka(); k != nil && k.BatchSize != nil {
		return int(*k.BatchSize)
	}
	return int(min(defaultBatch, mostTaken(p.Target), mostTaken(p.Enrichment)))
}

func invalid(message string) error {
	return &fault{name: "ValidationException", status: http.StatusBadRequest, message: message}
}
