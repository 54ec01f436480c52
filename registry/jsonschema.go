package registry

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// The classes of JSON Schemas. What is compared is not keyword by keyword but class by
// class: a schema that speaks of strings, of numbers, of objects. One that speaks of
// several things is a combination of all of them.
const (
	jsEmpty       = "empty" // {} and true
	jsFalse       = "false"
	jsString      = "string"
	jsNumber      = "number"
	jsObject      = "object"
	jsArray       = "array"
	jsEnum        = "enum"
	jsConst       = "const"
	jsNot         = "not"
	jsCombined    = "combined"
	jsConditional = "conditional"
	jsRef         = "ref"
)

// A jsType is one JSON Schema of one class, with the keywords of that class.
type jsType struct {
	class     string
	from      *node // the schema that it was made of
	criterion string
	parts     []*jsType // of a combination
	integer   bool
	ref       string
	doc       *jsDocument // what ref is relative to
}

// key tells the parts of a combination apart: those that say the same are one.
func (t *jsType) key() string {
	integer := ""
	if t.integer {
		integer = "/integer"
	}
	return t.class + integer + "/" + t.criterion + "/" + string(t.from.sorted().append(nil))
}

// defaulted says whether a schema has a default.
func (t *jsType) defaulted() bool { return t.from.get("default") != nil }

// A jsDocument is a document of schemas, with the others that it may refer to.
type jsDocument struct {
	root    *node
	id      string                 // of the root, an URL or empty
	modern  bool                   // draft 2019-09 or later
	others  map[string]*jsDocument // by the name under which they are referred to
	types   map[*node]*jsType
	anchors map[string]*node // what has an id or an anchor, by that
}

// A jsonSchema is a schema that was registered.
type jsonSchema struct {
	doc  *jsDocument
	root *jsType
}

// parseJSONSchema reads a schema and what it refers to by names. A schema that the
// drafts do not allow is refused; nothing is ever fetched.
func parseJSONSchema(text string, references map[string]string) (*jsonSchema, error) {
	docs := map[string]*jsDocument{}
	for name, text := range references {
		doc, err := newDocument(text)
		if err != nil {
			return nil, fmt.Errorf("the reference %s: %w", quoted(name), err)
		}
		docs[name], doc.others = doc, docs
	}
	doc, err := newDocument(text)
	if err != nil {
		return nil, err
	}
	doc.others = docs
	if err := doc.check(text, references); err != nil {
		return nil, err
	}
	return &jsonSchema{doc, doc.typ(doc.root)}, nil
}

func newDocument(text string) (*jsDocument, error) {
	root, err := parseNode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	if !root.object && !root.is("true") && !root.is("false") {
		return nil, errors.New("a JSON Schema is an object, true or false")
	}
	d := &jsDocument{root: root, types: map[*node]*jsType{}, anchors: map[string]*node{}}
	d.id = idOf(root)
	draft, _ := root.get("$schema").string()
	d.modern = strings.Contains(draft, "2019-09") || strings.Contains(draft, "2020-12")
	d.collect(root, d.id)
	return d, nil
}

func idOf(n *node) string {
	for _, name := range []string{"$id", "id"} {
		if id, ok := n.get(name).string(); ok {
			return id
		}
	}
	return ""
}

// collect finds what can be referred to by an id or an anchor.
func (d *jsDocument) collect(n *node, base string) {
	if n.object {
		if id := idOf(n); id != "" {
			base = resolveURL(base, id)
			d.anchors[base], d.anchors[id] = n, n
		}
		for _, name := range []string{"$anchor", "$dynamicAnchor"} {
			if anchor, ok := n.get(name).string(); ok {
				d.anchors["#"+anchor] = n
			}
		}
	}
	for _, m := range n.members {
		d.collect(m.value, base)
	}
	for _, item := range n.items {
		d.collect(item, base)
	}
}

func resolveURL(base, ref string) string {
	b, err := url.Parse(base)
	if err != nil {
		return ref
	}
	r, err := b.Parse(ref)
	if err != nil {
		return ref
	}
	return r.String()
}

