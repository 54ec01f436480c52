package confluent3

import (
	"net/http"
	"sync"
	"time"
)

// clusterKept is how long the cluster's id is believed without asking again.
const clusterKept = time.Minute

// clusterID remembers the id of the cluster, which every call names and which
// changes only when the cluster is replaced by another.
type clusterID struct {
	mu sync.Mutex
	id string
	at time.Time
}

// known says whether an id is that of the cluster, as far as is remembered.
func (k *clusterID) known(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id == id && id != "" && time.Since(k.at) < clusterKept
}

func (k *clusterID) set(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id, k.at = id, time.Now()
}

// checkCluster checks the cluster's id in the path.
func (a *api) checkCluster(c *call) error {
	if a.cluster.known(c.cluster) {
		return nil
	}
	id, err := a.gate.ClusterID(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	a.cluster.set(id)
	if id != c.cluster {
		return refuse(http.StatusNotFound, 404, "Cluster %s cannot be found.", clipped(c.cluster))
	}
	return nil
}

type clusterResource struct {
	head
	Controller    *relation `json:"controller"`
	ACLs          *relation `json:"acls"`
	Brokers       *relation `json:"brokers"`
	BrokerConfigs *relation `json:"broker_configs"`
	Groups        *relation `json:"consumer_groups"`
	Topics        *relation `json:"topics"`
	Reassignments *relation `json:"partition_reassignments"`
}

// listClusters serves GET /clusters: the one cluster there is.
func (a *api) listClusters(c *call) error {
	one, err := a.describeCluster(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, listOf("KafkaClusterList", c.base+"/clusters", []clusterResource{one}))
}

// getCluster serves GET C.
func (a *api) getCluster(c *call) error {
	one, err := a.describeCluster(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, one)
}

func (a *api) describeCluster(c *call) (clusterResource, error) {
	info, err := a.gate.Cluster(c.r.Context(), c.who)
	if err != nil {
		return clusterResource{}, err
	}
	c.cluster = info.ID
	r := clusterResource{
		head: c.head("KafkaCluster", c.url(), c.crn()), ACLs: c.to("acls"), Brokers: c.to("brokers"), BrokerConfigs: c.to("broker-configs"),
		Groups: c.to("consumer-groups"), Topics: c.to("topics"), Reassignments: c.to("topics", "-", "partitions", "-", "reassignment"),
	}
	if info.Controller >= 0 {
		r.Controller = c.to("brokers", text(info.Controller))
	}
	return r, nil
}
