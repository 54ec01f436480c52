package trace

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		parent, state string
		want          string // the traceparent that is passed on; "": none
		wantState     string
	}{
		"sampled":        {"00-" + traceID + "-" + spanID + "-01", "", "00-" + traceID + "-" + spanID + "-01", ""},
		"not sampled":    {"00-" + traceID + "-" + spanID + "-00", "a=b", "00-" + traceID + "-" + spanID + "-00", "a=b"},
		"other flags":    {"00-" + traceID + "-" + spanID + "-03", "a=b, c@d=e,,", "00-" + traceID + "-" + spanID + "-01", "a=b, c@d=e,,"},
		"later version":  {"01-" + traceID + "-" + spanID + "-01-more", "", "00-" + traceID + "-" + spanID + "-01", ""},
		"later, cut":     {"01-" + traceID + "-" + spanID + "-01more", "", "", ""},
		"longer 00":      {"00-" + traceID + "-" + spanID + "-01-more", "", "", ""},
		"version ff":     {"ff-" + traceID + "-" + spanID + "-01", "", "", ""},
		"upper case":     {"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", "", "", ""},
		"no trace":       {"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", "", "", ""},
		"no span":        {"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", "", "", ""},
		"short":          {"00-" + traceID, "", "", ""},
		"empty":          {"", "a=b", "", ""},
		"bad state":      {"00-" + traceID + "-" + spanID + "-01", "nothing", "00-" + traceID + "-" + spanID + "-01", ""},
		"hostile state":  {"00-" + traceID + "-" + spanID + "-01", "a=\x01", "00-" + traceID + "-" + spanID + "-01", ""},
		"too long state": {"00-" + traceID + "-" + spanID + "-01", "a=" + strings.Repeat("b", 600), "00-" + traceID + "-" + spanID + "-01", ""},
	} {
		got := Parse(c.parent, c.state)
		if !got.Valid() && c.want == "" {
			continue
		}
		if got.Traceparent() != c.want || got.State != c.wantState {
			t.Errorf("%s: %s %q, want %s %q", name, got.Traceparent(), got.State, c.want, c.wantState)
		}
	}
}

func TestParseXRay(t *testing.T) {
	const root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736"
	for name, c := range map[string]struct{ in, want string }{
		"whole":     {root + ";Parent=" + spanID + ";Sampled=1", root + ";Parent=" + spanID + ";Sampled=1"},
		"spaces":    {"Self=x; " + root + "; Parent=" + spanID, root + ";Parent=" + spanID + ";Sampled=0"},
		"no root":   {"Parent=" + spanID + ";Sampled=1", ""},
		"bad root":  {"Root=1-4bf92f35-77b34da6a3ce929d0e0e47;Parent=" + spanID, ""},
		"zero root": {"Root=1-00000000-" + strings.Repeat("0", 24), ""},
		"empty":     {"", ""},
	} {
		got := ParseXRay(c.in)
		if !got.Valid() && c.want == "" {
			continue
		}
		if got.XRay() != c.want {
			t.Errorf("%s: %s, want %s", name, got.XRay(), c.want)
		}
	}
	if c := ParseXRay(root); !c.Valid() || c.TraceID() != traceID {
		t.Errorf("a root alone names %s", c.TraceID())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00-"+traceID+"-"+spanID+"-01", "a=b", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent="+spanID+";Sampled=1")
	f.Fuzz(func(t *testing.T, parent, state, xray string) {
		if c := Parse(parent, state); c.Valid() {
			if again := Parse(c.Traceparent(), c.State); again != c {
				t.Errorf("%+v read again is %+v", c, again)
			}
		}
		if c := ParseXRay(xray); c.Valid() {
			if again := ParseXRay(c.XRay()); again != c {
				t.Errorf("%+v read again is %+v", c, again)
			}
		}
	})
}

func settings(t *testing.T, env map[string]string) (Settings, error) {
	t.Helper()
	return FromEnvironment(func(name string) string { return env[name] })
}

