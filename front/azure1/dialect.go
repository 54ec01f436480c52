// Package azure1 is the REST API of the Kafka REST proxy of Azure HDInsight,
// version 1 (rest-apis.md 6): metadata, creating topics, producing JSON values
// of any type, and reading from an offset on.
//
// Its sample client needs more than the API's description says, and where the
// two disagree the sample client wins.
package azure1

import (
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

//go:embed openapi.json
var openAPI []byte

// Config is the rest.v1 section of the configuration file.
type Config struct {
	// TopicDelete serves DELETE /v1/topics/{topic}, which the original has not
	// documented.
	TopicDelete bool `yaml:"topic_delete"`
}

// api holds what the handlers need.
type api struct {
	gate *gate.Gate
	cfg  Config
}

// Dialect returns the HDInsight API. It answers for what is below /v1 and no
// other dialect's.
func Dialect(g *gate.Gate, cfg Config) front.Dialect {
	a := &api{gate: g, cfg: cfg}
	routes := []front.Route{
		{Name: "topics.list", Pattern: "GET /v1/metadata/topics", Serve: a.listTopics, Metadata: front.TellsMetadata},
		{Name: "partitions.list", Pattern: "GET /v1/metadata/topics/{topic}/partitions", Serve: a.listPartitions, Metadata: front.TellsMetadata},
		{Name: "partitions.get", Pattern: "GET /v1/metadata/topics/{topic}/partitions/{partition}", Serve: a.getPartition, Metadata: front.TellsMetadata},
		{Name: "brokers.list", Pattern: "GET /v1/metadata/brokers", Serve: a.listBrokers},
		{Name: "topics.create", Pattern: "PUT /v1/topics/{topic}", Serve: a.createTopic, Metadata: front.ChangesMetadata},
		{Name: "topics.produce", Pattern: "POST /v1/producer/topics/{topic}", Serve: a.produce, Repeat: front.RepeatOnce},
		{Name: "partitions.read", Pattern: "GET /v1/consumer/topics/{topic}/partitions/{partition}/offsets/{offset}", Serve: a.read},
		{Name: "status", Pattern: "GET /v1/status", Serve: a.status, Public: true},
		{Name: "openapi", Pattern: "GET /v1/openapi.json", Serve: a.openAPI, Public: true},
	}
	if cfg.TopicDelete {
		routes = append(routes, front.Route{Name: "topics.delete", Pattern: "DELETE /v1/topics/{topic}", Serve: a.deleteTopic, Metadata: front.ChangesMetadata})
	}
	return front.Dialect{
		Name:       "azure/v1",
		Prefixes:   []string{"/v1"},
		Routes:     routes,
		WriteError: writeError,
	}
}

// status serves GET /v1/status: a JSON string, without authentication, while the
// process serves at all.
func (a *api) status(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return write(w, []byte(`"The Kafka REST proxy is running."`))
}

// openAPI serves GET /v1/openapi.json: this API as an OpenAPI 3.1 document, which
// the original does not serve.
func (a *api) openAPI(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return write(w, openAPI)
}

// respond answers 200 with a value as JSON.
func respond(w http.ResponseWriter, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return write(w, body)
}

// write answers 200 with a JSON document.
func write(w http.ResponseWriter, body []byte) error {
	w.Header()["Content-Type"] = jsonType
	_, err := w.Write(body)
	return err
}

var jsonType = []string{"application/json"}
