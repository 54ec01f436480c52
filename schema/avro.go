package schema

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/avro"

	"github.com/klamm-gateway/klamm/scan"
)

const (
	// maxNesting bounds how deep an Avro value may be nested.
	maxNesting = 1000
	// maxJSON bounds the JSON of one value, in bytes. A few bytes of Avro can stand for
	// any number of nulls, so it is also bounded by the bytes: leastJSON and so many
	// times their length, which is more than the names of fields come to.
	maxJSON   = 64 << 20
	leastJSON = 1 << 20
	timesJSON = 200
)

// An avroNode is a type of an Avro schema, made ready to read and write values.
// The nodes of a schema refer to each other as its types do, also in circles.
type avroNode struct {
	kind     avroKind
	name     string // by which a union names it
	tag      []byte // {"name": as it stands in front of a union's value
	fields   []avroField
	item     *avroNode // of arrays and maps
	branches []*avroNode
	symbols  []string
	quoted   [][]byte // the symbols as JSON
	size     int      // of a fixed
}

type avroField struct {
	name string
	key  []byte // "name": as it stands in JSON
	node *avroNode
}

type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroRecord
	avroEnum
	avroArray
	avroMap
	avroUnion
	avroFixed
)

var avroPrimitives = map[string]avroKind{
	"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroLong, "float": avroFloat, "double": avroDouble, "bytes": avroBytes, "string": avroString,
}

// compileAvro makes a schema ready. The texts that it builds on come before those
// that build on them.
func compileAvro(text string, before []string) (*avroNode, error) {
	cache := new(avro.SchemaCache)
	b := avroBuilder{named: map[string]*avroNode{}}
	for _, one := range before {
		parsed, err := cache.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("a schema that it refers to: %w", err)
		}
		b.build(parsed.Root(), "")
	}
	parsed, err := cache.Parse(text)
	if err != nil {
		return nil, err
	}
	node := b.build(parsed.Root(), "")
	return node, b.err
}

type avroBuilder struct {
	named map[string]*avroNode
	err   error
}

// build makes the node of a type. Space is the namespace that encloses it, in which
// names without a dot are looked for first.
func (b *avroBuilder) build(s *avro.SchemaNode, space string) *avroNode {
	full := s.Name
	if s.Namespace != "" && !strings.Contains(full, ".") {
		full = s.Namespace + "." + s.Name
	}
	switch s.Type {
	case "record", "error", "enum", "fixed":
		if known := b.named[full]; known != nil {
			return known
		}
		n := &avroNode{name: full}
		b.named[full] = n
		b.define(n, s)
		n.tag = append(scan.AppendString([]byte{'{'}, full), ':')
		return n
	case "array":
		return &avroNode{kind: avroArray, name: "array", tag: []byte(`{"array":`), item: b.build(s.Items, space)}
	case "map":
		return &avroNode{kind: avroMap, name: "map", tag: []byte(`{"map":`), item: b.build(s.Values, space)}
	case "union":
		n := &avroNode{kind: avroUnion}
		for i := range s.Branches {
			n.branches = append(n.branches, b.build(&s.Branches[i], space))
		}
		return n
	}
	if kind, ok := avroPrimitives[s.Type]; ok {
		return &avroNode{kind: kind, name: s.Type, tag: []byte(`{"` + s.Type + `":`)}
	}
	for _, name := range []string{space + "." + s.Type, s.Type} {
		if known := b.named[name]; known != nil {
			return known
		}
	}
	if b.err == nil {
		b.err = fmt.Errorf("unknown type %q", s.Type)
	}
	return &avroNode{}
}

// define fills the node of a named type.
func (b *avroBuilder) define(n *avroNode, s *avro.SchemaNode) {
	switch s.Type {
	case "enum":
		n.kind, n.symbols = avroEnum, s.Symbols
		for _, symbol := range s.Symbols {
			n.quoted = append(n.quoted, scan.AppendString(nil, symbol))
		}
	case "fixed":
		n.kind, n.size = avroFixed, s.Size
	default:
		n.kind = avroRecord
		space := n.name[:max(strings.LastIndexByte(n.name, '.'), 0)]
		for i := range s.Fields {
			f := &s.Fields[i]
			n.fields = append(n.fields, avroField{name: f.Name, key: append(scan.AppendString(nil, f.Name), ':'), node: b.build(&f.Type, space)})
		}
	}
}

// appendJSON appends the JSON of the Avro value that data is.
func (n *avroNode) appendJSON(dst, data []byte, style Style) ([]byte, error) {
	r := avroReader{data: data, style: style, most: len(dst) + min(maxJSON, leastJSON+timesJSON*len(data))}
	dst, err := r.append(dst, n, 0)
	if err == nil && r.at != len(data) {
		err = unfit("%d bytes follow the value", len(data)-r.at)
	}
	return dst, err
}

// An avroReader turns Avro into JSON. Every value appends at least a byte, so that
// the bound on the JSON is one on the work.
type avroReader struct {
	data  []byte
	at    int
	style Style
	most  int // length of the JSON with what was there before
}

// errShort is made anew each time, because its path is written on the way out.
func errShort() error { return unfit("the bytes end too early") }

func (r *avroReader) long() (int64, error) {
	v, n := binary.Varint(r.data[r.at:])
	if n <= 0 {
		if n == 0 {
			return 0, errShort()
		}
		return 0, unfit("an integer of more than 64 bits")
	}
	r.at += n
	return v, nil
}

