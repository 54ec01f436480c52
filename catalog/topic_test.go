package catalog

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestWhatGoesWithATopicTarget(t *testing.T) {
	pipe := func(config string, change func(*Pipe)) Pipe {
		p := Pipe{Name: "p", Topics: []string{"a"}, Target: Target{Kind: "topic", Config: json.RawMessage(config)}}
		if change != nil {
			change(&p)
		}
		return p
	}
	const once = `{"name":"b","transactional":true}`
	for _, c := range []struct {
		name string
		in   Pipe
		want []string
	}{
		{"plain", pipe(`{"name":"b"}`, func(p *Pipe) { p.Delivery.Attempts = 3 }), nil},
		{"its own source", pipe(`{"name":"a"}`, nil), []string{"target"}},
		{"a topic of that name elsewhere", pipe(`{"name":"a","cluster":"c"}`, nil), nil},
		{"transactional", pipe(once, func(p *Pipe) { p.Delivery.Log, p.Delivery.InFlight = "none", 3 }), nil},
		{"attempts", pipe(once, func(p *Pipe) { p.Delivery.Attempts = 3 }), []string{"delivery.attempts"}},
		{"age and log", pipe(once, func(p *Pipe) { p.Delivery.MaxAge, p.Delivery.Log = time.Hour, "all" }), []string{"delivery.max_age", "delivery.log"}},
		{"bisect", pipe(once, func(p *Pipe) { p.Delivery.Bisect = true }), []string{"delivery.bisect"}},
		{"disable", pipe(once, func(p *Pipe) { p.Delivery.DisableAfter = time.Hour }), []string{"delivery.disable_after"}},
		{"enrichment", pipe(once, func(p *Pipe) { p.Enrich = &Enrichment{Target: Target{Kind: "webhook"}} }), []string{"enrich"}},
		{"disabled too early", pipe(`{"name":"b"}`, func(p *Pipe) { p.Delivery.DisableAfter = time.Millisecond }), []string{"delivery.disable_after"}},
		{"scale", pipe(`{"name":"b"}`, func(p *Pipe) { p.Scale = Scale{Interval: time.Millisecond, Lag: -1} }), []string{"scale.interval", "scale.lag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			c.in.Validate(func(path, _ string) { got = append(got, path) })
			if !slices.Equal(got, c.want) {
				t.Errorf("problems with %v, want %v", got, c.want)
			}
		})
	}
}
