package route

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// A path leads to a part of a JSON document: $, .name, ['name'] and [n].
type path []any // string: a member; int: an element

var pathStep = regexp.MustCompile(`^(?:\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^'\\]{1,200})'\]|\[([0-9]{1,6})\])`)

// mostSteps bounds the length of a path.
const mostSteps = 30

func parsePath(text string) (path, error) {
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, fmt.Errorf("%q is no path: want $, $.name, $['name'] or $[0]", text)
	}
	p := path{}
	for rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		if m == nil || len(p) == mostSteps {
			return nil, fmt.Errorf("%q is no path: want steps such as .name, ['name'] and [0], up to %d", text, mostSteps)
		}
		rest = rest[len(m[0]):]
		if m[3] != "" {
			n, _ := strconv.Atoi(m[3])
			p = append(p, n)
		} else {
			p = append(p, m[1]+m[2])
		}
	}
	return p, nil
}

// in returns the part of a document; ok is false where there is none.
func (p path) in(doc any) (_ any, ok bool) {
	for _, step := range p {
		switch step := step.(type) {
		case string:
			object, isObject := doc.(map[string]any)
			if !isObject {
				return nil, false
			}
			if doc, ok = object[step]; !ok {
				return nil, false
			}
		case int:
			list, isList := doc.([]any)
			if !isList || step >= len(list) {
				return nil, false
			}
			doc = list[step]
		}
	}
	return doc, true
}

// set puts a value into a document whose outer parts are there, and makes those that
// are missing where they are members.
func (p path) set(doc *any, value any) error {
	at := doc
	for i, step := range p {
		name, isName := step.(string)
		if !isName {
			list, ok := (*at).([]any)
			if !ok || step.(int) >= len(list) {
				return errors.New("there is no such element")
			}
			at = &list[step.(int)]
			continue
		}
		if *at == nil {
			*at = map[string]any{}
		}
		object, ok := (*at).(map[string]any)
		if !ok {
			return errors.New("what it should be a member of is no object")
		}
		if i == len(p)-1 {
			object[name] = value
			return nil
		}
		inner := object[name]
		if inner == nil {
			inner = map[string]any{}
			object[name] = inner
		}
		at = &inner
	}
	*at = value
	return nil
}

// remove takes a part out of a document, if it is there.
func (p path) remove(doc any) {
	if len(p) == 0 {
		return
	}
	outer, ok := p[:len(p)-1].in(doc)
	if !ok {
		return
	}
	if object, isObject := outer.(map[string]any); isObject {
		if name, isName := p[len(p)-1].(string); isName {
			delete(object, name)
		}
	}
}

// facts are what expressions may name of a request.
type facts struct {
	r         *http.Request
	who       gate.Principal
	id        string
	stage     string
	variables map[string]string
	source    string
	names     []string // of the variables of the route
	raw       []byte
	now       time.Time
	kafka     map[string]any // nil: before the record is written

	body   any
	parsed bool
	failed error
}

var errNoJSON = errors.New("the body is not JSON")

// document returns the body as encoding/json makes it, with numbers as they came.
func (f *facts) document() (any, error) {
	if f.parsed {
		return f.body, f.failed
	}
	f.parsed = true
	d := json.NewDecoder(bytes.NewReader(f.raw))
	d.UseNumber()
	if d.Decode(&f.body) != nil {
		f.failed = errNoJSON
		return nil, f.failed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		f.failed = errNoJSON
	}
	return f.body, f.failed
}

// value is the body as the value of a record, which is no tombstone.
func (f *facts) value() []byte {
	if f.raw == nil {
		return []byte{}
	}
	return f.raw
}

// iso is the time of the request.
func (f *facts) iso() string { return f.now.UTC().Format("2006-01-02T15:04:05.000Z") }

// request is what the root of that name has; what is not known is empty.
func (f *facts) request() map[string]string {
	return map[string]string{
		"id": f.id, "method": f.r.Method, "path": f.r.URL.Path, "host": f.r.Host, "stage": f.stage, "content_type": f.r.Header.Get("Content-Type"),
	}
}

