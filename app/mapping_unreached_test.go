package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// event-source-mapping.md 8: a mapping is Enabled once its start is pinned, not before, and a
// change of it is no reason to say otherwise.
func TestAMappingThatWasNeverReachedIsNotEnabled(t *testing.T) {
	r := start(t, `functions: [{name: far, url: "http://127.0.0.1:1/"}]`, t.TempDir())
	const at = "/2015-03-31/event-source-mappings"
	status, made := r.call("POST", at, map[string]any{
		"FunctionName": "far", "Topics": []string{"orders"}, "SelfManagedEventSource": map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": []string{"127.0.0.1:1"}}},
	})
	if status != 202 || made["State"] != "Creating" {
		t.Fatalf("create: %d %v", status, made)
	}
	mapping := at + "/" + fmt.Sprint(made["UUID"])
	// tried waits until it has been tried to reach the cluster, and returns the state.
	tried := func() any {
		t.Helper()
		var got map[string]any
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, got = r.call("GET", mapping, nil); strings.HasPrefix(fmt.Sprint(got["LastProcessingResult"]), "PROBLEM: Connection error.") {
				return got["State"]
			}
			if time.Now().After(end) {
				t.Fatalf("no trouble with the cluster: %v", got)
			}
		}
	}
	if state := tried(); state != "Creating" {
		t.Errorf("created: %v", state)
	}
	for _, c := range []struct {
		change map[string]any
		state  string
	}{{map[string]any{"BatchSize": 5}, "Updating"}, {map[string]any{"Enabled": false}, "Disabling"}, {map[string]any{"Enabled": true}, "Enabling"}} {
		status, got := r.call("PUT", mapping, c.change)
		for end := time.Now().Add(time.Minute); status != 202; time.Sleep(20 * time.Millisecond) { // the change before it is being carried out
			if time.Now().After(end) {
				t.Fatalf("%v: %d %v", c.change, status, got)
			}
			status, got = r.call("PUT", mapping, c.change)
		}
		if got["State"] != c.state {
			t.Errorf("%v: %v, want %s", c.change, got["State"], c.state)
		}
		if c.state == "Disabling" {
			continue
		}
		if state := tried(); state != c.state {
			t.Errorf("after %v: %v, want %s", c.change, state, c.state)
		}
	}
	if status, got := r.call("DELETE", mapping, nil); status != 202 || got["State"] != "Deleting" {
		t.Errorf("delete: %d %v", status, got)
	}
}
