package throttle

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// clocked returns a set whose clock the test moves, in seconds.
func clocked(rules ...Rule) (s *Set, at func(seconds float64)) {
	s = New(rules)
	now := s.start
	s.now = func() time.Time { return now }
	return s, func(seconds float64) { now = s.start.Add(time.Duration(math.Round(seconds * 1e9))) }
}

// once asks for a request of its own, which is over then.
func once(t testing.TB, s *Set, c *Call, stage Stage, records, bytes int) *Refusal {
	v := s.Visit()
	defer v.Leave()
	return v.Take(t.Context(), c, stage, records, bytes)
}

// The traces of gateway-policies.md 3.2.
func TestTraces(t *testing.T) {
	type step struct {
		at     float64
		n      int
		passes bool
		tokens float64
		retry  int
	}
	tests := []struct {
		name  string
		rule  Rule
		stage Stage
		steps []step
	}{
		{"requests", Rule{Name: "r", Requests: &Rate{10, 5}}, OfRequest, []step{
			{0, 1, true, 4, 0}, {0, 1, true, 3, 0}, {0, 1, true, 2, 0}, {0, 1, true, 1, 0}, {0, 1, true, 0, 0},
			{0, 1, false, 0, 1}, {0.05, 1, false, 0.5, 1}, {0.1, 1, true, 0, 0}, {0.1, 1, false, 0, 1}, {1, 1, true, 4, 0},
		}},
		{"bytes", Rule{Name: "b", Bytes: &ByteRate{1000, 2000}}, OfOperation, []step{
			{0, 1500, true, 500, 0}, {0, 3000, true, -2500, 0}, {0, 10, false, -2500, 3}, {2.4, 10, false, -100, 1}, {2.6, 10, true, 90, 0},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, at := clocked(tt.rule)
			for i, step := range tt.steps {
				at(step.at)
				v := s.Visit()
				refusal := v.Take(t.Context(), &Call{}, tt.stage, 0, step.n)
				if (refusal == nil) != step.passes || refusal != nil && refusal.RetryAfter() != step.retry {
					t.Errorf("step %d: %v, want %+v", i, refusal, step)
				}
				v.Leave()
				var tokens float64
				for j := range s.buckets.shard {
					for _, b := range s.buckets.shard[j].buckets {
						tokens = b.tokens
					}
				}
				if math.Abs(tokens-step.tokens) > 1e-6 {
					t.Errorf("step %d: %v tokens, want %v", i, tokens, step.tokens)
				}
			}
		})
	}
}

func TestAllOrNone(t *testing.T) {
	s, at := clocked(
		Rule{Name: "all", Records: &Rate{10, 100}},
		Rule{Name: "topic", Match: Match{Topic: "a*"}, Records: &Rate{1, 1}, Bytes: &ByteRate{10, 10}},
	)
	call := &Call{Topic: "ab"}
	take := func() *Refusal { return once(t, s, call, OfOperation, 50, 20) }
	if r := take(); r != nil {
		t.Fatal(r)
	}
	// The bucket that takes longest to fill is named; the one that would have
	// passed is left as it was.
	r := take()
	if r == nil || r.Rule != "topic" || r.Unit != Records || r.RetryAfter() != 50 {
		t.Errorf("got %+v", r)
	}
	if len(r.States) != 3 || r.States[0].Remaining != 50 {
		t.Errorf("got %+v", r.States)
	}
	at(51)
	if r := take(); r != nil {
		t.Error(r)
	}
}

func TestWhatIsRefusedCostsNoConcurrency(t *testing.T) {
	s, _ := clocked(Rule{Name: "c", Concurrency: 1, Key: []string{"principal"}}, Rule{Name: "r", Requests: &Rate{1, 2}})
	alice, bob := &Call{Principal: "User:alice"}, &Call{Principal: "User:bob"}
	first := s.Visit()
	if refusal := first.Take(t.Context(), alice, OfRequest, 0, 0); refusal != nil {
		t.Fatal(refusal)
	}
	if r := once(t, s, alice, OfRequest, 0, 0); r == nil || r.Unit != Concurrency {
		t.Errorf("a second one at once: %v", r)
	}
	first.Leave()
	first.Leave()
	if r := once(t, s, bob, OfRequest, 0, 0); r != nil {
		t.Error(r)
	}
	if r := once(t, s, alice, OfRequest, 0, 0); r == nil || r.Unit != Requests {
		t.Errorf("without tokens: %v", r)
	}
	if len(s.under.n) != 0 {
		t.Errorf("still under way: %v", s.under.n)
	}
}

