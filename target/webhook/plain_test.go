package webhook

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	_ "github.com/klamm-gateway/klamm/nametest"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

func TestPlainRequestsHaveNoHeadersOfKlamm(t *testing.T) {
	for _, c := range []struct {
		name, trace string
		close       bool
		want        http.Header
	}{
		{"an X-Ray trace", "Root=1-5759e988-bd862e3fe1be46a994272793", false, http.Header{"X-Amzn-Trace-Id": {"Root=1-5759e988-bd862e3fe1be46a994272793"}}},
		{"a W3C trace", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true, http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Connection": {"close"}}},
		{"no header", "a\r\nb: c", false, http.Header{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, nil)
			w := opened(t, Config{URL: r.URL, Plain: true, CloseConnection: c.close, Headers: map[string]string{
				"User-Agent": "me", "Content-Type": "text/x", "Accept-Encoding": "gzip,deflate", "X-Id": "<$.value.id>", "X-Gone": "<$.value.gone>",
			}}, targettest.Env(t, ""))
			e := order()
			e.Record.Headers = append(e.Record.Headers, kgo.RecordHeader{Key: event.HeaderTrace, Value: []byte(c.trace)})
			e.Body = []byte("{}")
			if err := w.Deliver(t.Context(), []*event.Event{e}); err != nil {
				t.Fatal(err)
			}
			want := c.want.Clone()
			for name, value := range map[string]string{"User-Agent": "me", "Content-Type": "text/x", "Accept-Encoding": "gzip,deflate", "X-Id": "7", "X-Gone": "", "Content-Length": "2"} {
				want[name] = []string{value}
			}
			if diff := cmp.Diff(want, r.last(t).Header); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHostsWithoutAnAddress(t *testing.T) {
	for _, hopeless := range []bool{true, false} {
		w := opened(t, Config{URL: "http://nobody.invalid/", FailUnknownHosts: hopeless}, targettest.Env(t, ""))
		f := target.FailureOf(w.Deliver(t.Context(), []*event.Event{order()}))
		if f.Final != hopeless || f.Unreachable == hopeless || target.ErrorCode(f) != target.CodeConnection {
			t.Errorf("with fail_unknown_hosts: %v: %+v", hopeless, f)
		}
	}
}

// The statuses that rules retry are other ones than those of pipes (event-bus.md 6).
func TestStatusesThatAreRetried(t *testing.T) {
	for _, c := range []struct {
		name         string
		config       Config
		again, final []int
	}{
		{"as rules have it", Config{RetryStatuses: []int{429}, RetryConflict: true}, []int{409, 429, 500, 503, 599}, []int{302, 304, 400, 401, 404, 407, 408, 422, 425}},
		{"without conflicts", Config{RetryStatuses: []int{429}}, []int{429, 500}, []int{409}},
		{"none", Config{RetryStatuses: []int{}}, []int{500}, []int{408, 409, 425, 429}},
		{"as usual", Config{}, []int{408, 425, 429, 500}, []int{409}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var status atomic.Int32
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
			c.config.URL = r.URL
			w := opened(t, c.config, targettest.Env(t, ""))
			for final, all := range map[bool][]int{false: c.again, true: c.final} {
				for _, n := range all {
					status.Store(int32(n))
					err := w.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
					if err == nil || target.FailureOf(err).Final != final {
						t.Errorf("%d: %v, want it to be final: %v", n, err, final)
					}
				}
			}
		})
	}
}

func TestRetryAfterCountsForEveryStatusOfRules(t *testing.T) {
	ofRule := []int{http.StatusTooManyRequests}
	for _, c := range []struct {
		name, after string
		statuses    []int
		want        time.Duration
		final       bool
	}{
		{"seconds", "7", ofRule, 7 * time.Second, false},
		{"seconds, for a pipe", "7", nil, 0, false},
		{"never", "-1", ofRule, 0, true},
		{"nonsense", "soon", ofRule, 0, false},
		{"none", "", ofRule, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(500)
			})
			f := target.FailureOf(opened(t, Config{URL: r.URL, RetryStatuses: c.statuses}, targettest.Env(t, "")).Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")}))
			if f.After != c.want || f.Final != c.final {
				t.Errorf("after %s, final %v", f.After, f.Final)
			}
		})
	}
}

// What dead letters say (event-bus.md 8).
func TestErrorCodes(t *testing.T) {
	var status atomic.Int32
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		n := status.Load()
		if n == 0 {
			<-req.Context().Done()
			return
		}
		w.WriteHeader(int(n))
	})
	for _, c := range []struct {
		name   string
		config Config
		status int
		want   string
	}{
		{"302", Config{URL: r.URL}, 302, target.CodeTarget},
		{"400", Config{URL: r.URL}, 400, target.CodeTarget},
		{"401", Config{URL: r.URL}, 401, target.CodePermissions},
		{"403", Config{URL: r.URL}, 403, target.CodePermissions},
		{"404", Config{URL: r.URL}, 404, target.CodeNoResource},
		{"407", Config{URL: r.URL}, 407, target.CodeTarget},
		{"410", Config{URL: r.URL}, 410, target.CodeNoResource},
		{"429", Config{URL: r.URL}, 429, target.CodeThrottling},
		{"503", Config{URL: r.URL}, 503, target.CodeTarget},
		{"nobody there", Config{URL: "http://127.0.0.1:1"}, 200, target.CodeConnection},
		{"no such name", Config{URL: "http://nobody.invalid/"}, 200, target.CodeConnection},
		{"no answer", Config{URL: r.URL}, 0, target.CodeTimeout},
		{"too few path parameters", Config{URL: r.URL + "/*", PathParameters: []string{}}, 200, target.CodeParameter},
		{"a path that leads elsewhere", Config{URL: r.URL + "/*/x", PathParameters: []string{"<$.value.dots>"}}, 200, target.CodeParameter},
	} {
		t.Run(c.name, func(t *testing.T) {
			status.Store(int32(c.status))
			w := opened(t, c.config, targettest.Env(t, ""))
			ctx := t.Context()
			if c.status == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			err := w.Deliver(ctx, []*event.Event{order()})
			if err == nil || target.ErrorCode(err) != c.want {
				t.Errorf("got %v: %s, want %s", err, target.ErrorCode(err), c.want)
			}
		})
	}
}
