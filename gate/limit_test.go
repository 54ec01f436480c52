package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/throttle"
)

// brokenAddr is the address of a request whose source is not known.
var brokenAddr netip.Addr

func limitsOf(t *testing.T, rules ...throttle.Rule) *Limits {
	t.Helper()
	l := NewLimits(LimitsConfig{Rules: rules}, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	return l
}

// comes is a request of a caller.
func comes(t *testing.T, l *Limits, name string) (*Visit, Principal) {
	t.Helper()
	v := l.Visit(RouteName("POST /topics/{topic}"), "", netip.MustParseAddr("192.0.2.7"), http.Header{"X-Team": {"iot"}}, false)
	who, err := v.Enter(t.Context(), Principal{Name: name, Claims: map[string]any{"sub": "s"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Leave)
	return v, who
}

func TestNothingIsLimitedWithoutLimits(t *testing.T) {
	if l := NewLimits(LimitsConfig{}, nil, prometheus.NewRegistry(), nil); l != nil {
		t.Error("limits of nothing")
	}
	var l *Limits
	v := l.Visit("", "", brokenAddr, nil, false)
	who, err := v.Enter(t.Context(), Principal{Name: "User:a"}, false)
	if v != nil || err != nil || who.Name != "User:a" {
		t.Errorf("%v %v %v", v, who, err)
	}
	if err := v.produce(t.Context(), "t", false); err != nil {
		t.Error(err)
	}
	h := http.Header{}
	v.Header(h, 200)
	v.Failed(errors.New("x"), 400)
	v.Leave()
	l.Close()
	if len(h) > 0 {
		t.Error(h)
	}
}

func TestProducingIsLimited(t *testing.T) {
	c := testCluster(t)
	topic := fmt.Sprintf("limited-%d", time.Now().UnixNano())
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	g := New(c)
	l := limitsOf(t, throttle.Rule{Name: "r", Match: throttle.Match{Op: "produce", Topic: topic}, Key: []string{"principal"}, Records: &throttle.Rate{Rate: 0.001, Burst: 3}})
	produce := func(who string, n int) error {
		_, p := comes(t, l, who)
		var records []*kgo.Record
		for range n {
			records = append(records, &kgo.Record{Value: []byte("v"), Partition: -1})
		}
		_, err := g.Produce(t.Context(), p, topic, records)
		return err
	}
	if err := produce("User:a", 5); err != nil {
		t.Fatalf("what goes into debt: %v", err)
	}
	err := produce("User:a", 1)
	var limited *Limited
	if !errors.As(err, &limited) || Classify(err) != Throttled || limited.Limit != "r" || limited.Quota || limited.Shared || limited.Unit != "records" {
		t.Errorf("got %v", err)
	}
	if err := produce("User:b", 1); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	_, p := comes(t, l, "User:a")
	done := func(error) { t.Error("a refused record was sent") }
	if err := g.Send(t.Context(), p, &kgo.Record{Topic: topic, Partition: -1}, done); Classify(err) != Throttled {
		t.Errorf("Send: %v", err)
	}
	if err := g.SendAll(t.Context(), p, topic, []*kgo.Record{{Partition: -1}}, func() { done(nil) }); Classify(err) != Throttled {
		t.Errorf("SendAll: %v", err)
	}
	ranges, err := c.Ranges(t.Context(), topic)
	if err != nil || ranges[0].End != 6 {
		t.Errorf("%v %v, want 6 records", ranges, err)
	}
}

func TestReadingIsLimited(t *testing.T) {
	c := testCluster(t)
	name := fmt.Sprintf("read-%d", time.Now().UnixNano())
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: name, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Partition: -1, Value: make([]byte, 1000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	topic, err := c.Topic(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	g := New(c)
	read := func(l *Limits, wait time.Duration) error {
		_, who := comes(t, l, "User:a")
		for i := range 2 { // one answer of two pieces is not cut
			got, err := g.Fetch(t.Context(), who, topic, 0, 0, kafka.Limits{Records: 10, Bytes: 1 << 20, Wait: wait})
			if err != nil {
				if i > 0 {
					t.Errorf("an answer was cut: %v", err)
				}
				return err
			}
			if len(got) != 1 {
				t.Errorf("%d records", len(got))
			}
		}
		return nil
	}
	rule := throttle.Rule{Name: "r", Match: throttle.Match{Op: "consume"}, Key: []string{"principal", "topic"}, Bytes: &throttle.ByteRate{Rate: 2000, Burst: 1000}}
	l := limitsOf(t, rule)
	if err := read(l, 0); err != nil {
		t.Fatal(err)
	}
	if err := read(l, 0); Classify(err) != Throttled {
		t.Errorf("in debt: %v", err)
	}
	if err := read(l, 20*time.Second); err != nil {
		t.Errorf("with time to wait: %v", err)
	}
}

func TestWhatTheCallerIsTold(t *testing.T) {
	rule := throttle.Rule{Name: "r", Key: []string{"principal"}, Requests: &throttle.Rate{Rate: 0.1, Burst: 4}}
	tests := []struct {
		name   string
		cfg    RateLimit
		before int
		status int
		want   string
	}{
		{"plenty is left", RateLimit{}, 1, 200, ""},
		{"little is left", RateLimit{}, 4, 200, `Ratelimit: "r";r=0;t=10 Ratelimit-Policy: "r";q=4;w=40`},
		{"always", RateLimit{Headers: "always"}, 1, 200, `Ratelimit: "r";r=3;t=0 Ratelimit-Policy: "r";q=4;w=40`},
		{"refused", RateLimit{}, 5, 429, `Ratelimit: "r";r=0;t=10 Ratelimit-Policy: "r";q=4;w=40 Retry-After: 10`},
		{"as of old", RateLimit{Legacy: true, Headers: "always"}, 2, 200, `Ratelimit: "r";r=2;t=0 Ratelimit-Policy: "r";q=4;w=40 X-Ratelimit-Limit: 4 X-Ratelimit-Remaining: 2 X-Ratelimit-Reset: 0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLimits(LimitsConfig{Rules: []throttle.Rule{rule}, Fields: tt.cfg}, nil, prometheus.NewRegistry(), nil)
			var v *Visit
			for range tt.before {
				v = l.Visit("GET /", "", brokenAddr, nil, false)
				_, _ = v.Enter(t.Context(), Principal{Name: "User:a"}, false)
			}
			h := http.Header{}
			v.Header(h, tt.status)
			var got []string
			for _, name := range []string{"Ratelimit", "Ratelimit-Policy", "Retry-After", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
				value := h.Get(name)
				if name == "Retry-After" && (value == "11" || value == "12") { // jitter, and a wait that is rounded up
					value = "10"
				}
				if value != "" {
					got = append(got, name+": "+value)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	most := func(n int) int { return n - 1 }
	none := func(int) int { return 0 }
	for _, tt := range []struct {
		wait   time.Duration
		jitter func(int) int
		want   int
	}{
		{time.Millisecond, none, 1}, {time.Second, most, 1}, {1100 * time.Millisecond, most, 2}, {10 * time.Second, most, 11}, {10 * time.Second, none, 10}, {time.Minute, most, 66},
	} {
		if got := retryAfter(tt.wait, tt.jitter); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.wait, got, tt.want)
		}
	}
}

func TestWhoIsLimited(t *testing.T) {
	l := limitsOf(t,
		throttle.Rule{Name: "address", Key: []string{"source_ip"}, Requests: &throttle.Rate{Rate: 0.001, Burst: 2}},
		throttle.Rule{Name: "team", Match: throttle.Match{Principal: "User:b"}, Key: []string{"header:X-Team", "claim:sub"}, Requests: &throttle.Rate{Rate: 0.001, Burst: 1}},
	)
	come := func(source, name string, passedOn bool) error {
		v := l.Visit("GET /", "", netip.MustParseAddr(source), http.Header{"X-Team": {"iot"}}, false)
		defer v.Leave()
		if err := v.Arrive(t.Context()); err != nil {
			return err
		}
		_, err := v.Enter(t.Context(), Principal{Name: name, Claims: map[string]any{"sub": "s"}}, passedOn)
		return err
	}
	for i, tt := range []struct {
		source, name string
		passedOn     bool
		want         bool
	}{
		{"192.0.2.1", "User:a", false, true}, {"192.0.2.1", "User:a", false, true}, {"192.0.2.1", "User:a", false, false},
		{"192.0.2.2", "User:b", false, true}, {"192.0.2.3", "User:b", false, false}, {"192.0.2.4", "User:b", true, true},
		{"2001:db8::1", "User:a", false, true}, {"2001:db8::2", "User:a", false, true}, {"2001:db8::3", "User:a", false, false},
	} {
		if err := come(tt.source, tt.name, tt.passedOn); (err == nil) != tt.want || err != nil && Classify(err) != Throttled {
			t.Errorf("%d: %v, want to pass: %v", i, err, tt.want)
		}
	}
}

func TestClaimsAsText(t *testing.T) {
	for want, in := range map[string]any{"": nil, "a": "a", "true": true, `["x"]`: []any{"x"}} {
		if got := claimText(in); got != want {
			t.Errorf("%v: %q, want %q", in, got, want)
		}
	}
}

func TestLimitsThatCannotBe(t *testing.T) {
	var got []string
	report := func(path, _ string) { got = append(got, path) }
	ValidateLimits([]throttle.Rule{{Name: "a"}, {Name: "b"}, {Name: "a"}}, []UsagePlan{{Name: "b"}, {Name: "c"}}, report)
	UsagePlan{Name: "x y", Keys: []string{""}}.Validate(report)
	UsagePlan{Name: "p", Methods: map[string]throttle.Rate{"topics": {Rate: 1}}}.Validate(report)
	Quota{Limit: 1, Offset: 2, Period: "year", Unit: "calls", TZ: "Mars/Olympus"}.Validate(report)
	Quota{}.Validate(report)
	RateLimit{Headers: "never"}.Validate(report)
	want := []string{"limits[2].name", "usage_plans[0].name", "name", "", "keys[0]", "methods.topics", "offset", "period", "unit", "tz", "limit", "period", "headers"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLimitMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	rate := &throttle.Rate{Rate: 0.001, Burst: 1}
	l := NewLimits(LimitsConfig{Rules: []throttle.Rule{{Name: "a", Requests: rate}, {Name: "dry", Requests: rate, Action: "log"}}}, nil, registry, nil)
	for range 3 {
		v := l.Visit("GET /", "", brokenAddr, nil, false)
		_, _ = v.Enter(context.Background(), Principal{}, false)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				got[name] = v
			}
		}
	}
	// A call that is refused is not also one that would have been.
	want := map[string]float64{"klamm_ratelimit_rejected_total a": 2, "klamm_ratelimit_buckets": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
