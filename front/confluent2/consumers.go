package confluent2

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A consumerConfig is what the configuration says about consumer instances.
type consumerConfig struct {
	idle  time.Duration   // an instance that is not used for so long expires; 0: five minutes
	bad   gate.BadRecords // what a read does at a record that it cannot return
	links front.Links     // what the URLs of instances begin with
}

// defaultIdle is consumer.instance.timeout.ms of the original.
const defaultIdle = 5 * time.Minute

// badRecords reads the switch bad_records.
func badRecords(text string) (gate.BadRecords, bool) {
	switch text {
	case "", "halt":
		return gate.HaltAtBad, true
	case "skip":
		return gate.SkipBad, true
	case "confluent":
		return gate.FailAtBad, true
	}
	return 0, false
}

// consumerAPI serves the consumer instances.
type consumerAPI struct {
	*api
	cfg consumerConfig
}

// consumerRoutes are the operations of consumer instances (rest-apis.md 4.4 to
// 4.8). Beyond the original every answer has the header Klamm-Lease, which says
// after how many seconds without a call the instance expires.
func consumerRoutes(a *api, cfg consumerConfig) []front.Route {
	if cfg.idle == 0 {
		cfg.idle = defaultIdle
	}
	k := consumerAPI{a, cfg}
	const at = "/consumers/{group}/instances/{instance}"
	return []front.Route{
		{Name: "consumers.create", Pattern: "POST /consumers/{group}", Serve: k.create},
		{Name: "consumers.delete", Pattern: "DELETE " + at, Serve: k.remove},
		{Name: "consumers.subscribe", Pattern: "POST " + at + "/subscription", Serve: k.on(consumerMedia, k.subscribe)},
		{Name: "consumers.subscription", Pattern: "GET " + at + "/subscription", Serve: k.on(consumerMedia, k.subscription)},
		{Name: "consumers.unsubscribe", Pattern: "DELETE " + at + "/subscription", Serve: k.on(consumerMedia, k.unsubscribe)},
		{Name: "consumers.assign", Pattern: "POST " + at + "/assignments", Serve: k.on(consumerMedia, k.assign)},
		{Name: "consumers.assignment", Pattern: "GET " + at + "/assignments", Serve: k.on(consumerMedia, k.assignment)},
		{Name: "consumers.seek", Pattern: "POST " + at + "/positions", Serve: k.on(consumerMedia, k.seek)},
		{Name: "consumers.seekBeginning", Pattern: "POST " + at + "/positions/beginning", Serve: k.on(consumerMedia, k.seekBeginning)},
		{Name: "consumers.seekEnd", Pattern: "POST " + at + "/positions/end", Serve: k.on(consumerMedia, k.seekEnd)},
		{Name: "consumers.read", Pattern: "GET " + at + "/records", Serve: k.on(recordMedia, k.records)},
		{Name: "consumers.commit", Pattern: "POST " + at + "/offsets", Serve: k.on(consumerMedia, k.commit)},
		{Name: "consumers.committed", Pattern: "GET " + at + "/offsets", Serve: k.on(consumerMedia, k.committed)},
	}
}

// The types of instances with a schema, which need a schema registry.
const (
	mediaAvro       = "application/vnd.kafka.avro.v2+json"
	mediaJSONSchema = "application/vnd.kafka.jsonschema.v2+json"
	mediaProtobuf   = "application/vnd.kafka.protobuf.v2+json"
)

var (
	consumerMedia = []offer{
		{mediaV2, 900, false}, {"application/vnd.kafka+json", 800, true}, {mediaPlain, 500, true},
		{mediaBinary, 100, false}, {mediaJSON, 100, false}, {mediaAvro, 100, false}, {mediaJSONSchema, 100, false}, {mediaProtobuf, 100, false},
	}
	// Without an embedded format a type has always meant binary.
	recordMedia = []offer{
		{mediaBinary, 1000, false}, {mediaV2, 900, false}, {"application/vnd.kafka+json", 800, true}, {mediaPlain, 500, true},
		{mediaJSON, 100, false}, {mediaAvro, 100, false}, {mediaJSONSchema, 100, false}, {mediaProtobuf, 100, false},
	}
)

// A consumerCall is one call of an instance.
type consumerCall struct {
	w     http.ResponseWriter
	r     *http.Request
	media string // of the answer
	*gate.Consumer
}

// on stands around the operations of an instance: it negotiates the type, finds
// the instance and renews it.
func (k consumerAPI) on(offers []offer, serve func(consumerCall) error) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		media, err := k.accept(r, offers)
		if err != nil {
			return err
		}
		use, err := k.gate.UseConsumer(r.Context(), who, r.PathValue("group"), r.PathValue("instance"))
		if err != nil {
			return k.fail(w, media, err)
		}
		defer use.Release()
		k.lease(w, k.cfg.idle)
		return k.fail(w, media, serve(consumerCall{w, r, media, use}))
	}
}

