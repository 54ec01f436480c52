package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/iam"
)

// Actions on the policies of clusters (kafka-auth.md B3).
const (
	PutClusterPolicy    Action = "kafka:PutClusterPolicy"
	GetClusterPolicy    Action = "kafka:GetClusterPolicy"
	DeleteClusterPolicy Action = "kafka:DeleteClusterPolicy"
)

// OwnCluster is the name of klamm's own cluster among those that have policies.
const OwnCluster = clusterName

// maxClusterPolicy bounds the policy document of a cluster, in bytes.
const maxClusterPolicy = 20 << 10

// clusterForm is the ARN of a cluster: partition, region, account, name and id.
var clusterForm = regexp.MustCompile(`^arn:(aws[a-z-]*):kafka:([a-z0-9-]+):([0-9]{12}):cluster/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)$`)

// A place is where the resources of a cluster are in ARNs.
type place struct{ partition, region, account, name, id string }

// placeOf takes an ARN of a cluster apart.
func placeOf(arn string) (place, bool) {
	m := clusterForm.FindStringSubmatch(arn)
	if m == nil {
		return place{}, false
	}
	return place{m[1], m[2], m[3], m[4], m[5]}, true
}

// resource is something in the cluster; without a name it is the cluster itself.
func (p *place) resource(kind, id, name string) iam.Resource {
	rest := kind + "/" + p.name + "/" + id
	if name != "" {
		rest += "/" + name
	}
	if p.partition == "aws" {
		return iam.NewResource("kafka", p.region, p.account, rest)
	}
	r, _ := iam.ParseResource("arn:" + p.partition + ":kafka:" + p.region + ":" + p.account + ":" + rest) // it has the form
	return r
}

// attachments are patterns of everything in the cluster; an id that is not known
// matches any.
func (p *place) attachments() []string {
	id := p.id
	if id == "" {
		id = "*"
	}
	of := func(kind, rest string) string {
		return "arn:" + p.partition + ":kafka:" + p.region + ":" + p.account + ":" + kind + "/" + p.name + "/" + id + rest
	}
	return []string{of("cluster", ""), of("topic", "/*"), of("group", "/*"), of("transactional-id", "/*")}
}

// other is the ARN of a cluster that is not this one; empty: it is.
func (p *place) other(arn string) string {
	if at, ok := placeOf(arn); ok && at == *p {
		return ""
	}
	return arn
}

// homeOf is the place of klamm's own cluster.
func (cfg *Law) homeOf() place {
	if p, ok := placeOf(cfg.Cluster); ok {
		return p
	}
	return place{partition: "aws", region: cfg.Region, account: cfg.Account, name: clusterName}
}

// at is the place of the cluster that is asked about.
func (q *question) at() *place {
	if q.elsewhere != nil {
		return q.elsewhere
	}
	return &q.law.home
}

// idOf returns the id of klamm's own cluster in ARNs.
func (a *Authority) idOf(ctx context.Context, l *law) (string, error) {
	if l.home.id != "" {
		return l.home.id, nil
	}
	return a.cluster.get(ctx)
}

// ClusterARN returns the ARN of klamm's own cluster; it asks the cluster for its id
// the first time.
func (a *Authority) ClusterARN(ctx context.Context) (string, error) {
	l := a.law.Load()
	id, err := a.idOf(ctx, l)
	if err != nil {
		return "", err
	}
	whole := l.clusterResource(id)
	return whole.String(), nil
}

// A clusterPolicy is the policy of a cluster that can be decided by.
type clusterPolicy struct {
	arn    string // of another cluster than klamm's own
	policy *iam.Document
}

// compile attaches the policy to everything in its cluster.
func (c *clusterPolicy) compile(name string, home *place) *iam.Policy {
	at := *home
	if c.arn != "" {
		at, _ = placeOf(c.arn) // it was checked when it was taken up
	}
	return &iam.Policy{Name: "cluster " + name, Kind: iam.Resources, Attach: at.attachments(), Document: c.policy}
}

