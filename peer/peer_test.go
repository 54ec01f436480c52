package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

func testCluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	brokers := brokertest.Brokers(t)
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// open opens peers that serve at an address.
func open(t *testing.T, c *kafka.Cluster, advertise string) *Peers {
	t.Helper()
	p := New(Config{Cluster: c, Advertise: advertise, Log: slog.New(slog.DiscardHandler)})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestProcessesFindAndMissEachOther(t *testing.T) {
	c := testCluster(t)
	a := open(t, c, "127.0.0.1:1")
	b := New(Config{Cluster: c, Advertise: "127.0.0.1:2", Log: slog.New(slog.DiscardHandler)})
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	alive := func() bool {
		t.Helper()
		alive, err := a.Alive(t.Context(), b.ID())
		if err != nil {
			t.Fatal(err)
		}
		return alive
	}
	if b.Sure() || alive() {
		t.Error("a process that holds nothing has announced itself")
	}
	if err := b.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.Sure() || !alive() {
		t.Error("a process that holds something cannot be found")
	}
	b.Drop()
	b.Close()
	begun := time.Now()
	waittest.Until(t, "a process that has ended in good order is known no more", func() bool {
		gone := !alive()
		a.mu.Lock()
		defer a.mu.Unlock()
		return gone && a.nodes[b.ID()] == nil
	})
	if took := time.Since(begun); took >= removeAfter {
		t.Errorf("that took %s, as long as of one who is only silent", took)
	}
	if string(a.signer.secret) != string(b.signer.secret) {
		t.Error("two processes have two secrets")
	}
}

func TestASilentProcessIsDead(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name          string
		silent, since time.Duration // since the last renewal, and since its address has refused a connection
		want          bool
	}{
		{"just renewed", 0, time.Hour, true},
		{"a renewal is late", 4 * time.Second, time.Hour, true},
		{"silent", 7 * time.Second, time.Hour, false},
		{"refused, and renewed since", 1 * time.Second, 2 * time.Second, true},
		{"refused, and not yet expected", 2 * time.Second, 1 * time.Second, true},
		{"refused, and not renewed since", 4 * time.Second, 1 * time.Second, false},
	} {
		n := node{seen: now.Add(-c.silent), refused: now.Add(-c.since)}
		if got := n.alive(); got != c.want {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	c := testCluster(t)
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8082} }
	for _, test := range []struct {
		name   string
		config Config
		want   string
	}{
		{"advertised", Config{Listen: at("0.0.0.0"), Advertise: "klamm-1:80"}, "klamm-1:80"},
		{"one address", Config{Listen: at("192.0.2.7")}, "192.0.2.7:8082"},
		{"every address", Config{Listen: at("0.0.0.0")}, "127.0.0.1:8082"}, // the brokers are there
		{"every address, IPv6", Config{Listen: at("::")}, "127.0.0.1:8082"},
	} {
		test.config.Cluster = c
		if got := test.config.address(); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestForward calls receivers of all kinds.
func TestForward(t *testing.T) {
	c := testCluster(t)
	sender := open(t, c, "127.0.0.1:1")
	var receiver *Peers
	gone := make(chan struct{})
	own := func(serve http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			caller, err := receiver.Check(r)
			if err != nil || string(caller) != "alice" {
				t.Errorf("the receiver refuses: %q, %v", caller, err)
			}
			Answer(w, r)
			serve(w, r)
		}
	}
	var serving atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*serving.Load())(w, r) }))
	defer server.Close()
	receiver = open(t, c, server.Listener.Addr().String())
	if err := receiver.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the receiver can be found", func() bool { return sender.Seen(receiver.ID()) })
	long := strings.Repeat("x", pieceBytes+50_000)
	for _, test := range []struct {
		name   string
		serve  http.HandlerFunc
		status int
		body   string
		err    error
	}{
		{"an answer", own(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Klamm-Lease", "7")
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write(append(body, long...))
		}), 409, "body" + long, nil},
		{"it does not hold that", own(func(w http.ResponseWriter, _ *http.Request) { Misdirect(w) }), 0, "", ErrAgain},
		{"it hangs up", own(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), 0, "", ErrAgain},
		{"it hangs up in the middle", own(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(long))
			panic(http.ErrAbortHandler)
		}), 200, "", io.ErrUnexpectedEOF},
		{"it hangs up in the first piece", own(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(long[:100_000]))
			panic(http.ErrAbortHandler)
		}), 0, "", ErrAgain},
		{"it is somebody else", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("nginx")) }, 0, "", ErrAgain},
		{"it is somebody else who says that it is not", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(answerHeader, "x")
			_, _ = w.Write([]byte("nginx"))
		}, 0, "", ErrAgain},
	} {
		t.Run(test.name, func(t *testing.T) {
			serving.Store(&test.serve)
			w := httptest.NewRecorder()
			err := sender.Forward(t.Context(), w, Call{To: receiver.ID(), Method: "POST", URI: "/a%2Fb?c=d", Host: "h", Body: []byte("body"), Caller: []byte("alice")})
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if errors.Is(err, ErrAgain) && (w.Body.Len() > 0 || len(w.Header()) > 0) {
				t.Errorf("something was passed on: %v %.100s", w.Header(), w.Body)
			}
			if err == nil && (w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Klamm-Lease") != "7" || w.Header().Get(answerHeader) != "") {
				t.Errorf("got %d %v %.100s", w.Code, w.Header(), w.Body)
			}
		})
	}
	t.Run("a stranger", func(t *testing.T) {
		err := sender.Forward(t.Context(), httptest.NewRecorder(), Call{To: "nobody", Method: "GET", URI: "/"})
		if !errors.Is(err, ErrAgain) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it dies without a word", func(t *testing.T) {
		wait := own(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) })
		serving.Store(&wait)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		receiver.Drop()
		receiver.Close()
		err := sender.Forward(ctx, httptest.NewRecorder(), Call{To: receiver.ID(), Method: "GET", URI: "/", Caller: []byte("alice")})
		if !errors.Is(err, ErrAgain) || ctx.Err() != nil {
			t.Errorf("got %v", err)
		}
		select {
		case <-gone:
		case <-ctx.Done():
			t.Error("the call was not ended")
		}
	})
}
