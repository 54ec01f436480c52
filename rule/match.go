package rule

import (
	"fmt"
	"strings"
)

// Match says whether the pattern matches an event. The error is ErrEvent.
func (p *Pattern) Match(event []byte) (bool, error) {
	values, err := p.flatten(event)
	if err != nil {
		return false, err
	}
	for _, a := range p.alternatives {
		s := search{fields: a, values: values}
		if s.possible() && s.from(0) {
			return true, nil
		}
	}
	return false, nil
}

// A search looks for one value for each field such that no two of them lie in
// different elements of one array.
type search struct {
	fields  alternative
	values  [][]value
	matched [][]*value // by field, the values that match it
	fixed   []step     // the elements chosen so far
	tried   int
	failed  map[string]bool // choices that lead nowhere, once many were tried
}

// patience is how many choices are tried before failures are remembered.
const patience = 2_000

// possible finds the values that match each field, and is false if a field can
// be satisfied by nothing.
func (s *search) possible() bool {
	s.matched = make([][]*value, len(s.fields))
	for i, f := range s.fields {
		for j := range s.values[f.path] {
			v := &s.values[f.path][j]
			for k := range f.matchers {
				if f.matchers[k].matches(v) {
					s.matched[i] = append(s.matched[i], v)
					break
				}
			}
		}
		if len(s.matched[i]) == 0 && !f.absent {
			return false
		}
	}
	return true
}

// from looks for values for the fields from i on.
func (s *search) from(i int) bool {
	if i == len(s.fields) {
		return true
	}
	s.tried++
	key := ""
	if s.tried > patience {
		if key = s.situation(i); s.failed[key] {
			return false
		}
	}
	mark := len(s.fixed)
	for _, v := range s.matched[i] {
		if s.fix(v) {
			if s.from(i + 1) {
				return true
			}
		}
		s.fixed = s.fixed[:mark]
	}
	if s.fields[i].absent && s.isAbsent(i) && s.from(i+1) {
		return true
	}
	if key != "" {
		if s.failed == nil {
			s.failed = map[string]bool{}
		}
		s.failed[key] = true
	}
	return false
}

// fits says whether a value lies in no other element than those chosen.
func (s *search) fits(v *value) bool {
	for _, at := range v.at {
		for _, f := range s.fixed {
			if f.array == at.array && f.index != at.index {
				return false
			}
		}
	}
	return true
}

// fix chooses a value; the caller undoes it.
func (s *search) fix(v *value) bool {
	if !s.fits(v) {
		return false
	}
next:
	for _, at := range v.at {
		for _, f := range s.fixed {
			if f.array == at.array {
				continue next
			}
		}
		s.fixed = append(s.fixed, at)
	}
	return true
}

// isAbsent says whether a field has no value in the elements chosen so far.
func (s *search) isAbsent(i int) bool {
	for j := range s.values[s.fields[i].path] {
		if s.fits(&s.values[s.fields[i].path][j]) {
			return false
		}
	}
	return true
}

// situation names what the rest of the search depends on: the field, and the
// chosen elements of arrays that later fields have values in.
func (s *search) situation(i int) string {
	var b strings.Builder
	fmt.Fprint(&b, i)
	for _, f := range s.fixed {
		if s.matters(i, f.array) {
			fmt.Fprintf(&b, ",%d:%d", f.array, f.index)
		}
	}
	return b.String()
}

func (s *search) matters(from, array int) bool {
	for _, f := range s.fields[from:] {
		for j := range s.values[f.path] {
			for _, at := range s.values[f.path][j].at {
				if at.array == array {
					return true
				}
			}
		}
	}
	return false
}
