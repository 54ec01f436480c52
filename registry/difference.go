package registry

import "strings"

// A difference is one way in which a schema differs from an earlier one. Kinds are
// called as Confluent's registry calls them.
type difference struct {
	kind string
	path string
	text string // what it is, in words, with "new" and "old" for the two schemas
}

// message is how a difference is told to a client. Words are swapped where the earlier
// schema is the one that has to read.
func (d difference) message(forward bool) string {
	text := d.text
	if forward {
		text = strings.NewReplacer("new schema", "old schema", "old schema", "new schema").Replace(text)
	}
	return "{errorType:'" + d.kind + "', description:'" + text + "', additionalInfo:'" + d.path + "'}"
}

// mostDifferences bounds what a comparison collects.
const mostDifferences = 200
