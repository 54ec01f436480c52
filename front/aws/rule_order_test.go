package aws_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/klamm-gateway/klamm/catalog"
)

// Events of a bus that keeps order arrive in it, also where some have to be delivered
// again; those of other keys do not wait for them.
func TestARuleKeepsOrderByKey(t *testing.T) {
	s := start(t)
	const customers, each = 4, 6
	var mu sync.Mutex
	refused := map[string]bool{"0/0": true, "1/3": true}
	arrived := map[int][]int{}
	total := 0
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct{ Customer, N int }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if name := fmt.Sprint(e.Customer, "/", e.N); refused[name] {
			delete(refused, name)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		arrived[e.Customer] = append(arrived[e.Customer], e.N)
		total++
	}))
	defer endpoint.Close()
	ordered, destination := "ordered"+s.topic(), "d"+s.topic()
	s.events("CreateEventBus", m{"Name": ordered, "Tags": []m{{"Key": catalog.TagOrderKey, "Value": "$.detail.customer"}}})
	s.events("PutRule", m{"Name": "r", "EventBusName": ordered, "EventPattern": `{"source":["shop"]}`})
	s.events("PutTargets", m{"Rule": "r", "EventBusName": ordered, "Targets": []m{{"Id": "t", "Arn": s.destination(destination, endpoint.URL), "InputPath": "$.detail"}}})
	for n := range each {
		var entries []m
		for c := range customers {
			entries = append(entries, m{"Source": "shop", "DetailType": "order", "EventBusName": ordered, "Detail": fmt.Sprintf(`{"customer":%d,"n":%d}`, c, n)})
		}
		if answer := s.events("PutEvents", m{"Entries": entries}); answer["FailedEntryCount"] != 0. {
			t.Fatal(answer)
		}
	}
	eventually(t, "all events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return total >= customers*each
	})
	mu.Lock()
	defer mu.Unlock()
	for c, got := range arrived {
		// One that arrives twice is no new one: what counts is when each came first.
		var first []int
		for _, n := range got {
			if !slices.Contains(first, n) {
				first = append(first, n)
			}
		}
		if !slices.IsSorted(first) {
			t.Errorf("customer %d: %v", c, got)
		}
	}
}
