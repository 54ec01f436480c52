package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// streamServer answers produce streams as Confluent's v3 does, one record after
// the other; answer makes the line for a record that was produced.
func streamServer(t *testing.T, c *conductor, answer func(topic string, size int, offset int64) string) string {
	t.Helper()
	client, err := newProducer(c.brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/clusters/{cluster}/topics/{topic}/records", func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		for d := json.NewDecoder(r.Body); ; {
			var record struct {
				Value struct {
					Type string          `json:"type"`
					Data json.RawMessage `json:"data"`
				} `json:"value"`
			}
			if err := d.Decode(&record); err != nil {
				return // the end, or the load has given up
			}
			produced := &kgo.Record{Topic: r.PathValue("topic"), Value: record.Value.Data}
			if err := client.ProduceSync(r.Context(), produced).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(w, answer(produced.Topic, len(record.Value.Data), produced.Offset))
			_ = control.Flush()
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func goodLine(topic string, size int, offset int64) string {
	return fmt.Sprintf(`{"error_code":200,"topic_name":%q,"offset":%d,"value":{"type":"JSON","size":%d}}`+"\r\n", topic, offset, size)
}

func TestStreamsCountWhatTheTopicHolds(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	addr := streamServer(t, c, goodLine)
	for _, side := range []struct {
		name   string
		config func(short stretch, topic string) any
		count  int64 // 0: as many as there was time for
	}{
		{"load-stream", func(short stretch, topic string) any {
			return streamRole{Stretch: short, Addr: addr, Topic: topic, Size: 1024, PID: os.Getpid()}
		}, 0},
		{"load-stream", func(_ stretch, topic string) any {
			return streamRole{Addr: addr, Topic: topic, Size: 1024, Count: 77, PID: os.Getpid()}
		}, 77},
		{"yardstick-stream", func(short stretch, topic string) any {
			return streamYardstick{Stretch: short, Brokers: c.brokers, Topic: topic, Size: 1024}
		}, 0},
	} {
		t.Run(fmt.Sprint(side.name, side.count), func(t *testing.T) {
			topic, r := c.playFor(t, side.name, side.config)
			f := r.Figures
			if f.Records < 1 || f.Bytes != f.Records*1024 || f.RecordsPerSecond <= 0 || f.P50Micros <= 0 || f.P99Micros < f.P50Micros || r.Acknowledged < f.Records {
				t.Errorf("figures: %+v, acknowledged %d", f, r.Acknowledged)
			}
			if side.count > 0 && r.Acknowledged != side.count {
				t.Errorf("%d records, want %d", r.Acknowledged, side.count)
			}
			if err := c.produced(t.Context(), topic, r.Acknowledged); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStreamEndsAtAWrongAnswer(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	if err := c.createTopic(t.Context(), "wrong"); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []struct{ name, line, want string }{
		{"refused", `{"error_code":500,"message":"no"}` + "\r\n", "was not produced"},
		{"no JSON", "produced\r\n", "invalid character"},
		{"another topic", goodLine("right", 1024, 1), "was not produced"},
		{"too short", goodLine("wrong", 1023, 1), "was not produced"},
		{"no offset", goodLine("wrong", 1024, -1), "was not produced"},
		{"two answers", goodLine("wrong", 1024, 1) + goodLine("wrong", 1024, 2), "after the last answer"},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			addr := streamServer(t, c, func(string, int, int64) string { return wrong.line })
			_, err := streamRole{Addr: addr, Topic: "wrong", Size: 1024, Count: 10, PID: os.Getpid()}.stream(t.Context())
			if err == nil || !strings.Contains(err.Error(), wrong.want) {
				t.Errorf("got %v, want ...%s...", err, wrong.want)
			}
		})
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	if err := c.createTopic(t.Context(), "silent"); err != nil {
		t.Fatal(err)
	}
	addr := streamServer(t, c, func(string, int, int64) string { return "" })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (streamRole{Addr: addr, Topic: "silent", Size: 1024, Count: 10, PID: os.Getpid()}).stream(ctx); err == nil {
		t.Error("a stream without answers ends well")
	}
}
