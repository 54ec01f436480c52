package confluent2

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
)

func TestFirstReadHasData(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	if err := p.cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Key: []byte(`{"k": 1}`), Value: []byte("[1]")},
		&kgo.Record{Topic: topic, Partition: 0, Value: nil}, &kgo.Record{Topic: topic, Partition: 0, Key: []byte{}, Value: []byte("1.0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":60000`)
	c.subscribe(topic)
	start := time.Now()
	r := p.call(t, "GET", c.path+"/records", mediaJSON, "")
	want := fmt.Sprintf(`[{"topic":%q,"key":{"k": 1},"value":[1],"partition":0,"offset":0},{"topic":%[1]q,"key":null,"value":null,"partition":0,"offset":1},{"topic":%[1]q,"key":null,"value":1.0,"partition":0,"offset":2}]`, topic)
	if r.status != 200 || r.body != want || r.header.Get("Content-Type") != mediaJSON || r.header.Get("Klamm-Lease") != "300" {
		t.Errorf("got %d %s, want %s", r.status, r.body, want)
	}
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("took %s", took)
	}
	refused(t, "binary", p.call(t, "GET", c.path+"/records", "*/*", ""), 406, 40601, "embedded data format")
	if r := p.call(t, "GET", c.path+"/records", "text/plain", ""); r.status != 406 || r.body != "" {
		t.Errorf("text/plain: %d %s", r.status, r.body)
	}
	c.must(204, "DELETE", "", "")
	b := p.create(t, topic+"-b", "binary")
	b.must(204, "POST", "/assignments", partitions(topic, 0))
	if r := p.call(t, "GET", b.path+"/records", "", ""); r.status != 200 || !strings.Contains(r.body, `"key":"eyJrIjogMX0=","value":"WzFd"`) || r.header.Get("Content-Type") != mediaBinary {
		t.Errorf("binary: %d %s", r.status, r.body)
	}
}

func TestAnEmptyReadTakesItsTime(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":2500`)
	c.fails("GET", "/records", "", 406, 40601, "")
	refused(t, "nothing to read", p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 500, "not subscribed")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	c.read("?timeout=1")
	long := p.create(t, topic+"-long", "json", `"consumer.request.timeout.ms":60000`)
	long.must(204, "POST", "/assignments", partitions(topic, 0))
	for _, step := range []struct {
		of    instance
		query string
		least time.Duration
	}{{c, "?timeout=60000", 2450 * time.Millisecond}, {long, "?timeout=300", 290 * time.Millisecond}, {c, "?timeout=0", 2450 * time.Millisecond}} {
		start := time.Now()
		records := step.of.read(step.query)
		if took := time.Since(start); len(records) != 0 || took < step.least || took > 40*time.Second {
			t.Errorf("%s: %d records after %s", step.query, len(records), took)
		}
	}
	for _, query := range []string{"?timeout=soon", "?max_bytes=all"} {
		refused(t, query, p.call(t, "GET", c.path+"/records"+query, mediaJSON, ""), 404, 404, "")
	}
}

func TestMaxBytes(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, slices.Repeat([]string{strings.Repeat("x", 100)}, 20)...)
	c := p.create(t, topic, "binary")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	at := int64(0)
	for _, step := range []struct{ max, want int }{{350, 3}, {300, 2}, {301, 3}, {150, 1}, {-1, 11}} {
		records := c.read(fmt.Sprintf("?max_bytes=%d", step.max))
		if len(records) != step.want || records[0].Offset != at {
			t.Errorf("max_bytes=%d: got %d records from %v, want %d from %d", step.max, len(records), records, step.want, at)
		}
		at += int64(len(records))
	}
}

