// Package confluent2 is the REST API of Confluent's REST Proxy, version 2
// (rest-apis.md 1 to 4): metadata and produce, and on the same paths klamm's own
// plain produce and stateless reads (interface.md 3).
//
// The format of keys and values comes from the media type. An envelope is
// scanned once and in place: what is produced are slices of the request body.
package confluent2

import (
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// Config is the rest.v2 section of the configuration file.
type Config struct {
	// StrictMediaTypes restores the media types of release 6.0 and later, and
	// refuses what other implementers of this API have added.
	StrictMediaTypes bool `yaml:"strict_media_types"`
	// TopicNotFoundCode is the code for a topic that does not exist: 40403 (the
	// default, as current releases answer) or 40401.
	TopicNotFoundCode int `yaml:"topic_not_found_code"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if c.TopicNotFoundCode != 0 && c.TopicNotFoundCode != 40403 && c.TopicNotFoundCode != 40401 {
		report("topic_not_found_code", "want 40403 or 40401")
	}
}

// api holds what the handlers need.
type api struct {
	gate *gate.Gate
	cfg  Config
}

// Dialect returns the v2 API.
func Dialect(g *gate.Gate, cfg Config) front.Dialect {
	if cfg.TopicNotFoundCode == 0 {
		cfg.TopicNotFoundCode = 40403
	}
	a := &api{gate: g, cfg: cfg}
	return front.Dialect{
		Name:     "confluent/v2",
		Prefixes: []string{"/"},
		Routes: []front.Route{
			{Name: "root.get", Pattern: "GET /{$}", Serve: a.root},
			{Name: "root.post", Pattern: "POST /{$}", Serve: a.root},
			{Name: "brokers.list", Pattern: "GET /brokers", Serve: a.listBrokers},
			{Name: "topics.list", Pattern: "GET /topics", Serve: a.listTopics},
			{Name: "topics.get", Pattern: "GET /topics/{topic}", Serve: a.getTopic},
			{Name: "partitions.list", Pattern: "GET /topics/{topic}/partitions", Serve: a.listPartitions},
			{Name: "partitions.get", Pattern: "GET /topics/{topic}/partitions/{partition}", Serve: a.getPartition},
			{Name: "partitions.offsets", Pattern: "GET /topics/{topic}/partitions/{partition}/offsets", Serve: a.getOffsets},
			{Name: "topics.produce", Pattern: "POST /topics/{topic}", Serve: a.produce},
			{Name: "partitions.produce", Pattern: "POST /topics/{topic}/partitions/{partition}", Serve: a.produce},
			{Name: "topics.read", Pattern: "GET /topics/{topic}/records", Serve: a.readTopic},
			{Name: "partitions.read", Pattern: "GET /topics/{topic}/partitions/{partition}/records", Serve: a.readPartition},
		},
		WriteError: a.writeError,
	}
}

// root answers the empty object, to GET as to POST, which clients use to see
// whether anybody is there.
func (a *api) root(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	media, err := a.accept(r, v2Only)
	if err != nil {
		return err
	}
	return write(w, media, []byte("{}"))
}

// write answers 200 with a body.
func write(w http.ResponseWriter, media string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = mediaValues(media)
	_, err := w.Write(body)
	return err
}
