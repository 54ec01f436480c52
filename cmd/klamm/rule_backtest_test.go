package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/rule"
)

// startKlamm runs klamm until the test ends, and returns its URL and brokers.
func startKlamm(t *testing.T) (server string, brokers []string) {
	t.Helper()
	a := startConfigured(t, config.Default())
	return "http://" + a.Addr(), a.Brokers()
}

// ask sends a request to klamm and returns the answer's body.
func ask(t *testing.T, method, url, media string, body []byte, header ...string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, text, err)
	}
	return string(text)
}

// createTopic creates a topic that no other run has and returns its name and its
// URL in the v3 API.
func createTopic(t *testing.T, server string, partitions int) (name, v3 string) {
	t.Helper()
	var clusters struct {
		Data []struct{ Metadata struct{ Self string } }
	}
	if err := json.Unmarshal([]byte(ask(t, "GET", server+"/v3/clusters", "application/json", nil)), &clusters); err != nil || len(clusters.Data) != 1 {
		t.Fatalf("clusters: %v, %v", clusters, err)
	}
	name = fmt.Sprintf("backtest-%d", time.Now().UnixNano())
	v3 = clusters.Data[0].Metadata.Self + "/topics"
	ask(t, "POST", v3, "application/json", fmt.Appendf(nil, `{"topic_name":%q,"partitions_count":%d,"replication_factor":1}`, name, partitions))
	return name, v3 + "/" + name
}

// backtestRun carries out one backtest and decodes its document.
func backtestRun(t *testing.T, args ...string) (code int, result backtestResult, stderr string) {
	t.Helper()
	code, stdout, stderr := runRule(t, "", append([]string{"backtest", "-o", "json"}, args...)...)
	if stdout != "" {
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		if err := d.Decode(&result); err != nil || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("%q is not one document on one line: %v", stdout, err)
		}
	}
	return code, result, stderr
}

