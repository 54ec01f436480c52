package confluent3_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

func dialects(g *gate.Gate) []front.Dialect {
	return []front.Dialect{confluent3.Dialect(g, confluent3.Config{})}
}

// A line is the answer to one record of a stream.
type line struct {
	Code      int             `json:"error_code"`
	Message   string          `json:"message"`
	Partition int32           `json:"partition_id"`
	Offset    int64           `json:"offset"`
	Timestamp string          `json:"timestamp"`
	Value     json.RawMessage `json:"value"`
}

// A duplex is a stream of records whose answers are read while it is open.
type duplex struct {
	records *io.PipeWriter
	answer  *bufio.Reader
	done    func()
}

// open begins a stream with a first record, since an answer begins with its own.
func open(t testing.TB, url, firstRecord string) *duplex {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	go func() { _, _ = io.WriteString(w, firstRecord) }()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %s %v", resp.Status, resp.Header)
	}
	return &duplex{w, bufio.NewReaderSize(resp.Body, 64<<10), func() { _ = resp.Body.Close() }}
}

// next reads one answer; io.EOF is the end of the stream.
func (d *duplex) next() (l line, err error) {
	text, err := d.answer.ReadBytes('\n')
	if err != nil {
		return l, err
	}
	if !bytes.HasSuffix(text, []byte("\r\n")) {
		return l, fmt.Errorf("%q does not end as it should", text)
	}
	return l, json.Unmarshal(text, &l)
}

func topic(t testing.TB, s *fronttest.Server, partitions int32) (name, url string) {
	t.Helper()
	name = fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
	s.Topic(t, name, partitions)
	return name, s.URL + "/v3/clusters/any/topics/" + name + "/records"
}

func TestStreamAnswersWhileItIsOpen(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	const record = `{"value":{"type":"JSON","data":{"i":1}},"timestamp":"2024-02-05T19:14:42.5Z"}`
	d := open(t, url, record)
	defer d.done()
	for i := range 5 {
		if i > 0 { // in two pieces, the second of which ends the record
			for _, part := range []string{record[:30], record[30:]} {
				if _, err := io.WriteString(d.records, part); err != nil {
					t.Fatal(err)
				}
			}
		}
		l, err := d.next()
		if err != nil || l.Code != 200 || l.Offset != int64(i) || l.Timestamp != "2024-02-05T19:14:42.500Z" || string(l.Value) != `{"type":"JSON","size":7}` {
			t.Fatalf("record %d: %+v, %v", i, l, err)
		}
	}
	if err := d.records.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err := d.next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %+v, %v; want the end", l, err)
	}
}

// TestStreamIsBounded sends more than any buffer holds and counts what comes
// back and what is kept.
func TestStreamIsBounded(t *testing.T) {
	records := 1_000_000
	if testing.Short() || raceEnabled || os.Getenv("KLAMM_TEST_BROKERS") == "" {
		records = 100_000 // a million would show no more, and takes its time
	}
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	name, url := topic(t, s, 2)
	const record = `{"value":{"type":"BINARY","data":"AAECAwQFBgc="}}` + "\n"
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	d := open(t, url, record)
	defer d.done()
	go func() {
		block := strings.Repeat(record, 1000)
		for n := 1; n < records; n += 1000 {
			if _, err := io.WriteString(d.records, block[:min(1000, records-n)*len(record)]); err != nil {
				return
			}
		}
		_ = d.records.Close()
	}()
	next := map[int32]int64{}
	for i := range records {
		l, err := d.next()
		if err != nil || l.Code != 200 || l.Offset != next[l.Partition] {
			t.Fatalf("record %d: %+v, %v; want offset %d", i, l, err, next[l.Partition])
		}
		next[l.Partition]++
		if i == records*3/4 {
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
	}
	if _, err := d.next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end", err)
	}
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d records in %s, %d KiB more in use on the way", records, time.Since(start).Round(time.Millisecond), grown>>10)
	if grown > 64<<20 {
		t.Errorf("%d MiB more are in use in the middle of the stream", grown>>20)
	}
	ranges, err := s.Cluster.Ranges(t.Context(), name)
	if err != nil || ranges[0].End+ranges[1].End != int64(records) {
		t.Errorf("%v %v, want %d records", ranges, err, records)
	}
}

