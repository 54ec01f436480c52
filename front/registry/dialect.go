// Package registry is the REST API of Confluent's schema registry, served by the
// embedded one: subjects, versions, ids, compatibility, modes and contexts. Everything
// below a context is there twice, at its own path and below /contexts/{context}.
//
// Of the original's API it does not have: data contracts' rules being carried out (rule
// sets and metadata are kept and shown), exporters, GUIDs, and the paths /v1/metadata,
// which are HDInsight's here.
package registry

import (
	"errors"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
)

// api holds what the handlers need.
type api struct{ schemas *gate.SchemaRegistry }

// Dialect returns the API of a registry.
func Dialect(schemas *gate.SchemaRegistry) front.Dialect {
	a := &api{schemas}
	routes := []front.Route{
		{Name: "contexts.list", Pattern: "GET /contexts", Serve: a.contexts, Metadata: front.TellsMetadata},
		{Name: "types.list", Pattern: "GET /schemas/types", Serve: a.types},
		{Name: "schemas.list", Pattern: "GET /schemas", Serve: a.listSchemas},
		{Name: "ids.get", Pattern: "GET /schemas/ids/{id}", Serve: a.getID},
		{Name: "ids.schema", Pattern: "GET /schemas/ids/{id}/schema", Serve: a.getIDText},
		{Name: "ids.subjects", Pattern: "GET /schemas/ids/{id}/subjects", Serve: a.getIDSubjects},
		{Name: "ids.versions", Pattern: "GET /schemas/ids/{id}/versions", Serve: a.getIDVersions},
		{Name: "subjects.list", Pattern: "GET /subjects", Serve: a.listSubjects},
		{Name: "subjects.lookup", Pattern: "POST /subjects/{subject}", Serve: a.lookUp},
		{Name: "subjects.delete", Pattern: "DELETE /subjects/{subject}", Serve: a.deleteSubject, Metadata: front.ChangesMetadata},
		{Name: "subjects.metadata", Pattern: "GET /subjects/{subject}/metadata", Serve: a.withMetadata},
		{Name: "versions.list", Pattern: "GET /subjects/{subject}/versions", Serve: a.listVersions},
		{Name: "versions.register", Pattern: "POST /subjects/{subject}/versions", Serve: a.register, Metadata: front.ChangesMetadata},
		{Name: "versions.get", Pattern: "GET /subjects/{subject}/versions/{version}", Serve: a.getVersion},
		{Name: "versions.schema", Pattern: "GET /subjects/{subject}/versions/{version}/schema", Serve: a.getVersionText},
		{Name: "versions.referencedby", Pattern: "GET /subjects/{subject}/versions/{version}/referencedby", Serve: a.referencedBy},
		{Name: "versions.delete", Pattern: "DELETE /subjects/{subject}/versions/{version}", Serve: a.deleteVersion, Metadata: front.ChangesMetadata},
		{Name: "compatibility.version", Pattern: "POST /compatibility/subjects/{subject}/versions/{version}", Serve: a.compatible},
		{Name: "compatibility.all", Pattern: "POST /compatibility/subjects/{subject}/versions", Serve: a.compatible},
	}
	for _, of := range []struct {
		name             string
		get, put, remove front.Handler
	}{{"config", a.getConfig, a.putConfig, a.deleteConfig}, {"mode", a.getMode, a.putMode, a.deleteMode}} {
		for _, path := range []string{"/" + of.name, "/" + of.name + "/{subject}"} {
			name := of.name
			if strings.HasSuffix(path, "}") {
				name += ".subject"
			}
			routes = append(routes,
				front.Route{Name: name + ".get", Pattern: "GET " + path, Serve: of.get},
				front.Route{Name: name + ".put", Pattern: "PUT " + path, Serve: of.put, Metadata: front.ChangesMetadata},
				front.Route{Name: name + ".delete", Pattern: "DELETE " + path, Serve: of.remove, Metadata: front.ChangesMetadata})
		}
	}
	for _, route := range routes[2:] {
		method, path, _ := strings.Cut(route.Pattern, " ")
		route.Name, route.Pattern = "contexts."+route.Name, method+" /contexts/{context}"+path
		routes = append(routes, route)
	}
	for i, route := range routes {
		routes[i].Serve = speaks(route.Serve)
	}
	return front.Dialect{
		Name:       "registry",
		Prefixes:   []string{"/subjects", "/schemas", "/config", "/mode", "/compatibility", "/contexts"},
		Routes:     routes,
		WriteError: writeError,
	}
}

// speaks refuses media types that the API does not have, before anything is done, and
// makes answers of the registry's refusals.
func speaks(serve front.Handler) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		if _, ok := accepted(r.Header.Values("Accept")); !ok {
			return &refusal{http.StatusNotAcceptable, http.StatusNotAcceptable, "HTTP 406 Not Acceptable"}
		}
		if r.Method != http.MethodGet && !readable(r.Header.Get("Content-Type")) {
			return &refusal{http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type"}
		}
		err := serve(w, r, who)
		var refused *schema.RegistryError
		if errors.As(err, &refused) && refused.Status >= http.StatusBadRequest && refused.Status < http.StatusInternalServerError {
			return refusalOf(err) // an answer to the client, and nothing for the log
		}
		return err
	}
}