func TestBacktest(t *testing.T) {
	server, brokers := startKlamm(t)
	t.Setenv("KLAMM_SERVER", server)
	topic, _ := createTopic(t, server, 3)
	put := func(partition int, value string, header ...string) {
		ask(t, "POST", fmt.Sprintf("%s/topics/%s/partitions/%d", server, topic, partition), "application/octet-stream", []byte(value), header...)
	}
	put(0, `{"total":5}`, "X-Kafka-Key", "a", "X-Kafka-H-Tenant", "acme")
	put(0, `{"total": 50, "who": "Kim"}`, "X-Kafka-Key", "b")
	put(0, "plain text")
	put(1, "\xff\xfe")
	put(2, `{"total":500}`, "X-Kafka-Key", `{"n":1}`)
	put(2, `[{"total":7},{"total":70}]`)
	put(2, `{"base64":"//4="}x`)
	for _, c := range []struct {
		name                                  string
		pattern                               string
		args                                  []string
		matched, ignored, undecodable, sample int64
	}{
		{"value", `{"value":{"total":[{"numeric":[">",10]}]}}`, nil, 6, 3, 1, 5},
		{"value with the topic", `{"topic":["` + topic + `"],"value":{"total":[{"numeric":[">",10]}]}}`, []string{"--samples", "2"}, 6, 3, 1, 2},
		{"another topic", `{"topic":["x"]}`, nil, 0, 0, 0, 0},
		{"partition and offset", `{"partition":[2],"offset":[{"numeric":["<",2]}]}`, nil, 2, 0, 0, 2},
		{"timestamp", `{"timestamp":[{"numeric":[">",1700000000000]}]}`, nil, 7, 0, 0, 5},
		{"key", `{"key":["a"]}`, nil, 2, 1, 0, 2},
		{"key as JSON", `{"key":{"n":[1]},"value":{"total":[500]}}`, nil, 1, 0, 1, 1},
		{"no key", `{"key":[{"exists":false}]}`, nil, 5, 1, 0, 5},
		{"headers", `{"headers":{"tenant":["acme"]}}`, nil, 1, 0, 0, 1},
		{"text", `{"value":["plain text"]}`, nil, 6, 5, 1, 5},
		{"nothing that a record has", `{"nope":[{"exists":true}]}`, nil, 0, 0, 0, 0},
		{"value as an event", `{"total":[{"numeric":[">",10]}]}`, []string{"--value"}, 2, 0, 4, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, got, stderr := backtestRun(t, append([]string{"--topic", topic, "--pattern", c.pattern}, c.args...)...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			if !got.Complete || got.Records != 7 || got.Matched != c.matched || got.Ignored != c.ignored || got.Undecodable != c.undecodable || int64(len(got.Samples)) != c.sample {
				t.Errorf("got %+v\nwant 7 records, %+v", got, c)
			}
			if want := []backtestRange{{0, 0, 3}, {1, 0, 1}, {2, 0, 3}}; !cmp.Equal(got.Partitions, want) {
				t.Errorf("got partitions %v, want %v", got.Partitions, want)
			}
		})
	}
	t.Run("samples", func(t *testing.T) {
		_, got, _ := backtestRun(t, "--topic", topic, "--pattern", `{"value":{"who":["Kim"]},"partition":[0],"offset":[1]}`)
		if len(got.Samples) != 1 || time.Since(time.UnixMilli(got.Samples[0].Timestamp)).Abs() > time.Minute {
			t.Fatalf("got %+v", got.Samples)
		}
		got.Samples[0].Timestamp = 0
		if want := (backtestSample{Offset: 1, Key: `"b"`, Value: `{"total":50,"who":"Kim"}`}); got.Samples[0] != want {
			t.Errorf("got %+v, want %+v", got.Samples[0], want)
		}
	})
	t.Run("table", func(t *testing.T) {
		code, stdout, stderr := runRule(t, "", "backtest", "--topic", topic, "--pattern", `{"value":{"total":[500]},"offset":[0],"partition":[2]}`)
		for _, want := range []string{"topic " + topic + ", partitions: 3, from ", "records 7\n", "matched 1 14.29 %\n", "undecodable 1\n", "µs per event\n\nPARTITION OFFSET TIME", `{"n":1} {"total":500}` + "\n"} {
			stdout := regexp.MustCompile(" +").ReplaceAllString(stdout, " ")
			if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("exit %d, %q is not in\n%s%s", code, want, stdout, stderr)
			}
		}
	})
	t.Run("without a server", func(t *testing.T) {
		t.Setenv("KLAMM_SERVER", "http://127.0.0.1:1")
		code, got, stderr := backtestRun(t, "--topic", topic, "--pattern", `{"key":["a"],"partition":[0],"offset":[0]}`, "--brokers", strings.Join(brokers, ","))
		if code != 0 || got.Records != 7 || got.Matched != 1 {
			t.Errorf("exit %d %s: got %+v", code, stderr, got)
		}
	})
}

