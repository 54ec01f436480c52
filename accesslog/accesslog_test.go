package accesslog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hostile is what a client may put into whatever it chooses.
const hostile = "a\"<&,b\\\r\n\x00\x1b[31m\u2028\xff]]>' ;é"

func entry() *Entry {
	return &Entry{
		Event: "request", RequestID: "id-1", ExtendedID: "id-2", Account: "000000000000", API: "klamm", Stage: "$default", Domain: "a.example.com",
		Method: "GET", Path: "/topics/t", Query: "a=1", Pattern: "/topics/{topic}", Route: "topics.get", Dialect: "confluent/v2", Protocol: "HTTP/1.1",
		Time: time.Date(2026, 11, 5, 7, 8, 9, 12e6, time.FixedZone("", 3600)), Latency: 1500 * time.Microsecond, Status: 200, Sent: 17, Received: 3,
		Identity: Identity{
			Source: "127.0.0.1", UserAgent: "curl/8", Name: "User:alice", Scheme: "jwt", APIKeyID: "k1",
			Claims: map[string]any{"sub": "s-1", "n": json.Number("12"), "list": []any{"x"}}, Context: map[string]string{"tier": "gold"},
			Certificate: &Certificate{PEM: func() string { return "PEM" }, Subject: "CN=dev", Issuer: "CN=ca", Serial: "01:ab", NotBefore: time.Date(2019, 5, 28, 12, 30, 2, 0, time.UTC)},
		},
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Decision: "allow",
		Kafka: Kafka{Topic: "t", Partition: 0, Offset: 0, Placed: true, Records: 2, Bytes: 10, Called: true, Latency: 2 * time.Millisecond},
	}
}

func TestVariables(t *testing.T) {
	for name, want := range map[string]string{
		"requestId": "id-1", "extendedRequestId": "id-2", "domainPrefix": "a", "routeKey": "GET /topics/{topic}", "requestTime": "05/Nov/2026:07:08:09 +0100",
		"requestTimeEpoch": "1793858889012", "status": "200", "responseLength": "17", "responseLatency": "1", "dataProcessed": "20", "integrationLatency": "2",
		"integration.status": "200", "identity.apiKey": "k1", "identity.user": "-", "identity.clientCert.clientCertPem": "PEM", "identity.clientCert.validity.notBefore": "May 28 12:30:02 2019 GMT",
		"authorizer.principalId": "User:alice", "authorizer.claims.sub": "s-1", "authorizer.claims.n": "12", "authorizer.claims.list": `[\"x\"]`, "authorizer.claims.none": "-",
		"authorizer.tier": "gold", "authorizer.none": "-", "xrayTraceId": "1-4bf92f35-77b34da6a3ce929d0e0e4736", "kafka.partition": "0", "kafka.offset": "0", "kafka.records": "2",
		"error.messageString": `"-"`, "waf.status": "-", "policy.decision": "allow", "limit.rule": "-", "tls.version": "-",
	} {
		f, err := Compile("json", "[$context."+name+"].")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(f.Append(nil, entry())); got != "["+want+"].\n" {
			t.Errorf("$context.%s is %q, want %q", name, got, want)
		}
	}
}

// TestMessageStringIsAString checks that a template of JSON takes the message with its
// own quotes and within others.
func TestMessageStringIsAString(t *testing.T) {
	f, err := Compile("json", `{"bare":$context.error.messageString,"within":"$context.error.messageString"}`)
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string][2]string{"": {"-", "-"}, `no "x"`: {`no "x"`, `"no \"x\""`}, strings.Repeat("a", longestValue): {"...", `"` + strings.Repeat("a", longestValue-1) + "..."}} {
		e := entry()
		e.Error.Message = message
		var got struct{ Bare, Within string }
		line := f.Append(nil, e)
		if err := json.Unmarshal(line, &got); err != nil || got.Bare != want[0] || got.Within != want[1] {
			t.Errorf("%.100q: %v %.300s", message, err, line)
		}
	}
	e := entry()
	e.Error.Message = hostile
	var got struct{ Bare, Within string }
	if line := f.Append(nil, e); json.Unmarshal(line, &got) != nil || bytes.Count(line, []byte("\n")) != 1 || got.Bare != strings.ToValidUTF8(hostile, "\ufffd") {
		t.Errorf("%q", line)
	}
}

