package front

import (
	"context"
	"errors"
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
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
