package pipe

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
)

func TestStepsAreCutToWhatALogTakes(t *testing.T) {
	const large = 300 << 10
	for _, c := range []struct {
		name                       string
		payload, request, response string
		want                       []string
		least                      int // of the record, in bytes
	}{
		{"small", "a", "b", "c", nil, 0},
		{"one is too large", strings.Repeat("p", large), "b", "c", []string{"payload"}, largestStep - 200},
		{"two are too large", strings.Repeat("p", large), strings.Repeat("q", large), "c", []string{"awsRequest", "payload"}, largestStep - 200},
		{"all are too large", strings.Repeat("p", large), strings.Repeat("q", large), strings.Repeat("r", large), []string{"awsRequest", "awsResponse", "payload"}, largestStep - 200},
		{"together they are", strings.Repeat("p", 100<<10), strings.Repeat("q", 100<<10), strings.Repeat("r", 100<<10), []string{"awsRequest", "awsResponse", "payload"}, largestStep - 200},
		{"escapes count", strings.Repeat("\x01\"\n\u2028é<", 100<<10), "b", "c", []string{"payload"}, largestStep - 200},
		{"bytes that are no text", strings.Repeat("\xff", 100<<10), "", "", []string{"payload"}, largestStep - 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := stepRecord{ResourceArn: "arn", MessageType: "X", ExecutionID: "id", Payload: c.payload, AWSRequest: c.request, AWSResponse: c.response,
				Error: &stepError{Message: strings.Repeat("m", large), Details: strings.Repeat("\x00", large)}}
			text := r.encode()
			if len(text) > largestStep || len(text) < c.least || !json.Valid(text) {
				t.Errorf("%d bytes, want %d to %d: %.200s", len(text), c.least, largestStep, text)
			}
			if diff := cmp.Diff(c.want, r.TruncatedFields); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStepsAreKeptAsObjects(t *testing.T) {
	var mu sync.Mutex
	objects := map[string]string{}
	r := &Runner{metrics: NewMetrics(prometheus.NewRegistry()), cfg: Config{Log: slog.New(slog.DiscardHandler), PutObject: func(_ context.Context, bucket, key, _ string, body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		objects[bucket+":"+key] = string(body)
		return nil
	}}}
	e := &catalog.Execution{PipeARN: "arn:aws:pipes:us-east-1:000000000000:pipe/orders", Log: &catalog.ExecutionLog{Level: "INFO", Bucket: "logs", Prefix: "of/pipes/"}}
	l, err := r.openExecutionLog(e)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := l.begin()
		s.tell(executionStarted)
		s.tell(targetStage.invoking) // not at this level
		s.tell(executionSucceeded)
	}
	l.close()
	lines := ""
	for name, body := range objects {
		lines += body
		if !strings.HasPrefix(name, "logs:of/pipes/orders/") || !strings.HasSuffix(name, ".json") {
			t.Errorf("an object is called %s", name)
		}
	}
	if n := strings.Count(lines, "\n"); n != 6 || strings.Count(lines, "EXECUTION_STARTED") != 3 {
		t.Errorf("%d lines: %s", n, lines)
	}
	r.cfg.PutObject = nil
	if _, err := r.openExecutionLog(e); err == nil {
		t.Error("a log was opened without an object store")
	}
	e.Log.Level = "OFF"
	if l, err = r.openExecutionLog(e); l != nil || err != nil {
		t.Errorf("a log that is off: %v, %v", l, err)
	}
	l.close()
}
