package function

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/secret"
)

// A seen request is one that a function elsewhere got.
type seen struct {
	path   string
	header http.Header
	body   string
}

// elsewhere is an HTTP server that is a function, and remembers what it was asked.
type elsewhere struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seen
}

func newElsewhere(t *testing.T, answer http.HandlerFunc) *elsewhere {
	t.Helper()
	e := &elsewhere{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.seen = append(e.seen, seen{r.URL.RequestURI(), r.Header, string(body)})
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *elsewhere) calls() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// remoteHost returns a host with one function f that runs elsewhere.
func remoteHost(t *testing.T, def Definition, change func(*Config)) *Host {
	t.Helper()
	cfg := Config{
		Directory: t.TempDir(), Region: "eu-west-3", Log: slog.New(slog.DiscardHandler),
		Transport: &http.Transport{DisableCompression: true}, Secret: secret.Local,
	}
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	def.Name = "f"
	h.Set(def)
	t.Cleanup(func() { h.Close(context.Background()) })
	return h
}

// kindOf says in one word what an invocation came to.
func kindOf(out Outcome, err error) string {
	var unreached *UnreachedError
	switch {
	case errors.As(err, &unreached):
		return "not reached"
	case errors.Is(err, ErrTooLarge):
		return "too large"
	case errors.Is(err, ErrThrottled):
		return "throttled"
	case err != nil:
		return err.Error()
	case out.Error != "":
		var doc struct{ ErrorType string }
		_ = json.Unmarshal(out.Payload, &doc)
		return "failed " + doc.ErrorType
	}
	return string(out.Payload)
}

func TestWhatAStatusMeans(t *testing.T) {
	for _, c := range []struct {
		name   string
		remote Remote
		want   map[int]string
	}{
		{"Lambda's format", Remote{}, map[int]string{
			200: "yes", 204: "", 301: "failed HTTP.301", 400: "failed HTTP.400", 404: "failed HTTP.404", 408: "not reached", 409: "failed HTTP.409", 413: "too large", 425: "not reached",
			429: "not reached", 500: "failed HTTP.500", 501: "failed HTTP.501", 502: "not reached", 503: "not reached", 504: "not reached",
		}},
		{"another proxy", Remote{NotReached: []int{521}}, map[int]string{502: "failed HTTP.502", 503: "not reached", 521: "not reached"}},
		{"CloudEvents", Remote{Format: FormatBinary}, map[int]string{
			202: "yes", 302: "failed HTTP.302", 400: "failed HTTP.400", 404: "not reached", 408: "not reached", 409: "not reached", 429: "not reached", 500: "not reached", 501: "not reached",
		}},
	} {
		for status, want := range c.want {
			e := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "yes")
			})
			c.remote.URL = e.URL
			h := remoteHost(t, Definition{Remote: &c.remote}, nil)
			out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte("1")})
			if got := kindOf(out, err); got != want {
				t.Errorf("%s, %d: got %s, want %s", c.name, status, got, want)
			}
			var unreached *UnreachedError
			if errors.As(err, &unreached) && (unreached.Status != status || unreached.After != 7*time.Second) {
				t.Errorf("%s, %d: %+v", c.name, status, unreached)
			}
			if n := len(e.calls()); n != 1 {
				t.Errorf("%s, %d: %d requests", c.name, status, n)
			}
		}
	}
}

