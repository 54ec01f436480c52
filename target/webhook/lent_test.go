package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// A receiver that answers before it has read the body gets the body that it was
// meant to get, and not that of a later batch in the same memory.
func TestBodiesAreNotMixed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		early := r.Header.Get("Klamm-First-Offset") != "0" && r.Header.Get("Klamm-Partition") != "0"
		if early {
			w.WriteHeader(http.StatusInternalServerError)
			_ = http.NewResponseController(w).Flush()
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the connection was given up
		}
		var values []string
		if err := json.Unmarshal(body, &values); err != nil || len(values) != 20 {
			t.Errorf("%d values: %v", len(values), err)
			return
		}
		for _, v := range values {
			if v[0] != values[0][0] || len(bytes.TrimLeft([]byte(v), v[:1])) > 0 {
				t.Error("two batches in one body")
				return
			}
		}
	}))
	defer server.Close()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	w, err := open(json.RawMessage(fmt.Sprintf(`{"url":%q}`, server.URL)), target.Env{Pipe: "p", Batch: "json", Egress: egress, Transport: egress.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range 12 {
				var events []*event.Event
				for i := range 20 {
					value := append(append([]byte{'"'}, bytes.Repeat([]byte{byte('a' + (worker*7+n)%26)}, 5000)...), '"')
					events = append(events, &event.Event{Record: &kgo.Record{Topic: "t", Partition: int32(n % 2), Offset: int64(n*20 + i), Value: value}, ID: "x", Attempt: 1})
				}
				_ = w.Deliver(t.Context(), events)
			}
		})
	}
	wg.Wait()
}