// identity is what the root of that name has; what is not known is empty.
func (f *facts) identity() map[string]string {
	subject := ""
	if f.who.Certificate != nil {
		subject = f.who.Certificate.SubjectDN
	}
	return map[string]string{
		"principal": f.who.Name, "name": strings.TrimPrefix(f.who.Name, "User:"), "arn": f.who.ARN, "account": f.who.AccountID, "scheme": f.who.Scheme,
		"key_id": f.who.KeyID, "source_ip": f.source, "certificate": subject,
	}
}

// An expression is one ${ROOT.NAME | FILTER} of a template.
type expression struct {
	root, name string
	path       path // of body and claims
	filters    []filter
}

type filter struct{ name, argument string }

var (
	roots        = []string{"path", "query", "header", "identity", "claims", "stage", "request", "body", "kafka", "now"}
	identityKeys = []string{"principal", "name", "arn", "account", "scheme", "key_id", "source_ip", "certificate"}
	requestKeys  = []string{"id", "method", "path", "host", "stage", "content_type"}
	nowKeys      = []string{"iso", "unix", "unix_ms"}
	kafkaKeys    = []string{"topic", "partition", "offset", "timestamp"}
	filterShape  = regexp.MustCompile(`^(lower|upper|trim|sha256|string|number|default:(?:"[^"]*"|[A-Za-z0-9._-]+))$`)
)

func parseExpression(text string) (expression, error) {
	parts := splitFilters(text)
	root, name, _ := strings.Cut(strings.TrimSpace(parts[0]), ".")
	e := expression{root: root, name: name}
	known := map[string][]string{"identity": identityKeys, "request": requestKeys, "now": nowKeys, "kafka": kafkaKeys}[root]
	switch {
	case !slices.Contains(roots, root):
		return e, fmt.Errorf("${%s}: want one of %s", text, strings.Join(roots, ", "))
	case root == "body" || root == "claims":
		at := "$"
		if name != "" {
			at = "$." + name
		}
		var err error
		if e.path, err = parsePath(at); err != nil {
			return e, err
		}
	case name == "":
		return e, fmt.Errorf("${%s}: want a name, as in ${%s.name}", text, root)
	case known != nil && !slices.Contains(known, name):
		return e, fmt.Errorf("${%s}: want one of %s", text, strings.Join(known, ", "))
	}
	for _, part := range parts[1:] {
		part = strings.TrimSpace(part)
		if !filterShape.MatchString(part) {
			return e, fmt.Errorf(`${%s}: %q is no filter: want default:"TEXT", lower, upper, trim, sha256, string or number`, text, part)
		}
		filterName, argument, _ := strings.Cut(part, ":")
		e.filters = append(e.filters, filter{filterName, strings.Trim(argument, `"`)})
	}
	return e, nil
}

// splitFilters splits at bars outside of quotes.
func splitFilters(text string) (parts []string) {
	quoted, from := false, 0
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '|' && !quoted:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:])
}

// value returns what an expression stands for; nil: nothing.
func (e expression) value(f *facts) (any, error) {
	v, err := e.bare(f)
	if err != nil {
		return nil, err
	}
	for _, one := range e.filters {
		if one.name == "default" {
			if v == nil || v == "" {
				v = one.argument
			}
			continue
		}
		if v == nil {
			continue
		}
		text, err := textOf(v)
		if err != nil {
			return nil, err
		}
		switch one.name {
		case "lower":
			v = strings.ToLower(text)
		case "upper":
			v = strings.ToUpper(text)
		case "trim":
			v = strings.TrimSpace(text)
		case "sha256":
			sum := sha256.Sum256([]byte(text))
			v = hex.EncodeToString(sum[:])
		case "string":
			v = text
		case "number":
			if !numberShape.MatchString(text) {
				return nil, fmt.Errorf("${%s.%s} is not a number", e.root, e.name)
			}
			v = json.Number(text)
		}
	}
	return v, nil
}