// TestLargeRecord sends a record of 40 MB between two small ones; a broker may
// refuse it, but there is an answer.
func TestLargeRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 40 MB")
	}
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	const small = `{"value":{"type":"JSON","data":1}}`
	body := small + `{"value":{"type":"STRING","data":"` + strings.Repeat("x", 40<<20) + `"}}` + strings.Repeat(small, 3000)
	start := time.Now()
	codes := post(t, url, strings.NewReader(body))
	t.Logf("answered in %s with %d", time.Since(start).Round(time.Millisecond), codes[1])
	if len(codes) != 3002 || codes[0] != 200 || codes[3001] != 200 || codes[1] != 200 && codes[1] != 413 {
		t.Errorf("got %d answers, beginning with %v", len(codes), codes[:min(3, len(codes))])
	}
}

// post sends a whole stream and returns the codes of its answers.
func post(t testing.TB, url string, body io.Reader) (codes []int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	d := &duplex{nil, bufio.NewReader(resp.Body), func() { _ = resp.Body.Close() }}
	defer d.done()
	for {
		l, err := d.next()
		if errors.Is(err, io.EOF) {
			return codes
		}
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, l.Code)
	}
}

// TestRecordTooLargeForAStream sees that the limit ends the stream with its
// reason, and that what came before it is written.
func TestRecordTooLargeForAStream(t *testing.T) {
	for _, largest := range []int{40, 1000, 40_000, 100_000, 200_000} {
		s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect {
			return []front.Dialect{confluent3.Dialect(g, confluent3.Config{RecordBytes: int64(largest)})}
		}})
		_, url := topic(t, s, 1)
		sized := func(bytes int) string {
			head, tail := `{"value":{"type":"STRING","data":"`, `"}}`
			return head + strings.Repeat("x", bytes-len(head)-len(tail)) + tail
		}
		fits := sized(largest)
		for _, more := range []int{1, 100_000} {
			if codes := post(t, url, strings.NewReader(fits+" \n"+fits+sized(largest+more)+fits)); fmt.Sprint(codes) != "[200 200 400]" {
				t.Errorf("%d bytes more than %d: got %v", more, largest, codes)
			}
		}
		if codes := post(t, url, strings.NewReader(fits+`{"value":{"type":"STRING","data":"`+strings.Repeat("x", largest))); fmt.Sprint(codes) != "[200 400]" {
			t.Errorf("a record without an end: got %v", codes)
		}
	}
}

// TestManyTinyRecords has more records in one piece than a chunk takes.
func TestManyTinyRecords(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	const n = 70_000
	codes := post(t, url, strings.NewReader(strings.Repeat("{}", n)))
	if len(codes) != n {
		t.Fatalf("got %d answers, want %d", len(codes), n)
	}
	for i, code := range codes {
		if code != 200 {
			t.Fatalf("record %d: %d", i, code)
		}
	}
}

// TestClientsThatVanish leaves streams in the middle of a record and of an
// answer; nothing of them may remain.
func TestClientsThatVanish(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	path := strings.TrimPrefix(url, s.URL)
	for i := range 50 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Repeat(`{"value":{"type":"JSON","data":1}}`, 100*i) + `{"value":`
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: klamm\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", path, len(body), body)
		_ = conn.Close()
	}
	buf := make([]byte, 4<<20)
	for end := time.Now().Add(time.Minute); ; {
		stacks := string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "confluent3.(*stream)") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("streams without a client are still there:\n%s", stacks)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// TestStreamWithoutABroker sees that a stream ends with answers and not with
// silence when nobody takes its records.
func TestStreamWithoutABroker(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects, Brokers: []string{"127.0.0.1:1"}, ProduceTimeoutMs: 1000})
	start := time.Now()
	codes := post(t, s.URL+"/v3/clusters/any/topics/t/records", strings.NewReader(strings.Repeat(`{"value":{"type":"JSON","data":1}}`, 10)))
	if took := time.Since(start); len(codes) != 10 || codes[0] != 50003 && codes[0] != 40401 || took > 30*time.Second {
		t.Errorf("got %v after %s", codes, took)
	}
}

