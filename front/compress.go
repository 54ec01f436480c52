package front

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compression is the compression section of the configuration file
// (gateway-policies.md 5.5). Request bodies are always taken in compressed.
type Compression struct {
	// Answers are compressed where clients accept it, with gzip or zstd; the default
	// is true.
	Answers *bool `yaml:"answers"`
	// Min is the smallest answer that is compressed; the default is 1KiB.
	Min int64 `yaml:"min" unit:"bytes"`
	// Streams compresses Server-Sent Events as well, flushed with each write. It costs
	// up to 1MiB of memory for each stream of a client that accepts it; the default is
	// false.
	Streams bool `yaml:"streams"`
}

// Validate reports each problem with the field it lies in.
func (c Compression) Validate(report func(path, problem string)) {
	if c.Min < 0 || c.Min > 10<<20 {
		report("min", "want a size up to 10MiB")
	}
}

const (
	// ratioLimit is how many times a body may grow when it is inflated, and
	// ratioFrom from how many bytes on that counts: small bodies of JSON compress
	// well (gateway-policies.md 5.5).
	ratioLimit = 100
	ratioFrom  = 64 << 10
	// smallWindow and largeWindow are how far back a zstd frame may point, in bytes;
	// more than the large one nobody has to take in (RFC 9659).
	smallWindow = 256 << 10
	largeWindow = 8 << 20
	// acceptedEncodings is what a client is told that sends something else.
	acceptedEncodings = "gzip, deflate, zstd, identity"
)

// inflate makes a body that its Content-Encoding says is compressed be read as what
// it was before. Every error of it is one that a dialect knows.
//
// Release has to be called when the request is over.
func inflate(w http.ResponseWriter, r *http.Request) (release func(), err error) {
	b, ok := r.Body.(*body)
	encodings := r.Header["Content-Encoding"]
	if !ok || len(encodings) == 0 {
		return func() {}, nil
	}
	switch encoding := encodingOf(encodings); encoding {
	case "":
		return func() {}, nil
	case "gzip", "x-gzip", "deflate", "zstd":
		if b.length > b.limit {
			return func() {}, tooLarge(b.limit)
		}
		i := &inflated{kind: encoding, from: &counted{from: b.ReadCloser}, body: b.ReadCloser, budget: b.budget}
		done := i.release
		if h := b.held; h != nil { // who had to see it whole has read it already
			i.from.from, b.held = bytes.NewReader(h.data), nil
			done = func() {
				i.release()
				h.release(true)
			}
		}
		b.ReadCloser, b.length = i, -1
		delete(r.Header, "Content-Encoding")
		return done, nil
	}
	w.Header().Set("Accept-Encoding", acceptedEncodings)
	return func() {}, &RepeatError{http.StatusUnsupportedMediaType, "this Content-Encoding is not known; accepted are " + acceptedEncodings}
}

// encodingOf returns what a Content-Encoding says, in lower case: the encodings of all
// its fields, without those that change nothing.
func encodingOf(fields []string) string {
	var all []string
	for _, field := range fields {
		for one := range strings.SplitSeq(field, ",") {
			if one = strings.ToLower(strings.TrimSpace(one)); one != "" && one != "identity" {
				all = append(all, one)
			}
		}
	}
	return strings.Join(all, ",")
}

// sent is what arrives from the client, before it is inflated.
func (b *body) sent() io.Reader {
	if i, ok := b.ReadCloser.(*inflated); ok {
		return i.from
	}
	return b.ReadCloser
}

// counted counts what is read.
type counted struct {
	from io.Reader
	n    int64
	err  error // what ended it, if that was not its end
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// inflated is a body while it is inflated. The decoder is made when it is read first:
// that reads from the connection.
type inflated struct {
	kind   string
	from   *counted
	body   io.Closer
	budget *budget
	out    io.Reader
	put    func() // gives the decoder back
	n      int64
	err    error
}

func (i *inflated) Read(p []byte) (int, error) {
	if i.err != nil {
		return 0, i.err
	}
	if i.out == nil {
		if i.err = i.failure(i.open()); i.err != nil {
			return 0, i.err
		}
	}
	n, err := i.out.Read(p)
	i.n += int64(n)
	if i.n > ratioFrom && i.n > ratioLimit*i.from.n {
		err = fmt.Errorf("%w: it grows more than %d times when it is inflated", ErrBodyTooLarge, ratioLimit)
		n = 0
	}
	if err != nil {
		i.err = i.failure(err)
		i.release()
	}
	return n, i.err
}

// failure is how an error of a decoder is told.
func (i *inflated) failure(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrBodyTooLarge), errors.Is(err, ErrBusy):
		return err
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && i.out != nil:
		return io.EOF
	case i.from.err != nil:
		return i.from.err // the connection's
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: its zstd window is too large", ErrBodyTooLarge)
	}
	return &RepeatError{http.StatusBadRequest, "the request body is not " + i.kind + ", or it breaks off"}
}