var numberShape = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?$`)

func (e expression) bare(f *facts) (any, error) {
	present := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	switch e.root {
	case "path":
		return present(f.r.PathValue(e.name)), nil
	case "query":
		return present(f.r.URL.Query().Get(e.name)), nil
	case "header":
		return present(f.r.Header.Get(e.name)), nil
	case "stage":
		return present(f.variables[e.name]), nil
	case "kafka":
		return f.kafka[e.name], nil
	case "claims":
		claims := map[string]any(f.who.Claims)
		v, _ := e.path.in(claims)
		return v, nil
	case "body":
		doc, err := f.document()
		if err != nil {
			return nil, err
		}
		v, _ := e.path.in(doc)
		return v, nil
	case "now":
		switch e.name {
		case "iso":
			return f.iso(), nil
		case "unix":
			return json.Number(strconv.FormatInt(f.now.Unix(), 10)), nil
		}
		return json.Number(strconv.FormatInt(f.now.UnixMilli(), 10)), nil
	case "request":
		return present(f.request()[e.name]), nil
	}
	return present(f.identity()[e.name]), nil
}

// textOf writes a value as a text: a string itself, anything else as JSON.
func textOf(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	b, err := encode(v)
	return string(b), err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// A template is a text with expressions in it.
type template struct {
	texts       []string // around the expressions: one more than these
	expressions []expression
}

// parseTemplate reads a text with ${...} in it. A path that begins with $ and stands
// alone is one into the body.
func parseTemplate(text string) (template, error) {
	if strings.HasPrefix(text, "$") && !strings.HasPrefix(text, "${") {
		p, err := parsePath(text)
		if err != nil {
			return template{}, err
		}
		return template{[]string{"", ""}, []expression{{root: "body", path: p}}}, nil
	}
	var t template
	for {
		before, rest, found := strings.Cut(text, "${")
		t.texts = append(t.texts, before)
		if !found {
			return t, nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return t, fmt.Errorf("%q: a ${ has no }", text)
		}
		e, err := parseExpression(inner)
		if err != nil {
			return t, err
		}
		t.expressions = append(t.expressions, e)
		text = after
	}
}

// value returns what a template stands for: of one expression alone its value, and
// otherwise a string.
func (t template) value(f *facts) (any, error) {
	if len(t.expressions) == 1 && t.texts[0] == "" && t.texts[1] == "" {
		return t.expressions[0].value(f)
	}
	return t.text(f)
}

// text returns what a template stands for as a text; what is not there is empty.
func (t template) text(f *facts) (string, error) {
	var b strings.Builder
	for i, before := range t.texts {
		b.WriteString(before)
		if i == len(t.expressions) {
			break
		}
		v, err := t.expressions[i].value(f)
		if err != nil {
			return "", err
		}
		if v == nil {
			continue
		}
		text, err := textOf(v)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// names says whether a root is named.
func (t template) names(root string) bool {
	return slices.ContainsFunc(t.expressions, func(e expression) bool { return e.root == root })
}

// A document is a JSON value in whose strings are templates.
type document struct{ root any } // template, map[string]any, []any, or a value

func parseDocument(raw json.RawMessage) (document, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return document{}, errors.New("want JSON")
	}
	root, err := compileDocument(v, 0)
	return document{root}, err
}

func compileDocument(v any, depth int) (any, error) {
	if depth > mostSteps {
		return nil, fmt.Errorf("is nested deeper than %d levels", mostSteps)
	}
	var err error
	switch v := v.(type) {
	case string:
		return parseTemplate(v)
	case map[string]any:
		for name, one := range v {
			if v[name], err = compileDocument(one, depth+1); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, one := range v {
			if v[i], err = compileDocument(one, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// value returns the document with the values of a request in it.
func (d document) value(f *facts) (any, error) { return fill(d.root, f) }

func fill(v any, f *facts) (any, error) {
	switch v := v.(type) {
	case template:
		return v.value(f)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, one := range v {
			filled, err := fill(one, f)
			if err != nil {
				return nil, err
			}
			out[name] = filled
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			filled, err := fill(one, f)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	}
	return v, nil
}
