package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/registry"
	"github.com/klamm-gateway/klamm/schema"
)

// subject is the subject that a request is about, in the context of its path.
func subject(r *http.Request) string { return within(r, r.PathValue("subject")) }

// real is the subject that a request is about, or what that stands for as an alias.
func (a *api) real(r *http.Request) (string, error) {
	return a.schemas.Aliased(r.Context(), subject(r))
}

// numbered is real with the version of the path.
func (a *api) numbered(r *http.Request) (subject string, number int, err error) {
	if number, err = version(r); err != nil {
		return "", 0, err
	}
	subject, err = a.real(r)
	return subject, number, err
}

// within puts a subject that names no context into that of the path, which may be written
// as it is in subjects: .ctx, ctx or :.ctx:.
func within(r *http.Request, subject string) string {
	context := strings.Trim(r.PathValue("context"), ":")
	if context == "" || context == registry.DefaultContext || strings.HasPrefix(subject, ":.") {
		return subject
	}
	if !strings.HasPrefix(context, ".") {
		context = "." + context
	}
	return ":" + context + ":" + subject
}

// flag reads a switch of the query.
func flag(r *http.Request, name string) bool {
	return strings.EqualFold(r.URL.Query().Get(name), "true")
}

func which(r *http.Request) registry.Which {
	return registry.Which{Deleted: flag(r, "deleted"), DeletedOnly: flag(r, "deletedOnly")}
}

// prefix is the query's subjectPrefix; without one, a list at the top is about all
// contexts, and one below a context about that.
func prefix(r *http.Request) string {
	given, ok := r.URL.Query()["subjectPrefix"]
	if r.PathValue("context") != "" {
		if !ok {
			return within(r, "")
		}
		return within(r, given[0])
	}
	if !ok {
		return ":*:"
	}
	return given[0]
}

// page cuts a list down to what the query asks for with offset and limit.
func page[T any](r *http.Request, list []T) ([]T, error) {
	q := r.URL.Query()
	numbers := map[string]int{"offset": 0, "limit": -1}
	for name := range numbers {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, invalid(http.StatusNotFound, "HTTP 404 Not Found")
			}
			numbers[name] = n
		}
	}
	list = list[min(max(numbers["offset"], 0), len(list)):]
	if limit := numbers["limit"]; limit > 0 && limit < len(list) {
		list = list[:limit]
	}
	return list, nil
}

// version reads the version of a path: a number, latest in any case, or -1 for the same.
func version(r *http.Request) (int, error) {
	text := strings.TrimSpace(r.PathValue("version"))
	if strings.EqualFold(text, "latest") || text == "-1" {
		return schema.Latest, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		if len(text) > 50 {
			text = text[:50] + "..."
		}
		return 0, invalid(42202, "The specified version '%s' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"", text)
	}
	return int(n), nil
}

// id reads the id of a path; what is no number is no path.
func id(r *http.Request) (int, error) {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
	if err != nil {
		return 0, invalid(http.StatusNotFound, "HTTP 404 Not Found")
	}
	return int(n), nil
}

// body decodes the JSON object of a request.
func body(r *http.Request, into any) error {
	raw, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	err = json.Unmarshal(raw, into)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return invalid(http.StatusBadRequest, "Cannot deserialize the field %q: a JSON %s is no value of it", kind.Field, kind.Value)
	case err != nil:
		return invalid(http.StatusBadRequest, "The request body is not a JSON object: %v", err)
	}
	return nil
}

// request reads a schema that is to be registered, looked up or tried.
func request(r *http.Request) (q registry.Request, err error) {
	var in struct {
		Schema     string             `json:"schema"`
		Type       string             `json:"schemaType"`
		References []schema.Reference `json:"references"`
		ID         int                `json:"id"`
		Version    int                `json:"version"`
		Metadata   json.RawMessage    `json:"metadata"`
		RuleSet    json.RawMessage    `json:"ruleSet"`
	}
	if err := body(r, &in); err != nil {
		return q, err
	}
	q.Definition = schema.Definition{Format: schema.Format(in.Type), Text: in.Schema, References: in.References}
	q.ID, q.Version = max(in.ID, 0), max(in.Version, 0)
	q.Normalize = flag(r, "normalize")
	q.Metadata, q.RuleSet = in.Metadata, in.RuleSet
	return q, nil
}

// The shape of a schema in answers; what a client does not ask for is left out.
type document struct {
	Subject    string             `json:"subject,omitempty"`
	Version    int                `json:"version,omitempty"`
	ID         int                `json:"id,omitempty"`
	Type       schema.Format      `json:"schemaType,omitempty"`
	References []schema.Reference `json:"references,omitempty"`
	Metadata   json.RawMessage    `json:"metadata,omitempty"`
	RuleSet    json.RawMessage    `json:"ruleSet,omitempty"`
	Schema     string             `json:"schema"`
	MaxID      *int               `json:"maxId,omitempty"`
	Deleted    bool               `json:"deleted,omitempty"`
}

// show makes the whole document of a schema. Avro is the type of those that name none.
func show(s registry.Schema) document {
	d := document{Subject: s.Subject, Version: s.Version, ID: s.ID, Type: s.Type, References: s.References, Metadata: s.Metadata, RuleSet: s.RuleSet, Schema: s.Text, Deleted: s.Deleted}
	if d.Type == schema.Avro {
		d.Type = ""
	}
	return d
}

// respond answers 200 with a value as JSON, its texts as they are.
func respond(w http.ResponseWriter, r *http.Request, value any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err
	}
	return write(w, r, []byte(strings.TrimSuffix(b.String(), "\n")))
}

// formatted is the text of a schema in the format that the query names.
func (a *api) formatted(r *http.Request, s registry.Schema) (string, error) {
	return a.schemas.Formatted(r.Context(), s, r.URL.Query().Get("format"))
}

// respondFormatted answers 200 with a schema, its text in the format that the query names.
func (a *api) respondFormatted(w http.ResponseWriter, r *http.Request, s registry.Schema) (err error) {
	if s.Text, err = a.formatted(r, s); err != nil {
		return err
	}
	return respond(w, r, show(s))
}