func TestBacktestTimes(t *testing.T) {
	server, _ := startKlamm(t)
	topic, v3 := createTopic(t, server, 1)
	now := time.Now().Truncate(time.Second)
	for hours := 5; hours > 0; hours-- {
		at := now.Add(-time.Duration(hours) * time.Hour).UTC().Format(time.RFC3339)
		ask(t, "POST", v3+"/records:batch", "application/json", fmt.Appendf(nil, `{"entries":[{"id":"1","timestamp":%q,"value":{"type":"JSON","data":{"ago":%d}}}]}`, at, hours))
	}
	for _, c := range []struct {
		name       string
		args       []string
		from, to   int64
		since, end string // of the document; empty: not compared
	}{
		{"everything", []string{"--since", "earliest"}, 0, 5, "earliest", ""},
		{"days", []string{"--since", "1d"}, 0, 5, "", ""},
		{"the last hours", []string{"--since", "150m"}, 3, 5, "", ""},
		{"the default", nil, 5, 5, "", ""},
		{"a sign", []string{"--since", "-3h30m"}, 2, 5, "", ""},
		{"a window", []string{"--since", now.Add(-4 * time.Hour).Format(time.RFC3339), "--until", "90m"}, 1, 4, now.Add(-4 * time.Hour).UTC().Format(time.RFC3339), ""},
		{"nothing there", []string{"--since", "9h", "--until", "8h"}, 0, 0, "", ""},
		{"the future", []string{"--until", now.Add(time.Hour).UTC().Format(time.RFC3339), "--since", "4h30m"}, 1, 5, "", now.Add(time.Hour).UTC().Format(time.RFC3339)},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, got, stderr := backtestRun(t, append([]string{"--server", server + "/", "--topic", topic, "--pattern", `{"value":{"ago":[{"exists":true}]}}`}, c.args...)...)
			if code != 0 || len(got.Partitions) != 1 || got.Partitions[0].From != c.from || got.Partitions[0].To != c.to || got.Matched != c.to-c.from || got.Records != got.Matched {
				t.Errorf("exit %d %s: got %+v, want offsets %d to %d", code, stderr, got, c.from, c.to)
			}
			if c.since != "" && got.Since != c.since || c.end != "" && got.Until != c.end {
				t.Errorf("got %s to %s, want %s to %s", got.Since, got.Until, c.since, c.end)
			}
		})
	}
}

// What is written after the start is not counted, and a server that cannot
// answer for a moment is asked again for what is missing.
func TestBacktestReadsUpToTheEndOfTheStart(t *testing.T) {
	server, _ := startKlamm(t)
	topic, _ := createTopic(t, server, 1)
	const records = 21_000
	fill := func() {
		body := []byte(`{"records":[` + strings.TrimSuffix(strings.Repeat(`{"value":{"a":1}},`, records/3), ",") + `]}`)
		for range 3 { // sizes.records bounds one request
			ask(t, "POST", server+"/topics/"+topic, "application/vnd.kafka.json.v2+json", body)
		}
	}
	fill()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	var pages atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/partitions/") {
			switch pages.Add(1) {
			case 1:
				fill()
			case 2:
				w.Header().Set("Retry-After", "0")
				http.Error(w, `{"error_code":50302,"message":"not now"}`, http.StatusServiceUnavailable)
				return
			case 3: // breaks off
				answer := httptest.NewRecorder()
				r.Header.Del("Accept-Encoding")
				through.ServeHTTP(answer, r)
				w.Header().Set("Klamm-Next", answer.Header().Get("Klamm-Next"))
				w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
				_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
				return
			}
		}
		through.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	code, got, stderr := backtestRun(t, "--server", proxy.URL, "--topic", topic, "--pattern", `{"value":{"a":[1]}}`)
	if code != 0 || got.Records != records || got.Matched != records || !got.Complete || pages.Load() < 4 {
		t.Errorf("exit %d %s: got %+v in %d pages, want %d records", code, stderr, got, pages.Load(), records)
	}
}

// The marks that transactions leave in a log are no records.
func TestBacktestTransactions(t *testing.T) {
	server, brokers := startKlamm(t)
	topic, _ := createTopic(t, server, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(`{"a":1}`), kgo.StringRecord(`{"a":2}`)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	awaitStable(t, kadm.NewClient(client), topic, 9)
	code, got, stderr := backtestRun(t, "--server", server, "--topic", topic, "--pattern", `{"value":{"a":[1]}}`)
	if code != 0 || !got.Complete || got.Records != 6 || got.Matched != 3 || got.Partitions[0].To < 9 {
		t.Errorf("exit %d %s: got %+v, want 6 records of 9 offsets", code, stderr, got)
	}
}

// awaitStable waits until everything before an offset of the topic's only partition
// is committed: Apache Kafka ends a transaction with the client before its mark
// stands in the log.
func awaitStable(t *testing.T, admin *kadm.Client, topic string, offset int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		stable, err := admin.ListCommittedOffsets(t.Context(), topic)
		if last, ok := stable.Lookup(topic, 0); err == nil && ok && last.Offset >= offset {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the log of %s is not stable up to %d: %v, %v", topic, offset, stable, err)
		}
	}
}

