package front

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/gate"
)

// serveEdge runs a server with one dialect: POST /echo answers with the body, GET
// /big with 10 KB of JSON, GET /small with a little, GET /stream with what is flushed
// piece by piece.
func serveEdge(t *testing.T, change func(*Config)) (url string, s *Server) {
	t.Helper()
	cfg := Config{
		Sizes: Sizes{Body: 1 << 20}, Anonymous: true, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
		Dialects: []Dialect{{Name: "test", Prefixes: []string{"/"}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
			status, text, ok := Status(err)
			if !ok {
				status = map[gate.Kind]int{gate.Denied: 403, gate.Unauthenticated: 401}[gate.Classify(err)]
				text = "refused"
			}
			if status == 0 {
				status = 500
			}
			http.Error(w, text, status)
		}, Routes: []Route{
			{Name: "echo", Pattern: "POST /echo", Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
				data, release, err := ReadBody(r)
				if err != nil {
					return err
				}
				defer release()
				w.Header().Set("Content-Type", "text/plain")
				_, err = w.Write(data)
				return err
			}},
			{Name: "big", Pattern: "GET /big", Serve: func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Query().Has("length") {
					w.Header().Set("Content-Length", "10002")
				}
				_, _ = w.Write([]byte(`"` + strings.Repeat("x", 5000)))
				_, err := w.Write([]byte(strings.Repeat("x", 5000) + `"`))
				return err
			}},
			{Name: "small", Pattern: "GET /small", Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
				w.Header().Set("Content-Type", "application/json")
				_, err := w.Write([]byte(`"x"`))
				return err
			}},
			{Name: "stream", Pattern: "GET /stream", Streams: true, Serve: func(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
				w.Header().Set("Content-Type", "text/event-stream")
				for range 3 {
					_, _ = w.Write([]byte("data: " + strings.Repeat("x", 2000) + "\n\n"))
					if err := http.NewResponseController(w).Flush(); err != nil {
						return err
					}
				}
				return nil
			}},
		}}},
	}
	if change != nil {
		change(&cfg)
	}
	s = New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.http.Close() })
	return "http://" + l.Addr().String(), s
}

// fetch makes one request; nothing is compressed or inflated on the way.
func fetch(t *testing.T, method, url string, header map[string]string, body io.Reader) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // a test's
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return answer, data
}

