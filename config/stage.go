package config

import (
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

// stageVariable finds what stands for a variable of a stage.
var stageVariable = regexp.MustCompile(`\$\{stage\.([A-Za-z0-9_]+)\}`)

// stages puts the variables of stages into the texts that belong to one stage alone
// (gateway-policies.md 5.2): its CORS rules, the limits and classes that match it, and
// of routes that are in it alone the schemas, url and to. Elsewhere ${stage.NAME} is a
// problem, but for topic_prefix and expressions, which are looked at for each request.
func (d *decoder) stages(root ast.Node) {
	variables := map[string]map[string]string{}
	for _, st := range items(member(root, "stages")) {
		of := map[string]string{}
		for _, e := range members(member(st, "variables")) {
			if key, ok := text(e.Key); ok {
				if value, ok := text(plain(e.Value)); ok {
					of[key] = value
				}
			}
		}
		if name, ok := text(plain(member(st, "name"))); ok {
			variables[name] = of
		}
		d.fill(member(st, "cors"), of)
	}
	matched := func(list ast.Node) {
		for _, one := range items(list) {
			match := member(one, "match")
			name, _ := text(plain(member(match, "stage")))
			d.fill(match, variables[name])
		}
	}
	matched(member(root, "limits"))
	matched(member(member(root, "adaptive"), "classes"))
	for _, one := range items(member(root, "routes")) {
		var of map[string]string
		if in := items(member(one, "stages")); len(in) == 1 {
			name, _ := text(plain(in[0]))
			of = variables[name]
		}
		for _, key := range []string{"body", "records_schema", "url", "to"} {
			d.fill(member(one, key), of)
		}
	}
	d.fill(member(root, "topics"), nil)
	d.fill(member(root, "cors"), nil)
}

// fill replaces the variables in all texts below a node.
func (d *decoder) fill(n ast.Node, of map[string]string) {
	switch node := n.(type) {
	case *ast.AnchorNode:
		d.fill(node.Value, of)
	case *ast.MappingNode:
		for _, e := range node.Values {
			d.fill(e.Value, of)
		}
	case *ast.MappingValueNode:
		d.fill(node.Value, of)
	case *ast.SequenceNode:
		for _, e := range node.Values {
			d.fill(e, of)
		}
	case *ast.LiteralNode:
		d.fill(node.Value, of)
	case *ast.StringNode:
		node.Value = stageVariable.ReplaceAllStringFunc(node.Value, func(m string) string {
			value, ok := of[m[len("${stage."):len(m)-1]]
			switch {
			case of == nil:
				d.note(n, "%s stands here for no stage: what has it must belong to one stage alone", short(m))
			case !ok:
				d.note(n, "%s is no variable of the stage", short(m))
			}
			return value
		})
	}
}

// plain is what an anchor stands before, or the node itself.
func plain(n ast.Node) ast.Node {
	if a, ok := n.(*ast.AnchorNode); ok {
		return a.Value
	}
	return n
}

// members are the keys of a mapping with their values.
func members(n ast.Node) []*ast.MappingValueNode {
	switch m := plain(n).(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

// member is the value of a key; nil: there is none.
func member(n ast.Node, key string) ast.Node {
	for _, e := range members(n) {
		if name, ok := text(e.Key); ok && name == key {
			return e.Value
		}
	}
	return nil
}

// items are those of a list.
func items(n ast.Node) []ast.Node {
	if s, ok := plain(n).(*ast.SequenceNode); ok {
		return s.Values
	}
	return nil
}
