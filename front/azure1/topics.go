package azure1

import (
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// createTopic serves PUT /v1/topics/{topic}. What the body leaves out has the
// broker's default. The topic is listed at once; the original takes a while.
func (a *api) createTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	body, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	t, err := parseTopic(body)
	if err != nil {
		return err
	}
	t.Name = r.PathValue("topic")
	if err := a.gate.CreateTopic(r.Context(), who, t); err != nil {
		return err
	}
	return write(w, scan.AppendString(nil, "Topic "+t.Name+" is created."))
}

// deleteTopic serves DELETE /v1/topics/{topic}, where it is switched on.
func (a *api) deleteTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("topic")
	if err := a.gate.DeleteTopic(r.Context(), who, name); err != nil {
		return err
	}
	return write(w, scan.AppendString(nil, "Topic "+name+" is deleted."))
}
