package rule

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxPattern bounds a pattern's text, in bytes.
	maxPattern = 64 << 10
	// maxAlternatives is how many ways through its $or arrays a pattern may
	// have, and maxClauses how many clauses they may have in all.
	maxAlternatives = 1000
	maxClauses      = 100_000
)

// A SyntaxError says why a pattern is not valid. Reason is EventBridge's text
// where EventBridge has one (event-patterns.md 9).
type SyntaxError struct{ Reason string }

func (e *SyntaxError) Error() string { return "Event pattern is not valid. Reason: " + e.Reason }

func invalid(form string, args ...any) error { return &SyntaxError{fmt.Sprintf(form, args...)} }

// A Pattern is a compiled event pattern. It is immutable and safe for concurrent
// use.
type Pattern struct {
	alternatives [][]*clause // in each, the paths ascend
	leaves       []leafOf
	machine      machine // the ends are the indexes of the alternatives
	fields       []string
}

// A leafOf is a clause as it stands in the pattern's text.
type leafOf struct {
	branch string // of $or: "$or[0]", "a.$or[1].$or[0]"; empty outside
	clause *clause
}

// Compile compiles a pattern of at most 64 KiB, with at most 1000 ways through
// its $or arrays. The error is a *SyntaxError.
func Compile(pattern []byte) (*Pattern, error) { return compile(pattern, false) }

func compile(pattern []byte, record bool) (*Pattern, error) {
	if len(pattern) > maxPattern {
		return nil, invalid("the pattern has %d bytes; at most %d are allowed", len(pattern), maxPattern)
	}
	root, err := parse(pattern)
	if err != nil {
		return nil, err
	}
	c := compiler{record: record, noted: map[[2]string]int{}}
	chains, err := c.object(root, "", "")
	if err != nil {
		return nil, err
	}
	p := &Pattern{leaves: c.leaves}
	var n numbering
	for i, chain := range chains {
		a := chain.clauses()
		p.alternatives = append(p.alternatives, a)
		p.machine = n.with(p.machine, a, int32(i))
	}
	for _, l := range p.leaves {
		name, _, _ := strings.Cut(l.clause.path, ".")
		p.fields = append(p.fields, name)
	}
	slices.Sort(p.fields)
	p.fields = slices.Compact(p.fields)
	return p, nil
}

// Fields returns the names of the top-level fields that the pattern looks at,
// ascending; a name with dots counts up to the first. A caller need not build
// the others into a document. The result must not be changed.
func (p *Pattern) Fields() []string { return p.fields }

// Match says whether the pattern matches an event, which is one JSON object. It
// keeps no reference to the event. The error is ErrEvent if the event is no JSON
// object, or ErrEffort. Parts of the event that no path of the pattern names are
// not looked at more closely than is needed to find their end: a caller who has
// to know whether all of it is JSON must check that apart.
func (p *Pattern) Match(event []byte) (bool, error) {
	s, err := newSearch(&p.machine, event)
	if err != nil {
		return false, err
	}
	defer s.done()
	err = s.run(false, 0)
	return len(s.ends) > 0, err
}

// A chain is an alternative while it is put together: its last clause and those
// before. Chains share their beginnings.
type chain struct {
	last   *clause
	before *chain
	length int
}

func (c *chain) and(last *clause) *chain {
	if c == nil {
		return &chain{last, nil, 1}
	}
	return &chain{last, c, c.length + 1}
}

// clauses returns the alternative by ascending paths. Of several clauses with one
// path the last counts.
func (c *chain) clauses() []*clause {
	seen := make(map[string]bool, c.length)
	var all []*clause
	for ; c != nil; c = c.before {
		if !seen[c.last.path] {
			seen[c.last.path] = true
			all = append(all, c.last)
		}
	}
	slices.SortFunc(all, func(a, b *clause) int { return strings.Compare(a.path, b.path) })
	return all
}

