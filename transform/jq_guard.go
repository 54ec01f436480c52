package transform

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"sync"

	"github.com/itchyny/gojq"

	"github.com/klamm-gateway/klamm/scan"
)

// gojq stops a program between its steps, but a single step can take all memory:
// "x" * 1e9, or tojson on [.,.] that was nested forty times. Therefore a program
// is rewritten before it is compiled:
//
//   - behind everything that makes a value stands a check of the value's size,
//     so that all values that meet are small enough for any one step;
//   - before the steps whose cost or result is the product of two values stands
//     a check of both.
//
// The checks are functions of our own, whose names begin with reserved.

const (
	reserved    = "klamm_"
	maxValue    = 16 << 20  // bytes of a value, 8 for each element and member
	maxIndex    = 1_000_000 // of an array
	maxProduct  = 1 << 28   // of the sizes of two values that are compared all with all
	maxBigBits  = 1 << 15   // of an integer
	objectEntry = 8
)

// fits says whether a value that a program made is small enough.
func fits(v any) error {
	if _, err := weigh(v, 0, 0); err != nil {
		return err
	}
	return nil
}

// weigh adds the size of v to a sum. It stops when the sum is too large, since
// values may share their parts and be exponentially larger than their memory.
func weigh(v any, sum, depth int) (int, error) {
	sum += objectEntry
	switch v := v.(type) {
	case string:
		sum += len(v)
	case json.Number:
		sum += len(v)
	case *big.Int:
		if v.BitLen() > maxBigBits {
			return sum, &ProgramError{Reason: fmt.Sprintf("an integer has more than %d bits", maxBigBits)}
		}
		sum += v.BitLen() / 3
	case []any:
		if depth == scan.Depth {
			return sum, &ProgramError{Reason: fmt.Sprintf("a value is nested more than %d deep", scan.Depth)}
		}
		for _, e := range v {
			var err error
			if sum, err = weigh(e, sum, depth+1); err != nil {
				return sum, err
			}
		}
	case map[string]any:
		if depth == scan.Depth {
			return sum, &ProgramError{Reason: fmt.Sprintf("a value is nested more than %d deep", scan.Depth)}
		}
		for name, e := range v {
			var err error
			if sum, err = weigh(e, sum+len(name), depth+1); err != nil {
				return sum, err
			}
		}
	}
	if sum > maxValue {
		return sum, tooLarge
	}
	return sum, nil
}

var tooLarge = &ProgramError{Reason: fmt.Sprintf("a value has more than %d MiB", maxValue>>20)}

// product refuses two values whose combination takes too much.
func product(l, r any) error {
	text, times := l, r
	if _, ok := text.(string); !ok {
		text, times = r, l
	}
	if s, ok := text.(string); ok {
		if n, ok := gojq.ToFloat64(times); ok && n > 1 && n*float64(len(s)) > maxValue {
			return tooLarge
		}
	}
	a, err := weigh(l, 0, 0)
	if err != nil {
		return err
	}
	b, err := weigh(r, 0, 0)
	if err == nil && a/objectEntry > maxProduct/max(1, b/objectEntry) {
		err = &ProgramError{Reason: "two values are too large to be combined"}
	}
	return err
}

// smallIndex refuses indexes that would make an array huge.
func smallIndex(v any) error {
	if n, ok := gojq.ToFloat64(v); ok && n > maxIndex {
		return &ProgramError{Reason: fmt.Sprintf("an index is above %d", maxIndex)}
	}
	return nil
}

func smallPath(v any) error {
	path, _ := v.([]any)
	for _, index := range path {
		if err := smallIndex(index); err != nil {
			return err
		}
	}
	return nil
}

func joined(v, separator any) error {
	list, _ := v.([]any)
	if s, ok := separator.(string); ok && len(list)*len(s) > maxValue {
		return tooLarge
	}
	return nil
}

func transposed(v any) error {
	list, _ := v.([]any)
	width := 0
	for _, row := range list {
		if row, ok := row.([]any); ok {
			width = max(width, len(row))
		}
	}
	if len(list)*width*objectEntry > maxValue {
		return tooLarge
	}
	return nil
}

