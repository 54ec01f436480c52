package registry

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/scan"
)

// An avroType is a type of an Avro schema. Named types are one value wherever they are
// used, so a recursive schema is a graph.
type avroType struct {
	kind     string // as Avro's names of types, and "union"
	name     string
	space    string // the namespace of name
	doc      *string
	aliases  []string // full names
	fields   []avroField
	symbols  []string
	fallback *string // of an enum
	size     int
	inner    *avroType // of an array and a map
	branches []*avroType
	props    []member
}

type avroField struct {
	name    string
	doc     *string
	aliases []string
	typ     *avroType
	value   *node // the default; nil: there is none
	order   string
	props   []member
}

// full is a named type's name with its namespace.
func (t *avroType) full() string {
	if t.space == "" {
		return t.name
	}
	return t.space + "." + t.name
}

var avroPrimitives = map[string]bool{"null": true, "boolean": true, "int": true, "long": true, "float": true, "double": true, "bytes": true, "string": true}

// mostAvroTypes bounds the types of one schema, together with what it refers to.
const mostAvroTypes = 20_000

// An avroReader reads schemas whose names count for each other.
type avroReader struct {
	names map[string]*avroType
	types int
}

// An avroSchema is a schema with the types that it borrows from its references.
type avroSchema struct {
	root     *avroType
	borrowed map[*avroType]bool
}

// parseAvro reads a schema and what it refers to, in an order in which each schema
// comes after those that it needs.
func parseAvro(text string, references []string) (*avroSchema, error) {
	r := &avroReader{names: map[string]*avroType{}}
	for _, reference := range references {
		if _, err := r.read(reference); err != nil {
			return nil, fmt.Errorf("a schema that it refers to: %w", err)
		}
	}
	s := &avroSchema{borrowed: map[*avroType]bool{}}
	for _, t := range r.names {
		s.borrowed[t] = true
	}
	var err error
	s.root, err = r.read(text)
	return s, err
}

