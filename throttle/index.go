package throttle

import (
	"slices"
	"strings"
)

// An index finds the rules that may apply to a call, so that ten thousand rules
// for as many topics or callers cost no more than ten. A rule stands in one of its
// parts: under the most special thing that its match names.
type index struct {
	topics     nameIndex
	principals nameIndex
	consumers  nameIndex          // groups of consumers
	groups     map[string][]*rule // of principals
	plans      map[string][]*rule
	routes     map[string][]*rule
	rest       []*rule
}

// A nameIndex finds rules by a name, or by what stands before the only "*" of a pattern.
type nameIndex struct {
	whole    map[string][]*rule
	prefixes map[string][]*rule
	lengths  []int // of the prefixes
}

// add takes a rule in, unless its pattern is empty or has its "*" elsewhere.
func (n *nameIndex) add(pattern string, r *rule) bool {
	prefix, after, wild := strings.Cut(pattern, "*")
	switch {
	case prefix == "" || after != "":
		return false
	case !wild:
		put(&n.whole, pattern, r)
	default:
		put(&n.prefixes, prefix, r)
		if !slices.Contains(n.lengths, len(prefix)) {
			n.lengths = append(n.lengths, len(prefix))
		}
	}
	return true
}

// each calls with every rule whose pattern matches a name.
func (n *nameIndex) each(name string, with func([]*rule)) {
	if name == "" {
		return
	}
	with(n.whole[name])
	for _, l := range n.lengths {
		if l <= len(name) {
			with(n.prefixes[name[:l]])
		}
	}
}

func (x *index) add(r *rule) {
	m := &r.spec.Match
	switch {
	case x.topics.add(m.Topic, r), x.consumers.add(m.Group, r), x.principals.add(m.Principal, r):
	case m.Plan != "":
		put(&x.plans, m.Plan, r)
	case len(m.GroupsAny) > 0:
		for _, g := range m.GroupsAny {
			put(&x.groups, g, r)
		}
	case m.Route != "":
		put(&x.routes, m.Route, r)
	default:
		x.rest = append(x.rest, r)
	}
}

func put(m *map[string][]*rule, k string, r *rule) {
	if *m == nil {
		*m = map[string][]*rule{}
	}
	if !slices.Contains((*m)[k], r) {
		(*m)[k] = append((*m)[k], r)
	}
}

// each calls with every rule that may apply, once.
func (x *index) each(c *Call, with func(*rule)) {
	all := func(rules []*rule) {
		for _, r := range rules {
			with(r)
		}
	}
	all(x.rest)
	all(x.routes[c.Route])
	x.principals.each(c.Principal, all)
	x.topics.each(c.Topic, all)
	x.consumers.each(c.Group, all)
	if len(x.plans) > 0 {
		for _, p := range c.Plans {
			all(x.plans[p])
		}
	}
	if len(x.groups) == 0 {
		return
	}
	for i, g := range c.Groups {
		for _, r := range x.groups[g] {
			// A caller in two groups of a rule meets it once.
			if !slices.ContainsFunc(c.Groups[:i], func(g string) bool { return slices.Contains(r.spec.Match.GroupsAny, g) }) {
				with(r)
			}
		}
	}
}
