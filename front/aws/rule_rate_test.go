package aws_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Two rules share the rate of an API destination. To wait for a turn is no attempt: all
// events arrive although none is tried twice.
func TestRulesShareTheRateOfADestination(t *testing.T) {
	s := start(t)
	const events, perSecond = 10, 8
	var mu sync.Mutex
	var at []time.Time
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
	}))
	defer endpoint.Close()
	name := s.topic()
	destination := s.destination(name, endpoint.URL)
	s.events("UpdateApiDestination", m{"Name": name, "InvocationRateLimitPerSecond": perSecond})
	s.events("CreateEventBus", m{"Name": name})
	for _, rule := range []string{"a", "b"} {
		s.events("PutRule", m{"Name": rule, "EventBusName": name, "EventPattern": `{"source":["shop"]}`})
		s.events("PutTargets", m{"Rule": rule, "EventBusName": name, "Targets": []m{{"Id": "t", "Arn": destination, "RetryPolicy": m{"MaximumRetryAttempts": 0}}}})
	}
	var entries []m
	for i := range events {
		entries = append(entries, m{"Source": "shop", "DetailType": "order", "EventBusName": name, "Detail": fmt.Sprintf(`{"n":%d}`, i)})
	}
	s.events("PutEvents", m{"Entries": entries})
	eventually(t, "all requests", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(at) >= 2*events
	})
	mu.Lock()
	defer mu.Unlock()
	// The first comes at once, and each further one has its turn. A slow machine bunches
	// some; with a rate for each rule it would be half of that.
	if took, least := at[2*events-1].Sub(at[0]), (2*events-1)*time.Second/perSecond; took < least*7/10 {
		t.Errorf("%d requests took %s, want about %s", 2*events, took, least)
	}
}