func (r *avroReader) read(text string) (*avroType, error) {
	n, err := parseNode([]byte(text))
	if err != nil {
		// A bare name of a primitive type is taken for its JSON string, as Avro's own
		// parser once did and clients rely on.
		if avroPrimitives[strings.TrimSpace(text)] {
			return &avroType{kind: strings.TrimSpace(text)}, nil
		}
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	return r.typ(n, "", 0)
}

// typ reads a type that stands in a namespace.
func (r *avroReader) typ(n *node, space string, depth int) (*avroType, error) {
	if r.types++; r.types > mostAvroTypes || depth > mostDepth {
		return nil, fmt.Errorf("the schema is too large: more than %d types or %d levels", mostAvroTypes, mostDepth)
	}
	switch {
	case n == nil:
		return nil, fmt.Errorf("no type: a schema, a field, an array or a map lacks it")
	case n.array:
		return r.union(n, space, depth)
	case n.str:
		return r.named(n.text, space)
	case !n.object:
		return nil, fmt.Errorf("%s is not a type", clip(string(n.append(nil))))
	}
	kind, ok := n.get("type").string()
	if !ok {
		if inner := n.get("type"); inner != nil { // {"type": {"type": ...}}
			return r.typ(inner, space, depth+1)
		}
		return nil, fmt.Errorf("no type: %s", clip(string(n.append(nil))))
	}
	switch kind {
	case "record", "error":
		return r.record(n, space, depth)
	case "enum":
		return r.enum(n, space)
	case "fixed":
		return r.fixed(n, space)
	case "array", "map":
		key := map[string]string{"array": "items", "map": "values"}[kind]
		if n.get(key) == nil {
			return nil, fmt.Errorf("%s has no %s", kind, key)
		}
		inner, err := r.typ(n.get(key), space, depth+1)
		return &avroType{kind: kind, inner: inner, props: others(n, "type", key)}, err
	}
	if avroPrimitives[kind] {
		return &avroType{kind: kind, props: others(n, "type")}, nil
	}
	return r.named(kind, space)
}

func (r *avroReader) union(n *node, space string, depth int) (*avroType, error) {
	t := &avroType{kind: "union"}
	seen := map[string]bool{}
	for _, item := range n.items {
		branch, err := r.typ(item, space, depth+1)
		if err != nil {
			return nil, err
		}
		key := branch.kind
		if branch.name != "" {
			key = branch.full()
		}
		if key == "union" {
			return nil, fmt.Errorf("a union stands directly in another one")
		}
		if seen[key] {
			return nil, fmt.Errorf("%s stands twice in a union", key)
		}
		seen[key] = true
		t.branches = append(t.branches, branch)
	}
	return t, nil
}

// named finds a type by its name, as it is used within a namespace.
func (r *avroReader) named(name, space string) (*avroType, error) {
	if avroPrimitives[name] {
		return &avroType{kind: name}, nil
	}
	full := name
	if !strings.Contains(name, ".") && space != "" {
		full = space + "." + name
	}
	if t := r.names[full]; t != nil {
		return t, nil
	}
	if t := r.names[name[strings.LastIndexByte(name, '.')+1:]]; t != nil && t.space == "" {
		return t, nil
	}
	return nil, fmt.Errorf("undefined name: %s", strconv.Quote(clip(full)))
}

// define begins a named type, so that it can be used within itself.
func (r *avroReader) define(kind string, n *node, space string) (*avroType, error) {
	name, ok := n.get("name").string()
	if !ok || name == "" {
		return nil, fmt.Errorf("a %s has no name", kind)
	}
	t := &avroType{kind: kind, name: name, space: space}
	if at := strings.LastIndexByte(name, '.'); at >= 0 {
		t.space, t.name = name[:at], name[at+1:]
	} else if given, ok := n.get("namespace").string(); ok {
		t.space = given
	}
	if !validName(t.name) {
		return nil, fmt.Errorf("illegal name %s", strconv.Quote(clip(name)))
	}
	if t.space != "" {
		for part := range strings.SplitSeq(t.space, ".") {
			if !validName(part) {
				return nil, fmt.Errorf("illegal namespace %s", strconv.Quote(clip(t.space)))
			}
		}
	}
	if avroPrimitives[t.full()] {
		return nil, fmt.Errorf("%s is the name of a primitive type", t.full())
	}
	if r.names[t.full()] != nil {
		return nil, fmt.Errorf("%s is defined twice", t.full())
	}
	r.names[t.full()] = t
	if doc, ok := n.get("doc").string(); ok {
		t.doc = &doc
	}
	aliases, err := texts(n.get("aliases"), "aliases")
	for _, alias := range aliases {
		if !strings.Contains(alias, ".") && t.space != "" {
			alias = t.space + "." + alias
		}
		t.aliases = append(t.aliases, alias)
	}
	return t, err
}

func (r *avroReader) record(n *node, space string, depth int) (*avroType, error) {
	kind, _ := n.get("type").string()
	t, err := r.define("record", n, space)
	if err != nil {
		return nil, err
	}
	t.props = others(n, "type", "name", "namespace", "doc", "aliases", "fields")
	if kind == "error" {
		t.size = 1 // only printing cares
	}
	fields := n.get("fields")
	if fields == nil || !fields.array {
		return nil, fmt.Errorf("the record %s has no fields", t.full())
	}
	seen := map[string]bool{}
	for _, item := range fields.items {
		f, err := r.field(item, t, depth)
		if err != nil {
			return nil, err
		}
		if seen[f.name] {
			return nil, fmt.Errorf("the record %s has two fields %s", t.full(), f.name)
		}
		seen[f.name] = true
		t.fields = append(t.fields, f)
	}
	return t, nil
}

func (r *avroReader) field(n *node, of *avroType, depth int) (f avroField, err error) {
	name, ok := n.get("name").string()
	if !ok || !validName(name) {
		return f, fmt.Errorf("a field of the record %s has an illegal name or none: %s", of.full(), strconv.Quote(clip(name)))
	}
	f.name = name
	if n.get("type") == nil {
		return f, fmt.Errorf("the field %s of the record %s has no type", name, of.full())
	}
	if f.typ, err = r.typ(n.get("type"), of.space, depth+1); err != nil {
		return f, err
	}
	if doc, ok := n.get("doc").string(); ok {
		f.doc = &doc
	}
	f.value = n.get("default")
	if order, ok := n.get("order").string(); ok {
		switch f.order = strings.ToLower(order); f.order {
		case "ascending", "descending", "ignore":
		default:
			return f, fmt.Errorf("the field %s of the record %s has the order %s", name, of.full(), strconv.Quote(clip(order)))
		}
	}
	if f.aliases, err = texts(n.get("aliases"), "aliases"); err != nil {
		return f, err
	}
	f.props = others(n, "name", "type", "doc", "default", "order", "aliases")
	return f, nil
}

func (r *avroReader) enum(n *node, space string) (*avroType, error) {
	t, err := r.define("enum", n, space)
	if err != nil {
		return nil, err
	}
	t.props = others(n, "type", "name", "namespace", "doc", "aliases", "symbols", "default")
	if n.get("symbols") == nil {
		return nil, fmt.Errorf("the enum %s has no symbols", t.full())
	}
	if t.symbols, err = texts(n.get("symbols"), "symbols"); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, symbol := range t.symbols {
		if !validName(symbol) || seen[symbol] {
			return nil, fmt.Errorf("the enum %s has an illegal symbol, or has it twice: %s", t.full(), strconv.Quote(clip(symbol)))
		}
		seen[symbol] = true
	}
	if given := n.get("default"); given != nil {
		symbol, ok := given.string()
		if !ok || !seen[symbol] {
			return nil, fmt.Errorf("the default of the enum %s is none of its symbols", t.full())
		}
		t.fallback = &symbol
	}
	return t, nil
}

func (r *avroReader) fixed(n *node, space string) (*avroType, error) {
	t, err := r.define("fixed", n, space)
	if err != nil {
		return nil, err
	}
	t.props = others(n, "type", "name", "namespace", "doc", "aliases", "size")
	size := n.get("size")
	if !size.number() {
		return nil, fmt.Errorf("the fixed %s has no size", t.full())
	}
	if t.size, err = strconv.Atoi(size.text); err != nil || t.size < 0 {
		return nil, fmt.Errorf("the fixed %s has the size %s", t.full(), clip(size.text))
	}
	return t, nil
}

// texts reads an array of strings; nil is an empty one.
func texts(n *node, what string) ([]string, error) {
	if n == nil || n.is("null") {
		return nil, nil
	}
	if !n.array {
		return nil, fmt.Errorf("%s is not an array", what)
	}
	var out []string
	for _, item := range n.items {
		text, ok := item.string()
		if !ok {
			return nil, fmt.Errorf("%s holds something that is not a string", what)
		}
		out = append(out, text)
	}
	return out, nil
}

// others are the members of an object that have other names.
func others(n *node, names ...string) []member {
	var out []member
	for _, m := range n.members {
		if !slices.Contains(names, m.name) {
			out = append(out, m)
		}
	}
	return out
}

// validName says whether a name is one of Avro.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// clip shortens what comes from a client, for messages.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// An avroPrinter prints a schema as Avro's own library does: without whitespace,
// attributes in a fixed order, a named type in full where it is first used.
type avroPrinter struct {
	known  map[*avroType]bool // they are printed as names
	sorted bool               // attributes that Avro does not know, by name
}

// print returns the canonical text of a schema. Types that its references define are
// printed as names.
func (s *avroSchema) print(sorted bool) string {
	known := map[*avroType]bool{}
	maps.Copy(known, s.borrowed)
	return string((&avroPrinter{known: known, sorted: sorted}).append(nil, s.root, ""))
}

// whole is the same schema with what it refers to in it.
func (s *avroSchema) whole() *avroSchema { return &avroSchema{root: s.root} }

func (p *avroPrinter) append(b []byte, t *avroType, space string) []byte {
	switch t.kind {
	case "union":
		b = append(b, '[')
		for i, branch := range t.branches {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.append(b, branch, space)
		}
		return append(b, ']')
	case "array", "map":
		key := `","items":`
		if t.kind == "map" {
			key = `","values":`
		}
		b = append(b, `{"type":"`+t.kind+key...)
		b = p.append(b, t.inner, space)
		return append(p.appendProps(b, t.props), '}')
	case "record", "enum", "fixed":
		return p.appendNamed(b, t, space)
	}
	if len(t.props) == 0 {
		return append(b, `"`+t.kind+`"`...)
	}
	b = append(b, `{"type":"`+t.kind+`"`...)
	return append(p.appendProps(b, t.props), '}')
}

func (p *avroPrinter) appendNamed(b []byte, t *avroType, space string) []byte {
	if p.known[t] {
		if t.space == space {
			return scan.AppendString(b, t.name)
		}
		return scan.AppendString(b, t.full())
	}
	p.known[t] = true
	kind := t.kind
	if kind == "record" && t.size == 1 {
		kind = "error"
	}
	b = append(b, `{"type":"`+kind+`","name":`...)
	b = scan.AppendString(b, t.name)
	if t.space != space {
		b = append(b, `,"namespace":`...)
		b = scan.AppendString(b, t.space)
	}
	b = appendDoc(b, t.doc)
	switch t.kind {
	case "record":
		b = append(b, `,"fields":[`...)
		for i, f := range t.fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.appendField(b, f, t.space)
		}
		b = append(b, ']')
	case "enum":
		b = append(b, `,"symbols":`...)
		b = appendTexts(b, t.symbols)
		if t.fallback != nil {
			b = append(b, `,"default":`...)
			b = scan.AppendString(b, *t.fallback)
		}
	case "fixed":
		b = append(b, `,"size":`...)
		b = strconv.AppendInt(b, int64(t.size), 10)
	}
	b = p.appendProps(b, t.props)
	if len(t.aliases) > 0 {
		var short []string
		for _, alias := range t.aliases {
			if rest, ok := strings.CutPrefix(alias, t.space+"."); ok && !strings.Contains(rest, ".") {
				alias = rest
			}
			short = append(short, alias)
		}
		b = append(b, `,"aliases":`...)
		b = appendTexts(b, short)
	}
	return append(b, '}')
}

