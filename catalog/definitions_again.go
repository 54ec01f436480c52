package catalog

// Again has every document that was made through another API be compiled once more:
// something has changed that does not lie in the catalog. It returns at once.
func (d *Definitions) Again() { d.changed([]string{"again/"}) }
