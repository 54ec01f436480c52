package light

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A testServer is a front door with the light dialect alone.
type testServer struct {
	url     string
	cluster *kafka.Cluster
	stop    func(context.Context) error
}

func startServer(t *testing.T, brokers []string, times times, policies ...gate.Policy) *testServer {
	t.Helper()
	return startServerFor(t, nil, brokers, times, policies...)
}

// startServerFor is startServer with authenticators.
func startServerFor(t *testing.T, authenticators []front.Authenticator, brokers []string, times times, policies ...gate.Policy) *testServer {
	t.Helper()
	return startServerWith(t, func(c *front.Config, _ *kafka.Cluster) { c.Authenticators = authenticators }, brokers, times, policies...)
}

// startServerWith is startServer with other settings of the front door.
func startServerWith(t *testing.T, change func(*front.Config, *kafka.Cluster), brokers []string, times times, policies ...gate.Policy) *testServer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := front.Config{
		Dialects: []front.Dialect{dialect(gate.New(cluster, policies...), NewConnections(nil), times)}, Anonymous: true, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log,
	}
	change(&cfg, cluster)
	server := front.New(cfg)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &testServer{"http://" + listener.Addr().String(), cluster, server.Shutdown}
}

// topic makes a topic that ends with the test's broker.
func (s *testServer) topic(t *testing.T, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()), time.Now().UnixNano())
	if err := s.cluster.EnsureTopic(t.Context(), name, partitions, nil); err != nil {
		t.Fatal(err)
	}
	within(t, "the topic has leaders", func() bool {
		_, err := s.cluster.Ranges(t.Context(), name)
		return err == nil
	})
	return name
}

func (s *testServer) write(t *testing.T, topic string, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	if err := s.cluster.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func values(texts ...string) []*kgo.Record {
	records := make([]*kgo.Record, len(texts))
	for i, text := range texts {
		records[i] = &kgo.Record{Value: []byte(text)}
	}
	return records
}

func within(t *testing.T, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !true(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A sseEvent is one event as a client sees it.
type sseEvent struct{ id, name, data string }

// A sseClient reads a stream as the HTML standard says.
type sseClient struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Reader
	id   string // last event id
	text strings.Builder
}

func (s *testServer) listen(t *testing.T, path, lastID string) *sseClient {
	t.Helper()
	c, err := s.tryListen(t.Context(), path, lastID)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(c.close)
	if c.resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, c.resp.Status)
	}
	return c
}

func (s *testServer) tryListen(ctx context.Context, path, lastID string) (*sseClient, error) {
	return s.tryListenAs(ctx, path, lastID, "text/event-stream")
}

func (s *testServer) tryListenAs(ctx context.Context, path, lastID, accept string) (*sseClient, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	return &sseClient{resp: resp, in: bufio.NewReader(resp.Body), id: lastID}, nil
}

func (c *sseClient) close() { _ = c.resp.Body.Close() }

// read returns the next event; the error is that of the connection.
func (c *sseClient) read() (e sseEvent, err error) {
	var data []string
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		if c.t != nil && c.text.Len() < 1<<10 {
			c.text.WriteString(line)
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if data == nil {
				e.name = ""
				continue
			}
			e.id, e.data = c.id, strings.Join(data, "\n")
			return e, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			c.id = value
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		}
	}
}

// next is read for a test that expects an event.
func (c *sseClient) next() sseEvent {
	c.t.Helper()
	timer := time.AfterFunc(time.Minute, c.close)
	defer timer.Stop()
	e, err := c.read()
	if err != nil {
		c.t.Fatalf("no event after %q: %v", c.text.String(), err)
	}
	return e
}

// take returns the data of the next events, all of them records.
func (c *sseClient) take(count int) []string {
	c.t.Helper()
	var got []string
	for range count {
		e := c.next()
		if e.name != "record" {
			c.t.Fatalf("got %+v, want a record", e)
		}
		got = append(got, e.data)
	}
	return got
}

// quick are times for tests; those that are not to pass are as usual.
func quick(change func(*times)) times {
	t := usual
	change(&t)
	return t
}