func TestBacktestErrors(t *testing.T) {
	server, _ := startKlamm(t)
	topic, _ := createTopic(t, server, 1)
	answering := func(status int, body string, header ...string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	lying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Klamm-Next", "0-0")
		answer := "[]"
		if r.URL.Query().Get("offset") == "latest" {
			w.Header().Set("Klamm-Next", "0-10")
		} else if strings.Contains(r.URL.Path, "/partitions/") {
			answer = `[{"topic":"t","partition":7,"offset":1,"key":null,"value":1,"headers":[]}]`
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer lying.Close()
	const pattern = `{"value":["x"]}`
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // part of the line
	}{
		{"no topic", []string{"--pattern", pattern}, 2, "give the topic with --topic"},
		{"no topic's name", []string{"--topic", "a/b", "--pattern", pattern}, 2, `--topic "a/b" is no topic's name`},
		{"dots", []string{"--topic", "..", "--pattern", pattern}, 2, "is no topic's name"},
		{"no pattern", []string{"--topic", topic}, 2, "give the pattern with --pattern"},
		{"bad pattern", []string{"--topic", topic, "--pattern", `{"value":"x"}`}, 2, `Event pattern is not valid. Reason: "value" must be an object or an array`},
		{"no such file", []string{"--topic", topic, "--pattern", "@nope"}, 2, "--pattern: open nope"},
		{"bad since", []string{"--topic", topic, "--pattern", pattern, "--since", "yesterday"}, 2, `--since "yesterday": want a time`},
		{"since after until", []string{"--topic", topic, "--pattern", pattern, "--since", "1h", "--until", "2h"}, 2, "--since must be before --until"},
		{"bad output", []string{"--topic", topic, "--pattern", pattern, "-o", "xml"}, 2, `--output "xml": want table, wide, json, yaml or name`},
		{"bad samples", []string{"--topic", topic, "--pattern", pattern, "--samples", "-1"}, 2, "--samples -1"},
		{"server and brokers", []string{"--topic", topic, "--pattern", pattern, "--server", server, "--brokers", "a:1"}, 2, "either --server or --brokers"},
		{"bad brokers", []string{"--topic", topic, "--pattern", pattern, "--brokers", "a"}, 2, `--brokers "a" is not HOST:PORT`},
		{"bad server", []string{"--topic", topic, "--pattern", pattern, "--server", "127.0.0.1:8082"}, 2, "--server \"127.0.0.1:8082\" is no URL such as http://127.0.0.1:8082"},
		{"unknown topic", []string{"--topic", "nowhere", "--pattern", pattern, "--server", server}, 1, "there is no topic nowhere at " + server},
		{"no server", []string{"--topic", topic, "--pattern", pattern, "--server", "http://127.0.0.1:1"}, 1, "no klamm answers at http://127.0.0.1:1: dial tcp"},
		{"wrong server", []string{"--topic", topic, "--pattern", pattern, "--server", answering(404, "404 page not found")}, 1, "but not as klamm does"},
		{"a page", []string{"--topic", topic, "--pattern", pattern, "--server", answering(200, "<html>")}, 1, "but not as klamm does"},
		{"elsewhere", []string{"--topic", topic, "--pattern", pattern, "--server", answering(302, "", "Location", server)}, 1, "but not as klamm does"},
		{"a lie about the partition", []string{"--topic", topic, "--pattern", pattern, "--server", answering(200, `[{"topic":"t","partition":7,"offset":1,"key":null,"value":1,"headers":[]}]`, "Klamm-Next", "0-0")}, 1, "but not as klamm does"},
		{"another partition's records", []string{"--topic", topic, "--pattern", pattern, "--server", lying.URL}, 1, "but not as klamm does"},
		{"not a record", []string{"--topic", topic, "--pattern", pattern, "--server", answering(200, `[{"topic":"t"}]`, "Klamm-Next", "0-0")}, 1, "but not as klamm does"},
		{"not allowed", []string{"--topic", topic, "--pattern", pattern, "--server", answering(403, `{"error_code":40301,"message":"no\nway"}`)}, 1, "KLAMM_KEY"},
		{"refused", []string{"--topic", topic, "--pattern", pattern, "--server", answering(422, `{"error_code":422,"message":"no"}`)}, 1, "failed: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := runRule(t, "", append([]string{"backtest"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 || stdout != "" && !strings.Contains(stdout, "not read to its end") {
				t.Errorf("got exit %d, %q, %q; want exit %d, %q", code, stdout, stderr, c.code, c.want)
			}
		})
	}
}

