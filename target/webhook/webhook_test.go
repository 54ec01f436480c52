package webhook

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A hook is a receiver that records requests.
type hook struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  []string
	last    *http.Request
	status  int
	header  http.Header
	say     string
	stalled chan struct{}
}

func newHook(t *testing.T) *hook {
	h := &hook{status: 200, header: http.Header{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		stalled := h.stalled
		h.last = r
		if h.status < 300 && stalled == nil {
			h.bodies = append(h.bodies, string(body))
		}
		status := h.status
		for name, v := range h.header {
			w.Header()[name] = v
		}
		h.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, h.say)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) received() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bodies...)
}

func (h *hook) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hook) subject() targettest.Subject {
	return targettest.Subject{
		Kind: Kind(), Config: Config{URL: h.URL + "/in?x=1", Headers: map[string]string{"X-Env": "test"}}, Received: h.received,
		Fail: func(failing bool) { h.answer(map[bool]int{true: 503, false: 200}[failing]) },
		Stall: func(stalled bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if stalled {
				h.stalled = make(chan struct{})
				return
			}
			close(h.stalled)
			h.stalled = nil
		},
	}
}

func TestSuite(t *testing.T) { targettest.Run(t, newHook(t).subject()) }

func TestStatusDecides(t *testing.T) {
	h := newHook(t)
	h.say = strings.Repeat("because ", 500)
	tg := h.subject().Open(t, "")
	for status, want := range map[int]string{
		200: "ok", 201: "ok", 204: "ok", 301: "final", 302: "final", 400: "final", 401: "final", 404: "final", 409: "final", 410: "final", 413: "final", 422: "final",
		408: "again", 425: "again", 429: "again", 500: "again", 502: "again", 503: "again", 504: "again", 507: "again",
	} {
		h.answer(status)
		err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
		got := "ok"
		if err != nil {
			f := target.FailureOf(err)
			got = map[bool]string{true: "final", false: "again"}[f.Final]
			if f.Status != status || len(f.Response) > 1024 || status != 204 && !strings.HasPrefix(string(f.Response), "because") {
				t.Errorf("%d: failure has status %d and %d bytes of the answer", status, f.Status, len(f.Response))
			}
		}
		if got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": -time.Second, "-99999999999999999999": -time.Second, "99999999999999999999": 24 * time.Hour, "x": 0, "1.5": 0, "999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestRequestCarriesTheRecord(t *testing.T) {
	h := newHook(t)
	tg := h.subject().Open(t, "")
	e := targettest.Event(7, "key 1", `{"a":1}`)
	e.Record.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}, {Key: "trace", Value: []byte("def")}, {Key: "bin", Value: []byte{0, 255}}, {Key: "nil"}, {Key: "bad name", Value: []byte("x")}, {Key: "split", Value: []byte("a\r\nX-Evil: 1")}}
	if err := tg.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Klamm-Pipe": {"test"}, "Klamm-Topic": {"source"}, "Klamm-Partition": {"3"}, "Klamm-Offset": {"7"}, "Klamm-Key": {"key 1"}, "Klamm-Delivery-Id": {"id-7"}, "Klamm-Attempt": {"1"},
		"Klamm-Header-Trace": {"abc", "def"}, "X-Env": {"test"}, "Content-Type": {"application/json"}, "Content-Length": {"7"}, "User-Agent": {"klamm"},
	}
	if diff := cmp.Diff(want, h.last.Header); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	if h.last.URL.String() != "/in?x=1" || h.last.Method != "POST" {
		t.Errorf("%s %s", h.last.Method, h.last.URL)
	}
}

func TestBatchBodies(t *testing.T) {
	events := []*event.Event{targettest.Event(1, "a", `{"n": 1}`), targettest.Event(2, "b", "text"), targettest.Event(3, "c", "\xff\x00"), targettest.Event(5, "d", "[1,\n2]")}
	events[1].Record.Value = []byte("plain")
	tomb := targettest.Event(6, "e", "")
	tomb.Record.Value = nil
	events = append(events, tomb)
	for format, want := range map[string]string{
		"json":   "[{\"n\": 1},\"plain\",\"/wA=\",[1,\n2],null]",
		"ndjson": "{\"n\": 1}\n\"plain\"\n\"/wA=\"\n[1,2]\nnull\n",
	} {
		h := newHook(t)
		if err := h.subject().Open(t, format).Deliver(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		if got := h.received()[0]; got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
		if format == "json" && !json.Valid([]byte(h.received()[0])) {
			t.Error("not valid JSON")
		}
		for name, want := range map[string]string{"Klamm-Count": "5", "Klamm-First-Offset": "1", "Klamm-Last-Offset": "6", "Klamm-Partition": "3", "Klamm-Delivery-Id": "id-1"} {
			if got := h.last.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", format, name, got, want)
			}
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	h, elsewhere := newHook(t), newHook(t)
	h.status, h.header = 302, http.Header{"Location": {elsewhere.URL}}
	if err := h.subject().Open(t, "").Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")}); err == nil {
		t.Error("no error")
	}
	if len(elsewhere.received()) > 0 {
		t.Error("the redirect was followed")
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	egress, err := target.NewEgress([]string{"10.1.0.0/16"}, false)
	if err != nil {
		t.Fatal(err)
	}
	env := target.Env{Egress: egress, Transport: egress.Transport(), Log: slog.New(slog.DiscardHandler)}
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "10.2.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "0.0.0.0", "[fd00:ec2::254]", "192.168.1.1", "100.64.0.1", "[fe80::1]", "[64:ff9b::7f00:1]"} {
		config, _ := json.Marshal(Config{URL: "http://" + host + ":80/"})
		if _, err := open(config, env); !errors.Is(err, target.ErrEgress) {
			t.Errorf("%s: got %v, want ErrEgress", host, err)
		}
	}
	if err := egress.Check(netip.MustParseAddr("10.1.2.3")); err != nil {
		t.Errorf("an allowed address: %v", err)
	}
	if err := egress.Check(netip.MustParseAddr("93.184.216.34")); err != nil {
		t.Errorf("a public address: %v", err)
	}
	// A name is checked by what it resolves to, when a connection is made.
	req, _ := http.NewRequest("GET", "http://127.0.0.1:1/", nil)
	resp, err := egress.Transport().RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, target.ErrEgress) {
		t.Errorf("dialling: got %v, want ErrEgress", err)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte("key"), "name", []byte("value"))
	f.Fuzz(func(t *testing.T, key []byte, name string, value []byte) {
		w := &webhook{plan: &plan{}, headers: http.Header{}, pipe: []string{"p"}}
		e := targettest.Event(1, string(key), "1")
		e.Record.Headers = []kgo.RecordHeader{{Key: name, Value: value}}
		req := &http.Request{Method: "POST", URL: nil, Header: w.head([]*event.Event{e})}
		for name, values := range req.Header {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") {
					t.Errorf("header %q: %q", name, v)
				}
			}
		}
	})
}
