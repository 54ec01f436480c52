package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A PutEvents with a token is carried out once: whichever process is asked again, and
// after all of them have been started anew.
func TestPutEventsOncePerToken(t *testing.T) {
	shareBroker(t)
	all := []*running{start(t, "{}", ""), start(t, "{}", "")}
	name := fmt.Sprintf("once-%d", time.Now().UnixNano())
	for _, c := range []struct {
		operation string
		body      map[string]any
	}{
		{"CreateEventBus", map[string]any{"Name": name}},
		{"CreateArchive", map[string]any{"ArchiveName": name, "EventSourceArn": "arn:aws:events:us-east-1:000000000000:event-bus/" + name}},
	} {
		if _, err := all[0].events(c.operation, c.body); err != nil {
			t.Fatal(err)
		}
	}
	put := func(r *running, header, token string, n int) (status int, again bool, answer string) {
		t.Helper()
		text, _ := json.Marshal(map[string]any{"Entries": []map[string]any{{"Source": "s", "DetailType": "t", "EventBusName": name, "Detail": fmt.Sprintf(`{"n":%d}`, n)}}})
		req, err := http.NewRequest(http.MethodPost, r.url, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
		req.Header.Set(header, token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var said bytes.Buffer
		if _, err := said.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Idempotency-Replayed") == "true", said.String()
	}
	const header = "X-Amz-Client-Token"
	token := name + "-token"
	status, again, first := put(all[0], header, token, 1)
	if status != 200 || again || !strings.Contains(first, "EventId") {
		t.Fatalf("the first: %d %v %s", status, again, first)
	}
	repeated := func(when string) {
		t.Helper()
		for i, r := range all {
			waittest.Until(t, fmt.Sprintf("%s process %d has the first answer", when, i+1), func() bool {
				status, again, said := put(r, header, token, 1)
				return status == 200 && again && said == first
			})
		}
	}
	repeated("before")
	if status, _, said := put(all[1], "Idempotency-Key", token, 2); status < 400 {
		t.Errorf("the token of another request: %d %s", status, said)
	}
	for i, r := range all {
		r.stop()
		all[i] = start(t, "{}", "")
	}
	repeated("afterwards")
	if status, again, other := put(all[1], header, token+"-2", 1); status != 200 || again || other == first {
		t.Errorf("another token: %d %v %s", status, again, other)
	}
	waittest.Until(t, "two events were put", func() bool {
		d, err := all[0].events("DescribeArchive", map[string]any{"ArchiveName": name})
		return err == nil && d["EventCount"] == 2.0
	})
}
