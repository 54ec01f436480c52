package schema

import (
	"encoding/json"

	"github.com/klamm-gateway/klamm/scan"
)

// A tape is a JSON value laid out as its tokens, so that it can be walked by a
// schema without looking at a byte twice:
//
//	{"a":[1,2]}    {  "a"  [  1  2
//	next           5   2   5  4  5
//
// A token's next is the index of the first one behind everything that belongs to
// it; the tokens of an object are its names and values in turn.
type tape struct {
	text    []byte
	tokens  []token
	open    []int // of parse
	deepest int   // how many objects and arrays lie in one another at most
}

type token struct {
	kind       byte // the first byte of the value: { [ " t f n, or 0 of a number
	escaped    bool // a string with escapes
	start, end int  // in the text; only of scalars, and without the quotes of strings
	next       int
}

// parse lays out a JSON text. It returns false if it is none.
func (t *tape) parse(text []byte) bool {
	if !scan.Valid(text) {
		return false
	}
	t.text, t.tokens, t.deepest = text, t.tokens[:0], 0
	open := t.open[:0]
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{', '[':
			open = append(open, len(t.tokens))
			t.deepest = max(t.deepest, len(open))
			t.tokens = append(t.tokens, token{kind: c})
			i++
		case '}', ']':
			t.tokens[open[len(open)-1]].next = len(t.tokens)
			open = open[:len(open)-1]
			i++
		case ' ', '\t', '\r', '\n', ',', ':':
			i++
		case '"':
			end, escaped, _ := scan.String(text, i)
			t.tokens = append(t.tokens, token{kind: c, escaped: escaped, start: i + 1, end: end - 1, next: len(t.tokens) + 1})
			i = end
		default:
			end, _ := scan.Value(text, i)
			if c != 't' && c != 'f' && c != 'n' {
				c = '0'
			}
			t.tokens = append(t.tokens, token{kind: c, start: i, end: end, next: len(t.tokens) + 1})
			i = end
		}
	}
	t.open = open
	return true
}

// raw returns the text of a scalar, escapes and all.
func (t *tape) raw(i int) []byte { return t.text[t.tokens[i].start:t.tokens[i].end] }

// string returns what a string token stands for.
func (t *tape) string(i int) []byte {
	k := t.tokens[i]
	if !k.escaped {
		return t.text[k.start:k.end]
	}
	var s string
	if json.Unmarshal(t.text[k.start-1:k.end+1], &s) != nil {
		return nil
	}
	return []byte(s)
}

// is says whether a string token stands for s.
func (t *tape) is(i int, s string) bool { return string(t.string(i)) == s }

// size returns how many members an object has, or items an array.
func (t *tape) size(i int) int {
	n, pair := 0, t.tokens[i].kind == '{'
	for at := i + 1; at < t.tokens[i].next; n++ {
		if pair {
			at++
		}
		at = t.tokens[at].next
	}
	return n
}
