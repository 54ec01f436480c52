package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// The parser is recursive, and some of its steps take time that grows with the
// square of their input. These bounds, far beyond what people write, keep a file
// of the largest size to a few seconds and to a shallow stack.
const (
	maxDepth  = 64
	maxTokens = 1_000_000
	maxKeys   = 1000 // of one mapping in block style
	maxBlank  = 100  // blank lines in a row
	minBudget = 1 << 20
)

// boundText refuses what must not reach the lexer.
func boundText(text []byte) *Problem {
	if len(text) > MaxFile {
		return &Problem{1, 1, fmt.Sprintf("the file is larger than %d bytes", MaxFile)}
	}
	line, blank := 0, 0
	for rest, more := text, true; more; {
		var one []byte
		one, rest, more = bytes.Cut(rest, []byte("\n"))
		line++
		if !utf8.Valid(one) {
			return &Problem{line, 1, "this line is not UTF-8"}
		}
		if i := bytes.IndexFunc(one, control); i >= 0 {
			return &Problem{line, utf8.RuneCount(one[:i]) + 1, "a control character; write it as an escape within double quotes"}
		}
		if len(bytes.TrimSpace(one)) > 0 {
			blank = 0
		} else if blank++; blank > maxBlank && more {
			return &Problem{line, 1, fmt.Sprintf("more than %d empty lines in a row", maxBlank)}
		}
	}
	return nil
}

// control says whether YAML does not allow a character (YAML 1.2, 5.1).
func control(r rune) bool { return r < ' ' && r != '\t' && r != '\r' || r == 0x7f }

// boundTokens refuses what must not reach the parser.
func boundTokens(tokens token.Tokens) *Problem {
	var n nesting
	for i, t := range tokens {
		var wrong string
		if i >= maxTokens {
			wrong = fmt.Sprintf("the file has more than %d words and signs", maxTokens)
		} else {
			wrong = n.enter(t)
		}
		if wrong != "" {
			return &Problem{t.Position.Line, t.Position.Column, wrong}
		}
	}
	return nil
}

// A nesting is what is open at a token.
type nesting struct {
	// blocks are mappings and lists without brackets. They nest by their
	// columns, which grow from the first to the last.
	blocks []block
	// flows counts the members of what is open in brackets; lists are noMapping.
	flows []int
	// prefixes counts the anchors, tags and question marks just before.
	prefixes int
}

type block struct{ column, keys int }

// noMapping is a count of members that never reaches maxKeys.
const noMapping = -maxTokens

// enter takes one more token in and says what is too much.
func (n *nesting) enter(t *token.Token) (wrong string) {
	n.prefix(t)
	keys := 0
	switch t.Type {
	case token.SequenceStartType:
		n.flows = append(n.flows, noMapping)
	case token.MappingStartType:
		n.flows = append(n.flows, 0)
	case token.SequenceEndType, token.MappingEndType:
		n.flows = n.flows[:max(len(n.flows)-1, 0)]
	case token.CollectEntryType:
		if last := len(n.flows) - 1; last >= 0 {
			n.flows[last]++
			keys = n.flows[last]
		}
	case token.SequenceEntryType:
		if len(n.flows) > 0 {
			return "not YAML: items that begin with - cannot stand within brackets"
		}
		n.block(t)
	case token.MappingKeyType:
		n.block(t)
	case token.MappingValueType:
		if b := n.block(t.Prev); b != nil {
			b.keys++
			keys = b.keys
		}
	}
	switch {
	case keys > maxKeys:
		return fmt.Sprintf("more than %d keys side by side", maxKeys)
	case len(n.flows)+len(n.blocks)+n.prefixes > maxDepth:
		return fmt.Sprintf("nested more than %d levels deep", maxDepth)
	}
	return ""
}

// prefix counts what can stand before a value any number of times.
func (n *nesting) prefix(t *token.Token) {
	switch {
	case t.Type == token.AnchorType || t.Type == token.TagType || t.Type == token.MappingKeyType:
		n.prefixes++
	case t.PreviousType() != token.AnchorType: // whose name is a token of its own
		n.prefixes = 0
	}
}

// block returns the mapping or list that a key or item without brackets belongs
// to; nil within brackets.
func (n *nesting) block(first *token.Token) *block {
	if len(n.flows) > 0 || first == nil {
		return nil
	}
	column := first.Position.Column
	for len(n.blocks) > 0 && n.blocks[len(n.blocks)-1].column > column {
		n.blocks = n.blocks[:len(n.blocks)-1]
	}
	if len(n.blocks) == 0 || n.blocks[len(n.blocks)-1].column < column {
		n.blocks = append(n.blocks, block{column: column})
	}
	return &n.blocks[len(n.blocks)-1]
}