// lease says for how long an instance lives on.
func (k consumerAPI) lease(w http.ResponseWriter, left time.Duration) {
	w.Header()["Klamm-Lease"] = []string{strconv.Itoa(int(left / time.Second))}
}

// fail answers an error in the negotiated type; what the log has to know is
// passed on.
func (k consumerAPI) fail(w http.ResponseWriter, media string, err error) error {
	var known *refusal
	var bad *gate.BadRecord
	var broker *kerr.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		if known == errMediaType || known == errNotAcceptable {
			return err
		}
	case errors.Is(err, gate.ErrNoConsumer):
		known = &refusal{http.StatusNotFound, 40403, gate.ErrNoConsumer.Message}
	case errors.Is(err, gate.ErrConsumerExists):
		known = &refusal{http.StatusConflict, 40902, gate.ErrConsumerExists.Message}
	case errors.Is(err, gate.ErrConsumerIdle):
		known = &refusal{http.StatusInternalServerError, 500, gate.ErrConsumerIdle.Message}
	case errors.As(err, &bad) && bad.TooLarge:
		known = &refusal{http.StatusRequestEntityTooLarge, 413, bad.Error()}
	case errors.As(err, &bad):
		known = &refusal{http.StatusRequestTimeout, 40801, bad.Error()}
	case gate.Classify(err) == gate.Conflict && !errors.As(err, &broker):
		known = &refusal{http.StatusConflict, 40903, err.Error()}
	case gate.Classify(err) == gate.Internal && !errors.As(err, &broker), errors.Is(err, front.ErrBodyTooLarge), errors.Is(err, front.ErrBodyTimeout), errors.Is(err, front.ErrBusy):
		return err
	default:
		known = k.refusalOf(err)
	}
	body, err := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{known.code, known.message})
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = mediaValues(media)
	w.WriteHeader(known.status)
	_, err = w.Write(body)
	return err
}

// respond answers 200 with a value as JSON.
func (c consumerCall) respond(value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return write(c.w, c.media, body)
}

func (c consumerCall) done() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// create serves POST /consumers/{group}. isolation.level is accepted, as
// Strimzi's bridge does, and the instance's URL is percent-encoded.
func (k consumerAPI) create(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	media, err := k.accept(r, consumerMedia)
	if err != nil {
		return err
	}
	return k.fail(w, media, k.make(w, r, who, media))
}

func (k consumerAPI) make(w http.ResponseWriter, r *http.Request, who gate.Principal, media string) error {
	body, release, err := k.body(r)
	if err != nil {
		return err
	}
	defer release()
	name, cfg, later, err := parseConsumer(body, k.api.cfg.StrictMediaTypes)
	if err != nil {
		return err
	}
	group := r.PathValue("group")
	if later != nil {
		// That the name is taken is said before what only Kafka's own client
		// refuses.
		if name != "" {
			if use, err := k.gate.UseConsumer(r.Context(), who, group, name); err == nil {
				use.Release()
				return gate.ErrConsumerExists
			}
		}
		return later
	}
	cfg.Idle = k.cfg.idle
	name, err = k.gate.CreateConsumer(r.Context(), who, group, name, cfg)
	if err != nil {
		return err
	}
	k.lease(w, k.cfg.idle)
	return consumerCall{w: w, r: r, media: media}.respond(struct {
		ID  string `json:"instance_id"`
		URI string `json:"base_uri"`
	}{name, k.cfg.links.Base(r) + "/consumers/" + url.PathEscape(group) + "/instances/" + url.PathEscape(name)})
}

// remove serves DELETE /consumers/{group}/instances/{instance}.
func (k consumerAPI) remove(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	media, err := k.accept(r, consumerMedia)
	if err != nil {
		return err
	}
	if err := k.gate.DeleteConsumer(r.Context(), who, r.PathValue("group"), r.PathValue("instance")); err != nil {
		return k.fail(w, media, err)
	}
	k.lease(w, 0)
	return consumerCall{w: w}.done()
}

// subscribe serves POST .../subscription. The pattern is a regular expression of
// RE2, which lacks some of Java's.
func (k consumerAPI) subscribe(c consumerCall) error {
	body, release, err := k.body(c.r)
	if err != nil {
		return err
	}
	defer release()
	s, err := parseSubscription(body)
	if err != nil {
		return err
	}
	switch {
	case s.topics != nil && len(s.topics) == 0: // as Kafka's own client takes it
		err = c.Unsubscribe(c.r.Context())
	case s.topics != nil:
		err = c.Subscribe(c.r.Context(), s.topics, "")
	case s.pattern != "":
		err = c.Subscribe(c.r.Context(), nil, s.pattern)
	}
	if err != nil {
		return err
	}
	return c.done()
}

