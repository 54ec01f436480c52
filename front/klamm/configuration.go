package klamm

// A Configuration is what /ready tells of a configuration file that was changed while
// klamm runs, if there is anything to tell.
type Configuration struct {
	// Error is why the file cannot be used; what was read before counts. Empty: it
	// can.
	Error string `json:"error,omitempty"`
	// Restart lists keys that were changed and count only after a restart.
	Restart []string `json:"restart,omitempty"`
}

// tell adds to an answer what there is to tell.
func (a api) tell(answer map[string]any) map[string]any {
	if a.cfg.Configuration != nil {
		if c := a.cfg.Configuration(); c != nil {
			answer["configuration"] = c
		}
	}
	if said := a.troubleOfCatalog(); said != nil {
		answer["catalog"] = said
	}
	return answer
}
