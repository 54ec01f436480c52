package confluent2_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/kafka"
)

// eventTopic creates a topic with one partition.
func eventTopic(t *testing.T, s *fronttest.Server) string {
	t.Helper()
	topic := fmt.Sprintf("events-%d", rand.Uint64())
	if err := s.Cluster.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	return topic
}

// call sends a request with headers of "name: value" lines.
func call(t *testing.T, method, url, body string, headers ...string) (status int, answer string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// stored reads all records of a topic's only partition.
func stored(t *testing.T, s *fronttest.Server, topic string) (all []*kgo.Record) {
	t.Helper()
	ranges, err := s.Cluster.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for next := int64(0); next < ranges[0].End; next = all[len(all)-1].Offset + 1 {
		records, err := s.Cluster.Fetch(t.Context(), topic, 0, next, kafka.Limits{Records: 1000, Bytes: 1 << 20, Wait: time.Second})
		if err != nil || len(records) == 0 {
			t.Fatal(len(records), err)
		}
		all = append(all, records...)
	}
	return all
}

var binaryEvent = []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"}

const jsonEvent = `"specversion":"1.0","id":"1","source":"/s","type":"t"`

func TestCloudEventsAreProduced(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := eventTopic(t, s)
	for i, c := range []struct {
		path, body string
		headers    []string
		offsets    int
	}{
		{"", "21", append(binaryEvent, "ce-partitionkey: k", "Content-Type: application/json"), 1},
		{"", `{"records":[]}`, append(binaryEvent, "Content-Type: application/json"), 1}, // no envelope
		{"/partitions/0", `{` + jsonEvent + `}`, []string{"Content-Type: application/cloudevents+json"}, 1},
		{"", `[{` + jsonEvent + `},{` + jsonEvent + `}]`, []string{"Content-Type: application/cloudevents-batch+json"}, 2},
		{"", `[]`, []string{"Content-Type: application/cloudevents-batch+json"}, 0},
	} {
		status, answer, header := call(t, "POST", s.URL+"/topics/"+topic+c.path, c.body, c.headers...)
		var results struct {
			Offsets []struct{ Partition, Offset *int64 }
		}
		if err := json.Unmarshal([]byte(answer), &results); err != nil {
			t.Fatal(err)
		}
		if status != http.StatusAccepted || len(results.Offsets) != c.offsets || header.Get("Content-Type") != "application/vnd.kafka.v2+json" {
			t.Errorf("%d: got %d, %s", i, status, answer)
		}
	}
	var got []string
	for _, r := range stored(t, s, topic) {
		got = append(got, fmt.Sprintf("%s %s", r.Key, r.Value))
	}
	want := []string{"k 21", ` {"records":[]}`, ` {` + jsonEvent + `}`, ` {` + jsonEvent + `}`, ` {` + jsonEvent + `}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsNoCloudEventIsNotWritten(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := eventTopic(t, s)
	for _, c := range []struct {
		name, path, body string
		headers          []string
		want             int
	}{
		{"no version", "/topics/" + topic, "x", []string{"ce-id: 1", "ce-source: /s", "ce-type: t"}, 400},
		{"not JSON", "/topics/" + topic, "{", []string{"Content-Type: application/cloudevents+json"}, 400},
		{"one of a batch is none", "/topics/" + topic, `[{` + jsonEvent + `},{}]`, []string{"Content-Type: application/cloudevents-batch+json"}, 400},
		{"another format", "/topics/" + topic, "x", []string{"Content-Type: application/cloudevents+avro"}, 415},
		{"no such path", "/topic/" + topic, "x", binaryEvent, 404},
		{"no such partition", "/topics/" + topic + "/partitions/9", "x", binaryEvent, 404},
	} {
		status, answer, _ := call(t, "POST", s.URL+c.path, c.body, c.headers...)
		if status != c.want || !strings.Contains(answer, `"error_code":`) {
			t.Errorf("%s: got %d, %s, want %d", c.name, status, answer, c.want)
		}
	}
	if status, _, header := call(t, "PUT", s.URL+"/topics/"+topic, "x", binaryEvent...); status != 405 || header.Get("Allow") == "" {
		t.Errorf("another method: %d", status)
	}
	if status, _, _ := call(t, "OPTIONS", s.URL+"/topics/"+topic, "", "WebHook-Request-Origin: example.com"); status != 405 {
		t.Errorf("a handshake that is not on: %d", status)
	}
	if n := len(stored(t, s, topic)); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestOneTooLargeEventOfABatchIsNamed(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic, limit := fmt.Sprintf("events-%d", rand.Uint64()), "2000"
	if err := s.Cluster.EnsureTopic(t.Context(), topic, 2, map[string]*string{"max.message.bytes": &limit}); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 8000) // which compression cannot make small enough
	for i := range noise {
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[rand.IntN(64)]
	}
	large := `{` + jsonEvent + `,"partitionkey":"a","data":"` + string(noise) + `"}`
	const batch = "Content-Type: application/cloudevents-batch+json"
	status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, `[`+large+`]`, batch)
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("alone: %d, %s", status, answer)
	}
	all := large
	for _, key := range "bcdefghi" { // some of which lie in the other partition
		all += `,{` + jsonEvent + `,"partitionkey":"` + string(key) + `"}`
	}
	status, answer, _ = call(t, "POST", s.URL+"/topics/"+topic, `[`+all+`]`, batch)
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, `"error_code":null`) || !strings.HasPrefix(answer, `{"offsets":[{"partition":null,"offset":null,"error_code":50002,`) {
		t.Errorf("with others: %d, %s", status, answer)
	}
}

func TestCloudEventsWithoutABrokerAre503(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits until producing is given up")
	}
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{}), Brokers: []string{"127.0.0.1:1"}, ProduceTimeoutMs: 1000})
	for _, headers := range [][]string{binaryEvent, {"Content-Type: application/cloudevents-batch+json"}} {
		status, answer, _ := call(t, "POST", s.URL+"/topics/t", `[{`+jsonEvent+`},{`+jsonEvent+`}]`, headers...)
		if status != http.StatusServiceUnavailable {
			t.Errorf("got %d, %s", status, answer)
		}
	}
}

func TestCloudEventsAreConverted(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{CloudEvents: cloudevent.Config{
		Convert: "binary", Key: "ce_subject", Timestamp: "ce_time", PassUnknownFormats: true, Webhook: true}})})
	topic := eventTopic(t, s)
	status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, `{`+jsonEvent+`,"subject":"u","time":"2026-01-31T12:00:00Z","data":[1]}`, "Content-Type: application/cloudevents+json")
	if status != http.StatusAccepted {
		t.Fatal(status, answer)
	}
	if status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, "\x02", "Content-Type: application/cloudevents+avro"); status != http.StatusAccepted {
		t.Fatal(status, answer)
	}
	records := stored(t, s, topic)
	if len(records) != 2 || string(records[0].Key) != "u" || string(records[0].Value) != "[1]" || string(records[1].Value) != "\x02" {
		t.Fatalf("got %v", records)
	}
	if got := records[0].Timestamp.UTC().Format(time.RFC3339); got != "2026-01-31T12:00:00Z" {
		t.Errorf("timestamp %s", got)
	}
	for _, c := range []struct {
		headers []string
		status  int
		rate    string
	}{
		{[]string{"WebHook-Request-Origin: eventemitter.example.com", "WebHook-Request-Rate: 120"}, 200, "120"},
		{[]string{"WebHook-Request-Origin: eventemitter.example.com", "WebHook-Request-Rate: many"}, 200, "*"},
		{nil, 400, ""},
	} {
		status, _, header := call(t, "OPTIONS", s.URL+"/topics/"+topic, "", c.headers...)
		origin := ""
		if c.status == 200 {
			origin = "eventemitter.example.com"
		}
		if status != c.status || header.Get("WebHook-Allowed-Rate") != c.rate || header.Get("WebHook-Allowed-Origin") != origin {
			t.Errorf("handshake: %d, %v", status, header)
		}
	}
}

func TestStrictMediaTypesKnowNoCloudEvents(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{StrictMediaTypes: true})})
	if os.Getenv("KLAMM_TEST_BROKERS") != "" {
		t.Skip("asks no broker")
	}
	if status, answer, _ := call(t, "POST", s.URL+"/topics/t", "x", append(binaryEvent, "Content-Type: text/plain")...); status != http.StatusUnsupportedMediaType {
		t.Errorf("got %d, %s", status, answer)
	}
}

func TestReadsAnswerWithCloudEvents(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := eventTopic(t, s)
	for _, c := range []struct {
		body    string
		headers []string
	}{
		{"21", append(binaryEvent, "Content-Type: application/json")},
		{`{` + jsonEvent + `}`, []string{"Content-Type: application/cloudevents+json"}},
		{"plain", []string{"Content-Type: text/plain", "X-Kafka-Key: k"}},
	} {
		if status, answer, _ := call(t, "POST", s.URL+"/topics/"+topic, c.body, c.headers...); status/100 != 2 {
			t.Fatalf("%d %s", status, answer)
		}
	}
	kept := `{` + jsonEvent + `}`
	for _, path := range []string{"/records", "/partitions/0/records"} {
		for accept, want := range map[string]string{
			"application/cloudevents-batch+json":                   "application/cloudevents-batch+json",
			"application/cloudevents+json":                         "application/cloudevents-batch+json",
			"application/json;q=0.5, application/cloudevents+json": "application/cloudevents-batch+json",
			"application/json, application/cloudevents-batch+json": "application/json",
			"*/*":           "application/json",
			"application/*": "application/json",
		} {
			status, answer, header := call(t, "GET", s.URL+"/topics/"+topic+path, "", "Accept: "+accept)
			if status != http.StatusOK || header.Get("Content-Type") != want {
				t.Errorf("%s: got %d, %s", accept, status, header.Get("Content-Type"))
			}
			if want == "application/json" {
				continue
			}
			var got []json.RawMessage
			if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got) != 3 {
				t.Fatalf("%s: %s", accept, answer)
			}
			if !strings.Contains(string(got[0]), `"datacontenttype":"application/json","data":21}`) || string(got[1]) != kept {
				t.Errorf("%s: events came back as %s and %s", accept, got[0], got[1])
			}
			var plain map[string]string
			if err := json.Unmarshal(got[2], &plain); err != nil {
				t.Fatal(err)
			}
			if plain["type"] != cloudevent.TypeRecord || plain["source"] != "/topics/"+topic || plain["id"] != "partition:0/offset:2" || plain["partitionkey"] != "k" || plain["data"] != "plain" {
				t.Errorf("%s: a plain record came as %s", accept, got[2])
			}
		}
	}
	if status, answer, _ := call(t, "GET", s.URL+"/topics/"+topic+"/records?offset=latest", "", "Accept: application/cloudevents-batch+json"); status != http.StatusOK || answer != "[]" {
		t.Errorf("no records: %d, %s", status, answer)
	}
}
