package front

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"
)

// longestRequestID bounds the ids that clients give their requests, in bytes.
const longestRequestID = 128

// requestID returns a new UUID of version 7: unique, in the order of time, and no
// secret.
func requestID() string {
	var b [16]byte
	ms := time.Now().UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	high, low := rand.Uint64(), rand.Uint64()
	b[6], b[7] = byte(high)&0x0f|0x70, byte(high>>8)
	for i := range 8 {
		b[8+i] = byte(low >> (8 * i))
	}
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	for i, at := range [...][2]int{{0, 0}, {4, 9}, {6, 14}, {8, 19}, {10, 24}} {
		end := [...]int{4, 6, 8, 10, 16}[i]
		hex.Encode(text[at[1]:], b[at[0]:end])
	}
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// nameForAWS gives an answer the ids that those of API Gateway have
// (gateway-policies.md 5.8): the request's own, and one that nobody can choose.
func nameForAWS(h http.Header) {
	if _, ok := h["X-Amz-Apigw-Id"]; ok {
		return
	}
	if _, ok := h["X-Amzn-Requestid"]; !ok {
		h["X-Amzn-Requestid"] = h["X-Request-Id"]
	}
	var b [11]byte // as long as it takes for the text to end with one =
	binary.BigEndian.PutUint32(b[:], rand.Uint32())
	binary.BigEndian.PutUint64(b[3:], rand.Uint64())
	h["X-Amz-Apigw-Id"] = []string{base64.StdEncoding.EncodeToString(b[:])}
}

// clientID is the id that a client has given its request, if it is one
// (gateway-policies.md 5.8).
func clientID(h http.Header) string {
	for _, name := range [...]string{"X-Request-Id", "X-Amzn-Requestid"} {
		if v := h[name]; len(v) > 0 && validRequestID(v[0]) {
			return v[0]
		}
	}
	return ""
}

func validRequestID(id string) bool {
	if id == "" || len(id) > longestRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
