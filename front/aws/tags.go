package aws

import (
	"maps"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// taggedPipe finds the pipe whose ARN is in the path.
func (a *API) taggedPipe(r *http.Request, who gate.Principal, action gate.Action) (catalog.Document, pipeBody, error) {
	arn := r.PathValue("arn")
	missing := &fault{name: "NotFoundException", status: http.StatusNotFound, message: "Resource " + clip(arn) + " does not exist."}
	v := &violations{}
	v.required("resourceArn", &arn, like(1, 1600, `arn:aws([a-z]|\-)*:([a-zA-Z0-9\-]+):([a-z]|\d|\-)*:([0-9]{12})?:(.+)`))
	if err := v.fault(); err != nil {
		return catalog.Document{}, pipeBody{}, err
	}
	if err := a.allow(r, who, action, arn); err != nil {
		return catalog.Document{}, pipeBody{}, err
	}
	name, ok := strings.CutPrefix(arn, a.pipeARN(""))
	if !ok || !nameShape.form.MatchString(name) {
		return catalog.Document{}, pipeBody{}, missing
	}
	doc, b, err := a.getPipe(r.Context(), name)
	if f := pipes.faultOf(err); err != nil && f.name == missing.name {
		err = missing
	}
	return doc, b, err
}

// listTags serves ListTagsForResource.
func (a *API) listTags(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	_, b, err := a.taggedPipe(r, who, "pipes:ListTagsForResource")
	if err != nil {
		return err
	}
	if b.Pipe.Tags == nil {
		b.Pipe.Tags = map[string]*string{}
	}
	return write(w, pipes.media, map[string]any{"tags": b.Pipe.Tags})
}

// tag serves TagResource.
func (a *API) tag(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q struct {
		Tags map[string]*string `json:"tags"`
	}
	if err := decode(r, &q); err != nil {
		return err
	}
	v := &violations{}
	if q.Tags == nil {
		v.add("tags", nil, "not be null")
	} else {
		checkTags(v, "tags", q.Tags, 1)
	}
	if err := v.fault(); err != nil {
		return err
	}
	return a.retag(w, r, who, "pipes:TagResource", func(tags map[string]*string) error {
		maps.Copy(tags, q.Tags)
		v := &violations{}
		checkTags(v, "tags", tags, 0)
		return v.fault()
	})
}

// untag serves UntagResource. Keys that are not there are no error.
func (a *API) untag(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	keys := r.URL.Query()["tagKeys"]
	v := &violations{}
	v.count("tagKeys", len(keys), 0, 50)
	for _, key := range keys {
		v.text("tagKeys", &key, long(1, 128).hidden())
	}
	if err := v.fault(); err != nil {
		return err
	}
	return a.retag(w, r, who, "pipes:UntagResource", func(tags map[string]*string) error {
		for _, key := range keys {
			delete(tags, key)
		}
		return nil
	})
}

func (a *API) retag(w http.ResponseWriter, r *http.Request, who gate.Principal, action gate.Action, change func(map[string]*string) error) error {
	doc, b, err := a.taggedPipe(r, who, action)
	if err != nil {
		return err
	}
	if b.Pipe.Tags == nil {
		b.Pipe.Tags = map[string]*string{}
	}
	if err := change(b.Pipe.Tags); err != nil {
		return err
	}
	if _, err := a.putPipe(r.Context(), who, doc.Name, &b, doc.Stopped, doc.Version); err != nil {
		return err
	}
	return write(w, pipes.media, struct{}{})
}
