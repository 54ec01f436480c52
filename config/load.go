package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"

	"github.com/klamm-gateway/klamm/target"
)

// MaxFile is the largest configuration file, in bytes.
const MaxFile = 4 << 20

// maxProblems ends the list for a file that is something else altogether.
const maxProblems = 200

// A Problem is one mistake in a configuration file.
type Problem struct {
	// Line and Column are where the mistake stands, from 1. Columns count
	// characters.
	Line, Column int
	// Text says what is wrong and, where that is known, what to write instead.
	// It holds no secrets unless they stand in the place of a key.
	Text string
}

// String returns "LINE:COLUMN: TEXT", to be put after the file's name and a
// colon.
func (p Problem) String() string { return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Text) }

// Load reads the text of a configuration file, YAML or JSON, and returns every
// problem in it in the order of their places; it stops looking after 200. The configuration is
// usable only if there is none. A file that is empty or holds nothing but
// comments is Default. Kinds are the target kinds that pipes may have.
//
// Anchors, aliases and merge keys may be used; what they expand to is bounded.
func Load(text []byte, kinds []target.Kind) (*Config, []Problem) {
	cfg := Default()
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	body, problems := parse(text)
	if body != nil {
		d := &decoder{kinds: kinds, places: map[string]ast.Node{}, wrong: map[string]bool{}, around: map[string]bool{}, anchors: map[string]ast.Node{}}
		d.budget = 2*len(text) + minBudget
		d.decode(body, cfg)
		problems = d.problems
	}
	return cfg, arrange(problems, text)
}

// JSON returns a document as JSON that is YAML, with the bounds of a configuration
// file, and every problem in it. An empty document is null.
func JSON(text []byte) (json.RawMessage, []Problem) {
	body, problems := parse(bytes.TrimPrefix(text, []byte("\ufeff")))
	if body == nil {
		return json.RawMessage("null"), problems
	}
	d := &decoder{places: map[string]ast.Node{}, wrong: map[string]bool{}, around: map[string]bool{}, anchors: map[string]ast.Node{}}
	d.budget = 2*len(text) + minBudget
	out, _ := d.raw("", body, 0)
	return out, arrange(d.problems, text)
}

// visible shows characters that would break a problem's line.
var visible = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`)

// arrange sorts problems by their places and drops those that stand there twice.
// The parser's places are brought into the file: it counts past the end of some
// malformed lines.
func arrange(problems []Problem, text []byte) []Problem {
	lines := strings.Split(string(text), "\n")
	for i := range problems {
		p := &problems[i]
		p.Text = visible.Replace(p.Text)
		p.Line = min(max(p.Line, 1), len(lines))
		p.Column = min(max(p.Column, 1), utf8.RuneCountInString(lines[p.Line-1])+1)
	}
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(problems)
}

// parse returns the body of the file's one document; nil if it is empty.
func parse(text []byte) (ast.Node, []Problem) {
	if p := boundText(text); p != nil {
		return nil, []Problem{*p}
	}
	file, err := syntax(text)
	if err != nil {
		return nil, []Problem{problemOf(err)}
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch doc.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode, *ast.DirectiveNode:
			continue
		}
		if body != nil {
			line, column := place(doc.Body)
			return nil, []Problem{{line, column, "a second YAML document begins here; klamm reads one"}}
		}
		body = doc.Body
	}
	return body, nil
}

// A syntaxError is a mistake that is found before the text is parsed.
type syntaxError struct{ Problem }

func (e *syntaxError) Error() string { return e.Text }

// syntax calls the YAML parser, whose panics on malformed input are errors.
func syntax(text []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	tokens := lexer.Tokenize(string(text))
	if p := boundTokens(tokens); p != nil {
		return nil, &syntaxError{*p}
	}
	// The decoder finds keys that stand there twice, all of them.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// problemOf takes the place out of a parser's error.
func problemOf(err error) Problem {
	if own, ok := errors.AsType[*syntaxError](err); ok {
		return own.Problem
	}
	var foreign yaml.Error
	if errors.As(err, &foreign) && foreign.GetToken() != nil && foreign.GetToken().Position != nil {
		at := foreign.GetToken().Position
		return Problem{at.Line, at.Column, "not YAML: " + foreign.GetMessage()}
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return Problem{1, 1, "not YAML: " + message}
}
