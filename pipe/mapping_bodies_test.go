package pipe

import (
	"bytes"
	"testing"
)

// Bodies share memory and must not reach into each other, also where one grows beyond
// what was asked for.
func TestBodiesDoNotOverlap(t *testing.T) {
	var room bodyRoom
	var all [][]byte
	for n := range 500 {
		b := room.take(n % 400)
		if len(b) != 0 || cap(b) != n%400 {
			t.Fatalf("asked for %d, got %d of %d", n%400, len(b), cap(b))
		}
		all = append(all, append(b, bytes.Repeat([]byte{byte(n)}, n%400+n%2)...))
	}
	if b := room.take(10 * bodyChunk); cap(b) != 10*bodyChunk {
		t.Errorf("got %d", cap(b))
	}
	for n, b := range all {
		if want := bytes.Repeat([]byte{byte(n)}, n%400+n%2); !bytes.Equal(b, want) {
			t.Fatalf("body %d is %v, want %v", n, b, want)
		}
	}
}
