package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// A document is a JSON object of a fixed layout and length that looks like an
// order and whose every byte follows from its sequence number and its time, so
// that a receiver can verify it without parsing:
//
//	{"seq":"<12 digits>","at":"<19 digits>","kind":"order",...,"note":"<filler>"}
//
// The filler is pseudo-random text, cut from so much of it that documents which
// travel together hardly share any: compressible records would flatter
// everybody.
const (
	docHead   = `{"seq":"`
	docTime   = `","at":"`
	docBody   = `","kind":"order","open":true,"total":1234.56,"lines":[{"sku":"A-1","count":2},{"sku":"B-2","count":1}],"note":"`
	docTail   = `"}`
	seqDigits = 12
	atDigits  = 19

	docFixed = len(docHead) + seqDigits + len(docTime) + atDigits + len(docBody) + len(docTail)

	// minDocument and maxDocument bound the length of a document.
	minDocument = docFixed + 16
	maxDocument = 64 << 10

	// fillerBytes and fillerStride are how much text fillers begin in, and how
	// far apart those of neighbours begin.
	fillerBytes  = 4 << 20
	fillerStride = 104_729
)

// fillerText is where fillers are cut from. It is not made before it is needed,
// because klamm serve is the same program.
var fillerText = sync.OnceValue(func() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -"
	text := make([]byte, fillerBytes+maxDocument)
	state := uint64(0x9E3779B97F4A7C15)
	for i := range text {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		text[i] = letters[state>>58]
	}
	return text
})

func filler(seq int64, length int) []byte {
	start := int(seq * fillerStride % fillerBytes)
	return fillerText()[start : start+length]
}

// appendDocument appends the document of a sequence number and a time; size is
// its length in bytes, from minDocument to maxDocument.
func appendDocument(b []byte, seq int64, at time.Time, size int) []byte {
	b = append(b, docHead...)
	b = appendDigits(b, seq, seqDigits)
	b = append(b, docTime...)
	b = appendDigits(b, at.UnixNano(), atDigits)
	b = append(b, docBody...)
	b = append(b, filler(seq, size-docFixed)...)
	return append(b, docTail...)
}

func appendDigits(b []byte, n int64, digits int) []byte {
	var d [20]byte
	text := strconv.AppendInt(d[:0], n, 10)
	for range digits - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}

var errDocument = errors.New("not the document that was produced")

// readDocument verifies a document of the given size and returns its sequence
// number and time.
func readDocument(b []byte, size int) (seq int64, at time.Time, err error) {
	if len(b) != size {
		return 0, time.Time{}, fmt.Errorf("%w: %d bytes, want %d", errDocument, len(b), size)
	}
	rest, ok := bytes.CutPrefix(b, []byte(docHead))
	if !ok {
		return 0, time.Time{}, fmt.Errorf("%w: head", errDocument)
	}
	seq, err = strconv.ParseInt(string(rest[:seqDigits]), 10, 64)
	if err != nil || seq < 0 {
		return 0, time.Time{}, fmt.Errorf("%w: sequence number", errDocument)
	}
	if rest, ok = bytes.CutPrefix(rest[seqDigits:], []byte(docTime)); !ok {
		return 0, time.Time{}, fmt.Errorf("%w: after the sequence number", errDocument)
	}
	nanos, err := strconv.ParseInt(string(rest[:atDigits]), 10, 64)
	if err != nil || nanos < 0 {
		return 0, time.Time{}, fmt.Errorf("%w: time", errDocument)
	}
	if rest, ok = bytes.CutPrefix(rest[atDigits:], []byte(docBody)); !ok {
		return 0, time.Time{}, fmt.Errorf("%w: members", errDocument)
	}
	note := len(rest) - len(docTail)
	if !bytes.Equal(rest[:note], filler(seq, note)) || string(rest[note:]) != docTail {
		return 0, time.Time{}, fmt.Errorf("%w: filler", errDocument)
	}
	return seq, time.Unix(0, nanos), nil
}

// readDocuments calls found for each document of a JSON array of documents, or
// for the one document that is not in an array. Whitespace between documents
// is allowed.
func readDocuments(b []byte, size int, found func(seq int64, at time.Time)) (int, error) {
	b = bytes.Trim(b, " \t\r\n")
	if len(b) == 0 || b[0] != '[' {
		seq, at, err := readDocument(b, size)
		if err != nil {
			return 0, err
		}
		found(seq, at)
		return 1, nil
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	for n := 1; ; n++ {
		if len(b) <= size {
			return n - 1, fmt.Errorf("%w: the array ends early", errDocument)
		}
		seq, at, err := readDocument(b[:size], size)
		if err != nil {
			return n - 1, err
		}
		found(seq, at)
		b = bytes.TrimLeft(b[size:], " \t\r\n")
		switch {
		case string(b) == "]":
			return n, nil
		case len(b) > 0 && b[0] == ',':
			b = bytes.TrimLeft(b[1:], " \t\r\n")
		default:
			return n, fmt.Errorf("%w: the array goes on with neither , nor ]", errDocument)
		}
	}
}
