package confluent3

import (
	"io"
	"net/http"
	"strings"
)

// isLatin1 says whether the Content-Type of a stream is ISO-8859-1, instead of UTF-8.
// The error is 400 for any other charset (rest-apis.md 2.2).
func isLatin1(r *http.Request) (bool, error) {
	_, parameters, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	latin := false
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "charset") {
			continue
		}
		switch strings.ToUpper(strings.Trim(strings.TrimSpace(value), `"`)) {
		case "UTF-8":
		case "ISO-8859-1":
			latin = true
		default:
			return false, refuse(http.StatusBadRequest, 400, `Unsupported charset in Content-Type header. Supports "UTF-8" and "ISO-8859-1".`)
		}
	}
	return latin, nil
}

// A latin1 is a body in ISO-8859-1, read as UTF-8. Its bytes are the first 256 code
// points, of which the second half has two bytes in UTF-8.
type latin1 struct {
	body io.Reader
	half byte  // the second byte of a character whose first one was the last to fit; 0 if there is none
	err  error // that came with that character
}

// Read reads as io.Reader does.
func (l *latin1) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.half != 0 {
		p[0] = l.half
		err := l.err
		l.half, l.err = 0, nil
		return 1, err
	}
	n, err := l.body.Read(p[:max(len(p)/2, 1)])
	long := 0
	for _, c := range p[:n] {
		long += int(c >> 7)
	}
	if n+long > len(p) { // one byte of memory and a character of two
		p[0], l.half, l.err = 0xc0|p[0]>>6, 0x80|p[0]&0x3f, err
		return 1, nil
	}
	for to, from := n+long, n-1; to > from+1; from-- {
		c := p[from]
		if c < 0x80 {
			to--
			p[to] = c
			continue
		}
		to -= 2
		p[to], p[to+1] = 0xc0|c>>6, 0x80|c&0x3f
	}
	return n + long, err
}