// TestEveryVariableOfTheSpec compiles each name that gateway-policies.md 5.7 lists.
func TestEveryVariableOfTheSpec(t *testing.T) {
	for _, name := range strings.Fields(`requestId extendedRequestId accountId apiId stage domainName domainPrefix httpMethod path resourcePath resourceId routeKey protocol
		requestTime requestTimeEpoch status responseLength responseLatency integrationLatency integrationStatus integration.error integration.status integration.latency
		integration.requestId integrationErrorMessage error.message error.messageString error.responseType error.validationErrorString identity.sourceIp identity.userAgent
		identity.user identity.userArn identity.caller identity.accountId identity.apiKey identity.apiKeyId identity.principalOrgId identity.clientCert.clientCertPem
		identity.clientCert.subjectDN identity.clientCert.issuerDN identity.clientCert.serialNumber identity.clientCert.validity.notBefore identity.clientCert.validity.notAfter
		authorizer.principalId authorizer.claims.x authorizer.anything authorizer.error authorizer.latency authorizer.status authorizer.integrationLatency
		authorizer.integrationStatus authorizer.requestId authenticate.error authenticate.latency authenticate.status authorize.error authorize.latency authorize.status
		waf.error waf.latency waf.status wafResponseCode customDomain.basePathMatched xrayTraceId dataProcessed kafka.cluster kafka.topic kafka.partition kafka.offset
		kafka.records kafka.bytes kafka.latency kafka.error limit.rule limit.remaining policy.decision policy.statement canary tls.version tls.cipher tls.sni`) {
		f, err := Compile("clf", prefix+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(f.Append(nil, &Entry{})); got == "\n" {
			t.Errorf("%s of nothing is empty, want -", name)
		}
	}
}

func TestHostileValuesStayInTheirPlace(t *testing.T) {
	e := entry()
	e.Path, e.Query, e.RequestID, e.Identity.UserAgent, e.Identity.Caller, e.Error.Message = hostile, hostile, hostile, hostile, hostile, hostile
	for _, name := range names {
		t.Run(name, func(t *testing.T) { checkLine(t, name, e) })
	}
}

// checkLine reads a line back as its format is read.
func checkLine(t *testing.T, name string, e *Entry) {
	t.Helper()
	f, err := Compile(name, "")
	if err != nil {
		t.Fatal(err)
	}
	line := string(f.Append(nil, e))
	body, ok := strings.CutSuffix(line, "\n")
	if !ok || strings.ContainsAny(body, "\r\n\x00\x1b\u2028\u2029\u0085") {
		t.Fatalf("not one line: %q", line)
	}
	switch name {
	case "json":
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if len(e.Path) < longestValue && doc["path"] != string([]rune(e.Path)) && e.Path != "" {
			t.Errorf("path is %q, want %q", doc["path"], e.Path)
		}
	case "csv":
		rows, err := csv.NewReader(strings.NewReader(line)).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 11 {
			t.Errorf("%v: %q", err, rows)
		}
	case "xml":
		if err := xml.Unmarshal([]byte(body), new(struct{})); err != nil {
			t.Errorf("%v: %s", err, body)
		}
	case "clf":
		if n := strings.Count(strings.NewReplacer(`\\`, "", `\"`, "").Replace(body), `"`); n != 2 {
			t.Errorf("%d quotation marks: %s", n, body)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add(hostile, "q="+hostile, "x")
	f.Add(strings.Repeat("é", longestValue), "access_token=x", "")
	f.Fuzz(func(t *testing.T, path, query, agent string) {
		e := entry()
		e.Path, e.Query, e.Identity.UserAgent, e.Identity.Caller = path, query, agent, agent
		for _, name := range names {
			checkLine(t, name, e)
		}
	})
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"a=1&b":                             "a=1&b",
		"access_token=abc&x=1":              "access_token=***&x=1",
		"x=1&Access%5FToken=abc":            "x=1&Access%5FToken=***",
		"X-Amz-Signature=ab&X-Amz-Date=1":   "X-Amz-Signature=***&X-Amz-Date=1",
		"X-Amz-Security-Token=a%2Fb":        "X-Amz-Security-Token=***",
		"access_token=a=b=c":                "access_token=***",
		"access_token=a&access_token=b":     "access_token=***&access_token=***",
		"+access_token=a":                   "+access_token=***",
		"access%5ftoken=a&%zz=1&access_tok": "access%5ftoken=***&%zz=1&access_tok",
	} {
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTemplatesThatCannotBe(t *testing.T) {
	for name, c := range map[string][2]string{
		"format": {"text", ""}, "unknown variable": {"json", "$context.requestIdd"}, "no name": {"json", "$context."}, "two lines": {"json", "a\nb"},
		"too long": {"json", strings.Repeat("x", maxTemplate+1)}, "claim without a name": {"json", "$context.authorizer.claims."},
	} {
		if _, err := Compile(c[0], c[1]); err == nil && name != "claim without a name" {
			t.Errorf("%s: compiled", name)
		}
	}
}

func open(t *testing.T, cfg Config) (*Log, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	l, err := Open(cfg, m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, registry
}

// lost is how many lines were lost.
func lost(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("gathered %v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n := 0
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); n++ {
		if !json.Valid(s.Bytes()) {
			t.Errorf("not JSON: %s", s.Text())
		}
	}
	return n
}

func waitLines(t *testing.T, path string, want int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); lines(t, path) != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has %d lines, want %d", path, lines(t, path), want)
		}
	}
}

func TestFileMayBeMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, registry := open(t, Config{File: path})
	for range 3 {
		l.Write(entry())
	}
	waitLines(t, path, 3)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Write(entry())
	waitLines(t, path, 1)
	waitLines(t, path+".1", 3)
	l.Close()
	l.Write(entry())
	if got := lost(t, registry); got != 1 {
		t.Errorf("%v lines lost, want 1: the one after Close", got)
	}
}

func TestEverythingIsWrittenByClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, registry := open(t, Config{File: path})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				l.Write(entry())
			}
		})
	}
	all.Wait()
	l.Close()
	if got, gone := lines(t, path), lost(t, registry); got != 4000 || gone != 0 {
		t.Errorf("%d lines, %v lost, want 4000 and none", got, gone)
	}
}

