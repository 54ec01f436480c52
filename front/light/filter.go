package light

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/rule"
)

const (
	maxFilters = 16
	maxGlob    = 1 << 10
)

// A filter says which records a client wants: those that all of its parts let
// pass. The zero value lets everything pass. It is safe for concurrent use.
type filter struct {
	globs    []globFilter
	patterns []patternFilter
}

// A globFilter looks at the key, or at the values of a header.
type globFilter struct {
	header string // "": the key
	glob   string
}

// A patternFilter is an event pattern, which sees a record as the filters of
// pipes do.
type patternFilter struct {
	pattern *rule.RecordPattern
	fields  event.Fields
}

// parseFilter reads the filter parameters: key:GLOB, header:NAME=GLOB or an event
// pattern; and those that are event patterns by their name.
func parseFilter(filters, patterns []string) (f filter, err error) {
	if len(filters)+len(patterns) > maxFilters {
		return f, invalid(fmt.Sprintf("at most %d filters are allowed", maxFilters))
	}
	for _, text := range filters {
		kind, rest, _ := strings.Cut(text, ":")
		g := globFilter{glob: rest}
		switch {
		case strings.HasPrefix(text, "{"):
			patterns = append(patterns[:len(patterns):len(patterns)], text)
			continue
		case kind == "key" && len(text) > len(kind):
		case kind == "header":
			var ok bool
			if g.header, g.glob, ok = strings.Cut(rest, "="); !ok {
				g.header, g.glob, ok = strings.Cut(rest, ":")
			}
			if !ok || g.header == "" {
				return f, invalid("a filter by header is header:NAME=GLOB")
			}
		default:
			return f, invalid("filter must be key:GLOB, header:NAME=GLOB or an event pattern")
		}
		if len(g.glob) > maxGlob {
			return f, invalid(fmt.Sprintf("a filter has at most %d bytes", maxGlob))
		}
		f.globs = append(f.globs, g)
	}
	for _, text := range patterns {
		p, err := rule.CompileRecord([]byte(text))
		if err != nil {
			return f, invalid(err.Error())
		}
		part := patternFilter{pattern: p}
		for _, name := range p.Fields() {
			part.fields.Pick(name)
		}
		f.patterns = append(f.patterns, part)
	}
	return f, nil
}

// passes says whether a client wants the record. A record that a pattern cannot
// be compared with passes, as it does in pipes.
func (f *filter) passes(r *kgo.Record) bool {
	for _, g := range f.globs {
		if !g.passes(r) {
			return false
		}
	}
	for _, p := range f.patterns {
		doc, key, value := event.AppendDocument(nil, r, p.fields)
		if ok, err := p.pattern.Match(doc, forms[key], forms[value]); err == nil && !ok {
			return false
		}
	}
	return true
}

var forms = map[event.Form]rule.Form{event.Null: rule.Missing, event.JSON: rule.JSON, event.Text: rule.Text, event.Binary: rule.Binary}

// passes says whether the key, or one of the values of the header, matches. What
// a record does not have matches nothing.
func (g *globFilter) passes(r *kgo.Record) bool {
	if g.header == "" {
		return r.Key != nil && front.MatchGlob(g.glob, string(r.Key))
	}
	for _, h := range r.Headers {
		if h.Key == g.header && h.Value != nil && front.MatchGlob(g.glob, string(h.Value)) {
			return true
		}
	}
	return false
}
