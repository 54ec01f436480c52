package aws

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// clusters is how errors are called in the service kafka.
var clusters = namesOf{
	media:   "application/json",
	missing: fault{name: "NotFoundException", status: http.StatusNotFound}, taken: fault{name: "ConflictException", status: http.StatusConflict},
	full: fault{name: "BadRequestException", status: http.StatusBadRequest}, conflict: fault{name: "ConflictException", status: http.StatusConflict},
	internal: fault{name: "InternalServerErrorException", status: http.StatusInternalServerError}, slow: fault{name: "TooManyRequestsException", status: http.StatusTooManyRequests},
	denied: http.StatusForbidden,
}

// ClusterPolicies returns the part of Amazon MSK's API that is about the policies of
// clusters (kafka-auth.md B3), signed for the service kafka. A policy belongs to klamm's
// own cluster or to one of kafka.clusters; its version is klamm's.
func (a *API) ClusterPolicies() front.Dialect {
	d := front.Dialect{Name: "aws/kafka", Prefixes: []string{"/v1/clusters"}, WriteError: clusters.writeError}
	// An ARN has slashes: SDKs encode them, people at a shell do not.
	for _, arn := range []string{"{arn}", "{arn}/{name}/{id}"} {
		at := " /v1/clusters/" + arn + "/policy"
		d.Routes = append(d.Routes,
			front.Route{Name: "kafka.PutClusterPolicy", Pattern: "PUT" + at, Serve: a.putClusterPolicy},
			front.Route{Name: "kafka.GetClusterPolicy", Pattern: "GET" + at, Serve: a.getClusterPolicy},
			front.Route{Name: "kafka.DeleteClusterPolicy", Pattern: "DELETE" + at, Serve: a.deleteClusterPolicy},
		)
	}
	return identified(d)
}

// A ruledCluster is a cluster that may have a policy.
type ruledCluster struct{ name, arn string }

// ruled finds the cluster that a path names, once the caller may do this to it.
func (a *API) ruled(r *http.Request, who gate.Principal, action gate.Action) (c ruledCluster, err error) {
	arn := r.PathValue("arn")
	if name := r.PathValue("name"); name != "" {
		arn += "/" + name + "/" + r.PathValue("id")
	}
	if parts := strings.SplitN(arn, ":", 6); len(parts) != 6 || parts[0] != "arn" || parts[2] != "kafka" || !strings.HasPrefix(parts[5], "cluster/") || len(arn) > 512 {
		return c, badCluster("clusterArn", "One or more of the parameters are not valid: want the ARN of a cluster.")
	}
	c, err = a.clusterNamed(r, arn)
	if c.arn != "" {
		arn = c.arn
	}
	if denied := a.allow(r, who, action, arn); denied != nil {
		return c, denied // also where there is no such cluster
	}
	return c, err
}

// clusterNamed finds the cluster of an ARN.
func (a *API) clusterNamed(r *http.Request, arn string) (c ruledCluster, err error) {
	named := clusterArn.FindStringSubmatch(arn)
	for _, one := range a.cfg.Clusters {
		own := a.arnOf(&one)
		if own == arn || slices.Contains(one.ARNs, arn) || named != nil && named[1] == one.Name {
			return ruledCluster{one.Name, own}, nil
		}
	}
	own, err := a.cfg.Authority.ClusterARN(r.Context())
	if err != nil {
		return c, err
	}
	if arn == own || named != nil && named[1] == gate.OwnCluster {
		return ruledCluster{gate.OwnCluster, own}, nil
	}
	return c, &fault{name: "NotFoundException", status: http.StatusNotFound, message: "The cluster " + clip(arn) + " does not exist: it is neither klamm's own nor one of kafka.clusters."}
}

// badCluster is the error of a request that is wrong.
func badCluster(parameter, message string) error {
	return &fault{name: "BadRequestException", status: http.StatusBadRequest, message: message, members: map[string]any{"invalidParameter": parameter}}
}

// errNoPolicy is what is said of a cluster without a policy.
var errNoPolicy = &fault{name: "NotFoundException", status: http.StatusNotFound, message: "The cluster does not have a policy."}

