package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/target/sink"
)

// The classes of connectors.
const (
	eventBridge   = "software.amazon.event.kafkaconnector.EventBridgeSinkConnector"
	confluentHTTP = "io.confluent.connect.http.HttpSinkConnector"
	aivenHTTP     = "io.aiven.kafka.connect.http.HttpSinkConnector"
)

// classes are the connectors that klamm has.
var classes = []string{eventBridge, confluentHTTP, aivenHTTP}

// classOf finds a connector by its class, or by the class's last part with or without
// Connector at its end.
func classOf(name string) (string, bool) {
	for _, class := range classes {
		short := class[strings.LastIndexByte(class, '.')+1:]
		if name == class || class == eventBridge && (name == short || name == strings.TrimSuffix(short, "Connector")) {
			return class, true
		}
	}
	return "", false
}

// A setting is a property of a connector's configuration.
type setting struct {
	name       string
	kind       string // BOOLEAN, STRING, INT, LIST, CLASS, PASSWORD
	fallback   string
	required   bool
	importance string
	group      string
	doc        string
	check      func(value string) string // what is wrong with a value; empty: nothing
}

// shown is a value of the setting as answers repeat it.
func (s setting) shown(value string) string {
	if s.kind == "PASSWORD" {
		return "[hidden]"
	}
	return value
}

// A configuration is what a connector is made of.
type configuration map[string]string

// UnmarshalJSON reads an object of texts. Numbers, true and false become texts, and what
// is null counts as not given.
func (c *configuration) UnmarshalJSON(raw []byte) error {
	var in map[string]*scalar
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*c = configuration{}
	for name, value := range in {
		if value != nil {
			(*c)[name] = string(*value)
		}
	}
	return nil
}

// A scalar is the text of a JSON text, number, true or false.
type scalar string

func (s *scalar) UnmarshalJSON(raw []byte) error {
	switch raw[0] {
	case '"':
		return json.Unmarshal(raw, (*string)(s))
	case '{', '[':
		return errors.New("a setting is a text, a number, true or false")
	}
	*s = scalar(raw)
	return nil
}

// get returns the value of a setting, or its default.
func (c configuration) get(name string) string {
	if value, ok := c[name]; ok {
		return value
	}
	for _, s := range settingsOf(c["connector.class"]) {
		if s.name == name {
			return s.fallback
		}
	}
	return ""
}

