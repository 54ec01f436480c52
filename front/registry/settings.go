package registry

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/registry"
)

// getConfig serves GET /config and /config/{subject}, with defaultToGlobal.
func (a *api) getConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	c, err := a.schemas.Config(r.Context(), who, subject(r), flag(r, "defaultToGlobal"))
	if err != nil {
		return err
	}
	return respond(w, r, c)
}

// putConfig serves PUT /config and /config/{subject}. Of the settings of the original it
// has compatibility, normalize and alias; another one is refused, since it would not be
// kept. The answer repeats what was asked for, a level in the letters that it came in.
func (a *api) putConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var in map[string]json.RawMessage
	if err := body(r, &in); err != nil {
		return err
	}
	for name, raw := range in {
		if string(raw) != "null" && !slices.Contains([]string{"compatibility", "normalize", "alias"}, name) {
			if len(name) > 50 {
				name = name[:50] + "..."
			}
			return invalid(http.StatusUnprocessableEntity, "The setting %q is not served here.", name)
		}
	}
	var c registry.Config
	answer := map[string]any{}
	if raw, ok := in["compatibility"]; ok {
		var text string
		_ = json.Unmarshal(raw, &text) // what is no string is no level either
		level, err := registry.ParseLevel(text)
		if err != nil {
			return err
		}
		c.Level, answer["compatibility"] = level, text
	}
	if raw, ok := in["normalize"]; ok {
		if json.Unmarshal(raw, &c.Normalize) != nil {
			return invalid(http.StatusBadRequest, "normalize is true or false.")
		}
		answer["normalize"] = c.Normalize
	}
	if raw, ok := in["alias"]; ok {
		if json.Unmarshal(raw, &c.Alias) != nil {
			return invalid(http.StatusBadRequest, "alias is the name of a subject.")
		}
		if c.Alias != nil {
			answer["alias"] = *c.Alias
			if *c.Alias != "" {
				*c.Alias = within(r, *c.Alias)
			}
		}
	}
	if c.Level == "" && c.Normalize == nil && c.Alias == nil {
		_, err := registry.ParseLevel("")
		return err
	}
	if err := a.schemas.SetConfig(r.Context(), who, subject(r), c); err != nil {
		return err
	}
	return respond(w, r, answer)
}

// deleteConfig serves DELETE /config and /config/{subject}, and answers with what was
// set.
func (a *api) deleteConfig(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	was, err := a.schemas.DeleteConfig(r.Context(), who, subject(r))
	if err != nil {
		return err
	}
	return respond(w, r, was)
}

// A mode is the body of requests and answers about modes.
type mode struct {
	Mode registry.Mode `json:"mode"`
}

// getMode serves GET /mode and /mode/{subject}, with defaultToGlobal.
func (a *api) getMode(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	m, err := a.schemas.Mode(r.Context(), who, subject(r), flag(r, "defaultToGlobal"))
	if err != nil {
		return err
	}
	return respond(w, r, mode{m})
}

// putMode serves PUT /mode and /mode/{subject}, with force. The answer repeats the mode in
// the letters that it came in.
func (a *api) putMode(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var in mode
	if err := body(r, &in); err != nil {
		return err
	}
	m, err := registry.ParseMode(string(in.Mode))
	if err != nil {
		return err
	}
	if err := a.schemas.SetMode(r.Context(), who, subject(r), m, flag(r, "force")); err != nil {
		return err
	}
	return respond(w, r, in)
}

// deleteMode serves DELETE /mode and /mode/{subject}, and answers with what was set.
func (a *api) deleteMode(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	was, err := a.schemas.DeleteMode(r.Context(), who, subject(r))
	if err != nil {
		return err
	}
	return respond(w, r, mode{was})
}