func TestSourceOfEventsNamesTheirCluster(t *testing.T) {
	for cluster, want := range map[string]string{"": "/klamm/default/m#t", "east": "/klamm/east/m#t"} {
		e := newElsewhere(t, func(http.ResponseWriter, *http.Request) {})
		h := remoteHost(t, Definition{Remote: &Remote{URL: e.URL, Format: FormatBinary}}, nil)
		if _, err := h.Invoke(t.Context(), "f", Invocation{Caller: "m", Cluster: cluster, Records: []*kgo.Record{{Topic: "t", Value: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		if got := e.calls()[0].header.Get("Ce-Source"); got != want {
			t.Errorf("cluster %q: got %q, want %q", cluster, got, want)
		}
	}
}

func TestWhatARequestSays(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	records := []*kgo.Record{
		{Topic: "t", Partition: 1, Offset: 7, Timestamp: at, Key: []byte("k1"), Value: []byte(`{"a":1}`), Headers: []kgo.RecordHeader{{Key: "Content-Type", Value: []byte("application/json")}, {Key: "My-Header", Value: []byte("x")}}},
		{Topic: "t", Partition: 1, Offset: 8, Timestamp: at, Key: []byte("clé"), Value: []byte(`{"guess":1}`)},
		{Topic: "t", Partition: 1, Offset: 9, Timestamp: at, Value: []byte("own"), Headers: []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("i")}, {Key: "ce_source", Value: []byte("s")}, {Key: "ce_type", Value: []byte("T")}, {Key: "content-type", Value: []byte("text/plain")}}},
	}
	structured := []string{
		`{"specversion":"1.0","type":"dev.knative.kafka.event","source":"/klamm/default/m#t","id":"partition:1/offset:7","subject":"partition:1#7","time":"2026-01-02T03:04:05.678Z","key":"k1","partitionkey":"k1","kafkaheadermyheader":"x","datacontenttype":"application/json","data":{"a":1}}`,
		`{"specversion":"1.0","type":"dev.knative.kafka.event","source":"/klamm/default/m#t","id":"partition:1/offset:8","subject":"partition:1#8","time":"2026-01-02T03:04:05.678Z","key":"clé","partitionkey":"clé","datacontenttype":"application/octet-stream","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"guess":1}`)) + `"}`,
		`{"specversion":"1.0","id":"i","source":"s","type":"T","datacontenttype":"text/plain","data":"own"}`,
	}
	for _, c := range []struct {
		format, mediaType string // of the first request
		bodies            []string
		header            map[string]string // of the first request
	}{
		{FormatLambda, "application/json", []string{`{"all":3}`}, map[string]string{"X-Klamm-Request-Id": "batch"}},
		{FormatRecord, "application/json", []string{`{"a":1}`, `{"guess":1}`, "own"}, map[string]string{"X-Klamm-Topic": "t", "X-Klamm-Partition": "1", "X-Klamm-Offset": "7", "X-Klamm-Key": "k1", "X-Klamm-Request-Id": "batch-0"}},
		{FormatBinary, "application/json", []string{`{"a":1}`, `{"guess":1}`, "own"}, map[string]string{"Ce-Id": "partition:1/offset:7", "Ce-Source": "/klamm/default/m#t", "Ce-Type": "dev.knative.kafka.event", "Ce-Key": "k1"}},
		{FormatStructured, "application/cloudevents+json; charset=UTF-8", structured, nil},
		{FormatBatch, "application/cloudevents-batch+json; charset=UTF-8", []string{"[" + strings.Join(structured, ",") + "]"}, nil},
	} {
		t.Run(c.format, func(t *testing.T) {
			e := newElsewhere(t, func(http.ResponseWriter, *http.Request) {})
			h := remoteHost(t, Definition{Remote: &Remote{URL: e.URL + "/function/x?y=z", Format: c.format, Authorization: secret.Ref{Value: "Bearer b"}}}, nil)
			_, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"all":3}`), Records: records, Caller: "m", Batch: "batch", Attempt: 2, Trace: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"})
			if err != nil {
				t.Fatal(err)
			}
			var bodies []string
			for _, s := range e.calls() {
				bodies = append(bodies, s.body)
			}
			if len(bodies) != len(c.bodies) {
				t.Fatal(bodies)
			}
			for i, want := range c.bodies {
				if !sameText(bodies[i], want) {
					t.Errorf("got %s\nwant %s", bodies[i], want)
				}
			}
			s := e.calls()[0]
			want := map[string]string{
				"Content-Type": c.mediaType, "X-Klamm-Mapping": "m", "X-Klamm-Attempt": "2", "Authorization": "Bearer b",
				"Traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
			}
			for name, value := range c.header {
				want[name] = value
			}
			for name, value := range want {
				if got := s.header.Get(name); got != value {
					t.Errorf("%s: got %q, want %q", name, got, value)
				}
			}
			if s.path != "/function/x?y=z" || s.header.Get("X-Klamm-Deadline-Ms") == "" || s.header.Get("X-Timeout") == "" {
				t.Error(s)
			}
		})
	}
}

// sameText compares JSON by its meaning, and other text by its bytes.
func sameText(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil {
		return cmp.Equal(x, y)
	}
	return a == b
}

func TestNobodyAnswers(t *testing.T) {
	hold := make(chan struct{})
	slow := newElsewhere(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(hold) })
	broken := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	large := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxResponse+1)) })
	for _, c := range []struct {
		name, url string
		timeout   time.Duration
		want      string
	}{
		{"slow", slow.URL, time.Second, "failed Sandbox.Timedout"},
		{"broken off", broken.URL, time.Minute, "not reached"},
		{"closed", "http://127.0.0.1:1", time.Minute, "not reached"},
		{"too much", large.URL, time.Minute, "failed Function.ResponseSizeTooLarge"},
	} {
		h := remoteHost(t, Definition{Remote: &Remote{URL: c.url}, Timeout: c.timeout}, nil)
		if got := kindOf(h.Invoke(t.Context(), "f", Invocation{Payload: []byte("1")})); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if n := len(broken.calls()); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestRemoteConcurrency(t *testing.T) {
	hold, came := make(chan struct{}), make(chan struct{}, 2)
	e := newElsewhere(t, func(http.ResponseWriter, *http.Request) { came <- struct{}{}; <-hold })
	h := remoteHost(t, Definition{Remote: &Remote{URL: e.URL}, Timeout: time.Minute, Concurrency: 1}, nil)
	done := make(chan string)
	go func() { done <- kindOf(h.Invoke(t.Context(), "f", Invocation{})) }()
	<-came
	if got := kindOf(h.Invoke(t.Context(), "f", Invocation{})); got != "throttled" {
		t.Error(got)
	}
	close(hold)
	if got := <-done; got != "" {
		t.Error(got)
	}
}

func TestLambdaClient(t *testing.T) {
	var status int
	var header map[string]string
	var body string
	e := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	arn := "arn:aws:lambda:us-west-2:123456789012:function:far"
	h := remoteHost(t, Definition{Remote: &Remote{Lambda: &Lambda{Endpoint: e.URL, Function: arn, Qualifier: "live", AccessKey: secret.Ref{Value: "AKID"}, SecretKey: secret.Ref{Value: "s"}, SessionToken: secret.Ref{Value: "tok"}}}}, nil)
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   string
	}{
		{"well", 200, map[string]string{"X-Amz-Executed-Version": "3", "X-Amz-Log-Result": base64.StdEncoding.EncodeToString([]byte("said"))}, `{"ok":1}`, `{"ok":1}`},
		{"failed", 200, map[string]string{"X-Amz-Function-Error": "Unhandled"}, `{"errorType":"E"}`, "failed E"},
		{"handled", 200, map[string]string{"X-Amz-Function-Error": "Handled"}, `{"errorType":"H"}`, "failed H"},
		{"throttled", 429, map[string]string{"Retry-After": "3"}, `{}`, "not reached"},
		{"forbidden", 403, nil, `{}`, "not reached"},
		{"not there", 404, map[string]string{"X-Amzn-Errortype": "ResourceNotFoundException"}, `{"Message":"Function not found"}`, "not reached"},
		{"bad", 400, nil, `{}`, "not reached"},
		{"large", 413, nil, `{}`, "too large"},
		{"down", 502, nil, `{}`, "not reached"},
	} {
		status, header, body = c.status, c.header, c.body
		out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`1`), ClientContext: `{"c":1}`, Trace: "Root=1", Tail: true})
		if got := kindOf(out, err); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if c.name == "well" && (out.Version != "3" || string(out.Log) != "said" || out.Error != "") || c.name == "handled" && out.Error != "Handled" {
			t.Errorf("%s: %+v", c.name, out)
		}
		if c.name == "not there" && !strings.Contains(err.Error(), "ResourceNotFoundException") {
			t.Error(err)
		}
	}
	s := e.calls()[0]
	authorization := s.header.Get("Authorization")
	if s.path != "/2015-03-31/functions/arn:aws:lambda:us-west-2:123456789012:function:far/invocations?Qualifier=live" || s.body != "1" || s.header.Get("X-Amz-Client-Context") != "eyJjIjoxfQ==" || s.header.Get("X-Amzn-Trace-Id") != "Root=1" ||
		!strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKID/") || !strings.Contains(authorization, "/us-west-2/lambda/aws4_request") || s.header.Get("X-Amz-Security-Token") != "tok" {
		t.Errorf("%+v", s)
	}
}

func TestEmulator(t *testing.T) {
	var status int
	var body string
	e := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	h := remoteHost(t, Definition{Remote: &Remote{RIE: e.URL}}, nil)
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"well", 200, `{"fine":true}`, `{"fine":true}`},
		{"failed", 200, `{"errorType":"E","errorMessage":"m","stackTrace":[]}`, "failed E"},
		{"failed without a type", 200, `{"errorMessage":"m","requestId":"i"}`, "failed "},
		{"an answer that speaks of an error", 200, `{"errorType":"E","errorMessage":"m","orders":[]}`, `{"errorType":"E","errorMessage":"m","orders":[]}`},
		{"an answer with a message", 200, `{"errorMessage":"m"}`, `{"errorMessage":"m"}`},
		{"timed out", 200, "Task timed out after 3.00 seconds", "failed Sandbox.Timedout"},
		{"busy", 400, "", "throttled"},
		{"does not start", 502, "", "not reached"},
	} {
		status, body = c.status, c.body
		if got := kindOf(h.Invoke(t.Context(), "f", Invocation{Payload: []byte("1")})); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if s := e.calls()[0]; s.path != emulatorPath {
		t.Error(s.path)
	}
	if d, _ := h.Definition("f"); d.Concurrency != 1 || d.Timeout != emulatorTime {
		t.Errorf("%+v", d)
	}
}

func TestReplyEvents(t *testing.T) {
	e := newElsewhere(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Prefer") == "reply" {
			for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r", "Ce-Source": "s", "Ce-Type": "reply", "Content-Type": "text/plain"} {
				w.Header().Set(name, value)
			}
			_, _ = io.WriteString(w, "answer")
		}
	})
	var kept []*kgo.Record
	var produceErr error
	h := remoteHost(t, Definition{Remote: &Remote{URL: e.URL, Format: FormatBinary, ReplyTopic: "answers"}}, func(c *Config) {
		c.Produce = func(_ context.Context, records ...*kgo.Record) error {
			kept = append(kept, records...)
			return produceErr
		}
	})
	in := Invocation{Records: []*kgo.Record{{Topic: "t", Value: []byte("x")}}}
	if _, err := h.Invoke(t.Context(), "f", in); err != nil || len(kept) != 1 || kept[0].Topic != "answers" || string(kept[0].Value) != "answer" {
		t.Error(kept, err)
	}
	produceErr = errors.New("no broker")
	if got := kindOf(h.Invoke(t.Context(), "f", in)); got != "not reached" {
		t.Error("an answer was lost:", got)
	}
}