// take returns the next n bytes.
func (r *avroReader) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(r.data)-r.at) {
		return nil, errShort()
	}
	b := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return b, nil
}

// counted returns bytes with their length in front.
func (r *avroReader) counted() ([]byte, error) {
	n, err := r.long()
	if err != nil {
		return nil, err
	}
	return r.take(n)
}

func (r *avroReader) append(dst []byte, n *avroNode, depth int) ([]byte, error) {
	if depth > maxNesting {
		return dst, unfit("nested deeper than %d levels", maxNesting)
	}
	if len(dst) > r.most {
		return dst, unfit("more JSON than its bytes can mean")
	}
	switch n.kind {
	case avroNull:
		return append(dst, "null"...), nil
	case avroInt, avroLong:
		v, err := r.long()
		if err == nil && n.kind == avroInt && v != int64(int32(v)) {
			err = unfit("an int of more than 32 bits")
		}
		return strconv.AppendInt(dst, v, 10), err
	case avroString:
		b, err := r.counted()
		return appendText(dst, b), err
	case avroBytes:
		b, err := r.counted()
		return r.appendBytes(dst, b), err
	case avroFixed:
		b, err := r.take(int64(n.size))
		return r.appendBytes(dst, b), err
	case avroRecord:
		return r.appendRecord(dst, n, depth)
	case avroUnion:
		return r.appendUnion(dst, n, depth)
	case avroArray, avroMap:
		return r.appendBlocks(dst, n, depth)
	case avroEnum:
		v, err := r.long()
		if err == nil && (v < 0 || v >= int64(len(n.quoted))) {
			err = unfit("symbol %d of an enum with %d", v, len(n.quoted))
		}
		if err != nil {
			return dst, err
		}
		return append(dst, n.quoted[v]...), nil
	}
	return r.appendFixedWidth(dst, n.kind)
}

// appendFixedWidth appends a boolean, float or double.
func (r *avroReader) appendFixedWidth(dst []byte, kind avroKind) ([]byte, error) {
	switch kind {
	case avroBoolean:
		b, err := r.take(1)
		if err != nil {
			return dst, err
		}
		if b[0] > 1 {
			return dst, unfit("a boolean that is neither 0 nor 1")
		}
		return strconv.AppendBool(dst, b[0] == 1), nil
	case avroFloat:
		b, err := r.take(4)
		if err != nil {
			return dst, err
		}
		return appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32), nil
	}
	b, err := r.take(8)
	if err != nil {
		return dst, err
	}
	return appendFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)), 64), nil
}

func (r *avroReader) appendRecord(dst []byte, n *avroNode, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i := range n.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := &n.fields[i]
		dst = append(dst, f.key...)
		var err error
		if dst, err = r.append(dst, f.node, depth+1); err != nil {
			return dst, below(err, f.name)
		}
	}
	return append(dst, '}'), nil
}

func (r *avroReader) appendUnion(dst []byte, n *avroNode, depth int) ([]byte, error) {
	v, err := r.long()
	if err != nil {
		return dst, err
	}
	if v < 0 || v >= int64(len(n.branches)) {
		return dst, unfit("branch %d of a union with %d", v, len(n.branches))
	}
	branch := n.branches[v]
	if r.style != Tagged || branch.kind == avroNull {
		return r.append(dst, branch, depth+1)
	}
	dst, err = r.append(append(dst, branch.tag...), branch, depth+1)
	return append(dst, '}'), err
}

// appendBlocks appends an array or a map, which are written in blocks.
func (r *avroReader) appendBlocks(dst []byte, n *avroNode, depth int) ([]byte, error) {
	open, end := byte('['), byte(']')
	if n.kind == avroMap {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	for i := 0; ; {
		count, err := r.long()
		if err == nil && count < 0 {
			// A negative count is followed by the length of the block.
			if count == math.MinInt64 {
				return dst, unfit("a block of too many items")
			}
			count = -count
			_, err = r.long()
		}
		if err != nil {
			return dst, err
		}
		if count == 0 {
			return append(dst, end), nil
		}
		for ; count > 0; count-- {
			if i > 0 {
				dst = append(dst, ',')
			}
			name := ""
			if n.kind == avroMap {
				key, err := r.counted()
				if err != nil {
					return dst, err
				}
				dst, name = append(appendText(dst, key), ':'), "{}"
			}
			if dst, err = r.append(dst, n.item, depth+1); err != nil {
				if name == "" {
					name = "[" + strconv.Itoa(i) + "]"
				}
				return dst, below(err, name)
			}
			i++
		}
	}
}

// appendBytes appends bytes in the reader's style.
func (r *avroReader) appendBytes(dst, b []byte) []byte {
	if r.style == Connect {
		dst = append(dst, '"')
		return append(base64.StdEncoding.AppendEncode(dst, b), '"')
	}
	return appendLatin(dst, b)
}

// appendLatin appends bytes as a JSON string with a character for each.
func appendLatin(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			dst = utf8.AppendRune(dst, rune(c))
		}
	}
	return append(dst, '"')
}

// appendText appends text as a JSON string.
func appendText(dst, text []byte) []byte {
	for _, c := range text {
		if c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return scan.AppendString(dst, string(text))
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// appendFloat appends a number as encoding/json does, and as a string what JSON has
// no number for.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	abs := math.Abs(f)
	if abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' { // 1e-07
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}
