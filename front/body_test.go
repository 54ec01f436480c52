package front

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
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