func (c configuration) list(name string) []string {
	var out []string
	for item := range strings.SplitSeq(c.get(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func (c configuration) number(name string) int {
	n, _ := strconv.Atoi(c.get(name)) // it was checked
	return n
}

func form(pattern, wanted string) func(string) string {
	r := regexp.MustCompile(pattern)
	return func(value string) string {
		if value == "" || r.MatchString(value) {
			return ""
		}
		return wanted
	}
}

func between(low, high int) func(string) string {
	return func(value string) string {
		if n, err := strconv.Atoi(value); err != nil || n < low || n > high {
			return fmt.Sprintf("want a whole number from %d to %d", low, high)
		}
		return ""
	}
}

func oneOf(values ...string) func(string) string {
	return func(value string) string {
		for _, v := range values {
			if value == v {
				return ""
			}
		}
		return "want " + strings.Join(values, " or ")
	}
}

// unserved refuses a setting that klamm could not honour.
func unserved(why string) func(string) string {
	return func(value string) string {
		if strings.TrimSpace(value) == "" {
			return ""
		}
		return why
	}
}

func boolean(value string) string {
	return oneOf("true", "false")(strings.ToLower(value))
}

// startAt is the setting for where a connector begins that has no offsets.
const startAt = "consumer.override.auto.offset.reset"

// common are the settings of every sink connector.
var common = []setting{
	{name: "name", kind: "STRING", required: true, importance: "HIGH", group: "Common", doc: "The connector's name.", check: form(`^[^/\x00-\x1f]{1,200}$`, "want 1 to 200 characters without slashes")},
	{name: "connector.class", kind: "STRING", required: true, importance: "HIGH", group: "Common", doc: "The class of the connector."},
	{name: "tasks.max", kind: "INT", fallback: "1", importance: "HIGH", group: "Common", doc: "The most tasks; there are never more than partitions.", check: between(1, 10000)},
	{name: "topics", kind: "LIST", importance: "HIGH", group: "Common", doc: "The topics that are read, with commas between them."},
	{name: "topics.regex", kind: "STRING", importance: "HIGH", group: "Common", doc: "Or a pattern of their names.", check: func(value string) string {
		if _, err := wholly(value); err != nil {
			return "no regular expression: " + err.Error()
		}
		return ""
	}},
	{name: "key.converter", kind: "CLASS", fallback: "org.apache.kafka.connect.json.JsonConverter", importance: "LOW", group: "Common", doc: "How keys are read.", check: converterCheck},
	{name: "value.converter", kind: "CLASS", fallback: "org.apache.kafka.connect.json.JsonConverter", importance: "LOW", group: "Common", doc: "How values are read.", check: converterCheck},
	{name: "header.converter", kind: "CLASS", fallback: "org.apache.kafka.connect.storage.SimpleHeaderConverter", importance: "LOW", group: "Common", doc: "How headers are read.", check: converterCheck},
	{name: "key.converter.schemas.enable", kind: "BOOLEAN", fallback: "true", importance: "LOW", group: "Common", doc: "Whether JSON keys have a schema around them.", check: boolean},
	{name: "value.converter.schemas.enable", kind: "BOOLEAN", fallback: "true", importance: "LOW", group: "Common", doc: "Whether JSON values have a schema around them.", check: boolean},
	{name: "header.converter.schemas.enable", kind: "BOOLEAN", fallback: "true", importance: "LOW", group: "Common", doc: "Whether JSON headers have a schema around them.", check: boolean},
	{name: "transforms", kind: "LIST", importance: "LOW", group: "Transforms", doc: "Single message transforms.", check: unserved("klamm has no transforms of Kafka Connect; use a filter or a transform of a pipe")},
	{name: "predicates", kind: "LIST", importance: "LOW", group: "Predicates", doc: "Predicates of transforms.", check: unserved("klamm has no transforms of Kafka Connect")},
	{name: "errors.tolerance", kind: "STRING", fallback: "none", importance: "MEDIUM", group: "Error Handling", doc: "all goes on after a record that cannot be put.", check: oneOf("none", "all")},
	{name: "errors.deadletterqueue.topic.name", kind: "STRING", importance: "MEDIUM", group: "Error Handling", doc: "The topic for records that cannot be put.", check: form(`^[A-Za-z0-9._-]{1,249}$`, "want the name of a topic")},
	{name: "errors.deadletterqueue.topic.replication.factor", kind: "INT", fallback: "3", importance: "MEDIUM", group: "Error Handling", doc: "Not used: the brokers' default counts.", check: between(-1, 32767)},
	{name: "errors.deadletterqueue.context.headers.enable", kind: "BOOLEAN", fallback: "false", importance: "MEDIUM", group: "Error Handling", doc: "Headers in dead letters that say what went wrong.", check: boolean},
	{name: startAt, kind: "STRING", fallback: "earliest", importance: "MEDIUM", group: "Common", doc: "Where the connector begins.", check: oneOf("earliest", "latest")},
	{name: "consumer.override.max.poll.records", kind: "INT", fallback: "500", importance: "LOW", group: "Common", doc: "The most records of a batch.", check: between(1, 1_000_000)},
}

// Settings of the EventBridge sink that depend on each other.
const (
	detailTypes   = "aws.eventbridge.detail.types"
	detailMapper  = "aws.eventbridge.detail.types.mapper.class"
	detailPath    = "aws.eventbridge.detail.types.jsonpathmapper.fieldref"
	profile       = "aws.eventbridge.iam.profile.name"
	offloadBucket = "aws.eventbridge.offloading.default.s3.bucket"
	offloadTopic  = "klamm.offloading.topic.arn"
	offloadField  = "aws.eventbridge.offloading.default.fieldref"
)

// mapsByPath says whether detail-types come from the JSON path mapper.
func (c configuration) mapsByPath() bool {
	return strings.HasSuffix(c.get(detailMapper), ".JsonPathDetailTypeMapper")
}

// ofEventBridge are those of the EventBridge sink (event-bus.md 13.3).
var ofEventBridge = []setting{
	{name: "aws.eventbridge.connector.id", kind: "STRING", required: true, importance: "HIGH", group: "EventBridge", doc: "Events have the source kafka-connect. and this.", check: form(`\S`, "want an id that is not blank")},
	{name: "aws.eventbridge.region", kind: "STRING", required: true, importance: "HIGH", group: "EventBridge", doc: "The region of the bus.", check: form(`^\w+(?:-\w+)*$`, "want the name of a region")},
	{name: "aws.eventbridge.eventbus.arn", kind: "STRING", required: true, importance: "HIGH", group: "EventBridge", doc: "The ARN of the bus.", check: form(`^arn:aws.*:events:\w+(?:-\w+)+:\d{12}:event-bus/.+$`, "want the ARN of an event bus")},
	{name: "aws.eventbridge.endpoint.uri", kind: "STRING", importance: "MEDIUM", group: "EventBridge", doc: "Another URL of the API. Without it, a bus of klamm's account and region is klamm's own.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "aws.eventbridge.eventbus.global.endpoint.id", kind: "STRING", importance: "LOW", group: "EventBridge", doc: "The id of a global endpoint.", check: form(`^[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+$`, "want the id of an endpoint")},
	{name: "aws.eventbridge.eventbus.resources", kind: "LIST", importance: "MEDIUM", group: "EventBridge", doc: "The resources of every event."},
	{name: detailTypes, kind: "LIST", fallback: "kafka-connect-${topic}", importance: "MEDIUM", group: "EventBridge", doc: "A template, or topic:detail-type pairs."},
	{name: detailMapper, kind: "CLASS", fallback: "software.amazon.event.kafkaconnector.mapping.DefaultDetailTypeMapper", importance: "MEDIUM", group: "EventBridge", doc: "What chooses detail types.", check: func(value string) string {
		if strings.HasSuffix(value, ".DefaultDetailTypeMapper") || strings.HasSuffix(value, ".JsonPathDetailTypeMapper") {
			return ""
		}
		return "klamm has no classes of others: DefaultDetailTypeMapper or JsonPathDetailTypeMapper"
	}},
	{name: detailPath, kind: "STRING", importance: "MEDIUM", group: "EventBridge", doc: "The JSON path of the detail type in the value."},
	{name: "aws.eventbridge.time.mapper.class", kind: "CLASS", fallback: "software.amazon.event.kafkaconnector.mapping.DefaultTimeMapper", importance: "MEDIUM", group: "EventBridge", doc: "What chooses the time; the default is that of the call.", check: func(value string) string {
		if strings.HasSuffix(value, ".DefaultTimeMapper") {
			return ""
		}
		return "klamm has no classes of others: DefaultTimeMapper"
	}},
	{name: "aws.eventbridge.retries.max", kind: "INT", fallback: "2", importance: "MEDIUM", group: "EventBridge", doc: "How often a call of another bus is repeated before the task fails. klamm's own bus is tried without end.", check: between(0, 10)},
	{name: "aws.eventbridge.retries.delay", kind: "INT", fallback: "200", importance: "MEDIUM", group: "EventBridge", doc: "Milliseconds between attempts.", check: between(0, 86_400_000)},
	{name: "aws.eventbridge.auth.credentials_provider.class", kind: "CLASS", importance: "MEDIUM", group: "EventBridge", doc: "What finds credentials.", check: unserved("klamm has no classes of others; it finds credentials as the AWS SDKs do")},
	{name: profile, kind: "STRING", importance: "MEDIUM", group: "EventBridge", doc: "The profile of credentials."},
	{name: "aws.eventbridge.iam.role.arn", kind: "STRING", importance: "MEDIUM", group: "EventBridge", doc: "The role that is assumed.", check: form(`^arn:aws:iam::\d{12}:role/.+$`, "want the ARN of a role")},
	{name: "aws.eventbridge.iam.external.id", kind: "STRING", importance: "MEDIUM", group: "EventBridge", doc: "The external id for the role."},
	{name: offloadBucket, kind: "STRING", importance: "LOW", group: "EventBridge", doc: "The bucket for parts of events.", check: form(`^[a-z0-9][a-z0-9.-]{1,61}?[a-z0-9]$`, "want the name of a bucket")},
	{name: "aws.eventbridge.offloading.default.s3.endpoint.uri", kind: "STRING", importance: "LOW", group: "EventBridge", doc: "Another URL of the store.", check: form(`^https?://\S+$`, "want a URL")},
	{name: offloadTopic, kind: "STRING", importance: "LOW", group: "EventBridge", doc: "A topic for parts of events, instead of a bucket.", check: form(`^`+sink.TopicARN+`[A-Za-z0-9._-]{1,249}$`, "want "+sink.TopicARN+"NAME")},
	{name: "klamm.offloading.min.bytes", kind: "INT", fallback: "0", importance: "LOW", group: "EventBridge", doc: "The size in bytes from which on the part is offloaded.", check: between(0, 1<<30)},
	{name: offloadField, kind: "STRING", fallback: "$.detail.value", importance: "LOW", group: "EventBridge", doc: "The part that is offloaded."},
}

// settingsOf returns the settings of a class.
func settingsOf(class string) []setting {
	switch class {
	case confluentHTTP:
		return append(common[:len(common):len(common)], ofConfluentHTTP...)
	case aivenHTTP:
		return append(common[:len(common):len(common)], ofAivenHTTP...)
	}
	return append(common[:len(common):len(common)], ofEventBridge...)
}

// A problem is what is wrong with one setting.
type problem struct{ name, text string }

func (p problem) Error() string { return p.text }

// unfit is the problem of a setting that has a value which will not do.
func (c configuration) unfit(name string, why any) problem {
	return problem{name, fmt.Sprintf("Invalid value %s for configuration %s: %v", clip(c.get(name)), name, why)}
}

// check returns what is wrong with a configuration.
func (c configuration) check() (found []problem) {
	class, ok := classOf(c["connector.class"])
	if !ok {
		return []problem{{"connector.class", fmt.Sprintf("Failed to find any class that implements Connector and which name matches %s", clip(c["connector.class"]))}}
	}
	for _, s := range settingsOf(class) {
		value, given := c[s.name]
		switch {
		case !given && s.required:
			found = append(found, problem{s.name, fmt.Sprintf("Missing required configuration %q which has no default value.", s.name)})
		case given && s.required && strings.TrimSpace(value) == "":
			found = append(found, problem{s.name, fmt.Sprintf("Invalid value for configuration %s: it is blank", s.name)})
		case given && s.check != nil:
			if text := s.check(value); text != "" {
				found = append(found, problem{s.name, fmt.Sprintf("Invalid value %s for configuration %s: %s", clip(s.shown(value)), s.name, text)})
			}
		}
	}
	if class == eventBridge {
		found = append(found, c.checkParts()...)
	} else {
		found = append(found, c.login(class).missing(c)...)
	}
	if class != eventBridge && sink.Sized(c.converter("value")) {
		found = append(found, problem{"value.converter", "Invalid value for configuration value.converter: an HTTP sink of klamm sends values as they are, and these are bytes of numbers"})
	}
	switch {
	case c["topics"] == "" && c["topics.regex"] == "":
		found = append(found, problem{"topics", "Must configure one of topics or topics.regex"})
	case c["topics"] != "" && c["topics.regex"] != "":
		found = append(found, problem{"topics.regex", "topics and topics.regex are mutually exclusive options, but both are set."})
	}
	return append(found, c.checkDeadLetters()...)
}

// checkParts checks what settings of an EventBridge sink are only together.
func (c configuration) checkParts() (found []problem) {
	if c.mapsByPath() {
		if c.get(detailPath) == "" {
			found = append(found, problem{detailPath, detailPath + " is needed by the JSON path mapper"})
		} else if err := sink.CheckDetailTypes(nil, c.get(detailPath)); err != nil {
			found = append(found, c.unfit(detailPath, err))
		}
	} else if err := sink.CheckDetailTypes(c.list(detailTypes), ""); err != nil {
		found = append(found, c.unfit(detailTypes, err))
	}
	bucket, topic := c.get(offloadBucket) != "", c.get(offloadTopic) != ""
	if bucket && topic {
		found = append(found, problem{offloadTopic, offloadTopic + " and " + offloadBucket + " exclude each other"})
	}
	if bucket || topic {
		if err := sink.CheckField(c.get(offloadField)); err != nil {
			found = append(found, c.unfit(offloadField, err))
		}
	}
	return found
}

// checkDeadLetters refuses a connector that would read its own dead letters.
func (c configuration) checkDeadLetters() []problem {
	dead := c.get("errors.deadletterqueue.topic.name")
	if dead == "" {
		return nil
	}
	if topics := c.list("topics"); slices.Contains(topics, dead) {
		return []problem{{"topics", fmt.Sprintf("The DLQ topic '%s' may not be included in the list of topics ('topics=%s') consumed by the connector", clip(dead), clip(strings.Join(topics, ",")))}}
	}
	if pattern := c["topics.regex"]; pattern != "" {
		if whole, err := wholly(pattern); err == nil && whole.MatchString(dead) {
			return []problem{{"topics.regex", fmt.Sprintf("The DLQ topic '%s' may not be included in the regex matched topics ('topics.regex=%s') consumed by the connector", clip(dead), clip(pattern))}}
		}
	}
	return nil
}

// wholly compiles a pattern that a name matches from beginning to end.
func wholly(pattern string) (*regexp.Regexp, error) { return regexp.Compile("^(?:" + pattern + ")$") }

func clip(s string) string {
	if s = strings.ToValidUTF8(s, "?"); len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