func compressed(t *testing.T, encoding string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var z io.WriteCloser
	switch encoding {
	case "gzip":
		z = gzip.NewWriter(&b)
	case "deflate":
		z = zlib.NewWriter(&b)
	default:
		var err error
		if z, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = z.Write(data)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// noise is text that does not compress much.
func noise(n int) []byte {
	b := make([]byte, n)
	state := uint32(7)
	for i := range b {
		state = state*1664525 + 1013904223
		b[i] = "abcdefghijklmnopqrstuvwxyz012345"[state>>27]
	}
	return b
}

func TestCompressedBodies(t *testing.T) {
	url, _ := serveEdge(t, nil)
	honest := noise(200_000)
	for _, encoding := range []string{"gzip", "deflate", "zstd"} {
		z := compressed(t, encoding, honest)
		bomb, mild := compressed(t, encoding, make([]byte, 8<<20)), compressed(t, encoding, make([]byte, 900<<10))
		for name, c := range map[string]struct {
			body []byte
			want int
		}{
			"honest": {z, 200}, "bomb": {bomb, 413}, "within the size, not within the ratio": {mild, 413}, "cut": {z[:len(z)/2], 400}, "nothing of the kind": {[]byte("not compressed at all"), 400},
			"empty": {nil, 0}, "small and repetitive": {compressed(t, encoding, make([]byte, 60<<10)), 200},
		} {
			for chunked := range 2 {
				var body io.Reader = bytes.NewReader(c.body)
				if chunked == 1 {
					body = io.MultiReader(body)
				}
				answer, data := fetch(t, "POST", url+"/echo", map[string]string{"Content-Encoding": encoding}, body)
				if c.want == 0 { // no body at all: what is refused differs by what is announced
					continue
				}
				if answer.StatusCode != c.want {
					t.Errorf("%s, %s, chunked %d: %d %.200s, want %d", encoding, name, chunked, answer.StatusCode, data, c.want)
				}
				if name == "honest" && !bytes.Equal(data, honest) {
					t.Errorf("%s: the body has changed", encoding)
				}
			}
		}
	}
	for encoding, want := range map[string]int{"br": 415, "gzip, gzip": 415, "identity": 200, "x-gzip": 400, "GZIP": 400, "identity, Identity ,": 200, "gzip, identity": 400, "identity,gzip": 400, "identity, br": 415, ",x-gzip": 400} {
		answer, _ := fetch(t, "POST", url+"/echo", map[string]string{"Content-Encoding": encoding}, strings.NewReader("x"))
		if answer.StatusCode != want || want == 415 && answer.Header.Get("Accept-Encoding") == "" {
			t.Errorf("%s: %d %s, want %d", encoding, answer.StatusCode, answer.Header, want)
		}
	}
}

// TestZstdWindowIsPaidFor sends frames that claim a large window: the memory comes
// from the budget, and goes back to it.
func TestZstdWindowIsPaidFor(t *testing.T) {
	url, s := serveEdge(t, nil)
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(largeWindow), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	for range 9 {
		_, _ = z.Write(noise(100_000))
		_ = z.Flush()
	}
	_ = z.Close()
	answer, data := fetch(t, "POST", url+"/echo", map[string]string{"Content-Encoding": "zstd"}, bytes.NewReader(b.Bytes()))
	if answer.StatusCode != 200 || len(data) != 900_000 {
		t.Errorf("%d, %d bytes", answer.StatusCode, len(data))
	}
	huge := bytes.Clone(b.Bytes())
	huge[5] = 31 << 3 // the window that the header names
	if answer, _ := fetch(t, "POST", url+"/echo", map[string]string{"Content-Encoding": "zstd"}, bytes.NewReader(huge)); answer.StatusCode != 413 && answer.StatusCode != 400 {
		t.Errorf("a window beyond all bounds: %d", answer.StatusCode)
	}
	for end := time.Now().Add(time.Minute); s.budget.used.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes of the budget are not given back", s.budget.used.Load())
		}
	}
}