// BenchmarkStream is one stream of records of 100 bytes, beside the same records
// handed to the cluster without HTTP and JSON.
func BenchmarkStream(b *testing.B) {
	value := strings.Repeat("v", 100)
	b.Run("stream", func(b *testing.B) {
		s := fronttest.Start(b, fronttest.Setup{Dialects: dialects})
		_, url := topic(b, s, 1)
		record := `{"value":{"type":"STRING","data":"` + value + `"}}`
		b.ResetTimer()
		d := open(b, url, record)
		defer d.done()
		go func() {
			block := strings.Repeat(record, 1000)
			for n := 1; n < b.N; n += 1000 {
				if _, err := io.WriteString(d.records, block[:min(1000, b.N-n)*len(record)]); err != nil {
					return
				}
			}
			_ = d.records.Close()
		}()
		lines := 0
		for {
			text, err := d.answer.ReadSlice('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || !bytes.HasPrefix(text, []byte(`{"error_code":200,`)) {
				b.Fatalf("%s %v", text, err)
			}
			lines++
		}
		if lines != b.N {
			b.Fatalf("%d answers to %d records", lines, b.N)
		}
	})
	b.Run("native", func(b *testing.B) { native(b, fronttest.Start(b, fronttest.Setup{Dialects: dialects}).Cluster, value) })
}

func native(b *testing.B, c *kafka.Cluster, value string) {
	name := fmt.Sprintf("native-%d", time.Now().UnixNano())
	if err := c.EnsureTopic(b.Context(), name, 1, nil); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var pending sync.WaitGroup
	for n := 0; n < b.N; n += 1000 {
		block := make([]kgo.Record, min(1000, b.N-n))
		pending.Add(len(block))
		for i := range block {
			block[i] = kgo.Record{Topic: name, Partition: -1, Value: []byte(value)}
			c.Send(b.Context(), &block[i], func(err error) {
				if err != nil {
					b.Error(err)
				}
				pending.Done()
			})
		}
	}
	pending.Wait()
}

func TestAStreamWithoutRecordsIsNone(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	for _, c := range []struct {
		name string
		body io.Reader
	}{
		{"no body", nil},
		{"an empty body", strings.NewReader("")},
		{"white space", strings.NewReader(" \r\n\t")},
		{"white space of no announced length", io.MultiReader(strings.NewReader("\n"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, c.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if want := `{"error_code":42206,"message":"Payload error. Request body is empty. Data is required."}`; err != nil || resp.StatusCode != http.StatusUnprocessableEntity || string(body) != want {
				t.Errorf("got %s %s, %v; want 422 %s", resp.Status, body, err, want)
			}
		})
	}
}

// A stream that says that it is ISO-8859-1 is read as such: records are UTF-8, as
// everywhere else.
func TestStreamInLatin1(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	name, url := topic(t, s, 1)
	for i, charset := range []string{"ISO-8859-1", `"iso-8859-1"`, "utf-8"} {
		body := `{"key":{"type":"JSON","data":{"é":"ÿ"}},"value":{"type":"STRING","data":"café"},"headers":[{"name":"ß","value":"YQ=="}]}`
		size := len("café")
		if charset != "utf-8" {
			var latin []byte
			for _, r := range body {
				latin = append(latin, byte(r))
			}
			body = string(latin)
		}
		resp, err := http.Post(url, "application/json; charset="+charset, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var l line
		err = json.NewDecoder(resp.Body).Decode(&l)
		_ = resp.Body.Close()
		if err != nil || l.Code != 200 || string(l.Value) != fmt.Sprintf(`{"type":"STRING","size":%d}`, size) {
			t.Fatalf("%s: %+v, %v", charset, l, err)
		}
		records, err := s.Cluster.Fetch(t.Context(), name, 0, int64(i), kafka.Limits{Records: 1})
		if err != nil || len(records) != 1 {
			t.Fatal(records, err)
		}
		r := records[0]
		if string(r.Key) != `{"é":"ÿ"}` || string(r.Value) != "café" || len(r.Headers) != 1 || r.Headers[0].Key != "ß" {
			t.Errorf("%s: key %q, value %q, headers %q", charset, r.Key, r.Value, r.Headers)
		}
	}
}
