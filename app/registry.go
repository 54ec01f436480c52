package app

import (
	"github.com/klamm-gateway/klamm/front"
	dialect "github.com/klamm-gateway/klamm/front/registry"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/registry"
)

// embedRegistry makes klamm a schema registry itself, where the configuration wants it:
// in klamm dev unless it says otherwise.
func (a *App) embedRegistry() {
	if a.cfg.SchemaRegistry.HasEmbedded(a.opts.Broker != nil) {
		a.embedded = registry.New(a.cluster, a.log)
		a.subjects = a.embedded
	}
}

// dialectsOfRegistry adds the API of the embedded schema registry, if there is one.
func (a *App) dialectsOfRegistry(dialects []front.Dialect) []front.Dialect {
	if a.embedded == nil {
		return dialects
	}
	return append(dialects, dialect.Dialect(gate.NewSchemaRegistry(a.gate, a.embedded)))
}

// closeRegistry ends following its topic.
func (a *App) closeRegistry() {
	if a.embedded != nil {
		a.embedded.Close()
	}
}
