package fronttest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// A Subject is a dialect that is to conform.
type Subject struct {
	Dialects func(*gate.Gate) []front.Dialect
	// Unknown is a path below the dialect's prefix that is no operation.
	Unknown string
	// Upload is an operation that takes a body: "POST /topics/%s", where %s is a
	// topic; Header are its HTTP headers and Head the beginning of a body that is
	// fine so far but does not end.
	Upload string
	Header http.Header
	Head   string
	// Failure returns what is wrong with an answer as an error of this dialect.
	Failure func(status int, header http.Header, body []byte) error
}

// bodyLimit is the largest body that servers under test take.
const bodyLimit = 1 << 20

// Conform checks what must hold for every dialect: its errors have its own shape
// whoever finds them, and a body that is too large or breaks off writes nothing
// and breaks nothing.
func Conform(t *testing.T, subject Subject) {
	s := Start(t, Setup{Dialects: subject.Dialects, Sizes: front.Sizes{Body: bodyLimit}})
	method, pattern, _ := strings.Cut(subject.Upload, " ")
	topic := newNames(t).show("{topic}")
	path := fmt.Sprintf(pattern, topic)
	s.Topic(t, topic, 1)
	fill := func(n int) io.Reader {
		return io.MultiReader(strings.NewReader(subject.Head), bytes.NewReader(bytes.Repeat([]byte("x"), n-len(subject.Head))))
	}
	for _, c := range []struct {
		name, method, path string
		body               io.Reader
		length             int64
		want               int
	}{
		{"an unknown path", http.MethodGet, subject.Unknown, nil, 0, http.StatusNotFound},
		{"an unknown path with a body", http.MethodPost, subject.Unknown, strings.NewReader("x"), 1, http.StatusNotFound},
		{"a wrong method", http.MethodPatch, path, nil, 0, http.StatusMethodNotAllowed},
		{"a body that says it is too large", method, path, fill(bodyLimit + 1), bodyLimit + 1, http.StatusRequestEntityTooLarge},
		{"a body that becomes too large", method, path, fill(3 * bodyLimit), -1, http.StatusRequestEntityTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := s.ask(t, c.method, c.path, subject.Header, c.body, c.length)
			if status != c.want {
				t.Errorf("got %d %s, want %d", status, body, c.want)
			}
			if err := subject.Failure(status, header, body); err != nil {
				t.Errorf("%d %v %s: %v", status, header, body, err)
			}
			if allow := header.Get("Allow"); c.want == http.StatusMethodNotAllowed && !strings.Contains(allow, method) {
				t.Errorf("Allow is %q", allow)
			}
		})
	}
	t.Run("a body that breaks off", func(t *testing.T) {
		s.breakOff(t, method, path, subject)
	})
	t.Run("nothing was written", func(t *testing.T) {
		ranges, err := s.Cluster.Ranges(t.Context(), topic)
		if err != nil || ranges[0].End != 0 {
			t.Errorf("the log ends at %d, %v; want 0", ranges[0].End, err)
		}
	})
	t.Run("a caller without credentials", func(t *testing.T) {
		closed := Start(t, Setup{Dialects: subject.Dialects, Closed: true})
		status, header, body := closed.ask(t, method, path, subject.Header, strings.NewReader(subject.Head), int64(len(subject.Head)))
		if status != http.StatusUnauthorized {
			t.Errorf("got %d %s, want 401", status, body)
		}
		if err := subject.Failure(status, header, body); err != nil {
			t.Errorf("%d %v %s: %v", status, header, body, err)
		}
	})
}

// ask sends a request with a body of a length, -1 for one that is not announced.
func (s *Server) ask(t *testing.T, method, path string, header http.Header, body io.Reader, length int64) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	if header != nil {
		req.Header = header.Clone()
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// breakOff announces more than it sends and stops sending; the server must
// notice and say so or hang up, and go on serving others.
func (s *Server) breakOff(t *testing.T, method, path string, subject Subject) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	_ = subject.Header.Write(&head)
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: klamm\r\n%sContent-Length: %d\r\n\r\n%s", method, path, &head, len(subject.Head)+1000, subject.Head)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("the server neither answers nor hangs up: %v", err)
		}
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("got %s for half a body", resp.Status)
	}
}
