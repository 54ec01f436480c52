package connect

import (
	"errors"
	"net/http"
	"slices"

	"github.com/klamm-gateway/klamm/gate"
)

// A definition is a setting as Connect shows it.
type definition struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Required    bool     `json:"required"`
	Default     *string  `json:"default_value"`
	Importance  string   `json:"importance"`
	Doc         string   `json:"documentation"`
	Group       string   `json:"group"`
	Width       string   `json:"width"`
	DisplayName string   `json:"display_name"`
	Dependents  []string `json:"dependents"`
	Order       int      `json:"order"`
}

func define(s setting, order int) definition {
	d := definition{Name: s.name, Type: s.kind, Required: s.required, Importance: s.importance, Doc: s.doc, Group: s.group, Width: "MEDIUM", DisplayName: s.name, Dependents: []string{}, Order: order}
	if !s.required {
		d.Default = &s.fallback
	}
	return d
}

// plugins serves GET /connector-plugins.
func (a *API) plugins(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.admin(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	out := []map[string]string{}
	for _, class := range classes {
		out = append(out, map[string]string{"class": class, "type": "sink", "version": "klamm"})
	}
	return respond(w, http.StatusOK, out)
}

// pluginConfig serves GET /connector-plugins/{plugin}/config.
func (a *API) pluginConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.admin(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	class, ok := classOf(r.PathValue("plugin"))
	if !ok {
		return refuse(http.StatusNotFound, "Unknown plugin %s.", clip(r.PathValue("plugin")))
	}
	out := []definition{}
	for i, s := range settingsOf(class) {
		out = append(out, define(s, i))
	}
	return respond(w, http.StatusOK, out)
}

// validate serves PUT /connector-plugins/{plugin}/config/validate: what each setting is,
// its value, and what is wrong with it.
func (a *API) validate(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if err := a.admin(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	var c configuration
	if err := read(r, &c); err != nil {
		return err
	}
	class, ok := classOf(r.PathValue("plugin"))
	if !ok {
		return refuse(http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches %s", clip(r.PathValue("plugin")))
	}
	if given, ok := classOf(c["connector.class"]); !ok || given != class {
		return refuse(http.StatusBadRequest, "Included connector type %s does not match request type %s", clip(c["connector.class"]), clip(r.PathValue("plugin")))
	}
	problems := c.check()
	if _, ok := c["name"]; !ok { // the name is asked for where a connector is made
		problems = slices.DeleteFunc(problems, func(p problem) bool { return p.name == "name" })
	}
	if len(problems) == 0 {
		if _, err := a.compile(r.Context(), "validated", withName(c, "validated")); err != nil {
			p := problem{"connector.class", err.Error()}
			errors.As(err, &p)
			problems = append(problems, p)
		}
	}
	configs, groups := []any{}, []string{}
	for i, s := range settingsOf(class) {
		var value any
		if given, ok := c[s.name]; ok {
			value = s.shown(given)
		} else if !s.required {
			value = s.fallback
		}
		wrong := []string{}
		for _, p := range problems {
			if p.name == s.name {
				wrong = append(wrong, p.text)
			}
		}
		if !slices.Contains(groups, s.group) {
			groups = append(groups, s.group)
		}
		configs = append(configs, map[string]any{
			"definition": define(s, i),
			"value":      map[string]any{"name": s.name, "value": value, "recommended_values": []string{}, "errors": wrong, "visible": true},
		})
	}
	return respond(w, http.StatusOK, map[string]any{"name": class, "error_count": len(problems), "groups": groups, "configs": configs})
}
