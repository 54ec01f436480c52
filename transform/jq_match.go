package transform

import (
	"fmt"
	"strings"
	"sync"

	"github.com/itchyny/gojq"
)

// gojq keeps every regular expression that a compiled program has met, and for
// each match counts the characters before it. So an expression that comes out
// of documents would fill the memory, and many matches in a long text would take
// hours in a single step. Programs are therefore checked before each call, and
// compiled anew when they have met many expressions.

const (
	maxExpressions = 1000    // of one compiled program
	manyExpression = 500     // from where on it is compiled anew
	maxExpression  = 4096    // bytes
	maxOneMatch    = 1 << 26 // bytes of a text times groups
	maxAllMatches  = 1 << 28 // the same times the bytes again, since every place may match
)

// expressions are the regular expressions that a compiled program has met.
type expressions struct {
	mu  sync.Mutex
	met map[string]bool // guarded by mu
}

func (e *expressions) many() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.met) > manyExpression
}

// check refuses a regular expression that may take too much with a text.
func (e *expressions) check(v, expression any, global bool) error {
	if pair, ok := expression.([]any); ok && len(pair) > 0 {
		expression = pair[0]
		if len(pair) > 1 {
			flags, _ := pair[1].(string)
			if len(flags) > 3 {
				return &ProgramError{Reason: "a regular expression has more than 3 flags"}
			}
			global = global || strings.Contains(flags, "g")
		}
	}
	text, ok := v.(string)
	re, isText := expression.(string)
	if !ok || !isText {
		return nil // gojq says what is wrong
	}
	if len(re) > maxExpression {
		return &ProgramError{Reason: fmt.Sprintf("a regular expression has more than %d bytes", maxExpression)}
	}
	n, groups := len(text)+1, strings.Count(re, "(")+1
	if n*groups > maxOneMatch || global && n*groups > maxAllMatches/n {
		return &ProgramError{Reason: "a text is too long for a regular expression"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.met) >= maxExpressions && !e.met[re] {
		return &ProgramError{Reason: fmt.Sprintf("the program makes more than %d regular expressions", maxExpressions)}
	}
	e.met[re] = true
	return nil
}

// flagsOf says which argument of a function has the flags of its regular
// expression, and whether it always looks for all matches.
var flagsOf = map[string]struct {
	flags  int
	global bool
}{
	"test": {1, false}, "match": {1, false}, "capture": {1, false}, "scan": {1, true}, "split": {1, true}, "splits": {1, true}, "sub": {2, false}, "gsub": {2, true},
}

// matching says whether a call has a regular expression. Flags must be written
// out, so that their number is bounded as well.
func (g *guard) matching(f *gojq.Func) bool {
	of, ok := flagsOf[f.Name]
	if !ok || len(f.Args) == 0 || f.Name == "split" && len(f.Args) == 1 {
		return false
	}
	if len(f.Args) > of.flags {
		if _, ok := literalFlags(f.Args[of.flags]); !ok && g.err == nil {
			g.err = &SpecError{Field: "jq", Reason: "the flags of " + f.Name + ` must be written out, as in "gi"`}
		}
	}
	return true
}

// globalFlags says whether a call looks for all matches.
func globalFlags(f *gojq.Func) bool {
	of := flagsOf[f.Name]
	if of.global || len(f.Args) <= of.flags {
		return of.global
	}
	flags, _ := literalFlags(f.Args[of.flags])
	return strings.Contains(flags, "g")
}

func literalFlags(q *gojq.Query) (flags string, ok bool) {
	if q.Term == nil || len(q.FuncDefs) > 0 || len(q.Term.SuffixList) > 0 {
		return "", false
	}
	switch t := q.Term; {
	case t.Type == gojq.TermTypeNull:
		return "", true
	case t.Type == gojq.TermTypeString && len(t.Str.Queries) == 0:
		return t.Str.Str, true
	}
	return "", false
}

// matchCheck is the name of the function that checks a call.
func matchCheck(global bool) string {
	if global {
		return "matches"
	}
	return "match"
}