func (i *inflated) open() error {
	switch i.kind {
	case "zstd":
		return i.openZstd()
	case "deflate":
		z, err := zlib.NewReader(i.from)
		if err != nil {
			return err
		}
		i.out, i.put = z, func() {}
		return nil
	}
	z, _ := gzips.Get().(*gzip.Reader)
	if err := z.Reset(i.from); err != nil {
		gzips.Put(z)
		return err
	}
	i.out, i.put = z, func() { gzips.Put(z) }
	return nil
}

var (
	gzips      = sync.Pool{New: func() any { return new(gzip.Reader) }}
	smallZstds = sync.Pool{New: func() any { return newZstd(smallWindow) }}
)

func newZstd(window uint64) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		panic("front: zstd: " + err.Error()) // its options are constants
	}
	return d
}

// openZstd looks at the first frame's header: a large window is memory that is asked
// for from the budget of bodies.
func (i *inflated) openZstd() error {
	var head [zstd.HeaderMaxSize]byte
	n, err := io.ReadFull(i.from, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	from := io.MultiReader(bytes.NewReader(head[:n]), i.from)
	var h zstd.Header
	if err := h.Decode(head[:n]); err != nil {
		return err
	}
	if h.WindowSize <= smallWindow {
		d, _ := smallZstds.Get().(*zstd.Decoder)
		i.put = func() {
			_ = d.Reset(nil)
			smallZstds.Put(d)
		}
		i.out = d
		return d.Reset(from)
	}
	if !i.budget.take(largeWindow) {
		return ErrBusy
	}
	d := newZstd(largeWindow)
	i.put = func() {
		d.Close()
		i.budget.give(largeWindow)
	}
	i.out = d
	return d.Reset(from)
}

func (i *inflated) release() {
	if i.put != nil {
		i.put()
		i.put, i.out = nil, nil
	}
}

// Close ends the reading.
func (i *inflated) Close() error {
	i.release()
	if i.err == nil {
		i.err = io.ErrClosedPipe
	}
	return i.body.Close()
}

// A compression is what becomes of one answer.
type compression struct {
	encoding string // "": as it is
	min      int
	streams  bool // event streams too
	waiting  bool // it is not decided yet: there may be too little
	held     []byte
	out      io.WriteCloser
	flusher  func() error
	put      func() // gives the encoder back
}

// begin looks at what the client accepts.
func (c *compression) begin(s *Server, r *http.Request) {
	if s.cfg.Compression.Answers != nil && !*s.cfg.Compression.Answers || r.Method == http.MethodHead || r.Header["Upgrade"] != nil {
		return
	}
	c.min = int(s.cfg.Compression.Min)
	if c.min == 0 {
		c.min = 1 << 10
	}
	c.streams = s.cfg.Compression.Streams
	c.encoding = acceptable(r.Header["Accept-Encoding"])
}

// acceptable is the encoding that a client likes best among those that klamm has.
func acceptable(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	best, quality, others := "", 0.0, 0.0
	q := map[string]float64{}
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			name, rest, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			weight := 1.0
			if v, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(rest, " ", "")), "q="); ok {
				var err error
				if weight, err = strconv.ParseFloat(v, 64); err != nil || !(weight >= 0 && weight <= 1) {
					weight = 0
				}
			}
			switch name {
			case "gzip", "x-gzip":
				q["gzip"] = weight
			case "zstd":
				q["zstd"] = weight
			case "*":
				others = weight
			case "identity":
				q["identity"] = weight
			}
		}
	}
	for _, name := range []string{"gzip", "zstd"} { // the first wins among equals
		weight, named := q[name]
		if !named {
			weight = others
		}
		if weight > quality {
			best, quality = name, weight
		}
	}
	if q["identity"] > quality {
		return ""
	}
	return best
}

