package bench

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

var someTime = time.Unix(1_763_700_000, 123_456_789)

func TestDocumentIsJSONOfTheRightLength(t *testing.T) {
	for _, size := range []int{minDocument, 1024, maxDocument} {
		for _, seq := range []int64{0, 1, 99_999_999, 999_999_999_999} {
			d := appendDocument(nil, seq, someTime, size)
			if len(d) != size || !json.Valid(d) {
				t.Errorf("document %d of %d bytes: %d bytes, valid JSON: %v", seq, size, len(d), json.Valid(d))
			}
			got, at, err := readDocument(d, size)
			if err != nil || got != seq || !at.Equal(someTime) {
				t.Errorf("document %d of %d bytes is read as %d, %v: %v", seq, size, got, at, err)
			}
		}
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	const size = 300
	good := appendDocument(nil, 4711, someTime, size)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		seq, at, err := readDocument(bad, size)
		if err == nil && seq == 4711 && at.Equal(someTime) {
			t.Errorf("byte %d of %q changed without notice", i, good)
		}
	}
	for _, bad := range [][]byte{nil, good[:size-1], append(append([]byte(nil), good...), ' ')} {
		if _, _, err := readDocument(bad, size); !errors.Is(err, errDocument) {
			t.Errorf("%d bytes are read: %v", len(bad), err)
		}
	}
}

func TestReadDocuments(t *testing.T) {
	const size = 300
	doc := func(seq int64) string { return string(appendDocument(nil, seq, someTime, size)) }
	for _, c := range []struct {
		name string
		in   string
		want int
		ok   bool
	}{
		{"one document", doc(1), 1, true},
		{"array of one", "[" + doc(1) + "]", 1, true},
		{"array", "[" + doc(1) + "," + doc(2) + "]", 2, true},
		{"array with space", "[ " + doc(1) + " ,\n" + doc(2) + " ]\n", 2, true},
		{"nothing", "", 0, false},
		{"empty array", "[]", 0, false},
		{"open array", "[" + doc(1), 0, false},
		{"array that ends in a comma", "[" + doc(1) + ",", 1, false},
		{"array with a comma too many", "[" + doc(1) + ",]", 1, false},
		{"array without a comma", "[" + doc(1) + doc(2) + "]", 1, false},
		{"short document in an array", "[" + doc(1)[1:] + "]", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readDocuments([]byte(c.in), size, func(int64, time.Time) {})
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("%d documents, %v; want %d, ok %v", got, err, c.want, c.ok)
			}
		})
	}
}

func FuzzReadDocuments(f *testing.F) {
	const size = 200
	doc := string(appendDocument(nil, 7, someTime, size))
	f.Add(doc)
	f.Add("[" + doc + ", " + doc + "]")
	f.Fuzz(func(t *testing.T, in string) {
		found := 0
		n, err := readDocuments([]byte(in), size, func(seq int64, at time.Time) {
			found++
			if want := appendDocument(nil, seq, at, size); !strings.Contains(in, string(want)) {
				t.Errorf("document %d is not in the input", seq)
			}
		})
		if n != found {
			t.Errorf("%d documents, but %d were found", n, found)
		}
		if err == nil && !json.Valid([]byte(in)) {
			t.Errorf("%q is accepted and is not JSON", in)
		}
	})
}
