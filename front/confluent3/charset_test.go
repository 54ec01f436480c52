package confluent3

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Whatever the sizes of the pieces in which it is read and arrives, every byte is the
// code point of its number.
func TestLatin1IsReadAsUTF8(t *testing.T) {
	var raw []byte
	var want strings.Builder
	for i := range 1024 {
		c := byte(i * 37)
		if i%3 == 0 {
			c |= 0x80
		}
		raw = append(raw, c)
		want.WriteRune(rune(c))
	}
	sources := map[string]func() io.Reader{
		"whole":         func() io.Reader { return bytes.NewReader(raw) },
		"byte by byte":  func() io.Reader { return iotest.OneByteReader(bytes.NewReader(raw)) },
		"end with data": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(raw)) },
		"both":          func() io.Reader { return iotest.DataErrReader(iotest.OneByteReader(bytes.NewReader(raw))) },
	}
	for name, source := range sources {
		for _, size := range []int{1, 2, 3, 5, 64, 4096} {
			l := &latin1{body: source()}
			var got []byte
			p := make([]byte, size)
			for {
				n, err := l.Read(p)
				got = append(got, p[:n]...)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if string(got) != want.String() {
				t.Errorf("%s, %d bytes at a time: %d bytes that differ from the %d expected", name, size, len(got), want.Len())
			}
		}
	}
}
