package rule

import (
	"slices"
	"strings"
)

// fewItems is up to how many strings or numbers are compared one by one.
const fewItems = 8

// A clause is one leaf of a pattern: a path, and the matchers of which one must
// match one of the event's values there.
type clause struct {
	path   string
	source string // the array of matchers as the pattern has it
	name   string // the same for clauses that mean the same
	data   data
	plain  bool // the path is that of a record's key or value itself

	matchers []matcher // without exists:false
	absent   bool      // exists:false is one of them
	null     bool      // and null

	// The matchers again, for a test: many strings and numbers are looked up.
	strings map[string]struct{}
	numbers map[uint64]struct{}
	others  []matcher
}

// data says whether a path leads into a record's key or value, whose form may
// not fit the pattern (record.go).
type data byte

const (
	noData data = iota
	keyData
	valueData
)

func newClause(path string, n *node) (*clause, error) {
	all, err := compileMatchers(n)
	if err != nil {
		return nil, err
	}
	c := &clause{path: path, source: n.String()}
	var sources []string
	for _, m := range all {
		sources = append(sources, m.source)
	}
	slices.Sort(sources)
	sources = slices.Compact(sources)
	c.name = strings.Join(sources, ",")
	strs, nums := map[string]struct{}{}, map[uint64]struct{}{}
	for _, m := range all {
		if m.absent {
			c.absent = true
			continue
		}
		c.null = c.null || m.hint.kind == someLiteral && m.hint.text == "n"
		c.matchers = append(c.matchers, m)
		switch {
		case m.hint.kind == someString && m.sure:
			strs[m.hint.text] = struct{}{}
		case m.hint.kind == someNumber:
			nums[m.hint.span.low] = struct{}{}
		default:
			c.others = append(c.others, m)
		}
	}
	if len(strs) <= fewItems && len(nums) <= fewItems {
		c.others = c.matchers
		return c, nil
	}
	c.strings, c.numbers = strs, nums
	return c, nil
}

// matches says whether one of the matchers matches a value.
func (c *clause) matches(v *scalar) bool {
	if c.strings != nil {
		switch v.kind {
		case '"':
			if _, ok := c.strings[string(v.text)]; ok {
				return true
			}
		case '0':
			if _, ok := c.numbers[v.key()]; ok && v.exact() {
				return true
			}
		}
	}
	for i := range c.others {
		if c.others[i].test(v) {
			return true
		}
	}
	return false
}
