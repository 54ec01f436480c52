package schema

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// appendValue appends the Avro value that a JSON text stands for, in Avro's own
// JSON: a union names its branch, bytes are a character each. Every field of a
// record must be there, and no other member.
func (n *avroNode) appendValue(dst, text []byte) ([]byte, error) { return n.write(dst, text, false) }

// write is appendValue; relaxed also takes values of unions without their branch.
func (n *avroNode) write(dst, text []byte, relaxed bool) ([]byte, error) {
	w := avroWriters.Get().(*avroWriter)
	w.relaxed, w.tries = relaxed, 0
	defer func() {
		if w.text = nil; cap(w.tokens) <= keptTokens {
			avroWriters.Put(w)
		}
	}()
	if !w.parse(text) {
		return dst, unfit("is not JSON")
	}
	return w.append(dst, n, 0)
}

// avroWriters are used again, with the memory of their tokens, unless it is large.
var avroWriters = sync.Pool{New: func() any { return new(avroWriter) }}

const keptTokens = 4096

// An avroWriter turns the tokens of a JSON text into Avro.
type avroWriter struct {
	tape
	relaxed bool
	tries   int // of branches, for values that do not name theirs
}

// mostTries bounds them: unions within unions multiply them.
const mostTries = 100_000

func (w *avroWriter) append(dst []byte, n *avroNode, at int) ([]byte, error) {
	switch kind := w.tokens[at].kind; n.kind {
	case avroNull:
		if kind != 'n' {
			return dst, wants("null")
		}
		return dst, nil
	case avroBoolean:
		switch kind {
		case 't':
			return append(dst, 1), nil
		case 'f':
			return append(dst, 0), nil
		}
		return dst, wants("a boolean")
	case avroInt:
		return w.appendInteger(dst, at, 32)
	case avroLong:
		return w.appendInteger(dst, at, 64)
	case avroFloat, avroDouble:
		return w.appendNumber(dst, n.kind, at)
	case avroRecord:
		return w.appendRecord(dst, n, at)
	case avroUnion:
		return w.appendUnion(dst, n, at)
	case avroArray:
		return w.appendArray(dst, n, at)
	case avroMap:
		return w.appendMap(dst, n, at)
	}
	if w.tokens[at].kind != '"' {
		return dst, wants("a string")
	}
	return w.appendText(dst, n, at)
}

func wants(what string) error { return unfit("want %s", what) }

// appendText appends what is a string in JSON.
func (w *avroWriter) appendText(dst []byte, n *avroNode, at int) ([]byte, error) {
	text := w.string(at)
	switch n.kind {
	case avroEnum:
		for i, symbol := range n.symbols {
			if string(text) == symbol {
				return binary.AppendVarint(dst, int64(i)), nil
			}
		}
		return dst, unfit("is none of the symbols of %s", n.name)
	case avroString:
		if !utf8.Valid(text) {
			return dst, unfit("is not UTF-8")
		}
		return append(binary.AppendVarint(dst, int64(len(text))), text...), nil
	}
	size := utf8.RuneCount(text)
	if n.kind == avroFixed && size != n.size {
		return dst, unfit("has %d characters, and %s has %d bytes", size, n.name, n.size)
	}
	if n.kind == avroBytes {
		dst = binary.AppendVarint(dst, int64(size))
	}
	for len(text) > 0 {
		c, width := utf8.DecodeRune(text)
		if c > math.MaxUint8 {
			return dst, unfit("has a character beyond U+00FF, which stands for no byte")
		}
		dst, text = append(dst, byte(c)), text[width:]
	}
	return dst, nil
}

func (w *avroWriter) appendInteger(dst []byte, at, bits int) ([]byte, error) {
	if w.tokens[at].kind != '0' {
		return dst, wants("an integer")
	}
	v, err := strconv.ParseInt(string(w.raw(at)), 10, bits)
	if err != nil {
		return dst, unfit("want an integer of %d bits", bits)
	}
	return binary.AppendVarint(dst, v), nil
}

