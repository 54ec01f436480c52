package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
)

// mediaEvents is the body of EventBridge's operations.
const mediaEvents = "application/x-amz-json-1.1"

// eventsPut is how many events one request has, the most that PutEvents takes.
const eventsPut = 10

// putEvents measures PutEvents beside the yardstick with as many records in a request, and
// beside a program that produces as many at once. The document of a record is an event's
// detail; the envelope around it is klamm's to write.
func (c *conductor) putEvents(ctx context.Context, klamm, bare *child, addr, bareAddr string) (Case, error) {
	return c.rounds(ctx, Case{Door: "front", Name: "events", Title: fmt.Sprintf("%d events a request, %d connections", eventsPut, c.Connections)}, []contender{
		{"yardstick", true, c.requests(bare, bareAddr, mediaLines, eventsPut)},
		{"native", true, c.native(eventsPut)},
		{"klamm events", false, c.requests(klamm, addr, mediaEvents, eventsPut)},
	}, func(ctx context.Context, topic string, side contender) (Figures, error) {
		if side.yardstick {
			return c.turn(ctx, topic, side)
		}
		return c.turnOnBus(ctx, addr, topic, side)
	})
}

// turnOnBus is turn on an event bus of its own.
func (c *conductor) turnOnBus(ctx context.Context, addr, bus string, side contender) (Figures, error) {
	tags := []map[string]string{{"Key": "klamm:partitions", "Value": fmt.Sprint(c.Partitions)}}
	if _, err := callEvents(ctx, addr, "CreateEventBus", map[string]any{"Name": bus, "Tags": tags}); err != nil {
		return Figures{}, err
	}
	defer func() {
		_, _ = callEvents(context.WithoutCancel(ctx), addr, "DeleteEventBus", map[string]any{"Name": bus})
	}()
	topic := event.BusTopic(bus)
	if err := c.awaitTopics(ctx, []string{topic}); err != nil {
		return Figures{}, err
	}
	result, err := side.work(ctx, bus)
	if err != nil {
		return Figures{}, err
	}
	_, err = c.holdsAll(ctx, topic, result.Acknowledged)
	return result.Figures, err
}

// callEvents calls an operation of EventBridge that answers soon.
func callEvents(ctx context.Context, addr, operation string, body any) (answer map[string]any, err error) {
	header := http.Header{"Content-Type": {mediaEvents}, "X-Amz-Target": {"AWSEvents." + operation}}
	if err := post(ctx, addr, "/", header, body, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	return answer, nil
}

// post makes a call with a JSON body, within adminTimeout, and reads the answer, if there
// is something in it.
func post(ctx context.Context, addr, path string, header http.Header, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err = io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d: %.200s", resp.StatusCode, text)
	case len(text) == 0:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// putBody is a PutEvents whose details are documents.
func putBody(bus string, first int64, records, size int) []byte {
	now := time.Now()
	body := []byte(`{"Entries":[`)
	for i := range records {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"Source":"klamm.bench","DetailType":"document","EventBusName":`...)
		body = scan.AppendString(body, bus)
		body = append(body, `,"Detail":`...)
		body = scan.AppendString(body, string(appendDocument(nil, first+int64(i), now, size)))
		body = append(body, '}')
	}
	return append(body, "]}"...)
}

// put verifies that every event of a request was accepted. Most answers are only counted
// through; each 64th is also parsed.
func (c *checker) put(status int, body []byte) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d, want 200: %.200s", status, body)
	}
	c.seen++
	if fast := bytes.Count(body, []byte(`"EventId":"`)) == c.want && bytes.HasPrefix(body, []byte(`{"FailedEntryCount":0,`)); fast && c.seen%64 != 1 {
		return nil
	}
	var a struct {
		FailedEntryCount *int
		Entries          []struct{ EventID, ErrorCode string }
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("answer %.200q: %w", body, err)
	}
	if a.FailedEntryCount == nil || *a.FailedEntryCount != 0 || len(a.Entries) != c.want {
		return fmt.Errorf("not all of %d events were put: %.200s", c.want, body)
	}
	for _, e := range a.Entries {
		if e.EventID == "" || e.ErrorCode != "" {
			return fmt.Errorf("an event was not put: %.200s", body)
		}
	}
	return nil
}
