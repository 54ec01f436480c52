package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestReloadChangesPipes adds, changes and removes pipes of the file while klamm runs.
func TestReloadChangesPipes(t *testing.T) {
	got := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(body)
	}))
	defer hook.Close()
	id := fmt.Sprintf("reload-%d", time.Now().UnixNano())
	pipe := func(name, path string) string {
		return fmt.Sprintf("- {name: %s-%s, topics: [%s-%s], start: earliest, target: {webhook: {url: %q}}}\n", id, name, id, name, hook.URL+path)
	}
	const egress = "egress: {allow: [127.0.0.0/8]}\n"
	k := start(t, egress+"pipes:\n"+pipe("a", "/one"), t.TempDir())
	reload := func(text string) {
		t.Helper()
		if err := k.app.Reload(context.Background(), load(t, egress+text), false); err != nil {
			t.Fatal(err)
		}
		if _, said := statusOf(t, k.url+"/ready", "x"); strings.Contains(said, `"pipes"`) {
			t.Errorf("pipes wait for a restart: %s", said)
		}
	}
	send := func(topic, value string) {
		t.Helper()
		resp, err := http.Post(k.url+"/topics/"+id+"-"+topic, "text/plain", strings.NewReader(value))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("produce: %d", resp.StatusCode)
		}
	}
	expect := func(want string) {
		t.Helper()
		for end := time.After(2 * time.Minute); ; {
			select {
			case one := <-got:
				if one == want {
					return
				}
				t.Logf("came: %s", one)
			case <-end:
				t.Fatalf("%q has not come", want)
			}
		}
	}
	send("a", "1")
	expect("/one 1")

	reload("pipes:\n" + pipe("a", "/two") + pipe("b", "/three"))
	send("b", "2")
	expect("/three 2")
	for end := time.Now().Add(2 * time.Minute); ; { // what the definition before has begun it finishes
		send("a", "3")
		if one := <-got; one == "/two 3" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("a change of a pipe has no effect: %s", one)
		}
	}

	if err := k.app.Reload(context.Background(), load(t, egress+"pipes: [{name: "+id+"-c, topics: [x], target: {webhook: {url: \"http://127.0.0.1:1/\", auth: {bearer: {file: /nothing/there}}}}}]"), false); err == nil {
		t.Error("a pipe that cannot work is taken over")
	}
	reload("pipes:\n" + pipe("b", "/four") + "connections: {max_connections: 1000, header_timeout: 7s}\nadaptive: {produce: 100}\n")
	_, text := statusOf(t, k.url+"/ready", "x")
	if !strings.Contains(text, `"restart":["connections.header_timeout"]`) {
		t.Errorf("/ready says %s, want that only the time of headers waits", text)
	}
	if _, text := statusOf(t, k.url+"/metrics", "x"); !strings.Contains(text, `klamm_adaptive_limit{operation="produce"} 100`) {
		t.Error("adaptive has no effect")
	}
	if status, text := statusOf(t, k.url+"/klamm/v1/pipes/"+id+"-a", "x"); status != 404 {
		t.Errorf("the pipe that is gone: %d %s", status, text)
	}
}
