package aws

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

func (l lambda) get(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	f, err := l.find(r, who)
	if err != nil {
		return err
	}
	body := map[string]any{"Configuration": l.document(f), "Code": map[string]string{"RepositoryType": "S3"}}
	if len(f.Tags) > 0 {
		body["Tags"] = f.Tags
	}
	if f.Concurrency > 0 {
		body["Concurrency"] = map[string]int{"ReservedConcurrentExecutions": f.Concurrency}
	}
	return write(w, "application/json", body)
}

func (l lambda) find(r *http.Request, who gate.Principal) (catalog.Function, error) {
	name, err := l.nameOf(r)
	if err != nil {
		return catalog.Function{}, err
	}
	f, err := l.functions.Get(r.Context(), who, name)
	return f, l.missing(name, err)
}

func (l lambda) configuration(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	f, err := l.find(r, who)
	if err != nil {
		return err
	}
	return write(w, "application/json", l.document(f))
}

func (l lambda) versions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	f, err := l.find(r, who)
	if err != nil {
		return err
	}
	c := l.document(f)
	c.FunctionArn += ":$LATEST"
	return write(w, "application/json", map[string]any{"Versions": []functionConfiguration{c}})
}

// list serves ListFunctions. Beside the parameters of the Lambda service it takes Search:
// only functions that have it in their names.
func (l lambda) list(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q := r.URL.Query()
	search, most := q.Get("Search"), 50
	if text := q.Get("MaxItems"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10000 {
			return invalidParameter("Value '" + clip(text) + "' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 10000")
		}
		most = min(n, 50)
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("Marker"))
	if err != nil {
		return invalidParameter("The Marker is not one that this API has given.")
	}
	all, err := l.functions.List(r.Context(), who)
	if err != nil {
		return err
	}
	body := struct {
		Functions  []functionConfiguration
		NextMarker string `json:",omitempty"`
	}{Functions: []functionConfiguration{}}
	for _, f := range all {
		if f.Name <= string(after) || !strings.Contains(f.Name, search) {
			continue
		}
		if len(body.Functions) == most {
			body.NextMarker = base64.RawURLEncoding.EncodeToString([]byte(body.Functions[most-1].FunctionName))
			break
		}
		body.Functions = append(body.Functions, l.document(f))
	}
	return write(w, "application/json", body)
}

func (l lambda) delete(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	if err := l.functions.Delete(r.Context(), who, name); err != nil {
		return l.missing(name, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l lambda) tags(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.arnOf(r)
	if err != nil {
		return err
	}
	f, err := l.functions.Get(r.Context(), who, name)
	if err != nil {
		return l.missing(name, err)
	}
	tags := f.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return write(w, "application/json", map[string]any{"Tags": tags})
}

func (l lambda) tag(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q functionRequest
	if err := l.read(r, &q); err != nil {
		return err
	}
	return l.retag(w, r, who, gate.TagFunction, func(tags map[string]string) {
		for key, value := range q.Tags {
			tags[key] = value
		}
	})
}

func (l lambda) untag(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return l.retag(w, r, who, gate.UntagFunction, func(tags map[string]string) {
		for _, key := range r.URL.Query()["tagKeys"] {
			delete(tags, key)
		}
	})
}

func (l lambda) retag(w http.ResponseWriter, r *http.Request, who gate.Principal, action gate.Action, change func(map[string]string)) error {
	name, err := l.arnOf(r)
	if err != nil {
		return err
	}
	_, err = l.functions.Change(r.Context(), who, action, name, "", func(f *catalog.Function) error {
		tags := map[string]string{}
		for key, value := range f.Tags {
			tags[key] = value
		}
		change(tags)
		if problem := tagProblem(tags); problem != "" {
			return invalidParameter(problem)
		}
		f.Tags = tags
		return nil
	})
	if err != nil {
		return l.missing(name, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l lambda) concurrency(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	f, err := l.find(r, who)
	if err != nil {
		return err
	}
	body := map[string]int{}
	if f.Concurrency > 0 {
		body["ReservedConcurrentExecutions"] = f.Concurrency
	}
	return write(w, "application/json", body)
}

func (l lambda) putConcurrency(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q struct{ ReservedConcurrentExecutions *number }
	if err := l.read(r, &q); err != nil {
		return err
	}
	n := q.ReservedConcurrentExecutions
	if n == nil || *n < 1 || *n > 1000 {
		return invalidParameter("ReservedConcurrentExecutions must be 1 to 1000")
	}
	if err := l.limit(r, who, int(*n)); err != nil {
		return err
	}
	return write(w, "application/json", map[string]int{"ReservedConcurrentExecutions": int(*n)})
}

func (l lambda) deleteConcurrency(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := l.limit(r, who, 0); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l lambda) limit(r *http.Request, who gate.Principal, n int) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	_, err = l.functions.Change(r.Context(), who, gate.UpdateFunctionConfiguration, name, "", func(f *catalog.Function) error {
		f.Concurrency = n
		return nil
	})
	return l.missing(name, err)
}