func TestFromEnvironment(t *testing.T) {
	s, err := settings(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/base/", "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20YQ==, x=1", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "500",
		"OTEL_SERVICE_NAME": "gate", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment=prod", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG": "0.25", "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Endpoint: "http://c:4318/base/v1/traces", Header: map[string]string{"Authorization": "Basic YQ==", "x": "1"}, Timeout: 500 * time.Millisecond, Gzip: true,
		Resource: []Attribute{Text("deployment.environment", "prod"), Text("service.name", "gate")}, Ratio: 0.25, Parent: true, Delay: 200 * time.Millisecond, Batch: 512, Queue: 2048,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	for name, env := range map[string]map[string]string{
		"nothing": {}, "disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, "none": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"},
	} {
		if s, err := settings(t, env); err != nil || s.Endpoint != "" || Open(s, nil, nil) != nil {
			t.Errorf("%s: %+v, %v; want no tracing", name, s, err)
		}
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "secret@nowhere", "OTEL_EXPORTER_OTLP_HEADERS": "secret", "OTEL_TRACES_SAMPLER": "jaeger",
		"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s", "OTEL_EXPORTER_OTLP_COMPRESSION": "br", "OTEL_TRACES_EXPORTER": "zipkin",
	} {
		env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", name: value}
		_, err := settings(t, env)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s=%s: %v; want an error that names the variable and shows no secret", name, value, err)
		}
	}
}

// A message is a protobuf message, field by field.
type message map[int][]any

func decode(t *testing.T, b []byte) message {
	t.Helper()
	m := message{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		b = b[n:]
		field := int(tag >> 3)
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			m[field], b = append(m[field], v), b[n:]
		case 1:
			m[field], b = append(m[field], binary.LittleEndian.Uint64(b)), b[8:]
		case 2:
			v, n := binary.Uvarint(b)
			m[field], b = append(m[field], b[n:n+int(v)]), b[n+int(v):]
		default:
			t.Fatalf("wire type %d", tag&7)
		}
	}
	return m
}

func (m message) sub(t *testing.T, fields ...int) message {
	t.Helper()
	for _, f := range fields {
		if len(m[f]) == 0 {
			t.Fatalf("field %d is missing in %v", f, m)
		}
		m = decode(t, m[f][0].([]byte))
	}
	return m
}

