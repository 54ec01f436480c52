package registry

import (
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/registry"
	"github.com/klamm-gateway/klamm/schema"
)

// types serves GET /schemas/types.
func (a *api) types(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	return respond(w, r, []schema.Format{schema.JSON, schema.Protobuf, schema.Avro})
}

// contexts serves GET /contexts.
func (a *api) contexts(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.schemas.Contexts(r.Context(), who)
	if err != nil {
		return err
	}
	if list, err = page(r, list); err != nil {
		return err
	}
	return respond(w, r, list)
}

// listSchemas serves GET /schemas with subjectPrefix, deleted, latestOnly, offset and
// limit.
func (a *api) listSchemas(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.schemas.List(r.Context(), who, prefix(r), which(r), flag(r, "latestOnly"))
	if err != nil {
		return err
	}
	if list, err = page(r, list); err != nil {
		return err
	}
	out := []document{}
	for _, s := range list {
		out = append(out, show(s))
	}
	return respond(w, r, out)
}

// byID finds the schemas of the id in the path, in the context that the path or the
// query's subject names.
func (a *api) byID(r *http.Request, who gate.Principal) ([]registry.Schema, error) {
	number, err := id(r)
	if err != nil {
		return nil, err
	}
	of, err := a.schemas.Aliased(r.Context(), within(r, r.URL.Query().Get("subject")))
	if err != nil {
		return nil, err
	}
	return a.schemas.WithID(r.Context(), who, number, of)
}

// getID serves GET /schemas/ids/{id} with subject, format and fetchMaxId.
func (a *api) getID(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.byID(r, who)
	if err != nil {
		return err
	}
	d := show(list[0])
	d.Subject, d.Version, d.ID, d.Deleted = "", 0, 0, false
	if d.Schema, err = a.formatted(r, list[0]); err != nil {
		return err
	}
	if flag(r, "fetchMaxId") {
		highest, err := a.schemas.HighestID(r.Context(), who, list[0].Subject)
		if err != nil {
			return err
		}
		d.MaxID = &highest
	}
	return respond(w, r, d)
}

// getIDText serves GET /schemas/ids/{id}/schema: the schema and nothing around it.
func (a *api) getIDText(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.byID(r, who)
	if err != nil {
		return err
	}
	text, err := a.formatted(r, list[0])
	if err != nil {
		return err
	}
	return write(w, r, []byte(text))
}

// getIDSubjects serves GET /schemas/ids/{id}/subjects, with deleted.
func (a *api) getIDSubjects(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.byID(r, who)
	if err != nil {
		return err
	}
	subjects := []string{}
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s.Subject] && (!s.Deleted || flag(r, "deleted")) {
			seen[s.Subject] = true
			subjects = append(subjects, s.Subject)
		}
	}
	if subjects, err = page(r, subjects); err != nil {
		return err
	}
	return respond(w, r, subjects)
}

// getIDVersions serves GET /schemas/ids/{id}/versions, with deleted: the subjects and
// versions that have it.
func (a *api) getIDVersions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.byID(r, who)
	if err != nil {
		return err
	}
	type pair struct {
		Subject string `json:"subject"`
		Version int    `json:"version"`
	}
	pairs := []pair{}
	for _, s := range list {
		if !s.Deleted || flag(r, "deleted") {
			pairs = append(pairs, pair{s.Subject, s.Version})
		}
	}
	if pairs, err = page(r, pairs); err != nil {
		return err
	}
	return respond(w, r, pairs)
}
