package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A function that runs elsewhere is called by the Lambda API and by a pipe; what it
// answers with goes to its topic.
func TestFunctionsElsewhere(t *testing.T) {
	var mu sync.Mutex
	var got []string // media type and body of each request
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, r.Header.Get("Content-Type")+" "+string(body))
		mu.Unlock()
		if r.URL.Path == "/down" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/cloudevents+json")
		_, _ = io.WriteString(w, `{"specversion":"1.0","id":"r","source":"far","type":"answer","data":{"answers":`+fmt.Sprint(len(body))+`}}`)
	}))
	t.Cleanup(far.Close)
	name := fmt.Sprintf("e%d", time.Now().UnixNano())
	r := start(t, fmt.Sprintf(`egress: {allow: [127.0.0.0/8]}
object_stores: {default: {directory: %[3]q}}
functions:
  - {name: %[1]s, url: %[2]q, format: cloudevents-batch, reply: %[1]s-out}
  - {name: %[1]s-down, url: "%[2]s/down"}
pipes: [{name: %[1]s, topics: [%[1]s-in], start: earliest, target: {function: {name: %[1]s}}}]
`, name, far.URL, t.TempDir()), t.TempDir())
	if status, _, text := r.lambda("POST", "/topics/"+name+"-out", `"the topic is there"`); status != 200 {
		t.Fatalf("produce: %d %s", status, text)
	}
	at := "/2015-03-31/functions/" + name
	if status, _, text := r.lambda("POST", at+"/invocations", `{"n":1}`); status != 200 || !strings.Contains(text, `"answer"`) {
		t.Errorf("invoke: %d %s", status, text)
	}
	if status, header, text := r.lambda("POST", at+"-down/invocations", `{"n":1}`); status != 502 || header.Get("X-Amzn-Errortype") != "ResourceNotReadyException" {
		t.Errorf("invoke one that is down: %d %s", status, text)
	}
	if status, _, text := r.lambda("PUT", at+"/configuration", `{"Timeout":5}`); status != 409 {
		t.Errorf("change: %d %s", status, text)
	}
	if status, _, text := r.lambda("POST", "/topics/"+name+"-in", `{"from":"pipe"}`); status != 200 {
		t.Fatalf("produce: %d %s", status, text)
	}
	waittest.Until(t, "the pipe's record", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range got {
			if strings.HasPrefix(text, "application/cloudevents-batch+json") && strings.Contains(text, `"id":"partition:`) && strings.Contains(text, "#"+name+"-in") {
				return true
			}
		}
		return false
	})
	waittest.Until(t, "the answers", func() bool {
		_, _, text := r.lambda("GET", "/topics/"+name+"-out/records?offset=earliest", "")
		return strings.Count(text, `"answers"`) >= 2
	})
}
