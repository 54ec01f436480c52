package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

const (
	// MaxViolations is how many violations Check returns at most.
	MaxViolations = 20
	// maxDepth bounds how deep a value may be nested.
	maxDepth = 256
	// maxDigits and maxExponent bound the numbers that can be compared exactly.
	maxDigits   = 1000
	maxExponent = 1000
	// nearest is how many violations of the best branch of a oneOf or anyOf are
	// told beside it.
	nearest = 3
)

// drafts are the names that a draft may have in a configuration.
var drafts = map[string]*jsonschema.Draft{
	"4": jsonschema.Draft4, "6": jsonschema.Draft6, "7": jsonschema.Draft7, "2019-09": jsonschema.Draft2019, "2020-12": jsonschema.Draft2020,
}

// JSONOptions say how a JSON Schema is to be understood.
type JSONOptions struct {
	// Draft is that of a schema without $schema: 4, 6, 7, 2019-09 or 2020-12,
	// which is the default.
	Draft string
	// AssertFormat makes format refuse values in every draft, and IgnoreFormat in none.
	// Without either, it is as the draft says: up to 7 it does.
	AssertFormat, IgnoreFormat bool
	// Resources are the schemas that $ref may name, by their URLs, absolute or
	// relative. Nothing else is ever loaded.
	Resources map[string][]byte
}

// A JSONSchema is a compiled JSON Schema of draft 4 to 2020-12. It is safe for
// concurrent use.
//
// Numbers are compared exactly, as decimals. Patterns are those of ECMA 262 that
// RE2 can do: no look-ahead, look-behind and back references. 1.0 is an integer,
// but not in draft 4.
type JSONSchema struct {
	compiled *jsonschema.Schema
	quick    *quick
}

// A Violation is one way in which a value breaks its schema.
type Violation struct {
	// Pointer is where in the value, a JSON Pointer in the form of a URI
	// fragment: "#/records/1/value". One that would be longer than 1 KiB leads to
	// a place above it.
	Pointer string `json:"pointer"`
	// Keyword is what it breaks, such as "maximum".
	Keyword string `json:"keyword"`
	// Detail says it in words, and does not repeat the value.
	Detail string `json:"detail"`
	// Schema is where in the schema the keyword stands.
	Schema string `json:"schema,omitempty"`
	// Actual is what stands there instead, as JSON; empty: it is not to be repeated,
	// which only Echo changes.
	Actual string `json:"-"`
	// More says that there are others behind it that are not told.
	More bool `json:"-"`
}