// costly are the functions that are checked before they are called: on their
// input alone, or on their input and first argument.
var (
	costlyAlone = map[string]func(any) error{"transpose": transposed}
	costly      = map[string]func(v, arg any) error{"contains": product, "inside": product, "indices": product, "index": product, "rindex": product, "join": joined}
)

// indexing are the functions whose first argument says where in a value, and
// its check.
var indexing = map[string]string{"setpath": "path", "fromstream": "event"}

// harmless are functions whose results are no larger than what they are given.
var harmless = map[string]bool{
	"empty": true, "error": true, "not": true, "select": true, "recurse": true, "first": true, "last": true, "getpath": true, "length": true, "type": true,
	"has": true, "values": true, "nulls": true, "strings": true, "numbers": true, "booleans": true, "arrays": true, "objects": true, "iterables": true, "scalars": true,
	"any": true, "all": true, "isempty": true, "test": true, "startswith": true, "endswith": true, "contains": true, "inside": true, "range": true,
	"limit": true, "until": true, "while": true, "repeat": true, "min": true, "max": true, "min_by": true, "max_by": true, "sort": true, "sort_by": true,
}

// guards are the functions that guarded programs call.
func guards(seen *expressions) []gojq.CompilerOption {
	checked := func(err error, v any) any {
		if err != nil {
			return err
		}
		return v
	}
	options := []gojq.CompilerOption{
		gojq.WithFunction(reserved+"fits", 0, 0, func(v any, _ []any) any { return checked(fits(v), true) }),
		gojq.WithFunction(reserved+"pair", 2, 2, func(_ any, args []any) any { return checked(product(args[0], args[1]), []any{args[0], args[1]}) }),
		gojq.WithFunction(reserved+"position", 0, 0, func(v any, _ []any) any { return checked(smallIndex(v), v) }),
		gojq.WithFunction(reserved+"path", 0, 0, func(v any, _ []any) any { return checked(smallPath(v), v) }),
		gojq.WithFunction(reserved+"event", 0, 0, func(v any, _ []any) any {
			event, _ := v.([]any)
			if len(event) == 0 {
				return v
			}
			return checked(smallPath(event[0]), v)
		}),
	}
	for _, global := range []bool{false, true} {
		options = append(options, gojq.WithFunction(reserved+matchCheck(global), 1, 1, func(v any, args []any) any {
			return checked(seen.check(v, args[0], global), true)
		}))
	}
	for name, check := range costlyAlone {
		options = append(options, gojq.WithFunction(reserved+name, 0, 0, func(v any, _ []any) any { return checked(check(v), true) }))
	}
	for name, check := range costly {
		options = append(options, gojq.WithFunction(reserved+name, 1, 1, func(v any, args []any) any { return checked(check(v, args[0]), true) }))
	}
	return options
}

// builtins are the names of jq's own functions.
var builtins = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	query, _ := gojq.Parse("builtins[]")
	for results := query.Run(nil); ; {
		v, ok := results.Next()
		if !ok {
			return names
		}
		name, _, _ := strings.Cut(fmt.Sprint(v), "/")
		names[name] = true
	}
})

// A guard rewrites the tree of one program.
type guard struct {
	own map[string]bool // functions and parameters that the program defines
	err error
}

// guardQuery rewrites a program.
func guardQuery(q *gojq.Query) error {
	g := &guard{own: map[string]bool{}}
	g.query(q)
	return g.err
}

var ownName = regexp.MustCompile(`^\$?(_|` + reserved + `)`)

// name takes a name that the program uses. gojq's inner functions and ours are
// not for programs, since they are unchecked.
func (g *guard) name(name string) {
	if ownName.MatchString(name) && name != "$__loc__" && g.err == nil {
		g.err = &SpecError{Field: "jq", Reason: "names must not begin with _ or " + reserved + ", as " + excerpt(name) + " does"}
	}
}

// variable takes the name of a member if it is the short form of a variable.
func (g *guard) variable(name string) {
	if strings.HasPrefix(name, "$") {
		g.name(name)
	}
}

