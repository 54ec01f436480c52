package objectstore

import (
	"bufio"
	"crypto/md5"  //nolint:gosec // the entity tags of S3 are MD5 sums
	"crypto/sha1" //nolint:gosec // one of the checksums of S3
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxObject is the largest object of one request, and the largest part, in bytes.
	maxObject = 5 << 30
	// maxChunk is the largest chunk of a chunked body, in bytes; it is read as a stream.
	maxChunk = 1 << 30
	// maxTrailers bounds what comes behind the chunks, in bytes.
	maxTrailers = 4 << 10
	sumPrefix   = "x-amz-checksum-"
)

// sums are the checksums of S3, by their names in headers.
var sums = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

// A body is the content of a request: out of its chunks, and checked at its end
// against all that the request says of it. Until it has been read to its end without
// an error, nothing of it is to be believed.
type body struct {
	content io.Reader
	chunks  *chunks // nil: it comes as it is
	length  int64
	read    int64
	md5     hash.Hash
	sha256  hash.Hash // nil: the signature does not cover the content by it
	want    struct{ md5, sha256 string }
	sums    map[string]hash.Hash
	given   map[string]string // by algorithm; those of the trailer come at the end
	trailer string            // the algorithm whose sum comes at the end
}

// bodyOf returns the content of a signed request. The checksums in the header of some
// requests are not those of their content.
func bodyOf(r *http.Request, s *signature, own bool) (*body, *fault) {
	b := &body{content: r.Body, length: r.ContentLength, md5: md5.New(), sums: map[string]hash.Hash{}, given: map[string]string{}} //nolint:gosec // as above
	if text := r.Header.Get("Content-Md5"); text != "" {
		sum, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(sum) != md5.Size {
			return nil, &fault{"InvalidDigest", http.StatusBadRequest, "The Content-MD5 you specified is not valid."}
		}
		b.want.md5 = string(sum)
	}
	for name := range r.Header {
		algorithm, ok := strings.CutPrefix(strings.ToLower(name), sumPrefix)
		if !ok || !own || algorithm == "type" || algorithm == "mode" || algorithm == "algorithm" {
			continue
		}
		if sums[algorithm] == nil {
			return nil, invalid("The checksum " + clip(algorithm) + " is not known.")
		}
		b.given[algorithm], b.sums[algorithm] = r.Header.Get(name), sums[algorithm]()
	}
	if f := b.encoded(r, s); f != nil {
		return nil, f
	}
	if b.length < 0 {
		return nil, &fault{"MissingContentLength", http.StatusLengthRequired, "You must provide the Content-Length HTTP header."}
	}
	if b.length > maxObject {
		return nil, &fault{"EntityTooLarge", http.StatusBadRequest, "Your proposed upload exceeds the maximum allowed size"}
	}
	return b, nil
}

// encoded finds out in which form the content comes.
func (b *body) encoded(r *http.Request, s *signature) *fault {
	signed, trailer := false, false
	switch s.payload {
	case unsigned:
		return nil
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		trailer = true
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
		signed = true
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		signed, trailer = true, true
	default:
		sum, err := hex.DecodeString(s.payload)
		if err != nil || len(sum) != sha256.Size {
			return invalid("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of STREAMING-..., or a SHA-256 in hexadecimal.")
		}
		b.sha256, b.want.sha256 = sha256.New(), string(sum)
		return nil
	}
	length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return &fault{"MissingContentLength", http.StatusLengthRequired, "You must provide the x-amz-decoded-content-length HTTP header."}
	}
	b.length = length
	if trailer {
		name := strings.ToLower(strings.TrimSpace(r.Header.Get("X-Amz-Trailer")))
		algorithm, ok := strings.CutPrefix(name, sumPrefix)
		if !ok || sums[algorithm] == nil {
			return invalid("The x-amz-trailer header must name one checksum that is known.")
		}
		b.trailer, b.sums[algorithm] = algorithm, sums[algorithm]()
	}
	b.chunks = &chunks{in: bufio.NewReaderSize(r.Body, 64<<10), trailing: trailer}
	if signed {
		b.chunks.signed, b.chunks.before, b.chunks.sum = s, s.value, sha256.New()
	}
	b.content = b.chunks
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.content.Read(p)
	if b.read += int64(n); b.read > b.length {
		return 0, incomplete()
	}
	b.md5.Write(p[:n])
	if b.sha256 != nil {
		b.sha256.Write(p[:n])
	}
	for _, h := range b.sums {
		h.Write(p[:n])
	}
	if err == io.EOF {
		if f := b.end(); f != nil {
			return n, f
		}
	}
	return n, err
}