// collect runs a collector; it answers with the statuses, then with 200.
func collect(t *testing.T, env map[string]string, statuses ...int) (*Tracer, func() []message) {
	t.Helper()
	var mu sync.Mutex
	var got []message
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls <= len(statuses) {
			w.WriteHeader(statuses[calls-1])
			return
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(body)
		}
		data, _ := io.ReadAll(body)
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s", r.URL.Path, r.Header)
		}
		got = append(got, decode(t, data))
	}))
	t.Cleanup(server.Close)
	all := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_BSP_SCHEDULE_DELAY": "10"}
	for k, v := range env {
		all[k] = v
	}
	s, err := settings(t, all)
	if err != nil {
		t.Fatal(err)
	}
	tracer := Open(s, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	t.Cleanup(tracer.Close)
	return tracer, func() []message {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func TestSpansReachTheCollector(t *testing.T) {
	tracer, got := collect(t, map[string]string{"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
	parent := Parse("00-"+traceID+"-"+spanID+"-01", "a=b")
	span, own := tracer.Start(parent, "POST /topics/{topic}", Server)
	span.Set(Text("http.route", "/topics/{topic}\xff"), Int("http.response.status_code", 200))
	span.Link(Parse("00-"+strings.Repeat("1", 32)+"-"+spanID+"-01", ""))
	span.Child("produce", Producer, time.Unix(5, 0), time.Second).End()
	span.Fail("why")
	span.End()
	tracer.Close()
	all := got()
	if len(all) != 1 {
		t.Fatalf("%d requests, want 1", len(all))
	}
	scope := all[0].sub(t, 1, 2)
	if len(scope[2]) != 2 {
		t.Fatalf("%d spans, want 2", len(scope[2]))
	}
	child, server := decode(t, scope[2][0].([]byte)), decode(t, scope[2][1].([]byte))
	hexOf := func(v any) string { return hex.EncodeToString(v.([]byte)) }
	if hexOf(server[1][0]) != traceID || hexOf(server[4][0]) != spanID || hexOf(server[2][0]) != hex.EncodeToString(own.Span[:]) || string(server[3][0].([]byte)) != "a=b" || server[6][0] != uint64(Server) {
		t.Errorf("server span %v", server)
	}
	if hexOf(child[1][0]) != traceID || hexOf(child[4][0]) != hexOf(server[2][0]) || child[7][0] != uint64(5e9) || child[8][0] != uint64(6e9) {
		t.Errorf("child span %v", child)
	}
	if status := server.sub(t, 15); status[3][0] != uint64(2) || string(status[2][0].([]byte)) != "why" {
		t.Errorf("status %v", status)
	}
	first := server.sub(t, 9)
	if string(first[1][0].([]byte)) != "http.route" || string(first.sub(t, 2)[1][0].([]byte)) != "/topics/{topic}\ufffd" {
		t.Errorf("attribute %v", first)
	}
	if second := decode(t, server[9][1].([]byte)); second.sub(t, 2)[3][0] != uint64(200) {
		t.Errorf("attribute %v", second)
	}
	if name := all[0].sub(t, 1, 1, 1); string(name[1][0].([]byte)) != "service.name" {
		t.Errorf("resource %v", name)
	}
}

func TestCollectorThatIsBusyGetsThemAgain(t *testing.T) {
	tracer, got := collect(t, nil, http.StatusServiceUnavailable)
	span, _ := tracer.Start(Context{}, "x", Internal)
	span.End()
	for end := time.Now().Add(time.Minute); len(got()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the spans were not sent again")
		}
	}
}

func TestSampling(t *testing.T) {
	sampled, not := Parse("00-"+traceID+"-"+spanID+"-01", ""), Parse("00-"+traceID+"-"+spanID+"-00", "")
	for name, c := range map[string]struct {
		sampler string
		parent  Context
		want    bool
	}{
		"default, no parent": {"", Context{}, true}, "default, sampled": {"", sampled, true}, "default, not sampled": {"", not, false},
		"always_on, not sampled": {"always_on", not, true}, "always_off, sampled": {"always_off", sampled, false},
		"parent, off, sampled": {"parentbased_always_off", sampled, true}, "parent, off, none": {"parentbased_always_off", Context{}, false},
	} {
		s, err := settings(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": c.sampler})
		if err != nil {
			t.Fatal(err)
		}
		span, own := (&Tracer{settings: s}).Start(c.parent, "x", Internal)
		if (span != nil) != c.want || own.Sampled != c.want || !own.Valid() || c.parent.Valid() && own.Trace != c.parent.Trace {
			t.Errorf("%s: sampled %v, %s", name, span != nil, own.Traceparent())
		}
	}
	half := &Tracer{settings: Settings{Ratio: 0.5}}
	n := 0
	for range 10_000 {
		if half.samples(newTraceID()) {
			n++
		}
	}
	if n < 4500 || n > 5500 {
		t.Errorf("%d of 10000 sampled at 0.5", n)
	}
}

func TestNothingWithoutATracer(t *testing.T) {
	var tracer *Tracer
	allocations := testing.AllocsPerRun(100, func() {
		span, own := tracer.Start(Context{}, "x", Server)
		span.Set(Text("a", "b"))
		span.Child("y", Client, time.Time{}, 0).End()
		span.Fail("z")
		span.End()
		if own.Valid() || From(context.Background()).Valid() {
			t.Error("there is a trace")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations, want none", allocations)
	}
	tracer.Close()
}

// TestDeadCollectorCostsNothingButSpans fills the queue of a tracer whose collector
// does not answer.
func TestDeadCollectorCostsNothingButSpans(t *testing.T) {
	var waiting atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		waiting.Add(1)
		<-release
	}))
	defer server.Close()
	defer close(release)
	s, err := settings(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_SCHEDULE_DELAY": "1"})
	if err != nil {
		t.Fatal(err)
	}
	tracer := Open(s, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	for range 10_000 {
		span, _ := tracer.Start(Context{}, "x", Internal)
		span.End()
	}
	tracer.mu.Lock()
	queued := len(tracer.queue)
	tracer.mu.Unlock()
	if queued > 100 {
		t.Errorf("%d spans wait, want at most 100", queued)
	}
	tracer.Close()
}
