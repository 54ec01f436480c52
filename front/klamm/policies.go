package klamm

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// policyRoutes are the routes for policies and rules. Those of the configuration
// file are shown, and changed there.
func (a api) policyRoutes() []front.Route {
	return []front.Route{
		{Name: "policies.list", Pattern: "GET /klamm/v1/policies", Serve: a.listPolicies},
		{Name: "policies.get", Pattern: "GET /klamm/v1/policies/{name}", Serve: a.getPolicy},
		{Name: "policies.put", Pattern: "PUT /klamm/v1/policies/{name}", Serve: a.putPolicy},
		{Name: "policies.delete", Pattern: "DELETE /klamm/v1/policies/{name}", Serve: a.deletePolicy},
	}
}

// policiesFor asks the gate and returns the policies. An empty name stands for all
// of them.
func (a api) policiesFor(r *http.Request, who gate.Principal, action gate.Action, name string) (*gate.Policies, error) {
	if a.cfg.Gate == nil || a.cfg.Policies == nil {
		return nil, &gate.Error{Kind: gate.Conflict, Message: "policies do not decide here; the configuration file has to name auth, policies or rules"}
	}
	what := gate.Resource{Kind: "policy", Name: name}
	if name == "" {
		what = gate.Resource{Kind: "cluster"}
	}
	return a.cfg.Policies, a.cfg.Gate.Admin(r.Context(), who, action, what)
}

// listPolicies serves GET /klamm/v1/policies: all policies and rules, or with ?search=,
// ?after= or ?limit= a page of those that have it in their name or in what they are
// attached to.
func (a api) listPolicies(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "search", "after", "limit")
	if err != nil {
		return err
	}
	policies, err := a.policiesFor(r, who, gate.AdminRead, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	all, err := policies.List(ctx)
	if err != nil {
		return err
	}
	page, err := choose(q, all, placeOfPolicy, func(p gate.KeptPolicy) []string {
		texts := append([]string{p.Name}, p.Attach...)
		if p.Rule != nil {
			texts = append(texts, p.Rule.Who...)
		}
		return texts
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Policies []gate.KeptPolicy `json:"policies"`
		Next     string            `json:"next,omitempty"`
		Total    int               `json:"total"`
	}{append([]gate.KeptPolicy{}, page.list...), page.next, page.total})
}

// placeOfPolicy tells policies apart: one of the file may shadow one of the same name.
func placeOfPolicy(p gate.KeptPolicy) string {
	if p.InFile {
		return "file/" + p.Name
	}
	return "made/" + p.Name
}

// getPolicy serves GET /klamm/v1/policies/{name}.
func (a api) getPolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	policies, err := a.policiesFor(r, who, gate.AdminRead, r.PathValue("name"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	one, err := policies.Get(ctx, r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", one)
}

// A policyBody says what a policy is to be. What klamm adds when it shows one may
// stand in it, so that what was read can be changed and written back, and is
// passed over.
type policyBody struct {
	Name      string          `json:"name"`
	Kind      string          `json:"kind"`
	Attach    []string        `json:"attach"`
	Document  json.RawMessage `json:"document"`
	Rule      *gate.Rule      `json:"rule"`
	Version   json.RawMessage `json:"version"`
	Changed   json.RawMessage `json:"changed"`
	ChangedBy json.RawMessage `json:"changed_by"`
	Shadowed  json.RawMessage `json:"shadowed"`
}

// putPolicy serves PUT /klamm/v1/policies/{name}?version=&force=: makes or replaces
// a policy. With version, only if the policy has it; 0: if there is none.
func (a api) putPolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	policies, err := a.policiesFor(r, who, gate.AdminWrite, name)
	if err != nil {
		return err
	}
	how, err := policyChange(r, who)
	if err != nil {
		return err
	}
	var body policyBody
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.Name != "" && body.Name != name {
		return invalid("name: the path has another one")
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	one, err := policies.Put(ctx, gate.KeptPolicy{Name: name, Kind: body.Kind, Attach: body.Attach, Document: body.Document, Rule: body.Rule}, how)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", one)
}

// deletePolicy serves DELETE /klamm/v1/policies/{name}?version=&force=.
func (a api) deletePolicy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("name")
	policies, err := a.policiesFor(r, who, gate.AdminWrite, name)
	if err != nil {
		return err
	}
	how, err := policyChange(r, who)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if err := policies.Delete(ctx, name, how); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"deleted": name})
}

// policyChange reads from the query how a change is to be made.
func policyChange(r *http.Request, who gate.Principal) (gate.PolicyChange, error) {
	how := gate.PolicyChange{By: who, Expect: -1}
	q, err := queryOf(r, "version", "force")
	if err != nil {
		return how, err
	}
	if text := q.text("version"); text != "" {
		if how.Expect, err = strconv.ParseInt(text, 10, 64); err != nil || how.Expect < 0 {
			return how, invalid("version: want the number that klamm has shown, or 0 where there is to be none")
		}
	}
	if text := q.text("force"); text != "" {
		if how.Force, err = strconv.ParseBool(text); err != nil {
			return how, invalid("force: want true or false")
		}
	}
	return how, nil
}