func (g *guard) query(q *gojq.Query) {
	if q == nil {
		return
	}
	if len(q.Imports) > 0 && g.err == nil {
		g.err = &SpecError{Field: "jq", Reason: "there are no modules to import"}
	}
	for _, def := range q.FuncDefs {
		for _, name := range append([]string{def.Name}, def.Args...) {
			g.name(name)
			if builtins()[name] && g.err == nil {
				g.err = &SpecError{Field: "jq", Reason: name + " is a function of jq; choose another name"}
			}
			g.own[name] = true
		}
		g.query(def.Body)
	}
	g.term(q.Term)
	g.query(q.Left)
	g.query(q.Right)
	g.patterns(q.Patterns)
	switch q.Op {
	case gojq.OpMul, gojq.OpSub:
		// l * r becomes pair(l; r) | .[0] * .[1].
		operation := &gojq.Query{Op: q.Op, Left: elementOf(0), Right: elementOf(1)}
		*q = gojq.Query{FuncDefs: q.FuncDefs, Meta: q.Meta, Op: gojq.OpPipe, Left: call("pair", q.Left, q.Right), Right: checkedQuery(operation)}
	case gojq.OpUpdateMul, gojq.OpUpdateSub:
		// l *= r becomes r as $klamm_r | l |= (pair(.; $klamm_r) | .[0] * .[1]).
		op := gojq.OpMul
		if q.Op == gojq.OpUpdateSub {
			op = gojq.OpSub
		}
		right := "$" + reserved + "r"
		operation := &gojq.Query{Op: gojq.OpPipe, Left: call("pair", identity(), function(right)),
			Right: &gojq.Query{Op: op, Left: elementOf(0), Right: elementOf(1)}}
		update := &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: &gojq.Query{Term: inBrackets(operation)}}
		*q = gojq.Query{FuncDefs: q.FuncDefs, Meta: q.Meta, Op: gojq.OpPipe, Left: q.Right, Patterns: []*gojq.Pattern{{Name: right}}, Right: checkedQuery(update)}
	case gojq.OpAdd, gojq.OpDiv, gojq.OpAssign, gojq.OpModify, gojq.OpUpdateAdd, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		inner := &gojq.Query{Op: q.Op, Left: q.Left, Right: q.Right}
		checked := checkedQuery(inner)
		checked.FuncDefs, checked.Meta = q.FuncDefs, q.Meta
		*q = *checked
	}
}

func (g *guard) patterns(list []*gojq.Pattern) {
	for _, p := range list {
		g.name(p.Name)
		g.patterns(p.Array)
		for _, o := range p.Object {
			g.variable(o.Key)
			g.text(o.KeyString)
			g.query(o.KeyQuery)
			if o.Val != nil {
				g.patterns([]*gojq.Pattern{o.Val})
			}
		}
	}
}

func (g *guard) text(s *gojq.String) {
	if s != nil {
		for _, q := range s.Queries {
			g.query(q)
		}
	}
}

func (g *guard) index(i *gojq.Index) {
	if i == nil {
		return
	}
	g.text(i.Str)
	for _, q := range []**gojq.Query{&i.Start, &i.End} {
		if *q != nil {
			g.query(*q)
			*q = &gojq.Query{Op: gojq.OpPipe, Left: *q, Right: call("position")}
		}
	}
}

// term rewrites a term and what it holds. Suffixes belong to what is in front of
// them, and so stay behind a check.
func (g *guard) term(t *gojq.Term) {
	if t == nil {
		return
	}
	for _, s := range t.SuffixList {
		g.index(s.Index)
	}
	g.index(t.Index)
	g.text(t.Str)
	g.query(t.Query)
	grows := t.Type == gojq.TermTypeFormat
	if t.Str != nil {
		grows = grows || len(t.Str.Queries) > 0
	}
	if t.Array != nil {
		g.query(t.Array.Query)
		grows = true
	}
	if t.Object != nil {
		for _, kv := range t.Object.KeyVals {
			g.variable(kv.Key)
			g.text(kv.KeyString)
			g.query(kv.KeyQuery)
			g.query(kv.Val)
		}
		grows = true
	}
	g.control(t)
	if t.Func != nil {
		g.function(t)
		return
	}
	if grows {
		g.check(t)
	}
}

