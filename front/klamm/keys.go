package klamm

import (
	"context"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
)

// keyRoutes are the routes for API keys. A key is a row of klamm key list -o json;
// the secret of a new one is in the answer that made it, and nowhere else.
func (a api) keyRoutes() []front.Route {
	return []front.Route{
		{Name: "keys.list", Pattern: "GET /klamm/v1/keys", Serve: a.listKeys},
		{Name: "keys.create", Pattern: "POST /klamm/v1/keys", Serve: a.createKey},
		{Name: "keys.import", Pattern: "POST /klamm/v1/keys/import", Serve: a.importKeys},
		{Name: "keys.rotate", Pattern: "POST /klamm/v1/keys/{name}/rotate", Serve: a.rotateKey},
		{Name: "keys.revoke", Pattern: "DELETE /klamm/v1/keys/{id}", Serve: a.revokeKey},
	}
}

// A keyBody says what a key is to be.
type keyBody struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Principal   string            `json:"principal"`
	Groups      []string          `json:"groups"`
	Tags        map[string]string `json:"tags"`
	Sources     []string          `json:"sources"`
	Plans       []string          `json:"plans"`
	Disabled    bool              `json:"disabled"`
	NotBefore   time.Time         `json:"not_before"`
	NotAfter    time.Time         `json:"not_after"`
}

// An importBody is a keyBody with a secret that was made elsewhere.
type importBody struct {
	keyBody
	Key string `json:"key"`
}

// A madeKey is a key with its secret.
type madeKey struct {
	auth.Key
	Secret string `json:"key"`
}

// keysFor asks the gate and returns the keys. The name is that of a key or its id;
// "" stands for all of them.
func (a api) keysFor(r *http.Request, who gate.Principal, action gate.Action, name string) (*auth.Keys, error) {
	if a.cfg.Gate == nil || a.cfg.Keys == nil {
		return nil, &gate.Error{Kind: gate.Conflict, Message: "API keys are not taken here; the configuration file has to name auth.apikeys"}
	}
	what := gate.Resource{Kind: "key", Name: name}
	if name == "" {
		what = gate.Resource{Kind: "cluster"}
	}
	return a.cfg.Keys, a.cfg.Gate.Admin(r.Context(), who, action, what)
}

// listKeys serves GET /klamm/v1/keys: all keys without their secrets, or with ?search=,
// ?after= or ?limit= a page of those that have it in their name, id or principal.
func (a api) listKeys(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "search", "after", "limit")
	if err != nil {
		return err
	}
	keys, err := a.keysFor(r, who, gate.AdminRead, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	all, err := keys.List(ctx)
	if err != nil {
		return err
	}
	page, err := choose(q, all, func(k auth.Key) string { return k.ID }, func(k auth.Key) []string { return []string{k.ID, k.Name, k.Principal} })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Keys  []auth.Key `json:"keys"`
		Next  string     `json:"next,omitempty"`
		Total int        `json:"total"`
	}{append([]auth.Key{}, page.list...), page.next, page.total})
}

// createKey serves POST /klamm/v1/keys: makes a key under a new name.
func (a api) createKey(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var body keyBody
	if err := decode(r, &body); err != nil {
		return err
	}
	keys, err := a.keysFor(r, who, gate.AdminWrite, body.Name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	key, secret, err := keys.Create(ctx, who, auth.NewKey(body))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", madeKey{key, secret})
}

// rotateKey serves POST /klamm/v1/keys/{name}/rotate: makes a second key under a
// name. Both are taken until one is revoked.
func (a api) rotateKey(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	keys, err := a.keysFor(r, who, gate.AdminWrite, r.PathValue("name"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	key, secret, err := keys.Rotate(ctx, who, r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", madeKey{key, secret})
}

// revokeKey serves DELETE /klamm/v1/keys/{id}: nobody gets in with the key any
// more.
func (a api) revokeKey(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	keys, err := a.keysFor(r, who, gate.AdminWrite, r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	key, err := keys.Revoke(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"revoked": key})
}

// importKeys serves POST /klamm/v1/keys/import: takes over keys that were made
// elsewhere, all of them or none.
func (a api) importKeys(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	keys, err := a.keysFor(r, who, gate.AdminWrite, "")
	if err != nil {
		return err
	}
	var body struct {
		Keys []importBody `json:"keys"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	list := make([]auth.Import, len(body.Keys))
	for i, k := range body.Keys {
		list[i] = auth.Import{NewKey: auth.NewKey(k.keyBody), Secret: k.Key}
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	made, err := keys.Import(ctx, who, list)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"keys": made})
}