// check compiles the schema, so that what no validator could use is refused. A pattern
// that only a backtracking engine can match is let pass: its readers may have one.
func (d *jsDocument) check(text string, references map[string]string) error {
	resources := map[string][]byte{}
	for name, text := range references {
		// The document's $ref is resolved against its own $id, or against no base.
		resources[resolveURL(base(d.id), name)] = []byte(text)
		if own := d.others[name].id; own != "" {
			resources[resolveURL(base(d.id), own)] = []byte(text)
		}
	}
	draft := "7"
	if given, _ := d.root.get("$schema").string(); given != "" {
		draft = ""
	}
	_, err := schema.CompileJSON([]byte(text), schema.JSONOptions{Draft: draft, Resources: resources})
	if err != nil && strings.Contains(err.Error(), " is no regex that can be used") {
		return nil
	}
	return err
}

// base is what the compiler resolves against where a document has no id of its own.
func base(id string) string {
	if id == "" {
		return "klamm:schema"
	}
	return id
}

// jsKeywords are the keywords by which a schema without a type is taken to speak of
// something.
var jsKeywords = []struct {
	class string
	words []string
}{
	{jsArray, []string{"items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "prefixItems", "unevaluatedItems", "minContains", "maxContains"}},
	{jsObject, []string{"properties", "required", "minProperties", "maxProperties", "dependencies", "patternProperties", "additionalProperties", "propertyNames", "dependentRequired", "dependentSchemas", "unevaluatedProperties"}},
	{jsNumber, []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
	{jsString, []string{"minLength", "maxLength", "pattern", "format"}},
}

// typ returns what a schema says. The same node gives the same type.
func (d *jsDocument) typ(n *node) *jsType {
	if n == nil {
		return nil
	}
	if t := d.types[n]; t != nil {
		return t
	}
	t := &jsType{}
	d.types[n] = t
	*t = *d.make(n)
	return t
}

func (d *jsDocument) make(n *node) *jsType {
	if !n.object {
		if n.is("false") {
			return &jsType{class: jsFalse, from: n, doc: d}
		}
		return &jsType{class: jsEmpty, from: n, doc: d}
	}
	var parts []*jsType
	part := func(class string) *jsType {
		t := &jsType{class: class, from: n, doc: d}
		parts = append(parts, t)
		return t
	}
	for _, word := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
		if ref, ok := n.get(word).string(); ok {
			part(jsRef).ref = ref
			if !d.modern {
				return parts[0] // siblings of $ref do not count
			}
		}
	}
	if n.get("enum") != nil {
		part(jsEnum)
	}
	for _, criterion := range []string{"allOf", "anyOf", "oneOf"} {
		if list := n.get(criterion); list != nil && list.array {
			t := part(jsCombined)
			t.criterion = criterion
			for _, item := range list.items {
				t.parts = append(t.parts, d.typ(item))
			}
		}
	}
	if n.get("not") != nil {
		part(jsNot)
	}
	if n.get("const") != nil {
		part(jsConst)
	}
	if n.get("if") != nil {
		part(jsConditional)
	}
	switch kind := n.get("type"); {
	case kind == nil:
		for _, k := range jsKeywords {
			if slices.ContainsFunc(k.words, func(word string) bool { return n.get(word) != nil }) {
				part(k.class)
			}
		}
	case kind.array:
		t := part(jsCombined)
		t.criterion = "anyOf"
		for _, item := range kind.items {
			t.parts = append(t.parts, simple(item.text, n, d))
		}
	default:
		parts = append(parts, simple(kind.text, n, d))
	}
	switch len(parts) {
	case 0:
		return &jsType{class: jsEmpty, from: n, doc: d}
	case 1:
		return parts[0]
	}
	return &jsType{class: jsCombined, criterion: "allOf", from: n, doc: d, parts: parts}
}

// simple is the type of a name.
func simple(name string, n *node, d *jsDocument) *jsType {
	if name == "integer" {
		return &jsType{class: jsNumber, integer: true, from: n, doc: d}
	}
	return &jsType{class: name, from: n, doc: d}
}

// follow returns what a chain of references ends at; a reference that leads nowhere
// stands for itself.
func (t *jsType) follow() *jsType {
	for range mostDepth {
		if t == nil || t.class != jsRef {
			return t
		}
		next := t.doc.find(t.ref)
		if next == nil {
			return t
		}
		t = next
	}
	return t
}

// find looks a reference up.
func (d *jsDocument) find(ref string) *jsType {
	where, fragment, _ := strings.Cut(ref, "#")
	if where == "" || d.id != "" && (where == d.id || resolveURL(d.id, where) == d.id) {
		return d.within(fragment)
	}
	for _, name := range []string{ref, resolveURL(d.id, ref)} {
		if n := d.anchors[name]; n != nil {
			return d.typ(n)
		}
	}
	for _, name := range []string{where, resolveURL(d.id, where)} {
		if o := d.others[name]; o != nil {
			return o.within(fragment)
		}
		for _, o := range d.others {
			if o.id == name {
				return o.within(fragment)
			}
		}
	}
	return nil
}

// within finds a fragment: a JSON Pointer or an anchor.
func (d *jsDocument) within(fragment string) *jsType {
	if plain, err := url.PathUnescape(fragment); err == nil {
		fragment = plain
	}
	if fragment == "" {
		return d.typ(d.root)
	}
	if !strings.HasPrefix(fragment, "/") {
		return d.typ(d.anchors["#"+fragment])
	}
	n := d.root
	for step := range strings.SplitSeq(fragment[1:], "/") {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		if n.array {
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(n.items) {
				return nil
			}
			n = n.items[i]
			continue
		}
		if n = n.get(step); n == nil {
			return nil
		}
	}
	return d.typ(n)
}

// schemas returns the members of an object of schemas.
func (t *jsType) schemas(word string) map[string]*jsType {
	out := map[string]*jsType{}
	if n := t.from.get(word); n != nil {
		for _, m := range n.members {
			out[m.name] = t.doc.typ(m.value)
		}
	}
	return out
}

// content says what a schema lets stand beside what it names: anything, nothing, or
// what fits a schema.
type content struct {
	permits bool
	schema  *jsType
	rest    *jsType // of unevaluatedProperties or unevaluatedItems
}

func (t *jsType) content(word, unevaluated string) content {
	c := content{permits: true}
	switch n := t.from.get(word); {
	case n == nil, n.is("true"):
	case n.is("false"):
		c.permits = false
	default:
		c.schema = t.doc.typ(n)
	}
	c.rest = t.doc.typ(t.from.get(unevaluated))
	return c
}

func (c content) open() bool {
	return c.permits && c.schema == nil && (c.rest == nil || c.rest.class == jsEmpty)
}

// partly is the schema for what is not named, or nil.
func (c content) partly() *jsType {
	if c.schema != nil {
		return c.schema
	}
	if c.permits && c.rest != nil && c.rest.class != jsFalse && c.rest.class != jsEmpty {
		return c.rest
	}
	return nil
}

// covering is the schema for a property that is not named.
func (t *jsType) covering(name string, c content) *jsType {
	if patterns := t.from.get("patternProperties"); patterns != nil {
		for _, m := range patterns.members {
			if r, err := regexp.Compile(m.name); err == nil && r.MatchString(name) {
				return t.doc.typ(m.value)
			}
		}
	}
	return c.partly()
}

// tuple returns the schemas by position, the one of all items, and what may follow.
func (t *jsType) tuple() (list []*jsType, all *jsType, rest content) {
	items, prefix := t.from.get("items"), t.from.get("prefixItems")
	rest = t.content("additionalItems", "unevaluatedItems")
	switch {
	case prefix != nil && prefix.array:
		rest = t.content("items", "unevaluatedItems")
		items = prefix
		fallthrough
	case items != nil && items.array:
		for _, item := range items.items {
			list = append(list, t.doc.typ(item))
		}
	default:
		all = t.doc.typ(items)
	}
	return list, all, rest
}
