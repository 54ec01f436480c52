package transform

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A step leads from a value to a part of it.
type step struct {
	kind  stepKind
	name  string // of a member
	index int    // of an element
}

type stepKind uint8

const (
	member  stepKind = iota // .name or ['name']
	element                 // [n]
	every                   // [*]
)

// parsePath reads a whole path of the given field.
func parsePath(field, text string) ([]step, error) {
	if err := tooLong(field, text, maxPath); err != nil {
		return nil, err
	}
	steps, end, err := scanPath(text)
	if err == nil && end < len(text) {
		err = &SpecError{Reason: fmt.Sprintf("%s is no part of a path; write .name, ['name'], [n] or [*]", excerpt(text[end:]))}
	}
	if err != nil {
		err.Field, err.Position = field, position(text, end)
		return nil, err
	}
	return steps, nil
}

// scanPath reads the path at the beginning of a text and returns where it ends,
// or where the mistake is.
func scanPath(text string) (steps []step, end int, err *SpecError) {
	if !strings.HasPrefix(text, "$") {
		return nil, 0, &SpecError{Reason: "a path begins with $, as in $.value.id"}
	}
	i := 1
	for i < len(text) && (text[i] == '.' || text[i] == '[') {
		var s step
		var n int
		if text[i] == '.' {
			s, n, err = scanName(text[i:])
		} else {
			s, n, err = scanBracket(text[i:])
		}
		if err != nil {
			return nil, i, err
		}
		if steps = append(steps, s); len(steps) > maxPathSteps {
			return nil, i, &SpecError{Reason: fmt.Sprintf("the path has more than %d steps", maxPathSteps)}
		}
		i += n
	}
	return steps, i, nil
}

// scanName reads .name.
func scanName(text string) (step, int, *SpecError) {
	end := 1
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-/", r) {
			break
		}
		end += size
	}
	switch {
	case end > 1:
		return step{kind: member, name: text[1:end]}, end, nil
	case strings.HasPrefix(text, ".*"):
		return step{}, 0, &SpecError{Reason: "a wildcard stands only for the elements of an array, as in $.lines[*]"}
	case strings.HasPrefix(text, ".."):
		return step{}, 0, &SpecError{Reason: "there is no recursive descent; write the whole path"}
	}
	return step{}, 0, &SpecError{Reason: "a name must follow the dot: letters, digits, _, - and /; write others as ['name']"}
}

// scanBracket reads ['name'], [n] or [*].
func scanBracket(text string) (step, int, *SpecError) {
	if strings.HasPrefix(text, "[*]") {
		return step{kind: every}, 3, nil
	}
	if strings.HasPrefix(text, "['") {
		var name strings.Builder
		for i := 2; i < len(text); i++ {
			switch {
			case text[i] == '\'' && strings.HasPrefix(text[i:], "']"):
				return step{kind: member, name: name.String()}, i + 2, nil
			case text[i] == '\\' && i+1 < len(text):
				i++
			}
			name.WriteByte(text[i])
		}
		return step{}, 0, &SpecError{Reason: "['name'] is not closed by ']"}
	}
	end := 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	if end > 1 && end < len(text) && text[end] == ']' {
		n, err := strconv.ParseInt(text[1:end], 10, 32)
		if err != nil {
			return step{}, 0, &SpecError{Reason: "the index is too large"}
		}
		return step{kind: element, index: int(n)}, end + 1, nil
	}
	return step{}, 0, &SpecError{Reason: "a bracket holds a number, * or a name in single quotes; there are no slices and filters"}
}

// A node is a place in documents that paths lead to or through. The nodes of
// all paths of a transform form a tree; each has a slot for what is found, and
// the slots of a subtree are neighbours, so that they can be cleared together:
//
//	$.value.id, $.value.who.n, $.topic
//
//	root 0 --value--> 1 --id--> 2        the subtree of value is slots 1 to 4
//	     |            '--who--> 3 --n--> 4
//	     '--topic--> 5
type node struct {
	slot, next int // its slot, and the first one behind its subtree
	wanted     bool
	encoded    uint8 // 1 or 2: a base64 text may stand here, decoded into that buffer of a walk
	names      []branch
	byName     map[string]*node // where there are many
	elements   []place          // by index
	spread     []spread
}

// A spread is what a path has from its first [*] on. It has a slot of its own.
type spread struct {
	steps        []step
	slot, number int // the latter counts the spreads of the tree
}

type branch struct {
	name string
	to   *node
}

type place struct {
	index int
	to    *node
}

// manyNames is from where on a map is faster than looking at one name after
// another.
const manyNames = 8

// add returns the node that steps lead to, which must not have an every.
func (n *node) add(steps []step) *node {
	for _, s := range steps {
		n = n.child(s)
	}
	return n
}

func (n *node) child(s step) *node {
	if s.kind == member {
		for _, b := range n.names {
			if b.name == s.name {
				return b.to
			}
		}
		to := &node{}
		n.names = append(n.names, branch{s.name, to})
		switch {
		case n.byName != nil:
			n.byName[s.name] = to
		case len(n.names) > manyNames:
			n.byName = make(map[string]*node)
			for _, b := range n.names {
				n.byName[b.name] = b.to
			}
		}
		return to
	}
	at, found := slices.BinarySearchFunc(n.elements, s.index, func(e place, index int) int { return e.index - index })
	if !found {
		n.elements = slices.Insert(n.elements, at, place{s.index, &node{}})
	}
	return n.elements[at].to
}

// number gives slots to a subtree, from slot on, and returns the next free one.
func (n *node) number(slot int) int {
	n.slot = slot
	slot++
	for i := range n.spread {
		n.spread[i].slot = slot
		slot++
	}
	for _, b := range n.names {
		slot = b.to.number(slot)
	}
	for _, e := range n.elements {
		slot = e.to.number(slot)
	}
	n.next = slot
	return slot
}

// named returns the child for a member, or nil.
func (n *node) named(name []byte) *node {
	if n.byName != nil {
		return n.byName[string(name)]
	}
	for i := range n.names {
		if n.names[i].name == string(name) {
			return n.names[i].to
		}
	}
	return nil
}