func TestStreamBeginsAndGoesOn(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	s.write(t, topic, &kgo.Record{
		Key: []byte("k"), Value: []byte("{\"n\":\n0}"), Timestamp: time.UnixMilli(1_700_000_000_123),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{0xff}}, {Key: "g", Value: []byte("x")}},
	}, &kgo.Record{Key: nil, Value: nil, Timestamp: time.UnixMilli(1_700_000_000_124)})
	c := s.listen(t, "/stream/"+topic+"?from=earliest", "")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := c.resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	want := []sseEvent{
		{"v1:0-1", "record", fmt.Sprintf("{\"topic\":%q,\"partition\":0,\"offset\":0,\"timestamp\":1700000000123,\"key\":\"k\",\"value\":{\"n\":\n0},"+
			`"headers":[{"name":"h","value":{"base64":"/w=="}},{"name":"g","value":"x"}]}`, topic)},
		{"v1:0-2", "record", fmt.Sprintf(`{"topic":%q,"partition":0,"offset":1,"timestamp":1700000000124,"key":null,"value":null,"headers":[]}`, topic)},
	}
	if diff := cmp.Diff(want, []sseEvent{c.next(), c.next()}, cmp.AllowUnexported(sseEvent{})); diff != "" {
		t.Error(diff)
	}
	if text := c.text.String(); !strings.HasPrefix(text, "retry: 3000\n: ok\nid: v1:0-0\n\n") {
		t.Errorf("the stream begins with %.60q", text)
	}
	s.write(t, topic, values("later")...)
	if e := c.next(); e.id != "v1:0-3" || !strings.Contains(e.data, `"value":"later"`) {
		t.Errorf("got %+v", e)
	}
}

