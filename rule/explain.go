package rule

import (
	"slices"
	"unicode/utf8"
)

// An Explanation says why an event matches a pattern or does not.
type Explanation struct {
	Matched bool `json:"matched"`
	// Apart is true if there is no match although every clause of some
	// alternative is satisfied by itself: the values lie in different elements
	// of one array.
	Apart bool `json:"apart,omitempty"`
	// Findings are the pattern's clauses in the order of its text.
	Findings []Finding `json:"findings"`
}

// A Finding is what an explanation says about one clause.
type Finding struct {
	// Branch is the place of the $or entries around the clause, such as
	// "detail.$or[0]", counted from 0; empty outside of $or.
	Branch string `json:"branch,omitempty"`
	// Path is the clause's path, its names joined with dots.
	Path string `json:"path"`
	// Clause is the array of matchers as the pattern has it, in compact JSON.
	Clause string `json:"clause"`
	// Satisfied says whether the clause is satisfied: in the alternative that
	// matched, or else by itself, wherever in arrays the values lie.
	Satisfied bool `json:"satisfied"`
	// Ignored is true for a clause on a record's key or value that counts as
	// satisfied because the data has a form that it cannot look at.
	Ignored bool `json:"ignored,omitempty"`
	// Values are the event's values at the path as JSON text, at most
	// MaxValues of them, each at most MaxValueBytes long and otherwise cut off
	// with "..." behind it. More is how many others there are.
	Values []string `json:"values,omitempty"`
	More   int      `json:"more,omitempty"`
}

// The bounds of what a Finding shows.
const (
	MaxValues     = 10
	MaxValueBytes = 200
)

// Explain says why the pattern matches an event or does not. It is made for
// people to read and takes longer than Match, whose errors it returns.
func (p *Pattern) Explain(event []byte) (*Explanation, error) {
	return p.explain(event, func(*search) {})
}

// Explain is Pattern.Explain for a record, given as in Match.
func (r *RecordPattern) Explain(document []byte, key, value Form) (*Explanation, error) {
	return r.pattern.explain(document, func(s *search) { s.setShapes(key, value) })
}

func (p *Pattern) explain(event []byte, prepare func(*search)) (*Explanation, error) {
	s, err := newSearch(&p.machine, event)
	if err != nil {
		return nil, err
	}
	defer s.done()
	prepare(s)
	if err := s.run(false, 0); err != nil {
		return nil, err
	}
	e := &Explanation{Matched: len(s.ends) > 0}
	var matched []*clause
	if e.Matched {
		matched = p.alternatives[s.ends[0]]
	} else {
		e.Apart = slices.ContainsFunc(p.alternatives, func(a []*clause) bool {
			return !slices.ContainsFunc(a, func(c *clause) bool { ok, _ := s.alone(c); return !ok })
		})
	}
	for _, l := range p.leaves {
		f := Finding{Branch: l.branch, Path: l.clause.path, Clause: l.clause.source}
		f.Satisfied, f.Ignored = s.alone(l.clause)
		f.Satisfied = f.Satisfied || slices.Contains(matched, l.clause)
		f.Values, f.More = s.show(l.clause)
		e.Findings = append(e.Findings, f)
	}
	return e, nil
}

// alone says whether a clause is satisfied by itself, and whether that is only
// because it cannot look at the data.
func (s *search) alone(c *clause) (satisfied, ignored bool) {
	if c.data != noData {
		if search, satisfied := s.asks(c); !search {
			return satisfied, s.shapes[c.data] != noShape
		}
	}
	head := s.headOf(c)
	for at := head; at != 0; at = s.values[at-1].next {
		if c.matches(s.load(at - 1)) {
			return true, false
		}
	}
	return c.absent && head == 0, false
}

// headOf returns 1 + the first value at a clause's path, or 0. A clause that was
// replaced in every alternative has no number.
func (s *search) headOf(c *clause) int32 {
	number := s.machine.names.get(c.path)
	if number < 0 {
		return 0
	}
	return s.head[number]
}

// show writes the values at a clause's path.
func (s *search) show(c *clause) (values []string, more int) {
	for at := s.headOf(c); at != 0; at = s.values[at-1].next {
		if len(values) == MaxValues {
			more++
			continue
		}
		v := &s.values[at-1]
		text := s.doc[v.start:v.end]
		if len(text) <= MaxValueBytes {
			values = append(values, string(text))
			continue
		}
		end := MaxValueBytes
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		values = append(values, string(text[:end])+"...")
	}
	return values, more
}