func (p *avroPrinter) appendField(b []byte, f avroField, space string) []byte {
	b = append(b, `{"name":`...)
	b = scan.AppendString(b, f.name)
	b = append(b, `,"type":`...)
	b = p.append(b, f.typ, space)
	b = appendDoc(b, f.doc)
	if f.value != nil {
		b = append(b, `,"default":`...)
		b = f.value.append(b)
	}
	if f.order != "" && f.order != "ascending" {
		b = append(b, `,"order":"`+f.order+`"`...)
	}
	if len(f.aliases) > 0 {
		b = append(b, `,"aliases":`...)
		b = appendTexts(b, f.aliases)
	}
	return append(p.appendProps(b, f.props), '}')
}

func (p *avroPrinter) appendProps(b []byte, props []member) []byte {
	if p.sorted {
		props = slices.Clone(props)
		slices.SortFunc(props, func(a, b member) int { return compareText(a.name, b.name) })
	}
	for _, m := range props {
		b = append(b, ',')
		b = append(scan.AppendString(b, m.name), ':')
		value := m.value
		if p.sorted {
			value = value.sorted()
		}
		b = value.append(b)
	}
	return b
}

func appendDoc(b []byte, doc *string) []byte {
	if doc == nil {
		return b
	}
	return scan.AppendString(append(b, `,"doc":`...), *doc)
}

func appendTexts(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = scan.AppendString(b, text)
	}
	return append(b, ']')
}
