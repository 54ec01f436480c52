package iam

import (
	"fmt"
	"strings"
)

// A statement is compiled.
type statement struct {
	sid     string
	deny    bool
	actions actions
	mask    uint64 // the known actions that it is about
	// notAction and notResource turn what they list around.
	notAction   bool
	resources   []resourcePattern
	notResource bool
	head        string      // what names begin with if the one resource matches; see misses
	principals  *principals // nil in identity policies
	exempt      bool        // principals is a NotPrincipal element
	conditions  []*condition
	needs       []*variable // those without a default: the statement needs them all
	bars        bool        // it denies something to everybody; see Set.Barred
}

// concerns says whether the statement is about an action at all.
func (s *statement) concerns(a *Action) bool {
	if a.bit != 0 {
		return s.mask&a.bit != 0
	}
	return s.actions.match(a) != s.notAction
}

// misses says whether the name of a resource alone shows that the statement is not
// about it. It is there for speed: most statements of a long document end here.
func (s *statement) misses(r *Resource) bool {
	return s.head != "" && r.segmented && !strings.HasPrefix(r.segments[3], s.head)
}

// holds says whether everything but action and principal matches.
func (s *statement) holds(q *query) bool {
	if !s.covers(&q.Resource, q) {
		return false
	}
	for _, c := range s.conditions {
		if !c.match(q) {
			return false
		}
	}
	return true
}

// covers says whether the resource matches. A variable without a value ends it:
// such a statement matches nothing, whatever else it lists.
func (s *statement) covers(r *Resource, q *query) bool {
	for _, v := range s.needs {
		if _, ok := v.value(q); !ok {
			return false
		}
	}
	for i := range s.resources {
		if s.resources[i].match(r, q) {
			return !s.notResource
		}
	}
	return s.notResource
}

// A member is one element of a statement, decoded.
type member struct {
	name   string
	values []string // of Action, NotAction, Resource and NotResource
}

// compile makes a statement of its elements, and returns what is odd about it.
func (e *elements) compile(kind Kind, variables bool) (*statement, []string, error) {
	s := &statement{sid: e.sid, deny: e.effect == "Deny", notAction: e.actions.name == "NotAction", notResource: e.resources.name == "NotResource"}
	var odd []string
	for _, text := range e.actions.values {
		if err := s.actions.add(text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.actions.name, err)
		}
	}
	if s.mask = s.actions.mask; s.notAction {
		s.mask = ^s.mask
	}
	foreseen := true
	use := func(p *pattern) {
		p.variables(func(v *variable) {
			foreseen = foreseen && v.key.foreseen()
			if !v.optional {
				s.needs = append(s.needs, v)
			}
		})
	}
	for _, text := range e.resources.values {
		p, err := compileResource(text, variables, kind != Resources)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.resources.name, err)
		}
		if p.parts[5] != nil {
			use(p.parts[5])
		}
		s.resources = append(s.resources, *p)
		if !s.notResource && !s.reachable(p) {
			odd = append(odd, fmt.Sprintf("%s: %q: none of the actions can be done to that", e.resources.name, clip(text)))
		}
	}
	if only := &s.resources[0]; len(s.resources) == 1 && !s.notResource && only.segmented {
		s.head = only.segments[3].head()
	}
	for _, c := range e.conditions {
		made, uses, strange, err := compileCondition(c.operator, c.key, c.values, variables)
		if err != nil {
			return nil, nil, fmt.Errorf("element Condition: %s: %s: %w", clip(c.operator), clip(c.key), err)
		}
		for _, text := range strange {
			odd = append(odd, fmt.Sprintf("Condition: %s: %s: %s", c.operator, clip(c.key), text))
		}
		for _, p := range uses {
			use(p)
		}
		made.denies = s.deny
		foreseen = foreseen && made.key.foreseen()
		s.conditions = append(s.conditions, made)
		if made.set == forAllValues && !s.deny {
			odd = append(odd, fmt.Sprintf("Condition: %s: it allows callers without any %s too; add a Null condition", c.operator, clip(c.key)))
		}
	}
	if s.deny && len(s.needs) > 0 {
		odd = append(odd, fmt.Sprintf("the denial does not count where ${%s} has no value; give it a default", clip(s.needs[0].key.Written)))
	}
	s.principals, s.exempt = e.principals, e.exempt
	s.bars = s.deny && foreseen && s.principals != nil && s.principals.everybody && !s.exempt
	if s.exempt && !s.deny {
		odd = append(odd, "NotPrincipal: with Allow it grants nothing to anybody; name the principals")
	}
	return s, odd, nil
}

// reachable says whether one of the statement's actions can be done to something
// that matches a resource.
func (s *statement) reachable(p *resourcePattern) bool {
	if s.notAction || p.all {
		return true
	}
	for _, text := range s.actions.rest {
		first := ""
		if len(text.tokens) > 0 {
			first = text.tokens[0].text
		}
		if service, _, ok := strings.Cut(first, ":"); !ok || service != "kafka-cluster" && service != "execute-api" && service != "klamm" {
			return true // of an API whose resources are not known here
		}
	}
	for _, a := range known {
		if s.actions.mask&a.bit != 0 && p.usable(knownKinds[a.lower]) {
			return true
		}
	}
	return false
}
