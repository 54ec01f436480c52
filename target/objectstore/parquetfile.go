package objectstore

import (
	"encoding/binary"
	"fmt"
	"math"
)

// This file writes the Parquet format, as far as an object needs it: one row
// group, a chunk for each column, pages of version 1 with plain values, and no
// dictionaries. The usual library would add 7 MB to the program.
//
//	PAR1 | pages of the first column | pages of the second | ... | footer | its length | PAR1
//
// A page is a header, repetition levels, definition levels and values. A level
// says for each place in a column whether there is a value (definition) and
// whether it goes on with the row of the one before it (repetition).

// The physical types, by their numbers in the format.
const (
	physicalBoolean = 0
	physicalInt32   = 1
	physicalInt64   = 2
	physicalDouble  = 5
	physicalBytes   = 6
)

// The logical types.
const (
	logicalNone = iota
	logicalString
	logicalJSON
	logicalMillis // since 1970, in UTC
)

// The repetitions of a schema's elements, by their numbers in the format.
const (
	repeatRequired = 0
	repeatOptional = 1
	repeatRepeated = 2
)

// A codec compresses pages.
type codec struct {
	number   int // in the format
	compress compression
}

// codecs are there by their names in the configuration.
var codecs = map[string]codec{
	"":           {6, zstandard},
	compressNone: {0, asItIs},
	compressGzip: {2, gzipped},
	compressZstd: {6, zstandard},
}

// pageBytes is how large the values of a page become before the next one is
// begun.
const pageBytes = 1 << 20

// A parquetFile is a file that is being made.
type parquetFile struct {
	codec   codec
	columns []*column
	schema  []element
}

// An element of the schema, which is a tree written depth first.
type element struct {
	name              string
	repeat            int
	children          int // 0: a column
	list              bool
	physical, logical int
}

// A column collects values, page after page. Its first error is kept.
type column struct {
	path                    []string
	physical                int
	maxRepeat, maxDefine    byte
	codec                   codec
	values                  []byte // of the page
	booleans                int    // in it
	repeats, defines        levels // of the page
	count                   int    // places in the page
	pages                   []byte
	total, plain, beginning int
	err                     error
}

func (f *parquetFile) required(name string, physical, logical int) *column {
	f.schema = append(f.schema, element{name: name, repeat: repeatRequired, physical: physical, logical: logical})
	return f.add(&column{path: []string{name}, physical: physical})
}

func (f *parquetFile) optional(name string, physical, logical int) *column {
	f.schema = append(f.schema, element{name: name, repeat: repeatOptional, physical: physical, logical: logical})
	return f.add(&column{path: []string{name}, physical: physical, maxDefine: 1})
}

// pairs adds a list of pairs: a text that is always there, and bytes that may be
// missing.
func (f *parquetFile) pairs(name, first, second string) (*column, *column) {
	f.schema = append(f.schema,
		element{name: name, repeat: repeatRequired, children: 1, list: true}, element{name: "list", repeat: repeatRepeated, children: 1},
		element{name: "element", repeat: repeatRequired, children: 2},
		element{name: first, repeat: repeatRequired, physical: physicalBytes, logical: logicalString},
		element{name: second, repeat: repeatOptional, physical: physicalBytes})
	return f.add(&column{path: []string{name, "list", "element", first}, physical: physicalBytes, maxRepeat: 1, maxDefine: 1}),
		f.add(&column{path: []string{name, "list", "element", second}, physical: physicalBytes, maxRepeat: 1, maxDefine: 2})
}

func (f *parquetFile) add(c *column) *column {
	c.codec = f.codec
	f.columns = append(f.columns, c)
	return c
}

// begin makes a place for a value of a column that is no list.
func (c *column) begin() { c.level(0, c.maxDefine) }

// putNull makes a place without a value.
func (c *column) putNull() { c.level(0, 0) }

// putOptional puts bytes, where nil is none.
func (c *column) putOptional(b []byte) {
	if b == nil {
		c.putNull()
		return
	}
	c.begin()
	c.putBytes(b)
}

