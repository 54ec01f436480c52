package gate

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// What is kept under a key is a head of fixed length and, when the request is
// done, its answer:
//
//	version (1) | done (1) | expires, ms (8) | owner (16) | fingerprint (32)
//	length of the description (4) | description, JSON | body, compressed or not
const (
	keptVersion = 1
	ownerSize   = 16
	headSize    = 1 + 1 + 8 + ownerSize + sha256.Size

	// maxKeptBody bounds the body of an answer, as it is kept.
	maxKeptBody = 64 << 10
	// maxKeptHeader bounds the description of an answer, which is mostly its
	// headers.
	maxKeptHeader = 16 << 10
	// maxBody bounds the body of an answer when it is uncompressed.
	maxBody = 64 << 20
	// smallAnswer is what compressing does not make smaller.
	smallAnswer = 512
)

// kept is what stands under a key.
type kept struct {
	done        bool
	expires     time.Time
	owner       [ownerSize]byte
	fingerprint [sha256.Size]byte
	rest        []byte // the answer
}

// description is an answer without its body.
type description struct {
	Status  int         `json:"status"`
	Header  http.Header `json:"header,omitempty"`
	Packed  bool        `json:"packed,omitempty"`
	Dropped bool        `json:"dropped,omitempty"`
}

func appendKept(dst []byte, k kept) []byte {
	dst = append(dst, keptVersion, 0)
	if k.done {
		dst[len(dst)-1] = 1
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.expires.UnixMilli()))
	dst = append(dst, k.owner[:]...)
	return append(dst, k.fingerprint[:]...)
}

// readKept reads what stands under a key; false means that this version of klamm
// cannot. The rest shares the memory of b.
func readKept(b []byte) (k kept, ok bool) {
	if len(b) < headSize || b[0] != keptVersion || b[1] > 1 {
		return kept{}, false
	}
	k.done = b[1] == 1
	k.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:])))
	copy(k.owner[:], b[10:])
	copy(k.fingerprint[:], b[10+ownerSize:])
	k.rest = b[headSize:]
	return k, true
}

// appendAnswer appends an answer. A body, or headers, that are too large even
// when they are compressed are dropped.
func appendAnswer(dst []byte, a Answer) []byte {
	d := description{Status: a.Status, Header: a.Header, Dropped: a.Dropped}
	body := a.Body
	if len(body) > smallAnswer {
		if packed := pack(body); len(packed) < len(body) {
			d.Packed, body = true, packed
		}
	}
	if len(body) > maxKeptBody {
		d.Packed, d.Dropped, body = false, true, nil
	}
	text, err := json.Marshal(d)
	if err != nil || len(text) > maxKeptHeader {
		d.Header = nil
		text, _ = json.Marshal(d)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	return append(append(dst, text...), body...)
}

func pack(body []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return body
	}
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}

var errBroken = errors.New("what is kept under an idempotency key cannot be read")

// answer reads the answer of a request that is done.
func (k kept) answer() (Answer, error) {
	if len(k.rest) < 4 {
		return Answer{}, errBroken
	}
	n := int(binary.BigEndian.Uint32(k.rest))
	rest := k.rest[4:]
	if n > len(rest) || n > maxKeptHeader {
		return Answer{}, errBroken
	}
	var d description
	if err := json.Unmarshal(rest[:n], &d); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	if d.Status < 200 || d.Status > 599 {
		return Answer{}, errBroken
	}
	a := Answer{Status: d.Status, Header: d.Header, Body: rest[n:], Dropped: d.Dropped}
	if d.Packed {
		body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(a.Body)), maxBody+1))
		if err != nil || len(body) > maxBody {
			return Answer{}, errBroken
		}
		a.Body = body
	}
	return a, nil
}
