package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A farBus is an EventBridge elsewhere: it takes PutEvents, and can be out of order.
type farBus struct {
	*httptest.Server
	mu     sync.Mutex
	status int              // answered instead, if it is not 0
	offers map[int64]string // error codes for records by their offset, each once
	put    []int64          // the offsets of the records that were put
	calls  int
}

func newFarBus(t *testing.T) *farBus {
	b := &farBus{offers: map[int64]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls++
		var in struct {
			Entries []struct{ Detail string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "AWSEvents.PutEvents" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if b.status != 0 {
			w.WriteHeader(b.status)
			return
		}
		var out []map[string]string
		for _, e := range in.Entries {
			var d struct{ Offset int64 }
			_ = json.Unmarshal([]byte(e.Detail), &d)
			if code, ok := b.offers[d.Offset]; ok {
				delete(b.offers, d.Offset)
				out = append(out, map[string]string{"ErrorCode": code, "ErrorMessage": "not now"})
				continue
			}
			b.put = append(b.put, d.Offset)
			out = append(out, map[string]string{"EventId": fmt.Sprint(d.Offset)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"FailedEntryCount": 0, "Entries": out})
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *farBus) answer(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = status
}

// has says which offsets were put, in order and each once.
func (b *farBus) has() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := slices.Clone(b.put)
	slices.Sort(got)
	return slices.Compact(got)
}

// A connectClient asks Kafka Connect's API.
type connectClient struct {
	t   *testing.T
	url string
}

func (c connectClient) ask(method, path, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (c connectClient) want(status int, method, path, body string, parts ...string) string {
	c.t.Helper()
	got, text := c.ask(method, path, body)
	if got != status {
		c.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, text, status)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			c.t.Fatalf("%s %s: got %s, want it to have %s", method, path, text, part)
		}
	}
	return text
}

// states are those of the connector and of its first task.
func (c connectClient) states(name string) (connector, task, trace string) {
	_, text := c.ask("GET", "/connectors/"+name+"/status", "")
	var s struct {
		Connector struct{ State string }
		Tasks     []struct{ State, Trace string }
	}
	_ = json.Unmarshal([]byte(text), &s)
	if len(s.Tasks) > 0 {
		task, trace = s.Tasks[0].State, s.Tasks[0].Trace
	}
	return s.Connector.State, task, trace
}

func (c connectClient) until(name, connector, task string) {
	c.t.Helper()
	waittest.Until(c.t, name+" is "+connector+" with a task "+task, func() bool {
		is, of, _ := c.states(name)
		return is == connector && of == task
	})
}

// sinkTo is the configuration of a sink that puts on a bus elsewhere.
func sinkTo(bus *farBus, topic string, more string) string {
	return fmt.Sprintf(`{"connector.class":"software.amazon.event.kafkaconnector.EventBridgeSinkConnector","topics":%q,"tasks.max":"2",
"key.converter":"org.apache.kafka.connect.storage.StringConverter","value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false",
"aws.eventbridge.connector.id":"c","aws.eventbridge.region":"us-east-1","aws.eventbridge.eventbus.arn":"arn:aws:events:us-east-1:123456789012:event-bus/far",
"aws.eventbridge.endpoint.uri":%q%s}`, topic, bus.URL, more)
}

func connecting(t *testing.T) (*running, connectClient, *farBus, string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	r := start(t, "egress: {allow: [127.0.0.0/8]}\n", t.TempDir())
	return r, connectClient{t, r.url}, newFarBus(t), fmt.Sprintf("connect-%d", time.Now().UnixNano())
}

func TestSinkTaskFailsAfterItsRetriesAndLosesNothing(t *testing.T) {
	r, c, bus, topic := connecting(t)
	for i := range 3 {
		r.produce(topic, "k", fmt.Sprint(i))
	}
	bus.answer(http.StatusInternalServerError)
	name := topic
	c.want(201, "POST", "/connectors", fmt.Sprintf(`{"name":%q,"config":%s}`, name, sinkTo(bus, topic, `,"aws.eventbridge.retries.max":"1","aws.eventbridge.retries.delay":"10"`)))
	c.until(name, "RUNNING", "FAILED")
	if _, _, trace := c.states(name); !strings.Contains(trace, "in 2 attempts") || !strings.Contains(trace, "500") {
		t.Errorf("trace: got %q", trace)
	}
	if got := bus.has(); len(got) > 0 {
		t.Fatalf("put while the bus refused everything: %v", got)
	}

	// Records that come meanwhile wait, and a task that is restarted goes on with the
	// first one. A throttled entry does not make it fail again.
	r.produce(topic, "k", "3")
	bus.mu.Lock()
	bus.status, bus.offers[1], bus.offers[2] = 0, "ThrottlingException", "ThrottlingException"
	bus.mu.Unlock()
	c.want(204, "POST", "/connectors/"+name+"/tasks/0/restart", "")
	waittest.Until(t, "all records are put", func() bool { return slices.Equal(bus.has(), []int64{0, 1, 2, 3}) })
	c.until(name, "RUNNING", "RUNNING")
	c.want(204, "DELETE", "/connectors/"+name, "")
}

// Another configuration is what a task that has failed is waiting for.
func TestAFailedTaskRunsAgainWithAnotherConfiguration(t *testing.T) {
	r, c, bus, topic := connecting(t)
	r.produce(topic, "k", "0")
	at, failing := "/connectors/"+topic, newFarBus(t)
	failing.answer(http.StatusForbidden)
	const once = `,"aws.eventbridge.retries.max":"0"`
	c.want(201, "POST", "/connectors", fmt.Sprintf(`{"name":%q,"config":%s}`, topic, sinkTo(failing, topic, once)))
	c.until(topic, "RUNNING", "FAILED")
	c.want(200, "PUT", at+"/config", sinkTo(bus, topic, once))
	waittest.Until(t, "the record is put", func() bool { return slices.Equal(bus.has(), []int64{0}) })
	c.until(topic, "RUNNING", "RUNNING")

	bus.answer(http.StatusForbidden)
	r.produce(topic, "k", "1")
	c.until(topic, "RUNNING", "FAILED")
	bus.answer(0)
	c.want(200, "PATCH", at+"/config", `{"aws.eventbridge.retries.max":"5"}`)
	waittest.Until(t, "the other record is put", func() bool { return slices.Equal(bus.has(), []int64{0, 1}) })
	c.until(topic, "RUNNING", "RUNNING")
	c.want(204, "DELETE", at, "")
}

func TestEveryEndpointOfKafkaConnect(t *testing.T) {
	r, c, bus, topic := connecting(t)
	r.produce(topic, "k", "0")
	name, class := topic, "EventBridgeSinkConnector"
	at := "/connectors/" + name

	c.want(200, "GET", "/connectors", "", "[")
	c.want(200, "GET", "/connector-plugins", "", class, `"type":"sink"`)
	c.want(200, "GET", "/connector-plugins/"+class+"/config", "", `"aws.eventbridge.retries.max"`)
	c.want(200, "PUT", "/connector-plugins/"+class+"/config/validate", sinkTo(bus, topic, `,"name":"x","tasks.max":"0"`), `"error_count":1`)
	c.want(404, "GET", at, "", `"error_code":404`)
	c.want(400, "POST", "/connectors", `{"name":"a/b","config":{}}`, `"error_code":400`)
	c.want(400, "POST", "/connectors", `{"name":"`+name+`","config":`+sinkTo(bus, topic, `,"tasks.max":"0"`)+`}`, "tasks.max")
	c.want(400, "POST", "/connectors", `{`, `"error_code":400`)

	c.want(201, "POST", "/connectors", `{"name":"`+name+`","config":`+sinkTo(bus, topic, "")+`,"initial_state":"STOPPED"}`, `"type":"sink"`)
	c.want(409, "POST", "/connectors", `{"name":"`+name+`","config":`+sinkTo(bus, topic, "")+`}`, `"error_code":409`)
	c.want(200, "GET", at, "", `"tasks":[]`)
	c.want(200, "GET", at+"/status", "", `"state":"STOPPED"`)
	c.want(202, "PUT", at+"/resume", "")
	c.until(name, "RUNNING", "RUNNING")
	waittest.Until(t, "the record is put", func() bool { return slices.Equal(bus.has(), []int64{0}) })

	c.want(200, "GET", at+"/config", "", `"tasks.max":"2"`)
	c.want(200, "GET", at+"/tasks", "", `"task":0`)
	c.want(200, "GET", at+"/tasks/0/status", "", `"state":"RUNNING"`)
	c.want(404, "GET", at+"/tasks/99/status", "", `"error_code":404`)
	c.want(200, "GET", at+"/topics", "", topic)
	c.want(200, "PUT", at+"/topics/reset", "")
	c.want(200, "GET", "/connectors?expand=info&expand=status", "", `"info"`, `"status"`, name)
	c.want(204, "POST", at+"/restart", "")
	c.want(202, "POST", at+"/restart?includeTasks=true&onlyFailed=false", "", `"name":"`+name+`"`)
	c.want(204, "POST", at+"/tasks/0/restart", "")

	c.want(200, "PUT", at+"/config", sinkTo(bus, topic, `,"tasks.max":"1"`), `"tasks.max":"1"`)
	c.want(200, "PATCH", at+"/config", `{"aws.eventbridge.detail.types":"changed"}`, `"aws.eventbridge.detail.types":"changed"`)
	c.want(200, "PATCH", at+"/config", `{"aws.eventbridge.detail.types":null}`)
	if text := c.want(200, "GET", at+"/config", ""); strings.Contains(text, "changed") {
		t.Errorf("a setting that was taken away is still there: %s", text)
	}
	c.want(202, "PUT", at+"/pause", "")
	c.until(name, "PAUSED", "PAUSED")
	c.want(400, "PATCH", at+"/offsets", `{"offsets":[]}`, "STOPPED")
	c.want(400, "DELETE", at+"/offsets", "", "STOPPED")

	// Offsets are moved while it is stopped, and what lies behind them is put again.
	c.want(204, "PUT", at+"/stop", "")
	waittest.Until(t, "the offset is committed", func() bool {
		_, text := c.ask("GET", at+"/offsets", "")
		return strings.Contains(text, `"kafka_offset":1`)
	})
	waittest.Until(t, "the offsets can be changed", func() bool {
		status, _ := c.ask("PATCH", at+"/offsets", fmt.Sprintf(`{"offsets":[{"partition":{"kafka_topic":%q,"kafka_partition":%d},"offset":{"kafka_offset":0}}]}`, topic, partitionOf(t, c, at)))
		return status == 200
	})
	bus.mu.Lock()
	bus.put = nil
	bus.mu.Unlock()
	c.want(202, "PUT", at+"/resume", "")
	waittest.Until(t, "the record is put again", func() bool { return slices.Equal(bus.has(), []int64{0}) })
	c.want(204, "PUT", at+"/stop", "")
	waittest.Until(t, "the offset is committed again", func() bool {
		_, text := c.ask("GET", at+"/offsets", "")
		return strings.Contains(text, `"kafka_offset":1`)
	})
	none := fmt.Sprintf(`{"offsets":[{"partition":{"kafka_topic":%q,"kafka_partition":%d},"offset":null}]}`, topic, partitionOf(t, c, at))
	waittest.Until(t, "an offset can be taken away", func() bool {
		status, _ := c.ask("PATCH", at+"/offsets", none)
		return status == 200
	})
	if text := c.want(200, "GET", at+"/offsets", ""); strings.Contains(text, `"kafka_offset":1`) {
		t.Errorf("the offset is still there: %s", text)
	}
	waittest.Until(t, "the offsets can be reset", func() bool {
		status, _ := c.ask("DELETE", at+"/offsets", "")
		return status == 200
	})
	c.want(204, "DELETE", at, "")
	c.want(404, "GET", at+"/status", "", `"error_code":404`)
	c.want(404, "GET", "/connectors/none/none", "", `"error_code":404`)
	c.want(201, "PUT", at+"/config", sinkTo(bus, topic, ""), `"name":"`+name+`"`)
	c.want(204, "DELETE", at, "")
}

// A pattern may name topics that are yet to come: a connector is taken, has no tasks, and
// reads them when they are there.
func TestAConnectorWaitsForTopicsOfItsPattern(t *testing.T) {
	r, c, bus, topic := connecting(t)
	name, at := topic, "/connectors/"+topic
	config := strings.Replace(sinkTo(bus, topic+".*", ""), `"topics"`, `"topics.regex"`, 1)
	resp, err := http.Post(c.url+"/connectors", "application/json", strings.NewReader(`{"name":"`+name+`","config":`+config+`}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 201 || resp.Header.Get("Location") != at {
		t.Fatalf("got %d at %q, want 201 at %s", resp.StatusCode, resp.Header.Get("Location"), at)
	}
	c.want(200, "GET", at+"/status", "", `"state":"RUNNING"`, `"tasks":[]`)
	c.want(200, "GET", at+"/offsets", "", `{"offsets":[]}`)
	r.produce(topic+".eu", "k", "0")
	c.want(200, "PUT", at+"/config", config) // it is looked for topics, which happens now and then by itself
	c.until(name, "RUNNING", "RUNNING")
	waittest.Until(t, "the record is put", func() bool { return slices.Equal(bus.has(), []int64{0}) })
	c.want(200, "GET", at+"/topics", "", topic+".eu")
	c.want(204, "DELETE", at, "")
}

func TestConnectorsOfBusesThatAreNotThere(t *testing.T) {
	_, c, bus, topic := connecting(t)
	own := strings.NewReplacer("123456789012", "000000000000", `"aws.eventbridge.endpoint.uri":"`+bus.URL+`"`, `"x":"y"`).Replace(sinkTo(bus, topic, ""))
	c.want(400, "POST", "/connectors", `{"name":"`+topic+`","config":`+own+`}`, `"error_code":400`, "the event bus far does not exist")
	c.want(400, "PUT", "/connectors/"+topic+"/config", own, "the event bus far does not exist")
	c.want(404, "GET", "/connectors/"+topic, "")
}

// partitionOf is the partition that the connector has an offset of.
func partitionOf(t *testing.T, c connectClient, at string) int {
	t.Helper()
	_, text := c.ask("GET", at+"/offsets", "")
	var in struct {
		Offsets []struct {
			Partition struct {
				Number int `json:"kafka_partition"`
			}
			Offset struct {
				At int64 `json:"kafka_offset"`
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, o := range in.Offsets {
		if o.Offset.At > 0 {
			return o.Partition.Number
		}
	}
	return 0
}