func (w *avroWriter) appendNumber(dst []byte, kind avroKind, at int) ([]byte, error) {
	bits := 64
	if kind == avroFloat {
		bits = 32
	}
	var f float64
	switch w.tokens[at].kind {
	case '0':
		var err error
		if f, err = strconv.ParseFloat(string(w.raw(at)), bits); err != nil {
			return dst, unfit("want a number that fits %d bits", bits)
		}
	case '"':
		switch string(w.string(at)) {
		case "NaN":
			f = math.NaN()
		case "Infinity", "INF":
			f = math.Inf(1)
		case "-Infinity", "-INF":
			f = math.Inf(-1)
		default:
			return dst, wants("a number")
		}
	default:
		return dst, wants("a number")
	}
	if bits == 32 {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
}

func (w *avroWriter) appendRecord(dst []byte, n *avroNode, at int) ([]byte, error) {
	if w.tokens[at].kind != '{' {
		return dst, wants("an object")
	}
	end, cursor := w.tokens[at].next, at+1
	for i := range n.fields {
		f := &n.fields[i]
		// Members usually come in the order of the fields.
		member := cursor
		if member >= end || !w.is(member, f.name) {
			if member = w.member(at, f.name); member < 0 {
				return dst, unfit("%s is missing", f.name)
			}
		}
		var err error
		if dst, err = w.append(dst, f.node, member+1); err != nil {
			return dst, below(err, f.name)
		}
		cursor = w.tokens[member+1].next
	}
	if w.size(at) != len(n.fields) {
		return dst, unfit("has members that %s has no field for, or one twice", n.name)
	}
	return dst, nil
}

// member returns where the name of a member stands, or -1.
func (w *avroWriter) member(object int, name string) int {
	for at := object + 1; at < w.tokens[object].next; at = w.tokens[at+1].next {
		if w.is(at, name) {
			return at
		}
	}
	return -1
}

func (w *avroWriter) appendUnion(dst []byte, n *avroNode, at int) ([]byte, error) {
	t := w.tokens[at]
	if t.kind == 'n' {
		for i, branch := range n.branches {
			if branch.kind == avroNull {
				return binary.AppendVarint(dst, int64(i)), nil
			}
		}
		return dst, unfit("null is not in the union")
	}
	if w.relaxed {
		return w.appendRelaxed(dst, n, at)
	}
	if t.kind != '{' || w.size(at) != 1 {
		return dst, unfit(`want null or an object with one member that names the branch of the union, as in {"string": "x"}`)
	}
	if i := w.named(n, at); i >= 0 {
		dst, err := w.append(binary.AppendVarint(dst, int64(i)), n.branches[i], at+2)
		return dst, below(err, n.branches[i].name)
	}
	return dst, unfit("the union has no branch of that name")
}

// named returns the branch that the only member of an object names, or -1.
func (w *avroWriter) named(n *avroNode, at int) int {
	return slices.IndexFunc(n.branches, func(branch *avroNode) bool { return branch.kind != avroNull && w.is(at+1, branch.name) })
}

// appendRelaxed appends a value of a union: the branch that it names, if what follows
// fits, or else the first that the value itself fits.
func (w *avroWriter) appendRelaxed(dst []byte, n *avroNode, at int) ([]byte, error) {
	size := len(dst)
	try := func(i, at int) (out []byte, err error) {
		if w.tries++; w.tries > mostTries {
			return nil, unfit("has too many unions without the names of their branches")
		}
		return w.append(binary.AppendVarint(dst[:size], int64(i)), n.branches[i], at)
	}
	if w.tokens[at].kind == '{' && w.size(at) == 1 {
		if i := w.named(n, at); i >= 0 {
			if out, err := try(i, at+2); err == nil {
				return out, nil
			}
		}
	}
	var last error
	values := 0
	for i, branch := range n.branches {
		if branch.kind == avroNull {
			continue
		}
		out, err := try(i, at)
		if err == nil {
			return out, nil
		}
		last, values = err, values+1
	}
	if values == 1 { // it says best what is wrong
		return dst[:size], last
	}
	return dst[:size], unfit("fits no branch of the union")
}

func (w *avroWriter) appendArray(dst []byte, n *avroNode, at int) ([]byte, error) {
	if w.tokens[at].kind != '[' {
		return dst, wants("an array")
	}
	count := w.size(at)
	if count == 0 {
		return append(dst, 0), nil
	}
	dst = binary.AppendVarint(dst, int64(count))
	item := at + 1
	for i := range count {
		var err error
		if dst, err = w.append(dst, n.item, item); err != nil {
			return dst, below(err, "["+strconv.Itoa(i)+"]")
		}
		item = w.tokens[item].next
	}
	return append(dst, 0), nil
}

func (w *avroWriter) appendMap(dst []byte, n *avroNode, at int) ([]byte, error) {
	if w.tokens[at].kind != '{' {
		return dst, wants("an object")
	}
	count := w.size(at)
	if count == 0 {
		return append(dst, 0), nil
	}
	dst = binary.AppendVarint(dst, int64(count))
	for key := at + 1; key < w.tokens[at].next; key = w.tokens[key+1].next {
		name := w.string(key)
		if !utf8.Valid(name) {
			return dst, unfit("the name of a member is not UTF-8")
		}
		dst = append(binary.AppendVarint(dst, int64(len(name))), name...)
		var err error
		if dst, err = w.append(dst, n.item, key+1); err != nil {
			return dst, below(err, "{}")
		}
	}
	return append(dst, 0), nil
}
