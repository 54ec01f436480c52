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
//
// Blocks nest by their columns: open holds the columns of the mappings and lists
// that are open at a token, growing from left to right, with the keys counted so
// far.
func boundTokens(tokens token.Tokens) *Problem {
	type block struct{ column, keys int }
	var open []block
	flow, prefixes := 0, 0
	for i, t := range tokens {
		at := t.Position
		if i > maxTokens {
			return &Problem{at.Line, at.Column, fmt.Sprintf("the file has more than %d words and signs", maxTokens)}
		}
		key := (*token.Token)(nil)
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			key = t
		case token.MappingValueType:
			key = t.Prev
		}
		if t.Type == token.AnchorType || t.Type == token.TagType {
			prefixes++
		} else if before := t.PreviousType(); before != token.AnchorType {
			prefixes = 0
		}
		if key != nil && flow == 0 {
			column := key.Position.Column
			for len(open) > 0 && open[len(open)-1].column > column {
				open = open[:len(open)-1]
			}
			if len(open) == 0 || open[len(open)-1].column < column {
				open = append(open, block{column: column})
			}
			last := &open[len(open)-1]
			if t.Type == token.MappingValueType {
				last.keys++
			}
			if last.keys > maxKeys {
				return &Problem{at.Line, at.Column, fmt.Sprintf("more than %d keys side by side", maxKeys)}
			}
		}
		if flow+len(open)+prefixes > maxDepth {
			return &Problem{at.Line, at.Column, fmt.Sprintf("nested more than %d levels deep", maxDepth)}
		}
	}
	return nil
}