// level makes a place. A page ends between two rows only.
func (c *column) level(repeat, define byte) {
	if repeat == 0 && len(c.values)+c.booleans/8 >= pageBytes {
		c.endPage()
	}
	c.count++
	c.repeats.add(repeat)
	c.defines.add(define)
}

func (c *column) putBytes(b []byte) {
	c.values = append(binary.LittleEndian.AppendUint32(c.values, uint32(len(b))), b...)
}

func (c *column) putInt32(n int32) { c.values = binary.LittleEndian.AppendUint32(c.values, uint32(n)) }

func (c *column) putInt64(n int64) { c.values = binary.LittleEndian.AppendUint64(c.values, uint64(n)) }

func (c *column) putDouble(n float64) {
	c.values = binary.LittleEndian.AppendUint64(c.values, math.Float64bits(n))
}

func (c *column) putBoolean(b bool) {
	if c.booleans%8 == 0 {
		c.values = append(c.values, 0)
	}
	if b {
		c.values[len(c.values)-1] |= 1 << (c.booleans % 8)
	}
	c.booleans++
}

// levels are the levels of a page, as runs.
type levels struct {
	runs []byte
	last byte
	n    int // in the last run
}

func (l *levels) add(level byte) {
	if l.n > 0 && level != l.last {
		l.end()
	}
	l.last = level
	l.n++
}

func (l *levels) end() {
	l.runs = append(binary.AppendUvarint(l.runs, uint64(l.n)<<1), l.last)
	l.n = 0
}

// appendTo appends the levels, their length first, and begins anew. Levels that
// can be nothing but 0 are left out.
func (l *levels) appendTo(b []byte, largest byte) []byte {
	if l.n > 0 {
		l.end()
	}
	if largest > 0 {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(l.runs))), l.runs...)
	}
	l.runs = l.runs[:0]
	return b
}

// endPage writes the page.
func (c *column) endPage() {
	if c.count == 0 {
		return
	}
	text := c.repeats.appendTo(nil, c.maxRepeat)
	text = append(c.defines.appendTo(text, c.maxDefine), c.values...)
	packed, err := c.codec.compress(nil, text)
	if err == nil && len(text) > math.MaxInt32 {
		err = fmt.Errorf("a page would have %d bytes", len(text))
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	var h thrift
	h.int(1, 0) // a data page
	h.int(2, len(text))
	h.int(3, len(packed))
	h.begin(5)
	h.int(1, c.count)
	h.int(2, 0) // plain values
	h.int(3, 3) // levels as runs
	h.int(4, 3)
	h.end()
	h.end()
	c.pages = append(append(c.pages, h.out...), packed...)
	c.plain += len(h.out) + len(text)
	c.total += c.count
	c.count, c.booleans, c.values = 0, 0, c.values[:0]
}

const parquetMagic = "PAR1"

// bytes returns the whole file.
func (f *parquetFile) bytes(rows int) ([]byte, error) {
	out := []byte(parquetMagic)
	for _, c := range f.columns {
		c.endPage()
		if c.err != nil {
			return nil, c.err
		}
		c.beginning = len(out)
		out = append(out, c.pages...)
	}
	footer := f.footer(rows)
	out = append(out, footer...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(footer)))
	return append(out, parquetMagic...), nil
}

// footer is the FileMetaData of the format.
func (f *parquetFile) footer(rows int) []byte {
	var t thrift
	t.int(1, 1) // version
	t.list(2, thriftStruct, len(f.schema)+1)
	top := 0
	for i := 0; i < len(f.schema); top++ {
		i = f.behind(i)
	}
	t.element()
	t.text(4, "record")
	t.int(5, top)
	t.end()
	for _, e := range f.schema {
		e.write(&t)
	}
	t.long(3, rows)
	t.list(4, thriftStruct, 1)
	t.element()
	t.list(1, thriftStruct, len(f.columns))
	plain, packed := 0, 0
	for _, c := range f.columns {
		c.write(&t)
		plain, packed = plain+c.plain, packed+len(c.pages)
	}
	t.long(2, plain)
	t.long(3, rows)
	t.long(5, len(parquetMagic))
	t.long(6, packed)
	t.end()
	t.text(6, "klamm")
	t.end()
	return t.out
}