// TestBombsAreBounded sends many at once, of which each would be 24 MB.
func TestBombsAreBounded(t *testing.T) {
	url, _ := serveEdge(t, nil)
	bomb := compressed(t, "gzip", make([]byte, 24<<20))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			answer, err := http.DefaultTransport.RoundTrip(bombRequest(url, bomb))
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close() //nolint:errcheck // a test's
			if answer.StatusCode != 413 {
				t.Errorf("a bomb is answered %d", answer.StatusCode)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 128<<20 {
		t.Errorf("16 bombs of 24 MB took %d MB from the system", grown>>20)
	} else {
		t.Logf("16 bombs of 24 MB took %d MB from the system", grown>>20)
	}
}

func bombRequest(url string, bomb []byte) *http.Request {
	r, _ := http.NewRequest("POST", url+"/echo", bytes.NewReader(bomb))
	r.Header.Set("Content-Encoding", "gzip")
	return r
}

func TestCompressedAnswers(t *testing.T) {
	url, _ := serveEdge(t, nil)
	for name, c := range map[string]struct {
		path, accept string
		want         string
		vary         bool
	}{
		"gzip":               {"/big", "gzip", "gzip", true},
		"zstd":               {"/big", "zstd", "zstd", true},
		"with a length":      {"/big?length=1", "gzip", "gzip", true},
		"better":             {"/big", "gzip;q=0.5, zstd;q=0.9", "zstd", true},
		"equal":              {"/big", "zstd, gzip", "gzip", true},
		"any":                {"/big", "*", "gzip", true},
		"not gzip":           {"/big", "*, gzip;q=0", "zstd", true},
		"none":               {"/big?length=1", "", "", true},
		"unknown":            {"/big?length=1", "br", "", true},
		"rather not":         {"/big", "gzip;q=0.1, identity", "", false},
		"malformed":          {"/big", "gzip;q=x", "", false},
		"small":              {"/small", "gzip", "", false},
		"stream":             {"/stream", "gzip", "", false},
		"an error is small":  {"/nothing", "gzip", "", false},
		"several header, q0": {"/big", "gzip;q=0, zstd;q=0", "", false},
	} {
		answer, data := fetch(t, "GET", url+c.path, map[string]string{"Accept-Encoding": c.accept}, nil)
		if got := answer.Header.Get("Content-Encoding"); got != c.want || c.vary != strings.Contains(answer.Header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: %q, Vary %q; want %q", name, got, answer.Header.Get("Vary"), c.want)
		}
		var plain io.Reader = bytes.NewReader(data)
		switch answer.Header.Get("Content-Encoding") {
		case "gzip":
			plain, _ = gzip.NewReader(plain)
		case "zstd":
			d, err := zstd.NewReader(plain)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			plain = d
		}
		text, err := io.ReadAll(plain)
		if err != nil || strings.HasPrefix(c.path, "/big") && len(text) != 10002 || c.path == "/small" && (string(text) != `"x"` || answer.ContentLength != 3) {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	off := false
	url, _ = serveEdge(t, func(c *Config) { c.Compression.Answers = &off })
	if answer, _ := fetch(t, "GET", url+"/big", map[string]string{"Accept-Encoding": "gzip"}, nil); answer.Header.Get("Content-Encoding") != "" {
		t.Error("compressed although it is off")
	}
}

// firewall makes rules of the section.
func firewall(t *testing.T, cfg WAF) *Firewall {
	t.Helper()
	cfg.Validate(func(path, problem string) { t.Errorf("waf.%s: %s", path, problem) })
	f, err := NewFirewall(cfg, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWAFRules(t *testing.T) {
	list := filepath.Join(t.TempDir(), "deny.txt")
	if err := os.WriteFile(list, []byte("# bad\n198.51.100.0/24 # a net\n\n2001:db8::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	f := firewall(t, WAF{Rules: []WAFRule{
		{Name: "list", Match: WAFMatch{IPFile: list}, Action: "block"},
		{Name: "office", Match: WAFMatch{IP: []string{"192.0.2.0/24"}, Path: "/prod/_admin/*"}, Action: "allow"},
		{Name: "admin", Match: WAFMatch{Path: "/prod/_admin/*"}, Action: "block"},
		{Name: "big", Match: WAFMatch{ContentLengthGT: 1 << 20, NotRoute: "POST /topics/bulk*"}, Action: "block", Status: 413},
		{Name: "ua", Match: WAFMatch{Header: map[string]string{"user-agent": "(?i)sqlmap|nikto"}}, Action: "block"},
		{Name: "geo", Match: WAFMatch{Header: map[string]string{"x-country": "XX"}}, Action: "count"},
		{Name: "teapot", Match: WAFMatch{Methods: []string{"PUT"}, Route: "P* /t*", NotPath: "/topics"}, Action: "block", Status: 418},
	}})
	for name, c := range map[string]struct {
		method, path, source string
		header               map[string]string
		length               int64
		rule                 string
		status               int // 0: it is let in
	}{
		"nothing":           {"GET", "/topics", "192.0.2.1", nil, 0, "", 0},
		"on the list":       {"GET", "/topics", "198.51.100.7", nil, 0, "list", 403},
		"on the list, IPv6": {"GET", "/topics", "2001:db8::1", nil, 0, "list", 403},
		"beside the list":   {"GET", "/topics", "2001:db8::2", nil, 0, "", 0},
		"allowed first":     {"GET", "/prod/_admin/x", "192.0.2.9", map[string]string{"User-Agent": "nikto"}, 0, "office", 0},
		"blocked second":    {"GET", "/prod/_admin/x", "203.0.113.1", nil, 0, "admin", 403},
		"too big":           {"POST", "/topics/a", "203.0.113.1", nil, 2 << 20, "big", 413},
		"exactly":           {"POST", "/topics/a", "203.0.113.1", nil, 1 << 20, "", 0},
		"big, other route":  {"POST", "/topics/bulk1", "203.0.113.1", nil, 2 << 20, "", 0},
		"agent":             {"GET", "/topics", "203.0.113.1", map[string]string{"User-Agent": "x SqlMap/1"}, 0, "ua", 403},
		"counted only":      {"GET", "/topics", "203.0.113.1", map[string]string{"X-Country": "XX"}, 0, "", 0},
		"own status":        {"PUT", "/tea", "203.0.113.1", nil, 0, "teapot", 418},
		"but not there":     {"PUT", "/topics/", "203.0.113.1", nil, 0, "", 0},
		"no address":        {"GET", "/topics", "", nil, 0, "", 0},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.ContentLength = c.length
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		source, _ := netip.ParseAddr(c.source)
		rule, _, err := f.check(r, source, m)
		status := 0
		var repeat *RepeatError
		switch {
		case errors.As(err, &repeat):
			status = repeat.Status
		case gate.Classify(err) == gate.Denied:
			status = 403
		}
		if err == nil {
			status = 0
		}
		if rule != c.rule || status != c.status {
			t.Errorf("%s: rule %q, status %d; want %q, %d", name, rule, status, c.rule, c.status)
		}
	}
}

// A broken escape in a query would be a parameter that is not there.
func TestBrokenEscapesInQueries(t *testing.T) {
	url, _ := serveEdge(t, func(*Config) {})
	for query, want := range map[string]int{"x=%41": 200, "x=%25zz": 200, "x=%zz": 400, "x=100%": 400, "a=1&%2=x": 400, "a=1;%": 400} {
		answer, body := fetch(t, "GET", url+"/small?"+query, nil, nil)
		if answer.StatusCode != want || want == 400 && !strings.Contains(string(body), "%25") {
			t.Errorf("%s: got %d %s, want %d", query, answer.StatusCode, body, want)
		}
	}
}

func TestWAFMethodsAndHosts(t *testing.T) {
	url, _ := serveEdge(t, func(c *Config) {
		c.Firewall = firewall(t, WAF{Methods: []string{"GET", "POST"}, Hosts: []string{"a.example.com", "*.b.example.com", "127.0.0.1"}, MethodOverride: true,
			Rules: []WAFRule{{Name: "big", Match: WAFMatch{ContentLengthGT: 100}, Action: "block", Status: 413}}})
	})
	for name, c := range map[string]struct {
		method, host, override string
		want                   int
	}{
		"ours": {"GET", "A.example.com:80", "", 200}, "label": {"GET", "x.b.example.com", "", 200}, "two labels": {"GET", "x.y.b.example.com", "", 421}, "no label": {"GET", "b.example.com", "", 421},
		"other": {"GET", "evil.example", "", 421}, "method": {"DELETE", "a.example.com", "", 403}, "override": {"POST", "a.example.com", "get", 200}, "override by DELETE": {"POST", "a.example.com", "DELETE", 403},
		"override of GET": {"GET", "a.example.com", "POST", 400},
	} {
		r, err := http.NewRequest(c.method, url+"/small", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		if c.override != "" {
			r.Header.Set("X-HTTP-Method-Override", c.override)
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, c.want)
		}
	}
	// A body of unknown length is ended where the rule says.
	if answer, _ := fetch(t, "POST", url+"/echo", nil, io.MultiReader(bytes.NewReader(noise(101)))); answer.StatusCode != 413 {
		t.Errorf("101 bytes of unknown length: %d, want 413", answer.StatusCode)
	}
	if answer, _ := fetch(t, "POST", url+"/echo", nil, io.MultiReader(bytes.NewReader(noise(100)))); answer.StatusCode != 200 {
		t.Errorf("100 bytes of unknown length: %d, want 200", answer.StatusCode)
	}
}

func TestWAFRate(t *testing.T) {
	c := &rateCounter{window: 10 * time.Second, limit: 5}
	at := time.Unix(1000, 0)
	count := func(key string, seconds float64) bool {
		return c.count(key, at.Add(time.Duration(seconds*float64(time.Second))))
	}
	for i := range 5 {
		if count("a", 0) {
			t.Fatalf("request %d exceeds", i)
		}
	}
	if !count("a", 1) || count("b", 1) {
		t.Error("the sixth of a must exceed, and b must not")
	}
	if !count("a", 11) { // 0.9 of the window before count: 5.4 and 1
		t.Error("the window before is forgotten")
	}
	if count("a", 19.9) {
		t.Error("the window before counts as a whole at its end")
	}
	if count("a", 100) {
		t.Error("what is long ago counts")
	}
	for i := range rateKeys + 10 {
		count(fmt.Sprint(i), 100)
	}
	if len(c.current) > rateKeys+1 {
		t.Errorf("%d clients are counted, want at most %d", len(c.current), rateKeys)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"/a", "/a", true}, {"/a", "/ab", false}, {"/a*", "/ab", true}, {"*", "", true}, {"*b", "/ab", true}, {"/*/c", "/a/b/c", true}, {"/*/c", "/c", false}, {"", "", true}, {"", "a", false},
		{"**a**", "bab", true}, {"/a*b*c", "/a-b-b-c", true}, {"/a*b*c", "/a-c-b", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

// TestHeaderLimits sends what is too long, raw.
func TestHeaderLimits(t *testing.T) {
	url, _ := serveEdge(t, nil)
	host := strings.TrimPrefix(url, "http://")
	for name, c := range map[string]struct{ request, want string }{
		"URL of 9 KiB":      {"GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "414"},
		"query of 9 KiB":    {"GET /small?" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "414"},
		"URL of 1 MB":       {"GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
		"header of 17 KiB":  {"GET /small HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 17<<10) + "\r\n\r\n", "431"},
		"header of 200 KiB": {"GET /small HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 200<<10) + "\r\n\r\n", "431"},
		"101 headers":       {"GET /small HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", "431"},
		"100 headers":       {"GET /small HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n", "200"},
		"override":          {"GET /small HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: DELETE\r\n\r\n", "400"},
		"chunks":            {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\nContent-Length: 4\r\n\r\n67890ab\r\n0\r\n\r\n", "200"},
		"length and chunks": {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		go func() { _, _ = conn.Write([]byte(c.request)) }()
		head := make([]byte, 12)
		if _, err := io.ReadFull(conn, head); err != nil || string(head[9:]) != c.want {
			t.Errorf("%s: %q %v, want %s", name, head, err, c.want)
		}
		_ = conn.Close()
	}
}

func TestAccessLogHasEveryRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	log, err := accesslog.Open(accesslog.Config{File: path}, accesslog.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	url, _ := serveEdge(t, func(c *Config) {
		c.AccessLog = log
		c.CORS = CORS{AllowOrigins: []string{"https://a.example"}}
		c.Firewall = firewall(t, WAF{Rules: []WAFRule{{Name: "no", Match: WAFMatch{Path: "/no"}, Action: "block"}}})
	})
	ids := map[string]bool{}
	get := func(method, path string, header map[string]string) {
		answer, _ := fetch(t, method, url+path, header, nil)
		id := answer.Header.Get("X-Request-Id")
		if len(id) != 36 || ids[id] {
			t.Errorf("%s %s has the id %q", method, path, id)
		}
		ids[id] = true
	}
	get("GET", "/small?access_token=secret-1&x=1", map[string]string{"X-Request-Id": "mine"})
	get("GET", "/nothing", nil)
	get("DELETE", "/small", nil)
	get("GET", "/no", nil)
	get("GET", "/"+strings.Repeat("a", 9<<10), nil)
	get("OPTIONS", "/small", map[string]string{"Origin": "https://a.example", "Access-Control-Request-Method": "GET"})
	get("GET", "/stream", nil)
	log.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("secret-1")) {
		t.Error("a token is in the log")
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		var e struct {
			Event, RequestID, HTTPMethod, Path, ResourcePath, ErrorType, WafRule string
			Status, ResponseLength                                               int
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if !ids[e.RequestID] {
			t.Errorf("nobody has the id %q", e.RequestID)
		}
		got = append(got, fmt.Sprintf("%s %s %.9s %s %d %s %s", e.Event, e.HTTPMethod, e.Path, e.ResourcePath, e.Status, e.ErrorType, e.WafRule))
	}
	want := []string{
		"request GET /small /small 200 - -", "request GET /nothing - 404 RESOURCE_NOT_FOUND -", "request DELETE /small - 405 RESOURCE_NOT_FOUND -", "request GET /no - 403 WAF_FILTERED no",
		"request GET /aaaaaaaa - 414 DEFAULT_4XX -", "request OPTIONS /small - 204 - -", "open GET /stream /stream 200 - -", "close GET /stream /stream 200 - -",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTrustedRequestID(t *testing.T) {
	url, _ := serveEdge(t, func(c *Config) { c.TrustRequestID = true })
	for id, kept := range map[string]bool{"abc-1_2.3": true, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "a b": false, "<a>": false} {
		answer, _ := fetch(t, "GET", url+"/small", map[string]string{"X-Request-Id": id}, nil)
		if got := answer.Header.Get("X-Request-Id"); (got == id) != kept {
			t.Errorf("%.20q: %q", id, got)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for range 10_000 {
		id := requestID()
		if len(id) != 36 || id[14] != '7' || strings.IndexByte("89ab", id[19]) < 0 || seen[id] {
			t.Fatalf("%q is no new UUID of version 7", id)
		}
		if id[:13] < last {
			t.Fatalf("%q comes before %q", id, last)
		}
		seen[id], last = true, id[:13]
	}
}

// TestNextServesAlone replaces the configuration under load: no request fails, and
// those that begin afterwards are answered by the new one.
func TestNextServesAlone(t *testing.T) {
	url, s := serveEdge(t, nil)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := http.Get(url + "/small")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				if answer.StatusCode != 200 {
					t.Errorf("a request fails with %d", answer.StatusCode)
				}
			}
		})
	}
	for i := range 50 {
		cfg := s.cfg
		cfg.Dialects = append([]Dialect(nil), cfg.Dialects...)
		if i == 49 {
			cfg.Sizes.URL = 10
		}
		next, err := s.Next(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Become(next)
	}
	close(stop)
	all.Wait()
	if answer, _ := fetch(t, "GET", url+"/small?xxxxxxxxx", nil, nil); answer.StatusCode != 414 {
		t.Errorf("the new limit does not hold: %d", answer.StatusCode)
	}
	twice := s.cfg
	twice.Dialects = append(twice.Dialects, twice.Dialects[0])
	if _, err := s.Next(twice); err == nil {
		t.Error("routes that are there twice are accepted")
	}
}

func TestReadProxy(t *testing.T) {
	v2 := func(command, family byte, body string) string {
		return string(proxySignature) + string([]byte{0x20 | command, family, byte(len(body) >> 8), byte(len(body))}) + body
	}
	for name, c := range map[string]struct {
		in   string
		want string // the address; "": none; "error"
		left string
	}{
		"v1":            {"PROXY TCP4 192.0.2.1 198.51.100.1 1234 80\r\nGET", "192.0.2.1:1234", "GET"},
		"v1 IPv6":       {"PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n", "[2001:db8::1]:1234", ""},
		"v1 unknown":    {"PROXY UNKNOWN whatever\r\nx", "", "x"},
		"v1 mixed":      {"PROXY TCP4 2001:db8::1 2001:db8::2 1234 80\r\n", "error", ""},
		"v1 bad port":   {"PROXY TCP4 192.0.2.1 198.51.100.1 123456 80\r\n", "error", ""},
		"v1 no end":     {"PROXY TCP4 " + strings.Repeat("1", 300), "error", ""},
		"v2":            {v2(1, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x01\x04\xd2\x00\x50"), "192.0.2.1:1234", ""},
		"v2 local":      {v2(0, 0, ""), "", ""},
		"v2 with more":  {v2(1, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x01\x04\xd2\x00\x50\x04\x00\x00"), "192.0.2.1:1234", ""},
		"v2 short":      {v2(1, 0x11, "\xc0\x00"), "error", ""},
		"v2 unix":       {v2(1, 0x31, strings.Repeat("x", 216)), "error", ""},
		"v2 cut":        {v2(1, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x01\x04\xd2\x00\x50")[:20], "error", ""},
		"plain request": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "error", ""},
		"nothing":       {"", "error", ""},
	} {
		in := strings.NewReader(c.in)
		addr, left, err := readProxy(in)
		rest, _ := io.ReadAll(in)
		got := "error"
		if err == nil {
			got = ""
			if addr.IsValid() {
				got = addr.String()
			}
		}
		if got != c.want || err == nil && string(left)+string(rest) != c.left {
			t.Errorf("%s: %q, left %q; want %q, %q", name, got, string(left)+string(rest), c.want, c.left)
		}
	}
}

func FuzzReadProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 1234 80\r\nGET"))
	f.Add(append(bytes.Clone(proxySignature), 0x21, 0x11, 0, 12, 192, 0, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _, _ = readProxy(bytes.NewReader(data)) })
}