// end compares what was read with what it should have been.
func (b *body) end() *fault {
	if b.read != b.length {
		return incomplete()
	}
	if b.want.md5 != "" && b.want.md5 != string(b.md5.Sum(nil)) {
		return &fault{"BadDigest", http.StatusBadRequest, "The Content-MD5 you specified did not match what we received."}
	}
	if b.sha256 != nil && b.want.sha256 != string(b.sha256.Sum(nil)) {
		return &fault{"XAmzContentSHA256Mismatch", http.StatusBadRequest, "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	if b.trailer != "" {
		b.given[b.trailer] = b.chunks.trailers[sumPrefix+b.trailer]
	}
	for algorithm, h := range b.sums {
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != b.given[algorithm] {
			return &fault{"BadDigest", http.StatusBadRequest, "The " + strings.ToUpper(algorithm) + " you specified did not match what we received."}
		}
	}
	return nil
}

// etag is the entity tag of a body that has been read.
func (b *body) etag() string { return hex.EncodeToString(b.md5.Sum(nil)) }

// chunks takes the content out of the encoding aws-chunked: each chunk has its size
// and, where they are signed, a signature that covers it and the one before.
type chunks struct {
	in       *bufio.Reader
	trailing bool
	signed   *signature // nil: chunks have no signatures
	before   string     // the signature before
	sum      hash.Hash  // of the chunk that is being read
	claimed  string     // its signature
	left     int64
	begun    bool
	over     bool
	trailers map[string]string
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.over {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	c.left -= int64(n)
	if err != nil {
		return n, incomplete()
	}
	return n, nil
}

// next goes on to the next chunk.
func (c *chunks) next() error {
	if c.begun {
		if f := c.end(); f != nil {
			return f
		}
		if line, err := c.line(); err != nil || line != "" {
			return incomplete()
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return incomplete()
	}
	size, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil || n < 0 || n > maxChunk {
		return incomplete()
	}
	c.claimed = strings.TrimPrefix(strings.TrimSpace(extension), "chunk-signature=")
	if c.left = n; n > 0 {
		return nil
	}
	c.over = true
	if f := c.end(); f != nil {
		return f
	}
	return c.tail()
}

// end checks the signature of the chunk that has been read.
func (c *chunks) end() *fault {
	if c.signed == nil {
		return nil
	}
	s := c.signed
	text := algorithm + "-PAYLOAD\n" + s.date + "\n" + s.scope + "\n" + c.before + "\n" + digest(nil) + "\n" + hex.EncodeToString(c.sum.Sum(nil))
	return c.matches(text, c.claimed)
}

func (c *chunks) matches(text, claimed string) *fault {
	want := hex.EncodeToString(sign(c.signed.key, text))
	if subtle.ConstantTimeCompare([]byte(want), []byte(claimed)) != 1 {
		return &fault{"SignatureDoesNotMatch", http.StatusForbidden, "The signature of a chunk does not match its content."}
	}
	c.before = want
	c.sum.Reset()
	return nil
}

// tail reads what comes behind the last chunk.
func (c *chunks) tail() error {
	c.trailers = map[string]string{}
	var signed []string
	claimed, size := "", 0
	for {
		line, err := c.line()
		if err != nil || size+len(line) > maxTrailers {
			return incomplete()
		}
		if line == "" {
			break
		}
		size += len(line)
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "x-amz-trailer-signature" {
			claimed = value
			continue
		}
		c.trailers[name] = value
		signed = append(signed, name+":"+value+"\n")
	}
	if c.signed == nil || !c.trailing {
		return nil
	}
	slices.Sort(signed)
	s := c.signed
	text := algorithm + "-TRAILER\n" + s.date + "\n" + s.scope + "\n" + c.before + "\n" + digest([]byte(strings.Join(signed, "")))
	if f := c.matches(text, claimed); f != nil {
		return f
	}
	return nil
}

// line reads a line without its end.
func (c *chunks) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil || len(line) > maxTrailers {
		return "", incomplete()
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func incomplete() *fault {
	return &fault{"IncompleteBody", http.StatusBadRequest, "You did not provide the number of bytes specified by the Content-Length HTTP header, or its chunks are broken."}
}
