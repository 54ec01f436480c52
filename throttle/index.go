package throttle

import (
	"slices"
	"strings"
)

// An index finds the rules that may apply to a call, so that ten thousand rules
// for as many topics or callers cost no more than ten.
type index struct {
	topics     map[string][]*rule
	prefixes   map[string][]*rule // of topics
	lengths    []int              // of the prefixes
	principals map[string][]*rule
	groups     map[string][]*rule // of principals
	plans      map[string][]*rule
	routes     map[string][]*rule
	rest       []*rule
}

func (x *index) add(r *rule) {
	m := &r.spec.Match
	prefix, after, wild := strings.Cut(m.Topic, "*")
	switch {
	case m.Topic != "" && !wild:
		put(&x.topics, m.Topic, r)
	case prefix != "" && after == "":
		put(&x.prefixes, prefix, r)
		if !slices.Contains(x.lengths, len(prefix)) {
			x.lengths = append(x.lengths, len(prefix))
		}
	case m.Principal != "" && !strings.Contains(m.Principal, "*"):
		put(&x.principals, m.Principal, r)
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
	all(x.principals[c.Principal])
	if len(x.plans) > 0 {
		for _, p := range c.Plans {
			all(x.plans[p])
		}
	}
	if c.Topic != "" {
		all(x.topics[c.Topic])
		for _, n := range x.lengths {
			if n <= len(c.Topic) {
				all(x.prefixes[c.Topic[:n]])
			}
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