// control rewrites the terms that hold others and make nothing themselves.
func (g *guard) control(t *gojq.Term) {
	if t.Unary != nil {
		g.term(t.Unary.Term)
	}
	if t.If != nil {
		g.query(t.If.Cond)
		g.query(t.If.Then)
		for _, e := range t.If.Elif {
			g.query(e.Cond)
			g.query(e.Then)
		}
		g.query(t.If.Else)
	}
	if t.Try != nil {
		g.query(t.Try.Body)
		g.query(t.Try.Catch)
	}
	if t.Reduce != nil {
		g.query(t.Reduce.Query)
		g.patterns(t.Reduce.Patterns)
		g.query(t.Reduce.Start)
		g.query(t.Reduce.Update)
	}
	if t.Foreach != nil {
		g.query(t.Foreach.Query)
		g.patterns(t.Foreach.Patterns)
		g.query(t.Foreach.Start)
		g.query(t.Foreach.Update)
		g.query(t.Foreach.Extract)
	}
	if t.Label != nil {
		g.query(t.Label.Body)
	}
}

// function rewrites a call. The program's own functions are checked where they
// are defined; a check behind their calls would keep them from calling
// themselves without end of memory.
func (g *guard) function(t *gojq.Term) {
	f := t.Func
	g.name(f.Name)
	for _, arg := range f.Args {
		g.query(arg)
	}
	if strings.HasPrefix(f.Name, "$") || g.own[f.Name] {
		return
	}
	if check := indexing[f.Name]; check != "" && len(f.Args) > 0 {
		f.Args[0] = &gojq.Query{Op: gojq.OpPipe, Left: f.Args[0], Right: call(check)}
	}
	_, alone := costlyAlone[f.Name]
	_, withArg := costly[f.Name]
	switch {
	case alone && len(f.Args) == 0:
		// f becomes if klamm_f then f else . end.
		t.Type, t.Func, t.Query = gojq.TermTypeQuery, nil, conditional(call(f.Name), f)
	case withArg && len(f.Args) > 0:
		g.before(t, f.Name)
	case g.matching(f):
		g.before(t, matchCheck(globalFlags(f)))
	}
	if !harmless[f.Name] {
		g.check(t)
	}
}

// before puts a check in front of a call: f(a) becomes
// a as $klamm_a | if klamm_check($klamm_a) then f($klamm_a) else . end.
func (g *guard) before(t *gojq.Term, check string) {
	arg := "$" + reserved + "a"
	inner := &gojq.Func{Name: t.Func.Name, Args: append([]*gojq.Query{function(arg)}, t.Func.Args[1:]...)}
	query := &gojq.Query{Op: gojq.OpPipe, Left: t.Func.Args[0], Patterns: []*gojq.Pattern{{Name: arg}}, Right: conditional(call(check, function(arg)), inner)}
	t.Type, t.Func, t.Query = gojq.TermTypeQuery, nil, query
}

// conditional is if condition then f else . end.
func conditional(condition *gojq.Query, f *gojq.Func) *gojq.Query {
	then := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: f}}
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIf, If: &gojq.If{Cond: condition, Then: then}}}
}

// check puts a check of the size behind a term, and in front of its suffixes.
func (g *guard) check(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: checkedQuery(&gojq.Query{Term: &inner}), SuffixList: t.SuffixList}
}

// checkedQuery is q | if klamm_fits then . else . end, where klamm_fits fails
// for what is too large. Unlike a mere function, it may stand in a path.
func checkedQuery(q *gojq.Query) *gojq.Query {
	return &gojq.Query{Op: gojq.OpPipe, Left: q, Right: &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIf, If: &gojq.If{Cond: call("fits"), Then: identity()}}}}
}

func call(name string, args ...*gojq.Query) *gojq.Query { return function(reserved+name, args...) }

func function(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }

func elementOf(i int) *gojq.Query {
	index := &gojq.Index{Start: &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeNumber, Number: fmt.Sprint(i)}}}
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIndex, Index: index}}
}

func inBrackets(q *gojq.Query) *gojq.Term { return &gojq.Term{Type: gojq.TermTypeQuery, Query: q} }