// TestSlowDiskDoesNotHoldTraffic writes to a pipe that nobody reads.
func TestSlowDiskDoesNotHoldTraffic(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // a test's
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	format, err := Compile("json", "")
	if err != nil {
		t.Fatal(err)
	}
	l := &Log{format: format, file: w, metrics: m, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	go l.write()
	e := entry()
	e.Path = strings.Repeat("p", 2000)
	const written = 30_000 // far more than the queue and the pipe hold
	for range written {
		l.Write(e)
	}
	if got := lost(t, registry); got == 0 || got >= written {
		t.Errorf("%v of %d lines lost, want some", got, written)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	l.Close()
	<-l.done
	_ = w.Close()
}

func BenchmarkAppend(b *testing.B) {
	f, err := Compile("json", "")
	if err != nil {
		b.Fatal(err)
	}
	e, line := entry(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		line = f.Append(line[:0], e)
	}
}

func TestLinesOfRequestsWithoutAnAnswerAreJSON(t *testing.T) {
	cut := entry()
	cut.Status = 0
	for _, name := range []string{"json", "emf"} {
		f, err := Compile(name, "")
		if err != nil {
			t.Fatal(err)
		}
		var line struct{ Status *int }
		if err := json.Unmarshal(f.Append(nil, cut), &line); err != nil || line.Status == nil || *line.Status != 0 {
			t.Errorf("%s: %s: %v", name, f.Append(nil, cut), err)
		}
	}
}

func TestLinesThatAreMetrics(t *testing.T) {
	type metrics struct {
		Dimensions [][]string
		Metrics    []struct{ Name, Unit string }
	}
	type line struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []metrics
		} `json:"_aws"`
		RequestID string `json:"requestId"`
	}
	stream := entry()
	stream.Event, stream.Status, stream.Kafka = "close", 200, Kafka{}
	opened := entry()
	opened.Event = "open"
	refused := entry()
	refused.Status, refused.Kafka, refused.Dialect, refused.Pattern, refused.Method = 404, Kafka{}, "", "", hostile
	failed := entry()
	failed.Status, failed.Cache = 503, "miss"
	kept := entry()
	kept.Cache, kept.Kafka = "hit", Kafka{}
	tests := []struct {
		name, format string
		entry        *Entry
		want         string // the dimensions' values, and the metrics that are named
	}{
		{"good", "emf", entry(), `confluent/v2 $default GET /topics/{topic} Count=1 4XXError=0 5XXError=0 Latency=1.5 IntegrationLatency=2`},
		{"detailed", "emf_detailed", entry(), `confluent/v2 $default GET /topics/{topic} Count=1 4XXError=0 5XXError=0 Latency=1.5 IntegrationLatency=2`},
		{"refused", "emf", refused, `none $default OTHER none Count=1 4XXError=1 5XXError=0 Latency=1.5`},
		{"failed", "emf", failed, `confluent/v2 $default GET /topics/{topic} Count=1 4XXError=0 5XXError=1 Latency=1.5 IntegrationLatency=2 CacheHitCount=0 CacheMissCount=1`},
		{"kept", "emf", kept, `confluent/v2 $default GET /topics/{topic} Count=1 4XXError=0 5XXError=0 Latency=1.5 CacheHitCount=1 CacheMissCount=0`},
		{"the end of a stream", "emf", stream, `confluent/v2 $default GET /topics/{topic} Count=1 4XXError=0 5XXError=0`},
		{"the beginning of a stream", "emf", opened, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Compile(tt.format, "")
			if err != nil {
				t.Fatal(err)
			}
			text := f.Append(nil, tt.entry)
			var one line
			var all map[string]any
			if err := json.Unmarshal(text, &one); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if err := json.Unmarshal(text, &all); err != nil {
				t.Fatal(err)
			}
			if one.RequestID != "id-1" || one.AWS.Timestamp != 1793858889012 {
				t.Errorf("got %s", text)
			}
			var got []string
			for _, m := range one.AWS.CloudWatchMetrics {
				want := 2
				if tt.format == "emf_detailed" {
					want = 3
				}
				if len(m.Dimensions) != want {
					t.Errorf("dimensions %v", m.Dimensions)
				}
				for _, name := range []string{"ApiName", "Stage", "Method", "Resource"} {
					got = append(got, fmt.Sprint(all[name]))
				}
				for _, one := range m.Metrics {
					got = append(got, fmt.Sprintf("%s=%v", one.Name, all[one.Name]))
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), tt.want)
			}
		})
	}
	if _, err := Compile("emf", "$context.status"); err == nil {
		t.Error("emf with a template is taken")
	}
}