// CheckClusterPolicy says what is wrong with the policy document of a cluster.
func CheckClusterPolicy(text []byte) error {
	if len(text) > maxClusterPolicy {
		return fmt.Errorf("the policy has %d bytes, and at most %d are kept", len(text), maxClusterPolicy)
	}
	d, err := iam.Parse(text, iam.Resources)
	if err != nil {
		return err
	}
	if n := d.Unaddressed(); n > 0 {
		return fmt.Errorf("statement %d has no Principal", n)
	}
	return nil
}

// A KeptClusterPolicy is the policy of a cluster as it lies in the catalog
// (catalog.KindClusterPolicy), under the name of the cluster in kafka.clusters, or
// OwnCluster.
type KeptClusterPolicy struct {
	// ARN is that of the cluster; empty for klamm's own.
	ARN string `json:"arn,omitempty"`
	// Policy is the document as it was given.
	Policy string `json:"policy"`
}

// FollowClusters makes the authority decide also by the policies of clusters that lie
// in a store, which must not run yet. Until they have been read, and while one of them
// cannot be, nobody may do anything, unless optional: that is for clusters that decide
// themselves, and may not let klamm have the store.
func (a *Authority) FollowClusters(store *catalog.Store, optional bool, log *slog.Logger) {
	a.dark.Store(!optional)
	f := &clusterFollower{authority: a, store: store, log: log, kept: map[string]*clusterPolicy{}, bad: map[string]bool{}}
	store.Watch(f.changed)
}

// A clusterFollower takes up the policies of clusters.
type clusterFollower struct {
	authority *Authority
	store     *catalog.Store
	log       *slog.Logger

	mu   sync.Mutex // guards what follows
	kept map[string]*clusterPolicy
	bad  map[string]bool
}

func (f *clusterFollower) changed(keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := f.authority.dark.Load()
	unreadable := f.store.Unreadable()
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, catalog.KindClusterPolicy+"/")
		if !ok {
			continue
		}
		news = true
		delete(f.bad, name)
		odd := slices.ContainsFunc(unreadable, func(s catalog.Strange) bool { return s.Kind == catalog.KindClusterPolicy && s.Name == name })
		doc, ok := f.store.Look(catalog.KindClusterPolicy, name)
		if !ok && !odd {
			delete(f.kept, name)
			continue
		}
		one, err := readClusterPolicy(doc)
		if odd || err != nil {
			// What is denied by it must not become allowed because nobody understands it.
			f.bad[name] = true
			f.log.Error("the policy of a cluster cannot be read, so nobody may do anything", "cluster", name, "err", err)
			continue
		}
		f.kept[name] = one
	}
	if !news {
		return
	}
	if err := f.authority.rule(f.kept); err != nil {
		f.bad[""] = true
		f.log.Error("the policies of clusters cannot be used, so nobody may do anything", "err", err)
	} else {
		delete(f.bad, "")
	}
	if dark := len(f.bad) > 0; dark != f.authority.dark.Swap(dark) {
		f.authority.tellOfSight()
	}
}

func readClusterPolicy(doc catalog.Document) (*clusterPolicy, error) {
	var kept KeptClusterPolicy
	if err := json.Unmarshal(doc.Body, &kept); err != nil {
		return nil, err
	}
	if _, ok := placeOf(kept.ARN); !ok && kept.ARN != "" {
		return nil, errors.New("it has no ARN of a cluster")
	}
	d, err := iam.Parse([]byte(kept.Policy), iam.Resources)
	return &clusterPolicy{kept.ARN, d}, err
}

// rule makes the authority decide by these policies of clusters.
func (a *Authority) rule(clusters map[string]*clusterPolicy) error {
	own := make(map[string]*clusterPolicy, len(clusters))
	for name, c := range clusters {
		own[name] = c
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l, err := a.file.with(a.made, own)
	if err != nil {
		return err
	}
	a.owns = own
	a.enact(l)
	return nil
}

// sightless says whether something is not known that decides.
func (a *Authority) sightless() bool { return a.blind.Load() || a.dark.Load() }

// Watch has see called whenever the authority may decide otherwise than before. See
// must return soon, and not call the authority.
func (a *Authority) Watch(see func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, see)
}

// tell is called with mu held.
func (a *Authority) tell() {
	for _, see := range a.told {
		see()
	}
}

func (a *Authority) tellOfSight() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tell()
}
