package front

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestLentBodiesAreNotUsedAgain lends a body out for good, and expects that its
// bytes stay as they are and that the memory no longer counts.
func TestLentBodiesAreNotUsedAgain(t *testing.T) {
	const limit = 1 << 20
	accounts := &budget{limit: limit}
	var kept [][]byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &body{ReadCloser: r.Body, limit: limit, budget: accounts, control: http.NewResponseController(w), length: r.ContentLength, closing: t.Context()}
		data, release, err := LendBody(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		kept = append(kept, data)
		release(false)
	}))
	defer server.Close()
	for _, size := range []int{1, 1000, smallBody, smallBody + 1, 600_000} {
		for i := range 4 {
			want := bytes.Repeat([]byte{byte('a' + i)}, size)
			resp, err := http.Post(server.URL, "text/plain", bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%d bytes, request %d: %s", size, i, resp.Status)
			}
		}
		for i, data := range kept {
			if !bytes.Equal(data, bytes.Repeat([]byte{byte('a' + i)}, size)) {
				t.Errorf("%d bytes: what was lent has changed", size)
			}
		}
		kept = nil
	}
	if held := accounts.used.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// TestBodiesWithinABound sends bodies at and beyond the bound of one call, with their
// length and in chunks, and expects that none is held when it is over.
func TestBodiesWithinABound(t *testing.T) {
	const most = 100
	accounts := &budget{limit: 1 << 20}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &body{ReadCloser: r.Body, limit: 1 << 20, budget: accounts, control: http.NewResponseController(w), length: r.ContentLength, closing: t.Context()}
		data, release, err := ReadBodyWithin(r, most)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		defer release()
		fmt.Fprint(w, len(data))
	}))
	defer server.Close()
	for _, c := range []struct {
		size   int
		status int
		text   string
	}{
		{0, http.StatusOK, "0"},
		{most, http.StatusOK, "100"},
		{most + 1, http.StatusRequestEntityTooLarge, "request body too large: at most 100 bytes\n"},
	} {
		for _, reader := range []io.Reader{bytes.NewReader(make([]byte, c.size)), io.MultiReader(bytes.NewReader(make([]byte, c.size)))} {
			resp, err := http.Post(server.URL, "text/plain", reader)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != c.status || string(text) != c.text {
				t.Errorf("%d bytes of a %T: %d %q, %v", c.size, reader, resp.StatusCode, text, err)
			}
		}
	}
	server.Close() // when every request is over
	if held := accounts.used.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestBodiesHaveToComeInTime(t *testing.T) {
	begun := time.Now()
	for _, c := range []struct {
		name string
		rate int64
		at   time.Duration // since it was begun
		n    int64         // bytes that have come
		want time.Duration // since it was begun
	}{
		{"nothing yet", 1 << 10, 0, 0, 5 * time.Second},
		{"a byte late", 1 << 10, 4 * time.Second, 1, 5*time.Second + time.Second/1024},
		{"as fast as it has to be", 1 << 10, 10 * time.Second, 10 << 10, 15 * time.Second},
		{"much, and then silence", 1 << 10, time.Second, 1 << 20, 31 * time.Second},
		{"without a rate", 0, time.Second, 1, 31 * time.Second},
	} {
		b := &body{rate: c.rate}
		if got := b.deadline(begun, begun.Add(c.at), c.n).Sub(begun); got.Round(time.Millisecond) != c.want.Round(time.Millisecond) {
			t.Errorf("%s: until %s, want %s", c.name, got, c.want)
		}
	}
}

// TestChunksThatAreNoneAreTheClientsFault sends bodies whose chunks cannot be read.
func TestChunksThatAreNoneAreTheClientsFault(t *testing.T) {
	said := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &body{ReadCloser: r.Body, limit: 1 << 20, budget: &budget{limit: 1 << 20}, control: http.NewResponseController(w), length: r.ContentLength, closing: t.Context()}
		_, _, err := LendBody(r)
		said <- err
	}))
	defer server.Close()
	for _, chunks := range []string{"zz\r\nhi\r\n0\r\n\r\n", "2\r\nhi!!\r\n0\r\n\r\n", "fffffffffffffffff\r\n", "2\r\nhi\r\n-1\r\n\r\n"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks); err != nil {
			t.Error(err)
		}
		err = <-said
		if status, text, _ := Status(err); status != http.StatusBadRequest {
			t.Errorf("%q: got %d, %s (%v), want 400", chunks, status, text, err)
		}
		conn.Close()
	}
}
