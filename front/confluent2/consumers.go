package confluent2

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/peer"
)

// A consumerConfig is what the configuration says about consumer instances.
type consumerConfig struct {
	idle  time.Duration   // an instance that is not used for so long expires; 0: five minutes
	bad   gate.BadRecords // what a read does at a record that it cannot return
	links front.Links     // what the URLs of instances begin with
}

const (
	// defaultIdle is consumer.instance.timeout.ms of the original.
	defaultIdle = 5 * time.Minute
	// longestIdle is how long an instance lives at most. Strimzi's live on without
	// an end; klamm must be able to forget those that nobody ever deletes.
	longestIdle = 24 * time.Hour
)

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
		{Name: "consumers.subscribe", Pattern: "POST " + at + "/subscription", Serve: k.on(k.accept, consumerMedia, k.subscribe)},
		{Name: "consumers.subscription", Pattern: "GET " + at + "/subscription", Serve: k.on(k.accept, consumerMedia, k.subscription)},
		{Name: "consumers.unsubscribe", Pattern: "DELETE " + at + "/subscription", Serve: k.on(k.accept, consumerMedia, k.unsubscribe)},
		{Name: "consumers.assign", Pattern: "POST " + at + "/assignments", Serve: k.on(k.accept, consumerMedia, k.assign)},
		{Name: "consumers.assignment", Pattern: "GET " + at + "/assignments", Serve: k.on(k.accept, consumerMedia, k.assignment)},
		{Name: "consumers.seek", Pattern: "POST " + at + "/positions", Serve: k.on(k.accept, consumerMedia, k.seek)},
		{Name: "consumers.seekBeginning", Pattern: "POST " + at + "/positions/beginning", Serve: k.on(k.accept, consumerMedia, k.seekBeginning)},
		{Name: "consumers.seekEnd", Pattern: "POST " + at + "/positions/end", Serve: k.on(k.accept, consumerMedia, k.seekEnd)},
		{Name: "consumers.read", Pattern: "GET " + at + "/records", Serve: k.on(k.acceptRecords, recordMedia, k.records)},
		{Name: "consumers.commit", Pattern: "POST " + at + "/offsets", Serve: k.on(k.accept, consumerMedia, k.commit)},
		{Name: "consumers.committed", Pattern: "GET " + at + "/offsets", Serve: k.on(k.accept, consumerMedia, k.committed)},
	}
}

// A consumerCall is one call of an instance.
type consumerCall struct {
	w     http.ResponseWriter
	r     *http.Request
	asked string // the type that the request wants
	media string // of the answer
	body  []byte // of the request; valid during the call
	*gate.Consumer
}

// on stands around the operations of an instance: it negotiates the type, finds
// the instance and renews it.
func (k consumerAPI) on(accept func(*http.Request, []offer) (string, error), offers []offer, serve func(consumerCall) error) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		asked, err := accept(r, offers)
		if err != nil {
			return err
		}
		media := k.answerType(asked)
		failure := media
		if isEvents(media) || media == mediaExact {
			failure = mediaV2
		}
		return k.fail(w, failure, k.reach(w, r, who, func(use *gate.Consumer, body []byte) error {
			k.lease(w, use.Config.Idle)
			return serve(consumerCall{w, r, asked, media, body, use})
		}))
	}
}

// lease says for how long an instance lives on.
func (k consumerAPI) lease(w http.ResponseWriter, left time.Duration) {
	w.Header()["Klamm-Lease"] = []string{strconv.Itoa(int(left / time.Second))}
}

// fail returns an error as one that is told in the negotiated type; what the log has to
// know is left as it is.
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
		known = &refusal{status: http.StatusNotFound, code: 40403, message: gate.ErrNoConsumer.Message}
	case errors.Is(err, gate.ErrConsumerExists):
		known = &refusal{status: http.StatusConflict, code: 40902, message: gate.ErrConsumerExists.Message}
	case errors.Is(err, gate.ErrConsumerIdle):
		known = &refusal{status: http.StatusInternalServerError, code: 500, message: gate.ErrConsumerIdle.Message}
	case errors.Is(err, gate.ErrStopping), errors.Is(err, gate.ErrConsumerMoved), errors.Is(err, errUnreached):
		w.Header()["Retry-After"] = []string{"1"}
		known = &refusal{status: http.StatusServiceUnavailable, code: 50302, message: err.Error()}
	case errors.As(err, &bad):
		known = k.badRecord(bad)
	case gate.Classify(err) == gate.Conflict && !errors.As(err, &broker):
		known = &refusal{status: http.StatusConflict, code: 40903, message: err.Error()}
	case gate.Classify(err) == gate.Internal && !errors.As(err, &broker), errors.Is(err, front.ErrBodyTooLarge), errors.Is(err, front.ErrBodyTimeout), errors.Is(err, front.ErrBusy):
		return err
	default:
		known = k.refusalOf(err)
	}
	return &negotiated{known, media, err}
}

