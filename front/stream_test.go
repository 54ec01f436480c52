package front

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/gate"
)

// A stream that nobody ends must not hold up the end of klamm.
func TestStreamsEndWithTheServer(t *testing.T) {
	ended, begun := make(chan error, 1), make(chan struct{})
	d := Dialect{
		Name: "streaming", Prefixes: []string{"/"},
		Routes: []Route{{Name: "stream", Pattern: "POST /", Public: true, Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			s := OpenStream(w, r, time.Hour)
			p := make([]byte, 10)
			_, err := s.Read(p)
			close(begun)
			for err == nil {
				_, err = s.Read(p)
			}
			ended <- err
			w.WriteHeader(http.StatusOK)
			return nil
		}}},
		WriteError: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusInternalServerError) },
	}
	s := New(Config{Dialects: []Dialect{d}, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	body, client := io.Pipe()
	go func() {
		resp, err := http.Post("http://"+l.Addr().String()+"/", "application/json", body)
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	_, _ = client.Write([]byte("{"))
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	if err := <-ended; !errors.Is(err, ErrStopping) {
		t.Errorf("the stream ended with %v, want ErrStopping", err)
	}
	_ = client.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A stream that is stopped after its end must not disturb the next request of its
// connection.
func TestAStreamLeavesItsConnectionWell(t *testing.T) {
	d := Dialect{
		Name: "streaming", Prefixes: []string{"/"},
		Routes: []Route{{Name: "stream", Pattern: "POST /", Public: true, Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			if err := r.Context().Err(); err != nil {
				return err
			}
			s := OpenStream(w, r, time.Hour)
			if _, err := io.ReadAll(s); err != nil {
				return err
			}
			s.Stop()
			w.WriteHeader(http.StatusOK)
			return nil
		}}},
		WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		},
	}
	s := New(Config{Dialects: []Dialect{d}, Anonymous: true, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer func() { _ = s.Shutdown(t.Context()) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	for i := range 3000 {
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(i, err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		said, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: status %d, %s", i, resp.StatusCode, said)
		}
	}
}

// An event of a stream that is compressed must be there before the next one is made.
func TestEventStreamsAreCompressedWhereThatIsAsked(t *testing.T) {
	for _, c := range []struct {
		name    string
		streams bool
		accept  string
		want    string
	}{
		{"asked and accepted", true, "gzip", "gzip"},
		{"asked, not accepted", true, "identity", ""},
		{"not asked", false, "gzip", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := make(chan struct{}, 3)
			d := Dialect{
				Name: "streaming", Prefixes: []string{"/"},
				Routes: []Route{{Name: "stream", Pattern: "GET /", Public: true, Streams: true, Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
					w.Header().Set("Content-Type", eventStream)
					for i := range 3 {
						_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
						if err := http.NewResponseController(w).Flush(); err != nil {
							return err
						}
						select {
						case <-next:
						case <-r.Context().Done():
						}
					}
					return nil
				}}},
				WriteError: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusInternalServerError) },
			}
			s := New(Config{Dialects: []Dialect{d}, Compression: Compression{Streams: c.streams}, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = s.Serve(l) }()
			defer func() { _ = s.Shutdown(t.Context()) }()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/", nil)
			req.Header.Set("Accept-Encoding", c.accept)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := resp.Header.Get("Content-Encoding"); got != c.want {
				t.Fatalf("Content-Encoding is %q, want %q", got, c.want)
			}
			var body io.Reader = resp.Body
			if c.want != "" {
				if body, err = gzip.NewReader(resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			for i, lines := 0, bufio.NewReader(body); i < 3; i++ {
				line, err := lines.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want {
					t.Fatalf("got %q (%v), want %q", line, err, want)
				}
				_, _ = lines.ReadString('\n')
				next <- struct{}{}
			}
		})
	}
}
