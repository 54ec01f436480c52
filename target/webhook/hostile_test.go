package webhook

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// raw answers every connection's first request with the bytes that say writes.
func raw(t *testing.T, say func(w io.Writer, gone <-chan struct{})) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					say(c, gone)
				}
			})
		}
	})
	t.Cleanup(func() { close(gone); _ = l.Close(); all.Wait() })
	return "http://" + l.Addr().String()
}

func TestHostileAnswers(t *testing.T) {
	endless := func(head string) func(io.Writer, <-chan struct{}) {
		return func(w io.Writer, gone <-chan struct{}) {
			_, _ = io.WriteString(w, head)
			for chunk := strings.Repeat("x", 1<<16); ; {
				select {
				case <-gone:
					return
				default:
				}
				if _, err := fmt.Fprintf(w, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
					return
				}
			}
		}
	}
	silent := func(head string) func(io.Writer, <-chan struct{}) {
		return func(w io.Writer, gone <-chan struct{}) {
			_, _ = io.WriteString(w, head)
			<-gone
		}
	}
	// Who waits for what never comes waits as long as it may; all others have the
	// time that a slow machine takes.
	within := func(hangs bool) time.Duration {
		if hangs {
			return time.Second
		}
		return time.Minute
	}
	const silentBody, silentHeaders = "a body that never comes, of a success", "headers that come slowly"
	const chunked = " \r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct {
		name    string
		say     func(io.Writer, <-chan struct{})
		deliver string // ok, again or final
		invoke  string
		status  int
	}{
		{"an endless body of a success", endless("HTTP/1.1 200" + chunked), "ok", "final", 200},
		{"an endless body of a failure", endless("HTTP/1.1 500" + chunked), "again", "again", 500},
		{silentBody, silent("HTTP/1.1 200" + chunked), "ok", "again", 0},
		{"a body that never comes, of a failure", silent("HTTP/1.1 422 \r\nContent-Length: 5\r\n\r\n"), "final", "final", 422},
		{"headers that never end", func(w io.Writer, gone <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 \r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, "again", "again", 0},
		{silentHeaders, silent("HTTP/1.1 200 \r\nX-A: "), "again", "again", 0},
		{"switching protocols", silent("HTTP/1.1 101 \r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), "final", "final", 101},
		{"informational answers without end", func(w io.Writer, _ <-chan struct{}) {
			for {
				if _, err := io.WriteString(w, "HTTP/1.1 103 \r\nLink: x\r\n\r\n"); err != nil {
					return
				}
			}
		}, "again", "again", 0},
		{"an early hint and a success", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n")
		}, "ok", "ok", 204},
		{"a redirect to a metadata address", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 307 \r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n")
		}, "final", "final", 307},
		{"no HTTP at all", func(w io.Writer, _ <-chan struct{}) { _, _ = io.WriteString(w, "SSH-2.0-x\r\n") }, "again", "again", 0},
		{"nothing", func(io.Writer, <-chan struct{}) {}, "again", "again", 0},
		{"a negative length", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 \r\nContent-Length: -5\r\n\r\n")
		}, "again", "again", 0},
		{"a body that breaks off", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 \r\nContent-Length: 50\r\n\r\nabc")
		}, "ok", "again", 0},
		{"a huge Retry-After", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 503 \r\nRetry-After: 99999999999999999999999999\r\nContent-Length: 0\r\n\r\n")
		}, "again", "again", 503},
		{"a Retry-After that says never", func(w io.Writer, _ <-chan struct{}) {
			_, _ = io.WriteString(w, "HTTP/1.1 500 \r\nRetry-After: -1\r\nContent-Length: 0\r\n\r\n")
		}, "final", "final", 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := Config{URL: raw(t, c.say)}
			w := opened(t, config, targettest.Env(t, ""))
			verdict := func(err error) string {
				switch {
				case err == nil:
					return "ok"
				case target.FailureOf(err).Final:
					return "final"
				}
				return "again"
			}
			report := &target.Report{}
			ctx, cancel := context.WithTimeout(target.WithReport(t.Context(), report), within(c.name == silentHeaders))
			defer cancel()
			start := time.Now()
			err := w.Deliver(ctx, []*event.Event{order()})
			if got := verdict(err); got != c.deliver {
				t.Errorf("deliver: %s, want %s: %v", got, c.deliver, err)
			}
			f := target.FailureOf(err)
			if err != nil && f.Status != c.status || f.After > 24*time.Hour || len(f.Response) > 1024 || len(report.Response) > 1024 || report.Status != c.status && c.deliver != "ok" {
				t.Errorf("%d %s, report %d, %d and %d bytes", f.Status, f.After, report.Status, len(f.Response), len(report.Response))
			}
			ctx, cancel = context.WithTimeout(t.Context(), within(c.name == silentHeaders || c.name == silentBody))
			defer cancel()
			// With a transport of its own: the receiver closes connections without a word.
			w = opened(t, config, targettest.Env(t, ""))
			if _, err := w.Invoke(ctx, []*event.Event{order()}); verdict(err) != c.invoke {
				t.Errorf("invoke: want %s: %v", c.invoke, err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestAnswerOfAnInvocation(t *testing.T) {
	body := []byte(`{"a": 1}`)
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	w := opened(t, Config{URL: r.URL}, targettest.Env(t, ""))
	var _ target.Invoker = w
	for _, n := range []int{-1, 0, target.MaxAnswer, target.MaxAnswer + 1} {
		if n >= 0 {
			body = make([]byte, n)
		}
		answer, err := w.Invoke(t.Context(), []*event.Event{order()})
		if tooLarge := n > target.MaxAnswer; tooLarge != (err != nil) || err == nil && string(answer) != string(body) {
			t.Errorf("%d bytes: %d, %v", n, len(answer), err)
		}
	}
}

func TestConflictIsRetriedBySetting(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409) })
	for _, retry := range []bool{false, true} {
		err := deliver(t, opened(t, Config{URL: r.URL, RetryConflict: retry}, targettest.Env(t, "")))
		if f := target.FailureOf(err); err == nil || f.Final == retry {
			t.Errorf("retry_conflict %v: %v, final %v", retry, err, f.Final)
		}
	}
}