func TestStreamStartsFiltersAndFormats(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	var records []*kgo.Record
	for i := range 6 {
		records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "%c%d", "ab"[i%2], i), Value: fmt.Appendf(nil, "%d", i)})
	}
	records = append(records, &kgo.Record{Key: []byte("z"), Value: []byte("two\r\nlines\xff")})
	s.write(t, topic, records...)
	for _, test := range []struct {
		name, query, lastID string
		want                []string
	}{
		{"offset", "from=4&format=text", "", []string{"4", "5", "two\nlines\uFFFD"}},
		{"filter", "from=earliest&filter=key:b*&format=text", "", []string{"1", "3", "5"}},
		{"pattern", "from=earliest&format=text&pattern=%7B%22value%22%3A%5B2%2C4%5D%7D", "", []string{"2", "4"}},
		{"partition", "from=5&partition=0&format=base64", "", []string{"NQ==", "dHdvDQpsaW5lc/8="}},
		{"resumed", "from=earliest&format=text", "v1:0-5", []string{"5", "two\nlines\uFFFD"}},
		{"resumed by the query", "last_event_id=v1:0-6&format=text", "", []string{"two\nlines\uFFFD"}},
		{"the HTTP header wins", "last_event_id=v1:0-0&format=text", "v1:0-6", []string{"two\nlines\uFFFD"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := s.listen(t, "/stream/"+topic+"?"+test.query, test.lastID)
			if diff := cmp.Diff(test.want, c.take(len(test.want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStreamIsRefused(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	for _, test := range []struct {
		name, path, accept, lastID string
		want                       int
	}{
		{"no such topic", "/stream/none", "", "", 404},
		{"no such partition", "/stream/" + topic + "?partition=1", "", "", 404},
		{"format", "/stream/" + topic + "?format=xml", "", "", 400},
		{"from", "/stream/" + topic + "?from=x", "", "", 400},
		{"filter", "/stream/" + topic + "?filter=x", "", "", 400},
		{"pattern", "/stream/" + topic + "?pattern=x", "", "", 400},
		{"last event id", "/stream/" + topic, "", "v1:x", 400},
		{"group", "/stream/" + topic + "?group=", "", "", 400},
		{"group of no topic", "/stream/none?group=g", "", "", 404},
		{"another type", "/stream/" + topic, "application/json", "", 406},
		{"a type that is refused", "/stream/" + topic, "text/event-stream;q=0", "", 406},
		{"a client that must not come back", "/stream/" + topic, "", "v1:end", 204},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.accept != "" {
				req.Header.Set("Accept", test.accept)
			}
			req.Header.Set("Last-Event-ID", test.lastID)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var failure struct {
				Code    int `json:"error_code"`
				Message string
			}
			if resp.StatusCode != 204 {
				if err := json.NewDecoder(resp.Body).Decode(&failure); err != nil || failure.Message == "" {
					t.Errorf("the body is not an error: %v", err)
				}
			}
			if resp.StatusCode != test.want {
				t.Errorf("got %s %+v, want %d", resp.Status, failure, test.want)
			}
		})
	}
	resp, err := http.Head(s.url + "/stream/" + topic)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %s %v", resp.Status, resp.Header)
	}
}

func TestStreamBeatsAndTellsWhereItIs(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), quick(func(t *times) { t.heartbeat = 50 * time.Millisecond }))
	topic := s.topic(t, 1)
	c := s.listen(t, "/stream/"+topic+"?filter=key:never", "")
	s.write(t, topic, values("a", "b")...)
	within(t, "a heartbeat with the new id", func() bool {
		line, err := c.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		c.text.WriteString(line)
		return strings.Contains(c.text.String(), ": hb\nid: v1:0-2\n")
	})
}

func TestStreamEnds(t *testing.T) {
	brokers := brokertest.Brokers(t)
	t.Run("when it is old", func(t *testing.T) {
		s := startServer(t, brokers, quick(func(t *times) { t.stream = 50 * time.Millisecond }))
		c := s.listen(t, "/stream/"+s.topic(t, 1), "")
		if e := c.next(); e.name != "end" || e.data != `{"reason":"max_duration"}` {
			t.Errorf("got %+v", e)
		}
		if _, err := c.read(); err == nil {
			t.Error("the stream goes on")
		}
	})
	t.Run("when klamm stops", func(t *testing.T) {
		s := startServer(t, brokers, usual)
		c := s.listen(t, "/stream/"+s.topic(t, 1), "")
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop(t.Context()) }()
		if e := c.next(); e.name != "end" || e.data != `{"reason":"stopping"}` {
			t.Errorf("got %+v", e)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	t.Run("when the caller may not read any more", func(t *testing.T) {
		var shut closable
		s := startServer(t, brokers, quick(func(t *times) { t.recheck = 20 * time.Millisecond }), &shut)
		c := s.listen(t, "/stream/"+s.topic(t, 1), "")
		shut.closed.Store(true)
		if e := c.next(); e.name != "error" || !strings.Contains(e.data, `"status":403`) {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("when its topic is deleted", func(t *testing.T) {
		if testing.Short() {
			t.Skip("waits for several seconds")
		}
		s := startServer(t, brokers, usual)
		topic := s.topic(t, 1)
		c := s.listen(t, "/stream/"+topic, "")
		if _, err := s.cluster.Admin().DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		if e := c.next(); e.name != "error" || e.id != lastID || !strings.Contains(e.data, `"status":404`) {
			t.Errorf("got %+v", e)
		}
	})
}

// shortLived gives everybody credentials that expire soon.
type shortLived struct{}

func (shortLived) Authenticate(*http.Request) (gate.Principal, error) {
	return gate.Principal{Name: "User:fly", Expires: time.Now().Add(500 * time.Millisecond)}, nil
}

func TestStreamsEndWithTheirCredentials(t *testing.T) {
	s := startServerFor(t, []front.Authenticator{shortLived{}}, brokertest.Brokers(t), quick(func(t *times) { t.silent = 100 * time.Millisecond }))
	topic := s.topic(t, 1)
	if e := s.listen(t, "/stream/"+topic, "").next(); e.name != "end" || e.data != `{"reason":"credentials_expired"}` {
		t.Errorf("got %+v", e)
	}
	if got := s.open(t, "/ws/"+topic).closed(); got != closeExpired {
		t.Errorf("closed with %d, want %d", got, closeExpired)
	}
}

// closable is a policy that refuses everything once it is closed.
type closable struct{ closed atomic.Bool }

func (c *closable) Check(context.Context, *gate.Call) error {
	if c.closed.Load() {
		return &gate.Error{Kind: gate.Denied, Message: "not any more"}
	}
	return nil
}

func TestStreamTellsOfGaps(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	s.write(t, topic, values("a", "b", "c")...)
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 2})
	if _, err := s.cluster.Admin().DeleteRecords(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	c := s.listen(t, "/stream/"+topic+"?format=text", "v1:0-1")
	want := []sseEvent{{"v1:0-2", "gap", `{"partition":0,"requested":1,"earliest":2}`}, {"v1:0-3", "record", "c"}}
	if diff := cmp.Diff(want, []sseEvent{c.next(), c.next()}, cmp.AllowUnexported(sseEvent{})); diff != "" {
		t.Error(diff)
	}
}

func TestStreamOfASlowClientEndsAndHoldsUpNobody(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), quick(func(t *times) { t.blocked = 3 * time.Second }))
	topic := s.topic(t, 1)
	slow, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /stream/%s?from=earliest HTTP/1.1\r\nHost: klamm\r\n\r\n", topic)
	quickly := s.listen(t, "/stream/"+topic+"?from=earliest&format=text", "")
	value := strings.Repeat("x", 100<<10)
	const count = 200
	timer := time.AfterFunc(2*time.Minute, quickly.close)
	defer timer.Stop()
	arrived := make(chan error, 1)
	go func() {
		for range count {
			if e, err := quickly.read(); err != nil || e.name != "record" {
				arrived <- fmt.Errorf("got %.100q, %w; want a record", e, err)
				return
			}
		}
		arrived <- nil
	}()
	for range count / 20 {
		var batch []*kgo.Record
		for range 20 {
			batch = append(batch, values(value)...)
		}
		s.write(t, topic, batch...)
	}
	if err := <-arrived; err != nil {
		t.Fatal(err)
	} // What is in the buffers can be read still, but not all of it.
	time.Sleep(4 * time.Second) // the client sleeps, that is the case
	_ = slow.SetReadDeadline(time.Now().Add(time.Minute))
	read, buffer := 0, make([]byte, 64<<10)
	for {
		n, err := slow.Read(buffer)
		read += n
		if err != nil {
			break
		}
	}
	if read >= count*len(value) {
		t.Errorf("the slow client has got all %d bytes", read)
	}
}

func TestStreamOfAGroup(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), quick(func(t *times) { t.commit = 50 * time.Millisecond }))
	topic := s.topic(t, 2)
	group := topic + "-group"
	path := "/stream/" + topic + "?format=text&from=earliest&group=" + group
	committed := func(p int32) int64 {
		at, err := s.cluster.CommittedOffsets(t.Context(), group, []kafka.TopicPartition{{Topic: topic, Partition: p}})
		if err != nil || len(at) == 0 {
			return -1
		}
		return at[0].Offset
	}
	record := func(partition int32, value string) *kgo.Record {
		return &kgo.Record{Partition: partition, Value: []byte(value)}
	}
	s.write(t, topic, record(0, "a"), record(0, "b"), record(1, "c"))
	c := s.listen(t, path, "")
	got := map[string]bool{}
	for _, v := range c.take(3) {
		got[v] = true
	}
	if len(got) != 3 {
		t.Errorf("got %v", got)
	}
	within(t, "what was flushed is committed", func() bool { return committed(0) == 2 && committed(1) == 1 })
	c.close()

	// A second member takes over; what the id says has arrived does not come again.
	s.write(t, topic, record(0, "d"), record(0, "e"))
	if got := s.listen(t, path, "v1:0-3,1-1").take(1); got[0] != "e" {
		t.Errorf("got %q, want e: d was acknowledged", got)
	}
}

func TestGroupStreamRepeatsWhatMayBeLost(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual) // commits come after 5 s only
	topic := s.topic(t, 1)
	path := "/stream/" + topic + "?format=text&from=earliest&group=" + topic
	s.write(t, topic, values("a", "b")...)
	c := s.listen(t, path, "")
	c.take(2)
	c.close()
	if diff := cmp.Diff([]string{"a", "b"}, s.listen(t, path, "").take(2)); diff != "" {
		t.Error(diff)
	}
}

