package confluent2

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// body reads the body of a consumer request. Its type counts only if there is
// something to have a type; all types of this API mean the same here.
func (k consumerAPI) body(r *http.Request) ([]byte, func(), error) {
	body, release, err := k.whole(r)
	if err != nil {
		return nil, nil, err
	}
	if err := k.checkType(r, body); err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// text is body for a call of an instance, whose body was read to find the instance.
func (k consumerAPI) text(c consumerCall) ([]byte, error) { return c.body, k.checkType(c.r, c.body) }

func (k consumerAPI) checkType(r *http.Request, body []byte) error {
	if !blank(body) && !consumerType(r.Header.Get("Content-Type"), k.api.cfg.StrictMediaTypes) {
		return errMediaType
	}
	return nil
}

// consumerType says whether a request may have this content type.
func consumerType(contentType string, strict bool) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if !strict {
		switch media {
		case "", mediaPlain, "application/octet-stream", "application/vnd.kafka+json", "application/vnd.kafka.v1+json":
			return true
		}
		media = strings.Replace(media, ".v1+json", ".v2+json", 1)
	}
	return slices.ContainsFunc(consumerMedia, func(o offer) bool { return !o.lenient && o.media == media })
}

// blank says whether a body has nothing to say.
func blank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }

// null says whether a body is absent or JSON's null.
func null(b []byte) bool { return blank(b) || string(bytes.TrimSpace(b)) == "null" }

var errNullBody = refuseShape(unprocessable, "The request body must not be null (was null)")

// parseObject reads a body that is one object.
func parseObject(b []byte, what string, member func(p *parser, name []byte) error) error {
	p := &parser{b: b}
	p.space()
	if err := p.object(what, func(name []byte) error { return member(p, name) }); err != nil {
		return err
	}
	if p.space(); p.i != len(b) {
		return p.malformed()
	}
	return nil
}

const (
	minFetch, maxFetch = -1, 10_000_000
	defaultTimeout     = time.Second
	bridgeTimeout      = 100 * time.Millisecond // of Strimzi's bridge
	// longestTimeout bounds consumer.request.timeout.ms.
	longestTimeout = 10 * time.Minute
)

// A consumerParser reads what an instance is created with.
type consumerParser struct {
	habits habits
	strict bool
	name   string
	id     string // wins over name
	cfg    gate.ConsumerConfig
	later  error // counts only if nothing else is wrong
}

// parseConsumer reads what an instance is created with. The error later counts
// only if nothing else is wrong.
func parseConsumer(b []byte, h habits, strict bool) (name string, cfg gate.ConsumerConfig, later, err error) {
	c := consumerParser{habits: h, strict: strict, cfg: gate.ConsumerConfig{
		Format: "binary", Reset: cmp.Or(h.reset, kafka.ResetLatest), AutoCommit: !h.manualCommit, MinBytes: minFetch, Timeout: defaultTimeout,
	}}
	if h.strictConsumer {
		c.cfg.Timeout = bridgeTimeout
	}
	if !null(b) {
		err = parseObject(b, "CreateConsumerInstanceRequest", c.member)
	}
	return cmp.Or(c.id, c.name), c.cfg, c.later, err
}

// member reads one field. Strimzi's bridge has fewer.
func (c *consumerParser) member(p *parser, field []byte) (err error) {
	switch name := string(field); {
	case name == "name":
		c.name, _, err = p.textField(field)
	case name == "format":
		c.cfg.Format, err = p.consumerFormat(field, c.habits)
	case name == "auto.offset.reset":
		return c.reset(p, field)
	case name == "enable.auto.commit", name == "auto.commit.enable" && !c.habits.strictConsumer:
		return c.autoCommit(p, field)
	case name == "fetch.min.bytes", name == "responseMinBytes" && !c.habits.strictConsumer:
		return c.minBytes(p, field)
	case name == "consumer.request.timeout.ms", name == "requestWaitMs" && !c.habits.strictConsumer:
		return c.timeout(p, field)
	case name == "isolation.level" && (!c.strict || c.habits.strictConsumer):
		return c.isolation(p, field)
	case name == "id" && !c.habits.strictConsumer:
		c.id, _, err = p.textField(field)
	default:
		return unknownField(name)
	}
	return err
}