func TestStreams(t *testing.T) {
	s, _ := clocked(Rule{Name: "s", Streams: 1})
	open := s.Visit()
	defer open.Leave()
	if r := open.Take(t.Context(), &Call{Stream: true}, OfRequest, 0, 0); r != nil {
		t.Fatal(r)
	}
	if r := once(t, s, &Call{Stream: true}, OfRequest, 0, 0); r == nil || r.Unit != Streams {
		t.Errorf("got %v", r)
	}
	if r := once(t, s, &Call{}, OfRequest, 0, 0); r != nil {
		t.Error(r)
	}
}

// In the time of a bubble, which stands still while a caller is not delayed.
func TestActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New([]Rule{
			{Name: "delay", Match: Match{Principal: "User:d*"}, Action: "delay", DelayMax: 5 * time.Second, Requests: &Rate{100, 1}},
			{Name: "short", Match: Match{Principal: "User:s"}, Action: "delay", DelayMax: time.Millisecond, Requests: &Rate{0.1, 1}},
			{Name: "log", Match: Match{Principal: "User:l"}, Action: "log", Requests: &Rate{0.001, 1}, Concurrency: 1},
		})
		take := func(who string) *Refusal { return s.Visit().Take(t.Context(), &Call{Principal: who}, OfRequest, 0, 0) }
		for i := range 5 {
			if r := take("User:d1"); r != nil {
				t.Errorf("delayed call %d: %v", i, r)
			}
		}
		if r := take("User:s"); r != nil {
			t.Error(r)
		}
		if r := take("User:s"); r == nil {
			t.Error("waited longer than it may")
		}
		for range 3 {
			if r := take("User:l"); r != nil {
				t.Error(r)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r := s.Visit().Take(ctx, &Call{Principal: "User:d1"}, OfRequest, 0, 0); r == nil {
			t.Error("waited for a caller who has gone")
		}
		got := map[string][3]int64{}
		for _, r := range s.Stats().Rules {
			got[r.Name] = [3]int64{r.Rejected, r.Delayed, r.WouldBe}
		}
		want := map[string][3]int64{"delay": {1, 5, 0}, "short": {1, 0, 0}, "log": {0, 0, 4}}
		got["short"] = [3]int64{got["short"][0], 0, 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCharge(t *testing.T) {
	s, at := clocked(Rule{Name: "readers", Match: Match{Op: "consume"}, Key: []string{"principal", "group"}, Bytes: &ByteRate{10, 10}})
	c := &Call{Op: "consume", Principal: "User:a", Group: "g"}
	if r := once(t, s, c, OfOperation, 0, 0); r != nil {
		t.Fatal(r)
	}
	if wait := s.Visit().Charge(c, 3, 30); wait < 2*time.Second || wait > 3*time.Second {
		t.Errorf("owes for %s", wait)
	}
	if r := once(t, s, c, OfOperation, 0, 0); r == nil || r.RetryAfter() != 3 {
		t.Errorf("got %+v", r)
	}
	other := *c
	other.Group = "h"
	if r := once(t, s, &other, OfOperation, 0, 0); r != nil {
		t.Errorf("another bucket: %v", r)
	}
	at(2.2)
	if r := once(t, s, c, OfOperation, 0, 0); r != nil {
		t.Error(r)
	}
}

func TestWindow(t *testing.T) {
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339, s); return v }
	r := New([]Rule{{Name: "w", Requests: &Rate{1, 1}, Active: &Window{"2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z"}}}).stages[OfRequest].rest[0]
	for when, want := range map[string]bool{"2026-11-26T23:59:59Z": false, "2026-11-27T00:00:00Z": true, "2026-11-29T23:59:59Z": true, "2026-11-30T00:00:00Z": false} {
		if got := r.applies(&Call{}, at(when)); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
}

func TestKeys(t *testing.T) {
	call := Call{
		Route: "GET /x", Stage: "prod", Topic: "t", Group: "g", Partition: 3, Principal: "User:p", APIKey: "k", Subject: "CN=s",
		Source: netip.MustParseAddr("2001:db8:1:2:3::4"),
		Header: func(n string) string { return "h" + n }, Claim: func(n string) string { return "c" + n },
	}
	want := map[string]string{
		"route": "GET /x", "stage": "prod", "topic": "t", "group": "g", "partition": "3", "principal": "User:p", "api_key": "k", "client_cert_subject": "CN=s",
		"source_ip": "2001:db8:1:2::/64", "ip_prefix": "2001:db8:1::/48", "header:X": "hX", "claim:sub": "csub",
	}
	for k, want := range want {
		if got := part(k)(&call); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	for address, want := range map[string]string{"10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3": "10.1.2.3/32", "": ""} {
		a, _ := netip.ParseAddr(address)
		if got := network(a, 32, 64); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	for _, k := range []string{"header:X", "claim:X"} {
		if got := part(k)(&Call{}); got != "" {
			t.Errorf("%s of nothing: %q", k, got)
		}
	}
}

func TestFields(t *testing.T) {
	s, _ := clocked(
		Rule{Name: "per-device", Requests: &Rate{5, 10}, Match: Match{Op: "produce"}},
		Rule{Name: "telemetry-topic", Match: Match{Topic: "iot.*"}, Bytes: &ByteRate{20 << 20, 40 << 20}, Records: &Rate{0.5, 0}},
	)
	call := &Call{Op: "produce", Topic: "iot.a"}
	p := s.Visit()
	if refusal := p.Take(t.Context(), call, OfOperation, 1, 100); refusal != nil {
		t.Fatal(refusal)
	}
	policy, limit := Fields(p.States(), true)
	if want := `"per-device";q=10;w=2, "telemetry-topic";q=1;w=2;qu="klamm-records", "telemetry-topic-bytes";q=41943040;w=2;qu="content-bytes"`; policy != want {
		t.Errorf("got %s", policy)
	}
	if want := `"per-device";r=9;t=0, "telemetry-topic";r=0;t=2, "telemetry-topic-bytes";r=41942940;t=0`; limit != want {
		t.Errorf("got %s", limit)
	}
	if p.States()[0].Low() || !p.States()[1].Low() {
		t.Errorf("low: %+v", p.States())
	}
}

// The window is whole where the rate is a fraction that no binary number is.
func TestWindowOfFractions(t *testing.T) {
	for _, tt := range []struct {
		rate, burst float64
		want        int64
	}{{0.29, 29, 100}, {0.05, 3, 60}, {0.7, 7, 10}, {3, 1, 1}, {0.3, 1, 4}, {10, 101, 11}} {
		l := &limit{rule: &rule{}, rate: rate{tt.rate, tt.burst}}
		if got := stateOf(l, key{}, 0).Window; got != tt.want {
			t.Errorf("%v of %v a second: %d, want %d", tt.burst, tt.rate, got, tt.want)
		}
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name string
		rule Rule
		want []string
	}{
		{"fine", Rule{Name: "a", Requests: &Rate{1, 0}}, nil},
		{"empty", Rule{}, []string{"name", ""}},
		{"match", Rule{Name: "a", Streams: 1, Match: Match{Op: "put", Route: "/x"}}, []string{"match.op", "match.route"}},
		{"keys", Rule{Name: "a", Streams: 1, Key: []string{"principal", "header:", "who"}}, []string{"key[1]", "key[2]"}},
		{"numbers", Rule{Name: "a", Streams: -1, Concurrency: 2_000_000}, []string{"concurrency", "streams"}},
		{"action", Rule{Name: "a", Streams: 1, Action: "refuse", DelayMax: time.Minute}, []string{"action", "delay_max", "delay_max"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := map[string]int{}
			tt.rule.Validate(func(path, _ string) { seen[path]++ })
			for _, w := range tt.want {
				seen[w]--
			}
			for path, n := range seen {
				if n != 0 {
					t.Errorf("%q: %+d", path, n)
				}
			}
		})
	}
	for name, validate := range map[string]func(func(string, string)){
		"rate": Rate{}.Validate, "burst": Rate{1, 0.5}.Validate, "nan": Rate{math.NaN(), 0}.Validate, "bytes": ByteRate{0, -1}.Validate,
		"from": Window{"x", ""}.Validate, "to": Window{"2026-01-01T00:00:00Z", "x"}.Validate, "order": Window{"2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"}.Validate,
	} {
		found := false
		validate(func(string, string) { found = true })
		if !found {
			t.Errorf("%s: no problem", name)
		}
	}
}

func TestEviction(t *testing.T) {
	s, at := clocked(Rule{Name: "k", Key: []string{"principal"}, Requests: &Rate{0.001, 1}})
	s.buckets.most = 4
	for i := range 4 * shards * 2 {
		at(float64(i) / 1000)
		if r := once(t, s, &Call{Principal: fmt.Sprint("User:", i)}, OfRequest, 0, 0); r != nil {
			t.Fatal(r)
		}
	}
	stats := s.Stats()
	if stats.Buckets > 4*shards || stats.Evicted == 0 || stats.Evicted < int64(4*shards*2-stats.Buckets) {
		t.Errorf("got %+v", stats)
	}
	// The last caller is still remembered.
	if r := once(t, s, &Call{Principal: fmt.Sprint("User:", 4*shards*2-1)}, OfRequest, 0, 0); r == nil {
		t.Error("the newest bucket was dropped")
	}
}

// TestStoreKeepsTheNewest compares a shard with a plain list.
func TestStoreKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 5
		s := newStore(most*shards, func() {})
		var order []uint64
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			k := rapid.Uint64Range(0, 9).Draw(t, "key")
			i := s.find(key{0, k}, rate{1, 1}, 0)
			if got := s.shard[0].buckets[i].key[1]; got != k {
				t.Fatalf("bucket of %d for %d", got, k)
			}
			next := []uint64{k}
			for _, o := range order {
				if o != k && len(next) < most {
					next = append(next, o)
				}
			}
			order = next
			var got []uint64
			for i := s.shard[0].newest; i != none; i = s.shard[0].buckets[i].older {
				got = append(got, s.shard[0].buckets[i].key[1])
			}
			if diff := cmp.Diff(order, got); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// TestIndex compares what the index finds with a look at every rule.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		var rules []Rule
		for i := range rapid.IntRange(1, 12).Draw(t, "rules") {
			r := Rule{Name: fmt.Sprint(i), Records: &Rate{1, 1}}
			r.Match.Topic = some("topic", "", "a", "ab", "a*", "ab*", "*b", "a*b", "*")
			r.Match.Principal = some("principal", "", "User:x", "User:*", "*:x", "*")
			r.Match.Group = some("group", "", "", "c", "c*", "*")
			r.Match.Route = some("route", "", "GET /a")
			r.Match.Op = some("op", "", "produce")
			r.Match.GroupsAny = rapid.SliceOfN(rapid.SampledFrom([]string{"g", "h"}), 0, 2).Draw(t, "groups")
			rules = append(rules, r)
		}
		s := New(rules)
		c := &Call{Topic: some("t", "", "a", "ab", "b", "abb"), Principal: some("p", "User:x", "User:y"), Route: some("r", "GET /a", "GET /b"), Op: some("o", "produce", "consume"), Group: some("c", "", "c", "cd")}
		c.Groups = rapid.SliceOfN(rapid.SampledFrom([]string{"g", "h", "i"}), 0, 3).Draw(t, "of")
		got := map[string]int{}
		s.stages[OfOperation].each(c, func(r *rule) {
			if r.applies(c, time.Now()) {
				got[r.spec.Name]++
			}
		})
		want := map[string]int{}
		for _, spec := range rules {
			if (&rule{spec: spec}).applies(c, time.Now()) {
				want[spec.Name] = 1
			}
		}
		// A caller who is twice in the same group would meet a rule twice.
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		classOf(t, rules, c)
	})
}

// classOf compares the class of a call with that of the first rule that means it.
func classOf(t *rapid.T, rules []Rule, c *Call) {
	t.Helper()
	var of []ClassRule
	names := []string{"bulk", "critical", "normal"}
	want := Normal
	for i, r := range rules {
		of = append(of, ClassRule{Match: r.Match, Class: names[i%3]})
	}
	for i := range of {
		if of[i].Match.applies(c) {
			want = classNames[of[i].Class]
			break
		}
	}
	if got := NewClasses(of).Of(c); got != want {
		t.Fatalf("class %d, want %d", got, want)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b*", "axxb")
	f.Add("*", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if strings.Contains(pattern, "\n") || strings.ToValidUTF8(pattern, "") != pattern || strings.ToValidUTF8(text, "") != text {
			return
		}
		want := regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`).MatchString(text)
		if got := glob(pattern, text); got != want {
			t.Errorf("%q, %q: %v, want %v", pattern, text, got, want)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	s := New([]Rule{{Name: "r", Requests: &Rate{1, 100}, Concurrency: 8}, {Name: "k", Key: []string{"principal"}, Requests: &Rate{1, 60}}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for w := range 8 {
		wg.Go(func() {
			for range 100 {
				if once(t, s, &Call{Principal: fmt.Sprint(w % 2)}, OfRequest, 0, 0) == nil {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed < 100 || passed > 101 || len(s.under.n) != 0 {
		t.Errorf("%d passed, %v under way", passed, s.under.n)
	}
}

// BenchmarkTake shows that ten thousand rules cost a call no more than ten, whatever they
// are about.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		for _, about := range []struct {
			name  string
			match func(i int) Match
		}{
			{"topics", func(i int) Match { return Match{Topic: fmt.Sprint("topic-", i)} }},
			{"topic patterns", func(i int) Match { return Match{Topic: fmt.Sprintf("%d-*", i)} }},
			{"groups", func(i int) Match { return Match{Group: fmt.Sprint("group-", i)} }},
			{"principals", func(i int) Match { return Match{Principal: fmt.Sprintf("User:%d-*", i)} }},
		} {
			var rules []Rule
			var classes []ClassRule
			for i := range n {
				rules = append(rules, Rule{Name: fmt.Sprint(i), Match: about.match(i), Key: []string{"principal"}, Records: &Rate{1e9, 1e9}, Bytes: &ByteRate{1 << 40, 1 << 40}})
				classes = append(classes, ClassRule{Match: about.match(i), Class: "bulk"})
			}
			s, of := New(rules), NewClasses(classes)
			c := &Call{Topic: "topic-7", Principal: "User:7-x", Group: "group-7"}
			if about.name == "topic patterns" {
				c.Topic = "7-x"
			}
			b.Run(fmt.Sprintf("%s/%d", about.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if of.Of(c) != Bulk {
						b.Fatal("not found")
					}
					once(b, s, c, OfOperation, 1, 100)
				}
			})
		}
	}
	s := New([]Rule{{Name: "k", Key: []string{"principal"}, Requests: &Rate{1, 1}}})
	b.Run("a million keys", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			once(b, s, &Call{Principal: fmt.Sprint("User:", i%2_000_000)}, OfRequest, 0, 0)
		}
	})
}

func TestFieldsOfWhatGoesOnAtOnce(t *testing.T) {
	s, _ := clocked(
		Rule{Name: "both", Requests: &Rate{5, 10}, Concurrency: 2},
		Rule{Name: "s", Streams: 3, Key: []string{"principal"}},
	)
	visits := make([]*Visit, 3)
	for i, want := range []struct{ policy, limit string }{
		{`"both";q=10;w=2, "both-concurrency";q=2;w=1;qu="concurrent-requests"`, `"both";r=9;t=0, "both-concurrency";r=2;t=0`},
		{`"both";q=10;w=2, "both-concurrency";q=2;w=1;qu="concurrent-requests"`, `"both";r=8;t=0, "both-concurrency";r=1;t=0`},
		// The bucket of requests was not asked any more.
		{`"both-concurrency";q=2;w=1;qu="concurrent-requests"`, `"both-concurrency";r=0;t=1`},
	} {
		visits[i] = s.Visit()
		refusal := visits[i].Take(t.Context(), &Call{}, OfRequest, 0, 0)
		if refused := refusal != nil; refused != (i == 2) {
			t.Errorf("call %d: %v", i, refusal)
		}
		if policy, limit := Fields(visits[i].States(), false); policy != want.policy || limit != want.limit {
			t.Errorf("call %d: got %s and %s, want %+v", i, policy, limit, want)
		}
	}
	for _, v := range visits {
		v.Leave()
	}

	stream := s.Visit()
	defer stream.Leave()
	if refusal := stream.Take(t.Context(), &Call{Stream: true}, OfRequest, 0, 0); refusal != nil {
		t.Fatal(refusal)
	}
	policy, limit := Fields(stream.States(), false)
	if !strings.Contains(policy, `"s";q=3;w=1;qu="klamm-streams"`) || !strings.Contains(limit, `"s";r=2;t=0`) {
		t.Errorf("a stream keeps its place: got %s and %s", policy, limit)
	}
}

// A set that replaces another goes on with what is under way and what was counted by
// rules that are as they were.
func TestNextGoesOn(t *testing.T) {
	busy := Rule{Name: "busy", Key: []string{"principal"}, Concurrency: 1}
	slow := Rule{Name: "slow", Requests: &Rate{Rate: 1, Burst: 1}}
	first, at := clocked(busy, slow)
	v := first.Visit()
	if r := v.Take(t.Context(), &Call{Principal: "User:a"}, OfRequest, 0, 0); r != nil {
		t.Fatal(r)
	}
	if r := once(t, first, &Call{Principal: "User:b"}, OfRequest, 0, 0); r == nil || r.Rule != "slow" {
		t.Fatalf("refused by %v", r)
	}
	faster := slow
	faster.Requests = &Rate{Rate: 1, Burst: 2}
	next := first.Next([]Rule{faster, busy})
	if r := once(t, next, &Call{Principal: "User:a"}, OfRequest, 0, 0); r == nil || r.Rule != "busy" {
		t.Errorf("refused by %v, want by busy", r)
	}
	v.Leave()
	for i, want := range []bool{true, true, false} {
		if r := once(t, next, &Call{Principal: "User:a"}, OfRequest, 0, 0); (r == nil) != want {
			t.Errorf("request %d: %v", i, r)
		}
	}
	again := next.Next([]Rule{busy, faster})
	if r := once(t, again, &Call{}, OfRequest, 0, 0); r == nil {
		t.Error("a rule that is as it was has a full bucket")
	}
	at(1)
	if r := once(t, again, &Call{}, OfRequest, 0, 0); r != nil {
		t.Error(r)
	}
	want := []RuleStats{{Name: "busy", Rejected: 1}, {Name: "slow", Rejected: 2}}
	if diff := cmp.Diff(want, again.Stats().Rules); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRouteName(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"POST /topics/{topic}", "POST /topics/{}"},
		{"POST /topics/{name}/", "POST /topics/{}"},
		{"GET /v3/{a}/x-{b...}", "GET /v3/{}/x-{}"},
		{"ANY /old/{proxy+}", "ANY /old/{}"},
		{"POST /{$}", "POST /"},
		{"POST /", "POST /"},
		{"GET /mappings/{$}", "GET /mappings"},
		{"", ""},
	} {
		if got := RouteName(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestRoutesThatCannotBe(t *testing.T) {
	for route, wrong := range map[string]bool{
		"": false, "GET /": false, "POST /topics/{topic}": false, "ANY /{proxy+}": false, "GET /a/b-{c}/": false, "POST /topics/x:batch": false,
		"get /topics": true, "GET  /topics": true, "GET topics": true, "/topics": true, "GET /topics?x=1": true, "GET /a b": true, "GET /{": true, "GET /{}": true, "GET /a}": true, "GET http://h/": true,
	} {
		var paths []string
		Rule{Name: "a", Streams: 1, Match: Match{Route: route}}.Validate(func(path, _ string) { paths = append(paths, path) })
		if (len(paths) > 0) != wrong {
			t.Errorf("%q: %v", route, paths)
		}
	}
}