// behind returns the index behind an element and what is below it.
func (f *parquetFile) behind(i int) int {
	next := i + 1
	for range f.schema[i].children {
		next = f.behind(next)
	}
	return next
}

// write writes the SchemaElement of the format.
func (e *element) write(t *thrift) {
	t.element()
	if e.children == 0 {
		t.int(1, e.physical)
	}
	t.int(3, e.repeat)
	t.text(4, e.name)
	if e.children > 0 {
		t.int(5, e.children)
	}
	// Field 6 is for readers that are older than field 10.
	if converted, ok := map[int]int{logicalString: 0, logicalMillis: 9, logicalJSON: 19}[e.logical]; ok {
		t.int(6, converted)
	}
	if e.list {
		t.int(6, 3)
		t.begin(10)
		t.begin(3)
		t.end()
		t.end()
	}
	switch e.logical {
	case logicalString, logicalJSON:
		t.begin(10)
		t.begin(map[int]int{logicalString: 1, logicalJSON: 12}[e.logical])
		t.end()
		t.end()
	case logicalMillis:
		t.begin(10)
		t.begin(8)
		t.boolean(1, true)
		t.begin(2)
		t.begin(1)
		t.end()
		t.end()
		t.end()
		t.end()
	}
	t.end()
}

// write writes the ColumnChunk of the format.
func (c *column) write(t *thrift) {
	t.element()
	t.long(2, 0)
	t.begin(3)
	t.int(1, c.physical)
	t.list(2, thriftInt32, 2)
	t.zigzag(0) // plain
	t.zigzag(3) // runs
	t.list(3, thriftBytes, len(c.path))
	for _, name := range c.path {
		t.bytes(name)
	}
	t.int(4, c.codec.number)
	t.long(5, c.total)
	t.long(6, c.plain)
	t.long(7, len(c.pages))
	t.long(9, c.beginning)
	t.end()
	t.end()
}

// The types of Thrift's compact protocol that are needed.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftInt32  = 5
	thriftInt64  = 6
	thriftBytes  = 8
	thriftList   = 9
	thriftStruct = 12
)

// A thrift writes a struct in Thrift's compact protocol.
type thrift struct {
	out   []byte
	last  int   // number of the field before
	outer []int // the same of the structs around
}

// field begins a field. Numbers rise within a struct by at most 15.
func (t *thrift) field(number, kind int) {
	t.out = append(t.out, byte(number-t.last)<<4|byte(kind))
	t.last = number
}

func (t *thrift) zigzag(n int) { t.out = binary.AppendVarint(t.out, int64(n)) }

func (t *thrift) bytes(s string) {
	t.out = append(binary.AppendUvarint(t.out, uint64(len(s))), s...)
}

func (t *thrift) int(number, n int) {
	t.field(number, thriftInt32)
	t.zigzag(n)
}

func (t *thrift) long(number, n int) {
	t.field(number, thriftInt64)
	t.zigzag(n)
}

func (t *thrift) text(number int, s string) {
	t.field(number, thriftBytes)
	t.bytes(s)
}

func (t *thrift) boolean(number int, b bool) {
	if b {
		t.field(number, thriftTrue)
	} else {
		t.field(number, thriftFalse)
	}
}

// begin begins a struct that is a field.
func (t *thrift) begin(number int) {
	t.field(number, thriftStruct)
	t.element()
}

// element begins a struct that is an element of a list.
func (t *thrift) element() {
	t.outer = append(t.outer, t.last)
	t.last = 0
}

// end ends a struct; the outermost one, too.
func (t *thrift) end() {
	t.out = append(t.out, 0)
	if n := len(t.outer); n > 0 {
		t.last = t.outer[n-1]
		t.outer = t.outer[:n-1]
	}
}

// list begins a list; as many elements follow.
func (t *thrift) list(number, kind, elements int) {
	t.field(number, thriftList)
	if elements < 15 {
		t.out = append(t.out, byte(elements)<<4|byte(kind))
		return
	}
	t.out = append(t.out, 0xf0|byte(kind))
	t.out = binary.AppendUvarint(t.out, uint64(elements))
}
