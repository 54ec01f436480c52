package schema

import (
	"bytes"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A quick schema sees of most values that they fit a JSON Schema, by their tapes: nothing
// has to be made of them. What it does not see is not wrong, but left to the schema
// itself, and so is every keyword that it does not know. Nil sees nothing.
type quick struct {
	free       bool     // whatever it is, it fits
	types      []string // none: any
	required   []string
	properties map[string]*quick
	closed     bool   // there may be no other properties
	others     *quick // what they must look like
	items      *quick
	length     span // of strings, in characters
	count      span // of items
	members    span // of objects
	number     span // of integers; others are not looked at
}

// anything is what fits every value.
var anything = &quick{free: true}

// A span has a least and a most value, where they are known.
type span struct {
	least, most       int64
	hasLeast, hasMost bool
}

func (s span) any() bool { return !s.hasLeast && !s.hasMost }

func (s span) holds(n int64) bool {
	return (!s.hasLeast || n >= s.least) && (!s.hasMost || n <= s.most)
}

// spanOf is the span between two integers; nil: there is none.
func spanOf(least, most *int) (s span) {
	if least != nil {
		s.least, s.hasLeast = int64(*least), true
	}
	if most != nil {
		s.most, s.hasMost = int64(*most), true
	}
	return s
}

// mostLooks bounds how often names are compared to find those that must be there: in long
// objects, a map is faster.
const mostLooks = 4096

// quickKeywords are the fields of a compiled schema that quickOf understands, or that do
// not refuse anything. A later version of the library may have others.
var quickKeywords = []string{
	"DraftVersion", "Location", "Bool", "ID", "Anchor", "Types", "MaxProperties", "MinProperties", "Required", "Properties", "AdditionalProperties",
	"MinItems", "MaxItems", "Items", "Items2020", "MinLength", "MaxLength", "Maximum", "Minimum",
	"Title", "Description", "Default", "Comment", "ReadOnly", "WriteOnly", "Examples", "Deprecated",
}

// quickOf returns what can be seen quickly of a schema; nil: nothing.
func quickOf(s *jsonschema.Schema) *quick {
	for field, value := range reflect.ValueOf(s).Elem().Fields() {
		if field.IsExported() && !value.IsZero() && !slices.Contains(quickKeywords, field.Name) {
			return nil
		}
	}
	if s.Bool != nil {
		if *s.Bool {
			return anything
		}
		return nil
	}
	q := &quick{required: s.Required, properties: map[string]*quick{}, length: spanOf(s.MinLength, s.MaxLength), count: spanOf(s.MinItems, s.MaxItems), members: spanOf(s.MinProperties, s.MaxProperties)}
	if s.Types != nil {
		q.types = s.Types.ToStrings()
	}
	for name, one := range s.Properties {
		q.properties[name] = quickOf(one)
	}
	switch others := s.AdditionalProperties.(type) {
	case nil:
		q.others = anything
	case bool:
		q.others, q.closed = anything, !others
	case *jsonschema.Schema:
		q.others = quickOf(others)
	default:
		return nil
	}
	switch items := s.Items.(type) {
	case nil:
		q.items = anything
		if s.Items2020 != nil {
			q.items = quickOf(s.Items2020)
		}
	case *jsonschema.Schema:
		q.items = quickOf(items)
	default:
		return nil
	}
	// Members of one name count once, which nobody looks at here: two of them may be one.
	if q.members.least > 1 || !bound(s.Minimum, &q.number.least, &q.number.hasLeast) || !bound(s.Maximum, &q.number.most, &q.number.hasMost) {
		return nil
	}
	return q
}

// bound notes a bound of numbers; false: it is no integer of 64 bits.
func bound(r *big.Rat, to *int64, has *bool) bool {
	if r == nil {
		return true
	}
	*to, *has = 0, true
	if !r.IsInt() || !r.Num().IsInt64() {
		return false
	}
	*to = r.Num().Int64()
	return true
}

// sees says whether the value on a tape is seen to fit.
func (q *quick) sees(t *tape) bool {
	if q == nil || t.deepest > maxDepth {
		return false
	}
	for i := range t.tokens {
		if t.tokens[i].kind == '0' && boundedNumber(bytes.TrimPrefix(t.raw(i), minus)) != nil {
			return false
		}
	}
	return q.fits(t, 0)
}

// fits says whether what begins with a token is seen to fit.
func (q *quick) fits(t *tape, i int) bool {
	if q == nil || q.free {
		return q != nil
	}
	switch k := &t.tokens[i]; k.kind {
	case '{':
		return q.takes("object") && q.fitsObject(t, i)
	case '[':
		return q.takes("array") && q.fitsArray(t, i)
	case '"':
		return q.takes("string") && (q.length.any() || !k.escaped && utf8.Valid(t.raw(i)) && q.length.holds(int64(utf8.RuneCount(t.raw(i)))))
	case 't', 'f':
		return q.takes("boolean")
	case 'n':
		return q.takes("null")
	}
	n, err := strconv.ParseInt(string(t.raw(i)), 10, 64) // neither 1.0 nor what is too long
	if err != nil {
		return q.takes("number") && q.number.any()
	}
	return (q.takes("number") || q.takes("integer")) && q.number.holds(n)
}

func (q *quick) takes(kind string) bool { return len(q.types) == 0 || slices.Contains(q.types, kind) }

func (q *quick) fitsObject(t *tape, i int) bool {
	end, members := t.tokens[i].next, int64(0)
	for at := i + 1; at < end; at = t.tokens[at+1].next {
		name := t.raw(at)
		if t.tokens[at].escaped || !utf8.Valid(name) {
			return false
		}
		one, known := q.properties[string(name)]
		if !known {
			one = q.others
		}
		if !known && q.closed || !one.fits(t, at+1) {
			return false
		}
		members++
	}
	if !q.members.holds(members) || members*int64(len(q.required)) > mostLooks {
		return false
	}
	for _, name := range q.required {
		if !t.has(i, name) {
			return false
		}
	}
	return true
}

func (q *quick) fitsArray(t *tape, i int) bool {
	end, items := t.tokens[i].next, int64(0)
	for at := i + 1; at < end; at = t.tokens[at].next {
		if !q.items.fits(t, at) {
			return false
		}
		items++
	}
	return q.count.holds(items)
}

// has says whether an object has a member whose name is written without escapes.
func (t *tape) has(i int, name string) bool {
	end := t.tokens[i].next
	for at := i + 1; at < end; at = t.tokens[at+1].next {
		if string(t.raw(at)) == name && !t.tokens[at].escaped {
			return true
		}
	}
	return false
}
