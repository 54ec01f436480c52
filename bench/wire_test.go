package bench

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWireSpeaksToAnHTTPServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			_, _ = w.Write(body)
		case "/chunked":
			for _, part := range strings.SplitAfter(string(body), ",") {
				_, _ = io.WriteString(w, part)
				w.(http.Flusher).Flush()
			}
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer server.Close()
	w, err := dial(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	for _, c := range []struct {
		path, in string
		status   int
		want     string
	}{
		{"/echo", "one", 200, "one"},
		{"/chunked", "a,bc,def", 200, "a,bc,def"},
		{"/empty", "x", 204, ""},
		{"/echo", strings.Repeat("long ", 20_000), 200, strings.Repeat("long ", 20_000)},
		{"/echo", "", 200, ""},
	} {
		request := "POST " + c.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + itoa(len(c.in)) + "\r\n\r\n" + c.in
		status, body, err := w.roundTrip([]byte(request), 10*time.Second)
		if err != nil || status != c.status || string(body) != c.want {
			t.Errorf("%s %.20q: %d %.20q %v, want %d %.20q", c.path, c.in, status, body, err, c.status, c.want)
		}
	}
}

func itoa(n int) string { return string(appendDigits(nil, int64(n), 1)) }

// answerFrom reads an answer that arrives as these bytes.
func answerFrom(t testing.TB, bytes string) (int, []byte, error) {
	t.Helper()
	here, there := net.Pipe()
	go func() {
		_, _ = io.WriteString(there, bytes)
		_ = there.Close()
	}()
	defer here.Close()
	return newWire(here).readAnswer()
}

func TestWireRefusesWhatIsNoAnswer(t *testing.T) {
	for _, c := range []struct{ name, in string }{
		{"nothing", ""},
		{"other protocol", "SSH-2.0-x\r\n\r\n"},
		{"no number", "HTTP/1.1 abc\r\n\r\n"},
		{"interim answer", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nx"},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"},
		{"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"},
		{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
		{"long chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"},
		{"huge chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n"},
		{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, body, err := answerFrom(t, c.in); err == nil {
				t.Errorf("%q is read as %d %q", c.in, status, body)
			}
		})
	}
}

func TestWireReadsTrailers(t *testing.T) {
	status, body, err := answerFrom(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n")
	if err != nil || status != 200 || string(body) != "abc" {
		t.Errorf("%d %q %v", status, body, err)
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		status, body, err := answerFrom(t, in)
		if err == nil && (status < 200 || status > 999 || len(body) > len(in)) {
			t.Errorf("%q is read as %d and %d bytes", in, status, len(body))
		}
	})
}

func TestCheckerWantsEveryOffset(t *testing.T) {
	good := string(appendOffsets(nil, []*kgo.Record{{Partition: 1, Offset: 42}}))
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   int
		ok     bool
	}{
		{"good", 200, good, 1, true},
		{"spread over lines", 200, strings.NewReplacer(",", ",\n", ":", ": ").Replace(good), 1, true},
		{"other status", 503, good, 1, false},
		{"too few", 200, good, 2, false},
		{"error", 200, strings.Replace(good, `"error_code":null`, `"error_code":50002`, 1), 1, false},
		{"no offset", 200, strings.Replace(good, `"offset":42`, `"offset":null`, 1), 1, false},
		{"negative offset", 200, strings.Replace(good, "42", "-1", 1), 1, false},
		{"two", 200, string(appendOffsets(nil, []*kgo.Record{{Offset: 42}, {Partition: 3, Offset: 7}})), 2, true},
		{"no JSON", 200, "offsets", 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := checker{want: c.want}
			if err := check.answer(c.status, []byte(c.body)); (err == nil) != c.ok {
				t.Errorf("got %v, want ok %v", err, c.ok)
			}
		})
	}
}

func TestOptionsAreBounded(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Options)
	}{
		{"runs", func(o *Options) { o.Rounds = 0 }},
		{"seconds", func(o *Options) { o.Seconds = 601 }},
		{"records", func(o *Options) { o.Records = -1 }},
		{"connections", func(o *Options) { o.Connections = 0 }},
		{"value-bytes", func(o *Options) { o.ValueBytes = 10 }},
		{"partitions", func(o *Options) { o.Partitions = 0 }},
		{"cases", func(o *Options) { o.Cases = []string{"one", "two"} }},
		{"cases", func(o *Options) { o.Front, o.Cases = false, []string{"stream"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Default()
			c.change(&o)
			if err := o.Validate(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "--"+c.name) {
				t.Errorf("got %v", err)
			}
		})
	}
}