func TestDeleteEndsARead(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	c := p.create(t, topic, "json", `"consumer.request.timeout.ms":60000`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	c.read("?timeout=1")
	read := make(chan reply, 1)
	go func() { read <- c.call(t, "GET", c.path+"/records", mediaJSON, "") }()
	time.Sleep(100 * time.Millisecond) // so that the read is under way; before it is, the result is the same
	c.must(204, "DELETE", "", "")
	select {
	case r := <-read:
		refused(t, "the read", r, 404, 40403, "Consumer instance not found.")
	case <-time.After(40 * time.Second):
		t.Error("the read goes on")
	}
}

func TestBadRecords(t *testing.T) {
	t.Parallel()
	for _, mode := range []gate.BadRecords{gate.HaltAtBad, gate.SkipBad, gate.FailAtBad} {
		for _, big := range []bool{false, true} {
			p := startProxy(t, Config{}, consumerConfig{bad: mode})
			topic := p.topic(t, 1)
			spoiled := "{broken"
			if big {
				spoiled = `"` + strings.Repeat("x", 200_000) + `"`
			}
			p.put(t, topic, 0, `{"n":0}`, spoiled, `{"n":2}`)
			c := p.create(t, topic, "json", `"consumer.request.timeout.ms":60000`)
			c.must(204, "POST", "/assignments", partitions(topic, 0))
			name := fmt.Sprintf("mode %d, big %v", mode, big)
			status, code := 408, 40801
			if big {
				status, code = 413, 413
			}
			stopped := func() {
				t.Helper()
				refused(t, name, p.call(t, "GET", c.path+"/records?max_bytes=100000", mediaJSON, ""), status, code, "topic "+topic+", partition 0, offset 1: ")
			}
			switch {
			case mode == gate.SkipBad:
				records := c.read("?max_bytes=100000")
				for len(records) > 0 && len(records) < 3 {
					records = append(records, c.read("?max_bytes=100000")...)
				}
				if len(records) != 3 || records[1].Error == "" || records[1].Code != code || string(records[1].Value) != "null" || records[1].Offset != 1 || string(records[2].Value) != `{"n":2}` {
					t.Errorf("%s: %+v", name, records)
				}
				continue
			case mode == gate.FailAtBad && !big:
				stopped()
				stopped()
			case mode == gate.FailAtBad:
				if records := c.read("?max_bytes=100000"); len(records) != 1 {
					t.Errorf("%s: %+v", name, records)
				}
				for range 2 {
					start := time.Now()
					if records := c.read("?max_bytes=100000"); len(records) != 0 || time.Since(start) > 30*time.Second {
						t.Errorf("%s: %+v after %s", name, records, time.Since(start))
					}
				}
			default:
				if records := c.read("?max_bytes=100000"); len(records) != 1 {
					t.Errorf("%s: %+v", name, records)
				}
				stopped()
				stopped()
			}
			c.must(204, "POST", "/positions", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":2}]}`, topic))
			if diff := cmp.Diff([]string{`{"n":2}`}, c.values(1, "")); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestRepeatedReads(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 30)...)
	c := p.create(t, topic, "json")
	c.subscribe(topic)
	read := func(token string) string {
		req, _ := http.NewRequest("GET", p.url+c.path+"/records?max_bytes=12", nil)
		req.Header.Set("Accept", mediaJSON)
		req.Header.Set("Klamm-Read", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	a, a2, b, b2 := read("a"), read("a"), read("b"), read("b")
	if !strings.HasPrefix(a, `[{"topic"`) || a != a2 || b != b2 || a == b || read("a") != a {
		t.Errorf("got %s, %s, %s, %s", a, a2, b, b2)
	}
	c.must(200, "POST", "/offsets", "")
	if again := read("a"); again == a {
		t.Errorf("after the commit the same: %s", again)
	}
}

func TestFetchMinBytes(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 5)...)
	c := p.create(t, topic, "json", `"fetch.min.bytes":5`, `"consumer.request.timeout.ms":2500`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	// waits sees that each read takes its whole time; on a slow machine the records
	// may take several.
	waits := func(what string, c instance, want int) {
		t.Helper()
		for got, reads := 0, 0; got < want && reads < 10; reads++ {
			start := time.Now()
			got += len(c.read(""))
			if took := time.Since(start); took < 2450*time.Millisecond || got > want {
				t.Errorf("%s: %d records, the last of them after %s", what, got, took)
			}
			if reads == 9 && got < want {
				t.Errorf("%s: %d records", what, got)
			}
		}
	}
	waits("with no more than the minimum", c, 5)
	p.put(t, topic, 0, numbers(10, 15)...)
	d := p.create(t, topic+"-more", "json", `"fetch.min.bytes":5`, `"consumer.request.timeout.ms":60000`)
	d.must(204, "POST", "/assignments", partitions(topic, 0))
	start := time.Now()
	if records := d.read(""); len(records) < 6 || time.Since(start) > 40*time.Second { // six are seven bytes
		t.Errorf("with more than the minimum: %d records after %s", len(records), time.Since(start))
	}
	patient := startProxy(t, Config{StrictMediaTypes: true}, consumerConfig{})
	topic = patient.topic(t, 1)
	patient.put(t, topic, 0, "1")
	c = patient.create(t, topic, "json", `"consumer.request.timeout.ms":2500`)
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	waits("in strict mode", c, 1)
}

func TestResetNone(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, "1")
	for _, member := range []bool{false, true} {
		c := p.create(t, topic, "json", `"auto.offset.reset":"none"`, `"consumer.request.timeout.ms":60000`)
		if member {
			c.subscribe(topic)
		} else {
			c.must(204, "POST", "/assignments", partitions(topic, 0))
		}
		refused(t, fmt.Sprint("member ", member), p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 50002, "")
		c.must(204, "DELETE", "", "")
	}
	c := p.create(t, topic, "json", `"auto.offset.reset":"none"`)
	c.must(200, "POST", "/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":500}]}`, topic))
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	refused(t, "beyond the end", p.call(t, "GET", c.path+"/records", mediaJSON, ""), 500, 50002, "")
}

func TestExtras(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{RecordExtras: true}, consumerConfig{})
	topic := p.topic(t, 1)
	written := time.Now().Add(-time.Second)
	if err := p.cluster.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Value: []byte("1"), Timestamp: written, Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "n"}}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/assignments", partitions(topic, 0))
	records := c.read("")
	if diff := cmp.Diff([]map[string]any{{"key": "a", "value": "Yg=="}, {"key": "n", "value": nil}}, records[0].Headers); diff != "" || records[0].Timestamp != written.UnixMilli() {
		t.Errorf("%d: %s", records[0].Timestamp, diff)
	}
}

func FuzzParseRead(f *testing.F) {
	for _, s := range []string{"", "timeout=1&max_bytes=2", "timeout=-1", "timeout=x", "max_bytes=99999999999999999999", "%zz", "timeout=9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		timeout, maxBytes, err := parseRead(query, false)
		if err == nil && (timeout < 0 || timeout > longestTimeout || maxBytes < 0) {
			t.Errorf("%q is %s and %d", query, timeout, maxBytes)
		}
	})
}