func TestFailuresOfABatch(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []int // nil: all was accepted
		whole    bool
	}{
		{"nothing", "", nil, false},
		{"no list", "{}", nil, false},
		{"null", " null ", nil, false},
		{"a list that is null", `{"batchItemFailures":null}`, nil, false},
		{"an empty list", `{"batchItemFailures":[]}`, nil, false},
		{"by name", `{"batchItemFailures":[{"itemIdentifier":"my-topic-3-12"}]}`, []int{2}, false},
		{"by place", `{"batchItemFailures":[{"itemIdentifier":{"partition":"my-topic-3","offset":10}},{"itemIdentifier":{"partition":"my-topic-3","offset":11}}]}`, []int{0, 1}, false},
		{"both, and one twice", `{"batchItemFailures":[{"itemIdentifier":{"partition":"my-topic-3","offset":10}},{"itemIdentifier":"my-topic-3-10"}],"more":1}`, []int{0}, false},
		{"a record of another batch", `{"batchItemFailures":[{"itemIdentifier":"my-topic-3-10"},{"itemIdentifier":"my-topic-3-13"}]}`, nil, true},
		{"an empty name", `{"batchItemFailures":[{"itemIdentifier":""}]}`, nil, true},
		{"no name", `{"batchItemFailures":[{}]}`, nil, true},
		{"a name that is null", `{"batchItemFailures":[{"itemIdentifier":null}]}`, nil, true},
		{"a number", `{"batchItemFailures":[{"itemIdentifier":10}]}`, nil, true},
		{"no offset", `{"batchItemFailures":[{"itemIdentifier":{"partition":"my-topic-3"}}]}`, nil, true},
		{"no list but a text", `{"batchItemFailures":"my-topic-3-10"}`, nil, true},
		{"an array", `[]`, nil, true},
		{"no JSON", `ok`, nil, true},
		{"two values", `{} {}`, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.in) })
			var events []*event.Event
			for offset := range int64(3) {
				e := targettest.Event(10+offset, "k", "1")
				e.Record.Topic = "my-topic"
				events = append(events, e)
			}
			if err := opened(t, Config{URL: r.URL}, targettest.Env(t, "json")).Deliver(t.Context(), events); err != nil {
				t.Errorf("without the setting: %v", err)
			}
			err := opened(t, Config{URL: r.URL, Partial: true}, targettest.Env(t, "json")).Deliver(t.Context(), events)
			var partial *target.PartialError
			var got []int
			if errors.As(err, &partial) {
				for i := range events {
					if partial.Failed[i] != nil {
						got = append(got, i)
					}
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" || c.whole != (err != nil && partial == nil) || target.FailureOf(err).Final {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestRate(t *testing.T) {
	var n atomic.Int64
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	w := opened(t, Config{URL: r.URL, Rate: 50}, targettest.Env(t, ""))
	start := time.Now()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if err := deliver(t, w); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if took := time.Since(start); took < 370*time.Millisecond || took > 30*time.Second {
		t.Errorf("20 requests at 50 a second took %s", took)
	}
	// Where the turn comes too late, it is told when to come back, at once.
	slow := opened(t, Config{URL: r.URL, Rate: 1}, targettest.Env(t, ""))
	if err := deliver(t, slow); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	before := n.Load()
	err := slow.Deliver(ctx, []*event.Event{order()})
	if f := target.FailureOf(err); err == nil || f.Final || f.After <= 0 || f.After > time.Second || n.Load() != before {
		t.Errorf("%v, again in %s", err, f.After)
	}
}

func TestReport(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("said ", 1000)) })
	w := opened(t, Config{URL: r.URL}, targettest.Env(t, ""))
	for i := range 2 {
		report := &target.Report{}
		if err := w.Deliver(target.WithReport(t.Context(), report), []*event.Event{order()}); err != nil {
			t.Fatal(err)
		}
		if report.Status != 200 || len(report.Response) != 1024 || report.Wait <= 0 || (report.Connect > 0) != (i == 0) || report.TLS != 0 {
			t.Errorf("request %d: %+v", i, report)
		}
	}
}