func (c *consumerParser) reset(p *parser, field []byte) error {
	text, given, err := p.textField(field)
	switch reset := kafka.Reset(text); {
	case err != nil || !given:
		return err
	case c.habits.onlyDefaults && reset != kafka.ResetEarliest:
		return refuse(badRequest, 40002, "auto.offset.reset must be earliest")
	case reset == kafka.ResetEarliest, reset == kafka.ResetLatest, reset == kafka.ResetNone && c.habits.reset == "":
		c.cfg.Reset = reset
	default:
		c.later = invalidConsumer("auto.offset.reset", text, "")
	}
	return nil
}

func (c *consumerParser) autoCommit(p *parser, field []byte) error {
	value, given, err := p.boolean(field)
	var invalid *refusal
	switch {
	case errors.As(err, &invalid) && invalid.code == 42204:
		c.later = err
	case err != nil || !given:
		return err
	case c.habits.onlyDefaults && value:
		return refuse(badRequest, 40002, "auto.commit.enable must be false")
	default:
		c.cfg.AutoCommit = value
	}
	return nil
}

// minBytes reads how much a read gathers. The original returns with more than
// that; Strimzi's bridge means Kafka's setting, which is satisfied with as much.
func (c *consumerParser) minBytes(p *parser, field []byte) error {
	n, given, err := p.integer(field, math.MinInt32, math.MaxInt32)
	switch {
	case err != nil || !given:
		return err
	case n < minFetch || n > maxFetch || c.habits.strictConsumer && n < 0:
		return refuse(unprocessable, 40001, "Invalid consumer configuration. It does not abide by the constraints: fetch.min.bytes must be from %d to %d (was %d)", minFetch, maxFetch, n)
	case c.habits.strictConsumer && n <= 1: // any record will do
	case c.habits.strictConsumer:
		c.cfg.MinBytes = int(n) - 1
	default:
		c.cfg.MinBytes = int(n)
	}
	return nil
}

// timeout reads how long a read waits. Strimzi's bridge means the requests to the
// brokers, which klamm bounds by itself.
func (c *consumerParser) timeout(p *parser, field []byte) error {
	n, given, err := p.integer(field, math.MinInt32, math.MaxInt32)
	wait := time.Duration(n) * time.Millisecond
	switch {
	case err != nil || !given:
		return err
	case wait <= 0 || wait > longestTimeout:
		c.later = invalidConsumer("consumer.request.timeout.ms", strconv.FormatInt(n, 10), "")
	case !c.habits.strictConsumer:
		c.cfg.Timeout = wait
	}
	return nil
}

func (c *consumerParser) isolation(p *parser, field []byte) error {
	text, given, err := p.textField(field)
	switch {
	case err != nil || !given:
		return err
	case text != "read_committed" && text != "read_uncommitted":
		c.later = invalidConsumer("isolation.level", text, "")
	default:
		c.cfg.Committed = text == "read_committed"
	}
	return nil
}

// invalidConsumer is the refusal of Kafka's own client.
func invalidConsumer(field, value, why string) error {
	return &refusal{
		status: unprocessable, code: 42204, cause: formatCause,
		message: fmt.Sprintf("Invalid consumer configuration: Invalid value %s for configuration %s%s", excerpt([]byte(value)), field, why),
	}
}

