package front

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// over makes an exchange that is over.
func over(at time.Time, path string, status int, err error) *exchange {
	s := &Server{}
	r := httptest.NewRequest(http.MethodPost, path+"?api_key=secret", nil)
	return &exchange{server: s, request: r, path: r.URL.EscapedPath(), start: at, id: "id", status: status, err: err,
		dialect: &Dialect{Name: "confluent/v2"}, route: &Route{Pattern: "POST /topics/{topic}"}, who: &gate.Principal{Name: "User:alice", Scheme: gate.SchemeBasic}, known: true}
}

func TestRecentKeepsWhatFailedAndASample(t *testing.T) {
	k, at := &Recent{}, time.Unix(1_000_000, 0)
	for i := range 100 { // ten a second
		k.note(over(at.Add(time.Duration(i)*100*time.Millisecond), "/topics/orders", 200, nil), time.Millisecond)
	}
	if list, complete := k.Select(RecentQuery{Limit: 1000}); len(list) != 10 || !complete {
		t.Errorf("%d of ten seconds are kept, complete %v", len(list), complete)
	}
	k.note(over(at, "/topics/orders", 403, &gate.Error{Kind: gate.Denied, Message: "no"}), time.Millisecond)
	k.note(over(at, "/topics/"+strings.Repeat("x", 5000), 0, errors.New("a secret of klamm's own")), time.Millisecond)
	list, _ := k.Select(RecentQuery{Status: "failed", Limit: 1000})
	if len(list) != 2 {
		t.Fatalf("%d have failed", len(list))
	}
	if r := list[1]; r.Status != 403 || r.Topic != "orders" || r.Principal != "User:alice" || r.Kind != "ACCESS_DENIED" || r.Reason != "no" || strings.Contains(fmt.Sprint(r), "secret") {
		t.Errorf("%+v", r)
	}
	if r := list[0]; len(r.Path) > 2*longestRecentText || strings.Contains(r.Reason, "secret") {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		q    RecentQuery
		want int
	}{
		{RecentQuery{Status: "4xx"}, 1}, {RecentQuery{Status: "403"}, 1}, {RecentQuery{Status: "404"}, 0}, {RecentQuery{Principal: "User:alice"}, 12}, {RecentQuery{Principal: "User:al"}, 0},
		{RecentQuery{Topic: "orders"}, 11}, {RecentQuery{Route: "confluent"}, 12}, {RecentQuery{Route: "/v3"}, 0}, {RecentQuery{After: 10}, 2}, {RecentQuery{Before: 4}, 3},
	} {
		c.q.Limit = 100
		if list, _ := k.Select(c.q); len(list) != c.want {
			t.Errorf("%+v: %d, want %d", c.q, len(list), c.want)
		}
	}
}

func TestRecentIsBounded(t *testing.T) {
	k, at := &Recent{}, time.Unix(1_000_000, 0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 4000 {
				k.note(over(at.Add(time.Duration(i/100)*time.Second), "/topics/orders", 429, nil), time.Millisecond)
			}
		})
	}
	all.Wait()
	list, complete := k.Select(RecentQuery{Limit: 10_000})
	if len(list) != mostRecent || !complete {
		t.Errorf("%d are kept", len(list))
	}
	for i, r := range list[1:] {
		if r.Number != list[i].Number-1 {
			t.Fatalf("number %d follows %d", r.Number, list[i].Number)
		}
	}
	if n, most, skipped := k.Counts(); most != mostRecent || n+uint64(skipped) != 16_000 {
		t.Errorf("%d and %d of 16000", n, skipped)
	}
	if list, complete := k.Select(RecentQuery{Limit: 5}); len(list) != 5 || complete {
		t.Errorf("%d, complete %v", len(list), complete)
	}
	var none *Recent
	none.note(over(at, "/", 500, nil), 0)
	if list, complete := none.Select(RecentQuery{}); len(list) != 0 || !complete {
		t.Error("nobody remembers something")
	}
}

func TestTopicOfARoute(t *testing.T) {
	for _, c := range []struct{ pattern, path, want string }{
		{"/topics/{topic}", "/topics/orders", "orders"}, {"/v3/clusters/{cluster}/topics/{topic_name}/records", "/v3/clusters/x/topics/orders/records", "orders"},
		{"/topics/{topic}", "/prod/topics/orders", "orders"}, {"/topics", "/topics", ""}, {"", "/topics/orders", ""}, {"/topics/{topic}", "/topics", ""},
	} {
		if got := topicIn(c.pattern, c.path); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.pattern, c.path, got, c.want)
		}
	}
}

func BenchmarkRecentGood(b *testing.B) {
	k := &Recent{}
	x := over(time.Now(), "/topics/orders", 200, nil)
	k.note(x, time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		k.note(x, time.Millisecond)
	}
}

func TestInsteadOfARoute(t *testing.T) {
	asked := func(r *http.Request) bool { return r.Header.Get("Accept") == "text/html" }
	i := newInstead(Route{Pattern: "GET /{$}", When: asked}, http.NotFoundHandler())
	s := &Server{instead: []instead{i}}
	for _, c := range []struct {
		method, path, accept string
		want                 bool
	}{{"GET", "/", "text/html", true}, {"HEAD", "/", "text/html", true}, {"POST", "/", "text/html", false}, {"GET", "/topics", "text/html", false}, {"GET", "/", "application/json", false}} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Accept", c.accept)
		if got := s.insteadFor(r) != nil; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
