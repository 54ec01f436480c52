package klamm

import (
	"fmt"

	"github.com/klamm-gateway/klamm/catalog"
)

// troubleOfCatalog says what is wrong with the definitions, without naming any: nil is
// nothing. klamm is ready all the same, since it goes on with what it knows.
func (a api) troubleOfCatalog() []string {
	store := a.cfg.Catalog.Store
	if store == nil {
		return nil
	}
	var said []string
	if err := store.Health(); err != nil {
		said = append(said, oneLine(err))
	}
	if n := len(store.Unreadable()); n > 0 {
		said = append(said, fmt.Sprintf("%d definitions in topic %s cannot be read, by a newer klamm or by nobody; what was known before goes on, and klamm status names them", n, catalog.Topic))
	}
	return said
}
