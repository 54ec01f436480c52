// Package confluent3 is the REST API of Confluent's REST Proxy, version 3
// (rest-apis.md 2.2, 3 and 5): the cluster and everything in it as resources
// that link to each other, and two ways to produce.
//
// Each file serves one noun. A call carries what every handler needs; links.go
// and resource.go make the URLs and the common shape of answers, errors.go turns
// every error into this API's own. Records come in through record.go, which scans
// them once and in place: stream.go hands them to the brokers as they arrive and
// answers in order, batch.go does the same for a few at a time.
package confluent3

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// Config is the rest.v3 section of the configuration file.
type Config struct {
	// BatchEntries is how many records records:batch takes at most, from 1 to
	// 50; the default is 10.
	BatchEntries int `yaml:"batch_entries"`
	// RecordBytes is the largest JSON text of one record of a stream; the default
	// is the size of a request body (sizes.body).
	RecordBytes int64 `yaml:"record_bytes" unit:"bytes"`
	// Authority stands behind the first two slashes of resource names; the
	// default is none.
	Authority string `yaml:"resource_name_authority"`
	// Links says under which address clients know klamm.
	Links front.Links `yaml:"-"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if c.BatchEntries < 0 || c.BatchEntries > 50 {
		report("batch_entries", "want a number from 1 to 50")
	}
	if c.RecordBytes < 0 || c.RecordBytes > 1<<30 {
		report("record_bytes", "want a size up to 1GiB")
	}
	if strings.ContainsAny(c.Authority, "/ \t\n") {
		report("resource_name_authority", "want a name without slashes and spaces")
	}
}

// api holds what the handlers need.
type api struct {
	gate    *gate.Gate
	cfg     Config
	cluster clusterID
	spare   atomic.Int64 // spare chunks of all streams
}

// A route is one operation; the pattern's path begins behind the prefix.
type route struct {
	name, pattern string
	serve         func(a *api, c *call) error
}

// The prefixes of this API: its own, and the one of Confluent's server and cloud.
const (
	prefix = "/v3"
	alias  = "/kafka/v3"
)

// in is the path of the cluster.
const in = "/clusters/{cluster}"

// routes are all operations of this API on a cluster.
var routes = []route{
	{"clusters.get", "GET " + in, (*api).getCluster},
	{"acls.list", "GET " + in + "/acls", (*api).listACLs},
	{"acls.create", "POST " + in + "/acls", (*api).createACL},
	{"acls.batch", "POST " + in + "/acls:batch", (*api).createACLs},
	{"acls.delete", "DELETE " + in + "/acls", (*api).deleteACLs},
	{"brokers.list", "GET " + in + "/brokers", (*api).listBrokers},
	{"brokers.get", "GET " + in + "/brokers/{broker}", (*api).getBroker},
	{"brokers.configs.all", "GET " + in + "/brokers/-/configs", (*api).listAllBrokerConfigs},
	{"brokers.configs.list", "GET " + in + "/brokers/{broker}/configs", (*api).listConfigs},
	{"brokers.configs.get", "GET " + in + "/brokers/{broker}/configs/{name}", (*api).getConfig},
	{"brokers.configs.put", "PUT " + in + "/brokers/{broker}/configs/{name}", (*api).putConfig},
	{"brokers.configs.delete", "DELETE " + in + "/brokers/{broker}/configs/{name}", (*api).deleteConfig},
	{"brokers.configs.alter", "POST " + in + "/brokers/{broker}/configs:alter", (*api).alterConfigs},
	{"brokers.replicas.list", "GET " + in + "/brokers/{broker}/partition-replicas", (*api).listBrokerReplicas},
	{"cluster.configs.list", "GET " + in + "/broker-configs", (*api).listConfigs},
	{"cluster.configs.get", "GET " + in + "/broker-configs/{name}", (*api).getConfig},
	{"cluster.configs.put", "PUT " + in + "/broker-configs/{name}", (*api).putConfig},
	{"cluster.configs.delete", "DELETE " + in + "/broker-configs/{name}", (*api).deleteConfig},
	{"cluster.configs.alter", "POST " + in + "/broker-configs:alter", (*api).alterConfigs},
	{"topics.list", "GET " + in + "/topics", (*api).listTopics},
	{"topics.create", "POST " + in + "/topics", (*api).createTopic},
	{"topics.get", "GET " + in + "/topics/{topic}", (*api).getTopic},
	{"topics.patch", "PATCH " + in + "/topics/{topic}", (*api).patchTopic},
	{"topics.delete", "DELETE " + in + "/topics/{topic}", (*api).deleteTopic},
	{"topics.configs.all", "GET " + in + "/topics/-/configs", (*api).listAllTopicConfigs},
	{"topics.configs.alter.all", "POST " + in + "/topics/-/configs:alter", (*api).alterAllTopicConfigs},
	{"topics.configs.list", "GET " + in + "/topics/{topic}/configs", (*api).listConfigs},
	{"topics.configs.get", "GET " + in + "/topics/{topic}/configs/{name}", (*api).getConfig},
	{"topics.configs.put", "PUT " + in + "/topics/{topic}/configs/{name}", (*api).putConfig},
	{"topics.configs.delete", "DELETE " + in + "/topics/{topic}/configs/{name}", (*api).deleteConfig},
	{"topics.configs.alter", "POST " + in + "/topics/{topic}/configs:alter", (*api).alterConfigs},
	{"partitions.list", "GET " + in + "/topics/{topic}/partitions", (*api).listPartitions},
	{"partitions.get", "GET " + in + "/topics/{topic}/partitions/{partition}", (*api).getPartition},
	{"partitions.offset", "GET " + in + "/topics/{topic}/partitions/{partition}/offset", (*api).getOffsets},
	{"partitions.reassignment.get", "GET " + in + "/topics/{topic}/partitions/{partition}/reassignment", (*api).getReassignment},
	{"topics.reassignments.list", "GET " + in + "/topics/{topic}/partitions/-/reassignment", (*api).listReassignments},
	{"reassignments.list", "GET " + in + "/topics/-/partitions/-/reassignment", (*api).listReassignments},
	{"replicas.list", "GET " + in + "/topics/{topic}/partitions/{partition}/replicas", (*api).listReplicas},
	{"replicas.get", "GET " + in + "/topics/{topic}/partitions/{partition}/replicas/{broker}", (*api).getReplica},
	{"groups.list", "GET " + in + "/consumer-groups", (*api).listGroups},
	{"groups.get", "GET " + in + "/consumer-groups/{group}", (*api).getGroup},
	{"groups.lag-summary", "GET " + in + "/consumer-groups/{group}/lag-summary", (*api).getLagSummary},
	{"lags.list", "GET " + in + "/consumer-groups/{group}/lags", (*api).listLags},
	{"lags.get", "GET " + in + "/consumer-groups/{group}/lags/{topic}/partitions/{partition}", (*api).getLag},
	{"consumers.list", "GET " + in + "/consumer-groups/{group}/consumers", (*api).listConsumers},
	{"consumers.get", "GET " + in + "/consumer-groups/{group}/consumers/{consumer}", (*api).getConsumer},
	{"assignments.list", "GET " + in + "/consumer-groups/{group}/consumers/{consumer}/assignments", (*api).listAssignments},
	{"assignments.get", "GET " + in + "/consumer-groups/{group}/consumers/{consumer}/assignments/{topic}/partitions/{partition}", (*api).getAssignment},
	{"records.list", "GET " + in + "/topics/{topic}/partitions/{partition}/records", (*api).readRecords},
}

// produceRoutes take any cluster id: the original does not look it up there.
var produceRoutes = []route{
	{"records.produce", "POST " + in + "/topics/{topic}/records", (*api).produceStream},
	{"records.batch", "POST " + in + "/topics/{topic}/records:batch", (*api).produceBatch},
}

// Dialect returns the v3 API.
func Dialect(g *gate.Gate, cfg Config) front.Dialect {
	if cfg.BatchEntries == 0 {
		cfg.BatchEntries = 10
	}
	a := &api{gate: g, cfg: cfg}
	d := front.Dialect{Name: "confluent/v3", Prefixes: []string{prefix, alias}, WriteError: writeError}
	for _, p := range d.Prefixes {
		add := func(rt route, lookup bool) {
			method, path, _ := strings.Cut(rt.pattern, " ")
			d.Routes = append(d.Routes, front.Route{Name: rt.name, Pattern: method + " " + p + path, Serve: a.handler(p, rt, lookup), Repeat: repeats[rt.name], Metadata: rt.metadata()})
		}
		add(route{"clusters.list", "GET /clusters", (*api).listClusters}, false)
		for _, rt := range routes {
			add(rt, true)
		}
		for _, rt := range produceRoutes {
			add(rt, false)
		}
		d.Routes = append(d.Routes, front.Route{Name: "openapi", Pattern: "GET " + p + "/openapi.json", Serve: serveOpenAPI, Public: true})
	}
	return d
}

// metadata says whether an operation is about topics, partitions or settings.
func (r route) metadata() front.Metadata {
	about, _, _ := strings.Cut(r.name, ".")
	switch {
	case !slices.Contains([]string{"topics", "partitions", "cluster", "brokers"}, about), strings.Contains(r.name, "reassignment"), r.name == "partitions.offset":
		return front.NoMetadata
	case !strings.HasPrefix(r.pattern, "GET "):
		return front.ChangesMetadata
	case about == "brokers" && !strings.Contains(r.name, ".configs."):
		return front.NoMetadata
	}
	return front.TellsMetadata
}

// repeats says where an Idempotency-Key has a meaning.
var repeats = map[string]front.Repeat{"records.produce": front.RepeatBounded, "records.batch": front.RepeatOnce}

// A call is one request on its way through a handler.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	who     gate.Principal
	base    string // of links: everything before "/clusters"
	cluster string
	crnBase string
}

// handler stands around every operation: it negotiates, and where lookup says
// so, it checks that the cluster in the path is the one that klamm serves.
func (a *api) handler(prefix string, rt route, lookup bool) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		if err := acceptable(r); err != nil {
			return err
		}
		if err := contentType(r); err != nil {
			return err
		}
		c := &call{w: w, r: r, who: who, base: a.cfg.Links.Base(r) + prefix, cluster: r.PathValue("cluster"), crnBase: "crn://" + a.cfg.Authority + "/kafka="}
		if lookup {
			if err := a.checkCluster(c); err != nil {
				return err
			}
		}
		return rt.serve(a, c)
	}
}

//go:embed openapi.json
var openAPI []byte

// serveOpenAPI serves the description of this API.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	w.Header()["Content-Type"] = jsonType
	_, err := w.Write(openAPI)
	return err
}
