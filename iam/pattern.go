package iam

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A pattern is text with wildcards and policy variables, compiled into tokens: *
// matches any run of characters, ? one character, and a variable its value, of
// which nothing is special.
type pattern struct {
	tokens []token
	shape  shape
	text   string // all of a literal; what a prefix pattern begins and any other ends with
}

type shape byte

const (
	general    shape = iota
	literal          // neither wildcards nor variables
	prefix           // text and a star behind it
	everything       // a star
)

type token struct {
	kind tokenKind
	text string    // of a literal
	of   *variable // of a variable
}

type tokenKind byte

const (
	textToken tokenKind = iota
	anyRun
	anyOne
	variableToken
)

// A variable stands for a value of the request.
type variable struct {
	key      Key
	fallback string
	optional bool // there is a fallback
}

// value returns what a variable stands for now.
func (v *variable) value(q *query) (string, bool) {
	got := q.value(v.key)
	switch {
	case got.kind == single:
		return got.text, true
	case v.optional:
		return v.fallback, true
	}
	return "", false
}

// compilePattern compiles text without variables; wildcards are such only where
// plain is false.
func compilePattern(text string, plain bool) *pattern {
	var b builder
	b.literals(text, plain)
	return b.done()
}

// compileVariables compiles text with policy variables (gateway-policies.md 2.3).
func compileVariables(text string, plain bool) (*pattern, error) {
	var b builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.literals(before, plain)
		if !found {
			return b.done(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("a variable without }")
		}
		text = after
		switch name {
		case "*", "?", "$":
			b.text(name)
			continue
		}
		v, err := parseVariable(name)
		if err != nil {
			return nil, err
		}
		b.tokens = append(b.tokens, token{kind: variableToken, of: v})
	}
}

// parseVariable parses what stands between the braces: KEY or KEY, 'FALLBACK'.
func parseVariable(text string) (*variable, error) {
	name, fallback, optional := strings.Cut(text, ",")
	name, fallback = strings.TrimSpace(name), strings.TrimSpace(fallback)
	if name == "" || strings.ContainsAny(name, " '${*?") {
		return nil, fmt.Errorf("variable ${%s}: want ${KEY} or ${KEY, 'DEFAULT'}", clip(text))
	}
	if optional {
		n := len(fallback)
		if n < 2 || fallback[0] != '\'' || fallback[n-1] != '\'' || strings.Contains(fallback[1:n-1], "'") {
			return nil, fmt.Errorf("variable ${%s}: the default stands between single quotes", clip(text))
		}
		fallback = fallback[1 : n-1]
	}
	return &variable{NewKey(name), fallback, optional}, nil
}

// A builder puts tokens together.
type builder struct{ tokens []token }

func (b *builder) literals(text string, plain bool) {
	for text != "" {
		i := strings.IndexAny(text, "*?")
		if i < 0 || plain {
			b.text(text)
			return
		}
		if i > 0 {
			b.text(text[:i])
		}
		if n := len(b.tokens); text[i] == '?' {
			b.tokens = append(b.tokens, token{kind: anyOne})
		} else if n == 0 || b.tokens[n-1].kind != anyRun {
			b.tokens = append(b.tokens, token{kind: anyRun})
		}
		text = text[i+1:]
	}
}

func (b *builder) text(s string) {
	if n := len(b.tokens); n > 0 && b.tokens[n-1].kind == textToken {
		b.tokens[n-1].text += s
		return
	}
	b.tokens = append(b.tokens, token{text: s})
}

func (b *builder) done() *pattern {
	p := &pattern{tokens: b.tokens}
	switch t := b.tokens; {
	case len(t) == 0:
		p.shape = literal
	case len(t) == 1 && t[0].kind == textToken:
		p.shape, p.text = literal, t[0].text
	case len(t) == 1 && t[0].kind == anyRun:
		p.shape = everything
	case len(t) == 2 && t[0].kind == textToken && t[1].kind == anyRun:
		p.shape, p.text = prefix, t[0].text
	default:
		p.text = t[len(t)-1].text // nothing, unless the last one is text
	}
	return p
}

// head is the text that everything begins with which matches.
func (p *pattern) head() string {
	if len(p.tokens) == 0 || p.tokens[0].kind != textToken {
		return ""
	}
	return p.tokens[0].text
}

// variables calls visit with each variable.
func (p *pattern) variables(visit func(*variable)) {
	for _, t := range p.tokens {
		if t.kind == variableToken {
			visit(t.of)
		}
	}
}

// match says whether the whole of s matches. A pattern with a variable that has no
// value matches nothing.
func (p *pattern) match(s string, q *query) bool {
	switch p.shape {
	case literal:
		return s == p.text
	case prefix:
		return strings.HasPrefix(s, p.text)
	case everything:
		return true
	}
	return strings.HasSuffix(s, p.text) && p.search(s, q)
}

// search matches token by token. Where it fails it goes back to the last star,
// which then takes one character more: earlier stars never have to.
func (p *pattern) search(s string, q *query) bool {
	next, at := 0, 0
	star, from := -1, 0
	for {
		if next < len(p.tokens) && p.tokens[next].kind == anyRun {
			star, from = next, at
			next++
			continue
		}
		if next == len(p.tokens) {
			if at == len(s) || star == next-1 && star >= 0 {
				return true
			}
		} else if n, ok := p.tokens[next].step(s[at:], q); ok {
			at += n
			next++
			continue
		}
		if star < 0 || from >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[from:])
		from += n
		if t := &p.tokens[star+1]; t.kind == textToken {
			i := strings.Index(s[from:], t.text)
			if i < 0 {
				return false
			}
			from += i
		}
		next, at = star+1, from
	}
}

// step says whether s begins with what a token that is no star matches, and how
// long that is.
func (t *token) step(s string, q *query) (n int, ok bool) {
	switch t.kind {
	case anyOne:
		_, n = utf8.DecodeRuneInString(s)
		return n, n > 0
	case variableToken:
		text, ok := t.of.value(q)
		return len(text), ok && strings.HasPrefix(s, text)
	}
	return len(t.text), strings.HasPrefix(s, t.text)
}

// expand returns the text of a pattern without wildcards; false: a variable has no
// value.
func (p *pattern) expand(q *query) (string, bool) {
	if p.shape == literal {
		return p.text, true
	}
	var b strings.Builder
	for _, t := range p.tokens {
		if t.kind != variableToken {
			b.WriteString(t.text)
			continue
		}
		text, ok := t.of.value(q)
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}
