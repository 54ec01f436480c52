package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/throttle"
)

func TestPeriods(t *testing.T) {
	tests := []struct {
		name       string
		quota      Quota
		now        string
		start, end string
	}{
		{"day", Quota{Period: "day"}, "2026-11-21T23:59:59Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"week from Monday", Quota{Period: "week"}, "2026-11-22T12:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"Monday itself", Quota{Period: "week"}, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week over the end of a year", Quota{Period: "week"}, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"month", Quota{Period: "month"}, "2026-12-31T23:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"day of another zone", Quota{Period: "day", TZ: "Europe/Paris"}, "2026-11-21T23:30:00Z", "2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"},
		{"day of 23 hours", Quota{Period: "day", TZ: "Europe/Paris"}, "2027-03-28T12:00:00Z", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			start := tt.quota.start(now)
			got := [2]string{start.UTC().Format(time.RFC3339), tt.quota.end(start).UTC().Format(time.RFC3339)}
			if diff := cmp.Diff([2]string{tt.start, tt.end}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlansOfAKey(t *testing.T) {
	p := newPlanList([]UsagePlan{{Name: "a", Keys: []string{"acme"}}, {Name: "b", Stages: []string{"prod"}, Keys: []string{"acme", "abc12345"}}, {Name: "c"}})
	tests := []struct {
		name  string
		who   Principal
		stage string
		want  []string
	}{
		{"by name", Principal{KeyID: "acme"}, "dev", []string{"a"}},
		{"in its stage", Principal{KeyID: "acme"}, "prod", []string{"a", "b"}},
		{"by id", Principal{KeyID: "abc12345", KeyName: "globex"}, "prod", []string{"b"}},
		{"by the name of a key with an id", Principal{KeyID: "x", KeyName: "acme"}, "dev", []string{"a"}},
		{"by what the key says", Principal{KeyID: "x", KeyName: "y", Plans: []string{"c", "none"}}, "prod", []string{"c"}},
		{"no key", Principal{Name: "User:acme"}, "prod", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, p.of(&tt.who, tt.stage)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func testCluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// process is one klamm process with a usage plan. Its exchanges happen only when they
// are needed.
func process(t *testing.T, c *kafka.Cluster, plan UsagePlan) *Limits {
	t.Helper()
	p := newPlans([]UsagePlan{plan}, c, time.Hour, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(p.close)
	l := &Limits{set: throttle.New(nil), plans: p}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-p.ex.opened:
	case <-ctx.Done():
		t.Fatal("the counters were not read")
	}
	return l
}

var planNumber atomic.Int64

// fresh is a plan that nobody has used.
func fresh(limit int64, unit string) UsagePlan {
	return UsagePlan{Name: fmt.Sprintf("plan%d-%d", time.Now().UnixNano(), planNumber.Add(1)), Keys: []string{"acme"}, Quota: &Quota{Limit: limit, Period: "month", Unit: unit}}
}

// enter makes one request with the key acme.
func enter(t *testing.T, l *Limits) (*Visit, error) {
	t.Helper()
	v := l.Visit("POST /topics/{}", "", brokenAddr, nil, false)
	_, err := v.Enter(t.Context(), Principal{Name: "User:acme", KeyID: "acme"}, false)
	var limited *Limited
	if err != nil && (!errors.As(err, &limited) || !limited.Quota || Classify(err) != Throttled) {
		t.Fatalf("neither in nor over the quota: %v", err)
	}
	return v, err
}

func used(t *testing.T, l *Limits) Usage {
	t.Helper()
	list, err := l.Usage(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	return list[0]
}

func TestQuotaIsKeptInKafka(t *testing.T) {
	c := testCluster(t)
	plan := fresh(30, "")
	first := process(t, c, plan)
	for i := range 20 {
		if _, err := enter(t, first); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := first.plans.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t, first); err != nil {
		t.Fatal(err)
	}
	// The process dies without a word: what it has not exchanged is lost.
	first.plans.ex.table.Load().Close()
	first.plans.close()

	second := process(t, c, plan)
	passed := 0
	for range 25 {
		if _, err := enter(t, second); err == nil {
			passed++
		}
	}
	if passed != 10 {
		t.Errorf("%d of the 10 left have passed", passed)
	}
	u := used(t, second)
	if u.Used != 30 || u.Left != 0 || u.Key != "acme" || u.Plan != plan.Name {
		t.Errorf("got %+v", u)
	}
	// In good order nothing is lost.
	second.Close()
	if u := used(t, process(t, c, plan)); u.Used != 30 {
		t.Errorf("after a stop: %+v", u)
	}
}

// TestReplicasShareAQuota measures by how much they overshoot together when they ask
// as fast as they can.
func TestReplicasShareAQuota(t *testing.T) {
	const limit, replicas = 400, 3
	c := testCluster(t)
	plan := fresh(limit, "")
	var list []*Limits
	for range replicas {
		list = append(list, process(t, c, plan))
	}
	// Who does not know of the others yet takes a share that is too large.
	for _, l := range list {
		for end := time.Now().Add(time.Minute); l.plans.ex.processes.Load() < replicas; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d processes are known of %d", l.plans.ex.processes.Load(), replicas)
			}
		}
	}
	n := passedBy(t, list, 2)
	t.Logf("%d passed of %d", n, limit)
	// What one does not know of the others is at most their shares (docs/usage-plans.md).
	if n < limit || n > limit+limit*(replicas-1)/replicas+replicas {
		t.Errorf("%d passed of %d", n, limit)
	}
	for _, l := range list {
		if _, err := enter(t, l); err == nil {
			t.Error("a request passes after the quota was used up")
		}
	}
}

// passedBy has so many callers of each process call until they are refused, and counts
// what has passed.
func passedBy(t *testing.T, list []*Limits, callers int) int64 {
	t.Helper()
	var passed atomic.Int64
	var all sync.WaitGroup
	for _, l := range list {
		for range callers {
			all.Go(func() {
				for {
					if _, err := enter(t, l); err != nil {
						return
					}
					passed.Add(1)
				}
			})
		}
	}
	all.Wait()
	return passed.Load()
}

func TestQuotaOffsetAndPeriods(t *testing.T) {
	c := testCluster(t)
	plan := fresh(5, "")
	plan.Quota.Offset = 2
	l := process(t, c, plan)
	count := func() (n int) {
		for {
			if _, err := enter(t, l); err != nil {
				return n
			}
			n++
		}
	}
	if n := count(); n != 3 {
		t.Errorf("%d in the first period, which has an offset of 2", n)
	}
	if err := l.plans.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.plans.mu.Lock()
	l.plans.now = func() time.Time { return time.Now().AddDate(0, 2, 0) }
	l.plans.mu.Unlock()
	if n := count(); n != 5 {
		t.Errorf("%d in a later period", n)
	}
	if u := used(t, l); u.Used != 5 || u.Limit != 5 || !u.From.After(time.Now()) {
		t.Errorf("got %+v", u)
	}
}

// What a plan says may change while it counts; what was used still is.
func TestQuotaOfChangedPeriods(t *testing.T) {
	c := testCluster(t)
	now := func() time.Time { return time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC) } // a Thursday
	plan := fresh(10, "")
	tests := []struct {
		name   string
		period string
		tz     string
		limit  int64
		used   int64 // before anything
		passes int64
	}{
		{"a day", "day", "", 4, 0, 4},
		{"its week", "week", "", 7, 4, 3},
		{"its month", "month", "", 9, 7, 2},
		{"its month elsewhere, which began earlier", "month", "Asia/Tokyo", 9, 9, 0},
		{"the day alone", "day", "", 2, 0, 2},
		{"the day alone with more", "day", "", 3, 2, 1},
	}
	for _, tt := range tests {
		quota := *plan.Quota
		quota.Period, quota.TZ, quota.Limit = tt.period, tt.tz, tt.limit
		l := process(t, c, UsagePlan{Name: plan.Name, Keys: plan.Keys, Quota: &quota})
		l.plans.mu.Lock()
		l.plans.now = now
		l.plans.mu.Unlock()
		if u := used(t, l); u.Used != tt.used {
			t.Errorf("%s: %d used at first, want %d", tt.name, u.Used, tt.used)
		}
		passed := int64(0)
		for {
			if _, err := enter(t, l); err != nil {
				break
			}
			passed++
			if err := l.settle(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if passed != tt.passes {
			t.Errorf("%s: %d passed, want %d", tt.name, passed, tt.passes)
		}
		l.Close()
	}
}

// Limits that replace others know what those have counted, whether the plan is the
// same or another.
func TestReplacedQuotaGoesOn(t *testing.T) {
	c := testCluster(t)
	plan := fresh(5, "")
	first := process(t, c, plan)
	for range 3 {
		if _, err := enter(t, first); err != nil {
			t.Fatal(err)
		}
	}
	next := func(l *Limits, plan UsagePlan) *Limits {
		n := l.Next(t.Context(), LimitsConfig{Plans: []UsagePlan{plan}}, c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		t.Cleanup(n.Close)
		return n
	}
	same := next(first, plan)
	first.Close()
	first.Close() // which must not close what the next one goes on with
	if same.plans != first.plans || used(t, same).Used != 3 {
		t.Errorf("the next one has other counters: %+v", used(t, same))
	}
	if _, err := enter(t, same); err != nil {
		t.Error(err)
	}
	if err := same.settle(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	quota := *plan.Quota
	quota.Limit = 6
	plan.Quota = &quota
	if u := used(t, next(same, plan)); u.Used != 4 || u.Limit != 6 {
		t.Errorf("with another limit: %+v, want 4 of 6", u)
	}
}

// Buckets of rules that are as they were stay as they are, and the others begin full.
func TestReplacedRulesKeepTheirBuckets(t *testing.T) {
	rule := func(name string, burst float64) throttle.Rule {
		return throttle.Rule{Name: name, Match: throttle.Match{Principal: "User:" + name}, Key: []string{"principal"}, Requests: &throttle.Rate{Rate: 0.001, Burst: burst}}
	}
	l := limitsOf(t, rule("a", 1), rule("b", 1))
	for _, name := range []string{"User:a", "User:b"} {
		comes(t, l, name)
	}
	next := l.Next(t.Context(), LimitsConfig{Rules: []throttle.Rule{rule("new", 1), rule("b", 2), rule("a", 1)}}, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(next.Close)
	l.Close()
	passed := map[string]int{}
	for _, name := range []string{"User:new", "User:b", "User:a"} {
		for range 3 {
			v := next.Visit("", "", brokenAddr, http.Header{}, false)
			if _, err := v.Enter(t.Context(), Principal{Name: name}, false); err == nil {
				passed[name]++
			}
			v.Leave()
		}
	}
	if diff := cmp.Diff(map[string]int{"User:new": 1, "User:b": 2}, passed); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if none := next.Next(t.Context(), LimitsConfig{}, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); none != nil {
		t.Error("limits of nothing")
	}
}

// A file that is read again while no broker answers is not held up for long.
func TestReplacedQuotaWithoutBrokers(t *testing.T) {
	l := newPlanList([]UsagePlan{fresh(5, "")})
	l.ex.opened, l.ex.now, l.ex.done = make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
	l.counters[counterKey{l.list[0], "acme"}] = &counter{counterKey: counterKey{l.list[0], "acme"}, waiting: 1}
	if err := (&Limits{plans: l}).settle(t.Context(), time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestRefusedRequestsAreRefunded(t *testing.T) {
	c := testCluster(t)
	l := process(t, c, fresh(10, ""))
	never := false
	strict := fresh(10, "")
	strict.Quota.RefundOnReject = &never
	kept := process(t, c, strict)
	for _, tt := range []struct {
		name   string
		l      *Limits
		err    error
		status int
		want   int64
	}{
		{"klamm's own refusal", l, &Error{Invalid, "no"}, 400, 0},
		{"one of a dialect", l, errors.New("records must not be empty"), 422, 0},
		{"a limit's", l, &Limited{message: "later"}, 429, 0},
		{"the broker's", l, kerr.UnknownTopicOrPartition, 404, 1},
		{"klamm's fault", l, errors.New("broken"), 500, 2},
		{"an overload", l, &Error{Unavailable, "later"}, 503, 3},
		{"where nothing is refunded", kept, &Error{Invalid, "no"}, 400, 1},
	} {
		v, err := enter(t, tt.l)
		if err != nil {
			t.Fatal(err)
		}
		v.Failed(tt.err, tt.status)
		v.Failed(tt.err, tt.status)
		if u := used(t, tt.l); u.Used != tt.want {
			t.Errorf("%s: %d are used, want %d", tt.name, u.Used, tt.want)
		}
	}
}

func TestQuotasOfRecordsAndBytes(t *testing.T) {
	c := testCluster(t)
	l := process(t, c, fresh(100, quotaBytes))
	v, err := enter(t, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.spend(t.Context(), quotaBytes, 60); err != nil {
		t.Fatal(err)
	}
	if err := v.spend(t.Context(), quotaBytes, 60); Classify(err) != Throttled {
		t.Errorf("120 of 100: %v", err)
	}
	// What is read is known only afterwards.
	if err := v.left(t.Context(), quotaBytes); err != nil {
		t.Error(err)
	}
	v.count(quotaBytes, 200)
	if err := v.left(t.Context(), quotaBytes); Classify(err) != Throttled {
		t.Errorf("nothing left: %v", err)
	}
	if err := v.left(t.Context(), quotaRecords); err != nil {
		t.Errorf("another unit: %v", err)
	}
}

func TestUsageOfNoPlan(t *testing.T) {
	var none *Limits
	if list, err := none.Usage(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := none.Usage(t.Context(), "x"); Classify(err) != NotFound {
		t.Error(err)
	}
}

func TestWhatTheCallerIsToldOfAQuota(t *testing.T) {
	now := time.Date(2026, 11, 22, 18, 0, 0, 500, time.UTC)
	tests := []struct {
		name   string
		quota  Quota
		used   int64
		policy string
		limit  string
	}{
		{"of a day", Quota{Limit: 10, Period: "day"}, 10, `"p-quota";q=10;w=86400`, `"p-quota";r=0;t=21600`},
		{"of bytes, with some left", Quota{Limit: 10, Period: "week", Unit: quotaBytes}, 4, `"p-quota";q=10;w=604800;qu="content-bytes"`, `"p-quota";r=6;t=0`},
		{"of records, in the first period", Quota{Limit: 10, Offset: 3, Period: "month", Unit: quotaRecords}, 9, `"p-quota";q=7;w=2592000;qu="klamm-records"`, `"p-quota";r=0;t=712800`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &counter{counterKey: counterKey{&plan{UsagePlan: UsagePlan{Name: "p", Quota: &tt.quota}}, "acme"}, used: tt.used, period: tt.quota.start(now)}
			v := (&Limits{set: throttle.New(nil)}).Visit("GET /", "", brokenAddr, nil, false)
			_ = v.limit(c.exceeded(now))
			h := http.Header{}
			v.Header(h, http.StatusTooManyRequests)
			if diff := cmp.Diff([]string{tt.policy, tt.limit}, []string{h.Get("Ratelimit-Policy"), h.Get("Ratelimit")}); diff != "" {
				t.Error(diff)
			}
			if h.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}