// subscription serves GET .../subscription.
func (k consumerAPI) subscription(c consumerCall) error {
	topics, err := c.Subscription(c.r.Context())
	if err != nil {
		return err
	}
	return c.respond(map[string][]string{"topics": topics})
}

// unsubscribe serves DELETE .../subscription.
func (k consumerAPI) unsubscribe(c consumerCall) error {
	if err := c.Unsubscribe(c.r.Context()); err != nil {
		return err
	}
	return c.done()
}

// A partitionName is a partition in this API's requests and answers.
type partitionName struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// assign serves POST .../assignments.
func (k consumerAPI) assign(c consumerCall) error {
	partitions, release, err := k.partitions(c.r)
	if err != nil {
		return err
	}
	defer release()
	if err := c.Assign(c.r.Context(), partitions); err != nil {
		return err
	}
	return c.done()
}

// assignment serves GET .../assignments.
func (k consumerAPI) assignment(c consumerCall) error {
	names := []partitionName{}
	for _, p := range c.Assignment() {
		names = append(names, partitionName{p.Topic, p.Partition})
	}
	return c.respond(map[string][]partitionName{"partitions": names})
}

// partitions reads a body that names partitions and must be there.
func (k consumerAPI) partitions(r *http.Request) ([]kafka.TopicPartition, func(), error) {
	body, release, err := k.body(r)
	if err != nil {
		return nil, nil, err
	}
	partitions, err := parsePartitions(body)
	if err != nil {
		release()
		return nil, nil, err
	}
	return partitions, release, nil
}

// seek serves POST .../positions. A time without a record is the end of the log;
// the original fails there. What was fetched already is dropped.
func (k consumerAPI) seek(c consumerCall) error {
	body, release, err := k.body(c.r)
	if err != nil {
		return err
	}
	defer release()
	points, err := parsePositions(body)
	if err != nil {
		return err
	}
	if err := c.Seek(c.r.Context(), points); err != nil {
		return err
	}
	return c.done()
}

// seekBeginning serves POST .../positions/beginning.
func (k consumerAPI) seekBeginning(c consumerCall) error { return k.seekEnds(c, false) }

// seekEnd serves POST .../positions/end.
func (k consumerAPI) seekEnd(c consumerCall) error { return k.seekEnds(c, true) }

func (k consumerAPI) seekEnds(c consumerCall, end bool) error {
	partitions, release, err := k.partitions(c.r)
	if err != nil {
		return err
	}
	defer release()
	if err := c.SeekEnds(c.r.Context(), partitions, end); err != nil {
		return err
	}
	return c.done()
}

// commit serves POST .../offsets: the offset of the last record that was worked
// on, so that the one after it is committed; without a body everything that was
// read. It returns when the broker has answered, with or without async.
func (k consumerAPI) commit(c consumerCall) error {
	body, release, err := k.body(c.r)
	if err != nil {
		return err
	}
	defer release()
	at, all, err := parseCommit(body)
	switch {
	case err != nil:
		return err
	case all:
		err = c.CommitRead(c.r.Context())
	default:
		err = c.Commit(c.r.Context(), at)
	}
	if err != nil {
		return err
	}
	return write(c.w, c.media, []byte("[]"))
}

// committed serves GET .../offsets, which names partitions in its body; beyond
// the original ?topic=T&partition=P does too, as often as needed.
func (k consumerAPI) committed(c consumerCall) error {
	body, release, err := k.body(c.r)
	if err != nil {
		return err
	}
	defer release()
	var partitions []kafka.TopicPartition
	switch {
	case !blank(body):
		partitions, err = parsePartitions(body)
	case c.r.URL.RawQuery != "":
		partitions, err = queryPartitions(c.r.URL.Query())
	default:
		err = errNoPartition
	}
	if err != nil {
		return err
	}
	at, err := c.Committed(c.r.Context(), partitions)
	if err != nil {
		return err
	}
	type committed struct {
		partitionName
		Offset   int64  `json:"offset"`
		Metadata string `json:"metadata"`
	}
	offsets := make([]committed, len(at))
	for i, o := range at {
		offsets[i] = committed{partitionName{o.Topic, o.Partition}, o.Offset, o.Metadata}
	}
	return c.respond(map[string][]committed{"offsets": offsets})
}
