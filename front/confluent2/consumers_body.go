package confluent2

import (
	"bytes"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// body reads the body of a consumer request. Its type counts only if there is
// something to have a type; all types of this API mean the same here.
func (k consumerAPI) body(r *http.Request) ([]byte, func(), error) {
	body, release, err := front.ReadBody(r)
	if err != nil || blank(body) {
		return body, release, err
	}
	if !consumerType(r.Header.Get("Content-Type"), k.api.cfg.StrictMediaTypes) {
		release()
		return nil, nil, errMediaType
	}
	return body, release, nil
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

var errNullBody = refuse(unprocessable, 422, "The request body must not be null (was null)")

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
	// longestTimeout bounds consumer.request.timeout.ms.
	longestTimeout = 10 * time.Minute
)

// parseConsumer reads what an instance is created with. The second error is one
// that counts only if nothing else is wrong.
func parseConsumer(b []byte, strict bool) (name string, cfg gate.ConsumerConfig, later, err error) {
	cfg = gate.ConsumerConfig{Format: "binary", Reset: kafka.ResetLatest, AutoCommit: true, MinBytes: minFetch, Timeout: defaultTimeout}
	if null(b) {
		return "", cfg, nil, nil
	}
	id := ""
	err = parseObject(b, "CreateConsumerInstanceRequest", func(p *parser, field []byte) (err error) {
		switch string(field) {
		case "id":
			id, _, err = p.textField(field)
		case "name":
			name, _, err = p.textField(field)
		case "format":
			cfg.Format, err = p.consumerFormat(field)
		case "auto.offset.reset":
			text, given, err := p.textField(field)
			switch {
			case err != nil:
				return err
			case !given:
			case text == "earliest" || text == "latest" || text == "none":
				cfg.Reset = kafka.Reset(text)
			default:
				later = invalidConsumer("auto.offset.reset", text)
			}
		case "auto.commit.enable", "enable.auto.commit":
			value, given, err := p.boolean(field)
			if given {
				cfg.AutoCommit = value
			}
			return err
		case "fetch.min.bytes", "responseMinBytes":
			n, given, err := p.integer(field, math.MinInt32, math.MaxInt32)
			switch {
			case err != nil:
				return err
			case given && (n < minFetch || n > maxFetch):
				return refuse(unprocessable, 40001, "Invalid consumer configuration. It does not abide by the constraints: fetch.min.bytes must be from %d to %d (was %d)", minFetch, maxFetch, n)
			case given:
				cfg.MinBytes = int(n)
			}
		case "consumer.request.timeout.ms", "requestWaitMs":
			n, given, err := p.integer(field, math.MinInt32, math.MaxInt32)
			wait := time.Duration(n) * time.Millisecond
			switch {
			case err != nil:
				return err
			case given && (wait <= 0 || wait > longestTimeout):
				later = invalidConsumer("consumer.request.timeout.ms", strconv.FormatInt(n, 10))
			case given:
				cfg.Timeout = wait
			}
		case "isolation.level":
			if strict {
				return unknownField("isolation.level")
			}
			text, given, err := p.textField(field)
			switch {
			case err != nil:
				return err
			case given && text != "read_committed" && text != "read_uncommitted":
				later = invalidConsumer("isolation.level", text)
			case given:
				cfg.Committed = text == "read_committed"
			}
		default:
			return unknownField(string(field))
		}
		return err
	})
	if id != "" {
		name = id
	}
	return name, cfg, later, err
}

// invalidConsumer is the refusal of Kafka's own client.
func invalidConsumer(field, value string) error {
	return refuse(unprocessable, 42204, "Invalid consumer configuration: Invalid value %s for configuration %s", excerpt([]byte(value)), field)
}

// consumerFormat reads the format of an instance, in any case.
func (p *parser) consumerFormat(field []byte) (string, error) {
	text, given, err := p.textField(field)
	if err != nil || !given {
		return "binary", err
	}
	text = strings.ToLower(text)
	switch text {
	case "binary", "json", "avro", "jsonschema", "protobuf":
		return text, nil
	}
	return "", refuse(unprocessable, 422, "Invalid format type.")
}

// boolean reads true or false, also as strings.
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
		if value, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(text))); err == nil {
			return value, true, nil
		}
		return false, false, refuse(http.StatusBadRequest, 400, "Cannot deserialize value of type `java.lang.Boolean` from String value (field %s)", strconv.Quote(string(field)))
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
					return refuse(unprocessable, 422, "topics must not contain null or empty names")
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

// array reads an array and calls element at each of its values.
func (p *parser) array(field string, element func() error) error {
	if !p.at('[') {
		return p.wrongType("java.util.ArrayList", field)
	}
	p.i++
	for first := true; ; first = false {
		p.space()
		if first && p.at(']') {
			p.i++
			return nil
		}
		if p.i >= len(p.b) {
			return p.malformed()
		}
		if err := element(); err != nil {
			return err
		}
		p.space()
		switch {
		case p.at(','):
			p.i++
		case p.at(']'):
			p.i++
			return nil
		default:
			return p.malformed()
		}
	}
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
			return refuse(unprocessable, 422, "%s[%d].topic must not be empty", list, len(places))
		case !partition || at.Partition < 0:
			return refuse(unprocessable, 422, "%s[%d].partition must be greater than or equal to 0", list, len(places))
		case wanted != "" && !value:
			return refuse(unprocessable, 422, "%s[%d].%s must not be null (was null)", list, len(places), wanted)
		case wanted == "offset" && (at.offset < 0 || at.offset == math.MaxInt64):
			return refuse(unprocessable, 422, "%s[%d].offset must be greater than or equal to 0 (was %d)", list, len(places), at.offset)
		}
		places = append(places, at)
		return nil
	})
	return places, err
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
		err = refuse(unprocessable, 422, "partitions must not be null (was null)")
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
// that everything is to be committed.
func parseCommit(b []byte) (at []kafka.Commit, all bool, err error) {
	if null(b) {
		return nil, true, nil
	}
	var places []place
	err = parseObject(b, "ConsumerOffsetCommitRequest", func(p *parser, field []byte) (err error) {
		switch string(field) {
		case "offsets", "partitions":
			places, err = p.places(string(field), "offset")
			return err
		}
		return unknownField(string(field))
	})
	for _, p := range places {
		at = append(at, kafka.Commit{TopicPartition: p.TopicPartition, Offset: p.offset + 1, Metadata: p.metadata})
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