// badRecord is the answer to a read that stops at a record.
func (k consumerAPI) badRecord(bad *gate.BadRecord) *refusal {
	strimzi := k.api.cfg.Profile == profileStrimzi
	switch {
	case bad.TooLarge && strimzi:
		return &refusal{status: unprocessable, code: 422, message: bad.Error()}
	case bad.TooLarge:
		return &refusal{status: http.StatusRequestEntityTooLarge, code: 413, message: bad.Error()}
	case strimzi:
		return &refusal{status: http.StatusNotAcceptable, code: 406, message: bad.Error()}
	}
	return &refusal{status: http.StatusRequestTimeout, code: 40801, message: bad.Error()}
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
	if k.api.cfg.Peers != nil && peer.Forwarded(r) {
		peer.Answer(w, r)
	}
	name, cfg, later, err := parseConsumer(body, k.habits, k.api.cfg.StrictMediaTypes)
	switch {
	case err != nil:
		return err
	case k.habits.cleanNames && hasControl(name):
		return errControl
	}
	group := r.PathValue("group")
	if later != nil {
		// That the name is taken is said before what only Kafka's own client
		// refuses.
		if name != "" {
			if taken, err := k.gate.HasConsumer(r.Context(), who, group, name); err == nil && taken {
				return gate.ErrConsumerExists
			}
		}
		return later
	}
	cfg.Idle = k.cfg.idle
	if name == "" && k.api.cfg.Profile == profileStrimzi {
		name = bridgeName()
	}
	name, err = k.gate.CreateConsumer(r.Context(), who, group, name, cfg)
	var elsewhere *gate.ConsumerElsewhere
	if errors.As(err, &elsewhere) {
		return k.makeElsewhere(w, r, who, elsewhere.Process, body)
	}
	if err != nil {
		return err
	}
	k.lease(w, k.cfg.idle)
	return consumerCall{w: w, r: r, media: media}.respond(struct {
		ID  string `json:"instance_id"`
		URI string `json:"base_uri"`
	}{name, k.cfg.links.Base(r) + "/consumers/" + url.PathEscape(group) + "/instances/" + url.PathEscape(name)})
}

// bridgeName is a name as Strimzi's bridge makes them up.
func bridgeName() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a random UUID
	return fmt.Sprintf("kafka-bridge-consumer-%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// remove serves DELETE /consumers/{group}/instances/{instance}.
func (k consumerAPI) remove(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	media, err := k.accept(r, consumerMedia)
	if err != nil {
		return err
	}
	return k.fail(w, media, k.reach(w, r, who, func(use *gate.Consumer, _ []byte) error {
		if err := use.Delete(); err != nil {
			return err
		}
		k.lease(w, 0)
		return consumerCall{w: w}.done()
	}))
}

// partitions reads a body that names partitions and must be there.
func (k consumerAPI) partitions(c consumerCall) ([]kafka.TopicPartition, error) {
	body, err := k.text(c)
	if err != nil {
		return nil, err
	}
	return parsePartitions(body)
}

// seek serves POST .../positions. A time without a record is the end of the log;
// the original fails there. What was fetched already is dropped.
func (k consumerAPI) seek(c consumerCall) error {
	body, err := k.text(c)
	if err != nil {
		return err
	}
	points, err := parsePositions(body)
	if err != nil {
		return err
	}
	if err := c.Seek(c.r.Context(), points); err != nil {
		return k.refusedSeek(err)
	}
	return c.done()
}

// seekBeginning serves POST .../positions/beginning.
func (k consumerAPI) seekBeginning(c consumerCall) error { return k.seekEnds(c, false) }

// seekEnd serves POST .../positions/end.
func (k consumerAPI) seekEnd(c consumerCall) error { return k.seekEnds(c, true) }

func (k consumerAPI) seekEnds(c consumerCall, end bool) error {
	partitions, err := k.partitions(c)
	if err != nil {
		return err
	}
	if err := c.SeekEnds(c.r.Context(), partitions, end); err != nil {
		return k.refusedSeek(err)
	}
	return c.done()
}

// refusedSeek says an error of a seek as the profile does.
func (k consumerAPI) refusedSeek(err error) error {
	var broker *kerr.Error
	if k.api.cfg.Profile == profileStrimzi && gate.Classify(err) == gate.Conflict && !errors.As(err, &broker) {
		return refuse(http.StatusNotFound, 404, "%s", strings.TrimPrefix(err.Error(), "Illegal state: "))
	}
	return err
}