// A signal ends the command with what it has.
func TestBacktestInterrupted(t *testing.T) {
	var stop context.CancelFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Get("since") != "":
			w.Header().Set("Klamm-Next", "0-0")
			_, _ = io.WriteString(w, "[]")
		case query.Get("offset") == "latest":
			w.Header().Set("Klamm-Next", "0-1000")
			_, _ = io.WriteString(w, "[]")
		case query.Get("offset") == "0":
			w.Header().Set("Klamm-Next", "0-1")
			_, _ = io.WriteString(w, `[{"topic":"t","partition":0,"offset":0,"timestamp":1,"key":null,"value":1,"headers":[]}]`)
		default:
			stop()
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	stop = cancel
	cmd := ruleCommand()
	var out bytes.Buffer
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"backtest", "--topic", "t", "--pattern", `{"topic":["t"]}`, "--server", server.URL, "-o", "json"})
	err := cmd.ExecuteContext(ctx)
	var got backtestResult
	if jsonErr := json.Unmarshal(out.Bytes(), &got); jsonErr != nil || err == nil || !strings.Contains(err.Error(), "interrupted") || got.Complete || got.Records != 1 || got.Matched != 1 {
		t.Errorf("got %v, %s", err, out.String())
	}
}

func TestFormOf(t *testing.T) {
	for _, c := range []struct {
		name, in, data string
		form           rule.Form
	}{
		{"null", `null`, `null`, rule.Missing},
		{"object", `{"a":1}`, `{"a":1}`, rule.JSON},
		{"array", `[]`, `[]`, rule.JSON},
		{"text", `"a"`, `"a"`, rule.Text},
		{"number", `5`, `5`, rule.Text},
		{"bytes", `{"base64":"//4="}`, `"//4="`, rule.Binary},
		{"an object that looks like bytes", `{"base64":"YWI="}`, `{"base64":"YWI="}`, rule.JSON},
		{"not base64", `{"base64":"%"}`, `{"base64":"%"}`, rule.JSON},
		{"two members", `{"base64":"//4=","a":"b"}`, `{"base64":"//4=","a":"b"}`, rule.JSON},
		{"JSON that is not UTF-8", `{"base64":"eyJhIjoi/yJ9"}`, "{\"a\":\"\xff\"}", rule.JSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			if data, form := formOf([]byte(c.in)); string(data) != c.data || form != c.form {
				t.Errorf("got %s, %d, want %s, %d", data, form, c.data, c.form)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, []backtestRange{{0, 10, 110}, {3, 0, 100}})
	p.at(0, 50, 40, 1)
	p.clear()
	if out.Len() > 0 {
		t.Errorf("no terminal, but %q", out.String())
	}
	p.w, p.shown, p.calls = &out, time.Time{}, 63
	p.at(3, 49, 150, 7)
	if want := "\r\x1b[K[======================        ]  75 %  150 records, 7 matched"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
