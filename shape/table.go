package shape

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Any is the method of a pattern that stands for all methods.
const Any = "ANY"

// A Pattern is a method and a path with variables: "GET /devices/{id}/beats". The
// last segment may be greedy, as in "ANY /old/{proxy+}": it stands for one segment
// or several.
type Pattern struct {
	Method   string
	segments []segment
	text     string
}

type segment struct {
	literal  string // decoded
	variable string // empty: it is a literal
	greedy   bool
}

var (
	methodShape   = regexp.MustCompile(`^(ANY|GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$`)
	variableShape = regexp.MustCompile(`^\{[A-Za-z0-9._-]{1,100}\+?\}$`)
	literalShape  = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,255}$`)
)

// mostSegments bounds the path of a pattern.
const mostSegments = 30

// ParsePattern reads a pattern. Without a method it is one for any.
func ParsePattern(text string) (Pattern, error) {
	method, path, ok := strings.Cut(text, " ")
	if !ok {
		method, path = Any, text
	}
	if !methodShape.MatchString(method) {
		return Pattern{}, fmt.Errorf("%q is no method: want ANY, GET, POST and so on", method)
	}
	if !strings.HasPrefix(path, "/") {
		return Pattern{}, errors.New("want METHOD /PATH, such as POST /devices/{id}")
	}
	p := Pattern{Method: method, text: method + " " + path}
	if path == "/" {
		return p, nil
	}
	parts := strings.Split(path[1:], "/")
	if len(parts) > mostSegments {
		return Pattern{}, fmt.Errorf("the path has more than %d segments", mostSegments)
	}
	for i, part := range parts {
		s := segment{literal: part}
		if variableShape.MatchString(part) {
			name := strings.Trim(part, "{}")
			s = segment{variable: strings.TrimSuffix(name, "+"), greedy: strings.HasSuffix(name, "+")}
			if s.greedy && i < len(parts)-1 {
				return Pattern{}, fmt.Errorf("%s can only be the last segment", part)
			}
			if slices.Contains(p.Variables(), s.variable) {
				return Pattern{}, fmt.Errorf("{%s} stands there twice", s.variable)
			}
		} else {
			decoded, err := url.PathUnescape(part)
			if err != nil || !literalShape.MatchString(part) || decoded == "." || decoded == ".." {
				return Pattern{}, fmt.Errorf("segment %q is neither a name nor a variable such as {id} or {proxy+}", part)
			}
			s.literal = decoded
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

// String returns the pattern as it is written, with its method.
func (p Pattern) String() string { return p.text }

// Variables returns the names of the pattern's variables, in order.
func (p Pattern) Variables() (names []string) {
	for _, s := range p.segments {
		if s.variable != "" {
			names = append(names, s.variable)
		}
	}
	return names
}

// Greedy says whether the pattern ends in a greedy variable.
func (p Pattern) Greedy() bool { return len(p.segments) > 0 && p.segments[len(p.segments)-1].greedy }

// Path returns the pattern's path.
func (p Pattern) Path() string {
	_, path, _ := strings.Cut(p.text, " ")
	return path
}

// A Value is what a variable of a pattern stands for in a request: decoded, but for
// a greedy one, which is as it came.
type Value struct{ Name, Value string }

// A Table finds what belongs to the most special pattern that fits a request: a
// segment that is spelled out comes before a variable, that before a greedy one, and
// a method before any. The zero value is an empty table.
type Table[T any] struct{ root node[T] }

// A node is one place in the paths of a table.
type node[T any] struct {
	literals map[string]*node[T]
	variable *node[T] // of one segment
	greedy   *node[T]
	name     string       // of variable or greedy, in the node itself
	methods  map[string]T // of the patterns that end here
}

// ErrTaken says that a table has a pattern for the same requests.
var ErrTaken = errors.New("another route stands for the same requests")

// Add puts v under a pattern. The error is ErrTaken, or that another pattern of the
// table names a variable at the same place in another way.
func (t *Table[T]) Add(p Pattern, v T) error {
	n := &t.root
	for _, s := range p.segments {
		var next **node[T]
		switch {
		case s.greedy:
			next = &n.greedy
		case s.variable != "":
			next = &n.variable
		default:
			if n.literals == nil {
				n.literals = map[string]*node[T]{}
			}
			if n.literals[s.literal] == nil {
				n.literals[s.literal] = &node[T]{}
			}
			n = n.literals[s.literal]
			continue
		}
		if *next == nil {
			*next = &node[T]{name: s.variable}
		}
		if (*next).name != s.variable {
			return fmt.Errorf("another route calls {%s} what is {%s} here: use one name", (*next).name, s.variable)
		}
		n = *next
	}
	if _, ok := n.methods[p.Method]; ok {
		return ErrTaken
	}
	if n.methods == nil {
		n.methods = map[string]T{}
	}
	n.methods[p.Method] = v
	return nil
}

// Find returns what belongs to the pattern of a request: its method, and its path
// with percent-encoding. A HEAD is a GET where nothing else is said of it.
func (t *Table[T]) Find(method, path string) (v T, values []Value, ok bool) {
	rest := strings.TrimPrefix(path, "/")
	return t.root.find(method, rest, path == "/" || path == "", nil)
}

func (n *node[T]) find(method, rest string, ended bool, values []Value) (v T, _ []Value, ok bool) {
	if ended {
		for _, m := range []string{method, headOf(method), Any} {
			if v, ok = n.methods[m]; ok {
				return v, values, true
			}
		}
		return v, nil, false
	}
	raw, tail, more := strings.Cut(rest, "/")
	text, err := url.PathUnescape(raw)
	if err != nil {
		return v, nil, false
	}
	if next := n.literals[text]; next != nil {
		if v, found, ok := next.find(method, tail, !more, values); ok {
			return v, found, true
		}
	}
	if next := n.variable; next != nil && text != "" {
		if v, found, ok := next.find(method, tail, !more, append(values[:len(values):len(values)], Value{next.name, text})); ok {
			return v, found, true
		}
	}
	if next := n.greedy; next != nil {
		return next.find(method, "", true, append(values[:len(values):len(values)], Value{next.name, rest}))
	}
	return v, nil, false
}

func headOf(method string) string {
	if method == "HEAD" {
		return "GET"
	}
	return method
}

// Methods returns the methods for which a path has a pattern, sorted; nil: none.
func (t *Table[T]) Methods(path string) (methods []string) {
	for _, m := range []string{"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"} {
		if _, _, ok := t.Find(m, path); ok {
			methods = append(methods, m)
		}
	}
	return methods
}
