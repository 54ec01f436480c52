package klamm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestCloudEventsOnABus(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	store, door := catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log}), gate.New(cluster)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	buses := gate.NewBuses(gate.BusesConfig{Gate: door, Store: store, Cluster: cluster, Account: "000000000000", Region: "us-east-1", MaxEntries: 1 << 20, Log: log})
	dialect := klamm.Dialect(klamm.Config{Ready: cluster.Ready, Gate: door, Buses: buses, Log: log})
	dialect.Prefixes = append(dialect.Prefixes, "/")
	s := httptest.NewServer(front.New(front.Config{Dialects: []front.Dialect{dialect}, Anonymous: true, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log}))
	t.Cleanup(func() { s.Close(); cancel(); running.Wait(); cluster.Close() })
	post := func(bus, body string, headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/klamm/v1/buses/"+bus+"/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	source := fmt.Sprintf("/shop/%d", time.Now().UnixNano())
	var want []string
	put := func(head, detail string, status int, text string) {
		t.Helper()
		var answer struct{ Events []struct{ ID, Error string } }
		if err := json.Unmarshal([]byte(text), &answer); status != http.StatusOK || err != nil || len(answer.Events) != 1 || answer.Events[0].ID == "" {
			t.Fatalf("%d %s: %v", status, text, err)
		}
		want = append(want, `{"version":"0","id":"`+answer.Events[0].ID+`",`+head+`"source":"`+source+`","account":"000000000000","time":"2023-05-06T07:08:09Z","region":"us-east-1",`+detail+`}`)
	}
	binary := func(contentType string) []string {
		return []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", source, "ce-type", "order.placed", "ce-time", "2023-05-06T07:08:09Z", "Content-Type", contentType}
	}
	structured := func(more string) string {
		return `{"specversion":"1.0","id":"2","source":"` + source + `","type":"order.paid","time":"2023-05-06T07:08:09Z"` + more + `}`
	}
	placed, paid := `"detail-type":"order.placed",`, `"detail-type":"order.paid",`
	status, text := post("default", `{ "id": 7.10 }`, append(binary("application/json"), "ce-subject", "order 7")...)
	put(placed, `"resources":["order 7"],"detail":{"id":7.10}`, status, text)
	status, text = post("default", `[1, 2]`, binary("application/json")...)
	put(placed, `"resources":[],"detail":{"data":[1,2]}`, status, text)
	status, text = post("default", "plain \"text\"", binary("text/plain")...)
	put(placed, `"resources":[],"detail":{"data":"plain \"text\""}`, status, text)
	status, text = post("default", "\x00\xff", binary("application/octet-stream")...)
	put(placed, `"resources":[],"detail":{"data_base64":"AP8="}`, status, text)
	status, text = post("default", structured(`,"data":{"a": [1]}`), "Content-Type", "application/cloudevents+json")
	put(paid, `"resources":[],"detail":{"a":[1]}`, status, text)
	status, text = post("default", "["+structured("")+"]", "Content-Type", "application/cloudevents-batch+json")
	put(paid, `"resources":[],"detail":{}`, status, text)
	for name, c := range map[string]struct {
		bus, body string
		headers   []string
		status    int
	}{
		"no event":     {"default", "{}", []string{"Content-Type", "application/json"}, 400},
		"no type":      {"default", "{}", []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", source}, 400},
		"unknown bus":  {"gone", structured(""), []string{"Content-Type", "application/cloudevents+json"}, 404},
		"aws":          {"default", strings.ReplaceAll(structured(""), source, "aws.x"), []string{"Content-Type", "application/cloudevents+json"}, 400},
		"large number": {"default", structured(`,"data":{"a":9223372036854775808}`), []string{"Content-Type", "application/cloudevents+json"}, 400},
		"one of two":   {"default", "[" + structured("") + "," + structured(`,"data":{"a":9223372036854775808}`) + "]", []string{"Content-Type", "application/cloudevents-batch+json"}, 400},
	} {
		if status, text := post(c.bus, c.body, c.headers...); status != c.status {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	var got []string
	topic, err := cluster.Topic(t.Context(), event.BusTopic("default"))
	if err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the events on the bus", func() bool {
		on := map[string]*kgo.Record{}
		for _, p := range topic.Partitions {
			for offset := int64(0); ; {
				records, next, err := cluster.Read(t.Context(), topic, p.ID, offset, kafka.Limits{Records: 1000, Bytes: 1 << 20})
				if err != nil || len(records) == 0 {
					break
				}
				for _, r := range records {
					on[string(r.Value)] = r
				}
				offset = next
			}
		}
		got = nil
		for _, text := range want {
			if on[text] != nil {
				got = append(got, text)
			}
		}
		for text := range on {
			if strings.Contains(text, source) && !strings.Contains(strings.Join(want, "\n"), text) {
				t.Fatalf("a strange event: %s", text)
			}
		}
		return len(got) == len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for path, status := range map[string]int{"default": 200, "gone": 404, "default?rules=" + strings.Repeat("r,", 200): 400, "default?rule=r": 400} {
		resp, err := http.Get(s.URL + "/klamm/v1/buses/" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != status || status == 200 && !strings.Contains(string(text), `"topic":"klamm.bus.default"`) {
			t.Errorf("look at %.20s: %d %s", path, resp.StatusCode, text)
		}
	}
}