// CompileJSON compiles the text of a JSON Schema. The error says what is wrong
// with it, and where.
func CompileJSON(text []byte, o JSONOptions) (*JSONSchema, error) {
	draft := jsonschema.Draft2020
	if o.Draft != "" && o.Draft != "auto" {
		if draft = drafts[o.Draft]; draft == nil {
			return nil, fmt.Errorf("unknown draft %q: want 4, 6, 7, 2019-09 or 2020-12", o.Draft)
		}
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(draft)
	c.UseLoader(resources(o.Resources))
	c.UseRegexpEngine(compilePattern)
	if o.AssertFormat {
		c.AssertFormat()
	}
	for _, f := range uriFormats {
		c.RegisterFormat(f)
	}
	doc, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	if o.IgnoreFormat {
		withoutFormat(doc)
	}
	if ofDraft4(doc, draft) {
		c.RegisterVocabulary(&jsonschema.Vocabulary{URL: base + "integers", Compile: compileIntegers})
	}
	if err := c.AddResource(self, doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(self)
	if err != nil {
		return nil, explain(err)
	}
	return &JSONSchema{compiled, quickOf(compiled)}, nil
}

// explain says in one line what is wrong with a schema.
func explain(err error) error {
	var invalid *jsonschema.SchemaValidationError
	var broken *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &broken) {
		if format, ok := deepest(broken).ErrorKind.(*kind.Format); ok {
			return fmt.Errorf("invalid schema at %s: %v is no %s that can be used: %v", pointer(deepest(broken).InstanceLocation), format.Got, format.Want, format.Err)
		}
		var all []finding
		if collect(broken, &all); len(all) > 0 {
			first := all[0].violation()
			return fmt.Errorf("invalid schema at %s: %s", first.Pointer, first.Detail)
		}
	}
	text := strings.ReplaceAll(strings.ReplaceAll(err.Error(), self, ""), base, "")
	return errors.New("invalid schema: " + strings.Join(strings.Fields(text), " "))
}

// deepest returns the first cause of an error that has none itself.
func deepest(err *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(err.Causes) > 0 {
		err = err.Causes[0]
	}
	return err
}

// A schema without a URL of its own has this one, and what it refers to by a
// relative URL lies beside it.
const (
	base = "klamm:///"
	self = base + "schema"
)

// resources are the schemas that another one may refer to, by their URLs, of which
// relative ones count whatever the base is. Nothing else is loaded.
type resources map[string][]byte

// Load implements the library's loader.
func (r resources) Load(url string) (any, error) {
	text, ok := r[url]
	if !ok {
		longest := ""
		for name, one := range r {
			if !strings.Contains(name, ":") && len(name) > len(longest) && strings.HasSuffix(url, "/"+strings.TrimLeft(name, "./")) {
				longest, text, ok = name, one, true
			}
		}
	}
	if !ok {
		return nil, fmt.Errorf("%s is not among the known schemas, and nothing is fetched", strings.TrimPrefix(url, base))
	}
	return decode(text)
}

// Check returns what is wrong with a JSON value: nothing if it fits. The first
// twenty violations are returned, by the place in the value; more says that there
// are others.
func (s *JSONSchema) Check(value []byte) (violations []Violation, more bool) {
	t := tapes.Get().(*tape)
	defer t.free()
	ok := t.parse(value)
	if ok && s.quick.sees(t) {
		return nil, false
	}
	doc, err := t.decode(value, ok)
	if err != nil {
		return []Violation{{Pointer: "#", Keyword: "type", Detail: err.Error()}}, false
	}
	return s.checkDecoded(doc)
}

// checkDecoded is Check for a value as encoding/json makes it, with numbers as
// json.Number.
func (s *JSONSchema) checkDecoded(doc any) (violations []Violation, more bool) {
	err := s.compiled.Validate(doc)
	if err == nil {
		return nil, false
	}
	var broken *jsonschema.ValidationError
	if !errors.As(err, &broken) {
		return []Violation{{Pointer: "#", Keyword: "schema", Detail: "the value cannot be checked"}}, false
	}
	var found []finding
	collect(broken, &found)
	slices.SortStableFunc(found, func(a, b finding) int { return compareLocations(a.err.InstanceLocation, b.err.InstanceLocation) })
	for _, f := range found {
		v := f.violation()
		switch n := len(violations); {
		case n > 0 && violations[n-1] == v:
		case n == MaxViolations:
			violations[n-1].More = true
			return violations, true
		default:
			violations = append(violations, v)
		}
	}
	return violations, false
}

// compareLocations orders places in a value depth first: elements by their index,
// members by their name.
func compareLocations(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		m, err := strconv.Atoi(a[i])
		n, otherErr := strconv.Atoi(b[i])
		if err == nil && otherErr == nil && m != n {
			return cmp.Compare(m, n)
		}
		return strings.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// A finding is a Violation that is not put into words yet. A value may have many
// thousands of them, each at a place whose name is as long as its sender likes.
type finding struct {
	err     *jsonschema.ValidationError
	keyword string
	missing string // of several names that are missing, one; empty: it is about all
}

// collect lists what an error is made of.
func collect(err *jsonschema.ValidationError, all *[]finding) {
	keyword := keywordOf(err)
	required, _ := err.ErrorKind.(*kind.Required)
	switch {
	case (keyword == "oneOf" || keyword == "anyOf") && len(err.Causes) > 0:
		*all = append(*all, finding{err: err, keyword: keyword})
		var best []finding
		for _, cause := range err.Causes {
			var branch []finding
			collect(cause, &branch)
			if len(branch) > 0 && (best == nil || closer(branch, best)) {
				best = branch
			}
		}
		*all = append(*all, best[:min(len(best), nearest)]...)
	case len(err.Causes) > 0 && !whole(err.ErrorKind):
		for _, cause := range err.Causes {
			collect(cause, all)
		}
	case required != nil && len(required.Missing) > 1:
		for _, name := range required.Missing {
			*all = append(*all, finding{err, keyword, name})
		}
	default:
		*all = append(*all, finding{err: err, keyword: keyword})
	}
}

// whole says whether what is wrong is one thing, whatever is wrong with the parts that
// were looked at for it: no element is of the kind that there must be, or a name is not
// allowed, which has no place of its own in the value.
func whole(k jsonschema.ErrorKind) bool {
	switch k.(type) {
	case *kind.Contains, *kind.MinContains, *kind.PropertyNames:
		return true
	}
	return false
}

// keywordOf returns the keyword that a value breaks. "not" and schemas that are
// false have none in the error; it is the last word of where they stand.
func keywordOf(err *jsonschema.ValidationError) string {
	if path := keywordPath(err); len(path) > 0 {
		return path[0]
	}
	if _, ok := err.ErrorKind.(*kind.Not); ok {
		return "not"
	}
	_, at, _ := strings.Cut(err.SchemaURL, "#")
	words := strings.Split(at, "/")
	for _, word := range slices.Backward(words) {
		if word != "" && strings.Trim(word, "0123456789") != "" {
			return word
		}
	}
	return "schema"
}

// closer says whether a branch came closer to fitting than another one: it failed
// deeper in the value, not by the mere type of what stands there, or less often.
func closer(a, b []finding) bool {
	depth := func(f []finding) int { return len(f[0].err.InstanceLocation) }
	if depth(a) != depth(b) {
		return depth(a) > depth(b)
	}
	if mere, other := a[0].keyword == "type", b[0].keyword == "type"; mere != other {
		return other
	}
	return len(a) < len(b)
}

// printer puts the library's texts into English.
var printer = message.NewPrinter(language.English)

// violation puts a finding into words.
func (f finding) violation() Violation {
	v := Violation{Pointer: pointer(f.err.InstanceLocation), Keyword: f.keyword, Detail: detail(f.err.ErrorKind)}
	if f.missing != "" {
		v.Detail = shorten(f.missing) + " is missing"
	}
	_, at, _ := strings.Cut(f.err.SchemaURL, "#")
	if _, ok := f.err.ErrorKind.(*kind.PropertyNames); ok { // here the library has the schema of the names
		at = strings.TrimSuffix(at, "/propertyNames")
	}
	v.Schema = "#" + at + pointer(keywordPath(f.err))[1:]
	return v
}

// keywordPath is where in its schema the keyword stands that a value breaks.
func keywordPath(err *jsonschema.ValidationError) []string {
	path := err.ErrorKind.KeywordPath()
	if len(path) > 0 && path[0] == "dependency" { // as the library calls it
		return append([]string{"dependencies"}, path[1:]...)
	}
	return path
}

// longestPointer bounds a pointer, in bytes: names of members are the caller's.
const longestPointer = 1 << 10

// pointer writes a path as a JSON Pointer in a URI fragment.
func pointer(path []string) string {
	b := []byte("#")
	for _, name := range path {
		if len(b)+len(name) >= longestPointer {
			break
		}
		b = appendToken(append(b, '/'), name)
	}
	return string(b)
}

// PointerToken writes the name of a member as it stands in a pointer.
func PointerToken(name string) string { return string(appendToken(nil, name)) }

func appendToken(b []byte, name string) []byte {
	for _, c := range []byte(name) {
		switch {
		case c == '~':
			b = append(b, "~0"...)
		case c == '/':
			b = append(b, "~1"...)
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._!$&'()*+,;=:@?", c) >= 0:
			b = append(b, c)
		default:
			b = fmt.Appendf(b, "%%%02X", c)
		}
	}
	return b
}