func TestStreamOfCloudEvents(t *testing.T) {
	s := startServer(t, brokertest.Brokers(t), usual)
	topic := s.topic(t, 1)
	s.write(t, topic, &kgo.Record{Key: []byte("k"), Value: []byte(`{"n":1}`)}, &kgo.Record{
		Value:   []byte("{\"specversion\":\"1.0\",\r\n\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\"}"),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
	})
	type read struct{ ID, Type, PartitionKey string }
	want := []read{{"partition:0/offset:0", "dev.knative.kafka.event", "k"}, {"7", "t", ""}}
	for _, c := range []struct {
		name, query, accept string
		batch               bool
	}{
		{"by parameter", "&format=cloudevents", "text/event-stream", false},
		{"by type", "", "application/cloudevents+json", false},
		{"by one of several types", "", "text/event-stream, Application/CloudEvents+JSON", false},
		{"in batches", "", "application/cloudevents-batch+json", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := s.tryListenAs(t.Context(), "/stream/"+topic+"?from=earliest"+c.query, "", c.accept)
			if err != nil {
				t.Fatal(err)
			}
			defer client.close()
			client.t = t
			if media := client.resp.Header.Get("Content-Type"); media != "text/event-stream" {
				t.Errorf("got %s", media)
			}
			for i, data := range client.take(len(want)) {
				got := make([]read, 1)
				var into any = &got[0]
				if c.batch {
					into = &got
				}
				if err := json.Unmarshal([]byte(data), into); err != nil || len(got) != 1 || got[0] != want[i] {
					t.Errorf("got %s, want %+v", data, want[i])
				}
			}
		})
	}
}