func TestSuiteOfEveryShape(t *testing.T) {
	for name, change := range map[string]func(*Config, *issuer){
		"placeholders": func(c *Config, _ *issuer) {
			c.URL += "/<$.topic>/<$.offset>?k=<$.key>"
			c.Headers = map[string]string{"X-Key": "<$.key>"}
		},
		"a body":     func(c *Config, _ *issuer) { c.Body = &Body{Template: "<$.body>"} },
		"secrets":    func(c *Config, _ *issuer) { c.Auth = &Auth{Basic: &Basic{"a", given("b")}} },
		"signatures": func(c *Config, _ *issuer) { c.Sign = &Sign{} },
		"oauth":      func(c *Config, s *issuer) { c.Auth = s.config().Auth },
		"a rate":     func(c *Config, _ *issuer) { c.Rate = 1000 },
		"partial":    func(c *Config, _ *issuer) { c.Partial = true },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			s := h.subject()
			c := Config{URL: h.URL}
			change(&c, newIssuer(t))
			if c.Sign != nil {
				c.Sign.Secrets = append(c.Sign.Secrets, given("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
			}
			s.Config = c
			targettest.Run(t, s)
		})
	}
}

// discard answers every request with 200 and nothing.
type discard struct{ answer http.Response }

func (d discard) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	answer := d.answer
	return &answer, nil
}

func BenchmarkDeliver(b *testing.B) {
	for name, c := range map[string]Config{
		"plain":        {URL: "http://192.0.2.1/in?x=1"},
		"placeholders": {URL: "http://192.0.2.1/<$.topic>/<$.value.id>?k=<$.key>", Headers: map[string]string{"X-Id": "<$.value.id>"}},
	} {
		b.Run(name, func(b *testing.B) {
			raw, _ := json.Marshal(c)
			env := targettest.Env(b, "")
			env.Transport = discard{http.Response{StatusCode: 200, Body: http.NoBody}}
			tg, err := open(raw, env)
			if err != nil {
				b.Fatal(err)
			}
			events := []*event.Event{order()}
			b.ReportAllocs()
			for b.Loop() {
				if err := tg.Deliver(b.Context(), events); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
