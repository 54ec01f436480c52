// Package confluent2 is the REST API of Confluent's REST Proxy, version 2
// (rest-apis.md 1 to 4): metadata, produce and consumer instances, and on the
// same paths klamm's own plain produce and stateless reads (interface.md 3).
// Strimzi's bridge, Karapace and Redpanda's proxy speak this API with differences
// (rest-apis.md 7); a profile selects whose are followed.
//
// The format of keys and values comes from the media type. An envelope is
// scanned once and in place: what is produced are slices of the request body.
package confluent2

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
)

// Config is the rest.v2 section of the configuration file.
type Config struct {
	// StrictMediaTypes restores the media types of release 6.0 and later, and
	// refuses what other implementers of this API have added.
	StrictMediaTypes bool `yaml:"strict_media_types"`
	// TopicNotFoundCode is the code for a topic that does not exist: 40403 (the
	// default, as current releases answer) or 40401.
	TopicNotFoundCode int `yaml:"topic_not_found_code"`
	// RecordExtras adds timestamp and headers to the records of reads in v2's
	// shapes, as some other implementers of this API do.
	RecordExtras bool `yaml:"record_extras"`
	// Profile says whose habits are followed where implementers of this API
	// disagree: confluent, strimzi, karapace or redpanda. The default is
	// Confluent's together with what others have added and Confluent's clients do
	// not notice; confluent leaves these out where a client could: ?async=true is
	// then ignored.
	Profile string `yaml:"profile"`
	// ConsumerInstanceTimeoutMs is how long a consumer instance lives without a
	// call, in milliseconds, 1000 to 86400000; the default is 300000, and with the
	// profile strimzi, where instances do not expire, 86400000.
	ConsumerInstanceTimeoutMs int `yaml:"consumer_instance_timeout_ms"`
	// BadRecords says what a read does at a record that it cannot return: halt
	// (the default) names it and stays there until a seek, skip puts its error
	// into the answer, confluent does as the original.
	BadRecords string `yaml:"bad_records"`
	// CloudEvents says what becomes of CloudEvents.
	CloudEvents cloudevent.Config `yaml:"-"`
	// Links says under which address clients know klamm.
	Links front.Links `yaml:"-"`
	// Peers are the other klamm processes, which hold consumer instances too. Nil:
	// there are none.
	Peers *peer.Peers `yaml:"-"`
	// Ready returns nil while klamm can produce and poll, and otherwise an error
	// that names what is wrong; without it klamm is always ready.
	Ready func(context.Context) error `yaml:"-"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if c.TopicNotFoundCode != 0 && c.TopicNotFoundCode != 40403 && c.TopicNotFoundCode != 40401 {
		report("topic_not_found_code", "want 40403 or 40401")
	}
	if _, ok := badRecords(c.BadRecords); !ok {
		report("bad_records", "want halt, skip or confluent")
	}
	if t := c.ConsumerInstanceTimeoutMs; t != 0 && (t < 1000 || t > 24*3600*1000) {
		report("consumer_instance_timeout_ms", "want a number from 1000 to 86400000")
	}
	if _, ok := habitsOf(c.Profile); !ok {
		report("profile", "want "+strings.Join(profiles, ", ")+" or nothing")
	}
}

// api holds what the handlers need.
type api struct {
	gate   *gate.Gate
	cfg    Config
	habits habits
	start  time.Time
}

// newAPI returns what the handlers need.
func newAPI(g *gate.Gate, cfg Config) *api {
	if cfg.TopicNotFoundCode == 0 {
		cfg.TopicNotFoundCode = 40403
	}
	h, _ := habitsOf(cfg.Profile)
	if cfg.RecordExtras {
		h.timestamps, h.headers = true, true
	}
	return &api{gate: g, cfg: cfg, habits: h, start: time.Now()}
}

// Dialect returns the v2 API.
func Dialect(g *gate.Gate, cfg Config) front.Dialect {
	a := newAPI(g, cfg)
	bad, _ := badRecords(cfg.BadRecords)
	instances := consumerConfig{idle: time.Duration(cfg.ConsumerInstanceTimeoutMs) * time.Millisecond, bad: bad, links: cfg.Links}
	if instances.idle == 0 && cfg.Profile == profileStrimzi {
		instances.idle = longestIdle
	}
	return front.Dialect{
		Name:       "confluent/v2",
		ErrorMedia: mediaV2,
		Prefixes:   []string{"/"},
		Routes: a.guarded(slices.Concat([]front.Route{
			{Name: "root.get", Pattern: "GET /{$}", Serve: a.root},
			{Name: "root.post", Pattern: "POST /{$}", Serve: a.root},
			{Name: "brokers.list", Pattern: "GET /brokers", Serve: a.typed(a.listBrokers)},
			{Name: "topics.list", Pattern: "GET /topics", Serve: a.typed(a.listTopics), Metadata: front.TellsMetadata},
			{Name: "topics.get", Pattern: "GET /topics/{topic}", Serve: a.typed(a.getTopic), Metadata: front.TellsMetadata},
			{Name: "partitions.list", Pattern: "GET /topics/{topic}/partitions", Serve: a.typed(a.listPartitions), Metadata: front.TellsMetadata},
			{Name: "partitions.get", Pattern: "GET /topics/{topic}/partitions/{partition}", Serve: a.typed(a.getPartition), Metadata: front.TellsMetadata},
			{Name: "partitions.offsets", Pattern: "GET /topics/{topic}/partitions/{partition}/offsets", Serve: a.typed(a.getOffsets)},
			{Name: "topics.produce", Pattern: "POST /topics/{topic}", Serve: a.produce, Repeat: front.RepeatOnce},
			{Name: "partitions.produce", Pattern: "POST /topics/{topic}/partitions/{partition}", Serve: a.produce, Repeat: front.RepeatOnce},
			{Name: "topics.read", Pattern: "GET /topics/{topic}/records", Serve: a.readTopic},
			{Name: "partitions.read", Pattern: "GET /topics/{topic}/partitions/{partition}/records", Serve: a.readPartition},
			{Name: "topics.create", Pattern: "POST /admin/topics", Serve: a.createTopic, Metadata: front.ChangesMetadata},
		}, consumerRoutes(a, instances), operationRoutes(a), eventRoutes(a))),
		WriteError: a.writeError,
	}
}

// guarded puts the profile's check of names before the operations.
func (a *api) guarded(routes []front.Route) []front.Route {
	if !a.habits.cleanNames {
		return routes
	}
	for i, route := range routes {
		routes[i].Serve = func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			if hasControl(r.PathValue("topic"), r.PathValue("group"), r.PathValue("instance")) {
				return errControl
			}
			return route.Serve(w, r, who)
		}
	}
	return routes
}

// typed refuses what an operation cannot answer before anything is looked up: a
// topic that does not exist is not news for a caller who could not read it.
func (a *api) typed(serve front.Handler) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		if _, err := a.negotiated(r, v2Only); err != nil {
			return err
		}
		return serve(w, r, who)
	}
}

// root answers the empty object, to GET as to POST, which clients use to see
// whether anybody is there; Strimzi's bridge tells its version.
func (a *api) root(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	if r.Method == http.MethodPost {
		if err := a.checkRootBody(r); err != nil {
			return err
		}
	}
	media, err := a.accept(r, v2Only)
	if err != nil && r.Method != http.MethodPost && negotiate(a.wanted(r.Header["Accept"]), []offer{{"text/html", 1000, false}}, false) != "" {
		media, err = mediaV2, nil // interface.md 2: a page is asked for where there is none
	}
	if err != nil {
		return err
	}
	if a.cfg.Profile == profileStrimzi && r.Method == http.MethodGet {
		return write(w, media, []byte(`{"bridge_version":"`+version()+`"}`))
	}
	return write(w, media, []byte("{}"))
}

// checkRootBody refuses what is no object of strings. Nothing is done with it.
func (a *api) checkRootBody(r *http.Request) error {
	body, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	contentType := r.Header.Get("Content-Type")
	if len(body) == 0 && contentType == "" {
		return nil
	}
	if !a.isPlainType(contentType) {
		return errMediaType
	}
	var texts map[string]string
	if err := json.Unmarshal(body, &texts); err != nil {
		return refuseShape(badRequest, "Cannot deserialize value of type `java.util.LinkedHashMap<java.lang.String,java.lang.String>` from the request body")
	}
	return nil
}

// knownLength is from which length on the size of an answer has to be said; the
// HTTP server counts shorter ones by itself.
const knownLength = 2048

// write answers 200 with a body.
func write(w http.ResponseWriter, media string, body []byte) error {
	return writeStatus(w, http.StatusOK, media, body)
}

// writeStatus answers with a body.
func writeStatus(w http.ResponseWriter, status int, media string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = mediaValues(media)
	if len(body) >= knownLength {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
	}
	_, err := w.Write(body)
	return err
}