// consumerFormat reads the format of an instance, in any case.
func (p *parser) consumerFormat(field []byte, h habits) (string, error) {
	text, given, err := p.textField(field)
	if err != nil || !given {
		return "binary", err
	}
	text = strings.ToLower(text)
	switch {
	case text == "binary", text == "json", text == "text" && h.text:
		return text, nil
	case h.onlyDefaults:
		return "", refuse(badRequest, 40002, "format must be binary or json")
	case text == "avro", text == "jsonschema", text == "protobuf":
		return text, nil
	}
	return "", &refusal{status: unprocessable, code: 422, message: "Invalid format type.", cause: formatCause}
}

// boolean reads true or false, also as strings. Another string is what only
// Kafka's own client refuses.
func (p *parser) boolean(field []byte) (value, given bool, err error) {
	switch {
	case p.literal("null"):
		return false, false, nil
	case p.literal("true"):
		return true, true, nil
	case p.literal("false"):
		return false, true, nil
	case p.at('"'):
		text, _, err := p.textField(field)
		if err != nil {
			return false, false, err
		}
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true":
			return true, true, nil
		case "false":
			return false, true, nil
		}
		return false, false, invalidConsumer("enable.auto.commit", text, ": Expected value to be either true or false")
	}
	return false, false, p.wrongType("java.lang.Boolean", string(field))
}

// A subscription is what a request subscribes to.
type subscription struct {
	topics  []string // nil: not given
	pattern string
}

// parseSubscription reads {"topics": [...]} or {"topic_pattern": "..."}.
func parseSubscription(b []byte) (s subscription, err error) {
	if null(b) {
		return s, errNullBody
	}
	err = parseObject(b, "ConsumerSubscriptionRecord", func(p *parser, field []byte) (err error) {
		switch string(field) {
		case "topics":
			s.topics = nil
			if p.literal("null") {
				return nil
			}
			s.topics = []string{}
			return p.array("topics", func() error {
				topic, given, err := p.textField(field)
				if err == nil && (!given || topic == "") {
					return refuseShape(unprocessable, "topics must not contain null or empty names")
				}
				s.topics = append(s.topics, topic)
				return err
			})
		case "topic_pattern":
			s.pattern, _, err = p.textField(field)
			return err
		}
		return unknownField(string(field))
	})
	return s, err
}

// A place is an element of the lists that this API's bodies are made of.
type place struct {
	kafka.TopicPartition
	offset   int64
	metadata string
	at       time.Time
}

