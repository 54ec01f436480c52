package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// An entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    ast.Node // the key
	value ast.Node
}

// entries returns the members of a mapping, and false if the node is none. Keys
// that stand there twice are problems; the first one counts. What merge keys add
// comes last and does not replace anything.
func (d *decoder) entries(path string, n ast.Node) ([]entry, bool) {
	return d.merged(path, n, 0)
}

func (d *decoder) merged(path string, n ast.Node, depth int) (all []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, false
	}
	seen := make(map[string]bool, len(values))
	var merges []ast.Node
	for _, e := range values {
		if e.Key.IsMergeKey() {
			merges = append(merges, e.Value)
			continue
		}
		key, ok := text(e.Key)
		switch {
		case !ok:
			d.problem(join(path, "?"), e.Key, "want a text as key, have %s", kindOf(e.Key))
		case seen[key]:
			d.problem(join(path, "?"), e.Key, "key %q stands here twice", short(key))
		default:
			all = append(all, entry{key, e.Key, e.Value})
			seen[key] = true
		}
	}
	for _, m := range merges {
		for _, e := range d.merge(path, m, depth) {
			if !seen[e.key] {
				all = append(all, e)
			}
			seen[e.key] = true
		}
	}
	return all, true
}

// merge returns what a merge key adds: the members of one mapping, or of each of
// a list, the first one first.
func (d *decoder) merge(path string, n ast.Node, depth int) (all []entry) {
	if depth > maxDepth || !d.spend(path, n) {
		return nil
	}
	if inner, ok := d.inner(path, n); inner != n {
		if ok {
			all = d.merge(path, inner, depth+1)
		}
		d.leave(n)
		return all
	}
	if s, ok := n.(*ast.SequenceNode); ok {
		for _, e := range s.Values {
			all = append(all, d.merge(path, e, depth+1)...)
		}
		return all
	}
	all, ok := d.merged(path, n, depth+1)
	if !ok {
		d.problem(path, n, "want a mapping to merge, have %s", kindOf(n))
	}
	d.budget -= len(all)
	return all
}

// inner returns what an anchor or alias stands for; any other node stands for
// itself. It is false, with a problem, if that cannot be said.
func (d *decoder) inner(path string, n ast.Node) (ast.Node, bool) {
	switch node := n.(type) {
	case *ast.AnchorNode:
		if _, ok := node.Value.(*ast.AliasNode); ok || node.Value == nil {
			d.problem(path, n, "an anchor must stand before a value")
			return nil, false
		}
		return node.Value, true
	case *ast.AliasNode:
		name := nameOf(node.Value)
		if value, ok := d.anchors[name]; ok {
			return value, true
		}
		d.problem(path, n, "no anchor &%s before this alias", short(name))
		return nil, false
	case *ast.TagNode:
		d.problem(path, n, "YAML tags are not supported; write the value without %s", short(node.Start.Value))
		return nil, false
	}
	return n, true
}

// leave makes an anchor known, once its value was decoded: it cannot contain
// itself.
func (d *decoder) leave(n ast.Node) {
	if a, ok := n.(*ast.AnchorNode); ok && a.Value != nil {
		d.anchors[nameOf(a.Name)] = a.Value
	}
}

func nameOf(n ast.Node) string {
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}

// text returns the text of a scalar, as it is written in the file.
func text(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.MappingKeyNode:
		return text(s.Value)
	}
	return "", false
}

// kindOf says what a node is, in a user's words. It does not show texts: they may
// be secrets in a wrong place.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	}
	return "a text"
}

// short makes a word of the file fit for a message.
func short(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		s = string(runes[:40]) + "..."
	}
	return s
}

// suggest names the known key that is nearest to a mistyped one, or all of them
// where none is near.
func suggest(key string, known []string) string {
	low := strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	best, distance := "", len(key)/3+2
	for _, k := range known {
		d := distance
		switch {
		case len(key) > 100:
		case len(low) > 2 && (strings.HasPrefix(low, k) || strings.HasPrefix(k, low)):
			d = 1
		default:
			d = edits(low, k)
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return "did you mean " + strconv.Quote(best) + "?"
	}
	return "known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// edits counts the insertions, deletions, replacements and swaps of neighbours
// that turn a into b.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
