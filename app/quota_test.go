package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestCallsThatAreRefusedLeaveTheQuota has callers with one call a month each: who is
// refused by klamm, in any dialect and at any step, has it left, and who was served or told
// what the brokers say has not.
func TestCallsThatAreRefusedLeaveTheQuota(t *testing.T) {
	id := fmt.Sprintf("%x", time.Now().UnixNano()) // counters outlive a test on another cluster
	topic := "quota-" + id
	cases := []struct {
		name, method, path, media, body string
		status                          int
		left                            bool
	}{
		{"schema", "POST", "/topics/" + topic, v2JSON, `{"records":[{"value":1}]}`, 422, true},
		{"not-json", "POST", "/topics/" + topic, v2JSON, `{`, 400, true},
		{"no-records", "POST", "/topics/" + topic, v2JSON, `{"records":[]}`, 422, true},
		{"azure", "POST", "/v1/producer/topics/" + topic, "application/json", `{`, 400, true},
		{"light", "POST", "/p/" + topic, "application/json", `"text"`, 400, true},
		{"parameter", "GET", "/topics/" + topic + "/partitions", "", "", 400, true},
		{"instance", "GET", "/consumers/g/instances/none/records", "", "", 404, true},
		{"no-right", "GET", "/v3/clusters", "", "", 403, true},
		{"served", "GET", "/topics", "", "", 200, false},
		{"brokers", "GET", "/topics/none-" + id, "", "", 404, false},
	}
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	r := start(t, keysOf(names...)+`
rules:
  - {who: ["*"], can: [produce, consume, describe], topics: ["*"], groups: [g]}
usage_plans:
  - {name: p`+id+`, quota: {limit: 1, period: month}, keys: [`+strings.Join(names, ", ")+`]}
topics:
  - {match: "quota-*", value: {schema: {type: object}}}
routes:
  - {route: "POST /p/{topic}", body: {application/json: {type: object}}}
  - {route: "GET /topics/{topic}/partitions", parameters: [{in: query, name: q, required: true}]}
`, t.TempDir())
	for _, c := range cases {
		key := "X-Api-Key: " + keyOf(c.name)
		fields := []string{key}
		if c.media != "" {
			fields = append(fields, "Content-Type: "+c.media)
		}
		resp, text := r.exchange(c.method, c.path, c.body, fields...)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, resp.StatusCode, text, c.status)
		}
		resp, text = r.exchange("GET", "/topics", "", key)
		if left := resp.StatusCode == http.StatusOK; left != c.left || !left && resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: afterwards %d %s, is the quota left: %v, want %v", c.name, resp.StatusCode, text, left, c.left)
		}
	}
}
