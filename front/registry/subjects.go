package registry

import (
	"errors"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
)

// listSubjects serves GET /subjects with subjectPrefix, deleted, deletedOnly, offset and
// limit.
func (a *api) listSubjects(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	list, err := a.schemas.Subjects(r.Context(), who, prefix(r), which(r))
	if err != nil {
		return err
	}
	if list, err = page(r, list); err != nil {
		return err
	}
	return respond(w, r, list)
}

// lookUp serves POST /subjects/{subject}: which version is this schema?
func (a *api) lookUp(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := request(r)
	if err != nil {
		return err
	}
	of, err := a.real(r)
	if err != nil {
		return err
	}
	s, err := a.schemas.LookUp(r.Context(), who, of, q, flag(r, "deleted"))
	if err != nil {
		return err
	}
	return a.respondFormatted(w, r, s)
}

// withMetadata serves GET /subjects/{subject}/metadata, with key and value, each as often
// as wanted, deleted and format: the latest version with these properties.
func (a *api) withMetadata(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, err := a.real(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	keys, values := query["key"], query["value"]
	properties := map[string]string{}
	for i := range min(len(keys), len(values)) {
		properties[keys[i]] = values[i]
	}
	s, err := a.schemas.WithMetadata(r.Context(), who, of, properties, flag(r, "deleted"))
	if err != nil {
		return err
	}
	return a.respondFormatted(w, r, s)
}

// deleteSubject serves DELETE /subjects/{subject}, with permanent.
func (a *api) deleteSubject(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, err := a.real(r)
	if err != nil {
		return err
	}
	numbers, err := a.schemas.DeleteSubject(r.Context(), who, of, flag(r, "permanent"))
	if err != nil {
		return err
	}
	return respond(w, r, numbers)
}

// listVersions serves GET /subjects/{subject}/versions with deleted, deletedOnly, offset
// and limit.
func (a *api) listVersions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, err := a.real(r)
	if err != nil {
		return err
	}
	numbers, err := a.schemas.SubjectVersions(r.Context(), who, of, which(r))
	if err != nil {
		return err
	}
	if numbers, err = page(r, numbers); err != nil {
		return err
	}
	return respond(w, r, numbers)
}

// register serves POST /subjects/{subject}/versions, with normalize.
func (a *api) register(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := request(r)
	if err != nil {
		return err
	}
	of, err := a.real(r)
	if err != nil {
		return err
	}
	s, err := a.schemas.Register(r.Context(), who, of, q)
	if err != nil {
		return err
	}
	return respond(w, r, struct {
		ID int `json:"id"`
	}{s.ID})
}

// getVersion serves GET /subjects/{subject}/versions/{version}, with deleted and format.
func (a *api) getVersion(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, number, err := a.numbered(r)
	if err != nil {
		return err
	}
	s, err := a.schemas.Version(r.Context(), who, of, number, flag(r, "deleted"))
	if err != nil {
		return err
	}
	return a.respondFormatted(w, r, s)
}

// getVersionText serves GET /subjects/{subject}/versions/{version}/schema: the schema and
// nothing around it.
func (a *api) getVersionText(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, number, err := a.numbered(r)
	if err != nil {
		return err
	}
	s, err := a.schemas.Version(r.Context(), who, of, number, flag(r, "deleted"))
	if err != nil {
		return err
	}
	text, err := a.formatted(r, s)
	if err != nil {
		return err
	}
	return write(w, r, []byte(text))
}

// referencedBy serves GET /subjects/{subject}/versions/{version}/referencedby: the ids of
// the schemas that refer to it.
func (a *api) referencedBy(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, number, err := a.numbered(r)
	if err != nil {
		return err
	}
	ids, err := a.schemas.ReferencedBy(r.Context(), who, of, number, which(r))
	if err != nil {
		return err
	}
	if ids, err = page(r, ids); err != nil {
		return err
	}
	return respond(w, r, ids)
}

// deleteVersion serves DELETE /subjects/{subject}/versions/{version}, with permanent.
func (a *api) deleteVersion(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	of, number, err := a.numbered(r)
	if err != nil {
		return err
	}
	gone, err := a.schemas.DeleteVersion(r.Context(), who, of, number, flag(r, "permanent"))
	if err != nil {
		return err
	}
	return respond(w, r, gone)
}

// compatible serves POST /compatibility/subjects/{subject}/versions and .../{version}:
// could this schema be the next one? With verbose the answer says why not, also of what
// is no schema.
func (a *api) compatible(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	number := 0
	if r.PathValue("version") != "" {
		var err error
		if number, err = version(r); err != nil {
			return err
		}
	}
	q, err := request(r)
	if err != nil {
		return err
	}
	of, err := a.real(r)
	if err != nil {
		return err
	}
	problems, err := a.schemas.Try(r.Context(), who, of, number, q)
	var refused *schema.RegistryError
	switch {
	case err == nil:
	case flag(r, "verbose") && errors.As(err, &refused) && refused.Invalid():
		problems = []string{refused.Message}
	default:
		return err
	}
	answer := map[string]any{"is_compatible": len(problems) == 0}
	if flag(r, "verbose") {
		answer["messages"] = append([]string{}, problems...)
	}
	return respond(w, r, answer)
}
