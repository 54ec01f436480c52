package shape

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// A Parameter is what one parameter of a request must be.
type Parameter struct {
	// In is path, query or header.
	In string `yaml:"in"`
	// Name is the parameter's. Case counts, but for headers.
	Name string `yaml:"name"`
	// Required refuses requests without it; blank is without.
	Required bool `yaml:"required"`
	// Type is string (the default), integer, number or boolean.
	Type string `yaml:"type"`
	// Pattern is a regular expression that a part of it must match.
	Pattern string `yaml:"pattern"`
	// Enum lists the values that are allowed.
	Enum json.RawMessage `yaml:"enum"`
	// Minimum is the least that a number may be.
	Minimum json.RawMessage `yaml:"minimum"`
	// Maximum is the most that a number may be.
	Maximum json.RawMessage `yaml:"maximum"`
	// MinLength is how many characters a string must have.
	MinLength int `yaml:"min_length"`
	// MaxLength is how many characters a string may have.
	MaxLength int `yaml:"max_length"`
	// Default is the value of a query parameter or header that is not there.
	Default json.RawMessage `yaml:"default"`
	// Repeat says which counts of several of one name: first, last, or all, which
	// checks each of them. The default is to refuse them.
	Repeat string `yaml:"repeat"`
}

func (p Parameter) plain() schema.Plain {
	return schema.Plain{Type: p.Type, Pattern: p.Pattern, Enum: p.Enum, Minimum: p.Minimum, Maximum: p.Maximum, MinLength: p.MinLength, MaxLength: p.MaxLength}
}

// Validate reports each problem with the field it lies in.
func (p Parameter) Validate(report func(path, problem string)) {
	if !slices.Contains(places, p.In) {
		report("in", "want path, query or header")
	}
	if p.Name == "" || len(p.Name) > 100 || p.In == "header" && strings.Trim(strings.ToLower(p.Name), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		report("name", "want the name of a parameter")
	}
	if !slices.Contains([]string{"", "first", "last", "all"}, p.Repeat) {
		report("repeat", "want first, last or all")
	}
	p.plain().Validate(report)
	if len(p.Default) > 0 {
		text, ok := plainText(p.Default)
		switch {
		case !ok:
			report("default", "want a text, a number, true or false")
		case p.In == "path":
			report("default", "a path always has its parameters")
		case p.Required:
			report("default", "a required parameter has none")
		default:
			if t, err := schema.CompilePlain(p.plain()); err == nil && len(t.Check(text)) > 0 {
				report("default", "is not as the parameter must be")
			}
		}
	}
}

// places are where parameters are, in the order of reports.
var places = []string{"header", "path", "query"}

// plainText is a JSON scalar as it stands in a URL.
func plainText(raw json.RawMessage) (string, bool) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, true
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return "", false
	}
	switch v.(type) {
	case bool, float64:
		return string(raw), true
	}
	return "", false
}

// A parameter is a Parameter made ready.
type parameter struct {
	Parameter
	text  *schema.Text
	key   string // the name, as header fields are kept
	usual string // the default
}

// compileParameters makes parameters ready, in the order of reports.
func compileParameters(all []Parameter) ([]parameter, error) {
	var out []parameter
	for i, p := range all {
		text, err := schema.CompilePlain(p.plain())
		if err != nil {
			return nil, fmt.Errorf("parameters[%d] (%s): %w", i, p.Name, err)
		}
		one := parameter{Parameter: p, text: text, key: p.Name}
		if p.In == "header" {
			one.key = textproto.CanonicalMIMEHeaderKey(p.Name)
		}
		one.usual, _ = plainText(p.Default)
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b parameter) int {
		return cmp.Or(cmp.Compare(slices.Index(places, a.In), slices.Index(places, b.In)), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// checkParameters returns what is wrong with the parameters of a request; nil:
// nothing. It puts defaults into the request, and takes out of it what does not count.
func (s *Shape) checkParameters(r *http.Request, path []Value) *Mismatch {
	var query url.Values
	if s.asksQuery {
		query = r.URL.Query()
	}
	wrong, changed := &Mismatch{Fault: Parameters}, false
	for i := range s.parameters {
		p := &s.parameters[i]
		var given []string
		switch p.In {
		case "header":
			given = r.Header[p.key]
		case "query":
			given = query[p.Name]
		default:
			for _, v := range path {
				if v.Name == p.Name {
					given = []string{v.Value}
				}
			}
		}
		kept, faults := p.check(given, s.echo)
		for _, f := range faults {
			wrong.add(Entry{In: p.In, Name: p.Name, Violation: f})
		}
		if len(kept) == len(given) || len(faults) > 0 {
			continue
		}
		if p.In == "header" {
			r.Header[p.key] = kept
		} else {
			query[p.Name], changed = kept, true
		}
	}
	if s.rejectUnknown {
		for _, name := range sortedKeys(query) {
			if !s.knownQuery[name] {
				wrong.add(Entry{In: "query", Name: clip(name), Violation: schema.Violation{Pointer: "#", Keyword: "additionalProperties", Detail: "is not a parameter of this route"}})
			}
		}
	}
	if len(wrong.Entries) > 0 {
		return wrong
	}
	if changed {
		r.URL.RawQuery = query.Encode()
	}
	return nil
}

// check returns which of the values count, and what is wrong with them.
func (p *parameter) check(given []string, echo bool) (kept []string, faults []schema.Violation) {
	missing := schema.Violation{Pointer: "#", Keyword: "required", Detail: "is missing"}
	if len(given) == 0 {
		switch {
		case p.Required:
			return given, []schema.Violation{missing}
		case len(p.Default) > 0:
			return []string{p.usual}, nil
		}
		return given, nil
	}
	if len(given) > 1 {
		switch p.Repeat {
		case "first":
			given = given[:1]
		case "last":
			given = given[len(given)-1:]
		case "all":
		default:
			return given, []schema.Violation{{Pointer: "#", Keyword: "maxItems", Detail: "must stand there once"}}
		}
	}
	for _, text := range given {
		if p.In == "header" {
			text = strings.TrimSpace(text)
		}
		if p.Required && strings.TrimSpace(text) == "" {
			return given, []schema.Violation{missing}
		}
		if faults = p.text.Check(text); len(faults) > 0 {
			if echo {
				schema.EchoText(faults, text)
			}
			return given, faults
		}
	}
	return given, nil
}

func sortedKeys(m url.Values) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// clip bounds what of a caller's own words is repeated.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strings.ToValidUTF8(s, "?")
}
