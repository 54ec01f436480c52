package transform

import (
	"sync"

	"github.com/klamm-gateway/klamm/scan"
)

// Paths are paths whose values are looked up together, in one pass over a
// document. The zero value has none. Paths are added before the first lookup;
// after that it is safe for concurrent use.
type Paths struct {
	t     Transform
	parts []part
	ready sync.Once
}

// CutPath splits a text that begins with a path, as in "$.value.id> rest",
// behind it. The error is a *SpecError without a field; its position is that of
// the mistake within the text.
func CutPath(text string) (path, rest string, err error) {
	_, end, problem := scanPath(text)
	if problem == nil {
		if long := tooLong("", text[:end], maxPath); long != nil {
			return "", "", long
		}
		return text[:end], text[end:], nil
	}
	problem.Position = position(text, end)
	return "", "", problem
}

// Add adds a path and returns its number, the first being 0. Its errors are
// those of CutPath.
func (p *Paths) Add(path string) (int, error) {
	steps, err := parsePath("", path)
	if err != nil {
		return 0, err
	}
	if p.t.root == nil {
		p.t.root = &node{}
	}
	p.parts = append(p.parts, p.t.pathPart(steps))
	return len(p.parts) - 1, nil
}

// Len is how many paths there are.
func (p *Paths) Len() int { return len(p.parts) }

// Fields returns the top-level members of the document that the paths look at;
// all means that they may look at any. A caller need not build the others.
func (p *Paths) Fields() (names []string, all bool) {
	if len(p.parts) == 0 {
		return nil, false
	}
	return p.t.Fields()
}

// Find calls found with the values of all paths in a document, by number: JSON
// text as it stands there, nil where there is none. They are valid until found
// returns. The errors are found's, ErrDocument and ErrTooLarge.
func (p *Paths) Find(document []byte, found func(values [][]byte) error) error {
	if len(p.parts) == 0 {
		return found(nil)
	}
	p.ready.Do(func() { p.t.slots = p.t.root.number(0) })
	w, _ := p.t.walks.Get().(*walk)
	if w == nil {
		w = &walk{spans: make([]span, p.t.slots), hits: make([][]byte, p.t.spreads)}
	}
	defer func() {
		w.release()
		p.t.walks.Put(w)
	}()
	valid := w.document(document, p.t.root)
	switch {
	case w.size > MaxResult:
		return ErrTooLarge
	case !valid:
		return ErrDocument
	}
	values := make([][]byte, len(p.parts))
	for i := range p.parts {
		values[i] = p.t.lookup(w, &p.parts[i]).text
	}
	return found(values)
}

// AppendText appends what a JSON value is as text: what a string stands for,
// nothing for null and for no value at all, and anything else as JSON without
// white space between its tokens. The value must be valid.
func AppendText(dst, value []byte) []byte {
	switch {
	case len(value) == 0 || string(value) == "null":
		return dst
	case value[0] == '"':
		return scan.AppendUnescaped(dst, value[1:len(value)-1])
	default:
		return appendCompact(dst, value)
	}
}
