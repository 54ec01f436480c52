package function

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/waittest"
)

// served returns an instance without a process, which serves the Runtime API, and its
// address.
func served(t *testing.T) (*instance, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(Definition{Name: "f", ARN: "arn:f", Timeout: time.Minute}, Config{IdleTimeout: time.Hour, Log: slog.New(slog.DiscardHandler)}, nil, nil)
	i := &instance{pool: p, dead: make(chan struct{}), work: make(chan *call, 1), ready: make(chan struct{}), failed: make(chan struct{}), output: newOutput("f", func(Line) {})}
	i.server = newRuntimeServer(l, i.serve)
	t.Cleanup(i.server.close)
	return i, l.Addr().String()
}

// give hands an event to an instance that waits for one.
func give(i *instance, in Invocation) *call {
	now := time.Now()
	c := &call{in: in, began: now, end: now.Add(time.Minute), done: make(chan Outcome, 1), lost: make(chan struct{})}
	c.timer = time.AfterFunc(time.Hour, func() {})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state, i.call = running, c
	i.work <- c
	return c
}

// said writes to a new connection and returns it with the answer.
func said(t *testing.T, addr, text string) (net.Conn, *http.Response) {
	t.Helper()
	c := dialed(t, addr, text)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	return c, answer
}

func dialed(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const askForWork = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"

// TestWhatWasDeliveredIsForgotten sees that an instance which is done with an event keeps
// nothing of it: there may be hundreds of megabytes a second.
func TestWhatWasDeliveredIsForgotten(t *testing.T) {
	i, addr := served(t)
	conn := dialed(t, addr, askForWork)
	<-i.ready
	payload, record := make([]byte, 1<<20), &kgo.Record{Value: make([]byte, 1<<20)}
	delivered, read := weak.Make(&payload[0]), weak.Make(record)
	done := give(i, Invocation{ID: "1", Payload: payload, Records: []*kgo.Record{record}}).done
	answers := bufio.NewReader(conn)
	for _, want := range []int{http.StatusOK, http.StatusAccepted} {
		answer, err := http.ReadResponse(answers, nil)
		if err != nil || answer.StatusCode != want {
			t.Fatalf("%v, %v", answer, err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		if want == http.StatusOK {
			if _, err := io.WriteString(conn, "POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnull"); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-done
	i.mu.Lock()
	i.call.timer.Stop() // there is no process to be ended for not asking again
	i.mu.Unlock()
	waittest.Until(t, "the event is forgotten", func() bool {
		runtime.GC()
		return delivered.Value() == nil && read.Value() == nil
	})
	runtime.KeepAlive(i)
}

func TestPathsOfTheRuntimeAPI(t *testing.T) {
	_, addr := served(t)
	for _, c := range []struct {
		in   string
		want int
		ends bool
	}{
		{"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
		{"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, true},
		{"GET /2018-06-01/ping HTTP/1.0\r\n\r\n", 200, true},
		{"POST /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 405, false},
		{"POST /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, false},
		{"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		{"POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404, false},
		{"PUT /2022-07-01/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404, false},
		{"POST /2018-06-01/runtime/invocation/a/b/response HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404, false},
		{"POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", 400, false},
		{"POST /2018-06-01/runtime/invocation/a/error HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", 400, false},
		{"what is this\r\n\r\n", 400, true},
	} {
		conn, answer := said(t, addr, c.in)
		if answer.StatusCode != c.want || answer.Close != c.ends {
			t.Errorf("%.60q: got %s, ends %v", c.in, answer.Status, answer.Close)
		}
		if c.ends {
			continue
		}
		if _, err := io.WriteString(conn, "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if all, _ := io.ReadAll(conn); !strings.HasSuffix(string(all), "pong") {
			t.Errorf("%.60q, and another request of the same connection: %q", c.in, all)
		}
	}
	if c := dialed(t, addr, "GET / HTTP/1.1\r\nX: "); c != nil {
		go func() { _, _ = io.WriteString(c, strings.Repeat("x", 2*maxHead)) }()
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("a head without end is answered %q", rest)
		}
	}
}

func TestEventOfABrokenRequestGoesToTheNext(t *testing.T) {
	i, addr := served(t)
	first := dialed(t, addr, askForWork)
	<-i.ready
	_ = first.Close()
	// The system needs a moment to tell the other end.
	waittest.Until(t, "the connection has ended", func() bool {
		i.server.mu.Lock()
		defer i.server.mu.Unlock()
		for c := range i.server.conns {
			if (&runtimeConn{conn: c}).alive() {
				return false
			}
		}
		return true
	})
	payload := strings.Repeat("x", 1<<20)
	given := give(i, Invocation{ID: "1", Payload: []byte(payload), Trace: "Root=1\r\nX-Evil: 1"})
	_, answer := said(t, addr, askForWork)
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != payload || answer.Header.Get("Lambda-Runtime-Trace-Id") != "Root=1  X-Evil: 1" || answer.Header.Get("X-Evil") != "" || answer.Header.Get("Date") == "" {
		t.Errorf("got %v, %d bytes, %v", err, len(body), answer.Header)
	}
	// curl, and with it some runtimes, asks before it sends a large body.
	c := dialed(t, addr, "POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "+strconv.Itoa(2)+"\r\n\r\n")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "{}"); err != nil {
		t.Fatal(err)
	}
	if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != http.StatusAccepted {
		t.Errorf("got %v, %v", answer, err)
	}
	if out := <-given.done; string(out.Payload) != "{}" || out.Error != "" {
		t.Errorf("got %+v", out)
	}
	i.mu.Lock()
	given.timer.Stop()
	i.mu.Unlock()
}

func TestALaterRequestForWorkTakesOver(t *testing.T) {
	i, addr := served(t)
	first := dialed(t, addr, askForWork)
	<-i.ready
	second := dialed(t, addr, askForWork)
	answer, err := http.ReadResponse(bufio.NewReader(first), nil)
	if err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("got %v, %v", answer, err)
	}
	i.server.close()
	if rest, _ := io.ReadAll(second); len(rest) > 0 {
		t.Errorf("got %q", rest)
	}
}

// ending gives an instance a process that ends by itself, the test's own binary without a
// test to run. Like a real one it is there before the first event, since the instance's
// timers look at it; await waits for its end.
func ending(t *testing.T, i *instance) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &starter{log: slog.New(slog.DiscardHandler)}
	t.Cleanup(s.close)
	if i.process, err = startProcess(command{path: path, args: []string{"-test.run=^$"}, directory: t.TempDir()}, Config{}, s, i.output); err != nil {
		t.Fatal(err)
	}
}

func TestEventThatNoProgramHadIsForAnother(t *testing.T) {
	i, _ := served(t)
	ending(t, i)
	given := give(i, Invocation{ID: "1"})
	i.await()
	select {
	case <-given.lost:
	case out := <-given.done:
		t.Errorf("the caller gets %s of a program that never had the event", out.Payload)
	}

	i, addr := served(t)
	ending(t, i)
	given = give(i, Invocation{ID: "1"})
	if _, answer := said(t, addr, askForWork); answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	i.await()
	if out := <-given.done; out.Error != Unhandled || !strings.Contains(string(out.Payload), "Runtime.ExitError") {
		t.Errorf("got %+v", out)
	}
}

func TestInstanceThatHasAnsweredIsNotBusy(t *testing.T) {
	i, addr := served(t)
	ending(t, i)
	answered := func() int {
		i.pool.mu.Lock()
		defer i.pool.mu.Unlock()
		return i.pool.answered
	}
	reply := func(id string, want int) {
		t.Helper()
		if _, answer := said(t, addr, "POST /2018-06-01/runtime/invocation/"+id+"/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"); answer.StatusCode != want {
			t.Errorf("the answer to %s: got %s, want %d", id, answer.Status, want)
		}
	}
	conn := dialed(t, addr, askForWork)
	<-i.ready
	give(i, Invocation{ID: "1"})
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	reply("1", http.StatusAccepted)
	if n := answered(); n != 1 {
		t.Errorf("%d instances have answered, want 1", n)
	}
	reply("1", http.StatusForbidden)
	conn = dialed(t, addr, askForWork)
	waittest.Until(t, "it asks for more", func() bool { return answered() == 0 })
	reply("1", http.StatusBadRequest) // an old one

	give(i, Invocation{ID: "2"})
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	reply("2", http.StatusAccepted)
	i.await()
	if n := answered(); n != 0 {
		t.Errorf("%d instances have answered after the end of the only one", n)
	}
}
