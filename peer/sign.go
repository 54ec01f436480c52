package peer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// forwardHeader carries the signature of a call between processes:
	// RECEIVER.EXPIRY.DIGEST.CALLER.SENDER.SERIAL.MAC; digest, caller and MAC in base64.
	forwardHeader = "Klamm-Forward"
	// answerHeader shows that it was the receiver who answered.
	answerHeader = "Klamm-Answer"
	// signedFor is how long a signature is good. Clocks may differ by as much.
	signedFor = time.Minute
	// callerBytes bounds what is said about the caller.
	callerBytes = 24 << 10
)

// ErrForged says that a request claims to come from another klamm process and does
// not, or comes too late.
var ErrForged = errors.New("the request does not come from a klamm process of this cluster")

// A signer signs calls to other processes and checks those that arrive.
type signer struct {
	secret []byte
	id     string // of this process
	now    func() time.Time
	serial atomic.Uint64 // of the last call that was signed
	hashes sync.Pool     // of hash.Hash, with the secret

	mu   sync.Mutex // guards came
	came windows    // nil: none
}

// A seal is what is signed.
type seal struct {
	to          string
	expiry      int64 // seconds since 1970
	digest      string
	caller      string
	from        string
	serial      uint64 // no two calls of a process have the same
	method, uri string
}

func (s *signer) mac(what string, parts ...string) []byte {
	text := append(make([]byte, 0, 512), what...)
	for _, part := range parts {
		// With their lengths, so that nothing can move from one to the next.
		text = append(text, '\n')
		text = strconv.AppendInt(text, int64(len(part)), 10)
		text = append(text, ':')
		text = append(text, part...)
	}
	h, ok := s.hashes.Get().(hash.Hash)
	if !ok {
		h = hmac.New(sha256.New, s.secret)
	}
	h.Reset()
	h.Write(text)
	sum := h.Sum(nil)
	s.hashes.Put(h)
	return sum
}

// nothing is the digest of no body.
var nothing = sha256.Sum256(nil)

func (s *signer) macOf(v seal) string {
	return encode(s.mac("klamm-forward", v.to, strconv.FormatInt(v.expiry, 10), v.digest, v.caller, v.from, strconv.FormatUint(v.serial, 10), v.method, v.uri))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign returns the header of a call and the proof that its answer has to carry.
func (s *signer) sign(to, method, uri string, body, caller []byte) (header, proof string) {
	digest := sha256.Sum256(body)
	v := seal{to, s.now().Add(signedFor).Unix(), encode(digest[:]), encode(caller), s.id, s.serial.Add(1), method, uri}
	mac := s.macOf(v)
	return strings.Join([]string{v.to, strconv.FormatInt(v.expiry, 10), v.digest, v.caller, v.from, strconv.FormatUint(v.serial, 10), mac}, "."), s.prove(mac)
}

// prove returns what only a process of this cluster can say to a signature.
func (s *signer) prove(mac string) string { return encode(s.mac("klamm-answer", mac)) }

// check returns what a signed request says about its caller, and the proof for the
// answer. The body is checked while it is being read: whoever reads it to its end
// gets ErrForged instead of io.EOF if it is not what was signed.
func (s *signer) check(r *http.Request) (caller []byte, proof string, err error) {
	values := r.Header[forwardHeader]
	if len(values) != 1 {
		return nil, "", ErrForged
	}
	parts := strings.Split(values[0], ".")
	if len(parts) != 7 || len(parts[3]) > callerBytes*4/3+4 {
		return nil, "", ErrForged
	}
	expiry, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return nil, "", ErrForged
	}
	serial, err := strconv.ParseUint(parts[5], 10, 64)
	if err != nil {
		return nil, "", ErrForged
	}
	v := seal{parts[0], expiry, parts[2], parts[3], parts[4], serial, r.Method, r.URL.RequestURI()}
	if !hmac.Equal([]byte(parts[6]), []byte(s.macOf(v))) || v.to != s.id {
		return nil, "", ErrForged
	}
	if left := time.Unix(expiry, 0).Sub(s.now()); left < -signedFor || left > 3*signedFor {
		return nil, "", ErrForged
	}
	if !s.first(v) {
		return nil, "", ErrForged
	}
	digest, err := base64.RawURLEncoding.DecodeString(v.digest)
	if err != nil {
		return nil, "", ErrForged
	}
	if caller, err = base64.RawURLEncoding.DecodeString(v.caller); err != nil {
		return nil, "", ErrForged
	}
	if r.Body != nil && r.ContentLength != 0 {
		r.Body = &checked{ReadCloser: r.Body, hash: sha256.New(), want: digest}
	} else if !bytes.Equal(digest, nothing[:]) {
		return nil, "", ErrForged
	}
	return caller, s.prove(parts[6]), nil
}

// first says whether a call that was signed comes for the first time: who has
// listened to it must not be able to make it again.
func (s *signer) first(v seal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.came == nil {
		s.came = windows{}
	}
	return s.came.take(v.from, v.serial, s.now())
}

// checked is a body that must have a digest.
type checked struct {
	io.ReadCloser
	hash hash.Hash
	want []byte
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.hash.Write(b[:n])
	if errors.Is(err, io.EOF) && !bytes.Equal(c.hash.Sum(nil), c.want) {
		return n, ErrForged
	}
	return n, err
}