// policyVersion is a version as this API writes it, and nothing that one computes with.
func policyVersion(version int64) string {
	return "K" + strings.ToUpper(strconv.FormatInt(version+1, 36))
}

// lockedOut is the HTTP header of an answer that has nowhere else to say so.
const lockedOut = "X-Klamm-Warning"

// putClusterPolicy serves PutClusterPolicy. With a currentVersion the policy must have
// it. A policy that its author could not change any more is taken, as Amazon MSK does;
// klamm says so in X-Klamm-Warning and in its log.
func (a *API) putClusterPolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	c, err := a.ruled(r, who, gate.PutClusterPolicy)
	if err != nil {
		return err
	}
	var q struct {
		CurrentVersion *string `json:"currentVersion"`
		Policy         *string `json:"policy"`
	}
	var f *fault
	if err := decode(r, &q); errors.As(err, &f) {
		return badCluster("body", f.message)
	} else if err != nil {
		return err
	}
	if q.Policy == nil || strings.TrimSpace(*q.Policy) == "" {
		return badCluster("policy", "The policy is missing.")
	}
	if err := gate.CheckClusterPolicy([]byte(*q.Policy)); err != nil {
		return badCluster("policy", "The policy is not valid: "+err.Error()+".")
	}
	expect := catalog.Any
	if textOf(q.CurrentVersion) != "" {
		have, err := a.policyOf(r, c)
		if err != nil && !errors.Is(err, errNoPolicy) {
			return err
		}
		if err != nil || policyVersion(have.Version) != *q.CurrentVersion {
			return &fault{name: "ConflictException", status: http.StatusConflict, message: "The policy of the cluster has another version than " + clip(*q.CurrentVersion) + ".", members: map[string]any{"invalidParameter": "currentVersion"}}
		}
		expect = have.Version
	}
	kept := gate.KeptClusterPolicy{ARN: c.arn, Policy: *q.Policy}
	if c.name == gate.OwnCluster {
		kept.ARN = ""
	}
	body, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	out, err := a.cfg.Authority.ShutsOut(r.Context(), who, c.name, c.arn, kept.Policy)
	if err != nil {
		return err
	}
	doc, err := a.cfg.Store.Put(r.Context(), catalog.Document{Kind: catalog.KindClusterPolicy, Name: c.name, Dialect: dialect, By: who.Name, Body: body}, expect)
	if err != nil {
		return err
	}
	if out {
		w.Header().Set(lockedOut, "the policy does not let you change or remove it again")
		a.cfg.Log.Warn("the new policy of a cluster shuts out its author", "cluster", c.name, "principal", who.Name)
	}
	return write(w, clusters.media, map[string]any{"currentVersion": policyVersion(doc.Version)})
}

// policyOf returns the policy of a cluster as it is stored, or errNoPolicy.
func (a *API) policyOf(r *http.Request, c ruledCluster) (catalog.Document, error) {
	doc, err := a.cfg.Store.Get(r.Context(), catalog.KindClusterPolicy, c.name)
	if errors.Is(err, catalog.ErrNotFound) {
		return doc, errNoPolicy
	}
	return doc, err
}

// getClusterPolicy serves GetClusterPolicy.
func (a *API) getClusterPolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	c, err := a.ruled(r, who, gate.GetClusterPolicy)
	if err != nil {
		return err
	}
	doc, err := a.policyOf(r, c)
	if err != nil {
		return err
	}
	var kept gate.KeptClusterPolicy
	if err := json.Unmarshal(doc.Body, &kept); err != nil {
		return err
	}
	return write(w, clusters.media, map[string]any{"currentVersion": policyVersion(doc.Version), "policy": kept.Policy})
}

// deleteClusterPolicy serves DeleteClusterPolicy.
func (a *API) deleteClusterPolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	c, err := a.ruled(r, who, gate.DeleteClusterPolicy)
	if err != nil {
		return err
	}
	err = a.cfg.Store.Delete(r.Context(), catalog.KindClusterPolicy, c.name, catalog.Any)
	if errors.Is(err, catalog.ErrNotFound) {
		return errNoPolicy
	}
	if err != nil {
		return err
	}
	return write(w, clusters.media, map[string]any{})
}
