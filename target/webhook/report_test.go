package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// Every attempt has the times of its own request, however many are made at once, and
// although what takes them is used again.
func TestReportsAreNotMixed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Klamm-Attempt") == "2" { // before the request is read, and without its connection
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	egress, err := target.NewEgress(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	transport := egress.Transport()
	defer transport.CloseIdleConnections()
	w, err := open(json.RawMessage(fmt.Sprintf(`{"url":%q}`, server.URL)), target.Env{Pipe: "p", Egress: egress, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	deliver := func(attempt int) {
		e := order()
		e.Attempt = attempt
		report := &target.Report{}
		began := time.Now()
		if err := w.Deliver(target.WithReport(t.Context(), report), []*event.Event{e}); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		if report.Status != http.StatusNoContent || report.Wait < 0 || report.Wait > took || report.Connect > took || report.DNS != 0 || report.TLS != 0 {
			t.Errorf("an attempt of %s is reported as %+v", took, *report)
		}
	}
	for range 3 {
		deliver(1)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 40 {
				deliver(1 + n%10/9)
			}
		})
	}
	all.Wait()
}