// A compiler turns the JSON of a pattern into chains.
type compiler struct {
	record bool // paths below key and value are data
	leaves []leafOf
	noted  map[[2]string]int // branch and path, in leaves
}

// note keeps a leaf of the pattern; one with the same path replaces it.
func (c *compiler) note(branch string, leaf *clause) {
	at := [2]string{branch, leaf.path}
	i, ok := c.noted[at]
	if ok {
		c.leaves[i].clause = leaf
		return
	}
	c.noted[at] = len(c.leaves)
	c.leaves = append(c.leaves, leafOf{branch, leaf})
}

// object returns the alternatives of an object whose names follow a prefix, in a
// branch of $or if that is not empty.
func (c *compiler) object(n *node, prefix, branch string) ([]*chain, error) {
	if n.kind != '{' {
		return nil, invalid("Filter is not an object")
	}
	if len(n.members) == 0 {
		return nil, invalid("Empty objects are not allowed")
	}
	all := []*chain{nil}
	for _, m := range n.members {
		var more []*chain
		var err error
		if m.name == "$or" {
			more, err = c.or(m.value, prefix, branch)
		} else {
			more, err = c.member(m, prefix, branch)
		}
		if err == nil {
			all, err = product(all, more)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// product joins each alternative of one list with each of another.
func product(a, b []*chain) ([]*chain, error) {
	if len(a)*len(b) > maxAlternatives {
		return nil, tooManyAlternatives()
	}
	if len(a) == 1 && a[0] == nil {
		return b, nil
	}
	all := make([]*chain, 0, len(a)*len(b))
	total := 0
	for _, front := range a {
		for _, back := range b {
			joined := front
			for _, last := range back.clauses() {
				joined = joined.and(last)
			}
			if total += joined.length; total > maxClauses {
				return nil, invalid("Too many $or combinations: they have more than %d fields in all", maxClauses)
			}
			all = append(all, joined)
		}
	}
	return all, nil
}

func tooManyAlternatives() error {
	return invalid("Too many $or combinations: more than %d", maxAlternatives)
}

func (c *compiler) or(n *node, prefix, branch string) ([]*chain, error) {
	if n.kind != '[' {
		return nil, invalid("It must be an Array followed with $or.")
	}
	for _, item := range n.items {
		if item.kind != '{' {
			return nil, invalid("Only JSON object is allowed in array of $or relationship.")
		}
	}
	var all []*chain
	for i, item := range n.items {
		more, err := c.object(item, prefix, branchName(branch, prefix, i))
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > maxAlternatives {
			return nil, tooManyAlternatives()
		}
	}
	if len(n.items) < 2 {
		return nil, invalid("There must have at least 2 Objects in $or relationship.")
	}
	return all, nil
}

func branchName(outer, prefix string, i int) string {
	if outer != "" {
		return fmt.Sprintf("%s.$or[%d]", outer, i)
	}
	return fmt.Sprintf("%s$or[%d]", prefix, i)
}

var reserved = []string{"prefix", "suffix", "numeric", "exists", "cidr", "wildcard", "equals-ignore-case", "anything-but", "exactly", "=", "<", "<=", ">", ">=",
	"regex", "not-wildcard", "not-equals-ignore-case", "date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range", "ip-address-in-range", "ip-address-not-in-range"}

func (c *compiler) member(m member, prefix, branch string) ([]*chain, error) {
	if branch != "" && slices.Contains(reserved, m.name) {
		return nil, invalid("%s is Ruler reserved fieldName which cannot be used inside $or.", m.name)
	}
	full := prefix + m.name
	switch m.value.kind {
	case '{':
		return c.object(m.value, full+".", branch)
	case '[':
		leaf, err := newClause(full, m.value)
		if err != nil {
			return nil, err
		}
		if c.record {
			leaf.setData()
		}
		c.note(branch, leaf)
		return []*chain{(*chain)(nil).and(leaf)}, nil
	}
	return nil, invalid("%q must be an object or an array", m.name)
}
