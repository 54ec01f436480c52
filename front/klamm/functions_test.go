package klamm_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
)

func TestFunctionsHavePages(t *testing.T) {
	all := []function.Tally{
		{Function: "a-1", Invocations: 7, Errors: 2, Throttled: 1, P50: 1500 * time.Millisecond, P95: 2 * time.Second},
		{Function: "a-2"}, {Function: "b"}, {Function: "c-a"},
	}
	k := &klammd{t: t}
	k.url = fronttest.Start(t, fronttest.Setup{Brokers: brokertest.Brokers(t), Dialects: func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{klamm.Dialect(klamm.Config{Gate: g, Functions: func() []function.Tally { return all }})}
	}}).URL
	type page struct {
		Functions []map[string]any
		Next      string
		Total     int
	}
	row := func(name string, invocations, errors, throttled float64, p50, p95 any) map[string]any {
		return map[string]any{"function": name, "invocations": invocations, "errors": errors, "throttled": throttled, "latency_p50": p50, "latency_p95": p95}
	}
	first, second, third, last := row("a-1", 7, 2, 1, 1.5, 2.0), row("a-2", 0, 0, 0, nil, nil), row("b", 0, 0, 0, nil, nil), row("c-a", 0, 0, 0, nil, nil)
	for _, c := range []struct {
		query string
		want  page
	}{
		{"", page{[]map[string]any{first, second, third, last}, "", 4}},
		{"?limit=2", page{[]map[string]any{first, second}, "a-2", 4}},
		{"?limit=2&after=a-2", page{[]map[string]any{third, last}, "", 4}},
		{"?limit=2&search=a", page{[]map[string]any{first, second}, "a-2", 3}},
		{"?limit=2&search=a&after=a-2", page{[]map[string]any{last}, "", 3}},
		{"?search=nobody", page{[]map[string]any{}, "", 0}},
	} {
		var got page
		k.want(&got, "GET", "/functions"+c.query, "")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.query, diff)
		}
	}
	for query, want := range map[string]string{"?after=gone": "gone", "?limit=0": "limit", "?limit=10001": "limit", "?prefix=a": "search, after, limit"} {
		if status, _, text := k.ask("GET", "/functions"+query, ""); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
}
