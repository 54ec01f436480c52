package transform

import (
	"github.com/klamm-gateway/klamm/scan"
)

// A walk is one pass over a document along the tree of paths, and the memory
// that it needs, which is used again for the next document.
type walk struct {
	spans   []span    // by slot: what was found there
	hits    [][]byte  // by number: the array that a path with [*] gives
	size    int       // of all hits
	decoded [2][]byte // the bytes of key and value where those are base64
	unread  []byte    // a name without its escapes, for a moment
	made    []byte    // an event with key and value decoded
}

// A span is a JSON value of a document.
type span struct {
	text    []byte // nil: there is none
	compact bool   // there is no white space between its tokens, as far as is known
}

// largestKept bounds the memory that a walk keeps for the next document.
const largestKept = 1 << 20

// release forgets the document.
func (w *walk) release() {
	clear(w.spans)
	for i := range w.hits {
		forgetLarge(&w.hits[i])
	}
	forgetLarge(&w.decoded[0])
	forgetLarge(&w.decoded[1])
	forgetLarge(&w.unread)
	forgetLarge(&w.made)
}

func forgetLarge(b *[]byte) {
	if cap(*b) > largestKept {
		*b = nil
	}
}

// document follows the tree through a whole document and says whether it is
// JSON. Of members of the same name the last one counts.
func (w *walk) document(doc []byte, root *node) bool {
	w.size = 0
	end, ok := w.value(doc, scan.Space(doc, 0), root)
	return ok && scan.Space(doc, end) == len(doc)
}

// value follows the tree through the value that begins at b[i] and returns
// where it ends.
func (w *walk) value(b []byte, i int, n *node) (end int, ok bool) {
	if i >= len(b) {
		return i, false
	}
	compact := false
	switch {
	case b[i] == '{' && len(n.names) > 0:
		end, ok = w.object(b, i, n)
	case b[i] == '[' && len(n.elements) > 0:
		end, ok = w.array(b, i, n)
	case b[i] == '[' && len(n.spread) > 0: // below
	default:
		end, compact, ok = skip(b, i, nil)
		if ok && n.encoded > 0 && b[i] == '"' && w.inside(b[i:end], n) {
			return end, true
		}
	}
	if b[i] == '[' {
		for _, s := range n.spread {
			if end, ok = w.collect(b, i, s); !ok {
				break
			}
		}
	}
	if ok && n.wanted {
		w.spans[n.slot] = span{b[i:end], compact}
	}
	return end, ok
}

func (w *walk) object(b []byte, i int, n *node) (end int, ok bool) {
	return scan.Members(b, i, func(name []byte, escaped bool, at int) (int, bool) {
		if escaped {
			w.unread = scan.AppendUnescaped(w.unread[:0], name)
			name = w.unread
		}
		to := n.named(name)
		if to == nil {
			end, _, ok := skip(b, at, nil)
			return end, ok
		}
		clear(w.spans[to.slot:to.next])
		return w.value(b, at, to)
	})
}

func (w *walk) array(b []byte, i int, n *node) (end int, ok bool) {
	want := n.elements
	return scan.Elements(b, i, func(index, at int) (int, bool) {
		if len(want) == 0 || want[0].index != index {
			end, _, ok := skip(b, at, nil)
			return end, ok
		}
		to := want[0].to
		want = want[1:]
		return w.value(b, at, to)
	})
}

// collect gathers what a path finds in the elements of the array that begins at
// b[i], and returns where that ends.
func (w *walk) collect(b []byte, i int, s spread) (end int, ok bool) {
	list := append(w.hits[s.number][:0], '[')
	list, end, ok = appendHits(list, b, i, s.steps, MaxResult-w.size)
	list = append(list, ']')
	w.hits[s.number] = list
	w.size += len(list)
	w.spans[s.slot] = span{list, true}
	return end, ok
}

// inside follows the tree through the JSON that a base64 text holds, if it
// holds any (pipes.md 9).
func (w *walk) inside(text []byte, n *node) bool {
	data, ok := decodeJSON(&w.decoded[n.encoded-1], text)
	if !ok {
		return false
	}
	if end, ok := w.value(data, scan.Space(data, 0), n); !ok || scan.Space(data, end) != len(data) {
		clear(w.spans[n.slot:n.next])
		return false
	}
	return true
}