// places reads a list of objects that name a partition and, where wanted is not
// empty, have the field of that name too.
func (p *parser) places(list, wanted string) ([]place, error) {
	places := []place{}
	if p.literal("null") {
		return places, nil
	}
	err := p.array(list, func() error {
		var at place
		var topic, partition, value bool
		err := p.object("TopicPartition", func(field []byte) (err error) {
			switch name := string(field); {
			case name == "topic":
				at.Topic, topic, err = p.textField(field)
			case name == "partition":
				var n int64
				n, partition, err = p.integer(field, math.MinInt32, math.MaxInt32)
				at.Partition = int32(n)
			case name == "metadata" && wanted != "":
				at.metadata, _, err = p.textField(field)
			case name == "offset" && wanted == name:
				at.offset, value, err = p.integer(field, math.MinInt64, math.MaxInt64)
			case name == "timestamp" && wanted == name:
				at.at, value, err = p.instant(field)
			default:
				return unknownField(name)
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case !topic || at.Topic == "":
			return absent("%s[%d].topic must not be empty", list, len(places))
		case !partition:
			return absent("%s[%d].partition must not be null (was null)", list, len(places))
		case at.Partition < 0:
			return refuseShape(unprocessable, "%s[%d].partition must be greater than or equal to 0", list, len(places))
		case wanted != "" && !value:
			return absent("%s[%d].%s must not be null (was null)", list, len(places), wanted)
		case wanted == "offset" && (at.offset < 0 || at.offset == math.MaxInt64):
			return refuseShape(unprocessable, "%s[%d].offset must be greater than or equal to 0 (was %d)", list, len(places), at.offset)
		}
		places = append(places, at)
		return nil
	})
	return places, err
}

// absent is the answer to an object without a member that it must have.
func absent(form string, args ...any) error {
	return &refusal{status: unprocessable, code: 422, message: fmt.Sprintf(form, args...), cause: absentCause}
}

// instant reads a time of ISO 8601.
func (p *parser) instant(field []byte) (time.Time, bool, error) {
	start := *p
	text, given, err := p.textField(field)
	if err != nil || !given {
		return time.Time{}, false, err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, false, start.wrongType("java.time.Instant", string(field))
	}
	if t.Before(time.UnixMilli(0)) {
		t = time.UnixMilli(0) // Kafka's timestamps begin here
	}
	return t, true, nil
}

// parsePartitions reads {"partitions": [{"topic", "partition"}]}.
func parsePartitions(b []byte) ([]kafka.TopicPartition, error) {
	if null(b) {
		return nil, errNullBody
	}
	var places []place
	given := false
	err := parseObject(b, "ConsumerAssignmentRequest", func(p *parser, field []byte) (err error) {
		if string(field) != "partitions" {
			return unknownField(string(field))
		}
		given = !p.at('n')
		places, err = p.places("partitions", "")
		return err
	})
	if err == nil && !given {
		err = absent("partitions must not be null (was null)")
	}
	partitions := make([]kafka.TopicPartition, len(places))
	for i, at := range places {
		partitions[i] = at.TopicPartition
	}
	return partitions, err
}

// parsePositions reads {"offsets": [...], "timestamps": [...]}; the offsets come
// first.
func parsePositions(b []byte) ([]gate.Point, error) {
	if null(b) {
		return nil, errNullBody
	}
	var offsets, times []place
	err := parseObject(b, "ConsumerSeekRequest", func(p *parser, field []byte) (err error) {
		switch string(field) {
		case "offsets":
			offsets, err = p.places("offsets", "offset")
		case "timestamps":
			times, err = p.places("timestamps", "timestamp")
		default:
			return unknownField(string(field))
		}
		return err
	})
	points := make([]gate.Point, 0, len(offsets)+len(times))
	for _, at := range append(offsets, times...) {
		points = append(points, gate.Point{TopicPartition: at.TopicPartition, Offset: at.offset, At: at.at})
	}
	return points, err
}

// parseCommit reads {"offsets": [...]}, which Redpanda calls partitions; all says
// that everything is to be committed. The offset that is committed is the one
// behind the last record worked on, unless the habits take it as it is given.
func parseCommit(b []byte, h habits) (at []kafka.Commit, all bool, err error) {
	if null(b) {
		return nil, true, nil
	}
	var places []place
	given := false
	err = parseObject(b, "ConsumerOffsetCommitRequest", func(p *parser, field []byte) (err error) {
		switch string(field) {
		case "offsets", "partitions":
			given = true
			places, err = p.places(string(field), "offset")
			return err
		}
		return unknownField(string(field))
	})
	if err == nil && !given && h.commitsSomething {
		err = absent("offsets must not be null (was null)")
	}
	behind := int64(1)
	if h.commitsGiven {
		behind = 0
	}
	for _, p := range places {
		at = append(at, kafka.Commit{TopicPartition: p.TopicPartition, Offset: p.offset + behind, Metadata: p.metadata})
	}
	return at, false, err
}

// queryPartitions reads ?topic=T&partition=P, as often as they come.
func queryPartitions(query url.Values) ([]kafka.TopicPartition, error) {
	topics, numbers := query["topic"], query["partition"]
	if len(topics) == 0 || len(topics) != len(numbers) {
		return nil, errNoPartition
	}
	partitions := make([]kafka.TopicPartition, len(topics))
	for i := range topics {
		n, err := strconv.ParseInt(numbers[i], 10, 32)
		if err != nil || n < 0 || topics[i] == "" {
			return nil, errNotFound
		}
		partitions[i] = kafka.TopicPartition{Topic: topics[i], Partition: int32(n)}
	}
	return partitions, nil
}