const eventStream = "text/event-stream"

// compressible says whether an answer of a type becomes smaller, and is no stream
// of events, which nobody may hold back.
func compressible(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	return strings.HasPrefix(kind, "text/") && kind != eventStream || strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "xml") ||
		kind == "application/javascript" || kind == "application/openapi+yaml" || kind == "application/yaml" || kind == "image/svg+xml"
}

// header decides as far as that is possible when the answer begins.
func (c *compression) header(x *exchange, status int) {
	h := x.Header()
	length := h.Get("Content-Length")
	if c.encoding == "" && length == "" { // the client does not want it, and it may be small
		return
	}
	if length != "" {
		if n, err := strconv.Atoi(length); err == nil && n < c.min {
			c.encoding = ""
			return
		}
	}
	if c.streams && c.encoding != "" && status == http.StatusOK && h["Content-Encoding"] == nil && h.Get("Content-Type") == eventStream {
		h.Add("Vary", "Accept-Encoding")
		c.start(x)
		return
	}
	encodable := c.min > 0 && status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified && status != http.StatusPartialContent &&
		h["Content-Encoding"] == nil && compressible(h.Get("Content-Type")) && (x.route == nil || !x.route.Streams)
	if !encodable {
		c.encoding = ""
		return
	}
	if length != "" { // it is large enough for whoever accepts it
		h.Add("Vary", "Accept-Encoding")
	}
	if c.encoding == "" {
		return
	}
	if length != "" {
		c.start(x)
		return
	}
	c.waiting = true
}

func (c *compression) active() bool { return c.waiting || c.out != nil }

// start makes the rest of the answer be compressed.
func (c *compression) start(x *exchange) {
	h := x.Header()
	h.Del("Content-Length")
	h.Set("Content-Encoding", c.encoding)
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		h.Set("Etag", "W/"+tag) // it was of other bytes
	}
	to := passing{x}
	if c.encoding == "zstd" {
		z, _ := zstdWriters.Get().(*zstd.Encoder)
		z.Reset(to)
		c.out, c.flusher, c.put = z, z.Flush, func() {
			z.Reset(nil)
			zstdWriters.Put(z)
		}
		return
	}
	z, _ := gzipWriters.Get().(*gzip.Writer)
	z.Reset(to)
	c.out, c.flusher, c.put = z, z.Flush, func() { gzipWriters.Put(z) }
}

var (
	gzipWriters = sync.Pool{New: func() any {
		z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
		return z
	}}
	zstdWriters = sync.Pool{New: func() any {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(128<<10))
		if err != nil {
			panic("front: zstd: " + err.Error()) // its options are constants
		}
		return z
	}}
)

// passing writes what is compressed to the connection.
type passing struct{ x *exchange }

func (p passing) Write(b []byte) (int, error) { return p.x.pass(b) }

// write takes a part of the answer.
func (c *compression) write(x *exchange, b []byte) (int, error) {
	if c.out != nil {
		return c.out.Write(b)
	}
	if len(c.held)+len(b) < c.min {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	x.Header().Add("Vary", "Accept-Encoding")
	c.start(x)
	if err := c.decide(x); err != nil {
		return 0, err
	}
	return c.out.Write(b)
}

// decide sends the header and what was held.
func (c *compression) decide(x *exchange) error {
	c.waiting = false
	x.ResponseWriter.WriteHeader(x.status)
	held := c.held
	c.held = nil
	if len(held) == 0 {
		return nil
	}
	if c.out != nil {
		_, err := c.out.Write(held)
		return err
	}
	_, err := x.pass(held)
	return err
}

// flush sends what there is. An answer of unknown length that is flushed before there
// was enough is a stream, and stays as it is.
func (c *compression) flush(x *exchange) error {
	if c.waiting {
		return c.decide(x)
	}
	if c.out != nil {
		return c.flusher()
	}
	return nil
}

// end completes the answer.
func (c *compression) end(x *exchange) {
	if c.waiting {
		x.Header().Set("Content-Length", strconv.Itoa(len(c.held)))
		_ = c.decide(x)
	}
	if c.out != nil {
		_ = c.out.Close()
		c.put()
		c.out = nil
	}
}
