package klamm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// explainAccess serves GET /klamm/v1/access/explain?as=&action=&resource=: what
// would be decided, and by which statement. group= and context=KEY=VALUE may come
// several times. Only who may look at everything may ask what others may do.
func (a api) explainAccess(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	if a.cfg.Explain == nil {
		return front.ErrNoRoute
	}
	ask, err := questionOf(r)
	if err != nil {
		return err
	}
	e, err := a.cfg.Explain(r.Context(), ask)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", e)
}

// questionOf reads the question from the query.
func questionOf(r *http.Request) (gate.Question, error) {
	if len(r.URL.RawQuery) > 16<<10 {
		return gate.Question{}, invalid("the query is too long")
	}
	q := query(r.URL.Query())
	ask := gate.Question{As: q.text("as"), Groups: q["group"], Action: q.text("action"), Resource: q.text("resource"), Context: map[string][]string{}}
	for name, values := range q {
		if !slices.Contains([]string{"as", "group", "action", "resource", "context"}, name) {
			return ask, invalid("there is no query parameter \"" + name + "\"; want as, group, action, resource and context")
		}
		if len(values) > 1 && name != "group" && name != "context" {
			return ask, invalid("query parameter " + name + " is given more than once")
		}
	}
	for _, pair := range q["context"] {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return ask, invalid("context: want KEY=VALUE, such as aws:SourceIp=192.0.2.7")
		}
		ask.Context[key] = append(ask.Context[key], value)
	}
	return ask, nil
}
