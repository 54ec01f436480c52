package event

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// characters are those that twelve bits become in base64, the first one in the low byte.
var characters = func() (all [1 << 12]uint16) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range all {
		all[i] = uint16(alphabet[i>>6]) | uint16(alphabet[i&63])<<8
	}
	return all
}()

// appendEncoded appends bytes in base64. It does what the standard library does, six
// bytes at a time: to encode the values is half of what a record costs on its way to a
// function.
func appendEncoded(dst, src []byte) []byte {
	n := base64.StdEncoding.EncodedLen(len(src))
	dst = slices.Grow(dst, n)
	out := dst[len(dst) : len(dst)+n]
	for len(src) >= 8 {
		bits := binary.BigEndian.Uint64(src)
		binary.LittleEndian.PutUint64(out,
			uint64(characters[bits>>52])|uint64(characters[bits>>40&0xfff])<<16|uint64(characters[bits>>28&0xfff])<<32|uint64(characters[bits>>16&0xfff])<<48)
		src, out = src[6:], out[8:]
	}
	base64.StdEncoding.Encode(out, src)
	return dst[:len(dst)+n]
}
